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


def same_aspect(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Return whether two images (h, w, …) have one aspect ratio, up to 2 % and the rounding of sides to whole pixels."""
    (h, w), (height, width) = shape[:2], other[:2]
    return abs(h * width - w * height) <= max(0.02 * h * width, height, width)


def resize_middle(image: HostImage, height: int, width: int) -> HostImage:
    """Resize the largest middle part of an image that has the aspect ratio of the result: all of it if it has that ratio."""
    h, w = image.shape[:2]
    if same_aspect((h, w), (height, width)):
        return resize(image, height, width)
    rows, columns = min(h, max(1, round(w * height / width))), min(w, max(1, round(h * width / height)))
    top, left = (h - rows) // 2, (w - columns) // 2
    return resize(image[top : top + rows, left : left + columns], height, width)


def crop_edges(image: HostImage | Alpha, share: float) -> HostImage | Alpha:
    """Return an image or a mask without a share of its height and width at each edge, rounded to whole pixels."""
    h, w = cropped_shape(image.shape, share)
    top, left = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
    return image[top : top + h, left : left + w]


def cropped_shape(shape: tuple[int, ...], share: float) -> tuple[int, int]:
    """Return the height and width that `crop_edges` leaves of an image (h, w, …)."""
    h, w = shape[:2]
    return h - 2 * round(share * h), w - 2 * round(share * w)


def fit_longest_side(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    """Return the height and width that scale `shape` (h, w, …) to a longest side of `longest`."""
    h, w = shape[:2]
    scale = longest / max(h, w)
    return max(1, round(h * scale)), max(1, round(w * scale))
