"""Keep the style's colors or restore the content's.

The methods are those of Gatys et al. 2016, *Preserving Color in Neural Artistic Style Transfer*. Arrays are (h, w, 3) in
encoded sRGB. The luma of a pixel is `Y = 0.299 R + 0.587 G + 0.114 B`, as in YIQ and YCbCr; the chroma is the rest. Both are
linear: adding the same number to R, G and B changes the luma alone.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from stylejax.images.resize import Alpha, HostImage

ColorMode: TypeAlias = Literal["style", "match", "luminance", "after", "only"]
Luma: TypeAlias = Float[np.ndarray, "_ _"]

MAX_CHROMA = 2 / 255
"""Largest difference between the channels of a gray image: JPEG rounds them apart."""

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of R, G and B in the luma by Rec. 601, as in the papers of Gatys et al."""

MIN_VARIANCE = 1e-5
"""Smallest variance of a style's colors in any direction: keeps the noise of a gray style small."""


def is_gray(image: HostImage) -> bool:
    """Return whether an image has no color, up to `MAX_CHROMA`."""
    return bool(np.ptp(image, axis=-1).max() < MAX_CHROMA + 1e-6)


def stays_gray(color: ColorMode, content: bool, styles: Iterable[bool]) -> bool:
    """Return whether the network sees only gray images, from whether the content and each style `is_gray`.

    The result is then gray by its parameters: the losses leave a chroma that the network hardly sees undetermined.
    """
    return content and (color == "match" or all(styles))


def styles_depend_on_content(color: ColorMode) -> bool:
    """Return whether the network's style images depend on the content image."""
    return color in ("match", "luminance")


def restores_color(color: ColorMode) -> bool:
    """Return whether the result gets the content's chroma at the end."""
    return color in ("luminance", "after")


def apply_color_mode(
    color: ColorMode, content: HostImage, styles: Sequence[HostImage], alpha: Sequence[Alpha | None] = ()
) -> tuple[HostImage, list[HostImage]]:
    """Return content and styles for the network: unchanged, gray, or styles in the content's colors.

    `alpha` is that of the content and of each style; empty if all are opaque.
    """
    if not styles_depend_on_content(color):
        return content, list(styles)
    shown, *masks = alpha or [None] * (1 + len(styles))
    pairs = list(zip(styles, masks, strict=False))
    if color == "luminance":
        tone = luma(content)
        return _gray(tone), [_gray(match_luma(luma(style), tone, mask, shown)) for style, mask in pairs]
    return content, [match_color(style, content, mask, shown) for style, mask in pairs]


def restore_color(color: ColorMode, image: HostImage, content: HostImage) -> HostImage:
    """Give an image the chroma of `content` if the mode asks for it; values may leave [0, 1]."""
    if not restores_color(color):
        return image
    return (content + (luma(image) - luma(content))[..., None]).astype(np.float32)


def recolor(
    content: HostImage, style: HostImage, alpha: Alpha | None = None, style_alpha: Alpha | None = None
) -> HostImage:
    """Return the content with the mean and covariance of the style's colors, clipped to [0, 1]; pixels count by their alpha."""
    # The chroma of a gray image is rounding, which the match would amplify.
    source = _gray(luma(content)) if is_gray(content) else content
    return match_color(source, style, alpha, style_alpha).clip(0, 1)


def luma(image: HostImage) -> Luma:
    """Return the luma Y (h, w) of an image."""
    return (image @ LUMA).astype(np.float32)


def match_luma(tone: Luma, reference: Luma, alpha: Alpha | None = None, reference_alpha: Alpha | None = None) -> Luma:
    """Return `σ_C/σ_S · (L - μ_S) + μ_C`, with the mean and deviation of `reference`; pixels count by their alpha."""
    (mean, deviation), (mean_c, deviation_c) = _mean_and_std(tone, alpha), _mean_and_std(reference, reference_alpha)
    return (deviation_c / max(deviation, 1e-6) * (tone - mean) + mean_c).astype(np.float32)


def match_color(
    style: HostImage, content: HostImage, alpha: Alpha | None = None, content_alpha: Alpha | None = None
) -> HostImage:
    """Return `A x + b` for each style pixel x, with the mean and covariance of the content's colors.

    Pixels count by their alpha.

    `A Σ_S Aᵀ = Σ_C` and `b = μ_C - A μ_S`. Several A satisfy this; `Σ_S^-½ (Σ_S^½ Σ_C Σ_S^½)^½ Σ_S^-½`, the optimal transport
    between normal distributions, moves the colors least. Values may leave [0, 1].
    """
    pixels, reference = (x.reshape(-1, 3).astype(np.float64) for x in (style, content))
    shares, content_shares = (None if a is None else a.ravel() for a in (alpha, content_alpha))
    sigma_s, sigma_c = _covariance(pixels, MIN_VARIANCE, shares), _covariance(reference, 1e-12, content_shares)
    root, inverse = _power(sigma_s, 0.5), _power(sigma_s, -0.5)
    a = inverse @ _power(root @ sigma_c @ root, 0.5) @ inverse
    matched = (pixels - np.average(pixels, 0, shares)) @ a.T + np.average(reference, 0, content_shares)
    return matched.reshape(style.shape).astype(np.float32)


def _mean_and_std(tone: Luma, alpha: Alpha | None) -> tuple[float, float]:
    if alpha is None:
        return tone.mean(dtype=np.float64), tone.std(dtype=np.float64)
    mean = np.average(tone.astype(np.float64), weights=alpha)
    return mean, np.average((tone - mean) ** 2, weights=alpha) ** 0.5


def _covariance(
    pixels: Float[np.ndarray, "n 3"], minimum: float, shares: Float[np.ndarray, " n"] | None
) -> Float[np.ndarray, "3 3"]:
    """Return Σ with all its eigenvalues at least `minimum`."""
    values, vectors = np.linalg.eigh(np.cov(pixels.T, bias=True, aweights=shares))
    return (vectors * np.maximum(values, minimum)) @ vectors.T


def _power(matrix: Float[np.ndarray, "3 3"], exponent: float) -> Float[np.ndarray, "3 3"]:
    """Return a power of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, np.finfo(np.float64).tiny) ** exponent) @ vectors.T


def _gray(tone: Luma) -> HostImage:
    return np.repeat(tone[..., None], 3, -1)
