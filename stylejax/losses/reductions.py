"""Means over positions, kept as sum and weight: those of the parts of an image add up to those of the whole.

A position's weight is 1, or given by a map (h, w): whether a tile owns the position, how far it belongs to a region.
"""

from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float

from stylejax.types import FeatureMap, Scalar

PositionWeights: TypeAlias = Float[Array, "h w"]


class Mean(NamedTuple):
    """A mean that is not divided yet: Σ_k w_k x_k and Σ_k w_k."""

    total: Float[Array, "..."]
    weight: Scalar

    @property
    def value(self) -> Float[Array, "..."]:
        """Σ w x / Σ w."""
        return self.total / self.weight


def mean(x: FeatureMap, weights: PositionWeights | None = None) -> Mean:
    """Return the mean over positions and channels."""
    weighted = x if weights is None else x * weights[..., None]
    return Mean(weighted.sum(), x.shape[-1] * total_weight(x, weights))


def total_weight(x: FeatureMap, weights: PositionWeights | None) -> Scalar:
    """Return Σ_k w_k, the number of positions without weights."""
    return jnp.asarray(x.shape[0] * x.shape[1], x.dtype) if weights is None else weights.sum()
