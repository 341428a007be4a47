"""Convolution with less arithmetic: Winograd's F(4×4, 3×3) for stride 1 and zero padding (Lavin and Gray 2016).

On a CPU the direct convolution already runs at the rate of a matrix product, so only fewer multiplications are faster: 36 for
16 outputs of a 3×3 kernel where the direct way takes 144. In one dimension, four outputs y from six inputs d and three taps g:

    y = Aᵀ [ (G g) ∘ (Bᵀ d) ]

A product of polynomials is found from its values at points; the points here are 0, 1, -1, 2, ½ and ∞. They are closed under
a → 1/a, which reverses a polynomial, so that the backward pass, a convolution with the reversed kernel, uses the same
transformed kernel with its rows in another order.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stylejax.types import FeatureMap

TILE = 4
"""Outputs of a tile along each side; it reads two inputs more."""

POINTS = (0.0, 1.0, -1.0, 2.0, 0.5)
"""The finite points."""

INVERSE = (5, 1, 2, 4, 3, 0)
"""The position of 1/a for each point a, ∞ being the last."""


class Transforms(NamedTuple):
    """Matrices on the inputs (Bᵀ, 6×6), on the kernel (G, 6×3) and on the products (Aᵀ, 4×6)."""

    inputs: Float[np.ndarray, "6 6"]
    kernel: Float[np.ndarray, "6 3"]
    outputs: Float[np.ndarray, "4 6"]


def forward_transforms() -> Transforms:
    """The matrices of Toom and Cook: row i of Bᵀ has the coefficients of Π_{k≠i} (x - a_k)."""
    points = np.array(POINTS)
    others = [np.delete(points, i) for i in range(5)]
    inputs = np.array([*(np.append(np.poly(o)[::-1], 0.0) for o in others), np.poly(points)[::-1]])
    scale = np.array([np.prod(a - o) for a, o in zip(points, others, strict=True)])
    kernel = np.vstack([np.vander(points, 3, increasing=True) / scale[:, None], [0, 0, 1]])
    outputs = np.vstack([np.vander(points, TILE, increasing=True), [0, 0, 0, 1]]).T
    return Transforms(inputs, kernel, outputs)


def backward_transforms() -> Transforms:
    """The matrices for the reversed kernel: G of a reversed g is G g in the order of 1/a, each row times a factor."""
    forward = forward_transforms()
    factor = _factors(forward.kernel)
    inputs, outputs = np.empty_like(forward.inputs), np.empty_like(forward.outputs)
    for i, inverse in enumerate(INVERSE):
        inputs[inverse], outputs[:, inverse] = factor[i] * forward.inputs[i], forward.outputs[:, i]
    return Transforms(inputs, forward.kernel, outputs)


def transform_kernel(kernel: Float[np.ndarray, "3 3 i o"]) -> Float[np.ndarray, "36 i o"]:
    """G g Gᵀ for each pair of channels: computed once, as it takes as long as a small convolution."""
    g = forward_transforms().kernel
    square = np.kron(g, g).astype(np.float32)
    return (square @ np.asarray(kernel, np.float32).reshape(9, -1)).reshape(36, *kernel.shape[2:])


@jax.custom_vjp
def convolve(x: FeatureMap, transformed: Float[Array, "36 c o"]) -> Float[Array, "h w o"]:
    """The 3×3 convolution, zero-padded to the same size, of a map with a kernel from `transform_kernel`.

    Differentiable in `x` alone: the network is never trained here.
    """
    return _convolve(x, transformed, forward_transforms(), contract=1)


def _forward(x: FeatureMap, transformed: Float[Array, "36 c o"]) -> tuple[Array, Array]:
    return convolve(x, transformed), transformed


def _backward(transformed: Float[Array, "36 c o"], cotangent: Float[Array, "h w o"]) -> tuple[Array, Array]:
    return _convolve(cotangent, transformed, backward_transforms(), contract=2), jnp.zeros_like(transformed)


convolve.defvjp(_forward, _backward)


def _convolve(x: Array, transformed: Array, transforms: Transforms, contract: int) -> Array:
    h, w, _ = x.shape
    rows, columns = -(-h // TILE), -(-w // TILE)
    values = _both_axes(transforms.inputs, _tiles(x, rows, columns))
    products = jax.lax.dot_general(values, transformed, (((2,), (contract,)), ((0,), (0,))))
    outputs = _both_axes(transforms.outputs, products).reshape(TILE, TILE, rows, columns, -1)
    return outputs.transpose(2, 0, 3, 1, 4).reshape(TILE * rows, TILE * columns, -1)[:h, :w]


def _tiles(x: Array, rows: int, columns: int) -> Float[Array, "36 t c"]:
    """The 6×6 inputs of each tile: its own 4×4 and two rows and columns of the next."""
    h, w, c = x.shape
    x = jnp.pad(x, ((1, TILE * rows + 3 - h), (1, TILE * columns + 3 - w), (0, 0)))
    x = x.reshape(rows + 1, TILE, columns + 1, TILE, c)
    x = jnp.concatenate([x[:-1], x[1:, :2]], 1)
    x = jnp.concatenate([x[:, :, :-1], x[:, :, 1:, :2]], 3)
    return x.transpose(1, 3, 0, 2, 4).reshape(36, rows * columns, c)


def _both_axes(matrix: np.ndarray, x: Float[Array, "36 t c"]) -> Float[Array, "p t c"]:
    """m x mᵀ of each tile and channel, as one product with the Kronecker square of m: few operations compile fast."""
    square = jnp.asarray(np.kron(matrix, matrix), x.dtype)
    return jnp.matmul(square, x.reshape(36, -1), precision="highest").reshape(-1, *x.shape[1:])


def _factors(kernel: Float[np.ndarray, "6 3"]) -> Float[np.ndarray, "6"]:
    """s with (G · reversed g)_i = s_i · (G g)_inverse(i): the rows of G are the same but for their scale."""
    ratios = [(kernel[i, ::-1] @ kernel[j]) / (kernel[j] @ kernel[j]) for i, j in enumerate(INVERSE)]
    return np.array(ratios)
