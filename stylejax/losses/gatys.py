"""The paper's equations: arrays in, a number out. Nothing here knows of layers by name, weights or networks.

F and P are the responses of one layer to the image and to the content image; G and A the Gram matrices of the image and
of the style image. N is the number of channels, M = h·w the number of positions.
"""

import jax
import jax.numpy as jnp

from stylejax.losses.reductions import Mean, PositionWeights, mean, total_weight
from stylejax.types import FeatureMap, GramMatrix, Scalar


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
    return Mean(_products(features, weights), total_weight(features, weights))


def gram_matrix(features: FeatureMap) -> GramMatrix:
    """G of all positions alike: the `correlations`, divided by M."""
    return correlations(features).value


def squared_error(features: FeatureMap, target: FeatureMap, weights: PositionWeights | None = None) -> Mean:
    """(F - P)² over positions and channels."""
    return mean((features - target) ** 2, weights)


def content_loss(features: FeatureMap, target: FeatureMap) -> Scalar:
    """½ · mean (F - P)² over positions and channels (eq. 1, divided by N·M).

    Deviation: the paper prints a sum. On its normalized network, the mean gives the paper's Figure 2 at the printed ratios
    α/β, and the sum the photograph.
    """
    return 0.5 * squared_error(features, target).value


def style_loss(gram: GramMatrix, target: GramMatrix) -> Scalar:
    """1/(4N²) · Σ (G - A)² of two N×N Gram matrices, each already divided by its M (eq. 4)."""
    return jnp.mean((gram - target) ** 2) / 4
