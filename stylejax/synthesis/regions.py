"""Which part of the picture takes which style, by masks; and which part stays as it is.

A mask is an array (h, w), 1 inside, 0 outside and between at a soft edge, of any size with the aspect ratio of its picture.
At a layer it is pooled as the network pools: a position belongs to a region as far as what it stands for does.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.images.io import read_image
from stylejax.images.resize import resize_mask
from stylejax.models.architecture import block

Mask: TypeAlias = Float[np.ndarray, "_ _"]

GRAY = 0.1
"""The most that the channels of a mask may differ. A picture in colors is no mask."""


class Masks(NamedTuple):
    """The regions of the picture, the parts of the styles that these take, and the region that stays the content's."""

    content: Sequence[Any] = ()
    style: Sequence[Any] = ()
    keep: Any = None


def read_masks(config: TransferConfig, read: Callable[[str], Mask] | None = None) -> Masks:
    """Read the masks that a config names, each by `read`, which is `read_mask` by default.

    Raises `InputError` for a file that is missing, not an image, or not gray.
    """
    read = read or read_mask
    keep = read(config.keep_mask) if config.keep_mask else None
    return Masks([read(p) for p in config.content_masks], [read(p) for p in config.style_masks], keep)


def read_mask(path: str) -> Mask:
    """A gray picture as a mask: white is inside. Raises `InputError` for one in colors."""
    image = read_image(path)
    if np.ptp(image, axis=-1).max() > GRAY:
        raise InputError(f"{path} is in colors; a mask is a gray picture, white inside the region and black outside")
    return image.mean(-1)


def parts(styles: int, masks: Masks) -> int:
    """How many styles there are to be taken: one a picture, or several parts of a single one."""
    return len(masks.style) if styles == 1 and masks.style else styles


def style_of(part: int, styles: int) -> int:
    """The number of the style's picture that a part is of."""
    return part if styles > 1 else 0


def check_masks(
    masks: Masks, config: TransferConfig, content: tuple[int, ...], styles: Sequence[tuple[int, ...]]
) -> Masks:
    """The masks in float32. Raises `InputError` where they are no masks, have another shape than their pictures, or do not
    fit the styles in number; and for weights of styles that do not."""
    count = parts(len(styles), masks)
    if masks.style and len(masks.style) != count:
        raise InputError(
            f"there are {len(masks.style)} style masks and {count} styles; give one for each style, or several for one"
        )
    if masks.content and len(masks.content) not in (count, count - 1):
        raise InputError(
            f"there are {len(masks.content)} content masks for {count} {'style masks' if masks.style else 'styles'}; give one "
            "for each, or one fewer, and the last has the rest"
        )
    if masks.content and config.style_per_scale:
        raise InputError("--style-per-scale and --content-masks each say which style goes where; leave out one of them")
    if config.style_weights and len(config.style_weights) != count:
        raise InputError(
            f"--style-weights has {len(config.style_weights)} numbers for {count} styles; give one for each"
        )
    if isinstance(config.style_scale, tuple) and len(config.style_scale) != len(styles):
        raise InputError(
            f"--style-scale has {len(config.style_scale)} numbers for {len(styles)} styles; give one for each, or one for all"
        )
    of_styles = [styles[style_of(i, len(styles))] for i in range(len(masks.style))]
    return Masks(
        [_mask(m, f"content mask {i}", content, "content") for i, m in enumerate(masks.content, 1)],
        [
            _mask(m, f"style mask {i}", s, "style")
            for i, (m, s) in enumerate(zip(masks.style, of_styles, strict=True), 1)
        ],
        None if masks.keep is None else _mask(masks.keep, "the mask of what is kept", content, "content"),
    )


def regions(masks: Masks, count: int, height: int, width: int) -> dict[str, Mask | None]:
    """How far each position takes the style of each region, by the region's number; without masks, one region "" of all.

    Where masks overlap they share the position, so that no position counts more than once; if there is one mask fewer than
    styles, the last has what is left. What is kept takes no style.
    """
    free = None if masks.keep is None else 1 - resize_mask(masks.keep, height, width)
    if not masks.content:
        return {"": free}
    shares = [resize_mask(mask, height, width) for mask in masks.content]
    total = np.maximum(sum(shares), 1)
    shares = [share / total for share in shares]
    if len(shares) < count:
        shares.append(np.maximum(1 - sum(shares), 0))
    return {str(i): share if free is None else share * free for i, share in enumerate(shares, 1)}


def guides(mask: Mask | None, layers: Iterable[str]) -> dict[str, Mask | None]:
    """The mask at each layer where it covers at least one position in all; at the others it is as good as empty."""
    if mask is None:
        return dict.fromkeys(layers)
    pooled = {layer: pool(mask, block(layer) - 1) for layer in layers}
    return {layer: guide for layer, guide in pooled.items() if guide.sum() >= 1}


def pool(mask: Mask, times: int) -> Mask:
    """The mean of 2×2 positions, `times` over; an odd last row or column is dropped, as the network drops it."""
    for _ in range(times):
        h, w = (side // 2 for side in mask.shape)
        mask = mask[: 2 * h, : 2 * w].reshape(h, 2, w, 2).mean((1, 3))
    return mask


def check_covered(what: str, mask: Mask | None, layers: Sequence[str]) -> None:
    """Raises `InputError` for a region, as large as its picture is at last, that is empty at one of the layers."""
    covered = guides(mask, layers)
    for layer in layers:
        if layer not in covered:
            raise InputError(
                f"{what} covers less than one position of layer {layer} ({2 ** (block(layer) - 1)} pixels a side): make the "
                "region larger, or take a larger --size or shallower --style-layers"
            )


def _mask(mask: Any, what: str, picture: tuple[int, ...], role: str) -> Mask:
    array = np.asarray(mask)
    if array.ndim != 2 or array.dtype.kind not in "fb" or not array.size:
        raise InputError(f"{what} is an array {array.shape} of {array.dtype}; it should be (h, w) of floats in [0, 1]")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise InputError(f"{what} has values outside [0, 1]; divide it by its full intensity")
    (h, w), (height, width) = array.shape, picture[:2]
    # Sides are rounded to whole pixels, and a mask may have been drawn on a copy of another size.
    if abs(h * width - w * height) > max(0.02 * h * width, height, width):
        raise InputError(
            f"{what} is {w}×{h} pixels, and its {role} {width}×{height}: give a mask of the same aspect ratio, of any size"
        )
    return array.astype(np.float32, copy=False)
