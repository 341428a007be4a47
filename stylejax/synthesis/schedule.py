"""The scales of a run, from coarse to fine: their steps, and the sizes of the image and of the styles."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from stylejax.config import TransferConfig
from stylejax.config_parsing import parse_scales
from stylejax.images.resize import fit
from stylejax.models.architecture import smallest_side

MIN_SIDE = 96
"""Longest side of the first scale of `--scales auto` at least, in pixels: below it the deepest layer has hardly any positions
left. Scales are an octave apart; half octaves and other ladders are measured in docs/design.md."""

STEP_RATIO = 0.75
"""Steps of a scale over those of the scale before it, which costs less; measured in docs/design.md."""


class Scale(NamedTuple):
    """One scale of a run: longest side, steps, (height, width) of the image and of each style, numbers of the styles used."""

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
    """Return the scales at which every image has a position left in the deepest layer.

    The first of them gets the steps of those that are left out.

    Args:
        config: size, steps, scales and sizes of the styles.
        layers: names of all layers that are used.
        content: shape of the content image.
        styles: shapes of the style images.
        count: number of styles, or of parts of a single one.
    """
    layers = tuple(layers)
    sizes = {
        side: (
            image_size(config, layers, content, side),
            tuple(style_size(config, s, side, i) for i, s in enumerate(styles)),
        )
        for side in resolutions(config)
    }
    deep = [
        (side, n)
        for side, n in split_steps(config)
        if side == config.size or _least(sizes[side]) >= smallest_side(layers)
    ]
    (first, _), *finer = deep
    steps = [config.steps - sum(n for _, n in finer), *(n for _, n in finer)]
    taken = [_styles_at(config, index, len(deep), count) for index in range(len(deep))]
    return tuple(Scale(side, n, *sizes[side], t) for (side, _), n, t in zip(deep, steps, taken, strict=True))


def resolutions(config: TransferConfig) -> tuple[int, ...]:
    """Return the longest sides of the scales, from coarse to fine; the last is `size`."""
    given = parse_scales(config.scales, config.size)
    octaves = int(math.log2(max(config.size / MIN_SIDE, 1)))
    return given or (*(round(config.size / 2**i) for i in range(octaves, 0, -1)), config.size)


def split_steps(config: TransferConfig) -> tuple[tuple[int, int], ...]:
    """Return (longest side, steps) of each scale; each has one step at least, and coarse scales are dropped for that."""
    sides = resolutions(config)[-config.steps :]
    shares = [STEP_RATIO**i for i in range(len(sides))]
    spare = config.steps - len(sides)
    ends = [round(spare * sum(shares[: i + 1]) / sum(shares)) for i in range(len(sides))]
    return tuple((side, 1 + b - a) for side, a, b in zip(sides, [0, *ends], ends, strict=False))


def image_size(config: TransferConfig, layers: Iterable[str], shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Return height and width of the image at a scale.

    To repeat without a seam, both are multiples of all poolings: what these drop would be missing at the edge.
    """
    multiple = smallest_side(layers) if config.padding == "circular" else 1
    h, w = fit(shape, side)
    return max(1, round(h / multiple)) * multiple, max(1, round(w / multiple)) * multiple


def style_size(config: TransferConfig, shape: tuple[int, ...], side: int, number: int) -> tuple[int, int]:
    """Return height and width of a style at a scale. It is never enlarged: enlarging adds no strokes."""
    scale = config.style_scale[number] if isinstance(config.style_scale, tuple) else config.style_scale
    return fit(shape, max(1, min(round(side * scale), max(shape[:2]))))


def step_costs(schedule: Sequence[Scale]) -> Float[np.ndarray, " steps"]:
    """Return the cost of each step of a run, to which its time is proportional: the pixels of a square image."""
    return np.repeat([float(scale.side) ** 2 for scale in schedule], [scale.steps for scale in schedule])


def _least(sizes: tuple[tuple[int, int], tuple[tuple[int, int], ...]]) -> int:
    image, styles = sizes
    return min(min(size) for size in (image, *styles))


def _styles_at(config: TransferConfig, index: int, scales: int, count: int) -> tuple[int, ...]:
    """Return the numbers of all styles, or with `style_per_scale` of the one whose turn it is."""
    return (index * count // scales,) if config.style_per_scale and count else tuple(range(count))
