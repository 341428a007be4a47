"""Transparency, by one rule: colors are straight, hidden colors are never seen, and alpha is a mask.

Below transparent pixels, a run sees the colors of the visible ones continued, and viewers and opaque files see white.
"""

import numpy as np
from jaxtyping import Float

from stylejax.images.resize import Alpha, HostImage, resize_channel, resize_mask


def blend_with_white(image: HostImage, alpha: Alpha | None) -> HostImage:
    """Return an image as it looks on white, with its alpha resized to it."""
    if alpha is None:
        return image
    share = resize_alpha(alpha, *image.shape[:2])[..., None]
    return image * share + (1 - share)


def resize_alpha(alpha: Alpha, height: int, width: int) -> Alpha:
    """Resize an alpha as `resize` does the colors, without its overshoot."""
    return np.clip(resize_channel(alpha, height, width), 0, 1)


def fill_hidden(image: HostImage, alpha: Alpha | None) -> HostImage:
    """Return the image with the colors of visible pixels continued below transparent ones, from coarse to fine."""
    if alpha is None or (alpha > 0).all() or not alpha.any():
        return image
    h, w = alpha.shape
    half, visible = (-(-h // 2), -(-w // 2)), (alpha > 0)[..., None]
    colors = _resize_linear(np.where(visible, image * alpha[..., None], np.float32(0)), *half)
    share = resize_mask(alpha, *half)
    mean = (colors / np.where(share > 0, share, 1)[..., None]).clip(0, 1)
    # Four times the share, or a single pixel would be lost at the coarse sizes.
    coarse = fill_hidden(mean, (4 * share).clip(0, 1))
    return np.where(visible, image, _resize_linear(coarse, h, w))


def _resize_linear(image: HostImage, height: int, width: int) -> Float[np.ndarray, "_ _ 3"]:
    return np.stack([resize_mask(image[..., c], height, width) for c in range(3)], -1)
