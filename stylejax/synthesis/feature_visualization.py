"""What the network sees: feature maps of an image, and the image that excites one filter most."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from stylejax.errors import InputError
from stylejax.images.resize import Picture, resize
from stylejax.losses.total_variation import total_variation
from stylejax.models.architecture import canonical_layer
from stylejax.models.vgg import VGG
from stylejax.optimizers.base import Info
from stylejax.optimizers.lbfgs import lbfgs
from stylejax.optimizers.minimize import minimize
from stylejax.parameterization import Encoded, decode, encode
from stylejax.synthesis.validation import check_image
from stylejax.types import Scalar

SMOOTH = 10.0
"""Weight of the total variation of an exciting image: below it a pattern is lost in grain, far above it is blurred."""

CONTRAST, FALL, OCTAVES = 0.3, 1.5, 6
"""Of the first noise: its standard deviation in logits, the growth of a coarser octave over the finer, and their number."""

STARTS = 64
"""First images to try: a deep filter is silent on most noise, and where it is silent it has no gradient."""


class Excited(NamedTuple):
    """An image in [0, 1], the mean activation of the filter on it, and what it was on the first noise."""

    image: Picture
    activation: float
    first: float


def feature_maps(image: ArrayLike, layers: Sequence[str], *, vgg: VGG) -> dict[str, Float[np.ndarray, "_ _ _"]]:
    """F of the paper for each layer: the responses (h, w, c) to an image (h, w, 3), by the names that were asked for.

    Raises `InputError` for an unknown layer, and for an image that is too small or not one.
    """
    return {name: np.asarray(f) for name, f in _responses(vgg, check_image(image, "content"), tuple(layers)).items()}


def strongest(features: Float[np.ndarray, "h w c"], count: int) -> list[int]:
    """The filters of highest mean activation, the strongest first."""
    return [int(i) for i in np.argsort(-features.mean((0, 1)), kind="stable")[:count]]


def map_picture(features: Float[np.ndarray, "h w"], height: int, width: int) -> Picture:
    """One map in gray, white where it is strongest, in squares of its positions; a silent map is black."""
    scaled = features / max(float(features.max()), np.finfo(np.float32).tiny)
    rows, columns = np.arange(height) * scaled.shape[0] // height, np.arange(width) * scaled.shape[1] // width
    return np.repeat(scaled[rows][:, columns, None], 3, -1).astype(np.float32)


def maximize(
    layer: str,
    number: int,
    *,
    vgg: VGG,
    size: int = 256,
    steps: int = 100,
    seed: int = 0,
    callback: Callable[[Info], bool | None] | None = None,
) -> Excited:
    """The image size×size that excites filter `number` of a layer most: argmin -log a(x) + SMOOTH · tv(x), with a the mean
    activation and x = 1 / (1 + exp(-z)), from smooth noise.

    Raises `InputError` for a filter that is not there, or that no noise wakes.
    """
    layer = canonical_layer(layer, vgg.network)
    logits, pick, first = _awake(layer, number, vgg, size, seed)
    args = (vgg, pick, jnp.float32(SMOOTH))
    found = minimize(_silence(layer), lbfgs(20), encode(logits, "pyramid"), args, steps, callback)
    return Excited(np.asarray(jax.nn.sigmoid(decode(found.params))), float(found.aux), first)


@functools.cache
def _silence(layer: str) -> Callable[..., tuple[Scalar, Scalar]]:
    """The function of a layer, cached so that its program is compiled once for all filters."""

    def silence(logits: Encoded, vgg: VGG, pick: Float[Array, " c"], smooth: Scalar) -> tuple[Scalar, Scalar]:
        image = jax.nn.sigmoid(decode(logits))
        activation = jnp.mean(vgg(image, (layer,))[layer] @ pick)
        return -jnp.log(activation) + smooth * total_variation(image), activation

    return silence


def _awake(layer: str, number: int, vgg: VGG, size: int, seed: int) -> tuple[Array, Array, float]:
    """Logits of a first noise on which the filter is not silent, the filter as a vector, and its mean activation there."""
    for attempt in range(STARTS):
        logits = _smooth_noise(seed + attempt, size)
        means = _responses(vgg, jax.nn.sigmoid(logits), (layer,))[layer].mean((0, 1))
        if not 0 <= number < means.size:
            raise InputError(f"{layer} has no filter {number}; choose one from 0 to {means.size - 1}")
        if means[number] > 0:
            return logits, jnp.zeros(means.size).at[number].set(1.0), float(means[number])
    raise InputError(
        f"filter {number} of {layer} is silent on {STARTS} kinds of noise; take a larger --size or another"
    )


def _smooth_noise(seed: int, size: int) -> Float[Array, "h w 3"]:
    """Noise with large shapes in it, the same for the same seed."""
    generator = np.random.Generator(np.random.Philox(seed))
    total = np.zeros((size, size, 3), np.float32)
    for k in range(OCTAVES):
        side = -(-size // 2**k)
        total += FALL**k * resize(generator.standard_normal((side, side, 3)).astype(np.float32), size, size)
    return jnp.asarray(CONTRAST * total / total.std())


@functools.partial(jax.jit, static_argnums=2)
def _responses(vgg: VGG, image: Array, layers: tuple[str, ...]) -> dict[str, Array]:
    return vgg(image, layers)
