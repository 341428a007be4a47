"""One scale of a run: its size and steps, the image it starts from, its targets, and what the losses weigh there."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float

from stylejax.config import TransferConfig
from stylejax.config_validation import layer_name
from stylejax.images.io import read_image
from stylejax.images.resize import Picture, fit, resize, resize_mask
from stylejax.losses.gatys import absolute_variations, isotropic_variations, variations
from stylejax.losses.objective import (
    Guides,
    Kept,
    Statistic,
    StyleTargets,
    Targets,
    blend,
    content_targets,
    entry,
    style_targets,
)
from stylejax.models.architecture import smallest_side
from stylejax.models.vgg import VGG
from stylejax.synthesis.regions import Masks, guides, parts, regions, style_of
from stylejax.types import Features

Measured: TypeAlias = Callable[[VGG, Picture, Any, Statistic], StyleTargets]
"""Measures a picture at the layers of guides."""

NOISE = 0.05
"""Standard deviation of the first noise around middle grey. What the network does not see of it stays in the picture."""

VARIATIONS = {
    "squared": Partial(variations),
    "absolute": Partial(absolute_variations),
    "isotropic": Partial(isotropic_variations),
}
"""What measures the total variation, by the option `tv`."""


def scales_of(
    config: TransferConfig, content: tuple[int, ...], styles: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, int], ...]:
    """(longest side, steps) of each scale that has a position left in the deepest layer of every image; the first of them
    has the steps of those that are left out."""
    least = smallest_side(layers_of(config))

    def deep_enough(side: int) -> bool:
        of_styles = (style_size(config, shape, side, number) for number, shape in enumerate(styles))
        sizes = [content_size(config, content, side), *of_styles]
        return side == config.size or min(min(size) for size in sizes) >= least

    (side, steps), *finer = [(side, n) for side, n in config.schedule() if deep_enough(side)]
    return ((side, config.steps - sum(n for _, n in finer)), *finer)


def work_of(schedule: Sequence[tuple[int, int]]) -> Float[np.ndarray, " steps"]:
    """What each step of a run takes, in the pixels of a square picture: its time is in proportion to them."""
    return np.repeat([float(side) ** 2 for side, _ in schedule], [steps for _, steps in schedule])


def content_size(config: TransferConfig, shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width of the picture, and of the content in it, at a scale. To repeat without a seam, its sides divide
    by all poolings: what they dropped would be missing at the edge."""
    multiple = smallest_side(layers_of(config)) if config.padding == "circular" else 1
    h, w = fit(shape, side)
    return max(1, round(h / multiple)) * multiple, max(1, round(w / multiple)) * multiple


def style_size(config: TransferConfig, shape: tuple[int, ...], side: int, number: int = 0) -> tuple[int, int]:
    """Height and width of a style at a scale. It is never enlarged, for enlarging adds no strokes."""
    scale = config.style_scale[number] if isinstance(config.style_scale, tuple) else config.style_scale
    return fit(shape, max(1, min(round(side * scale), max(shape[:2]))))


def layers_of(config: TransferConfig) -> tuple[str, ...]:
    """Every layer that is looked at."""
    return tuple(map(layer_name, (*config.content_layers, *config.style_layers)))


def first_image(config: TransferConfig, content: Picture, styles: list[Picture], h: int, w: int) -> Picture:
    """The image that the first scale starts from: one of these, or a blend of several."""
    images = {
        "content": lambda: resize(content, h, w),
        "style": lambda: resize(styles[0], h, w),
        "noise": lambda: noise(config.seed, h, w),
        "grey": lambda: np.full((h, w, 3), 0.5, np.float32),
    }
    match list(config.first_images().items()):
        case []:
            return resize(read_image(config.init), h, w)
        case [(name, _)]:
            return images[name]()
        case blended:
            return np.sum([np.float32(share) * images[name]() for name, share in blended], 0)


