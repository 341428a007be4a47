"""What is minimized: content, style and total variation of one image, against targets computed once (eq. 7).

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
    layer_and_region,
    layers_in,
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


class Measures(NamedTuple):
    """What the terms are made of, each a `Mean` over positions: those of a picture's parts add up to those of the whole."""

    content: dict[str, Mean]
    style: dict[str, Mean]
    tv: tuple[Mean, ...]


class Owned(NamedTuple):
    """Which positions a part of a picture answers for: 1 for its own, 0 for its halo; of the image, and by layer."""

    pixels: PositionWeights
    layers: Mapping[str, PositionWeights]


def objective(image: Encoded, vgg: VGG, targets: Targets, weights: Terms) -> tuple[Scalar, Terms]:
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


def measure(image: Image, vgg: VGG, targets: Targets, owned: Owned | None = None, rows: Rows | None = None) -> Measures:
    """Looks at the image once. Of a part of a picture it measures what is `owned`; these measures add up to the whole's. A part
    that consists of `rows` takes what lies beyond it from its neighbors.

    The Gram matrix of a region is G_r = (T∘F)ᵀ(T∘F) with the guide T², normalized so that Σ T² = 1 (Gatys et al. 2017,
    *Controlling Perceptual Factors in Neural Style Transfer*). Deviation: a mask is T² and not T, so that at a soft edge the
    regions' shares of a position add up to 1.
    """

    def look(layer: str, response: FeatureMap) -> tuple[Mean | None, dict[str, Mean]]:
        own = owned.layers[layer] if owned else None
        content = squared_error(response, targets.content[layer], own) if layer in targets.content else None
        entries = [name for name in targets.style if layer_and_region(name)[0] == layer]
        within = {name: _both(own, targets.guides.get(name)) for name in entries}
        return content, {name: style_statistic(response, targets.style[name], within[name]) for name in entries}

    seen = vgg.apply_with(image, layers_in(targets), look, rows)
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


def style_error(value: Float[Array, "_ _"], target: StyleTarget) -> Scalar:
    """The style loss of a layer from the mean that was measured; from zeros, that of an image without any response."""
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
