"""Whether a run can work, asked before its work: images, layers, sizes, regions, memory."""

import dataclasses
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from stylejax.config import TransferConfig
from stylejax.config_validation import layer_name
from stylejax.errors import InputError
from stylejax.images.resize import Picture, resize_mask
from stylejax.models.architecture import canonical_layer, smallest_side
from stylejax.synthesis.planning import planned
from stylejax.synthesis.regions import Masks, check_covered, check_masks, parts, regions, style_of
from stylejax.synthesis.targets import content_size, layers_of, scales_of, style_size


def check_image(image: Any, role: str) -> Picture:
    """An array (h, w, 3) of finite numbers in float32; anything else raises `InputError`."""
    if isinstance(image, str | PathLike):
        raise InputError(f"the {role} image is a name, {str(image)!r}; give what stylejax.read_image makes of it")
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[-1] != 3 or array.dtype.kind not in "fiu":
        raise InputError(
            f"the {role} image is an array {array.shape} of {array.dtype}; it should be (h, w, 3) of numbers"
        )
    if array.dtype.kind in "iu":
        raise InputError(f"the {role} image holds integers; divide it by 255 (or 65535) so that it is in [0, 1]")
    if not np.isfinite(array).all():
        raise InputError(f"the {role} image has values that are not finite; give it numbers in [0, 1] everywhere")
    if array.min() < -0.5 or array.max() > 1.5:
        raise InputError(f"the {role} image has values outside [0, 1]; divide it by its full intensity")
    return array.astype(np.float32, copy=False)


def check_run(
    config: TransferConfig,
    network: str,
    content: tuple[int, ...],
    styles: Sequence[tuple[int, ...]],
    masks: Masks | None = None,
) -> TransferConfig:
    """The config with the paper's names of layers, and with `tile` and `shard` decided.

    Raises `InputError` for what this network and these image shapes can not do: an unknown layer, a picture too small for the
    deepest layer, a mask that is empty there, more memory than there is.
    """
    if config.style_weight and not styles:
        raise InputError("no style image was given; give one, or --style-weight 0")
    if "style" in config.first_images() and not styles:
        raise InputError(
            f"--init is {config.init!r}, and no style image was given; begin with content, noise or a FILE"
        )
    content_layers = tuple(_canonical(entry, network) for entry in config.content_layers)
    style_layers = tuple(_canonical(entry, network) for entry in config.style_layers)
    config = dataclasses.replace(config, content_layers=content_layers, style_layers=style_layers if styles else ())
    masks = check_masks(masks or Masks(), config, content, styles)
    layers = layers_of(config)
    least = smallest_side(layers)
    sizes = [("content", content, content_size(config, content, config.size))]
    sizes += [("style", shape, style_size(config, shape, config.size, number)) for number, shape in enumerate(styles)]
    for role, shape, (h, w) in sizes:
        if min(shape[:2]) < least:
            _refuse_small(f"the {role} image is {shape[1]}×{shape[0]} pixels", layers, "give a larger picture")
        if min(h, w) < least:
            _refuse_small(f"at --size {config.size} the {role} image is {w}×{h} pixels", layers, "take a larger --size")
    _check_regions(config, content, styles, masks)
    return planned(config, network, content)


def _canonical(entry: str, network: str) -> str:
    name, colon, weight = entry.partition(":")
    return canonical_layer(name, network) + colon + weight


def _check_regions(
    config: TransferConfig, content: tuple[int, ...], styles: Sequence[tuple[int, ...]], masks: Masks
) -> None:
    """Raises `InputError` where a style has nothing to take, no place in the picture, or no scale."""
    count, layers = parts(len(styles), masks), tuple(map(layer_name, config.style_layers))
    scales = len(scales_of(config, content, styles))
    if config.style_per_scale and count > scales:
        raise InputError(
            f"--style-per-scale has {count} styles for {scales} scales; give more --scales, or fewer styles"
        )
    for region, mask in regions(masks, count, *content_size(config, content, config.size)).items():
        number = int(region) if region else 0
        what = f"content mask {number}" if number <= len(masks.content) else "what is left for the last style"
        check_covered(what if number else "what is not kept", mask, layers)
    for part, mask in enumerate(masks.style):
        number = style_of(part, len(styles))
        at_size = resize_mask(mask, *style_size(config, styles[number], config.size, number))
        check_covered(f"style mask {part + 1}", at_size, layers)


def _refuse_small(what: str, layers: Sequence[str], remedy: str) -> None:
    deepest = max(layers)
    raise InputError(
        f"{what}, and layer {deepest} needs at least {smallest_side([deepest])} pixels a side; {remedy} or shallower layers"
    )
