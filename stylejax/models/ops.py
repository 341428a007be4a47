"""Pooling, exchange of rows between devices, and recomputation in the backward pass."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stylejax.types import FeatureMap


def average_pool(x: FeatureMap) -> Float[Array, "h//2 w//2 c"]:
    """Return the mean of each 2×2 window, without an odd last row or column, as in the authors' code."""
    return _windows(x).mean((1, 3))


def max_pool(x: FeatureMap) -> Float[Array, "h//2 w//2 c"]:
    """Return the maximum of each 2×2 window, without an odd last row or column.

    XLA's `reduce_window` gave wrong rows of large maps on several CPU devices (jax 0.10.2).
    """
    return _windows(x).max((1, 3))


def _windows(x: FeatureMap) -> Float[Array, "h//2 2 w//2 2 c"]:
    h, w, c = x.shape
    return x[: h // 2 * 2, : w // 2 * 2].reshape(h // 2, 2, w // 2, 2, c)


class RowShard(NamedTuple):
    """One device's rows of an image that is sharded over a mesh.

    `axis` names the mesh axis. Every device has the same number of rows; rows beyond the image's `height` are padding.
    """

    axis: str
    devices: int
    height: int

    def recv_from_next(self, x: FeatureMap, rows: int) -> Float[Array, "_ w c"]:
        """Return the first `rows` of the next device; zeros on the last device."""
        return jax.lax.ppermute(x[:rows], self.axis, [(i + 1, i) for i in range(self.devices - 1)])

    def recv_from_previous(self, x: FeatureMap, rows: int) -> Float[Array, "_ w c"]:
        """Return the last `rows` of the previous device; zeros on the first device."""
        return jax.lax.ppermute(x[-rows:], self.axis, [(i, i + 1) for i in range(self.devices - 1)])

    def valid_row_mask(self, rows: int, scale: int) -> Float[Array, " rows"]:
        """Return 1 for each of this device's `rows` inside the image, else 0; a row is `scale` pixels high."""
        first = jax.lax.axis_index(self.axis) * rows
        return (first + jnp.arange(rows) < self.height // scale).astype(jnp.float32)


def recompute_in_backward(compute: Callable[[FeatureMap], Any], x: FeatureMap) -> Any:
    """Return `compute(x)`; the backward pass computes it again, so that only x is stored.

    `jax.checkpoint` does not suffice: on CPU, XLA merges the two computations and stores the first. Here the second one adds
    to x a zero that depends on the incoming gradient, so it cannot run earlier.
    """
    # Captured arrays become arguments, because a custom gradient inside `shard_map` may not capture any.
    pure, captured = jax.closure_convert(compute, x)

    def forward(x: FeatureMap, *captured: Any) -> tuple[Any, tuple]:
        return pure(x, *captured), (x, captured)

    def backward(saved: tuple, cotangents: Any) -> tuple:
        x, captured = saved
        zero = sum(0 * leaf.ravel()[0] for leaf in jax.tree.leaves(cotangents))
        return jax.vjp(pure, x + jnp.asarray(zero, x.dtype), *captured)[1](cotangents)

    recomputed = jax.custom_vjp(pure)
    recomputed.defvjp(forward, backward)
    return recomputed(x, *captured)