def targets_at(
    content: Picture, styles: list[Picture], vgg: VGG, config: TransferConfig, side: int, masks: Masks | None = None
) -> Targets:
    """Targets at one scale."""
    masks = masks or Masks()
    seen, kept = content_at(content, vgg, config, side, masks)
    style, guided = style_at(content.shape, styles, vgg, config, side, masks)
    return Targets(seen, style, guided, kept, VARIATIONS[config.tv])


def content_at(
    content: Picture, vgg: VGG, config: TransferConfig, side: int, masks: Masks
) -> tuple[Features, Kept | None]:
    """What the picture should have of the content, and what of it is kept, at one scale."""
    h, w = content_size(config, content.shape, side)
    image = resize(content, h, w)
    return responses(vgg, image, tuple(map(layer_name, config.content_layers))), kept_at(content, masks, h, w)


def kept_at(content: Picture, masks: Masks, h: int, w: int) -> Kept | None:
    """What of the content is kept in a picture of that size."""
    if masks.keep is None:
        return None
    return Kept(jnp.asarray(resize(content, h, w)), jnp.asarray(resize_mask(masks.keep, h, w)))


def style_at(
    content: tuple[int, ...],
    styles: list[Picture],
    vgg: VGG,
    config: TransferConfig,
    side: int,
    masks: Masks,
    measured: Measured | None = None,
) -> tuple[StyleTargets, Guides]:
    """What the styles are compared by, and guides, by layer and region. A layer at which a region is empty is left out.
    `measured` is another way to `style_targets`."""
    taken = [
        targets_of(part, styles, vgg, config, side, masks, measured or _styles)
        for part in parts_at(content, styles, config, side, masks)
    ]
    found = regions(masks, len(taken), *content_size(config, content, side))
    # Without masks of the content, all styles are for the one region that there is.
    each = taken if masks.content else [blend(taken, config.style_weights)]
    style, guided = {}, {}
    for (region, mask), wanted in zip(found.items(), each, strict=True):
        covered = guides(mask, map(layer_name, config.style_layers))
        for layer in (layer for layer in wanted if layer in covered):
            style[entry(layer, region)] = wanted[layer]
            if (guide := covered[layer]) is not None:
                guided[entry(layer, region)] = jnp.asarray(guide)
    return style, guided


def parts_at(
    content: tuple[int, ...], styles: list[Picture], config: TransferConfig, side: int, masks: Masks
) -> Sequence[int]:
    """The parts of styles that are taken at a scale: all or, of one after the other, the one whose turn it is."""
    count = parts(len(styles), masks)
    if not (config.style_per_scale and count):
        return range(count)
    sides = [s for s, _ in scales_of(config, content, [style.shape for style in styles])]
    return [sides.index(side) * count // len(sides)]


def targets_of(
    part: int,
    styles: list[Picture],
    vgg: VGG,
    config: TransferConfig,
    side: int,
    masks: Masks,
    measured: Measured,
) -> StyleTargets:
    """What the picture should have of a part of the styles, at a scale, by layer."""
    number = style_of(part, len(styles))
    h, w = style_size(config, styles[number].shape, side, number)
    within = resize_mask(masks.style[part], h, w) if masks.style else None
    covered = guides(within, map(layer_name, config.style_layers))
    return measured(vgg, resize(styles[number], h, w), covered, config.statistic)


@functools.partial(jax.jit, static_argnums=2)
def responses(vgg: VGG, content: Any, layers: tuple[str, ...]) -> Features:
    """`content_targets`, compiled."""
    return content_targets(vgg, content, layers)


@functools.partial(jax.jit, static_argnums=3)
def _styles(vgg: VGG, style: Any, guides: dict[str, Any], statistic: Statistic) -> StyleTargets:
    return style_targets(vgg, style, guides, guides, statistic)


def noise(seed: int, height: int, width: int) -> Picture:
    """Gaussian noise around middle grey, the same for the same seed on every machine."""
    generator = np.random.Generator(np.random.Philox(seed))
    return (0.5 + NOISE * generator.standard_normal((height, width, 3))).astype(np.float32)
