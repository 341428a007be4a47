"""The weights of equation 7 by layer, for the targets of one scale."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from stylejax.losses.objective import Terms
from stylejax.losses.targets import Targets, parse_style_key
from stylejax.losses.wasserstein import Moments
from stylejax.types import Scalar

Losses: TypeAlias = Literal["relative", "paper", "caffe"]

WASSERSTEIN = 1 / 150
"""Factor of the Wasserstein loss that makes one β act alike for both statistics: at 192 px, Gram matrices at β = 1000 and
Gaussians at 6 to 8 are equally far from the content (LPIPS), on three pairs."""

PAINTING = 0.25
"""Style loss of an image without activations against a usual painting, normalized VGG-19 at 192 px: 0.38 for the Starry Night,
0.26 for the Scream, 0.15 for Turner's Shipwreck; 1.7 for the painting of the demo."""


def loss_weights(
    targets: Targets,
    *,
    losses: Losses,
    alpha: float,
    beta: float,
    tv: float,
    content_layers: Mapping[str, float],
    style_layers: Mapping[str, float],
    style_weights: Sequence[float],
    pixels: int,
    unit: float,
) -> Terms:
    """Return α and β of equation 7 by layer, each times the layer's own weight.

    `paper`, α and β of a normalized network: α · w_l · ½ mean (F - P)² and β · w_l · 1/(4N²) Σ (G - A)², where w_l are the
    layers' own weights over their sum, 1/L by default (eq. 5). Deviation: equation 1 is printed as a sum. With the mean over
    N·M, the printed ratios α/β = 10⁻³ … 10⁻⁵ give the paper's pictures, and mean the same for every size.
    `relative`: the same with each style's loss divided by its contrast (`_contrasts`). Deviation: the loss of Gram matrices
    grows with the fourth power of a style's contrast, and a β that is right for a painting would leave nothing of the
    photograph with a picture of strong colors.
    `caffe`, mean squared errors on a network as published, with u = `unit`: α · u² mean (F - P)² and
    β · u⁴ mean ((G - A)/N)², the total variation summed over the image, as in neural-style and the authors' later program.
    Of several regions, each has β times the share of the image that it covers.

    Args:
        targets: name the layers and regions.
        losses: one of the three above.
        alpha: weight of the content.
        beta: weight of the style.
        tv: weight of the total variation.
        content_layers: own weight of each layer of the content.
        style_layers: own weight of each layer of the style.
        style_weights: of several regions, how much each style counts; empty for all alike.
        pixels: of the image, over which `caffe` sums the total variation.
        unit: factor that gives the network's activations the scale of Caffe's networks, used by `caffe`.
    """
    content, style = dict(content_layers), dict(style_layers)
    if losses != "caffe":
        content, style = _over_sum(content), _over_sum(style)
        factors = dict.fromkeys(targets.content, 1.0), {n: _of_statistic(a) for n, a in targets.style.items()}
        if losses == "relative":
            contrast = _contrasts(targets, style)
            factors = factors[0], {n: x / contrast[parse_style_key(n)[1]] for n, x in factors[1].items()}
    else:
        factors = dict.fromkeys(targets.content, 2 * unit**2), {n: _caffe(a, unit) for n, a in targets.style.items()}
        tv = tv * 3 * pixels
    by_content = {name: alpha * content[name] * factors[0][name] for name in targets.content}
    by_style = {
        name: beta * style[parse_style_key(name)[0]] * factors[1][name] * _share(style_weights, targets, name)
        for name in targets.style
    }
    with np.errstate(over="ignore"):
        return jax.tree.map(lambda weight: jnp.asarray(weight, jnp.float32), Terms(by_content, by_style, tv))


def _over_sum(weights: dict[str, float]) -> dict[str, float]:
    total = sum(weights.values()) or 1.0
    return {name: weight / total for name, weight in weights.items()}


def _contrasts(targets: Targets, weights: dict[str, float]) -> dict[str, Scalar]:
    """Return, by region, Σ_l w_l · ¼ mean A², the style loss of an image without activations, over that of a usual painting.

    1 for Gaussians, whose loss grows with the square of the contrast only.
    """
    losses: dict[str, Any] = {}
    for name, target in targets.style.items():
        layer, region = parse_style_key(name)
        if isinstance(target, Moments):
            losses[region] = PAINTING
        else:
            losses[region] = losses.get(region, 0.0) + weights[layer] * _mean_square(target) / 4
    return {region: jnp.maximum(loss / PAINTING, 1e-3) for region, loss in losses.items()}


@jax.jit
def _mean_square(target: Any) -> Scalar:
    return jnp.mean(jnp.square(target))


def _of_statistic(target: Any) -> float:
    return WASSERSTEIN if isinstance(target, Moments) else 1.0


def _caffe(target: Any, unit: float) -> float:
    """u⁴ · 4/N² of a Gram matrix; u² of Gaussians, whose loss grows with the square of the activations."""
    return unit**2 if isinstance(target, Moments) else unit**4 * 4 / target.shape[0] ** 2


def _share(style_weights: Sequence[float], targets: Targets, name: str) -> Scalar | float:
    """Return the share of the image that a region covers, times its style's weight over the mean of the weights."""
    region, guide = parse_style_key(name)[1], targets.guides.get(name)
    weights = style_weights if region else ()
    own = weights[int(region) - 1] * len(weights) / sum(weights) if weights else 1.0
    return own if guide is None else own * jnp.mean(jnp.asarray(guide))
