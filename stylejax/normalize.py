"""A network's mean activations: the scale of its filters, and a fingerprint of what was converted."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stylejax.errors import InputError
from stylejax.network import PAPER_LAYERS, Convolution, Parameters, block, layer_names
from stylejax.types import Image
from stylejax.vgg import VGG, build_vgg

Pictures: TypeAlias = Sequence[Float[Array | np.ndarray, "_ _ 3"]]
"""Images of any sizes, of JAX or NumPy."""


def fingerprint(parameters: Parameters) -> dict[str, float]:
    """The mean activation of each of `PAPER_LAYERS` on one fixed image, with average pooling.

    It depends on the preprocessing too, so it tells a network that was converted rightly from one with swapped channels
    or another scale. Machines agree to about five digits.
    """
    means = _channel_means(build_vgg(parameters), _test_image())
    return {name: float(means[name].mean()) for name in PAPER_LAYERS}


def normalize(parameters: Parameters, images: Pictures) -> Parameters:
    """The same network with every filter's mean activation, over all images and positions, equal to 1.

    Rectification and average pooling commute with a positive scale: if filter o has the mean m_o, dividing its kernel
    and bias by m_o and multiplying by m_o what the next layer takes from it changes nothing but the scale of the
    channels. Gatys et al. used weights scaled so (section 2), and images of 0 … 255, as the network does then. A filter that
    never responds keeps its scale.

    Raises `InputError` without images and for one that is too small for the network.
    """
    means = _mean_activations(build_vgg(parameters), images)
    std = np.full(3, 1 / 255, np.float32)
    layers, before = {}, std / parameters.std
    for name in layer_names(parameters.network):
        kernel, bias = parameters.layers[name]
        scale = np.where(means[name] > 0, means[name], 1.0)
        scaled = kernel * before[:, None] / scale
        layers[name] = Convolution(scaled.astype(np.float32), (bias / scale).astype(np.float32))
        before = scale
    source = f"{parameters.source}; mean activations 1 over {len(images)} images"
    return parameters._replace(layers=layers, std=std, source=source)


def _mean_activations(vgg: VGG, images: Pictures) -> dict[str, np.ndarray]:
    if not images:
        raise InputError("normalizing needs at least one image; name a folder that holds some")
    names = layer_names(vgg.network)
    sums: dict[str, Any] = dict.fromkeys(names, 0.0)
    positions = dict.fromkeys(names, 0)
    for image in images:
        for name, mean in _channel_means(vgg, jnp.asarray(image, jnp.float32)).items():
            # Each pooling drops an odd last row and column.
            here = (image.shape[0] >> block(name) - 1) * (image.shape[1] >> block(name) - 1)
            sums[name] = sums[name] + np.asarray(mean, np.float64) * here
            positions[name] += here
    return {name: sums[name] / positions[name] for name in names}


def _channel_means(vgg: VGG, image: Image) -> dict[str, Float[Array, " _"]]:
    # Accelerators would round to ten bits here by default.
    with jax.default_matmul_precision("highest"):
        return _means(vgg, image)


@jax.jit
def _means(vgg: VGG, image: Image) -> dict[str, Float[Array, " _"]]:
    return {name: f.mean((0, 1)) for name, f in vgg(image, layer_names(vgg.network)).items()}


def _test_image() -> Image:
    y, x, c = np.meshgrid(np.arange(64), np.arange(64), np.arange(3), indexing="ij")
    return jnp.asarray(0.5 + 0.25 * np.sin(x * (c + 1) / 5) + 0.25 * np.sin(y * (3 - c) / 7), jnp.float32)
