"""What is minimized: content, style and total variation of one image, against targets computed once (eq. 7).

Every argument of `objective` is a pytree and none is static: a weight can change, or become a batch under `jax.vmap`,
without a new compilation. Which layers count is the set of names in the targets.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float

from stylejax.errors import InputError
from stylejax.losses.gatys import Mean, PositionWeights, correlations, squared_error, style_loss, variations
from stylejax.losses.wasserstein import Moments, moments, target_of, wasserstein_loss
from stylejax.models.vgg import VGG, Rows
from stylejax.parameterization import Encoded, decode
from stylejax.types import ByLayer, FeatureMap, Features, Image, Network, Scalar

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
    guides: Guides = {}
    kept: Kept | None = None
    variations: Partial = Partial(variations)


class Terms(NamedTuple):
    """The losses of one image or, with the same shape, the weights of these losses."""

    content: ByLayer
    style: ByLayer
    tv: Scalar | float


class Measures(NamedTuple):
    """What the terms are made of, each a `Mean` over positions: those of a picture's parts add up to those of the whole."""

    content: dict[str, Mean]
    style: dict[str, Mean]
    tv: tuple[Mean, ...]


class Owned(NamedTuple):
    """Which positions a part of a picture answers for: 1 for its own, 0 for its halo; of the image, and by layer."""

    pixels: PositionWeights
    layers: Mapping[str, PositionWeights]


def content_targets(vgg: Network, content: Image, layers: Iterable[str]) -> Features:
    """P of eq. 1 for each layer."""
    return vgg(content, tuple(layers))


def style_targets(
    vgg: Network, style: Image, layers: Iterable[str], guides: Guides | None = None, statistic: Statistic = "gram"
) -> StyleTargets:
    """A of eq. 4 for each layer, or its `Moments`, of all positions or as `guides` weigh them. It does not depend on the size
    of the image."""
    like, within = no_target(statistic), guides or {}
    means = {name: _statistic(f, like, within.get(name)) for name, f in vgg(style, tuple(layers)).items()}
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


def objective(image: Encoded, vgg: Network, targets: Targets, weights: Terms) -> tuple[Scalar, Terms]:
    """α · content + β · style (eq. 7) + total variation: the inner product of `weights` with the terms, and the terms.

    `image` is an image (h, w, 3) or the numbers that it is made of (`parameterize`).
    Raises `InputError` when `weights` and `targets` do not name the same layers.
    """
    _check_layers(targets, weights)
    return weighed(measure(shown(image, targets.kept), vgg, targets), targets, weights)


def shown(image: Encoded, kept: Kept | None) -> Image:
    """The image (1 - t) x + t c, with t the share and c the picture of what is kept: where t is 1, the gradient is 0."""
    decoded = decode(image)
    if kept is None:
        return decoded
    share = kept.share[..., None]
    return (1 - share) * decoded + share * kept.image


def measure(
    image: Image, vgg: Network, targets: Targets, owned: Owned | None = None, rows: Rows | None = None
) -> Measures:
    """Looks at the image once. Of a part of a picture it measures what is `owned`; these measures add up to the whole's. A part
    that consists of `rows` takes what lies beyond it from its neighbours.

    The Gram matrix of a region is G_r = (T∘F)ᵀ(T∘F) with the guide T², normalized so that Σ T² = 1 (Gatys et al. 2017,
    *Controlling Perceptual Factors in Neural Style Transfer*). Deviation: a mask is T² and not T, so that at a soft edge the
    regions' shares of a position add up to 1.
    """

    def look(layer: str, response: FeatureMap) -> tuple[Mean | None, dict[str, Mean]]:
        own = owned.layers[layer] if owned else None
        content = squared_error(response, targets.content[layer], own) if layer in targets.content else None
        entries = [name for name in targets.style if layer_and_region(name)[0] == layer]
        within = {name: _both(own, targets.guides.get(name)) for name in entries}
        return content, {name: _statistic(response, targets.style[name], within[name]) for name in entries}

    layers = layers_in(targets)
    if isinstance(vgg, VGG):
        seen: dict[str, Any] = vgg.looked(image, layers, look, rows)
    else:
        seen = {name: look(name, response) for name, response in vgg(image, layers).items()}
    return Measures(
        content={name: seen[name][0] for name in targets.content},
        style={name: seen[layer_and_region(name)[0]][1][name] for name in targets.style},
        tv=targets.variations(image, owned.pixels if owned else None),
    )


def terms_of(measures: Measures, targets: Targets) -> Terms:
    """The losses, from measures of the whole picture."""
    return Terms(
        content={name: 0.5 * error.value for name, error in measures.content.items()},
        style={name: style_error(mean.value, targets.style[name]) for name, mean in measures.style.items()},
        tv=sum((v.value for v in measures.tv), jnp.zeros(())),
    )


def weighed(measures: Measures, targets: Targets, weights: Terms) -> tuple[Scalar, Terms]:
    """The objective from measures of the whole picture: the inner product of `weights` with the terms, and the terms."""
    terms = terms_of(measures, targets)
    return jnp.asarray(optax.tree.vdot(weights, terms)), terms


def layers_in(targets: Targets) -> tuple[str, ...]:
    """Every layer that the targets name."""
    return tuple(dict.fromkeys((*targets.content, *(layer_and_region(name)[0] for name in targets.style))))


def style_error(value: Float[Array, "_ _"], target: StyleTarget) -> Scalar:
    """The style loss of a layer from the mean that was measured; from zeros, that of an image without any response."""
    return wasserstein_loss(value, target) if isinstance(target, Moments) else style_loss(value, target)


def no_target(statistic: Statistic) -> StyleTarget:
    """What stands for a target where a style is measured and not compared."""
    nothing = jnp.zeros((0, 0))
    return nothing if statistic == "gram" else Moments(nothing, nothing)


def target_from(value: Float[Array, "_ _"], statistic: Statistic) -> StyleTarget:
    """The target from what was measured of a style."""
    return value if statistic == "gram" else target_of(value)


def _statistic(features: FeatureMap, target: StyleTarget, weights: PositionWeights | None) -> Mean:
    return moments(features, weights) if isinstance(target, Moments) else correlations(features, weights)


def _both(own: PositionWeights | None, guide: PositionWeights | None) -> PositionWeights | None:
    return guide if own is None else own if guide is None else own * guide


def _check_layers(targets: Targets, weights: Terms) -> None:
    for kind in ("content", "style"):
        have, given = sorted(getattr(targets, kind)), sorted(getattr(weights, kind))
        if have != given:
            raise InputError(
                f"{kind} weights name {given} but the targets have {have}; give one weight for each target layer"
            )
