"""What the optimizer moves: the pixels themselves, or numbers that an image is made of.

Gradient descent finds first what its numbers say directly. In pixels that is the grain; in a pyramid of images, each half the
size of the one before, large shapes are as near as small ones. What a tree of numbers is, its type says.
"""

from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stylejax.types import Image

Parameterization: TypeAlias = Literal["pyramid", "pixels", "sigmoid"]

COARSER = 4
"""Coarser images in a pyramid. What is larger still is found at the coarse scales of a run."""

SHARE = 0.3
"""Weight of a level over that of the finer one. At 1 the coarse levels are so eager that the first steps fail; at 0 they
are not there. From noise and from the content, 0.3 was ahead of pixels after 25 steps and after 200."""


class Pyramid(NamedTuple):
    """x = Σ_k SHARE^k · z_k, each z_k enlarged to the size of z_0 by linear interpolation."""

    levels: tuple[Float[Array, "_ _ 3"], ...]


class Sigmoid(NamedTuple):
    """x = 1 / (1 + exp(-z)): an image that can not leave [0, 1]."""

    logits: Image


Encoded: TypeAlias = Image | Pyramid | Sigmoid


def encode(image: Image, kind: Parameterization) -> Encoded:
    """Numbers that `decode` makes `image` of; black and white are half a level away from where a sigmoid's logits end."""
    match kind:
        case "pixels":
            return image
        case "pyramid":
            h, w, c = image.shape
            coarser = [jnp.zeros((-(-h // 2**k), -(-w // 2**k), c), image.dtype) for k in range(1, COARSER + 1)]
            return Pyramid((image, *coarser))
        case "sigmoid":
            inside = jnp.clip(image, 1 / 512, 511 / 512)
            return Sigmoid(jnp.log(inside) - jnp.log1p(-inside))


def decode(encoded: Encoded) -> Image:
    """The image."""
    match encoded:
        case Pyramid(levels):
            finest, *coarser = levels
            enlarged = (jax.image.resize(z, finest.shape, "linear") for z in coarser)
            return finest + sum(SHARE**k * z for k, z in enumerate(enlarged, 1))
        case Sigmoid(logits):
            return jax.nn.sigmoid(logits)
        case _:
            return encoded
