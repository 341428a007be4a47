"""Properties of whole runs over random configs: options combine, and a new field of the config is part of this at once."""

import dataclasses
import tempfile
import typing
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import NARROW, noise_image, picture
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from jax.sharding import Mesh
from PIL import Image as Pillow

from stylejax.cli.main import main
from stylejax.cli.run import to_argv
from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.images import color as colors
from stylejax.images.io import read_image
from stylejax.models.architecture import VGGWeights, random_weights
from stylejax.models.vgg import VGG
from stylejax.models.weights_file import save_weights
from stylejax.optimizers.base import HostFunction
from stylejax.partitioning.sharded import unpad_params
from stylejax.sweeps.grid import Row
from stylejax.sweeps.runner import run_rows
from stylejax.synthesis.problem import build_problem
from stylejax.synthesis.regions import read_masks
from stylejax.synthesis.targets import Inputs
from stylejax.synthesis.transfer import Checkpoint, Result, make_vgg, transfer
from stylejax.synthesis.validation import Plan, plan_images

pytestmark = pytest.mark.filterwarnings("ignore:.*it is not enlarged")

FOLDER = Path(tempfile.mkdtemp(prefix="stylejax-tests-"))
FILES = {"c.png": (40, 48), "s.png": (36, 34), "t.png": (33, 40)}
NETWORK = "narrow"
STEPS = 3

CHOSEN: dict[str, st.SearchStrategy[Any]] = {
    "size": st.just(40),
    "width": st.sampled_from([0, 0, 40]),
    "height": st.sampled_from([0, 0, 33]),
    "steps": st.just(STEPS),
    "scales": st.sampled_from(["1", "24", "auto"]),
    "seed": st.integers(0, 9),
    "init": st.sampled_from(["content", "noise", "style", "gray", "content+noise:0.3", str(FOLDER / "t.png")]),
    "weights": st.just(NETWORK),
    "content_weight": st.floats(0, 10),
    "style_weight": st.floats(0, 1e4),
    "tv_weight": st.floats(0, 10),
    "style_scale": st.sampled_from([0.7, 1.0, 1.3]),
    "style_crop": st.sampled_from([0.0, 0.02, 0.2]),
    "style_weights": st.sampled_from([(), (2.0, 1.0)]),
    "content_masks": st.sampled_from([(), (str(FOLDER / "mask.png"),), (str(FOLDER / "colors.png"),)]),
    "style_masks": st.sampled_from([(), (str(FOLDER / "mask.png"),) * 2, (str(FOLDER / "colors.png"),)]),
    "preserve_mask": st.sampled_from(["", str(FOLDER / "keep.png")]),
    "content_layers": st.sampled_from([("conv4_2",), ("conv2_1", "conv3_1:0.5")]),
    "style_layers": st.sampled_from([("conv1_1", "conv2_1:3"), ("conv1_1:0.2", "conv3_1"), ("conv2_2",)]),
    "history": st.integers(1, 4),
    "learning_rate": st.floats(0.001, 0.1),
    "ema_decay": st.sampled_from([0.0, 0.9]),
    "bit_depth": st.sampled_from([8, 16]),
    "tile": st.just("off"),
    "shard": st.just("off"),
}
"""Choices for fields whose type does not say what they can be."""


def strategy(field: dataclasses.Field) -> st.SearchStrategy[Any]:
    """Every choice of a field; an unknown field without choices of its own is an error here, not a gap."""
    if field.name in CHOSEN:
        return CHOSEN[field.name]
    kind = typing.get_type_hints(TransferConfig)[field.name]
    if kind is bool:
        return st.booleans()
    assert typing.get_origin(kind) is Literal, f"say in CHOSEN what {field.name} can be"
    return st.sampled_from(typing.get_args(kind))


VALUES = st.fixed_dictionaries({f.name: strategy(f) for f in dataclasses.fields(TransferConfig)})
STYLES = st.sampled_from([("s.png",), ("s.png", "t.png")])


