"""How much each loss counts: the weights of equation 7, by layer, for the targets of one scale."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stylejax.config import TransferConfig
from stylejax.gaussian import Moments
from stylejax.losses import Mean
from stylejax.objective import Guides, StyleTarget, StyleTargets, Targets, Terms, layer_and_region, style_error
from stylejax.settings import layer_name, layer_weight
from stylejax.types import ByLayer, Scalar

GAUSSIAN = 6
"""How much more of the content a loss of Gaussians takes than one of Gram matrices, with the same β: that of Gram matrices at
β = 100 takes as much as that of Gaussians at 19 to 23, on three pairs of pictures of 224 pixels, which look alike at 16."""


def loss_weights(
    config: TransferConfig,
    targets: Targets,
    pixels: int = 1,
    squares: Mapping[str, Mean] | None = None,
    unit: Scalar | float = 1.0,
) -> Terms:
    """α and β of equation 7 by layer, each times the layer's own weight w_l. `squares` is P² over positions and channels, where
    the targets do not have the whole P. `unit` is that of the network's responses.

    `paper`, with u = `unit`: α u² · N·M, which turns the mean of `content_loss` into the sum of equation 1, and β u⁴ · w_l with
    w_l = 1/L: the equations of responses at the scale of Caffe's networks, which the paper's was, so that a weight means the
    same for all files. `mean`, at that scale too, as the programs were that have it: 2α u² and 4β u⁴/N², that is
    α · mean (F - P)² and β · mean ((G - A) / N)²; of Gaussians, β u² · W²/N. The total variation is summed over the image, of
    so many `pixels`.
    Deviation, `relative`: both are divided by the loss of an image without any response, Σ_l ½ mean P² and
    Σ_l 1/(4N²) Σ A². Then α and β weigh the relative errors of content and style, and mean the same for every size, network
    and style: these losses grow with the square and the fourth power of the scale of the responses. That of Gaussians is
    divided by `GAUSSIAN` besides. Of several regions, each has β times the part of the picture that it is of: a style is as
    strong in a small region as in a large one.
    """
    layers = max(1, len(config.style_layers)) if config.balance == "paper" else 1
    given = config.content_weight, config.style_weight / layers, config.tv_weight
    measured = targets.content if squares is None else squares
    shares = {name: _share(config, name) for name in targets.style}
    own = _own(config, measured, targets)
    numbers = jax.tree.map(np.float32, (given, own, shares, pixels))
    return _weights(config.balance, *numbers, measured, targets.style, targets.guides, unit)


@functools.partial(jax.jit, static_argnums=0)
def _weights(
    balance: str,
    given: tuple[Scalar, Scalar, Scalar],
    own: Terms,
    shares: ByLayer,
    pixels: Scalar,
    measured: Mapping[str, Any],
    style: StyleTargets,
    guides: Guides,
    unit: Scalar,
) -> Terms:
    """One program: fifty small ones took a second of every start."""
    alpha, beta, tv = given
    squares = {name: _square(p) for name, p in measured.items()}
    match balance:
        case "paper":
            by_content = {name: alpha * unit**2 * square.weight for name, square in squares.items()}
            by_style = {name: beta * _to_unit(a, unit) for name, a in style.items()}
        case "mean":
            by_content = {name: 2 * alpha * unit**2 for name in squares}
            by_style = {name: beta * _per_channel(a) * _to_unit(a, unit) for name, a in style.items()}
            tv = tv * 3 * pixels
        case _:
            contents = _sum(own.content[name] * 0.5 * square.value for name, square in squares.items())
            by_content = {name: alpha / contents for name in squares}
            by_style = {name: beta / _strength(style, own.style, name) for name in style}
    by_content = {name: own.content[name] * weight for name, weight in by_content.items()}
    by_style = {name: own.style[name] * shares[name] * _area(guides.get(name)) * w for name, w in by_style.items()}
    return Terms(by_content, by_style, tv)


def _own(config: TransferConfig, content: Iterable[str], targets: Targets) -> Terms:
    """w_l of each entry."""
    of_content, of_style = (
        {layer_name(given): layer_weight(given) for given in layers}
        for layers in (config.content_layers, config.style_layers)
    )
    style = {name: of_style.get(layer_and_region(name)[0], 1.0) for name in targets.style}
    return Terms({name: of_content.get(name, 1.0) for name in content}, style, 1.0)


def _share(config: TransferConfig, name: str) -> float:
    """The weight of the style of an entry's region over the mean of the weights."""
    region = layer_and_region(name)[1]
    weights = config.style_weights if region else ()
    return weights[int(region) - 1] * len(weights) / sum(weights) if weights else 1.0


def _area(guide: Any) -> Scalar | float:
    """The part of the picture that a region is of."""
    return 1.0 if guide is None else guide.mean()


def _square(p: Any) -> Mean:
    """P² over positions and channels, where it is not yet measured."""
    return p if isinstance(p, Mean) else Mean(jnp.sum(p**2), jnp.float32(p.size))


def _strength(style: StyleTargets, own: ByLayer, name: str) -> Scalar:
    """The loss of an image without any response in the region of an entry."""
    region = layer_and_region(name)[1]
    return _sum(own[other] * _whole(a) for other, a in style.items() if layer_and_region(other)[1] == region)


def _per_channel(target: StyleTarget) -> float:
    """4/N² of a Gram matrix."""
    return 1.0 if isinstance(target, Moments) else 4 / target.shape[0] ** 2


def _to_unit(target: StyleTarget, unit: Scalar | float) -> Scalar | float:
    """What the loss of responses becomes when they are multiplied by `unit`, by a factor."""
    return unit**2 if isinstance(target, Moments) else unit**4


def _whole(target: StyleTarget) -> Scalar:
    """The style loss of a layer without any response, as much as its statistic counts."""
    loss = style_error(jnp.zeros_like(jax.tree.leaves(target)[0]), target)
    return GAUSSIAN * loss if isinstance(target, Moments) else loss


def _sum(losses: Iterable[Scalar]) -> Scalar:
    """Not quite zero even for a picture without any response, since weights are divided by it."""
    return jnp.maximum(sum(losses, jnp.zeros(())), jnp.finfo(jnp.float32).tiny ** 0.5)
