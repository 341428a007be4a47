"""What is minimized: content, style and total variation of one image, against targets computed once (eq. 7).

Every argument of `objective` is a pytree and none is static: a weight can change, or become a batch under `jax.vmap`,
without a new compilation. Which layers count is the set of names in the targets.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from stylejax.errors import InputError
from stylejax.losses import Mean, PositionWeights, correlations, gram_matrix, squared_error, style_loss, variations
from stylejax.parameterize import Encoded, decode
from stylejax.types import ByLayer, FeatureMap, Features, GramMatrices, Image, Network, Scalar
from stylejax.vgg import VGG, Rows


class Targets(NamedTuple):
    """What the image should have: responses of the content image, Gram matrices of the style, each by layer."""

    content: Features
    style: GramMatrices


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


def style_targets(vgg: Network, style: Image, layers: Iterable[str]) -> GramMatrices:
    """A of eq. 4 for each layer. It does not depend on the size of the style image."""
    return {name: gram_matrix(f) for name, f in vgg(style, tuple(layers)).items()}


def blend(targets: Sequence[GramMatrices]) -> GramMatrices:
    """The mean of several styles' Gram matrices: the minimum of the sum of their style losses."""
    return jax.tree.map(lambda *grams: sum(grams) / len(grams), *targets)


def objective(image: Encoded, vgg: Network, targets: Targets, weights: Terms) -> tuple[Scalar, Terms]:
    """α · content + β · style (eq. 7) + total variation: the inner product of `weights` with the terms, and the terms.

    `image` is an image (h, w, 3) or the numbers that it is made of (`parameterize`).
    Raises `InputError` when `weights` and `targets` do not name the same layers.
    """
    _check_layers(targets, weights)
    return weighed(measure(decode(image), vgg, targets), targets, weights)


def measure(
    image: Image, vgg: Network, targets: Targets, owned: Owned | None = None, rows: Rows | None = None
) -> Measures:
    """Looks at the image once. Of a part of a picture it measures what is `owned`; these measures add up to the whole's. A part
    that consists of `rows` takes what lies beyond it from its neighbours."""

    def look(name: str, response: FeatureMap) -> tuple[Mean | None, Mean | None]:
        own = owned.layers[name] if owned else None
        content = squared_error(response, targets.content[name], own) if name in targets.content else None
        return content, correlations(response, own) if name in targets.style else None

    layers = tuple(dict.fromkeys((*targets.content, *targets.style)))
    if isinstance(vgg, VGG):
        seen: dict[str, Any] = vgg.looked(image, layers, look, rows)
    else:
        seen = {name: look(name, response) for name, response in vgg(image, layers).items()}
    return Measures(
        content={name: seen[name][0] for name in targets.content},
        style={name: seen[name][1] for name in targets.style},
        tv=variations(image, owned.pixels if owned else None),
    )


def terms_of(measures: Measures, targets: Targets) -> Terms:
    """The losses, from measures of the whole picture."""
    return Terms(
        content={name: 0.5 * error.value for name, error in measures.content.items()},
        style={name: style_loss(gram.value, targets.style[name]) for name, gram in measures.style.items()},
        tv=sum((v.value for v in measures.tv), jnp.zeros(())),
    )


def weighed(measures: Measures, targets: Targets, weights: Terms) -> tuple[Scalar, Terms]:
    """The objective from measures of the whole picture: the inner product of `weights` with the terms, and the terms."""
    terms = terms_of(measures, targets)
    return jnp.asarray(optax.tree.vdot(weights, terms)), terms


def _check_layers(targets: Targets, weights: Terms) -> None:
    for kind in ("content", "style"):
        have, given = sorted(getattr(targets, kind)), sorted(getattr(weights, kind))
        if have != given:
            raise InputError(
                f"{kind} weights name {given} but the targets have {have}; give one weight for each target layer"
            )
