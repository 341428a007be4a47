"""Visualization of the network: feature maps of an image, and activation maximization of a filter."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from stylejax.errors import InputError
from stylejax.images.resize import HostImage, resize
from stylejax.losses.targets import content_targets
from stylejax.losses.total_variation import total_variation
from stylejax.models.architecture import canonical_layer_name
from stylejax.models.vgg import VGG
from stylejax.optimizers.base import Info, host_only
from stylejax.optimizers.lbfgs import lbfgs
from stylejax.optimizers.minimize import minimize
from stylejax.parameterization import ImageParams, to_image, to_params
from stylejax.synthesis.arguments import check_image, require_vgg
from stylejax.types import Scalar

TV_WEIGHT = 10.0
"""Weight of the total variation in activation maximization: lower values leave grain, much higher ones blur the pattern."""

NOISE_STD, OCTAVE_GROWTH, OCTAVES = 0.3, 1.5, 6
"""Initial noise: standard deviation of its logits, amplitude of an octave over the next finer one, number of octaves."""

MAX_ATTEMPTS = 64
"""Noise images to try: a filter of a deep layer is zero, and so without a gradient, on most of them."""


class ActivationMaximum(NamedTuple):
    """Image in [0, 1], mean activation of the filter on it and on the initial noise, and whether a step lowered the loss."""

    image: HostImage
    activation: float
    initial_activation: float
    improved: bool


@host_only
def extract_features(image: ArrayLike, layers: Sequence[str], *, vgg: VGG) -> dict[str, Float[np.ndarray, "_ _ _"]]:
    """Return the features F (h, w, c) of an image (h, w, 3) at each layer, by the names in `layers`.

    Raises `InputError` for an unknown layer, an invalid image, or one that is too small.
    """
    require_vgg(vgg)
    layers = (layers,) if isinstance(layers, str) else tuple(layers)
    features = content_targets(vgg, check_image(image, "content"), layers)
    return {name: np.asarray(f) for name, f in features.items()}


def strongest_filters(features: Float[np.ndarray, "h w c"], count: int) -> list[int]:
    """Return the indices of the `count` filters with the highest mean activation, in descending order."""
    return [int(i) for i in np.argsort(-features.mean((0, 1)), kind="stable")[:count]]


def render_feature_map(features: Float[np.ndarray, "h w"], height: int, width: int) -> HostImage:
    """Return a feature map as a gray image without interpolation, 0 as black and its maximum as white."""
    scaled = features / max(float(features.max()), np.finfo(np.float32).tiny)
    rows, columns = np.arange(height) * scaled.shape[0] // height, np.arange(width) * scaled.shape[1] // width
    return np.repeat(scaled[rows][:, columns, None], 3, -1).astype(np.float32)


@host_only
def maximize_activation(
    layer: str,
    number: int,
    *,
    vgg: VGG,
    size: int = 256,
    steps: int = 100,
    seed: int = 0,
    callback: Callable[[Info], bool | None] | None = None,
) -> ActivationMaximum:
    """Maximize the mean activation a of a filter over images x: argmin -log a(x) + TV_WEIGHT · tv(x).

    The variables are the logits z of the image, x = 1 / (1 + exp(-z)), which start from smooth noise.

    Args:
        layer: name of a layer.
        number: index of the filter in the layer.
        vgg: network.
        size: height and width of the image.
        steps: steps of L-BFGS.
        seed: seed of the initial noise.
        callback: receives the `Info` of each step, and stops the search by returning True.

    Raises:
        InputError: the filter does not exist, or is zero on all initial noise.
    """
    require_vgg(vgg)
    layer = canonical_layer_name(layer, vgg.network)
    logits, selector, initial_activation = _active_noise(layer, number, vgg, size, seed)
    args = (vgg, selector, jnp.float32(TV_WEIGHT))
    solution = minimize(_negative_log_activation(layer), lbfgs(20), to_params(logits, "pyramid"), args, steps, callback)
    image = np.asarray(jax.nn.sigmoid(to_image(solution.params)))
    return ActivationMaximum(image, float(solution.aux), initial_activation, solution.value < solution.first_value)


@functools.cache
def _negative_log_activation(layer: str) -> Callable[..., tuple[Scalar, Scalar]]:
    """Return the objective of a layer; cached so that its program is compiled once for all filters."""

    def loss(logits: ImageParams, vgg: VGG, selector: Float[Array, " c"], tv_weight: Scalar) -> tuple[Scalar, Scalar]:
        image = jax.nn.sigmoid(to_image(logits))
        activation = jnp.mean(vgg(image, (layer,))[layer] @ selector)
        return -jnp.log(activation) + tv_weight * total_variation(image), activation

    return loss


def _active_noise(layer: str, number: int, vgg: VGG, size: int, seed: int) -> tuple[Array, Array, float]:
    """Return logits of noise that activates the filter, the filter as a one-hot vector, its activation."""
    for attempt in range(MAX_ATTEMPTS):
        logits = _smooth_noise(seed + attempt, size)
        means = content_targets(vgg, jax.nn.sigmoid(logits), (layer,))[layer].mean((0, 1))
        if not 0 <= number < means.size:
            raise InputError(f"{layer} has no filter {number}; choose one from 0 to {means.size - 1}")
        if means[number] > 0:
            return logits, jnp.zeros(means.size, means.dtype).at[number].set(1.0), float(means[number])
    raise InputError(
        f"filter {number} of {layer} is zero on {MAX_ATTEMPTS} noise images; use a larger --size or another filter"
    )


def _smooth_noise(seed: int, size: int) -> Float[Array, "h w 3"]:
    """Return noise with large shapes, as a sum of octaves."""
    generator = np.random.Generator(np.random.Philox(seed))
    total = np.zeros((size, size, 3), np.float32)
    for k in range(OCTAVES):
        side = -(-size // 2**k)
        total += OCTAVE_GROWTH**k * resize(generator.standard_normal((side, side, 3)).astype(np.float32), size, size)
    return jnp.asarray(NOISE_STD * total / total.std())
