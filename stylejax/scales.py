"""One scale of a run: its size and steps, the image it starts from, its targets, and what the losses weigh there."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylejax.config import TransferConfig
from stylejax.images import Picture, fit, read_image, resize, resize_mask
from stylejax.objective import (
    Guides,
    Kept,
    Targets,
    Terms,
    blend,
    content_targets,
    entry,
    layer_and_region,
    style_targets,
)
from stylejax.regions import Masks, guides, parts, regions, style_of
from stylejax.types import Features, GramMatrices, Scalar
from stylejax.vgg import VGG, smallest_side

NOISE = 0.05
"""Standard deviation of the first noise around middle grey. What the network does not see of it stays in the picture."""


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
    return (*config.content_layers, *config.style_layers)


def first_image(config: TransferConfig, content: Picture, styles: list[Picture], h: int, w: int) -> Picture:
    """The image that the first scale starts from."""
    match config.init:
        case "content":
            return resize(content, h, w)
        case "style":
            return resize(styles[0], h, w)
        case "noise":
            return noise(config.seed, h, w)
        case path:
            return resize(read_image(path), h, w)


def targets_at(
    content: Picture, styles: list[Picture], vgg: VGG, config: TransferConfig, side: int, masks: Masks | None = None
) -> Targets:
    """Targets at one scale."""
    masks = masks or Masks()
    responses, kept = content_at(content, vgg, config, side, masks)
    return Targets(responses, *style_at(content.shape, styles, vgg, config, side, masks), kept)


def content_at(
    content: Picture, vgg: VGG, config: TransferConfig, side: int, masks: Masks
) -> tuple[Features, Kept | None]:
    """What the picture should have of the content, and what of it is kept, at one scale."""
    h, w = content_size(config, content.shape, side)
    image = resize(content, h, w)
    kept = None if masks.keep is None else Kept(jnp.asarray(image), jnp.asarray(resize_mask(masks.keep, h, w)))
    return _responses(vgg, image, config.content_layers), kept


def style_at(
    content: tuple[int, ...], styles: list[Picture], vgg: VGG, config: TransferConfig, side: int, masks: Masks
) -> tuple[GramMatrices, Guides]:
    """Gram matrices and guides at one scale, by layer and region. A layer at which a region is empty is left out of it."""
    taken = [
        grams_of(part, styles, vgg, config, side, masks) for part in parts_at(content, styles, config, side, masks)
    ]
    found = regions(masks, len(taken), *content_size(config, content, side))
    # Without masks of the content, all styles are for the one region that there is.
    each = taken if masks.content else [blend(taken, config.style_weights)]
    style, guided = {}, {}
    for (region, mask), grams in zip(found.items(), each, strict=True):
        covered = guides(mask, config.style_layers)
        for layer in (layer for layer in grams if layer in covered):
            style[entry(layer, region)] = grams[layer]
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


def grams_of(
    part: int, styles: list[Picture], vgg: VGG, config: TransferConfig, side: int, masks: Masks
) -> GramMatrices:
    """What the picture should have of a part of the styles, at a scale, by layer."""
    number = style_of(part, len(styles))
    h, w = style_size(config, styles[number].shape, side, number)
    within = resize_mask(masks.style[part], h, w) if masks.style else None
    return _grams(vgg, resize(styles[number], h, w), dict(guides(within, config.style_layers)))


@functools.partial(jax.jit, static_argnums=2)
def _responses(vgg: VGG, content: Any, layers: tuple[str, ...]) -> Features:
    return content_targets(vgg, content, layers)


@jax.jit
def _grams(vgg: VGG, style: Any, guides: dict[str, Any]) -> GramMatrices:
    return style_targets(vgg, style, guides, guides)


def noise(seed: int, height: int, width: int) -> Picture:
    """Gaussian noise around middle grey, the same for the same seed on every machine."""
    generator = np.random.Generator(np.random.Philox(seed))
    return (0.5 + NOISE * generator.standard_normal((height, width, 3))).astype(np.float32)


def loss_weights(config: TransferConfig, targets: Targets) -> Terms:
    """α and β of equation 7 by layer.

    `paper`: α · N·M, which turns the mean of `content_loss` into the sum of equation 1, and β · w_l with w_l = 1/L.
    Deviation, `relative`: both are divided by the loss of an image without any response, Σ_l ½ mean P² and
    Σ_l 1/(4N²) Σ A². Then α and β weigh the relative errors of content and style, and mean the same for every size, network
    and style: these losses grow with the square and the fourth power of the scale of the responses. Of several regions, each
    has β times the part of the picture that it is of: a style is as strong in a small region as in a large one.
    """
    alpha, beta, tv = (jnp.float32(w) for w in (config.content_weight, config.style_weight, config.tv_weight))
    shares = {name: beta * _share(config, targets, name) for name in targets.style}
    if config.balance == "paper":
        content = {name: alpha * p.size for name, p in targets.content.items()}
        return Terms(content, {name: share / len(config.style_layers) for name, share in shares.items()}, tv)
    contents = _sum(0.5 * jnp.mean(p**2) for p in targets.content.values())
    content = {name: alpha / contents for name in targets.content}
    return Terms(content, {name: share / _strength(targets, name) for name, share in shares.items()}, tv)


def _share(config: TransferConfig, targets: Targets, name: str) -> Scalar | float:
    """How much the region of an entry counts: the part of the picture that it is of, times the weight of its style over the
    mean of the weights."""
    region, guide = layer_and_region(name)[1], targets.guides.get(name)
    weights = config.style_weights if region else ()
    weight = weights[int(region) - 1] * len(weights) / sum(weights) if weights else 1.0
    return weight if guide is None else weight * guide.mean()


def _strength(targets: Targets, name: str) -> Scalar:
    """The loss of an image without any response in the region of an entry."""
    region = layer_and_region(name)[1]
    return _sum(jnp.mean(a**2) / 4 for other, a in targets.style.items() if layer_and_region(other)[1] == region)


def _sum(losses: Iterable[Scalar]) -> Scalar:
    """Not quite zero even for a picture without any response, since weights are divided by it."""
    return jnp.maximum(sum(losses, jnp.zeros(())), jnp.finfo(jnp.float32).tiny ** 0.5)
