"""Strict by default, and a narrow network: the true topology with a few channels, for tests that need no real features."""

import dataclasses
import functools
import os
import sys
from importlib.metadata import version

if "device_count" not in os.environ.get("XLA_FLAGS", ""):  # Workers of xdist inherit what the first process has set.
    flags = [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=4"]
    # Most of a test is compilation: without optimizations it takes a quarter. The slow tests run what users run.
    if "--slow" not in sys.argv:
        flags += ["--xla_backend_optimization_level=0"]
        flags += ["--xla_cpu_use_fusion_emitters=false"] * version("jaxlib").startswith(
            "0.10."
        )  # Later ones have no such flag.
    os.environ["XLA_FLAGS"] = " ".join(flags).strip()
os.environ.setdefault("KERAS_BACKEND", "jax")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image as Pillow

from stylejax.cli.main import main
from stylejax.config import TransferConfig
from stylejax.config_parsing import parse_layers
from stylejax.losses.objective import LossTerms
from stylejax.losses.targets import Targets, make_targets
from stylejax.losses.total_variation import TOTAL_VARIATIONS
from stylejax.losses.weighting import loss_weights
from stylejax.models.architecture import VGGWeights, random_weights
from stylejax.models.vgg import VGG, build_vgg
from stylejax.models.weights_file import save_weights
from stylejax.synthesis.problem import Problem, build_problem
from stylejax.synthesis.regions import Masks
from stylejax.synthesis.targets import Inputs
from stylejax.synthesis.validation import make_plan
from stylejax.types import Features

NARROW = (4, 5, 6, 7, 8)
NO_MASKS = Masks()

LONGEST = {
    f"test_{name}" for name in ("whole_configs", "sweep", "size", "winograd", "resume", "reconstruct", "cli_sweep")
}
"""Files that take more than 30 seconds: they go first, or one worker would end with them alone."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_configure(config: pytest.Config) -> None:
    jax.config.update("jax_numpy_rank_promotion", "raise")
    if cache := getattr(config, "cache", None):  # Most of a test is compilation; a folder a worker, as jax locks none.
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
        jax.config.update("jax_compilation_cache_dir", str(cache.mkdir(f"programs-{worker}")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONGEST)
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


@pytest.fixture(autouse=True)
def no_traces_at_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path_factory.getbasetemp() / name))


@pytest.fixture(scope="session")
def narrow_parameters() -> VGGWeights:
    return random_weights("vgg19", 0, NARROW)


@pytest.fixture(scope="session")
def narrow_vgg(narrow_parameters: VGGWeights) -> VGG:
    return build_vgg(narrow_parameters)


@functools.partial(jax.jit, static_argnums=2)
def features_of(vgg: VGG, image: Any, layers: tuple[str, ...]) -> Features:
    """`vgg(image, layers)` as one program: compiled by itself, each operation takes longer than the whole."""
    return vgg(image, layers)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(20150826)


def picture(generator: np.random.Generator, height: int = 32, width: int = 32) -> np.ndarray:
    """A smooth picture: blurred noise over the whole range."""
    image = generator.random((height + 8, width + 8, 3))
    for axis in (0, 1):
        image = sum(np.roll(image, k, axis) for k in range(8)) / 8
    image = image[8:, 8:]
    return ((image - image.min()) / np.ptp(image)).astype(np.float32)


def problem_at(
    content: np.ndarray, styles: list[np.ndarray], vgg: VGG, config: TransferConfig, side: int, masks: Masks = NO_MASKS
) -> Problem:
    """The problem of one scale of a run: of the schedule, or of a run of that size."""
    shapes = content.shape, [style.shape for style in styles]
    plan = make_plan(config, vgg.network, *shapes, masks)
    if side not in [scale.side for scale in plan.schedule]:
        plan = make_plan(dataclasses.replace(config, size=side, scales="1"), vgg.network, *shapes, masks)
    scale = next(scale for scale in plan.schedule if scale.side == side)
    return build_problem(plan, Inputs(content, styles), vgg, scale, None)


def plain_targets(content: dict[str, Any], style: dict[str, Any]) -> Targets:
    """Targets without regions."""
    return Targets(content, style, {}, None, TOTAL_VARIATIONS["squared"])


def targets_at(*how: Any) -> Targets:
    """The targets of `problem_at`."""
    return problem_at(*how).args[1]


def weights_of(config: TransferConfig, targets: Targets, pixels: int = 1, unit: float = 1.0) -> LossTerms:
    """`loss_weights` of a config."""
    return loss_weights(
        targets,
        normalization=config.loss_normalization,
        alpha=config.content_weight,
        beta=config.style_weight,
        tv=config.tv_weight,
        content_layers=parse_layers(config.content_layers),
        style_layers=parse_layers(config.style_layers),
        style_weights=config.style_weights,
        pixels=pixels,
        caffe_scale=unit,
    )


def shapes(vgg: VGG, side: int) -> tuple:
    """The arguments of the default objective at a size, as shapes: nothing is computed."""
    config, image = TransferConfig(), jax.ShapeDtypeStruct((side, side, 3), jnp.float32)

    def targets_of(vgg: VGG, x: Any) -> Targets:
        return make_targets(vgg, x, x, config.content_layers, config.style_layers)

    targets = jax.eval_shape(targets_of, vgg, image)
    one: Any = jax.ShapeDtypeStruct((), jnp.float32)
    return image, (vgg, targets, LossTerms(dict.fromkeys(targets.content, one), dict.fromkeys(targets.style, one), one))


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation of a program and of those that it calls."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else [value]:
                if hasattr(inner := getattr(inner, "jaxpr", inner), "eqns"):
                    yield from equations(inner)


def noise_image(height: int, width: int, seed: int) -> Pillow.Image:
    """A picture for files: what is on it does not matter."""
    return Pillow.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a picture `c.png` and a network `narrow.h5` of four channels a layer."""
    noise_image(40, 48, 0).save(tmp_path / "c.png")
    save_weights(tmp_path / "narrow.h5", random_weights("vgg19", 0, (4, 4, 4, 4, 4)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refusal(desk: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line with which a command is refused at the desk, where nothing is left behind."""

    def refuse(*words: str) -> str:
        before = sorted(desk.iterdir())
        assert main(words) == 2
        error = capsys.readouterr().err
        assert error.startswith("stylejax: error: ") and error.count("\n") == 1, error
        assert sorted(desk.iterdir()) == before
        return error

    return refuse


@pytest.fixture
def photo(generator: np.random.Generator) -> np.ndarray:
    return picture(generator, 40, 48)


@pytest.fixture
def artwork(generator: np.random.Generator) -> np.ndarray:
    return picture(np.random.default_rng(7), 36, 33)
