"""Represent an image by the parameters that the optimizer moves.

Gradient descent first finds the structure that single parameters express. In pixels that is fine grain; in a pyramid, large
shapes as well. The type of a parameter tree names its parameterization.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.fft import dctn, idctn
from jaxtyping import Array, Float

from stylejax.types import Image

Channels: TypeAlias = Float[Array, "h w c"]
"""Three channels of a color image, or one of a gray image."""

Parameterization: TypeAlias = Literal["pyramid", "pixels", "sigmoid", "dct"]

PYRAMID_LEVELS = 4
"""Number of levels below the full size; the coarse scales of a run provide larger shapes."""

LEVEL_DECAY = 0.3
"""Weight of a level over that of the next finer one; at 1 the first steps fail, 0 leaves only pixels.
From noise and from the content, 0.3 left a lower loss than pixels after 25 and after 200 steps."""


class Pyramid(NamedTuple):
    """Image `x = Σ_k LEVEL_DECAY^k · z_k`, with each level z_k enlarged linearly to the size of z_0."""

    levels: tuple[Float[Array, "_ _ c"], ...]


@jax.tree_util.register_static
@dataclass(frozen=True)
class PyramidShape:
    """Shape (h, w, c) of the finest level, from which those of the others follow."""

    h: int
    w: int
    c: int

    def levels(self) -> tuple[tuple[int, int, int], ...]:
        return tuple((-(-self.h // 2**k), -(-self.w // 2**k), self.c) for k in range(PYRAMID_LEVELS + 1))


class PackedPyramid(NamedTuple):
    """Levels of a `Pyramid` in one vector: an optimizer of one array compiles in three quarters of the time."""

    values: Float[Array, " n"]
    shape: PyramidShape


class Sigmoid(NamedTuple):
    """Image `x = 1 / (1 + exp(-z))`, which cannot leave [0, 1]."""

    logits: Channels


class CosineWaves(NamedTuple):
    """Image `x = C⁻¹(a · z)`, with the cosine transform C and the amplitudes a of `_amplitudes`.

    Deviation: Olah et al. (2017) use the discrete Fourier transform, which joins opposite edges, scale by 1/f, and decorrelate
    the colors.
    """

    coefficients: Channels


class Gray(NamedTuple):
    """Image of three equal channels: the parameters of one (h, w, 1)."""

    channel: "Channels | Pyramid | PackedPyramid | Sigmoid | CosineWaves"


ImageParams: TypeAlias = Image | Pyramid | PackedPyramid | Sigmoid | CosineWaves | Gray


def to_params(image: Image, kind: Parameterization, gray: bool = False) -> ImageParams:
    """Return the parameters of an image, or of the mean of its channels if it is to stay gray.

    A sigmoid clips it to finite logits, by half an 8-bit level.
    """
    return Gray(_encode(jnp.mean(image, -1, keepdims=True), kind)) if gray else _encode(image, kind)


def pack(params: ImageParams) -> ImageParams:
    """Return the parameters with the levels of a pyramid in one vector; other parameters are one array already."""
    return Gray(_pack(params.channel)) if isinstance(params, Gray) else _pack(params)


def _pack(params: Any) -> Any:
    if not isinstance(params, Pyramid):
        return params
    shape = PyramidShape(*params.levels[0].shape)
    return PackedPyramid(jnp.concatenate([level.ravel() for level in params.levels]), shape)


def _encode(image: Channels, kind: Parameterization) -> Any:
    match kind:
        case "pixels":
            return image
        case "pyramid":
            _, *coarser = PyramidShape(*image.shape).levels()
            return Pyramid((image, *(jnp.zeros(shape, image.dtype) for shape in coarser)))
        case "sigmoid":
            inside = jnp.clip(image, 1 / 512, 511 / 512)
            return Sigmoid(jnp.log(inside) - jnp.log1p(-inside))
        case "dct":
            return CosineWaves(dctn(image, axes=(0, 1), norm="ortho") / _amplitudes(*image.shape[:2]))


def to_image(params: ImageParams) -> Image:
    """Return the image (h, w, 3) of these parameters."""
    return jnp.repeat(_decode(params.channel), 3, -1) if isinstance(params, Gray) else _decode(params)


def _decode(params: Any) -> Channels:
    match params:
        case Pyramid(levels):
            finest, *coarser = levels
            enlarged = (jax.image.resize(z, finest.shape, "linear") for z in coarser)
            return finest + sum(LEVEL_DECAY**k * z for k, z in enumerate(enlarged, 1))
        case PackedPyramid(values, shape):
            shapes = shape.levels()
            parts = jnp.split(values, np.cumsum([math.prod(s) for s in shapes])[:-1])
            return _decode(Pyramid(tuple(part.reshape(s) for part, s in zip(parts, shapes, strict=True))))
        case Sigmoid(logits):
            return jax.nn.sigmoid(logits)
        case CosineWaves(coefficients):
            return idctn(coefficients * _amplitudes(*coefficients.shape[:2]), axes=(0, 1), norm="ortho")
        case _:
            return params


def _amplitudes(h: int, w: int) -> Float[np.ndarray, "h w 1"]:
    """Return 1/√f for waves of f periods a pixel, f at least that of the longest, with mean square 1.

    The 1/f of natural images finds the fine waves too late (docs/design.md, "Cosine waves").
    """
    f = np.hypot(np.arange(h)[:, None] / (2 * h), np.arange(w)[None] / (2 * w))
    a = np.maximum(f, 1 / (2 * max(h, w))) ** -0.5
    return (a / np.sqrt(np.mean(a**2)))[..., None].astype(np.float32)
