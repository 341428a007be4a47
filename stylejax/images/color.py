"""Whose colors the picture has: the style's, or the content's (Gatys et al. 2016, *Preserving Color in Neural Artistic Style
Transfer*). Arrays (h, w, 3) in sRGB as it is encoded, in and out.

The luma of a pixel is Y = 0.299 R + 0.587 G + 0.114 B, that of YIQ and YCbCr; its chroma is what is left. Both are linear, so
that the same number added to R, G and B changes the luma alone.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from stylejax.images.resize import Picture

Color: TypeAlias = Literal["style", "match", "luminance", "after"]
Luma: TypeAlias = Float[np.ndarray, "_ _"]

LUMA = np.array([0.299, 0.587, 0.114])
"""Rec. 601, as in the papers of Gatys et al."""

FLOOR = 1e-5
"""Least variance of a style's colors in any direction, a third of a percent squared: a gray picture has colors to be
matched in one direction only, and the noise in the others is not blown up."""


def is_of_content(color: Color) -> bool:
    """Whether the styles that the network sees depend on the content."""
    return color not in ("style", "after")


def is_after(color: Color) -> bool:
    """Whether the picture gets its colors when it is made."""
    return color in ("luminance", "after")


def before(color: Color, content: Picture, styles: Sequence[Picture]) -> tuple[Picture, list[Picture]]:
    """Content and styles as the network is to see them: with the content's colors, or in grays, or as they are."""
    if not is_of_content(color):
        return content, list(styles)
    if color == "luminance":
        tone = luma(content)
        return _gray(tone), [_gray(match_luma(luma(style), tone)) for style in styles]
    return content, [match_colors(style, content) for style in styles]


def after(color: Color, image: Picture, content: Picture) -> Picture:
    """The picture that was made, with the chroma of a content of its size if the colors are to be kept in this way."""
    return with_luma(content, luma(image)) if is_after(color) else image


def luma(image: Picture) -> Luma:
    """Y of each pixel."""
    return (image @ LUMA).astype(np.float32)


def with_luma(image: Picture, tone: Luma) -> Picture:
    """The chroma of `image` with another luma; values may leave [0, 1]."""
    return (image + (tone - luma(image))[..., None]).astype(np.float32)


def match_luma(tone: Luma, reference: Luma) -> Luma:
    """σ_C/σ_S · (L - μ_S) + μ_C: the mean and deviation of `reference`. Of a flat picture, the mean alone."""
    ratio = reference.std(dtype=np.float64) / max(tone.std(dtype=np.float64), 1e-6)
    return (ratio * (tone - tone.mean(dtype=np.float64)) + reference.mean(dtype=np.float64)).astype(np.float32)


def match_colors(style: Picture, content: Picture) -> Picture:
    """Return A x + b of each pixel x of the style, with the mean and covariance of the content's colors.

    A Σ_S Aᵀ = Σ_C and b = μ_C - A μ_S. Many A do so: the symmetric Σ_S^-½ (Σ_S^½ Σ_C Σ_S^½)^½ Σ_S^-½ moves the colors least
    (optimal transport of one normal distribution to another). Values may leave [0, 1].
    """
    pixels, reference = (x.reshape(-1, 3).astype(np.float64) for x in (style, content))
    sigma_s, sigma_c = _covariance(pixels, FLOOR), _covariance(reference, 1e-12)
    root, inverse = _power(sigma_s, 0.5), _power(sigma_s, -0.5)
    a = inverse @ _power(root @ sigma_c @ root, 0.5) @ inverse
    matched = (pixels - pixels.mean(0)) @ a.T + reference.mean(0)
    return matched.reshape(style.shape).astype(np.float32)


def _covariance(pixels: Float[np.ndarray, "n 3"], least: float) -> Float[np.ndarray, "3 3"]:
    """Σ, with no variance below `least`."""
    values, vectors = np.linalg.eigh(np.cov(pixels.T, bias=True))
    return (vectors * np.maximum(values, least)) @ vectors.T


def _power(matrix: Float[np.ndarray, "3 3"], exponent: float) -> Float[np.ndarray, "3 3"]:
    """A power of a symmetric positive matrix, by its eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, np.finfo(np.float64).tiny) ** exponent) @ vectors.T


def _gray(tone: Luma) -> Picture:
    return np.repeat(tone[..., None], 3, -1)
