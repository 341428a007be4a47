"""Segmentations: pictures in flat colors, each of which is a region, in place of one mask for each region."""

import numpy as np
from jaxtyping import Bool, Float, UInt8

from stylejax.errors import InputError
from stylejax.images.resize import HostImage

MAX_REGIONS = 16
"""Maximum number of flat colors; a picture with more is most likely a photograph."""

MIN_SHARE = 0.001
"""Minimum share of a picture that a flat color covers."""

MIN_DISTANCE = 0.2
"""Minimum distance of two flat colors in sRGB."""

MAX_NOISE = 0.1
"""Maximum difference of neighbors in a flat region, above the noise of JPEG; at its edges colors are blended."""

RegionMask = Bool[np.ndarray, "_ _"]
Color = Float[np.ndarray, "3"]


def split_segmentations(content: np.ndarray, style: np.ndarray) -> tuple[list[RegionMask], list[RegionMask]]:
    """Return a mask for each flat color of the content's segmentation, and the masks of the same colors in the style's.

    Pixels of other colors count for the nearest flat one. Raises `InputError` for a picture that is not flat, and for a color
    of the content that the style lacks.
    """
    colors, style_colors = flat_colors(content, "content"), flat_colors(style, "style")
    nearest = [_nearest(style_colors, color) for color in colors]
    for color, index in zip(colors, nearest, strict=True):
        if np.linalg.norm(style_colors[index] - color) > MIN_DISTANCE:
            raise InputError(
                f"the style mask must have all colors of the content mask, got {_names(style_colors)} without "
                f"{_names([color])}; paint a part of the style in it"
            )
    regions, style_regions = _assign(content, colors), _assign(style, style_colors)
    return [regions == i for i in range(len(colors))], [style_regions == index for index in nearest]


def flat_colors(image: np.ndarray, role: str) -> list[Color]:
    """Return the flat colors of a segmentation, the most frequent first."""
    if image.dtype.kind != "f" or not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
        raise InputError(f"the {role} mask must be (h, w, 3) of floats in [0, 1]; divide it by its full intensity")
    codes = np.rint(image[_is_flat(image)] * 255).astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    values, counts = np.unique(codes, return_counts=True)
    least = MIN_SHARE * image.shape[0] * image.shape[1]
    frequent = values[np.argsort(-counts, kind="stable")][: np.count_nonzero(counts >= least)]
    colors: list[Color] = []
    for code in map(int, frequent):
        color = np.array([code >> 16, code >> 8 & 255, code & 255], np.float32) / 255
        if all(np.linalg.norm(color - other) > MIN_DISTANCE for other in colors):
            colors.append(color)
    if not 2 <= len(colors) <= MAX_REGIONS:
        raise InputError(
            f"the {role} mask is in color and must have 2 to {MAX_REGIONS} flat colors, one for each region, "
            f"got {len(colors)}; paint it without shades, or give gray masks, white inside the region"
        )
    return colors


def _is_flat(image: HostImage) -> RegionMask:
    """Return the pixels that have the color of their four neighbors."""
    flat = np.ones(image.shape[:2], bool)
    rows, columns = (np.abs(np.diff(image, axis=axis)).max(-1) <= MAX_NOISE for axis in (0, 1))
    for inner, equal in ((flat[1:], rows), (flat[:-1], rows), (flat[:, 1:], columns), (flat[:, :-1], columns)):
        inner &= equal
    return flat


def _assign(image: HostImage, colors: list[Color]) -> UInt8[np.ndarray, "_ _"]:
    """Return the index of the flat color nearest to each pixel."""
    least, index = np.full(image.shape[:2], np.inf, np.float32), np.zeros(image.shape[:2], np.uint8)
    for i, color in enumerate(colors):
        distance = ((image - color) ** 2).sum(-1)
        index[distance < least] = i
        least = np.minimum(least, distance)
    return index


def _nearest(colors: list[Color], color: Color) -> int:
    return int(np.argmin([np.linalg.norm(other - color) for other in colors]))


def _names(colors: list[Color]) -> str:
    return ", ".join("#" + "".join(f"{round(255 * float(part)):02x}" for part in color) for color in colors)
