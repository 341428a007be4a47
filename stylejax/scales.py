"""One scale of a run: its size and steps, the image it starts from, its targets, and what the losses weigh there."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from stylejax.config import TransferConfig, layer_name, layer_weight
from stylejax.gaussian import Moments
from stylejax.images import read_image
from stylejax.losses import Mean, absolute_variations, isotropic_variations, variations
from stylejax.network import smallest_side
from stylejax.objective import (
    Guides,
    Kept,
    Statistic,
    StyleTarget,
    StyleTargets,
    Targets,
    Terms,
    blend,
    content_targets,
    entry,
    layer_and_region,
    style_error,
    style_targets,
)
from stylejax.regions import Masks, guides, parts, regions, style_of
from stylejax.resizing import Picture, fit, resize, resize_mask
from stylejax.types import ByLayer, Features, Scalar
from stylejax.vgg import VGG

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


def loss_weights(
    config: TransferConfig, targets: Targets, pixels: int = 1, squares: Mapping[str, Mean] | None = None
) -> Terms:
    """α and β of equation 7 by layer, each times the layer's own weight w_l. `squares` is P² over positions and channels, where
    the targets do not have the whole P.

    `paper`: α · N·M, which turns the mean of `content_loss` into the sum of equation 1, and β · w_l with w_l = 1/L.
    `mean`: 2α and 4β/N², that is α · mean (F - P)² and β · mean ((G - A) / N)²; of Gaussians, β · W²/N. The total variation is
    summed over the image, of so many `pixels`.
    Deviation, `relative`: both are divided by the loss of an image without any response, Σ_l ½ mean P² and
    Σ_l 1/(4N²) Σ A². Then α and β weigh the relative errors of content and style, and mean the same for every size, network
    and style: these losses grow with the square and the fourth power of the scale of the responses. Of several regions, each
    has β times the part of the picture that it is of: a style is as strong in a small region as in a large one.
    """
    alpha, beta, tv = (jnp.float32(w) for w in (config.content_weight, config.style_weight, config.tv_weight))
    if squares is None:
        squares = {name: Mean(jnp.sum(p**2), jnp.asarray(p.size, p.dtype)) for name, p in targets.content.items()}
    own, shares = _own(config, squares, targets), {name: _share(config, targets, name) for name in targets.style}
    match config.balance:
        case "paper":
            content = {name: alpha * square.weight for name, square in squares.items()}
            style = {name: beta / len(config.style_layers) for name in targets.style}
        case "mean":
            content = {name: 2 * alpha for name in squares}
            style = {name: beta * _per_channel(a) for name, a in targets.style.items()}
            tv = tv * 3 * pixels
        case _:
            contents = _sum(own.content[name] * 0.5 * square.value for name, square in squares.items())
            content = {name: alpha / contents for name in squares}
            style = {name: beta / _strength(targets, own.style, name) for name in targets.style}
    content = {name: own.content[name] * weight for name, weight in content.items()}
    style = {name: own.style[name] * shares[name] * weight for name, weight in style.items()}
    return Terms(content, style, tv)


def _own(config: TransferConfig, content: Iterable[str], targets: Targets) -> Terms:
    """w_l of each entry."""
    of_content, of_style = (
        {layer_name(given): layer_weight(given) for given in layers}
        for layers in (config.content_layers, config.style_layers)
    )
    style = {name: of_style.get(layer_and_region(name)[0], 1.0) for name in targets.style}
    return Terms({name: of_content.get(name, 1.0) for name in content}, style, 1.0)


def _share(config: TransferConfig, targets: Targets, name: str) -> Scalar | float:
    """How much the region of an entry counts: the part of the picture that it is of, times the weight of its style over the
    mean of the weights."""
    region, guide = layer_and_region(name)[1], targets.guides.get(name)
    weights = config.style_weights if region else ()
    weight = weights[int(region) - 1] * len(weights) / sum(weights) if weights else 1.0
    return weight if guide is None else weight * guide.mean()


def _strength(targets: Targets, own: ByLayer, name: str) -> Scalar:
    """The loss of an image without any response in the region of an entry."""
    region = layer_and_region(name)[1]
    return _sum(own[other] * _whole(a) for other, a in targets.style.items() if layer_and_region(other)[1] == region)


def _per_channel(target: StyleTarget) -> float:
    """4/N² of a Gram matrix."""
    return 1.0 if isinstance(target, Moments) else 4 / target.shape[0] ** 2


def _whole(target: StyleTarget) -> Scalar:
    """The style loss of a layer without any response."""
    return style_error(jnp.zeros_like(jax.tree.leaves(target)[0]), target)


def _sum(losses: Iterable[Scalar]) -> Scalar:
    """Not quite zero even for a picture without any response, since weights are divided by it."""
    return jnp.maximum(sum(losses, jnp.zeros(())), jnp.finfo(jnp.float32).tiny ** 0.5)
