"""Whether a run can work, decided before its work: images, layers, sizes, regions, memory."""

import dataclasses
from collections.abc import Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from stylejax.config import TransferConfig
from stylejax.config_parsing import parse_init, parse_layers
from stylejax.errors import InputError
from stylejax.images.resize import Picture, resize_mask
from stylejax.models.architecture import canonical_layer, smallest_side
from stylejax.synthesis.planning import Partition, Workload, plan_partition
from stylejax.synthesis.regions import Masks, check_covered, check_masks, parts, regions, style_of
from stylejax.synthesis.schedule import Scale, image_size, make_schedule, style_size


class Plan(NamedTuple):
    """A run that was found possible, with all that is decided once: `config` has the paper's names of layers and the decided
    `tile` and `shard`; layers have their weights; masks are float32."""

    config: TransferConfig
    work: Workload
    content_layers: dict[str, float]
    style_layers: dict[str, float]
    masks: Masks
    schedule: tuple[Scale, ...]
    partition: Partition

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all layers that are used."""
        return self.work.layers


def check_image(image: Any, role: str) -> Picture:
    """Return an array (h, w, 3) of finite numbers as float32. Raises `InputError` for anything else."""
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


def make_plan(
    config: TransferConfig,
    network: str,
    content: tuple[int, ...],
    styles: Sequence[tuple[int, ...]],
    masks: Masks,
) -> Plan:
    """Check a run and decide how it is evaluated.

    Args:
        config: as the user gave it.
        network: vgg19 or vgg16.
        content: shape of the content image.
        styles: shapes of the style images.
        masks: of the regions, of any sizes.

    Returns:
        The plan of the run.

    Raises:
        InputError: for an unknown layer, an image too small for the deepest layer, a mask that is empty there, or more memory
            than is free.
    """
    _check_styles(config, styles)
    config = _canonical(config, network, bool(styles))
    content_layers, style_layers = parse_layers(config.content_layers), parse_layers(config.style_layers)
    layers = (*content_layers, *style_layers)
    masks = check_masks(masks, config, content, styles)
    _check_sizes(config, layers, content, styles)
    schedule = make_schedule(config, layers, content, styles, parts(len(styles), masks))
    _check_regions(masks, schedule, styles, tuple(style_layers))
    work = Workload(config, layers, network, content)
    partition = plan_partition(work)
    decided = {
        name: str(n) if n > none else "off" for name, n, none in zip(("tile", "shard"), partition, (0, 1), strict=True)
    }
    return Plan(dataclasses.replace(config, **decided), work, content_layers, style_layers, masks, schedule, partition)


def _check_styles(config: TransferConfig, styles: Sequence[tuple[int, ...]]) -> None:
    if config.style_weight and not styles:
        raise InputError("no style image was given; give one, or --style-weight 0")
    if "style" in parse_init(config.init) and not styles:
        raise InputError(
            f"--init is {config.init!r}, and no style image was given; begin with content, noise or a FILE"
        )


def _canonical(config: TransferConfig, network: str, has_styles: bool) -> TransferConfig:
    """Return the config with the paper's names of layers, and without style layers if there is no style."""

    def canonical(entries: Sequence[str]) -> tuple[str, ...]:
        parts = (entry.partition(":") for entry in entries)
        return tuple(canonical_layer(name, network) + colon + weight for name, colon, weight in parts)

    content, style = canonical(config.content_layers), canonical(config.style_layers)
    return dataclasses.replace(config, content_layers=content, style_layers=style if has_styles else ())


def _check_sizes(
    config: TransferConfig, layers: Sequence[str], content: tuple[int, ...], styles: Sequence[tuple[int, ...]]
) -> None:
    """Raise `InputError` for an image with no position in the deepest layer."""
    least = smallest_side(layers)
    sizes = [("content", content, image_size(config, layers, content, config.size))]
    sizes += [("style", shape, style_size(config, shape, config.size, i)) for i, shape in enumerate(styles)]
    for role, shape, (h, w) in sizes:
        if min(shape[:2]) < least:
            _refuse_small(f"the {role} image is {shape[1]}×{shape[0]} pixels", layers, "give a larger picture")
        if min(h, w) < least:
            _refuse_small(f"at --size {config.size} the {role} image is {w}×{h} pixels", layers, "take a larger --size")


def _check_regions(
    masks: Masks, schedule: Sequence[Scale], styles: Sequence[tuple[int, ...]], layers: tuple[str, ...]
) -> None:
    """Raise `InputError` for a style without anything to take, a place in the image, or a scale."""
    count, scales, last = parts(len(styles), masks), len(schedule), schedule[-1]
    if len(last.styles) < count and count > scales:
        raise InputError(
            f"--style-per-scale has {count} styles for {scales} scales; give more --scales, or fewer styles"
        )
    for region, mask in regions(masks, count, *last.size).items():
        number = int(region) if region else 0
        what = f"content mask {number}" if number <= len(masks.content) else "what is left for the last style"
        check_covered(what if number else "what is not kept", mask, layers)
    for part, mask in enumerate(masks.style):
        size = last.style_sizes[style_of(part, len(styles))]
        check_covered(f"style mask {part + 1}", resize_mask(mask, *size), layers)


def _refuse_small(what: str, layers: Sequence[str], remedy: str) -> None:
    deepest = max(layers)
    raise InputError(
        f"{what}, and layer {deepest} needs at least {smallest_side([deepest])} pixels a side; {remedy} or shallower layers"
    )
