"""One scale of a run: its size and steps, the image it starts from, its targets, and what the losses weigh there."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from stylejax.config import TransferConfig, layer_name, layer_weight
from stylejax.gaussian import Moments
from stylejax.images import Picture, fit, read_image, resize
from stylejax.losses import absolute_variations, isotropic_variations, variations
from stylejax.objective import (
    Statistic,
    StyleTarget,
    Targets,
    Terms,
    blend,
    content_targets,
    style_error,
    style_targets,
)
from stylejax.types import Scalar
from stylejax.vgg import VGG, smallest_side

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
        sizes = [content_size(config, content, side), *(style_size(config, shape, side) for shape in styles)]
        return side == config.size or min(min(size) for size in sizes) >= least

    (side, steps), *finer = [(side, n) for side, n in config.schedule() if deep_enough(side)]
    return ((side, config.steps - sum(n for _, n in finer)), *finer)


def content_size(config: TransferConfig, shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width of the picture, and of the content in it, at a scale. To repeat without a seam, its sides divide
    by all poolings: what they dropped would be missing at the edge."""
    multiple = smallest_side(layers_of(config)) if config.padding == "circular" else 1
    h, w = fit(shape, side)
    return max(1, round(h / multiple)) * multiple, max(1, round(w / multiple)) * multiple


def style_size(config: TransferConfig, shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width of a style at a scale. It is never enlarged, for enlarging adds no strokes."""
    return fit(shape, max(1, min(round(side * config.style_scale), max(shape[:2]))))


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


def targets_at(content: Picture, styles: list[Picture], vgg: VGG, config: TransferConfig, side: int) -> Targets:
    """Targets at one scale."""
    at_scale = [resize(s, *style_size(config, s.shape, side)) for s in styles]
    image = resize(content, *content_size(config, content.shape, side))
    layers = (tuple(map(layer_name, names)) for names in (config.content_layers, config.style_layers))
    return _targets(vgg, image, at_scale, *layers, config.statistic)._replace(variations=VARIATIONS[config.tv])


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _targets(
    vgg: VGG,
    content: Any,
    styles: list[Any],
    content_layers: tuple[str, ...],
    style_layers: tuple[str, ...],
    statistic: Statistic,
) -> Targets:
    wanted = blend([style_targets(vgg, style, style_layers, statistic) for style in styles]) if styles else {}
    return Targets(content_targets(vgg, content, content_layers), wanted)


def noise(seed: int, height: int, width: int) -> Picture:
    """Gaussian noise around middle grey, the same for the same seed on every machine."""
    generator = np.random.Generator(np.random.Philox(seed))
    return (0.5 + NOISE * generator.standard_normal((height, width, 3))).astype(np.float32)


def loss_weights(config: TransferConfig, targets: Targets, pixels: int = 1) -> Terms:
    """α and β of equation 7 by layer, each times the layer's own weight w_l.

    `paper`: α · N·M, which turns the mean of `content_loss` into the sum of equation 1, and β · w_l with w_l = 1/L.
    `mean`: 2α and 4β/N², that is α · mean (F - P)² and β · mean ((G - A) / N)²; of Gaussians, β · W²/N. The total variation is
    summed over the image, of so many `pixels`.
    Deviation, `relative`: both are divided by the loss of an image without any response, Σ_l ½ mean P² and
    Σ_l 1/(4N²) Σ A². Then α and β weigh the relative errors of content and style, and mean the same for every size, network
    and style: these losses grow with the square and the fourth power of the scale of the responses.
    """
    alpha, beta, tv = (jnp.float32(w) for w in (config.content_weight, config.style_weight, config.tv_weight))
    own, own_style = _own(config.content_layers, targets.content), _own(config.style_layers, targets.style)
    match config.balance:
        case "paper":
            content = {name: alpha * p.size for name, p in targets.content.items()}
            style = {name: beta / len(targets.style) for name in targets.style}
        case "mean":
            content = {name: 2 * alpha for name in targets.content}
            style = {name: beta * _per_channel(a) for name, a in targets.style.items()}
            tv = tv * 3 * pixels
        case _:
            contents = _sum(own[name] * 0.5 * jnp.mean(p**2) for name, p in targets.content.items())
            styles = _sum(own_style[name] * _whole(a) for name, a in targets.style.items())
            content = {name: alpha / contents for name in targets.content}
            style = {name: beta / styles for name in targets.style}
    content, style = ({k: w * own[k] for k, w in content.items()}, {k: w * own_style[k] for k, w in style.items()})
    return Terms(content, style, tv)


def _own(entries: tuple[str, ...], targets: Iterable[str]) -> dict[str, float]:
    """w_l by the names of targets."""
    given = {layer_name(entry): layer_weight(entry) for entry in entries}
    return {name: given.get(name, 1.0) for name in targets}


def _per_channel(target: StyleTarget) -> float:
    """4/N² of a Gram matrix."""
    return 1.0 if isinstance(target, Moments) else 4 / target.shape[0] ** 2


def _whole(target: StyleTarget) -> Scalar:
    """The style loss of a layer without any response."""
    return style_error(jnp.zeros_like(jax.tree.leaves(target)[0]), target)


def _sum(losses: Iterable[Scalar]) -> Scalar:
    """Not quite zero even for a picture without any response, since weights are divided by it."""
    return jnp.maximum(sum(losses, jnp.zeros(())), jnp.finfo(jnp.float32).tiny ** 0.5)
