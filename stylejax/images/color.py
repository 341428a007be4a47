"""Keep the style's colors or restore the content's.

The methods are those of Gatys et al. 2016, *Preserving Color in Neural Artistic Style Transfer*. Arrays are (h, w, 3) in
encoded sRGB. The luma of a pixel is `Y = 0.299 R + 0.587 G + 0.114 B`, as in YIQ and YCbCr; the chroma is the rest. Both are
linear: adding the same number to R, G and B changes the luma alone.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from stylejax.images.resize import HostImage

ColorMode: TypeAlias = Literal["style", "match", "luminance", "after"]
Luma: TypeAlias = Float[np.ndarray, "_ _"]

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of R, G and B in the luma by Rec. 601, as in the papers of Gatys et al."""

MIN_VARIANCE = 1e-5
"""Smallest variance of a style's colors in any direction: keeps the noise of a gray style small."""


def styles_depend_on_content(color: ColorMode) -> bool:
    """Return whether the network's style images depend on the content image."""
    return color not in ("style", "after")


def restores_color(color: ColorMode) -> bool:
    """Return whether the result gets the content's chroma at the end."""
    return color in ("luminance", "after")


def apply_color_mode(
    color: ColorMode, content: HostImage, styles: Sequence[HostImage]
) -> tuple[HostImage, list[HostImage]]:
    """Return content and styles for the network: unchanged, gray, or styles in the content's colors."""
    if not styles_depend_on_content(color):
        return content, list(styles)
    if color == "luminance":
        tone = luma(content)
        return _gray(tone), [_gray(match_luma(luma(style), tone)) for style in styles]
    return content, [match_color(style, content) for style in styles]


def restore_color(color: ColorMode, image: HostImage, content: HostImage) -> HostImage:
    """Give an image the chroma of `content` if the mode asks for it; values may leave [0, 1]."""
    if not restores_color(color):
        return image
    return (content + (luma(image) - luma(content))[..., None]).astype(np.float32)


def luma(image: HostImage) -> Luma:
    """Return the luma Y (h, w) of an image."""
    return (image @ LUMA).astype(np.float32)


def match_luma(tone: Luma, reference: Luma) -> Luma:
    """Return `σ_C/σ_S · (L - μ_S) + μ_C`, with the mean and deviation of `reference`."""
    ratio = reference.std(dtype=np.float64) / max(tone.std(dtype=np.float64), 1e-6)
    return (ratio * (tone - tone.mean(dtype=np.float64)) + reference.mean(dtype=np.float64)).astype(np.float32)


def match_color(style: HostImage, content: HostImage) -> HostImage:
    """Return `A x + b` for each style pixel x, with the mean and covariance of the content's colors.

    `A Σ_S Aᵀ = Σ_C` and `b = μ_C - A μ_S`. Several A satisfy this; `Σ_S^-½ (Σ_S^½ Σ_C Σ_S^½)^½ Σ_S^-½`, the optimal transport
    between normal distributions, moves the colors least. Values may leave [0, 1].
    """
    pixels, reference = (x.reshape(-1, 3).astype(np.float64) for x in (style, content))
    sigma_s, sigma_c = _covariance(pixels, MIN_VARIANCE), _covariance(reference, 1e-12)
    root, inverse = _power(sigma_s, 0.5), _power(sigma_s, -0.5)
    a = inverse @ _power(root @ sigma_c @ root, 0.5) @ inverse
    matched = (pixels - pixels.mean(0)) @ a.T + reference.mean(0)
    return matched.reshape(style.shape).astype(np.float32)


def _covariance(pixels: Float[np.ndarray, "n 3"], minimum: float) -> Float[np.ndarray, "3 3"]:
    """Return Σ with all its eigenvalues at least `minimum`."""
    values, vectors = np.linalg.eigh(np.cov(pixels.T, bias=True))
    return (vectors * np.maximum(values, minimum)) @ vectors.T


def _power(matrix: Float[np.ndarray, "3 3"], exponent: float) -> Float[np.ndarray, "3 3"]:
    """Return a power of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, np.finfo(np.float64).tiny) ** exponent) @ vectors.T


def _gray(tone: Luma) -> HostImage:
    return np.repeat(tone[..., None], 3, -1)
