"""Lanes of one program, against runs of their own.

On a CPU as one device they are the single runs bit for bit, whose program they take in turn. A batch, as on accelerators and
over several devices, changes the rounding. On the CPU (jax 0.10.2, real VGG-16 at 64²): the responses of direct convolutions,
Gram matrices and means of a batch are those of single runs bit for bit. Winograd's product is not where a map has so few tiles
that one lane's is a product with a vector (3·10⁻⁶ at conv5_1), nor are the gradient and the update, which the compiler fuses
otherwise (10⁻⁷ after a step). L-BFGS makes of that some 10⁻³ in twenty steps on real features, or from noise.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import targets_at, weights_of
from jax.sharding import AxisType, Mesh

from stylejax.config import TransferConfig
from stylejax.losses.objective import objective
from stylejax.models.vgg import VGG
from stylejax.optimizers.adam import adam
from stylejax.optimizers.base import Info, Minimizer
from stylejax.optimizers.batched import minimize_batch
from stylejax.optimizers.lbfgs import lbfgs
from stylejax.optimizers.minimize import minimize
from stylejax.parameterization import to_params

WEIGHTS = (10.0, 30.0, 100.0, 300.0, 1000.0)


def mesh(devices: int = 4) -> Mesh:
    return jax.make_mesh((devices,), ("batch",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])


@pytest.fixture
def problems(narrow_vgg: VGG, photo: np.ndarray, artwork: np.ndarray) -> list[tuple[Any, tuple]]:
    """A start, targets and weights for each lane, at 32 pixels."""
    return problems_at(narrow_vgg, photo, artwork, TransferConfig())


@pytest.fixture
def shallow(narrow_vgg: VGG, photo: np.ndarray, artwork: np.ndarray) -> list[tuple[Any, tuple]]:
    """The same on few layers, which compile sooner."""
    config = TransferConfig(content_layers=("conv2_1",), style_layers=("conv1_1", "conv2_1"))
    return problems_at(narrow_vgg, photo, artwork, config)


def problems_at(vgg: VGG, photo: np.ndarray, artwork: np.ndarray, config: TransferConfig) -> list[tuple[Any, tuple]]:
    found = []
    for weight in WEIGHTS:
        config = dataclasses.replace(config, style_weight=weight, size=32)
        targets = targets_at(photo, [artwork], vgg, config, 32)
        start = to_params(jnp.asarray(photo[:27, :32]), "pyramid")
        found.append((start, (targets, weights_of(config, targets))))
    return found


def in_lanes(problems: list[tuple[Any, tuple]], vgg: VGG, minimizer: Minimizer, steps: int, **options: Any) -> list:
    starts, args = zip(*problems, strict=True)
    return minimize_batch(objective, minimizer, starts, vgg, args, steps, **options)


def alone(problem: tuple[Any, tuple], vgg: VGG, minimizer: Minimizer, steps: int) -> Any:
    return minimize(objective, minimizer, problem[0], (vgg, *problem[1]), steps)


def assert_same(lane: Any, solution: Any) -> None:
    assert lane.value == solution.value
    assert lane.evaluations == solution.evaluations
    jax.tree.map(np.testing.assert_array_equal, (lane.params, lane.aux), (solution.params, solution.aux))


def assert_each_same(found: list, singles: list) -> None:
    for lane, single in zip(found, singles, strict=True):
        assert_same(lane, single)


def assert_near(found: list, singles: list) -> None:
    assert len(found) == len(singles)
    np.testing.assert_allclose([lane.value for lane in found], [single.value for single in singles], rtol=1e-4)


def test_one_lane_at_once_is_the_single_run(problems: list, narrow_vgg: VGG):
    """The default on the CPU: bit for bit, after 50 steps."""
    (lane,) = in_lanes(problems[2:3], narrow_vgg, lbfgs(50), 50)
    assert_same(lane, alone(problems[2], narrow_vgg, lbfgs(50), 50))


def test_lanes_of_one_program_are_the_single_runs(problems: list, narrow_vgg: VGG):
    """To the bit: written out in one program, lanes were so on one kind of processor, and on another not after ten steps."""
    singles = [alone(problem, narrow_vgg, lbfgs(50), 50) for problem in problems[:3]]
    assert_each_same(in_lanes(problems[:3], narrow_vgg, lbfgs(50), 50), singles)


def test_a_batch_is_the_single_runs_but_for_rounding(shallow: list, narrow_vgg: VGG, monkeypatch: pytest.MonkeyPatch):
    """Batch as on an accelerator.

    XLA sums a batch in another order, and L-BFGS amplifies the difference a hundredfold every ten steps: 10⁻⁶ of the loss
    after 5 steps, 10⁻⁵ after 10, and a per cent after 50.
    """
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    singles = [alone(problem, narrow_vgg, lbfgs(10), 5) for problem in shallow]
    assert_near(in_lanes(shallow, narrow_vgg, lbfgs(10), 5), singles)


def test_lanes_of_adam_are_the_single_runs(shallow: list, narrow_vgg: VGG):
    singles = [alone(problem, narrow_vgg, adam(), 50) for problem in shallow]
    assert_each_same(in_lanes(shallow, narrow_vgg, adam(), 50), singles)


@pytest.mark.parametrize("width", [pytest.param(8, marks=pytest.mark.slow), None])
def test_on_several_devices_lanes_need_not_divide(width: int | None, shallow: list, narrow_vgg: VGG):
    """Two to a device, and one: five lanes or three on four devices."""
    some = shallow if width else shallow[:3]
    spread = in_lanes(some, narrow_vgg, lbfgs(10), 10, mesh=mesh(), batch_size=width)
    assert_near(spread, [alone(problem, narrow_vgg, lbfgs(10), 10) for problem in some])


def quadratic(x: Any, shared: Any, center: Any) -> tuple[Any, Any]:
    """Least at `center`, where it is 0."""
    squares = shared * (x - center) ** 2
    return squares.sum(), {"center": center.sum()}


CENTERS = [np.float32([1, 2]), np.float32([0, 0]), np.float32([-3, 5])]


def descend(centers: list, steps: int = 30, **options: Any) -> list:
    starts = [np.zeros(2, np.float32)] * len(centers)
    args = [(c,) for c in centers]
    return minimize_batch(quadratic, lbfgs(5), starts, np.float32([2, 3]), args, steps, **options)


def test_each_lane_finds_its_own_minimum_and_one_that_is_there_stays():
    for lane, center in zip(descend(CENTERS), CENTERS, strict=True):
        np.testing.assert_allclose(lane.params, center, atol=1e-5)
        assert lane.aux["center"] == center.sum()
    assert descend(CENTERS)[1].value == 0


def test_a_broken_lane_changes_nothing_of_the_others():
    sound = descend(CENTERS)
    broken = descend([CENTERS[0], np.float32([np.nan, 1]), CENTERS[2]])
    assert broken[1].aux is None and broken[1].value == broken[1].first_value == np.inf
    for i in (0, 2):
        assert_same(broken[i], sound[i])


def test_a_callback_sees_the_lanes_that_were_asked_for_and_ends_them():
    seen: list[list[Info]] = []

    def callback(infos: list[Info]) -> bool:
        seen.append(infos)
        return len(seen) == 4

    found = descend(CENTERS, callback=callback, batch_size=8, mesh=mesh())
    assert [len(infos) for infos in seen] == [3, 3, 3, 3]
    assert [lane.evaluations for lane in found] == [4, 4, 4]
    assert seen[0][0].value == pytest.approx(2 * 1 + 3 * 4)


@pytest.mark.parametrize("devices", [None, 2])
def test_chunks_of_steps_are_the_same_steps(devices: int | None, monkeypatch: pytest.MonkeyPatch):
    """As on an accelerator, where steps are scanned."""
    options = {"mesh": mesh(devices)} if devices else {}
    by_one = descend(CENTERS, 7, **options)
    monkeypatch.setattr("stylejax.optimizers.batched.steps_per_dispatch", lambda: 3)
    for a, b in zip(descend(CENTERS, 7, **options), by_one, strict=True):
        np.testing.assert_allclose(a.params, b.params, atol=1e-6)
        assert a.evaluations == b.evaluations == 7
