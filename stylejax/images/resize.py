"""Resize images and masks on the host."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from PIL import Image as Pillow

HostImage: TypeAlias = Float[np.ndarray, "_ _ 3"]
"""Image (h, w, 3) in host memory, sRGB."""

Alpha: TypeAlias = Float[np.ndarray, "_ _"]
"""Opacity (h, w) of an image, in [0, 1]."""


def resize(image: HostImage, height: int, width: int) -> HostImage:
    """Resize an image by Lanczos interpolation, which can overshoot [0, 1]."""
    if image.shape[:2] == (height, width):
        return np.asarray(image, np.float32)
    return np.stack([resize_channel(image[..., c], height, width) for c in range(3)], -1)


def resize_longest_side(image: HostImage, side: int) -> HostImage:
    """Resize an image to a longest side of `side` pixels and keep its aspect ratio."""
    return resize(image, *fit_longest_side(image.shape, side))


def resize_channel(
    values: Alpha, height: int, width: int, method: Pillow.Resampling = Pillow.Resampling.LANCZOS
) -> Alpha:
    """Resize a single channel (h, w)."""
    channel = Pillow.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(channel.resize((width, height), method))


def resize_mask(mask: Alpha, height: int, width: int) -> Alpha:
    """Resize a mask by linear interpolation: it stays in [0, 1], and masks that sum to 1 still do."""
    return resize_channel(mask, height, width, Pillow.Resampling.BILINEAR).clip(0, 1)


def fit_longest_side(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    """Return the height and width that scale `shape` (h, w, …) to a longest side of `longest`."""
    h, w = shape[:2]
    scale = longest / max(h, w)
    return max(1, round(h * scale)), max(1, round(w * scale))
