"""Targets of the losses: features of the content and statistics of the style, by layer and region."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from stylejax.losses.gatys import correlations
from stylejax.losses.reductions import Mean, PositionWeights
from stylejax.losses.total_variation import TOTAL_VARIATIONS
from stylejax.losses.wasserstein import Moments, moments, target_of
from stylejax.models.vgg import VGG
from stylejax.types import FeatureMap, Features, Image

AnyImage: TypeAlias = Float[Array, "_ _ 3"]
"""An `Image` beside others of other sizes."""

Statistic: TypeAlias = Literal["gram", "wasserstein"]

StyleTarget: TypeAlias = Float[Array, "_ _"] | Moments
"""A Gram matrix, or a Gaussian: the type of a target decides the loss of its layer."""

StyleTargets: TypeAlias = dict[str, StyleTarget]

Guides: TypeAlias = Mapping[str, Float[Array, "_ _"] | None]
"""Share of each position that belongs to a region, by layer, each of its own size; None if all positions count alike."""


class Kept(NamedTuple):
    """A region that stays as it is: `share` of each position, from 0 to 1, is that of `image`."""

    image: Image
    share: PositionWeights


class Targets(NamedTuple):
    """Features P of the content by layer, statistics A of the style by layer, or by layer and region as `conv4_1/2`.

    `guides` weigh the positions of a layer by the keys of `style`; without one all positions count alike. `variations` is one
    of `TOTAL_VARIATIONS`.
    """

    content: Features
    style: StyleTargets
    guides: Guides
    kept: Kept | None
    variations: Partial


def make_targets(
    vgg: VGG, content: AnyImage, style: AnyImage, content_layers: Iterable[str], style_layers: Iterable[str]
) -> Targets:
    """Return the targets of the paper: P of a content image and the Gram matrices A of a style image, by layer."""
    squared = TOTAL_VARIATIONS["squared"]
    return Targets(
        content_targets(vgg, content, content_layers), style_targets(vgg, style, style_layers), {}, None, squared
    )


def content_targets(vgg: VGG, content: Image, layers: Iterable[str]) -> Features:
    """Return P of equation 1 for each layer."""
    return vgg(content, tuple(layers))


def style_targets(
    vgg: VGG, style: Image, layers: Iterable[str], guides: Guides | None = None, statistic: Statistic = "gram"
) -> StyleTargets:
    """Return A of equation 4, or `Moments`, for each layer, with the positions weighted by `guides`.

    A statistic is a mean over positions, so that images of different sizes can be compared.
    """
    like, within = placeholder_target(statistic), guides or {}
    means = {name: style_statistic(f, like, within.get(name)) for name, f in vgg(style, tuple(layers)).items()}
    return {name: statistic_target(mean.value, statistic) for name, mean in means.items()}


def blend(targets: Sequence[StyleTargets], weights: Sequence[float] = ()) -> StyleTargets:
    """Return the weighted mean of several styles' Gram matrices, Σ w A / Σ w: the minimum of the weighted sum of their losses.

    Gaussians are blended by their moments. A style counts at the layers that it has.
    """
    pairs = [(w, style) for w, style in zip(weights or [1.0] * len(targets), targets, strict=True) if w > 0]
    layers = dict.fromkeys(name for _, style in pairs for name in style)

    def mean(name: str) -> StyleTarget:
        having = [(w, style[name]) for w, style in pairs if name in style]
        total = sum(w for w, _ in having)
        weighted = (jax.tree.map(functools.partial(jnp.multiply, w / total), target) for w, target in having)
        blended = jax.tree.map(lambda *parts: sum(parts), *weighted)
        return target_of(blended.products) if isinstance(blended, Moments) else blended

    return {name: mean(name) for name in layers}


def style_key(layer: str, region: str = "") -> str:
    """Return the key of a layer's style in a region: `conv4_1/2`, or `conv4_1` without regions."""
    return f"{layer}/{region}" if region else layer


def parse_style_key(name: str) -> tuple[str, str]:
    """Return layer and region of a key."""
    layer, _, region = name.partition("/")
    return layer, region


def required_layers(targets: Targets) -> tuple[str, ...]:
    """Return every layer that the targets name."""
    return tuple(dict.fromkeys((*targets.content, *(parse_style_key(name)[0] for name in targets.style))))


def placeholder_target(statistic: Statistic) -> StyleTarget:
    """Return the placeholder of a target, for a style that is measured and not compared."""
    nothing = jnp.zeros((0, 0))
    return nothing if statistic == "gram" else Moments(nothing, nothing)


def statistics_only(guides: Guides, statistic: Statistic) -> Targets:
    """Return targets with which the statistics of a style are measured, at the layers of the guides, and not compared."""
    style = dict.fromkeys(guides, placeholder_target(statistic))
    return Targets({}, style, guides, None, TOTAL_VARIATIONS["squared"])


def statistic_target(value: Float[Array, "_ _"], statistic: Statistic) -> StyleTarget:
    """Return the target of a measured statistic."""
    return value if statistic == "gram" else target_of(value)


def style_statistic(features: FeatureMap, target: StyleTarget, weights: PositionWeights | None) -> Mean:
    """Return the statistic of features that has the type of `target`, as a mean over positions."""
    return moments(features, weights) if isinstance(target, Moments) else correlations(features, weights)
