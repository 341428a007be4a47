"""Pictures on the host, and the same in other sizes."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from PIL import Image as Pillow

Picture: TypeAlias = Float[np.ndarray, "_ _ 3"]
"""An image on the host, of any height and width."""

Alpha: TypeAlias = Float[np.ndarray, "_ _"]
"""How opaque each pixel is, from 0 to 1."""


def resize(image: Picture, height: int, width: int) -> Picture:
    """Lanczos interpolation, which averages when it shrinks; what overshoots [0, 1] is kept."""
    if image.shape[:2] == (height, width):
        return np.asarray(image, np.float32)
    return np.stack([resize_map(image[..., c], height, width) for c in range(3)], -1)


def resize_longest_side(image: Picture, side: int) -> Picture:
    """Resize an image so that its longest side has `side` pixels; the aspect ratio is kept."""
    return resize(image, *fit(image.shape, side))


def resize_map(values: Alpha, height: int, width: int) -> Alpha:
    """`resize` of a single channel."""
    channel = Pillow.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(channel.resize((width, height), Pillow.Resampling.LANCZOS))


def resize_mask(mask: Float[np.ndarray, "_ _"], height: int, width: int) -> Float[np.ndarray, "_ _"]:
    """Linear interpolation, which averages when it shrinks: it stays in [0, 1], and masks that add up to 1 still do."""
    resized = Pillow.fromarray(np.ascontiguousarray(mask, np.float32)).resize(
        (width, height), Pillow.Resampling.BILINEAR
    )
    return np.asarray(resized).clip(0, 1)


def fit(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    """Height and width of the same aspect ratio with the longest side given; the other is rounded, and at least 1."""
    h, w = shape[:2]
    scale = longest / max(h, w)
    return max(1, round(h * scale)), max(1, round(w * scale))
