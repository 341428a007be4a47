"""Equations 1, 3 and 4 of the paper, as functions of the features of one layer.

F and P are the features of the image and of the content image, G and A the Gram matrices of the image and of the style image.
N is the number of channels, M = h·w the number of positions.
"""

import jax
import jax.numpy as jnp

from stylejax.losses.reductions import PositionWeights, WeightedSum, total_weight, weighted_sum
from stylejax.types import FeatureMap, GramMatrix, Scalar


@jax.custom_vjp
def _weighted_gram(features: FeatureMap, weights: PositionWeights | None) -> GramMatrix:
    """Return Σ_k w_k F_ki F_kj."""
    # Accelerators multiply in reduced precision by default, which loses digits in a sum over 10⁵ positions.
    flat = features.reshape(-1, features.shape[-1])
    weighted = flat if weights is None else flat * weights.reshape(-1, 1)
    rows = (((0,), (0,)), ((), ()))
    return jax.lax.dot_general(weighted, flat, rows, precision=jax.lax.Precision.HIGHEST)


def _weighted_gram_backward(residuals: tuple, cotangent: GramMatrix) -> tuple[FeatureMap, PositionWeights | None]:
    """Return dF = w F (dG + dGᵀ), and no gradient of the weights, which are constants."""
    # Automatic differentiation multiplies F twice, by dG and by dGᵀ, which takes a tenth of an evaluation.
    features, weights = residuals
    gradient = jnp.matmul(features, cotangent + cotangent.T, precision=jax.lax.Precision.HIGHEST)
    return (gradient, None) if weights is None else (gradient * weights[..., None], jnp.zeros_like(weights))


_weighted_gram.defvjp(lambda *inputs: (_weighted_gram(*inputs), inputs), _weighted_gram_backward)


def gram_sum(features: FeatureMap, weights: PositionWeights | None = None) -> WeightedSum:
    """Return the Gram matrix G_ij = Σ_k w_k F_ki F_kj / Σ_k w_k as a sum over the positions k (eq. 3).

    Deviation: the paper sums over positions and divides by M² in eq. 4. Dividing here, each image by its own M, is the same
    for images of one size and makes images of different sizes comparable.
    """
    return WeightedSum(_weighted_gram(features, weights), total_weight(features, weights))


def gram_matrix(features: FeatureMap) -> GramMatrix:
    """Return the Gram matrix of a layer (eq. 3), divided by M."""
    return gram_sum(features).mean


def squared_error(features: FeatureMap, target: FeatureMap, weights: PositionWeights | None = None) -> WeightedSum:
    """Return (F - P)² as a sum over positions and channels."""
    return weighted_sum((features - target) ** 2, weights)


def content_loss(features: FeatureMap, target: FeatureMap) -> Scalar:
    """Return ½ · mean (F - P)² over positions and channels (eq. 1, divided by N·M).

    Deviation: the paper prints a sum. On its normalized network, the mean gives the paper's Figure 2 at the printed ratios
    α/β, and the sum gives the photograph.
    """
    return 0.5 * squared_error(features, target).mean


def style_loss(gram: GramMatrix, target: GramMatrix) -> Scalar:
    """Return 1/(4N²) · Σ (G - A)² of two N×N Gram matrices, each already divided by its M (eq. 4)."""
    return jnp.mean((gram - target) ** 2) / 4
