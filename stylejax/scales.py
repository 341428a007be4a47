"""One scale of a run: its size and steps, the image it starts from, its targets, and what the losses weigh there."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylejax.config import TransferConfig
from stylejax.images import Picture, fit, read_image, resize
from stylejax.losses import Mean
from stylejax.objective import Targets, Terms, blend, content_targets, style_targets
from stylejax.types import Scalar
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


def targets_at(content: Picture, styles: list[Picture], vgg: VGG, config: TransferConfig, side: int) -> Targets:
    """Targets at one scale."""
    at_scale = [resize(s, *style_size(config, s.shape, side)) for s in styles]
    image = resize(content, *content_size(config, content.shape, side))
    return _targets(vgg, image, at_scale, config.content_layers, config.style_layers)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _targets(
    vgg: VGG, content: Any, styles: list[Any], content_layers: tuple[str, ...], style_layers: tuple[str, ...]
) -> Targets:
    grams = blend([style_targets(vgg, style, style_layers) for style in styles]) if styles else {}
    return Targets(content_targets(vgg, content, content_layers), grams)


def noise(seed: int, height: int, width: int) -> Picture:
    """Gaussian noise around middle grey, the same for the same seed on every machine."""
    generator = np.random.Generator(np.random.Philox(seed))
    return (0.5 + NOISE * generator.standard_normal((height, width, 3))).astype(np.float32)


def loss_weights(config: TransferConfig, targets: Targets, squares: Mapping[str, Mean] | None = None) -> Terms:
    """α and β of equation 7 by layer. `squares` is P² over positions and channels, where the targets do not have the whole P.

    `paper`: α · N·M, which turns the mean of `content_loss` into the sum of equation 1, and β · w_l with w_l = 1/L.
    Deviation, `relative`: both are divided by the loss of an image without any response, Σ_l ½ mean P² and
    Σ_l 1/(4N²) Σ A². Then α and β weigh the relative errors of content and style, and mean the same for every size, network
    and style: these losses grow with the square and the fourth power of the scale of the responses.
    """
    alpha, beta, tv = (jnp.float32(w) for w in (config.content_weight, config.style_weight, config.tv_weight))
    if squares is None:
        squares = {name: Mean(jnp.sum(p**2), jnp.asarray(p.size, p.dtype)) for name, p in targets.content.items()}
    if config.balance == "paper":
        content = {name: alpha * square.weight for name, square in squares.items()}
        return Terms(content, {name: beta / len(targets.style) for name in targets.style}, tv)
    contents = _sum(0.5 * square.value for square in squares.values())
    styles = _sum(jnp.mean(a**2) / 4 for a in targets.style.values())
    content = {name: alpha / contents for name in squares}
    return Terms(content, {name: beta / styles for name in targets.style}, tv)


def _sum(losses: Iterable[Scalar]) -> Scalar:
    """Not quite zero even for a picture without any response, since weights are divided by it."""
    return jnp.maximum(sum(losses, jnp.zeros(())), jnp.finfo(jnp.float32).tiny ** 0.5)
