"""Total variation of an image (h, w, 3), a term that the paper does not have, with weight 0 by default."""

import jax.numpy as jnp
from jax.tree_util import Partial

from stylejax.losses.reductions import PositionWeights, WeightedSum, weighted_sum
from stylejax.types import Image, Scalar

SMOOTHING = 1 / 1020
"""ε of `isotropic_total_variation`: a quarter of an 8-bit level, too small to be visible."""


def squared_total_variation(image: Image, weights: PositionWeights | None = None) -> tuple[WeightedSum, ...]:
    """Return (x_{i+1,j} - x_{i,j})² and (x_{i,j+1} - x_{i,j})² as sums; a side of one pixel has none."""
    down, right = (image[1:] - image[:-1]) ** 2, (image[:, 1:] - image[:, :-1]) ** 2
    above, left = (weights[:-1], weights[:, :-1]) if weights is not None else (None, None)
    return tuple(weighted_sum(d, w) for d, w in ((down, above), (right, left)) if d.size)


def total_variation(image: Image) -> Scalar:
    """Return the sum of the means of `squared_total_variation`."""
    return sum((v.mean for v in squared_total_variation(image)), jnp.zeros((), image.dtype))


def anisotropic_total_variation(image: Image, weights: PositionWeights | None = None) -> tuple[WeightedSum, ...]:
    """Return |x_{i+1,j} - x_{i,j}| + |x_{i,j+1} - x_{i,j}| as a sum; differences across the border are 0."""
    down, right = _differences(image)
    # The gradient of jnp.abs at 0 is 1, which would change flat regions.
    return (weighted_sum(down * jnp.sign(down) + right * jnp.sign(right), weights),)


def isotropic_total_variation(image: Image, weights: PositionWeights | None = None) -> tuple[WeightedSum, ...]:
    """Return √((x_{i+1,j} - x_{i,j})² + (x_{i,j+1} - x_{i,j})² + ε²) - ε as a sum.

    It is the same for edges in all directions. ε makes its gradient 0 in flat regions.
    """
    down, right = _differences(image)
    return (weighted_sum(jnp.sqrt(down**2 + right**2 + SMOOTHING**2) - SMOOTHING, weights),)


TOTAL_VARIATIONS = {
    "squared": Partial(squared_total_variation),
    "l1": Partial(anisotropic_total_variation),
    "isotropic": Partial(isotropic_total_variation),
}
"""Functions by the values of `--tv-norm`, as pytrees without leaves."""


def _differences(image: Image) -> tuple[Image, Image]:
    h, w, _ = image.shape
    padded = jnp.pad(image, ((0, 1), (0, 1), (0, 0)), mode="edge")
    return padded[1:, :w] - image, padded[:h, 1:] - image
