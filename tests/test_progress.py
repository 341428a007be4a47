"""The bar of a run."""

import re

import pytest

from stylejax.objective import Terms
from stylejax.progress import progress_bar
from stylejax.scales import share_done
from stylejax.transfer import Step, transfer

SCHEDULE = ((128, 100), (256, 75), (512, 50))


def test_the_share_that_is_done_counts_pixels():
    whole = 100 * 1 + 75 * 4 + 50 * 16
    for step, pixels in {0: 0, 1: 1, 100: 100, 175: 400, 200: 800, 225: whole}.items():
        assert share_done(SCHEDULE, step) == pytest.approx(pixels / whole)


@pytest.mark.parametrize("last", [40, 200])
def test_the_bar_knows_how_long_the_finer_scales_take(
    last: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A clock that a step moves by 10 μs a pixel; the bar stays as it is when the run is left."""
    sides = [side for side, steps in SCHEDULE for _ in range(steps)]
    now = [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: now[0])
    with progress_bar() as move:
        for step, side in enumerate(sides[:last], 1):
            now[0] += 1e-5 * side**2
            done = share_done(SCHEDULE, step)
            move(Step(step, len(sides), done, (side, side), step, 1.0, Terms({}, {}, 0.0), True, False))
    said = capsys.readouterr().err
    hours, minutes, seconds = map(int, re.findall(r"left (\d+):(\d\d):(\d\d)", said)[0])
    assert 3600 * hours + 60 * minutes + seconds == pytest.approx(sum(1e-5 * s**2 for s in sides[last:]), rel=0.03)
    assert f"{last}/{len(sides)} {sides[last - 1]}×{sides[last - 1]}" in said
    assert f"{1e5 / sides[last - 1] ** 2:.2f} steps/s" in said


def test_a_callback_sees_the_share_grow_to_the_whole(narrow_vgg, photo, artwork):
    done = []
    few = {"content_layers": ("conv2_1",), "style_layers": ("conv1_1", "conv2_1")}
    transfer(
        photo, artwork, vgg=narrow_vgg, size=48, steps=9, scales="24", callback=lambda s: done.append(s.done), **few
    )
    assert done == sorted(done) and len(set(done)) == 9 and done[-1] == 1
    assert done[0] < 1 / 9