@pytest.fixture(scope="module", autouse=True)
def files() -> None:
    for number, (name, (h, w)) in enumerate(FILES.items()):
        noise_image(h, w, number).save(FOLDER / name)
    mask = np.zeros((40, 48, 3), np.uint8)
    mask[:, :24] = 255
    Pillow.fromarray(mask).save(FOLDER / "mask.png")
    Pillow.fromarray(mask * np.uint8([1, 0, 0])).save(FOLDER / "colors.png")
    Pillow.fromarray(mask[::-1, ::-1] // 255 * 180).save(FOLDER / "keep.png")


def parameters_for(config: TransferConfig) -> VGGWeights:
    return random_weights("vgg19", 0, NARROW)._replace(normalized=config.loss_normalization != "caffe")


def run_of(values: dict[str, Any], styles: tuple[str, ...]) -> tuple[TransferConfig, list[Path], VGG]:
    """A config that can run, with its files and network; what cannot run is rejected, as the user is told."""
    paths = [FOLDER / name for name in ("c.png", *styles)]
    try:
        config = TransferConfig(**values)
        plan_of(config, paths)
    except InputError:
        reject()
    return config, paths, make_vgg(config, parameters_for(config))


def plan_of(config: TransferConfig, paths: list[Path]) -> Plan:
    content, *styles = map(read_image, paths)
    return plan_images(config, "vgg19", content, styles, read_masks(config))


def single(config: TransferConfig, paths: list[Path], vgg: VGG, **options: Any) -> Result:
    content, *styles = map(read_image, paths)
    return transfer(content, styles, vgg=vgg, config=config, **options)


def check_same(found: Result | None, expected: Result) -> None:
    assert found is not None
    np.testing.assert_array_equal(found.image, expected.image)
    assert found._replace(image=None) == expected._replace(image=None)


def check_row(values: dict[str, Any], styles: tuple[str, ...]) -> None:
    config, paths, vgg = run_of(values, styles)
    row = Row(1, "row", paths[0], tuple(paths[1:]), plan_of(config, paths))
    (painted,) = run_rows([row], {row.network: parameters_for(config)})
    check_same(painted.result, single(config, paths, vgg))


def check_resumed(values: dict[str, Any], styles: tuple[str, ...], at: int) -> None:
    config, paths, vgg = run_of(values, styles)
    kept: list[Checkpoint] = []
    expected = single(config, paths, vgg, on_checkpoint=lambda checkpoint: kept.append(jax.device_get(checkpoint)))
    if not config.total_steps:
        return
    checkpoint = kept[min(at, len(kept) - 1)]
    run = checkpoint.loop_state._replace(state=jax.tree.map(jnp.asarray, checkpoint.loop_state.state))
    check_same(single(config, paths, vgg, resume_from=checkpoint._replace(loop_state=run)), expected)


def check_verified(values: dict[str, Any], styles: tuple[str, ...]) -> None:
    """By the command line, from the manifest in the picture."""
    config, paths, _ = run_of(values, styles)
    weights, out = FOLDER / f"{config.loss_normalization}.h5", FOLDER / "out.png"
    save_weights(weights, parameters_for(config))
    words = to_argv(dataclasses.replace(config, weights=str(weights)))
    assert main(["transfer", *map(str, paths), "-o", str(out), *words]) == 0
    assert main(["verify", str(out)]) == 0


def evaluated(plan: Plan, inputs: Inputs, vgg: VGG, mesh: Mesh | None) -> tuple[Any, list[Any]]:
    """Value and gradient of the last scale at an image that is neither content nor style."""
    problem = build_problem(plan, inputs, vgg, plan.schedule[-1], mesh)
    image, fn = picture(np.random.default_rng(0), *plan.schedule[-1].size), problem.fn
    evaluate = fn.evaluate if isinstance(fn, HostFunction) else jax.jit(jax.value_and_grad(fn, has_aux=True))
    (value, _), gradient = evaluate(problem.params(image), *problem.args)
    leaves = jax.tree.leaves(unpad_params(gradient, problem.shapes) if problem.mesh else gradient)
    # The levels of a pyramid are one vector or several arrays; the finest has the smallest slopes.
    vector = np.concatenate([leaf.ravel() for leaf in leaves])
    return value, [part for part in np.split(vector, [image.size]) if part.size]


def check_parts(values: dict[str, Any], styles: tuple[str, ...]) -> None:
    """Evaluate by tiles and over two devices, against the whole.

    The layers are shallow, because deep ones have one tile at this size. The l1 norm has no gradient at equal neighbors,
    which programs that round otherwise give either sign; features of 7 bits differ by program too.
    """
    shallow = {"content_layers": ("conv2_1",), "style_layers": ("conv1_1", "conv2_1:3"), "precision": "highest"}
    smooth = {"tv_norm": "isotropic"} if values["tv_norm"] == "l1" else {}
    shallow |= {"color": "style"} if values["color"] == "only" else {}
    config, paths, vgg = run_of(values | shallow | smooth, styles)
    content, *pictures = map(read_image, paths)
    inputs = Inputs(*colors.apply_color_mode(config.color, content, pictures))
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    value, gradient = evaluated(plan_of(config, paths), inputs, vgg, None)
    ways = [({"tile": "16"}, None)] * (config.padding != "circular")
    ways += [({"shard": "2"}, mesh)] * (config.padding == "zeros")
    for way, devices in ways:
        plan = plan_of(dataclasses.replace(config, **way), paths)
        found, slopes = evaluated(plan, inputs, vgg, devices)
        np.testing.assert_allclose(found, value, rtol=2e-4)
        for leaf, expected in zip(slopes, gradient, strict=True):
            np.testing.assert_allclose(leaf, expected, rtol=0, atol=1e-3 * float(np.abs(expected).max()) + 1e-9)


def few(count: int) -> Any:
    """The same examples in every run; rejected configs cost nothing but their checks."""
    checks = [HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(
        max_examples=count, deadline=None, derandomize=True, suppress_health_check=checks, phases=[Phase.generate]
    )


@given(VALUES, STYLES)
@few(3)
def test_a_row_of_a_sweep_is_what_transfer_makes(values: dict[str, Any], styles: tuple[str, ...]):
    check_row(values, styles)


@given(VALUES, STYLES, st.integers(0, 2 * STEPS))
@few(2)
def test_a_run_that_goes_on_is_the_run_that_was_not_stopped(values: dict[str, Any], styles: tuple[str, ...], at: int):
    check_resumed(values, styles, at)


@given(VALUES, STYLES)
@few(2)
def test_a_run_is_verified_from_its_picture(values: dict[str, Any], styles: tuple[str, ...]):
    check_verified(values, styles)


@given(VALUES, STYLES)
@few(2)
def test_tiles_and_shards_are_the_whole(values: dict[str, Any], styles: tuple[str, ...]):
    check_parts(values, styles)


@pytest.mark.slow
@given(VALUES, STYLES, st.integers(0, 2 * STEPS))
@few(40)
def test_many_whole_configs(values: dict[str, Any], styles: tuple[str, ...], at: int):
    check_row(values, styles)
    check_resumed(values, styles, at)
    check_verified(values, styles)
    check_parts(values, styles)
