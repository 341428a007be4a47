"""The objective: content, style and total variation of one image against targets that are computed once (equation 7).

Every argument of `objective` is a pytree and none is static: a weight can change, or become a batch under `jax.vmap`,
without a new compilation. Which layers count is the set of names in the targets.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from stylejax.errors import InputError
from stylejax.losses.gatys import squared_error, style_loss
from stylejax.losses.reductions import Mean, PositionWeights
from stylejax.losses.targets import (
    Kept,
    StyleTarget,
    Targets,
    parse_style_key,
    required_layers,
    style_statistic,
)
from stylejax.losses.wasserstein import Moments, wasserstein_loss
from stylejax.models.ops import Rows
from stylejax.models.vgg import VGG
from stylejax.parameterization import Encoded, decode
from stylejax.types import ByLayer, FeatureMap, Image, Scalar


class Terms(NamedTuple):
    """The losses of one image or, with the same shape, the weights of these losses."""

    content: ByLayer
    style: ByLayer
    tv: Scalar | float


class Statistics(NamedTuple):
    """Statistics of an image, each a `Mean` over positions: those of its parts add up to those of the whole."""

    content: dict[str, Mean]
    style: dict[str, Mean]
    tv: tuple[Mean, ...]


class OwnershipMasks(NamedTuple):
    """Masks of the positions that a tile or shard owns, 1, and of its halo, 0: of the pixels, and by layer."""

    pixels: PositionWeights
    layers: Mapping[str, PositionWeights]


def objective(image: Encoded, vgg: VGG, targets: Targets, weights: Terms) -> tuple[Scalar, Terms]:
    """Return α · content + β · style (equation 7) + total variation, and its terms before their weights.

    `image` is an image (h, w, 3) or its parameters (`stylejax.encode`).
    Raises `InputError` when `weights` and `targets` do not name the same layers.
    """
    _check_layers(targets, weights)
    return weighted_loss(measure_statistics(shown(image, targets.kept), vgg, targets), targets, weights)


def shown(image: Encoded, kept: Kept | None) -> Image:
    """Return the image (1 - t) x + t c, with share t and image c of the preserved region; at t = 1 the gradient is 0."""
    decoded = decode(image)
    if kept is None:
        return decoded
    share = kept.share[..., None]
    return (1 - share) * decoded + share * kept.image


def measure_statistics(
    image: Image, vgg: VGG, targets: Targets, owned: OwnershipMasks | None = None, rows: Rows | None = None
) -> Statistics:
    """Return the statistics of an image in one pass of the network.

    Statistics of the `owned` positions of the parts of an image add up to those of the whole. A shard of `rows` takes the rows
    beyond it from its neighbors.

    The Gram matrix of a region is G_r = (T∘F)ᵀ(T∘F) with the guide T², normalized so that Σ T² = 1 (Gatys et al. 2017,
    *Controlling Perceptual Factors in Neural Style Transfer*). Deviation: a mask is T² and not T, so that at a soft edge the
    regions' shares of a position add up to 1.
    """

    def look(layer: str, response: FeatureMap) -> tuple[Mean | None, dict[str, Mean]]:
        own = owned.layers[layer] if owned else None
        content = squared_error(response, targets.content[layer], own) if layer in targets.content else None
        entries = [name for name in targets.style if parse_style_key(name)[0] == layer]
        within = {name: _both(own, targets.guides.get(name)) for name in entries}
        return content, {name: style_statistic(response, targets.style[name], within[name]) for name in entries}

    seen = vgg.apply_with(image, required_layers(targets), look, rows)
    return Statistics(
        content={name: seen[name][0] for name in targets.content},
        style={name: seen[parse_style_key(name)[0]][1][name] for name in targets.style},
        tv=targets.variations(image, owned.pixels if owned else None),
    )


def loss_terms(measures: Statistics, targets: Targets) -> Terms:
    """Return the losses from the statistics of the whole image."""
    return Terms(
        content={name: 0.5 * error.value for name, error in measures.content.items()},
        style={name: style_term(mean.value, targets.style[name]) for name, mean in measures.style.items()},
        tv=sum((v.value for v in measures.tv), jnp.zeros(())),
    )


def weighted_loss(measures: Statistics, targets: Targets, weights: Terms) -> tuple[Scalar, Terms]:
    """Return the inner product of `weights` with the loss terms, and the terms, from the statistics of the whole image."""
    terms = loss_terms(measures, targets)
    return jnp.asarray(optax.tree.vdot(weights, terms)), terms


def style_term(value: Float[Array, "_ _"], target: StyleTarget) -> Scalar:
    """Return the style loss of one layer from its statistic."""
    return wasserstein_loss(value, target) if isinstance(target, Moments) else style_loss(value, target)


def _both(own: PositionWeights | None, guide: PositionWeights | None) -> PositionWeights | None:
    return guide if own is None else own if guide is None else own * guide


def _check_layers(targets: Targets, weights: Terms) -> None:
    for kind in ("content", "style"):
        have, given = sorted(getattr(targets, kind)), sorted(getattr(weights, kind))
        if have != given:
            raise InputError(
                f"{kind} weights name {given} but the targets have {have}; give one weight for each target layer"
            )
