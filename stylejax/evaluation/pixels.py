"""Measures of the pixels of images: distance of their colors, clipping, and the border."""

import numpy as np
from jaxtyping import Float

from stylejax.images.io import quantize
from stylejax.images.resize import HostImage

MAX_SIDE = 256
"""Pixels a side that the distance of colors takes at most, evenly spaced."""

DIRECTIONS = 64
"""Random directions in the space of colors, the same for all images."""

BORDER = 8
"""Width of the border strip in pixels."""

_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def oklab(image: HostImage) -> Float[np.ndarray, "h w 3"]:
    """Return L, a and b of Oklab (Ottosson 2020) of an sRGB image; L is 0 for black and 1 for white."""
    x = image.astype(np.float64)
    linear = np.where(x <= 0.04045, x / 12.92, ((x.clip(0) + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_CONES.T) @ _TO_LAB.T


def color_distance(a: HostImage, b: HostImage) -> float:
    """Return the sliced Wasserstein distance (Bonneel et al. 2015) of the pixels of two images in Oklab.

    `mean_v ∫ |F_v⁻¹(t) - G_v⁻¹(t)| dt` over unit vectors v, where F_v⁻¹ and G_v⁻¹ are the quantiles of v·pixel: 0 for images
    that have the same colors in any arrangement, |d|/2 on average for colors that differ by d.
    """
    x, y = (np.sort(random_directions() @ oklab(_sampled(image)).reshape(-1, 3).T) for image in (a, b))
    n, m = x.shape[1], y.shape[1]
    # Both quantile functions are constant between these levels.
    levels = np.union1d(np.arange(n + 1) / n, np.arange(m + 1) / m)
    middles = (levels[1:] + levels[:-1]) / 2
    differences = np.abs(x[:, (middles * n).astype(int)] - y[:, (middles * m).astype(int)])
    return float((differences @ np.diff(levels)).mean())


def clipped_share(image: HostImage) -> float:
    """Return the share of pixels of which any channel is 0 or 255 in 8 bits."""
    pixels = quantize(image)
    return float(((pixels == 0) | (pixels == 255)).any(-1).mean())


def border_ratio(image: HostImage) -> float:
    """Return the mean contrast in the 8 outermost pixels over that of the centre: 1 if they are alike.

    Contrast is |L_{i+1,j} - L_{ij}| + |L_{i,j+1} - L_{ij}| of Oklab. Padding of the network leaves flat or noisy strips.
    """
    lightness = oklab(image)[..., 0]
    contrast = np.abs(np.diff(lightness, axis=0))[:, :-1] + np.abs(np.diff(lightness, axis=1))[:-1]
    centre = np.zeros(contrast.shape, bool)
    centre[BORDER - 1 : 1 - BORDER, BORDER - 1 : 1 - BORDER] = True
    strip, middle = contrast[~centre].mean(), contrast[centre].mean()
    return float((strip + 1e-6) / (middle + 1e-6))


def _sampled(image: HostImage) -> HostImage:
    rows, columns = (np.linspace(0, n - 1, min(n, MAX_SIDE)).round().astype(int) for n in image.shape[:2])
    return image[rows[:, None], columns]


def random_directions() -> Float[np.ndarray, "_ 3"]:
    """Return 64 unit vectors, uniform on the sphere and always the same."""
    vectors = np.random.Generator(np.random.Philox(0)).normal(size=(DIRECTIONS, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
