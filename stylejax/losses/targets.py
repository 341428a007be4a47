"""What the image is compared with: features of the content and statistics of the style, by layer and region."""

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
"""What a layer's style is compared by is what its target is: Gram matrices, or Gaussians."""

StyleTargets: TypeAlias = dict[str, StyleTarget]

Guides: TypeAlias = Mapping[str, Float[Array, "_ _"] | None]
"""How far each position belongs to a region, by layer, each of its own size; None where all positions count alike."""


class Kept(NamedTuple):
    """A picture that shows in place of the image, as far as `share` says, and to that extent is not changed."""

    image: Image
    share: PositionWeights


class Targets(NamedTuple):
    """What the image should have: responses of the content image and statistics of the style, each by layer; and which of
    the functions in `losses` measures its variations.

    An entry of `style` is a layer, or a layer and a region as `conv4_1/2`. `guides` has, by the same names, how far each
    position of that layer belongs to the region; an entry without a guide is of all positions alike.
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
    """P of eq. 1 for each layer."""
    return vgg(content, tuple(layers))


def style_targets(
    vgg: VGG, style: Image, layers: Iterable[str], guides: Guides | None = None, statistic: Statistic = "gram"
) -> StyleTargets:
    """A of eq. 4 for each layer, or its `Moments`, of all positions or as `guides` weigh them. It does not depend on the size
    of the image."""
    like, within = no_target(statistic), guides or {}
    means = {name: style_statistic(f, like, within.get(name)) for name, f in vgg(style, tuple(layers)).items()}
    return {name: target_from(mean.value, statistic) for name, mean in means.items()}


def blend(targets: Sequence[StyleTargets], weights: Sequence[float] = ()) -> StyleTargets:
    """The weighted mean of several styles' Gram matrices, Σ w A / Σ w: the minimum of the weighted sum of their style
    losses. Of Gaussians, the one with the mean of their moments. A style counts at the layers that it has."""
    pairs = [(w, style) for w, style in zip(weights or [1.0] * len(targets), targets, strict=True) if w > 0]
    layers = dict.fromkeys(name for _, style in pairs for name in style)

    def mean(name: str) -> StyleTarget:
        having = [(w, style[name]) for w, style in pairs if name in style]
        total = sum(w for w, _ in having)
        weighted = (jax.tree.map(functools.partial(jnp.multiply, w / total), target) for w, target in having)
        blended = jax.tree.map(lambda *parts: sum(parts), *weighted)
        return target_of(blended.products) if isinstance(blended, Moments) else blended

    return {name: mean(name) for name in layers}


def entry(layer: str, region: str = "") -> str:
    """The name of a layer's style in a region: `conv4_1/2`, or `conv4_1` where there are no regions."""
    return f"{layer}/{region}" if region else layer


def layer_and_region(name: str) -> tuple[str, str]:
    """What `entry` made the name of."""
    layer, _, region = name.partition("/")
    return layer, region


def layers_in(targets: Targets) -> tuple[str, ...]:
    """Every layer that the targets name."""
    return tuple(dict.fromkeys((*targets.content, *(layer_and_region(name)[0] for name in targets.style))))


def no_target(statistic: Statistic) -> StyleTarget:
    """What stands for a target where a style is measured and not compared."""
    nothing = jnp.zeros((0, 0))
    return nothing if statistic == "gram" else Moments(nothing, nothing)


def statistics_only(guides: Guides, statistic: Statistic) -> Targets:
    """Return targets with which the statistics of a style are measured, at the layers of the guides, and not compared."""
    style = dict.fromkeys(guides, no_target(statistic))
    return Targets({}, style, guides, None, TOTAL_VARIATIONS["squared"])


def target_from(value: Float[Array, "_ _"], statistic: Statistic) -> StyleTarget:
    """The target from what was measured of a style."""
    return value if statistic == "gram" else target_of(value)


def style_statistic(features: FeatureMap, target: StyleTarget, weights: PositionWeights | None) -> Mean:
    return moments(features, weights) if isinstance(target, Moments) else correlations(features, weights)
