"""Masks of regions: which part of the image takes which style, which part is preserved, and which part of a style is visible.

A mask is an array (h, w) in [0, 1], 1 inside the region, of any size with the aspect ratio of its image. One content mask and
one style mask (h, w, 3) in color are segmentations, each color of which is a region. At a layer a mask is average-pooled as
often as the network pools.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.images.io import read_stored
from stylejax.images.resize import Alpha, crop_edges, resize_mask, same_aspect
from stylejax.models.architecture import block_index
from stylejax.synthesis.segmentation import split_segmentations

Mask: TypeAlias = Float[np.ndarray, "_ _"]
StoredMask: TypeAlias = Mask | Float[np.ndarray, "_ _ 3"]

MAX_CHROMA = 0.1
"""Maximum difference between the channels of a gray mask; an image with more is a segmentation."""


class Masks(NamedTuple):
    """Masks of the regions of the image, of the parts of the styles for them, and of the preserved region.

    `alpha` is that of the content and of each style, None for an opaque image; it is empty if all are opaque.
    """

    content: Sequence[Any] = ()
    style: Sequence[Any] = ()
    preserve: Any = None
    alpha: Sequence[Any] = ()

    @property
    def content_alpha(self) -> Any:
        return self.alpha[0] if self.alpha else None


def read_masks(
    config: TransferConfig, alpha: Sequence[Alpha | None] = (), read: Callable[[str], StoredMask] | None = None
) -> Masks:
    """Read the masks of a config, each by `read`, which is `read_mask` by default; `alpha` is that of `Masks`.

    Raises `InputError` for a file that is missing or not an image.
    """
    read = read or read_mask
    preserve = read(config.preserve_mask) if config.preserve_mask else None
    return Masks([read(p) for p in config.content_masks], [read(p) for p in config.style_masks], preserve, alpha)


def read_mask(path: str) -> StoredMask:
    """Read an image as a mask (h, w), 1 for white, 0 where transparent; one in color as a segmentation (h, w, 3)."""
    image, alpha = read_stored(path)
    image = image if alpha is None else image * alpha[..., None]
    return image if np.ptp(image, axis=-1).max() > MAX_CHROMA else image.mean(-1)


def num_style_parts(styles: int, masks: Masks) -> int:
    """Return the number of styles: the style images, or the masked parts of a single one."""
    return len(masks.style) if styles == 1 and masks.style else styles


def style_index(part: int, styles: int) -> int:
    """Return the index of the style image of a part."""
    return part if styles > 1 else 0


def check_masks(
    masks: Masks, config: TransferConfig, content: tuple[int, ...], styles: Sequence[tuple[int, ...]]
) -> Masks:
    """Return the masks as float32, for a content image and style images of these shapes.

    Raises `InputError` for an invalid mask, one with another aspect ratio than its image, and a number of masks, style weights
    or style scales that does not match the styles.
    """
    if (
        len(styles) == len(masks.content) == len(masks.style) == 1
        and np.ndim(masks.content[0]) == np.ndim(masks.style[0]) == 3
    ):
        regions, style_regions = split_segmentations(masks.content[0], masks.style[0])
        masks = masks._replace(content=regions, style=style_regions)
    _check_counts(masks, config, len(styles))
    content_masks = [_mask(mask, f"content mask {i}", content, "content") for i, mask in enumerate(masks.content, 1)]
    shapes = [styles[style_index(part, len(styles))] for part in range(len(masks.style))]
    style_masks = [
        _mask(mask, f"style mask {i}", shape, "style")
        for i, (mask, shape) in enumerate(zip(masks.style, shapes, strict=True), 1)
    ]
    preserve = None if masks.preserve is None else _mask(masks.preserve, "the preserve mask", content, "content")
    return Masks(content_masks, style_masks, preserve, _check_alpha(masks.alpha, [content, *styles]))


def style_mask(masks: Masks, part: int, styles: int, height: int, width: int, crop: float) -> Mask | None:
    """Return the style mask of a part times the alpha of its image, both cropped and resized; None means a mask of ones."""
    given = masks.style[part] if masks.style else None
    alpha = masks.alpha[1 + style_index(part, styles)] if masks.alpha else None
    shares = [resize_mask(crop_edges(mask, crop), height, width) for mask in (given, alpha) if mask is not None]
    return functools.reduce(np.multiply, shares) if shares else None


def region_masks(masks: Masks, count: int, height: int, width: int) -> dict[str, Mask | None]:
    """Return the mask (height, width) of each region by its number; None means a mask of ones.

    Without content masks, the only region is "". Overlapping masks share a position, so that it counts at most once. With one
    mask fewer than `count` styles, the last style takes the rest. The preserved region takes no style.
    """
    free = None if masks.preserve is None else 1 - resize_mask(masks.preserve, height, width)
    if not masks.content:
        return {"": free}
    shares = [resize_mask(mask, height, width) for mask in masks.content]
    total = np.maximum(sum(shares), 1)
    shares = [share / total for share in shares]
    if len(shares) < count:
        shares.append(np.maximum(1 - sum(shares), 0))
    return {str(i): share if free is None else share * free for i, share in enumerate(shares, 1)}


def layer_masks(mask: Mask | None, layers: Iterable[str]) -> dict[str, Mask | None]:
    """Return the mask at each layer, without the layers where it covers less than one position in total."""
    if mask is None:
        return dict.fromkeys(layers)
    pooled = {layer: average_pool_mask(mask, block_index(layer) - 1) for layer in layers}
    return {layer: mask for layer, mask in pooled.items() if mask.sum() >= 1}


def average_pool_mask(mask: Mask, times: int) -> Mask:
    """Average 2×2 positions `times` times; an odd last row or column is dropped, as in the network."""
    for _ in range(times):
        h, w = (side // 2 for side in mask.shape)
        mask = mask[: 2 * h, : 2 * w].reshape(h, 2, w, 2).mean((1, 3))
    return mask


def require_coverage(name: str, mask: Mask | None, layers: Sequence[str]) -> None:
    """Raise `InputError` for a mask, at the size of the last scale, that is empty at one of the layers."""
    covered = layer_masks(mask, layers)
    for layer in layers:
        if layer not in covered:
            raise InputError(
                f"{name} covers less than one position of layer {layer} ({2 ** (block_index(layer) - 1)} pixels a side); "
                "make the region larger, or use a larger --size or shallower --style-layers"
            )


def _check_counts(masks: Masks, config: TransferConfig, images: int) -> None:
    count = num_style_parts(images, masks)
    if masks.style and len(masks.style) != count:
        raise InputError(
            f"there are {len(masks.style)} style masks and {count} styles; give one for each style, or several for one"
        )
    if masks.content and len(masks.content) not in (count, count - 1):
        raise InputError(
            f"there are {len(masks.content)} content masks for {count} {'style masks' if masks.style else 'styles'}; "
            "give one for each, or one fewer: the last style then takes the rest"
        )
    if masks.content and config.style_schedule != "blend":
        raise InputError("--style-schedule coarse-to-fine cannot be combined with --content-masks; use one of them")
    if config.style_weights and len(config.style_weights) != count:
        raise InputError(
            f"--style-weights has {len(config.style_weights)} numbers for {count} styles; give one for each"
        )
    if isinstance(config.style_scale, tuple) and len(config.style_scale) != images:
        raise InputError(
            f"--style-scale has {len(config.style_scale)} numbers for {images} styles; give one for each, or one for all"
        )


def _check_alpha(alpha: Sequence[Any], images: Sequence[tuple[int, ...]]) -> list[Mask | None]:
    if len(alpha) not in (0, len(images)):
        raise InputError(
            f"alpha must be that of the content and of each style ({len(images)}), got {len(alpha)}; use None"
        )
    roles = ["content", *(f"style {i}" for i in range(1, len(images)))]
    return [
        None if mask is None else _mask(mask, f"the alpha of {role}", image, role)
        for mask, image, role in zip(alpha, images, roles, strict=False)
    ]


def _mask(mask: Any, name: str, image: tuple[int, ...], role: str) -> Mask:
    array = np.asarray(mask)
    if array.ndim == 3 and array.shape[-1] == 3:
        raise InputError(
            f"{name} is in color; a mask must be a gray image, white inside the region and black outside, or one content mask "
            "and one style mask of a single style must be in the same flat colors"
        )
    if array.ndim != 2 or array.dtype.kind not in "fb" or not array.size:
        raise InputError(f"{name} must be (h, w) of floats in [0, 1], got an array {array.shape} of {array.dtype}")
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise InputError(f"{name} has values outside [0, 1]; divide it by its full intensity")
    (h, w), (height, width) = array.shape, image[:2]
    # A mask may have been drawn on a copy of another size.
    if not same_aspect(array.shape, image):
        raise InputError(
            f"{name} is {w}×{h} pixels, and its {role} {width}×{height}; give a mask of the same aspect ratio, of any size"
        )
    return array.astype(np.float32, copy=False)
