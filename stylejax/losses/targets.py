"""Targets of the losses: features of the content and statistics of the style, by layer and region."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float

from stylejax.images.resize import HostImage
from stylejax.losses.gatys import gram_sum
from stylejax.losses.reductions import PositionWeights, WeightedSum
from stylejax.losses.total_variation import TOTAL_VARIATIONS
from stylejax.losses.wasserstein import GaussianStats, gaussian_stats, second_moments
from stylejax.models.vgg import VGG
from stylejax.types import FeatureMap, Features, Image

StyleRepresentation: TypeAlias = Literal["gram", "wasserstein"]

StyleTarget: TypeAlias = Float[Array, "_ _"] | GaussianStats
"""A Gram matrix or a Gaussian. The type decides which loss a layer has."""

StyleTargets: TypeAlias = dict[str, StyleTarget]
"""Style targets by the keys of `style_key`."""

GuidanceMasks: TypeAlias = Mapping[str, Float[Array, "_ _"] | None]
"""Share of each position that belongs to a region, by the keys of `style_key`; None means all positions."""


class PreservedRegion(NamedTuple):
    """Region copied from `image`: its `share` of each pixel, from 0 to 1."""

    image: Image
    share: PositionWeights


class Targets(NamedTuple):
    """Targets of an image.

    Attributes:
        content: features P of the content, by layer.
        style: statistics A of the style, by layer, or by layer and region as in `conv4_1/2`.
        guides: masks of the regions, by the keys of `style`.
        preserved: region copied from the content; None without one.
        total_variation: one of `TOTAL_VARIATIONS`.
    """

    content: Features
    style: StyleTargets
    guides: GuidanceMasks
    preserved: PreservedRegion | None
    total_variation: Partial


def make_targets(
    vgg: VGG, content: Image, style: Float[Array, "_ _ 3"], content_layers: Iterable[str], style_layers: Iterable[str]
) -> Targets:
    """Return the targets of the paper: features P of the content and Gram matrices A of the style.

    Args:
        vgg: network.
        content: content image (h, w, 3).
        style: style image, of any size.
        content_layers: layers of P, such as conv4_2.
        style_layers: layers of A.
    """
    squared = TOTAL_VARIATIONS["squared"]
    return Targets(
        content_targets(vgg, content, content_layers), style_targets(vgg, style, style_layers), {}, None, squared
    )


def content_targets(vgg: VGG, content: Image | HostImage, layers: Iterable[str]) -> Features:
    """Return P of equation 1 for each layer, compiled as one program."""
    return _features(vgg, content, tuple(layers))


def style_targets(
    vgg: VGG,
    style: Image | HostImage,
    layers: Iterable[str],
    guides: GuidanceMasks | None = None,
    representation: StyleRepresentation = "gram",
) -> StyleTargets:
    """Return the statistics of a style image, compiled as one program: A of equation 4, or `GaussianStats`.

    Args:
        vgg: network.
        style: style image (h, w, 3).
        layers: layers of the statistics.
        guides: weights of the positions, by layer. None means that all positions count alike.
        representation: gram (Gram matrices) or wasserstein (Gaussians).
    """
    return _statistics(vgg, style, dict(guides or {}), tuple(layers), representation)


@functools.partial(jax.jit, static_argnums=2)
def _features(vgg: VGG, image: Any, layers: tuple[str, ...]) -> Features:
    return vgg(image, layers)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _statistics(
    vgg: VGG, style: Any, guides: GuidanceMasks, layers: tuple[str, ...], representation: StyleRepresentation
) -> StyleTargets:
    like = placeholder_target(representation)
    sums = {layer: style_statistic(f, like, guides.get(layer)) for layer, f in vgg(style, layers).items()}
    return {layer: statistic_target(summed.mean, representation) for layer, summed in sums.items()}


def blend(targets: Sequence[StyleTargets], weights: Sequence[float] = ()) -> StyleTargets:
    """Return the weighted mean Σ w A / Σ w of several styles' targets.

    It minimizes the weighted sum of their losses. Gaussians are blended by their moments. A layer or region that a style
    lacks is averaged over the others.
    """
    pairs = [(w, style) for w, style in zip(weights or [1.0] * len(targets), targets, strict=True) if w > 0]
    keys = dict.fromkeys(key for _, style in pairs for key in style)
    return {key: _weighted_mean([(w, style[key]) for w, style in pairs if key in style]) for key in keys}


def _weighted_mean(pairs: Sequence[tuple[float, StyleTarget]]) -> StyleTarget:
    total = sum(w for w, _ in pairs)
    weighted = (optax.tree.scale(w / total, target) for w, target in pairs)
    mean = jax.tree.map(lambda *parts: sum(parts), *weighted)
    return gaussian_stats(mean.second_moments) if isinstance(mean, GaussianStats) else mean


def style_key(layer: str, region: str = "") -> str:
    """Return the key of a layer and region: `conv4_1/2`, or `conv4_1` without regions."""
    return f"{layer}/{region}" if region else layer


def parse_style_key(key: str) -> tuple[str, str]:
    """Return the layer and the region of a key."""
    layer, _, region = key.partition("/")
    return layer, region


def required_layers(targets: Targets) -> tuple[str, ...]:
    """Return the layers of the targets, each once."""
    return tuple(dict.fromkeys((*targets.content, *(parse_style_key(key)[0] for key in targets.style))))


def placeholder_target(representation: StyleRepresentation) -> StyleTarget:
    """Return an empty target, whose type alone counts."""
    empty = jnp.zeros((0, 0))
    return empty if representation == "gram" else GaussianStats(empty, empty)


def statistics_only(guides: GuidanceMasks, representation: StyleRepresentation) -> Targets:
    """Return targets for measuring the statistics of a style image at the keys of `guides`."""
    style = dict.fromkeys(guides, placeholder_target(representation))
    return Targets({}, style, guides, None, TOTAL_VARIATIONS["squared"])


def statistic_target(statistic: Float[Array, "_ _"], representation: StyleRepresentation) -> StyleTarget:
    """Return the style target that a measured statistic makes."""
    return statistic if representation == "gram" else gaussian_stats(statistic)


def style_statistic(features: FeatureMap, target: StyleTarget, weights: PositionWeights | None) -> WeightedSum:
    """Return the statistic of features that is compared with `target`."""
    return second_moments(features, weights) if isinstance(target, GaussianStats) else gram_sum(features, weights)
