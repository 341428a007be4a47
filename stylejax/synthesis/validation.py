"""Validation of a run before its computation: images, layers, sizes, regions and memory."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from stylejax.config import TransferConfig
from stylejax.config_parsing import parse_init, parse_layers
from stylejax.config_validation import flag_name
from stylejax.errors import InputError
from stylejax.images.color import is_gray, stays_gray
from stylejax.images.resize import HostImage
from stylejax.models.architecture import canonical_layer_name, total_stride
from stylejax.presets import PRESETS
from stylejax.synthesis.planning import Partition, Workload, plan_execution
from stylejax.synthesis.regions import (
    Masks,
    check_masks,
    num_style_parts,
    region_masks,
    require_coverage,
    style_index,
    style_mask,
)
from stylejax.synthesis.schedule import (
    Scale,
    image_size,
    make_schedule,
    resolve_size,
    style_crop,
    style_scale,
    style_size,
)

RESOLVED = ("size", "width", "height", "tile", "shard")
"""Fields that are recorded as the plan resolves them, so that another machine makes the same image."""


class Plan(NamedTuple):
    """Validated run, with the fields `RESOLVED` and the names of layers resolved in its config.

    `content_layers` and `style_layers` have weights, and `initial` has the shares of the initial image, empty for a file, or is
    that image itself.
    `gray` says that the network sees no color, and so the result has none.
    """

    config: TransferConfig
    workload: Workload
    content_layers: dict[str, float]
    style_layers: dict[str, float]
    initial: dict[str, float] | HostImage
    masks: Masks
    schedule: tuple[Scale, ...]
    partition: Partition
    gray: bool

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all layers used."""
        return self.workload.layers


def plan_images(
    config: TransferConfig, network: str, content: HostImage, styles: Sequence[HostImage], masks: Masks
) -> Plan:
    """Return `make_plan` of a run with these images."""
    gray = stays_gray(config.color, is_gray(content), map(is_gray, styles))
    return make_plan(config, network, content.shape, [style.shape for style in styles], masks, gray)


def make_plan(
    config: TransferConfig,
    network: str,
    content: tuple[int, ...],
    styles: Sequence[tuple[int, ...]],
    masks: Masks,
    gray: bool = False,
) -> Plan:
    """Validate a run, and resolve its schedule, tiles and shards.

    Args:
        config: settings as the user gave them.
        network: vgg19 or vgg16.
        content: shape of the content image.
        styles: shapes of the style images.
        masks: masks of the regions, of any size.
        gray: whether the network sees no color.

    Raises:
        InputError: a layer is unknown, an image or a region too small for the deepest layer, or a run too large for the memory.
    """
    initial, config = parse_init(config.init), resolve_size(config, content)
    _check_styles(config, initial, bool(styles))
    config = _with_canonical_layers(config, network, bool(styles))
    content_layers, style_layers = parse_layers(config.content_layers), parse_layers(config.style_layers)
    if not config.total_steps:
        _check_recoloring(masks, len(styles))
        content_layers, style_layers = {}, {}
    layers = (*content_layers, *style_layers)
    masks = check_masks(masks, config, content, styles)
    _check_sizes(config, layers, content, styles)
    _note_small_styles(config, styles)
    _note_unused(config, initial, num_style_parts(len(styles), masks))
    schedule = make_schedule(config, layers, content, styles, num_style_parts(len(styles), masks))
    _check_regions(masks, schedule, styles, tuple(style_layers), style_crop(config))
    work = Workload(config, layers, network, content)
    partition = plan_execution(work)
    tile, shard = str(partition.tile or "off"), str(partition.shards) if partition.shards > 1 else "off"
    config = dataclasses.replace(config, tile=tile, shard=shard)
    return Plan(config, work, content_layers, style_layers, initial, masks, schedule, partition, gray)


def _check_styles(config: TransferConfig, initial: dict[str, float], has_styles: bool) -> None:
    if has_styles:
        return
    if config.style_weight:
        raise InputError("no style image was given; give one, or --style-weight 0")
    if "style" in initial:
        raise InputError(
            f"--init is {config.init!r}, and no style image was given; begin with content, noise or a FILE"
        )


def _with_canonical_layers(config: TransferConfig, network: str, has_styles: bool) -> TransferConfig:
    """Return the config with canonical layer names, and without style layers if there is no style."""

    def canonical(entries: Sequence[str]) -> tuple[str, ...]:
        parts = (entry.partition(":") for entry in entries)
        return tuple(canonical_layer_name(name, network) + colon + weight for name, colon, weight in parts)

    content, style = canonical(config.content_layers), canonical(config.style_layers)
    return dataclasses.replace(config, content_layers=content, style_layers=style if has_styles else ())


