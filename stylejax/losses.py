"""The paper's equations: arrays in, a number out. Nothing here knows of layers by name, weights or networks.

F and P are the responses of one layer to the image and to the content image; G and A the Gram matrices of the image and
of the style image. N is the number of channels, M = h·w the number of positions.
"""

import jax
import jax.numpy as jnp

from stylejax.types import FeatureMap, GramMatrix, Image, Scalar


@jax.custom_vjp
def gram_matrix(features: FeatureMap) -> GramMatrix:
    """G_ij = 1/M · Σ_k F_ki F_kj: the correlations of the channels over the positions k (eq. 3).

    Deviation: the paper sums over positions and divides by M² in eq. 4. Dividing here, each image by its own M, is the same
    for images of one size and makes images of different sizes comparable.
    """
    # The reduced precision that accelerators use for products by default would lose digits in a sum over 10⁵ positions.
    flat = features.reshape(-1, features.shape[-1])
    rows = (((0,), (0,)), ((), ()))
    return jax.lax.dot_general(flat, flat, rows, precision=jax.lax.Precision.HIGHEST) / flat.shape[0]


def _gram_forward(features: FeatureMap) -> tuple[GramMatrix, FeatureMap]:
    return gram_matrix(features), features


def _gram_backward(features: FeatureMap, cotangent: GramMatrix) -> tuple[FeatureMap]:
    """dF = F (dG + dGᵀ) / M. Automatic differentiation multiplies F twice, by dG and by dGᵀ: a tenth of an evaluation."""
    h, w, _ = features.shape
    return (jnp.matmul(features, (cotangent + cotangent.T) / (h * w), precision=jax.lax.Precision.HIGHEST),)


gram_matrix.defvjp(_gram_forward, _gram_backward)


def content_loss(features: FeatureMap, target: FeatureMap) -> Scalar:
    """½ · mean (F - P)² over positions and channels (eq. 1, divided by N·M).

    Deviation: the paper sums, which makes the balance of content and style depend on the size of the picture. The preset
    `paper` multiplies by N·M again.
    """
    return 0.5 * jnp.mean((features - target) ** 2)


def style_loss(gram: GramMatrix, target: GramMatrix) -> Scalar:
    """1/(4N²) · Σ (G - A)² of two N×N Gram matrices, each already divided by its M (eq. 4)."""
    return jnp.mean((gram - target) ** 2) / 4


def total_variation(image: Image) -> Scalar:
    """mean (x_{i+1,j} - x_{i,j})² + mean (x_{i,j+1} - x_{i,j})² over positions and channels.

    Deviation: the paper has no such term; its weight is zero in the preset `paper`. A side of one pixel has no differences.
    """
    down, right = image[1:] - image[:-1], image[:, 1:] - image[:, :-1]
    return sum((jnp.mean(d**2) for d in (down, right) if d.size), jnp.zeros((), image.dtype))
