"""Style as a Gaussian: mean μ and covariance Σ of a layer's features over positions, and their Wasserstein distance.

With μ* and Σ* of the style (Dowson and Landau 1982):

    W² = |μ - μ*|² + tr(Σ + Σ* - 2 (Σ*^½ Σ Σ*^½)^½)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stylejax.losses.gatys import correlations
from stylejax.losses.reductions import Mean, PositionWeights
from stylejax.types import FeatureMap, GramMatrix, Scalar

ITERATIONS = 16
"""Newton–Schulz iterations. 16 resolve singular values down to 1/650 of the largest; more amplify the rounding of float32 until
eigenvalues of zero turn negative."""

ROUNDING = 8
"""Rounding of a covariance, in units of the last place of the features' mean square."""

FLAT = 128
"""The same for an image without variation, such as a gray one: there each term of the sums is rounded the same way."""


class Moments(NamedTuple):
    """Second moments of the N channels and a channel of ones, E[F Fᵀ] with E[F] as last column, and Σ*^½, which follows."""

    products: Float[Array, "_ _"]
    root: GramMatrix


def moments(features: FeatureMap, weights: PositionWeights | None = None) -> Mean:
    """Return the `products` of `Moments` as a `Mean`, which adds up over the parts of an image."""
    ones = jnp.ones((*features.shape[:2], 1), features.dtype)
    return correlations(jnp.concatenate([features, ones], 2), weights)


def target_of(products: Float[Array, "_ _"]) -> Moments:
    """Return the target of given products."""
    values, vectors = jnp.linalg.eigh(_gaussian(products)[1])
    root = jnp.matmul(vectors * jnp.sqrt(jnp.maximum(values, 0))[None], vectors.T, precision="highest")
    return Moments(products, root)


def wasserstein_loss(products: Float[Array, "_ _"], target: Moments) -> Scalar:
    """Return W² / N between the Gaussian of `products` and the target's."""
    (mean, covariance), (wanted, its_covariance) = _gaussian(products), _gaussian(target.products)
    seen = jnp.matmul(jnp.matmul(target.root, covariance, precision="highest"), target.root, precision="highest")
    way = jnp.trace(covariance) + jnp.trace(its_covariance) - 2 * root_trace(seen)
    return (jnp.sum((mean - wanted) ** 2) + way) / mean.size


@jax.custom_vjp
def root_trace(matrix: GramMatrix) -> Scalar:
    """tr M^½ of a symmetric matrix without negative eigenvalues, by products of matrices alone.

    Y₀ = M/|M|, Z₀ = I; T = (3 I - Z Y)/2, Y ← Y T, Z ← T Z; then Y → (M/|M|)^½ and Z → (M/|M|)^-½ (Higham 2008, eq. 6.35).
    Its gradient is ½ M^-½ = Z / (2 |M|^½), which has an end where M has none: there Z stops at 1.5^`ITERATIONS`.
    """
    return _root_trace_forward(matrix)[0]


def _root_trace_forward(matrix: GramMatrix) -> tuple[Scalar, GramMatrix]:
    norm = jnp.maximum(jnp.linalg.norm(matrix), jnp.finfo(matrix.dtype).tiny ** 0.5)
    identity = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    y, z = matrix / norm, identity
    for _ in range(ITERATIONS):
        t = 1.5 * identity - 0.5 * jnp.matmul(z, y, precision="highest")
        y, z = jnp.matmul(y, t, precision="highest"), jnp.matmul(t, z, precision="highest")
    return jnp.sqrt(norm) * jnp.trace(y), z / jnp.sqrt(norm)


def _root_trace_backward(inverse_root: GramMatrix, cotangent: Scalar) -> tuple[GramMatrix]:
    return (0.5 * cotangent * inverse_root,)


root_trace.defvjp(_root_trace_forward, _root_trace_backward)


def _gaussian(products: Float[Array, "_ _"]) -> tuple[Float[Array, " _"], GramMatrix]:
    """Mean and covariance. The difference of two large numbers has their rounding, and with it negative eigenvalues, which no
    covariance has: as much is added to its diagonal, from `ROUNDING` up to `FLAT` as the responses vary less."""
    mean, second = products[:-1, -1], products[:-1, :-1]
    covariance = second - jnp.outer(mean, mean)
    limits = jnp.finfo(products.dtype)
    unit = limits.eps * jnp.trace(second)
    flat, varied = FLAT * unit, jnp.maximum(jnp.trace(covariance), 0)
    rounding = ROUNDING * unit + flat * flat / jnp.maximum(flat + varied, limits.tiny**0.5)
    return mean, covariance + rounding * jnp.eye(mean.size, dtype=products.dtype)
