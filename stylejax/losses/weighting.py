"""Loss weights: α and β of equation 7 by layer, for the targets of one scale."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from stylejax.losses.objective import LossTerms
from stylejax.losses.targets import Targets, parse_style_key
from stylejax.losses.wasserstein import GaussianStats
from stylejax.types import Scalar

Losses: TypeAlias = Literal["relative", "paper", "caffe"]

WASSERSTEIN_FACTOR = 1 / 150
"""Factor of the Wasserstein loss that makes one β act alike for both statistics: at 192 px, Gram matrices at β = 1000 and
Gaussians at 6 to 8 are equally far from the content (LPIPS), on three image pairs."""

PAINTING_LOSS = 0.25
"""Style loss of zero activations against a usual painting; it is 0.15 to 0.38 for three of them (docs/design.md)."""

MIN_CONTRAST = 1e-3
"""Lower bound of the contrast, which is 0 for a style without activations or with layer weights of 0."""


def loss_weights(
    targets: Targets,
    *,
    normalization: Losses,
    alpha: float,
    beta: float,
    tv: float,
    content_layers: Mapping[str, float],
    style_layers: Mapping[str, float],
    style_weights: Sequence[float],
    pixels: int,
    caffe_scale: float,
) -> LossTerms:
    """Return α and β of equation 7 by layer, each times the layer's own weight.

    `paper`: α · w_l · ½ mean (F - P)² and β · w_l · 1/(4N²) Σ (G - A)² on a normalized network, with the layers' weights w_l
    divided by their sum, 1/L by default (eq. 5). Deviation: equation 1 is printed as a sum. With the mean over N·M, the
    printed ratios α/β = 10⁻³ … 10⁻⁵ give the paper's images, and mean the same for every size.

    `relative`: the same, with the loss of each style divided by its contrast (`_contrasts`). Deviation: the loss of Gram
    matrices grows with the fourth power of the contrast, so a β that suits a painting would leave nothing of the photograph
    for a style of strong colors.

    `caffe`: α · u² mean (F - P)² and β · u⁴ mean ((G - A)/N)² on a network as published, with u = `caffe_scale`, and the
    total variation summed over the image, as in neural-style and the authors' later program.

    A region has β times the share of the image that it covers. An empty `style_weights` means equal weights of the regions'
    styles. `caffe_scale` converts the network's activations to those of Caffe's networks.
    """
    if normalization == "caffe":
        tv, content_factor = tv * 3 * pixels, 2 * caffe_scale**2
    else:
        content_layers, style_layers, content_factor = _over_sum(content_layers), _over_sum(style_layers), 1.0
    contrasts = _contrasts(targets, style_layers) if normalization == "relative" else {}

    def style_weight(key: str, target: Any) -> Any:  # Sweeps hold targets on the host.
        layer, region = parse_style_key(key)
        if normalization == "caffe":
            factor = _caffe_factor(target, caffe_scale)
        else:
            factor = (WASSERSTEIN_FACTOR if isinstance(target, GaussianStats) else 1.0) / contrasts.get(region, 1.0)
        return beta * style_layers[layer] * factor * _region_weight(style_weights, targets, key)

    content = {layer: alpha * content_layers[layer] * content_factor for layer in targets.content}
    style = {key: style_weight(key, target) for key, target in targets.style.items()}
    with np.errstate(over="ignore"):
        return jax.tree.map(lambda weight: jnp.asarray(weight, jnp.float32), LossTerms(content, style, tv))


def _over_sum(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values()) or 1.0
    return {layer: weight / total for layer, weight in weights.items()}


def _contrasts(targets: Targets, weights: Mapping[str, float]) -> dict[str, Scalar]:
    """Return each region's style loss of zero activations, Σ_l w_l · ¼ mean A², over `PAINTING_LOSS`.

    Gaussians have contrast 1, as their loss grows only with the square of the contrast.
    """
    losses: dict[str, Any] = {}
    for key, target in targets.style.items():
        layer, region = parse_style_key(key)
        if isinstance(target, GaussianStats):
            losses[region] = PAINTING_LOSS
        else:
            losses[region] = losses.get(region, 0.0) + weights[layer] * _mean_square(target) / 4
    return {region: jnp.maximum(loss / PAINTING_LOSS, MIN_CONTRAST) for region, loss in losses.items()}


@jax.jit
def _mean_square(target: Any) -> Scalar:
    return jnp.mean(jnp.square(target))


def _caffe_factor(target: Any, scale: float) -> float:
    """Return u⁴ · 4/N² of a Gram matrix, or u² of a Gaussian, whose loss is quadratic in the activations."""
    return scale**2 if isinstance(target, GaussianStats) else scale**4 * 4 / target.shape[0] ** 2


def _region_weight(style_weights: Sequence[float], targets: Targets, key: str) -> Scalar | float:
    """Return a region's share of the image, times its style's weight over the mean of the weights."""
    region, guide = parse_style_key(key)[1], targets.guides.get(key)
    weights = style_weights if region else ()
    relative = weights[int(region) - 1] * len(weights) / sum(weights) if weights else 1.0
    return relative if guide is None else relative * jnp.mean(jnp.asarray(guide))
