"""What the optimizer moves: the pixels themselves, or numbers that an image is made of.

Gradient descent finds first what its numbers say directly. In pixels that is the grain; in a pyramid of images, each half the
size of the one before, large shapes are as near as small ones. What a tree of numbers is, its type says.
"""

from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.fft import dctn, idctn
from jaxtyping import Array, Float

from stylejax.types import Image

Parameterization: TypeAlias = Literal["pyramid", "pixels", "sigmoid", "fourier"]

COARSER = 4
"""Coarser images in a pyramid. What is larger still is found at the coarse scales of a run."""

SHARE = 0.3
"""Weight of a level over that of the finer one. At 1 the coarse levels are so eager that the first steps fail; at 0 they
are not there. From noise and from the content, 0.3 was ahead of pixels after 25 steps and after 200."""


class Pyramid(NamedTuple):
    """x = Σ_k SHARE^k · z_k, each z_k enlarged to the size of z_0 by linear interpolation."""

    levels: tuple[Float[Array, "_ _ 3"], ...]


class Sigmoid(NamedTuple):
    """x = 1 / (1 + exp(-z)): an image that cannot leave [0, 1]."""

    logits: Image


class Fourier(NamedTuple):
    """x = C⁻¹(a · z): z are the amplitudes of cosine waves, scaled by a (`_amplitudes`). C is the cosine transform, that of the
    image mirrored at its edges.

    Deviation: Olah et al. (2017) take the discrete Fourier transform, which joins opposite edges, scale by 1/f, and decorrelate
    colors too.
    """

    waves: Image


Encoded: TypeAlias = Image | Pyramid | Sigmoid | Fourier


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
        case "fourier":
            return Fourier(dctn(image, axes=(0, 1), norm="ortho") / _amplitudes(*image.shape[:2]))


def decode(encoded: Encoded) -> Image:
    """The image."""
    match encoded:
        case Pyramid(levels):
            finest, *coarser = levels
            enlarged = (jax.image.resize(z, finest.shape, "linear") for z in coarser)
            return finest + sum(SHARE**k * z for k, z in enumerate(enlarged, 1))
        case Sigmoid(logits):
            return jax.nn.sigmoid(logits)
        case Fourier(waves):
            return idctn(waves * _amplitudes(*waves.shape[:2]), axes=(0, 1), norm="ortho")
        case _:
            return encoded


def _amplitudes(h: int, w: int) -> Float[np.ndarray, "h w 1"]:
    """Return 1/√f for a wave of f periods a pixel, and the longest wave's at most; their mean square is 1.

    With 1/f, the amplitudes of natural images, the fine waves that the first layers ask for are found too late: 150 steps at
    256 px left a loss of 7.2, against 0.86 with 1/√f and 0.5 with a pyramid.
    """
    f = np.hypot(np.arange(h)[:, None] / (2 * h), np.arange(w)[None] / (2 * w))
    a = np.maximum(f, 1 / (2 * max(h, w))) ** -0.5
    return (a / np.sqrt(np.mean(a**2)))[..., None].astype(np.float32)
