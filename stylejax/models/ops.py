"""Operations between the convolutions: pooling, rows of neighboring devices, recomputation for the gradient."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stylejax.types import FeatureMap


def average_pool(x: FeatureMap) -> Float[Array, "h//2 w//2 c"]:
    """The mean of each 2×2 window; an odd last row or column is dropped, as in the authors' code."""
    return _windows(x).mean((1, 3))


def max_pool(x: FeatureMap) -> Float[Array, "h//2 w//2 c"]:
    """The largest of each 2×2 window; an odd last row or column is dropped.

    Not by XLA's `reduce_window`, which gave wrong rows of large maps in programs for several devices of a CPU (jax 0.10.2).
    """
    return _windows(x).max((1, 3))


def _windows(x: FeatureMap) -> Float[Array, "h//2 2 w//2 2 c"]:
    h, w, c = x.shape
    return x[: h // 2 * 2, : w // 2 * 2].reshape(h // 2, 2, w // 2, 2, c)


class Rows(NamedTuple):
    """Rows of one device, of an image that is shared over a mesh: the mesh's axis, the number of devices, the image's height.
    Every device has the same number of rows; rows beyond the end of the image do not count."""

    axis: str
    devices: int
    height: int

    def below(self, x: FeatureMap, rows: int) -> Float[Array, "_ w c"]:
        """The first `rows` of the next device; zeros beyond the last."""
        return jax.lax.ppermute(x[:rows], self.axis, [(i + 1, i) for i in range(self.devices - 1)])

    def above(self, x: FeatureMap, rows: int) -> Float[Array, "_ w c"]:
        """The last `rows` of the device before; zeros before the first."""
        return jax.lax.ppermute(x[-rows:], self.axis, [(i, i + 1) for i in range(self.devices - 1)])

    def inside(self, rows: int, scale: int) -> Float[Array, " rows"]:
        """1 for each of this device's `rows` that is in the picture, 0 for the others, on a grid of `scale` pixels."""
        first = jax.lax.axis_index(self.axis) * rows
        return (first + jnp.arange(rows) < self.height // scale).astype(jnp.float32)


def computed_again(compute: Callable[[FeatureMap], Any], x: FeatureMap) -> Any:
    """`compute(x)`, of which only x is kept: the gradient computes it again.

    It is `jax.checkpoint` but for one thing. On the CPU, XLA sees that the two computations are one and keeps the first; so the
    second adds to x a zero that is made of the gradient that comes in, and must wait for it.
    """
    # Arrays that `compute` captures become arguments: inside of `shard_map` a custom gradient may not capture any.
    pure, captured = jax.closure_convert(compute, x)

    def forward(x: FeatureMap, *captured: Any) -> tuple[Any, tuple]:
        return pure(x, *captured), (x, captured)

    def backward(saved: tuple, slopes: Any) -> tuple:
        x, captured = saved
        zero = sum(0 * leaf.ravel()[0] for leaf in jax.tree.leaves(slopes))
        return jax.vjp(pure, x + jnp.asarray(zero, x.dtype), *captured)[1](slopes)

    again = jax.custom_vjp(pure)
    again.defvjp(forward, backward)
    return again(x, *captured)
