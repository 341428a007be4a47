"""The painting: an image of the promised kind, the same for the same seed, and strokes rather than noise."""

import numpy as np
import pytest

from stylejax.errors import InputError
from stylejax.images.painting import generate_painting

STRUCTURE_RADIUS = 4


@pytest.fixture(scope="module")
def painting():
    return generate_painting(192, 150)


def test_is_an_image(painting):
    assert painting.shape == (150, 192, 3)
    assert painting.dtype == np.float32
    assert np.isfinite(painting).all()
    assert painting.min() >= 0 and painting.max() <= 1


def test_same_seed_same_painting(painting):
    assert generate_painting(192, 150, seed=7).tobytes() == painting.tobytes()


def test_seeds_differ(painting):
    assert np.abs(generate_painting(192, 150, seed=8) - painting).mean() > 0.02


@pytest.mark.parametrize(("width", "height"), [(61, 97), (130, 33), (16, 16), (2, 2)])
def test_any_size(width, height):
    small = generate_painting(width, height)
    assert small.shape == (height, width, 3)
    assert np.isfinite(small).all()


def test_too_small_a_canvas_is_refused():
    with pytest.raises(InputError, match="1×40"):
        generate_painting(1, 40)


def test_strokes_are_coherent(painting):
    noise = np.random.default_rng(0).uniform(size=painting.shape)
    assert np.median(coherence(painting)) > 2 * np.median(coherence(noise))


def test_colors_are_rich_and_contrasts_strong(painting):
    brightness, saturation = painting.max(-1), np.ptp(painting, -1)
    assert np.subtract(*np.percentile(saturation, (95, 5))) > 0.35
    assert np.subtract(*np.percentile(brightness, (95, 5))) > 0.5
    blue, yellow = painting[..., 2] > painting[..., 0] + 0.2, painting[..., 0] > painting[..., 2] + 0.2
    assert blue.mean() > 0.3 and yellow.mean() > 0.1


def coherence(image):
    """How much the gradients around a point agree in direction: 0 for all directions alike, 1 for one only."""
    dy, dx = np.gradient(image.mean(-1))
    gradient = dx + 1j * dy
    return np.abs(blur(gradient**2)) / (blur(np.abs(gradient) ** 2) + 1e-9)


def blur(field):
    """The mean over a window, without the border where it does not fit."""
    side = 2 * STRUCTURE_RADIUS + 1
    return np.lib.stride_tricks.sliding_window_view(field, (side, side)).mean((-1, -2))
