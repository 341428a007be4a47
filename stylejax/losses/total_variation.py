"""Total variation of an image (h, w, 3). The paper has no such term: its weight is zero by default."""

import jax.numpy as jnp
from jax.tree_util import Partial

from stylejax.losses.reductions import Mean, PositionWeights, mean
from stylejax.types import Image, Scalar

SMOOTHING = 1 / 1020
"""ε of `isotropic_variations`: a quarter of a level of 8 bits."""


def variations(image: Image, weights: PositionWeights | None = None) -> tuple[Mean, ...]:
    """(x_{i+1,j} - x_{i,j})² and (x_{i,j+1} - x_{i,j})² over positions (i, j) and channels; a side of one pixel has none."""
    down, right = (image[1:] - image[:-1]) ** 2, (image[:, 1:] - image[:, :-1]) ** 2
    above, left = (weights[:-1], weights[:, :-1]) if weights is not None else (None, None)
    return tuple(mean(d, w) for d, w in ((down, above), (right, left)) if d.size)


def total_variation(image: Image) -> Scalar:
    """Return the sum of the means of `variations`."""
    return sum((v.value for v in variations(image)), jnp.zeros((), image.dtype))


def absolute_variations(image: Image, weights: PositionWeights | None = None) -> tuple[Mean, ...]:
    """|x_{i+1,j} - x_{i,j}| + |x_{i,j+1} - x_{i,j}| over all positions and channels; beyond the edge nothing differs."""
    down, right = _differences(image)
    # jnp.abs has a slope of 1 at zero, which would pull at flat places.
    return (mean(down * jnp.sign(down) + right * jnp.sign(right), weights),)


def isotropic_variations(image: Image, weights: PositionWeights | None = None) -> tuple[Mean, ...]:
    """√((x_{i+1,j} - x_{i,j})² + (x_{i,j+1} - x_{i,j})² + ε²) - ε over all positions and channels.

    It is the same for an edge in every direction; ε gives flat places a slope of zero.
    """
    down, right = _differences(image)
    return (mean(jnp.sqrt(down**2 + right**2 + SMOOTHING**2) - SMOOTHING, weights),)


TOTAL_VARIATIONS = {
    "squared": Partial(variations),
    "absolute": Partial(absolute_variations),
    "isotropic": Partial(isotropic_variations),
}
"""The functions by the option `tv`, as pytrees without leaves."""


def _differences(image: Image) -> tuple[Image, Image]:
    h, w, _ = image.shape
    beyond = jnp.pad(image, ((0, 1), (0, 1), (0, 0)), mode="edge")
    return beyond[1:, :w] - image, beyond[:h, 1:] - image
