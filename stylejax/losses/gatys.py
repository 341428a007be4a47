"""The paper's equations: arrays in, a number out. Nothing here knows of layers by name, weights or networks.

F and P are the responses of one layer to the image and to the content image; G and A the Gram matrices of the image and
of the style image. N is the number of channels, M = h·w the number of positions.

Every loss is a function of means over positions. A `Mean` is kept as its sum and its weight, since sums add up: those of the
parts of a picture to those of the whole. A position's weight is 1, or what a map (h, w) says: whether a part owns the
position, how far it belongs to a region.
"""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stylejax.types import FeatureMap, GramMatrix, Image, Scalar

FLAT = 1 / 1020
"""A difference of neighbours that nobody sees."""

PositionWeights: TypeAlias = Float[Array, "h w"]


class Mean(NamedTuple):
    """A mean that is not divided yet: Σ_k w_k x_k and Σ_k w_k."""

    total: Float[Array, "..."]
    weight: Scalar

    @property
    def value(self) -> Float[Array, "..."]:
        """Σ w x / Σ w."""
        return self.total / self.weight


@jax.custom_vjp
def _products(features: FeatureMap, weights: PositionWeights | None) -> GramMatrix:
    """Σ_k w_k F_ki F_kj."""
    # The reduced precision that accelerators use for products by default would lose digits in a sum over 10⁵ positions.
    flat = features.reshape(-1, features.shape[-1])
    weighted = flat if weights is None else flat * weights.reshape(-1, 1)
    rows = (((0,), (0,)), ((), ()))
    return jax.lax.dot_general(weighted, flat, rows, precision=jax.lax.Precision.HIGHEST)


def _products_forward(features: FeatureMap, weights: PositionWeights | None) -> tuple[GramMatrix, tuple]:
    return _products(features, weights), (features, weights)


def _products_backward(saved: tuple, cotangent: GramMatrix) -> tuple[FeatureMap, PositionWeights | None]:
    """dF = w F (dG + dGᵀ). Automatic differentiation multiplies F twice, by dG and by dGᵀ: a tenth of an evaluation.
    The weights are given, and not differentiated."""
    features, weights = saved
    slopes = jnp.matmul(features, cotangent + cotangent.T, precision=jax.lax.Precision.HIGHEST)
    return (slopes, None) if weights is None else (slopes * weights[..., None], jnp.zeros_like(weights))


_products.defvjp(_products_forward, _products_backward)


def correlations(features: FeatureMap, weights: PositionWeights | None = None) -> Mean:
    """G_ij = Σ_k w_k F_ki F_kj / Σ_k w_k: the correlations of the channels over the positions k (eq. 3).

    Deviation: the paper sums over positions and divides by M² in eq. 4. Dividing here, each image by its own M, is the same
    for images of one size and makes images of different sizes comparable.
    """
    return Mean(_products(features, weights), _weight(features, weights))


def gram_matrix(features: FeatureMap) -> GramMatrix:
    """G of all positions alike: the `correlations`, divided by M."""
    return correlations(features).value


def squared_error(features: FeatureMap, target: FeatureMap, weights: PositionWeights | None = None) -> Mean:
    """(F - P)² over positions and channels."""
    return _mean((features - target) ** 2, weights)


def content_loss(features: FeatureMap, target: FeatureMap) -> Scalar:
    """½ · mean (F - P)² over positions and channels (eq. 1, divided by N·M).

    Deviation: the paper prints a sum. On its normalized network, the mean gives the paper's Figure 2 at the printed ratios
    α/β, and the sum the photograph.
    """
    return 0.5 * squared_error(features, target).value


def style_loss(gram: GramMatrix, target: GramMatrix) -> Scalar:
    """1/(4N²) · Σ (G - A)² of two N×N Gram matrices, each already divided by its M (eq. 4)."""
    return jnp.mean((gram - target) ** 2) / 4


def variations(image: Image, weights: PositionWeights | None = None) -> tuple[Mean, ...]:
    """(x_{i+1,j} - x_{i,j})² and (x_{i,j+1} - x_{i,j})² over positions (i, j) and channels; a side of one pixel has none."""
    down, right = (image[1:] - image[:-1]) ** 2, (image[:, 1:] - image[:, :-1]) ** 2
    above, left = (weights[:-1], weights[:, :-1]) if weights is not None else (None, None)
    return tuple(_mean(d, w) for d, w in ((down, above), (right, left)) if d.size)


def total_variation(image: Image) -> Scalar:
    """The sum of the means of `variations`.

    Deviation: the paper has no such term; its weight is zero by default.
    """
    return sum((v.value for v in variations(image)), jnp.zeros((), image.dtype))


def absolute_variations(image: Image, weights: PositionWeights | None = None) -> tuple[Mean, ...]:
    """|x_{i+1,j} - x_{i,j}| + |x_{i,j+1} - x_{i,j}| over all positions and channels; beyond the edge nothing differs."""
    down, right = _differences(image)
    # jnp.abs has a slope of 1 at zero, which would pull at flat places.
    return (_mean(down * jnp.sign(down) + right * jnp.sign(right), weights),)


def isotropic_variations(image: Image, weights: PositionWeights | None = None) -> tuple[Mean, ...]:
    """√((x_{i+1,j} - x_{i,j})² + (x_{i,j+1} - x_{i,j})² + ε²) - ε over all positions and channels: the same for an edge in
    every direction. ε, a quarter of a level of 8 bits, gives flat places a slope of zero."""
    down, right = _differences(image)
    return (_mean(jnp.sqrt(down**2 + right**2 + FLAT**2) - FLAT, weights),)


def _differences(image: Image) -> tuple[Image, Image]:
    h, w, _ = image.shape
    beyond = jnp.pad(image, ((0, 1), (0, 1), (0, 0)), mode="edge")
    return beyond[1:, :w] - image, beyond[:h, 1:] - image


def _mean(x: FeatureMap, weights: PositionWeights | None) -> Mean:
    weighted = x if weights is None else x * weights[..., None]
    return Mean(weighted.sum(), x.shape[-1] * _weight(x, weights))


def _weight(x: FeatureMap, weights: PositionWeights | None) -> Scalar:
    return jnp.asarray(x.shape[0] * x.shape[1], x.dtype) if weights is None else weights.sum()
