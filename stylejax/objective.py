"""What is minimized: content, style and total variation of one image, against targets computed once (eq. 7).

Every argument of `objective` is a pytree and none is static: a weight can change, or become a batch under `jax.vmap`,
without a new compilation. Which layers count is the set of names in the targets.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float

from stylejax.errors import InputError
from stylejax.gaussian import Moments, moments, target_of, wasserstein_loss
from stylejax.losses import Mean, correlations, gram_matrix, squared_error, style_loss, variations
from stylejax.parameterize import Encoded, decode
from stylejax.types import ByLayer, FeatureMap, Features, GramMatrix, Image, Network, Scalar

Statistic: TypeAlias = Literal["gram", "wasserstein"]

StyleTarget: TypeAlias = GramMatrix | Moments
"""What a layer's style is compared by is what its target is: Gram matrices, or Gaussians."""

StyleTargets: TypeAlias = dict[str, StyleTarget]


class Targets(NamedTuple):
    """What the image should have: responses of the content image and statistics of the style, each by layer; and which of
    the functions in `losses` measures its variations."""

    content: Features
    style: StyleTargets
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


def content_targets(vgg: Network, content: Image, layers: Iterable[str]) -> Features:
    """P of eq. 1 for each layer."""
    return vgg(content, tuple(layers))


def style_targets(vgg: Network, style: Image, layers: Iterable[str], statistic: Statistic = "gram") -> StyleTargets:
    """A of eq. 4 for each layer, or its `Moments`. It does not depend on the size of the style image."""
    features = vgg(style, tuple(layers))
    if statistic == "gram":
        return {name: gram_matrix(f) for name, f in features.items()}
    return {name: target_of(moments(f).value) for name, f in features.items()}


def blend(targets: Sequence[StyleTargets]) -> StyleTargets:
    """The mean of several styles' Gram matrices: the minimum of the sum of their style losses. Of Gaussians, the one with the
    mean of their moments."""
    mean = jax.tree.map(lambda *grams: sum(grams) / len(grams), *targets)
    return {name: target_of(t.products) if isinstance(t, Moments) else t for name, t in mean.items()}


def objective(image: Encoded, vgg: Network, targets: Targets, weights: Terms) -> tuple[Scalar, Terms]:
    """α · content + β · style (eq. 7) + total variation: the inner product of `weights` with the terms, and the terms.

    `image` is an image (h, w, 3) or the numbers that it is made of (`parameterize`).
    Raises `InputError` when `weights` and `targets` do not name the same layers.
    """
    _check_layers(targets, weights)
    terms = terms_of(measure(decode(image), vgg, targets), targets)
    return jnp.asarray(optax.tree.vdot(weights, terms)), terms


def measure(image: Image, vgg: Network, targets: Targets) -> Measures:
    """Looks at the image once."""
    features = vgg(image, tuple(dict.fromkeys((*targets.content, *targets.style))))
    return Measures(
        content={name: squared_error(features[name], p) for name, p in targets.content.items()},
        style={name: _statistic(features[name], target) for name, target in targets.style.items()},
        tv=targets.variations(image),
    )


def terms_of(measures: Measures, targets: Targets) -> Terms:
    """The losses, from measures of the whole picture."""
    return Terms(
        content={name: 0.5 * error.value for name, error in measures.content.items()},
        style={name: style_error(mean.value, targets.style[name]) for name, mean in measures.style.items()},
        tv=sum((v.value for v in measures.tv), jnp.zeros(())),
    )


def style_error(value: Float[Array, "_ _"], target: StyleTarget) -> Scalar:
    """The style loss of a layer from the mean that was measured; from zeros, that of an image without any response."""
    return wasserstein_loss(value, target) if isinstance(target, Moments) else style_loss(value, target)


def _statistic(features: FeatureMap, target: StyleTarget) -> Mean:
    return moments(features) if isinstance(target, Moments) else correlations(features)


def _check_layers(targets: Targets, weights: Terms) -> None:
    for kind in ("content", "style"):
        have, given = sorted(getattr(targets, kind)), sorted(getattr(weights, kind))
        if have != given:
            raise InputError(
                f"{kind} weights name {given} but the targets have {have}; give one weight for each target layer"
            )
