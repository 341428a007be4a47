"""Wasserstein distance between the features of an image and of the style as Gaussians.

With means μ, μ* and covariances Σ, Σ* of the image and of the style (Dowson and Landau 1982):

    W² = |μ - μ*|² + tr(Σ + Σ* - 2 (Σ*^½ Σ Σ*^½)^½)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stylejax.losses.gatys import gram_sum
from stylejax.losses.reductions import PositionWeights, WeightedSum
from stylejax.types import FeatureMap, GramMatrix, Scalar

NEWTON_SCHULZ_STEPS = 16
"""Newton–Schulz iterations. 16 resolve singular values down to 1/650 of the largest; more amplify the rounding of float32 until
eigenvalues of zero turn negative."""

ROUNDING_EPS = 8
"""Rounding error of a covariance, in units of the last place of the features' mean square."""

FLAT_EPS = 128
"""Rounding error for an image without variation, such as a gray one, where all terms of a sum are rounded alike."""


class GaussianStats(NamedTuple):
    """Gaussian of a style: `second_moments` E[F Fᵀ], with a channel of ones, and the Σ*^½ that follows."""

    second_moments: Float[Array, "_ _"]
    sqrt_covariance: GramMatrix


def second_moments(features: FeatureMap, weights: PositionWeights | None = None) -> WeightedSum:
    """Return the second moments of the N channels and a channel of ones; the last column is the mean."""
    ones = jnp.ones((*features.shape[:2], 1), features.dtype)
    return gram_sum(jnp.concatenate([features, ones], 2), weights)


def gaussian_stats(moments: Float[Array, "_ _"]) -> GaussianStats:
    """Return the style target with the given second moments."""
    values, vectors = jnp.linalg.eigh(_mean_and_covariance(moments)[1])
    root = jnp.matmul(vectors * jnp.sqrt(jnp.maximum(values, 0))[None], vectors.T, precision="highest")
    return GaussianStats(moments, root)


def wasserstein_loss(moments: Float[Array, "_ _"], target: GaussianStats) -> Scalar:
    """Return W² / N between the Gaussian with the given second moments and the target."""
    mean, covariance = _mean_and_covariance(moments)
    target_mean, target_covariance = _mean_and_covariance(target.second_moments)
    root = target.sqrt_covariance
    product = jnp.matmul(jnp.matmul(root, covariance, precision="highest"), root, precision="highest")
    traces = jnp.trace(covariance) + jnp.trace(target_covariance) - 2 * trace_sqrtm(product)
    return (jnp.sum((mean - target_mean) ** 2) + traces) / mean.size


@jax.custom_vjp
def trace_sqrtm(matrix: GramMatrix) -> Scalar:
    """Return tr M^½ of a positive semidefinite matrix by the coupled Newton–Schulz iteration.

    Y₀ = M/|M|, Z₀ = I; T = (3 I - Z Y)/2, Y ← Y T, Z ← T Z; then Y → (M/|M|)^½ and Z → (M/|M|)^-½ (Higham 2008, eq. 6.35).
    The gradient is ½ M^-½ = Z / (2 |M|^½). It is bounded for a singular M too, as Z stops at 1.5^`NEWTON_SCHULZ_STEPS`.
    """
    return _trace_sqrtm_forward(matrix)[0]


def _trace_sqrtm_forward(matrix: GramMatrix) -> tuple[Scalar, GramMatrix]:
    norm = jnp.maximum(jnp.linalg.norm(matrix), jnp.finfo(matrix.dtype).tiny ** 0.5)
    identity = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    y, z = matrix / norm, identity
    for _ in range(NEWTON_SCHULZ_STEPS):
        t = 1.5 * identity - 0.5 * jnp.matmul(z, y, precision="highest")
        y, z = jnp.matmul(y, t, precision="highest"), jnp.matmul(t, z, precision="highest")
    return jnp.sqrt(norm) * jnp.trace(y), z / jnp.sqrt(norm)


trace_sqrtm.defvjp(_trace_sqrtm_forward, lambda inverse_root, cotangent: (0.5 * cotangent * inverse_root,))


def _mean_and_covariance(moments: Float[Array, "_ _"]) -> tuple[Float[Array, " _"], GramMatrix]:
    """Return the mean and the covariance, regularized by its rounding error."""
    # E[F Fᵀ] - μ μᵀ cancels, and its rounding makes eigenvalues negative. The diagonal added for that is ROUNDING_EPS units,
    # and up to FLAT_EPS units more the less the features vary.
    mean, second = moments[:-1, -1], moments[:-1, :-1]
    covariance = second - jnp.outer(mean, mean)
    limits = jnp.finfo(moments.dtype)
    unit = limits.eps * jnp.trace(second)
    flat, variance = FLAT_EPS * unit, jnp.maximum(jnp.trace(covariance), 0)
    rounding = ROUNDING_EPS * unit + flat * flat / jnp.maximum(flat + variance, limits.tiny**0.5)
    return mean, covariance + rounding * jnp.eye(mean.size, dtype=moments.dtype)
