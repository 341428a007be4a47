"""Sweeps from Python: stacked pytrees, and rows as lanes against `transfer`."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import noise_image, targets_at, weights_of
from jax.sharding import AxisType

import stylejax
from stylejax import config as config_module
from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.images.io import read_image
from stylejax.losses.objective import LossTerms
from stylejax.losses.targets import Targets
from stylejax.models.architecture import VGGWeights
from stylejax.models.vgg import VGG
from stylejax.models.weights_file import save_weights
from stylejax.partitioning.memory import predicted_bytes
from stylejax.sweeps.grid import Row
from stylejax.sweeps.runner import group_rows, run_rows
from stylejax.synthesis.regions import Masks, read_masks
from stylejax.synthesis.transfer import transfer
from stylejax.synthesis.validation import make_plan

engine, grid_rows = sys.modules["stylejax.sweeps.batched_transfer"], sys.modules["stylejax.sweeps.runner"]

LAYERS = {"content_layers": ("conv2_1",), "style_layers": ("conv1_1", "conv2_1")}
QUICK = TransferConfig(size=32, steps=6, scales="24", weights="narrow", parameterization="pixels", **LAYERS)
"""Pixels compile in half the time of a pyramid."""


@pytest.fixture
def networks(narrow_parameters: VGGWeights) -> dict[tuple[str, int], VGGWeights]:
    return {("narrow", 0): narrow_parameters}


@pytest.fixture
def row(tmp_path: Path) -> Any:
    """Makes a row of the config with other settings."""
    shapes = {"c.png": (40, 48), "d.png": (40, 48), "s.png": (36, 33), "t.png": (32, 64)}
    for seed, (name, shape) in enumerate(shapes.items()):
        noise_image(*shape, seed).save(tmp_path / name)

    def make(number: int, content: str = "c.png", style: str = "s.png", **settings: Any) -> Row:
        config = dataclasses.replace(QUICK, **settings)
        sizes = (*shapes[content], 3), [(*shapes[style], 3)]
        return Row(
            number,
            f"row{number}",
            tmp_path / content,
            (tmp_path / style,),
            make_plan(config, "vgg19", *sizes, read_masks(config)),
        )

    return make


def single(row: Row, vgg: VGG) -> Any:
    return transfer(read_image(row.content), [read_image(path) for path in row.styles], vgg=vgg, config=row.config)


def test_a_sweep_in_a_notebook(narrow_vgg: VGG, photo: Any, artwork: np.ndarray):
    vgg, photo, painting = narrow_vgg, jax.numpy.asarray(photo), jax.numpy.asarray(artwork)
    # The lines of docs/python.md.
    targets = stylejax.make_targets(vgg, photo, painting, ["conv4_2"], ["conv1_1", "conv3_1"])
    betas = np.float32([1, 10, 100])
    weights = stylejax.LossTerms(content={"conv4_2": 1.0}, style={"conv1_1": betas, "conv3_1": betas}, tv=0.0)
    swept = stylejax.sweep(photo, vgg, targets, weights, steps=5)

    assert swept.images.shape == (3, 40, 48, 3)
    for i, beta in enumerate(betas):
        own = LossTerms({"conv4_2": np.float32(1)}, {"conv1_1": beta, "conv3_1": beta}, np.float32(0))
        start = stylejax.to_params(photo, "pyramid")
        solution = stylejax.minimize(stylejax.objective, stylejax.lbfgs(), start, (vgg, targets, own), 5)
        assert swept.losses[i] == np.float32(solution.value)
        assert swept.terms.style["conv3_1"][i] == solution.aux.style["conv3_1"]
        np.testing.assert_array_equal(swept.images[i], np.clip(stylejax.to_image(solution.params), 0, 1))


def stacked(vgg: VGG, photo: np.ndarray, artwork: np.ndarray) -> tuple[Any, Targets, LossTerms]:
    """Three lanes that differ in everything that can."""
    lanes = []
    for image, style, weight in zip(
        (photo, 1 - photo, photo**2), (artwork, 1 - artwork, artwork**2), (1.0, 10.0, 100.0), strict=True
    ):
        config = TransferConfig(size=48, style_weight=weight, **LAYERS)
        targets = targets_at(image, [style], vgg, config, 48)
        lanes.append((image, targets, weights_of(config, targets)))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *lanes)


def test_lanes_that_differ_in_everything(narrow_vgg: VGG, photo: np.ndarray, artwork: np.ndarray):
    """One after another, in one program of three, and of two that are filled up."""
    images, targets, weights = stacked(narrow_vgg, photo, artwork)
    found = [stylejax.sweep(images, narrow_vgg, targets, weights, steps=8, batch_size=n).losses for n in (1, 3, 2)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-4)


@pytest.mark.parametrize("statistic", ["gram", "wasserstein"])
def test_lanes_may_have_regions_and_share_what_is_kept(
    statistic: Any, narrow_vgg: VGG, photo: np.ndarray, artwork: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    """Also where the lanes that fit the memory are asked for, as on an accelerator."""
    config, left = TransferConfig(size=48, style_representation=statistic, **LAYERS), np.zeros((40, 48))
    left[:, :24] = 1
    top = np.zeros((40, 48))
    top[:24] = 1
    masks = Masks(content=[left], preserve=top)
    targets = targets_at(photo, [artwork, 1 - artwork], narrow_vgg, config, 48, masks)
    weights = weights_of(config, targets)
    betas = {name: jnp.stack([beta, 10 * beta]) for name, beta in weights.style.items()}
    assert "conv1_1/2" in betas
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    swept = stylejax.sweep(photo, narrow_vgg, targets, weights._replace(style=betas), steps=2)
    assert np.isfinite(swept.losses).all()
    np.testing.assert_allclose(swept.images[:, :20], np.stack([photo[:20]] * 2), atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_memory_of_lanes_is_that_of_the_optimizer_given(
    optimizer: str, narrow_vgg: VGG, photo: np.ndarray, artwork: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    """As `stylejax.sweep` asks for it, against the model of the command line, which knows the optimizer by name."""
    asked: list[int] = []

    def look(lanes: Any, count: int, mesh: Any, needed: Any) -> int:
        asked.extend(needed(n) for n in (1, 3))
        return 1

    monkeypatch.setattr(engine, "choose_batch_size", look)
    images, targets, weights = stacked(narrow_vgg, photo, artwork)
    minimizer = stylejax.adam() if optimizer == "adam" else stylejax.lbfgs(30)
    stylejax.sweep(images, narrow_vgg, targets, weights, steps=1, minimizer=minimizer)
    layers, shape = ("conv1_1", "conv2_1"), images.shape[1:3]
    for found, lanes in zip(asked, (1, 3), strict=True):
        expected = predicted_bytes("vgg19", layers, *shape, 30, optimizer=optimizer, pyramid=True, batch_size=lanes)
        assert found == pytest.approx(expected, rel=0.1)


def test_a_broken_lane_is_told_by_its_loss(narrow_vgg: VGG, photo: np.ndarray, artwork: np.ndarray):
    images, targets, weights = stacked(narrow_vgg, photo, artwork)
    weights = weights._replace(tv=np.float32([0, np.nan, 0]))
    swept = stylejax.sweep(images, narrow_vgg, targets, weights, steps=3, batch_size=3)
    assert np.isfinite(swept.losses).tolist() == [True, False, True]
    assert np.isnan(swept.terms.tv).tolist() == [False, True, False]
    assert np.isfinite(swept.images).all()


def test_leaves_that_disagree_are_refused(narrow_vgg: VGG, photo: np.ndarray, artwork: np.ndarray):
    images, targets, weights = stacked(narrow_vgg, photo, artwork)
    with pytest.raises(InputError, match=r"images, targets and weights must have one batch size, got \[2, 3\]"):
        stylejax.sweep(images[:2], narrow_vgg, targets, weights)
    alone = jax.tree.map(lambda x: x[0], (images, targets, weights))
    with pytest.raises(InputError, match="must have one batch size, got none"):
        stylejax.sweep(alone[0], narrow_vgg, *alone[1:])


def test_rows_are_what_transfer_makes(row: Any, networks: Any, narrow_vgg: VGG):
    """With one lane on one device, bit for bit; weights, first images, styles and their scale share a program."""
    settings = (
        {},
        {"style_weight": 1e3, "content": "d.png"},
        {"init": "noise", "seed": 5, "style": "t.png"},
        {"style_scale": 0.8, "tv_weight": 0.1},
        {"content_weight": 3.0, "init": "style"},
    )
    rows = [row(i, parameterization="pyramid", **own) for i, own in enumerate(settings)]
    assert len(group_rows(rows)) == 1
    for painted in run_rows(rows, networks):
        expected = single(painted.row, narrow_vgg)
        np.testing.assert_array_equal(painted.result.image, expected.image)
        assert painted.result._replace(image=None) == expected._replace(image=None)


@pytest.mark.parametrize("tv", ["l1", "isotropic"])
def test_rows_have_the_total_variation_that_is_asked_for(tv: str, row: Any, networks: Any, narrow_vgg: VGG):
    (painted,) = run_rows([row(1, tv_norm=tv, tv_weight=10.0)], networks)
    expected = single(painted.row, narrow_vgg)
    np.testing.assert_array_equal(painted.result.image, expected.image)
    assert painted.result.loss == expected.loss


@pytest.mark.parametrize("devices", [pytest.param(None, marks=pytest.mark.slow), 4])
def test_rows_in_one_program_are_near_to_what_transfer_makes(
    devices: int | None, row: Any, networks: Any, narrow_vgg: VGG
):
    mesh = jax.make_mesh((devices,), ("batch",), axis_types=(AxisType.Auto,)) if devices else None
    rows = [row(i, seed=i, style_weight=10.0**i) for i in range(5)]
    painted = list(run_rows(rows, networks, batch_size=3, mesh=mesh))
    assert [one.row for one in painted] == rows
    expected = [single(row, narrow_vgg).loss for row in rows]
    np.testing.assert_allclose([one.result.loss for one in painted], expected, rtol=1e-4)


def test_what_changes_shapes_makes_a_group(row: Any):
    rows = [row(1), row(2, style_layers=("conv1_1",)), row(3, size=40), row(4, optimizer="adam"), row(5, seed=3)]
    assert [[r.number for r in group] for group in group_rows(rows)] == [[1, 5], [2], [3], [4]]
    assert len(group_rows([row(1), row(2, style="t.png")])) == 1


def test_targets_are_computed_once(row: Any, networks: Any, monkeypatch: pytest.MonkeyPatch):
    """At each scale one content and two styles, for eight rows; and the network is built once, for another group too."""
    counts = {"content_targets_at": 0, "style_targets_at": 0, "make_vgg": 0}

    def counted(name: str) -> Any:
        original = getattr(grid_rows, name)

        def call(*args: Any, **options: Any) -> Any:
            counts[name] += 1
            return original(*args, **options)

        return call

    for name in counts:
        monkeypatch.setattr(grid_rows, name, counted(name))
    rows = [row(i, seed=i, init="noise", style=("s.png", "t.png")[i % 2], steps=2) for i in range(8)]
    rows.append(row(8, style_layers=("conv1_1",), steps=1))
    assert len(list(run_rows(rows, networks))) == 9
    assert counts == {"content_targets_at": 2 + 1, "style_targets_at": 4 + 1, "make_vgg": 1}


def test_lanes_of_adam_have_the_mean_of_their_points(row: Any, networks: Any, narrow_vgg: VGG):
    rows = [row(i, optimizer="adam", ema_decay=0.9, style_weight=10.0**i) for i in (1, 2)]
    for one in run_rows(rows, networks, batch_size=2):
        assert one.result
        np.testing.assert_allclose(one.result.image, single(one.row, narrow_vgg).image, atol=1e-4)


def test_a_broken_row_fails_alone(row: Any, networks: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(config_module, "MAX_WEIGHT", 1e300)
    rows = [row(1), row(2, style_weight=1e38, content_weight=1e38), row(3)]
    painted = list(run_rows(rows, networks, batch_size=3))
    assert [one.result is None for one in painted] == [False, True, False]


def test_a_watch_ends_the_sweep_with_what_has_ended(row: Any, networks: Any):
    rows = [row(i, seed=i) for i in range(4)]
    steps: list[int] = []

    def watch(batch: Any, infos: Any) -> bool:
        steps.append(batch[0].number)
        return len(steps) == 8

    assert [one.row.number for one in run_rows(rows, networks, watch=watch)] == [0]
    assert steps == [0] * 6 + [1] * 2


EIGHT = """
import sys, jax, numpy as np, stylejax
from jax.sharding import AxisType
data = np.load(sys.argv[1])
vgg = stylejax.load_vgg(sys.argv[2])
photo, style = jax.numpy.asarray(data["photo"]), jax.numpy.asarray(data["style"])
targets = stylejax.make_targets(vgg, photo, style, ["conv2_1"], ["conv1_1"])
weights = stylejax.LossTerms({"conv2_1": 1.0}, {"conv1_1": np.float32(10.0) ** np.arange(11, dtype=np.float32)}, 0.0)
assert len(jax.devices()) == 8
mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
many = stylejax.sweep(photo, vgg, targets, weights, steps=5, mesh=mesh)
alone = stylejax.sweep(photo, vgg, targets, weights, steps=5)
np.testing.assert_allclose(many.losses, alone.losses, rtol=1e-4)
print(many.images.shape)
"""


@pytest.mark.slow
def test_eleven_lanes_on_eight_devices(
    photo: np.ndarray, artwork: np.ndarray, narrow_parameters: VGGWeights, tmp_path: Path
):
    np.savez(tmp_path / "data.npz", photo=photo, style=artwork)
    save_weights(tmp_path / "vgg.h5", narrow_parameters)
    command = [sys.executable, "-c", EIGHT, str(tmp_path / "data.npz"), str(tmp_path / "vgg.h5")]
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.stdout.strip() == "(11, 40, 48, 3)", done.stderr
