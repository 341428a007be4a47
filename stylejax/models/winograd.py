"""Winograd convolution F(4×4, 3×3) with stride 1 and zero padding (Lavin and Gray 2016).

It takes 36 multiplications for 16 outputs of a 3×3 kernel; direct convolution takes 144 and already runs at the rate of a
matrix product on CPU. In one dimension, four outputs y follow from six inputs d and three taps g:

    y = Aᵀ [ (G g) ∘ (Bᵀ d) ]

The matrices interpolate a product of polynomials at the points 0, 1, -1, ½, -2 and ∞, whose rounding error is a third of that
of 0, ±1, ±2, ∞ (Barabasz et al. 2020). The backward pass convolves with the reversed kernel. Since a → 1/a reverses a
polynomial, it uses the points 1/a and the same transformed kernel.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stylejax.types import FeatureMap

TILE_SIZE = 4
"""Outputs along each side of a tile, which reads two more inputs: F(4×4, 3×3)."""

BLOCK_SIZE = 2**17
"""Tiles times channels of one block, whose 36 transformed values (19 MB) fit the last-level cache."""

POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
"""Finite points a; ∞ follows them."""

RECIPROCAL_POINTS = (1.0, -1.0, 2.0, -0.5, 0.0)
"""1/a of the other points: 1/0 = ∞ precedes them, and 1/∞ = 0 is the last."""


class Transforms(NamedTuple):
    """Matrices Bᵀ, G and Aᵀ."""

    inputs: Float[np.ndarray, "6 6"]
    kernel: Float[np.ndarray, "6 3"]
    outputs: Float[np.ndarray, "4 6"]


def forward_transforms() -> Transforms:
    """Return the matrices at the points a."""
    return _toom_cook(POINTS)


def backward_transforms() -> Transforms:
    """Return the matrices at the points 1/a, which convolve with the reversed g from the same G g.

    A reversed row of G is the row of the reciprocal point up to a factor, which Bᵀ takes over.
    """
    kernel = forward_transforms().kernel
    reciprocal = _toom_cook(RECIPROCAL_POINTS)
    reversed_kernel = np.roll(reciprocal.kernel, 1, 0)[:, ::-1]
    scale = (reversed_kernel * kernel).sum(1) / (kernel**2).sum(1)
    return Transforms(scale[:, None] * np.roll(reciprocal.inputs, 1, 0), kernel, np.roll(reciprocal.outputs, 1, 1))


def _toom_cook(points: Sequence[float]) -> Transforms:
    """Return Toom–Cook matrices at five points and ∞; row i of Bᵀ is `Π_{k≠i} (x - a_k)`, by coefficients."""
    others = [np.delete(points, i) for i in range(5)]
    inputs = np.array([*(np.append(np.poly(o)[::-1], 0.0) for o in others), np.poly(points)[::-1]])
    scale = np.array([np.prod(a - o) for a, o in zip(points, others, strict=True)])
    kernel = np.vstack([np.vander(points, 3, increasing=True) / scale[:, None], [0, 0, 1]])
    outputs = np.vstack([np.vander(points, TILE_SIZE, increasing=True), [0, 0, 0, 1]]).T
    return Transforms(inputs, kernel, outputs)


def transform_kernel(kernel: Float[np.ndarray, "3 3 i o"]) -> Float[np.ndarray, "36 i o"]:
    """Return `G g Gᵀ` for each pair of channels. Compute it once: it takes as long as a small convolution."""
    g = forward_transforms().kernel
    square = np.kron(g, g).astype(np.float32)
    return (square @ np.asarray(kernel, np.float32).reshape(9, -1)).reshape(36, *kernel.shape[2:])


@jax.custom_vjp
def winograd_conv2d(
    x: FeatureMap, transformed: Float[Array, "36 c o"], bias: Float[Array, " o"]
) -> Float[Array, "h w o"]:
    """Return `max(0, x * g + b)` of the same height and width, for G g Gᵀ from `transform_kernel`.

    It includes the rectification so that only the rectified features are stored for the gradient, not those before it too.
    Differentiable in `x` alone.
    """
    return _convolve(x, transformed, forward_transforms(), 1, lambda y: jax.nn.relu(y + bias[None, None]))


def _forward(x: FeatureMap, transformed: Array, bias: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    y = winograd_conv2d(x, transformed, bias)
    return y, (y, transformed, bias)


def _backward(saved: tuple[Array, Array, Array], cotangent: Float[Array, "h w o"]) -> tuple[Array, Array, Array]:
    y, transformed, bias = saved
    x = _convolve(jnp.where(y > 0, cotangent, 0), transformed, backward_transforms(), 2, lambda x: x)
    return x, jnp.zeros_like(transformed), jnp.zeros_like(bias)


winograd_conv2d.defvjp(_forward, _backward)


def _convolve(
    x: Array, transformed: Array, transforms: Transforms, contract: int, finish: Callable[[Array], Array]
) -> Array:
    """Pad the features and convolve blocks of tile rows in a loop, which compiles fast."""
    h, w, c = x.shape
    rows, columns = -(-h // TILE_SIZE), -(-w // TILE_SIZE)
    blocks = min(rows, -(-rows * columns * c // BLOCK_SIZE))
    height = -(-rows // blocks)
    x = jnp.pad(x, ((1, TILE_SIZE * height * blocks + 1 - h), (1, TILE_SIZE * columns + 1 - w), (0, 0)))

    def block(first: Array | int) -> Array:
        strip = jax.lax.dynamic_slice_in_dim(x, first, TILE_SIZE * height + 2)
        values = _input_transform(transforms.inputs, strip, height, columns)
        products = jax.lax.dot_general(values, transformed, (((2,), (contract,)), ((0,), (0,))))
        return finish(_output_transform(transforms.outputs, products, height, columns))

    def put(i: Array, outputs: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(outputs, block(TILE_SIZE * height * i), TILE_SIZE * height * i, 0)

    if blocks == 1:
        return block(0)[:h, :w]
    # The buffer depends on x so that XLA cannot allocate those of all layers at the start, as it does for zeros.
    shape = (TILE_SIZE * height * blocks, TILE_SIZE * columns, transformed.shape[3 - contract])
    return jax.lax.fori_loop(0, blocks, put, jnp.broadcast_to(x[1, 1, 0], shape))[:h, :w]


def _input_transform(matrix: np.ndarray, x: Array, rows: int, columns: int) -> Float[Array, "36 t c"]:
    """Return `Bᵀ d B` of each tile: its 4×4 inputs and two rows and columns of the next tiles."""
    x = jnp.stack(_combine(matrix, [_strided_rows(x, k, rows, 0) for k in range(TILE_SIZE + 2)]))
    x = jnp.stack(_combine(matrix, [_strided_rows(x, k, columns, 2) for k in range(TILE_SIZE + 2)]), 1)
    return x.reshape(36, rows * columns, -1)


def _output_transform(
    matrix: np.ndarray, products: Float[Array, "36 t c"], rows: int, columns: int
) -> Float[Array, "h w c"]:
    """Return `Aᵀ m A` of each tile, side by side, as one product with the Kronecker square of Aᵀ."""
    square = jnp.asarray(np.kron(matrix, matrix), products.dtype)
    x = jnp.matmul(square, products.reshape(36, -1), precision="highest")
    x = x.reshape(TILE_SIZE, TILE_SIZE, rows, columns, -1)
    return x.transpose(2, 0, 3, 1, 4).reshape(TILE_SIZE * rows, TILE_SIZE * columns, -1)


def _strided_rows(x: Array, first: int, tiles: int, axis: int) -> Array:
    """Return row or column `first` of each tile."""
    return jax.lax.slice_in_dim(x, first, first + TILE_SIZE * (tiles - 1) + 1, TILE_SIZE, axis)


def _combine(matrix: np.ndarray, parts: Sequence[Array]) -> list[Array]:
    """Multiply a matrix by a vector of arrays, as sums, which XLA fuses with the operations around them."""
    return [
        functools.reduce(operator.add, (float(m) * x for m, x in zip(row, parts, strict=True) if m)) for row in matrix
    ]
