"""A layer with less arithmetic: Winograd's F(4×4, 3×3) for stride 1 and zero padding (Lavin and Gray 2016).

On a CPU the direct convolution already runs at the rate of a matrix product, so only fewer multiplications are faster: 36 for
16 outputs of a 3×3 kernel where the direct way takes 144. In one dimension, four outputs y from six inputs d and three taps g:

    y = Aᵀ [ (G g) ∘ (Bᵀ d) ]

A product of polynomials is found from its values at points; the points here are 0, 1, -1, ½, -2 and ∞, which round the least
(Barabasz et al. 2020): a third of the error of 0, ±1, ±2. The backward pass is a convolution with the reversed kernel, and
a → 1/a reverses a polynomial: with the points 1/a it uses the same transformed kernel.
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

TILE = 4
"""Outputs of a tile along each side; it reads two inputs more."""

BLOCK = 2**17
"""Tiles times channels that are convolved at once: their 36 transformed values are 19 MB and stay in the processor's last
cache, and their product is long enough for two threads."""

POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
"""The finite points; ∞ comes after them."""

INVERSES = (1.0, -1.0, 2.0, -0.5, 0.0)
"""1/a for the points from the second on; before them comes 1/0 = ∞."""


class Transforms(NamedTuple):
    """Matrices on the inputs (Bᵀ, 6×6), on the kernel (G, 6×3) and on the products (Aᵀ, 4×6)."""

    inputs: Float[np.ndarray, "6 6"]
    kernel: Float[np.ndarray, "6 3"]
    outputs: Float[np.ndarray, "4 6"]


def forward_transforms() -> Transforms:
    """The matrices for the points and ∞."""
    return _toom_cook(POINTS)


def backward_transforms() -> Transforms:
    """The matrices for ∞ and the inverse points, which take the same G g for the reversed g: a row of G reversed is the
    row of the inverse point but for its scale, and the scale can as well be in Bᵀ."""
    kernel = forward_transforms().kernel
    inverse = _toom_cook(INVERSES)
    inputs, reverse, outputs = np.roll(inverse.inputs, 1, 0), np.roll(inverse.kernel, 1, 0)[:, ::-1], inverse.outputs
    scale = (reverse * kernel).sum(1) / (kernel**2).sum(1)
    return Transforms(scale[:, None] * inputs, kernel, np.roll(outputs, 1, 1))


def _toom_cook(points: Sequence[float]) -> Transforms:
    """The matrices of Toom and Cook for five points and ∞: row i of Bᵀ has the coefficients of Π_{k≠i} (x - a_k)."""
    others = [np.delete(points, i) for i in range(5)]
    inputs = np.array([*(np.append(np.poly(o)[::-1], 0.0) for o in others), np.poly(points)[::-1]])
    scale = np.array([np.prod(a - o) for a, o in zip(points, others, strict=True)])
    kernel = np.vstack([np.vander(points, 3, increasing=True) / scale[:, None], [0, 0, 1]])
    outputs = np.vstack([np.vander(points, TILE, increasing=True), [0, 0, 0, 1]]).T
    return Transforms(inputs, kernel, outputs)


def transform_kernel(kernel: Float[np.ndarray, "3 3 i o"]) -> Float[np.ndarray, "36 i o"]:
    """G g Gᵀ for each pair of channels: computed once, as it takes as long as a small convolution."""
    g = forward_transforms().kernel
    square = np.kron(g, g).astype(np.float32)
    return (square @ np.asarray(kernel, np.float32).reshape(9, -1)).reshape(36, *kernel.shape[2:])


@jax.custom_vjp
def convolve(x: FeatureMap, transformed: Float[Array, "36 c o"], bias: Float[Array, " o"]) -> Float[Array, "h w o"]:
    """max(0, x * g + b): the 3×3 convolution of a map, zero-padded to the same size, with a kernel from `transform_kernel`.

    It is rectified here because the gradient then needs nothing that the next layer does not need too: the responses are kept
    once, and not before the rectification as well. Differentiable in `x` alone: the network is never trained here.
    """
    return _convolve(x, transformed, forward_transforms(), 1, lambda y: jax.nn.relu(y + bias[None, None]))


def _forward(x: FeatureMap, transformed: Array, bias: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    y = convolve(x, transformed, bias)
    return y, (y, transformed, bias)


def _backward(kept: tuple[Array, Array, Array], cotangent: Float[Array, "h w o"]) -> tuple[Array, Array, Array]:
    y, transformed, bias = kept
    slopes = jnp.where(y > 0, cotangent, 0)
    x = _convolve(slopes, transformed, backward_transforms(), 2, lambda x: x)
    return x, jnp.zeros_like(transformed), jnp.zeros_like(bias)


convolve.defvjp(_forward, _backward)


def _convolve(
    x: Array, transformed: Array, transforms: Transforms, contract: int, finish: Callable[[Array], Array]
) -> Array:
    """Pads, and convolves a block of rows of tiles after the other. The blocks are a loop: fewer operations compile faster,
    and, other than convolutions, products and sums run in a loop as fast as outside."""
    h, w, c = x.shape
    rows, columns = -(-h // TILE), -(-w // TILE)
    blocks = min(rows, -(-rows * columns * c // BLOCK))
    height = -(-rows // blocks)
    x = jnp.pad(x, ((1, TILE * height * blocks + 1 - h), (1, TILE * columns + 1 - w), (0, 0)))

    def block(first: Array | int) -> Array:
        part = jax.lax.dynamic_slice_in_dim(x, first, TILE * height + 2)
        values = _on_tiles(transforms.inputs, part, height, columns)
        products = jax.lax.dot_general(values, transformed, (((2,), (contract,)), ((0,), (0,))))
        return finish(_from_tiles(transforms.outputs, products, height, columns))

    def put(i: Array, outputs: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(outputs, block(TILE * height * i), TILE * height * i, 0)

    if blocks == 1:
        return block(0)[:h, :w]
    # Room for the outputs, of numbers that are all replaced. If they were zeros, which wait for nothing, XLA would take the
    # room of all layers at the beginning.
    room = jnp.broadcast_to(x[1, 1, 0], (TILE * height * blocks, TILE * columns, transformed.shape[3 - contract]))
    return jax.lax.fori_loop(0, blocks, put, room)[:h, :w]


def _on_tiles(matrix: np.ndarray, x: Array, rows: int, columns: int) -> Float[Array, "36 t c"]:
    """Bᵀ d B of each tile: its own 4×4 inputs and two rows and columns of the next."""
    x = jnp.stack(_combine(matrix, [_every_tile(x, k, rows, 0) for k in range(TILE + 2)]))
    x = jnp.stack(_combine(matrix, [_every_tile(x, k, columns, 2) for k in range(TILE + 2)]), 1)
    return x.reshape(36, rows * columns, -1)


def _from_tiles(matrix: np.ndarray, products: Float[Array, "36 t c"], rows: int, columns: int) -> Float[Array, "h w c"]:
    """Aᵀ m A of each tile, side by side. Here one product with the Kronecker square of Aᵀ is no slower than sums."""
    square = jnp.asarray(np.kron(matrix, matrix), products.dtype)
    x = jnp.matmul(square, products.reshape(36, -1), precision="highest").reshape(TILE, TILE, rows, columns, -1)
    return x.transpose(2, 0, 3, 1, 4).reshape(TILE * rows, TILE * columns, -1)


def _every_tile(x: Array, first: int, tiles: int, axis: int) -> Array:
    """Row or column `first` of each tile."""
    return jax.lax.slice_in_dim(x, first, first + TILE * (tiles - 1) + 1, TILE, axis)


def _combine(matrix: np.ndarray, parts: Sequence[Array]) -> list[Array]:
    """The matrix times a vector of arrays, as sums: XLA fuses them with what is around, and a zero costs nothing."""
    return [
        functools.reduce(operator.add, (float(m) * x for m, x in zip(row, parts, strict=True) if m)) for row in matrix
    ]
