"""Schedule of a run from coarse to fine: the steps, image size and style sizes of each scale."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from stylejax.config import TransferConfig
from stylejax.config_parsing import parse_scales
from stylejax.errors import InputError
from stylejax.images.resize import cropped_shape, fit_longest_side
from stylejax.models.architecture import total_stride

MIN_SIDE = 96
"""Minimum longest side of the first scale of `--scales auto`, in pixels: below it the deepest layer has few positions left.
Scales are an octave apart; docs/design.md has measurements of other schedules."""

STEP_RATIO = 0.75
"""Steps of a scale over those of the previous, cheaper one (measured in docs/design.md)."""


class Scale(NamedTuple):
    """One scale: longest side, steps, sizes (height, width) of the images, indices of the styles used."""

    side: int
    steps: int
    size: tuple[int, int]
    style_sizes: tuple[tuple[int, int], ...]
    styles: tuple[int, ...]


def make_schedule(
    config: TransferConfig,
    layers: Iterable[str],
    content: tuple[int, ...],
    styles: Sequence[tuple[int, ...]],
    count: int,
) -> tuple[Scale, ...]:
    """Return the scales, without those at which an image has no position in the deepest layer.

    The first scale gets the steps of the omitted ones. The last scale is never omitted.

    Args:
        config: size, steps, scales, and scale of the styles.
        layers: names of all layers used.
        content: shape of the content image.
        styles: shapes of the style images.
        count: number of styles, or of parts of a single one.
    """
    layers = tuple(layers)

    def sizes(side: int) -> tuple[tuple[int, int], tuple[tuple[int, int], ...]]:
        style_sizes = tuple(style_size(config, shape, side, i) for i, shape in enumerate(styles))
        return image_size(config, layers, content, side), style_sizes

    def fits(side: int) -> bool:
        image, style_sizes = sizes(side)
        return side == config.side or min(map(min, (image, *style_sizes))) >= total_stride(layers)

    (first, _), *finer = [(side, steps) for side, steps in split_steps(config) if fits(side)]
    scales = [(first, config.total_steps - sum(steps for _, steps in finer)), *finer]
    return tuple(
        Scale(side, steps, *sizes(side), _styles_at(config, index, len(scales), count))
        for index, (side, steps) in enumerate(scales)
    )


def resolve_size(config: TransferConfig, content: tuple[int, ...]) -> TransferConfig:
    """Return the config with `size`, `width` and `height` as one longest side; raise `InputError` if they contradict.

    The longest side `round(width · max(h, w) / w)` of a content (h, w) gives exactly this width; heights are alike.
    """
    h, w = content[:2]
    side = max(h, w) if config.size == "content" else config.size
    if config.height:
        side = round(config.height * max(h, w) / h)
    if config.width:
        side = round(config.width * max(h, w) / w)
    resolved = dataclasses.replace(config, size=max(side, 1), width=0, height=0)
    height, _ = fit_longest_side(content, resolved.side)
    if config.width and config.height and config.height != height:
        raise InputError(
            f"--height must be {height} for --width {config.width}, as the aspect ratio of the content is kept, "
            f"got {config.height}; leave one of them out"
        )
    return resolved


def resolutions(config: TransferConfig) -> tuple[int, ...]:
    """Return the longest sides of the scales, from coarse to fine; the last is `size`."""
    octaves = int(math.log2(max(config.side / MIN_SIDE, 1)))
    automatic = (*(round(config.side / 2**i) for i in range(octaves, 0, -1)), config.side)
    return parse_scales(config.scales, config.side) or automatic


def split_steps(config: TransferConfig) -> tuple[tuple[int, int], ...]:
    """Return (longest side, steps) of each scale; with fewer steps than scales, coarse scales are dropped."""
    if not config.total_steps:
        return ((config.side, 0),)
    sides = resolutions(config)[-config.steps :]
    shares = [STEP_RATIO**i for i in range(len(sides))]
    spare = config.steps - len(sides)
    ends = [round(spare * sum(shares[: i + 1]) / sum(shares)) for i in range(len(sides))]
    return tuple((side, 1 + b - a) for side, a, b in zip(sides, [0, *ends], ends, strict=False))


def image_size(config: TransferConfig, layers: Iterable[str], shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Return the (height, width) of the image at a scale.

    With circular padding both are multiples of the total stride: poolings drop other rows, which would leave a seam.
    """
    multiple = total_stride(layers) if config.padding == "circular" else 1
    h, w = fit_longest_side(shape, side)
    return max(1, round(h / multiple)) * multiple, max(1, round(w / multiple)) * multiple


def style_size(config: TransferConfig, shape: tuple[int, ...], side: int, index: int) -> tuple[int, int]:
    """Return the (height, width) of a cropped style image at a scale. Enlarging it would add no strokes."""
    shape = cropped_shape(shape, style_crop(config))
    return fit_longest_side(shape, max(1, round(min(side * style_scale(config, index), max(shape[:2])))))


def style_crop(config: TransferConfig) -> float:
    """Return the share cut off at each edge of the styles: with circular padding none, as a seamless style has no edge.

    Deviation: the paper takes whole images. The network sees the edge of its input, and paints the pale edge of a scanned
    canvas along the edges of the result (docs/design.md, "The edge of the canvas").
    """
    return 0.0 if config.padding == "circular" else config.style_crop


def style_scale(config: TransferConfig, index: int) -> float:
    """Return the `style_scale` of the style image with this index."""
    return config.style_scale[index] if isinstance(config.style_scale, tuple) else config.style_scale


def work(schedule: Sequence[Scale], steps: int) -> int:
    """Return the relative cost of the first `steps` of a run; a step costs the pixels of a square image."""
    total = 0
    for scale in schedule:
        total += scale.side**2 * min(steps, scale.steps)
        steps = max(0, steps - scale.steps)
    return total


def describe_cost(schedule: Sequence[Scale], steps: int) -> str:
    """Return the cost of the first `steps` of a run, for someone who did not choose its settings."""
    h, w = schedule[-1].size
    default = sum(side**2 * count for side, count in split_steps(TransferConfig()))
    ratio = work(schedule, steps) / default
    return f"{steps:,} steps up to {w}×{h} pixels, {ratio:,.2g} times the work of the default settings"


def _styles_at(config: TransferConfig, index: int, scales: int, count: int) -> tuple[int, ...]:
    """Return the indices of the styles of a scale: all in a blend, else one after the other."""
    return tuple(range(count)) if config.style_schedule == "blend" or not count else (index * count // scales,)
