"""Objective of one image: content loss, style loss and total variation against fixed targets (eq. 7).

Every argument of `objective` is a pytree and none is static: loss weights can change, or become a batch under `jax.vmap`,
without another compilation. The layers are the keys of the targets.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from stylejax.errors import InputError
from stylejax.losses.gatys import squared_error, style_loss
from stylejax.losses.reductions import PositionWeights, WeightedSum
from stylejax.losses.targets import (
    PreservedRegion,
    StyleTarget,
    Targets,
    parse_style_key,
    required_layers,
    style_statistic,
)
from stylejax.losses.wasserstein import GaussianStats, wasserstein_loss
from stylejax.models.ops import RowShard
from stylejax.models.vgg import VGG
from stylejax.parameterization import ImageParams, to_image
from stylejax.types import ByLayer, FeatureMap, Image, Scalar


class LossTerms(NamedTuple):
    """Loss terms of one image or, in the same structure, their loss weights."""

    content: ByLayer
    style: ByLayer
    tv: Scalar | float


class Statistics(NamedTuple):
    """Statistics of an image from which its losses follow; those of its tiles or shards add up."""

    content: dict[str, WeightedSum]
    style: dict[str, WeightedSum]
    tv: tuple[WeightedSum, ...]


class OwnershipMasks(NamedTuple):
    """Masks of a tile or shard, of its pixels and by layer: 1 where it owns a position, 0 in its halo."""

    pixels: PositionWeights
    layers: Mapping[str, PositionWeights]


def objective(image: ImageParams, vgg: VGG, targets: Targets, weights: LossTerms) -> tuple[Scalar, LossTerms]:
    """Return α · content + β · style (eq. 7) + total variation, and the unweighted loss terms.

    Args:
        image: image (h, w, 3) or its parameters (`stylejax.to_params`).
        vgg: network.
        targets: features of the content and statistics of the style.
        weights: loss weight of each term.

    Raises:
        InputError: `weights` and `targets` do not name the same layers.
    """
    _check_layers(targets, weights)
    return weighted_loss(measure_statistics(compose_image(image, targets.preserved), vgg, targets), targets, weights)


def compose_image(image: ImageParams, preserved: PreservedRegion | None) -> Image:
    """Return (1 - t) x + t c, where the preserved region has share t and image c."""
    decoded = to_image(image)
    if preserved is None:
        return decoded
    share = preserved.share[..., None]
    return (1 - share) * decoded + share * preserved.image


def measure_statistics(
    image: Image, vgg: VGG, targets: Targets, owned: OwnershipMasks | None = None, rows: RowShard | None = None
) -> Statistics:
    """Return the statistics of an image in one pass of the network.

    `owned` restricts them to the positions that a tile or shard owns. `rows` describes an image that is a shard, inside
    `jax.shard_map`; its halo comes from the neighboring devices.

    The Gram matrix of a region is G_r = (T∘F)ᵀ(T∘F) with the guide T², normalized so that Σ T² = 1 (Gatys et al. 2017,
    *Controlling Perceptual Factors in Neural Style Transfer*). Deviation: a mask is T² and not T, so that at a soft edge the
    regions' shares of a position add up to 1.
    """

    def measure(layer: str, features: FeatureMap) -> tuple[WeightedSum | None, dict[str, WeightedSum]]:
        mask = owned.layers[layer] if owned else None
        content = squared_error(features, targets.content[layer], mask) if layer in targets.content else None
        keys = [key for key in targets.style if parse_style_key(key)[0] == layer]
        masks = {key: _combine_masks(mask, targets.guides.get(key)) for key in keys}
        return content, {key: style_statistic(features, targets.style[key], masks[key]) for key in keys}

    by_layer = vgg.apply_with(image, required_layers(targets), measure, rows)
    return Statistics(
        content={layer: by_layer[layer][0] for layer in targets.content},
        style={key: by_layer[parse_style_key(key)[0]][1][key] for key in targets.style},
        tv=targets.total_variation(image, owned.pixels if owned else None),
    )


def weighted_loss(statistics: Statistics, targets: Targets, weights: LossTerms) -> tuple[Scalar, LossTerms]:
    """Return the loss and the unweighted loss terms from the statistics of a whole image."""
    terms = LossTerms(
        content={layer: 0.5 * error.mean for layer, error in statistics.content.items()},
        style={key: _style_term(summed.mean, targets.style[key]) for key, summed in statistics.style.items()},
        tv=sum((variation.mean for variation in statistics.tv), jnp.zeros((), jnp.float32)),
    )
    return jnp.asarray(optax.tree.vdot(weights, terms)), terms


def _style_term(statistic: Float[Array, "_ _"], target: StyleTarget) -> Scalar:
    is_gaussian = isinstance(target, GaussianStats)
    return wasserstein_loss(statistic, target) if is_gaussian else style_loss(statistic, target)


def _combine_masks(owned: PositionWeights | None, guide: PositionWeights | None) -> PositionWeights | None:
    return guide if owned is None else owned if guide is None else owned * guide


def _check_layers(targets: Targets, weights: LossTerms) -> None:
    for kind in ("content", "style"):
        expected, names = sorted(getattr(targets, kind)), sorted(getattr(weights, kind))
        if names != expected:
            raise InputError(
                f"{kind} weights name {names} but the targets have {expected}; give one weight for each target layer"
            )