def _check_recoloring(masks: Masks, styles: int) -> None:
    if styles != 1 or masks.content or masks.style:
        raise InputError(
            f"--color only must have one style and no --content-masks or --style-masks, got {styles} styles; "
            "give one style, whose transparent parts do not count"
        )


def _check_sizes(
    config: TransferConfig, layers: Sequence[str], content: tuple[int, ...], styles: Sequence[tuple[int, ...]]
) -> None:
    """Raise `InputError` for an image with no position in the deepest layer, resized or not."""
    sizes = [("content", content, image_size(config, layers, content, config.side))]
    sizes += [("style", shape, style_size(config, shape, config.side, i)) for i, shape in enumerate(styles)]
    for role, shape, resized in sizes:
        _require_min_size(f"the {role} image", shape, layers, "give a larger image")
        _require_min_size(f"at --size {config.side} the {role} image", resized, layers, "use a larger --size")


def _note_small_styles(config: TransferConfig, styles: Sequence[tuple[int, ...]]) -> None:
    """Warn of styles whose `style_scale` has no effect, because a style is never enlarged."""
    for i, (h, w, *_) in enumerate(styles):
        scale = style_scale(config, i)
        if scale != 1 and config.side * scale > max(h, w) + 0.5:
            wanted = f"--style-scale {scale:g} at --size {config.side} needs {config.side * scale:.0f} pixels"
            warnings.warn(
                f"{wanted}, and style {i + 1} is {w}×{h}: it is not enlarged; give a larger image", stacklevel=3
            )


def _note_unused(config: TransferConfig, initial: dict[str, float], parts: int) -> None:
    """Warn of settings that no preset has, and that have no effect beside the other settings."""
    random = "noise" in initial or config.weights == "random"
    needed = {
        "seed": (random, "an --init with noise, or --weights random"),
        "history": (config.optimizer == "lbfgs", "--optimizer lbfgs"),
        "learning_rate": (config.optimizer == "adam", "--optimizer adam"),
        "tv_norm": (config.tv_weight > 0, "a --tv-weight above 0"),
        "style_weights": (parts > 1, "several styles or style masks"),
        "style_schedule": (parts > 1, "several styles"),
        "style_crop": (config.padding != "circular", "another --padding than circular"),
        "content_layers": (config.content_weight > 0, "a --content-weight above 0"),
        "style_layers": (config.style_weight > 0, "a --style-weight above 0"),
    }
    for name, (used, remedy) in needed.items():
        value = getattr(config, name)
        # Colors alone are taken from the cropped style.
        runs = config.total_steps > 0 or name == "style_crop"
        if not (used and runs) and all(value != getattr(base, name) for base in PRESETS.values()):
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            remedy = remedy if runs else "another --color than only"
            warnings.warn(f"{flag_name(name)} {shown} has no effect; it needs {remedy}", stacklevel=3)


def _require_min_size(name: str, shape: tuple[int, ...], layers: Sequence[str], remedy: str) -> None:
    height, width, *_ = shape
    if min(height, width) < total_stride(layers):
        raise InputError(
            f"{name} is {width}×{height} pixels, and layer {max(layers)} needs at least {total_stride(layers)} pixels a side; "
            f"{remedy} or shallower layers"
        )


def _check_regions(
    masks: Masks, schedule: Sequence[Scale], styles: Sequence[tuple[int, ...]], layers: tuple[str, ...], crop: float
) -> None:
    """Raise `InputError` for an empty region, or more styles than scales if each scale has its own style."""
    count, scales, last = num_style_parts(len(styles), masks), len(schedule), schedule[-1]
    if len(last.styles) < count and count > scales:
        raise InputError(
            f"--style-schedule coarse-to-fine has {count} styles for {scales} scales; give more --scales, or fewer styles"
        )
    for region, mask in region_masks(masks, count, *last.size).items():
        number = int(region or 0)
        name = f"content mask {number}" if number <= len(masks.content) else "the region left for the last style"
        require_coverage(name if number else "the region outside the preserve mask", mask, layers)
    for part in range(count):
        size = last.style_sizes[style_index(part, len(styles))]
        mask = style_mask(masks, part, len(styles), *size, crop)
        require_coverage(f"{'style mask' if masks.style else 'the visible part of style'} {part + 1}", mask, layers)
