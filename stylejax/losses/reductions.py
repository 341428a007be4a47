"""Weighted means over positions, kept as sums so that those of tiles or shards can be added."""

from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float

from stylejax.types import FeatureMap, Scalar

PositionWeights: TypeAlias = Float[Array, "h w"]
"""Weight of each position, from 0 to 1: whether a tile owns it, or its share of a region."""


class WeightedSum(NamedTuple):
    """Weighted sum Σ_k w_k x_k and total weight Σ_k w_k."""

    sum: Float[Array, "..."]
    weight: Scalar

    @property
    def mean(self) -> Float[Array, "..."]:
        return self.sum / self.weight


def weighted_sum(x: FeatureMap, weights: PositionWeights | None = None) -> WeightedSum:
    """Return the sum over positions and channels. None means a weight of 1 at each position."""
    weighted = x if weights is None else x * weights[..., None]
    return WeightedSum(weighted.sum(), x.shape[-1] * total_weight(x, weights))


def total_weight(x: FeatureMap, weights: PositionWeights | None) -> Scalar:
    """Return Σ_k w_k over the positions of `x`."""
    return jnp.asarray(x.shape[0] * x.shape[1], x.dtype) if weights is None else weights.sum()
