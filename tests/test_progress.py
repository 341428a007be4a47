"""The bar of a run."""

import re

import numpy as np
import pytest

from stylejax.cli.display import progress_bar, sweep_bar
from stylejax.losses.objective import LossTerms
from stylejax.synthesis.schedule import Scale, work
from stylejax.synthesis.transfer import Step, transfer

STEP_COSTS = np.repeat([128**2, 256**2, 512**2], [100, 75, 50])


def test_a_step_takes_as_long_as_its_picture_has_pixels():
    scales = [Scale(side, steps, (side, side), (), ()) for side, steps in ((10, 2), (20, 1), (40, 3))]
    costs = [100, 100, 400, 1600, 1600, 1600]
    assert [work(scales, steps) for steps in range(7)] == [sum(costs[:steps]) for steps in range(7)]


@pytest.mark.parametrize("last", [40, 200])
def test_the_bar_knows_how_long_the_finer_scales_take(
    last: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A clock that a step moves by 10 μs a pixel; the bar stays as it is when the run is left."""
    costs, now = STEP_COSTS, [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: now[0])
    size = (96, 128)
    with progress_bar() as move:
        for step in range(1, last + 1):
            now[0] += 1e-5 * costs[step - 1]
            done = costs[:step].sum() / costs.sum()
            move(Step(step, len(costs), done, size, step, 1.0, LossTerms({}, {}, 0.0), True, False))
    said = capsys.readouterr().err
    assert seconds_left(said) == pytest.approx(1e-5 * costs[last:].sum(), rel=0.03)
    assert f"{last}/225 128×96  loss 1  {1e5 / costs[last - 1]:.2f} steps/s" in said


def test_the_bar_of_a_sweep_knows_it_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Two rows, of which one is half done."""
    costs, now = STEP_COSTS, [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: now[0])
    with sweep_bar(2, int(2 * costs.sum())) as (move, _):
        for step in costs[:112].tolist():
            now[0] += 1e-5 * step
            move([7], [], step)
    assert seconds_left(capsys.readouterr().err) == pytest.approx(
        1e-5 * (2 * costs.sum() - costs[:112].sum()), rel=0.03
    )


def seconds_left(said: str) -> int:
    hours, minutes, seconds = map(int, re.findall(r"left (\d+):(\d\d):(\d\d)", said)[0])
    return 3600 * hours + 60 * minutes + seconds


def test_a_callback_sees_the_share_grow_to_the_whole(narrow_vgg, photo, artwork):
    done = []
    few = {"content_layers": ("conv2_1",), "style_layers": ("conv1_1", "conv2_1"), "parameterization": "pixels"}
    options = {"size": 48, "steps": 9, "scales": "24", **few}
    transfer(photo, artwork, vgg=narrow_vgg, callback=lambda step: done.append(step.done), **options)
    assert done == sorted(done) and len(set(done)) == 9 and done[-1] == 1
    assert done[0] < 1 / 9
