"""Normalization of a network: every filter gets a mean activation of 1, as in section 2 of the paper."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stylejax.errors import InputError
from stylejax.files import installed_file
from stylejax.images.io import read_image
from stylejax.images.resize import fit_longest_side, resize
from stylejax.models.architecture import PAPER_LAYERS, ConvWeights, VGGWeights, block_index, layer_names
from stylejax.models.vgg import VGG, build_vgg
from stylejax.models.weights_file import weights_hash
from stylejax.types import Image

Images: TypeAlias = Sequence[Float[Array | np.ndarray, "_ _ 3"]]
"""JAX or NumPy images, which may differ in size."""

SIZE = 384
"""Longest side of the photographs in pixels: beyond the receptive field of conv5_1, and fast on CPU."""

MIN_SHARE = 0.1
"""Minimum mean activation of a filter relative to its layer, to bound how much it is amplified."""

KNOWN_MEANS = {
    "b6dac728b7aabceb485ad59bfc805684b04acb9b185e4a51deecb4ae3c36cc9d": Path(__file__).parent / "vgg16_means.npz",
}
"""Files of measured mean activations, by the hash of the weights."""

PHOTOGRAPHS = ("sklearn/datasets/images/china.jpg", "sklearn/datasets/images/flower.jpg")
"""Photographs in the package scikit-learn."""


def normalized(parameters: VGGWeights) -> VGGWeights:
    """Return normalized weights, by stored mean activations if known, else by scikit-learn's photographs.

    Raises `InputError` if the mean activations are unknown and scikit-learn is not installed.
    """
    if parameters.normalized:
        return parameters
    if path := KNOWN_MEANS.get(weights_hash(parameters)):
        with np.load(path) as file:
            return rescale(parameters, dict(file), f"mean activations 1 by {path.name}")
    files = [installed_file("scikit-learn", member) for member in PHOTOGRAPHS]
    if None in files:
        raise InputError(
            f"the mean activations of {parameters.source} are unknown; pip install 'stylejax[pretrained]' for photographs to "
            "measure them on, or use stylejax weights normalize"
        )
    images = [read_image(path) for path in files if path]
    return normalize(parameters, [resize(image, *fit_longest_side(image.shape, SIZE)).clip(0, 1) for image in images])


def normalize(parameters: VGGWeights, images: Images) -> VGGWeights:
    """Return weights that give every filter a mean activation of 1 over all images and positions.

    Raises `InputError` without images, and for one that is too small for the network.
    """
    return rescale(parameters, mean_activations(parameters, images), f"mean activations 1 over {len(images)} images")


def rescale(parameters: VGGWeights, means: Mapping[str, np.ndarray], how: str) -> VGGWeights:
    """Divide the activations of every filter by its mean; `how` is appended to the source.

    Rectification and pooling commute with a positive scale. Dividing kernel and bias of filter o by m_o, and multiplying the
    next layer's weights of that channel by m_o, changes only the scale of the channels. Images then range from 0 to 255.
    Deviation: a mean below `MIN_SHARE` of its layer's mean is raised to that.
    """
    std = np.full(3, 1 / 255, np.float32)
    layers, previous = {}, std / parameters.std
    for name in layer_names(parameters.network):
        kernel, bias = parameters.layers[name]
        mean = np.asarray(means[name], np.float64)
        scale = np.maximum(mean, MIN_SHARE * mean.mean() or 1.0)
        kernel, bias = kernel * previous[:, None] / scale, bias / scale
        layers[name] = ConvWeights(kernel.astype(np.float32), bias.astype(np.float32))
        previous = scale
    return parameters._replace(layers=layers, std=std, source=f"{parameters.source}; {how}", normalized=True)


def mean_activations(parameters: VGGWeights, images: Images) -> dict[str, np.ndarray]:
    """Return the mean activation of every filter, by layer, over all images and positions.

    Pooling is maximum pooling, as in the authors' network (docs/design.md).
    """
    if not images:
        raise InputError("normalizing needs at least one image; give a folder of images")
    vgg = build_vgg(parameters, "max")
    by_image = [_channel_means(vgg, jnp.asarray(image, jnp.float32)) for image in images]
    averages = {}
    for name in layer_names(vgg.network):
        poolings = block_index(name) - 1
        # Pooling drops an odd last row and column.
        positions = [(image.shape[0] >> poolings) * (image.shape[1] >> poolings) for image in images]
        means = [np.asarray(channel_means[name], np.float64) for channel_means in by_image]
        averages[name] = np.average(means, axis=0, weights=positions)
    return averages


def fingerprint(parameters: VGGWeights) -> dict[str, float]:
    """Return the mean activation of each of `PAPER_LAYERS` on one fixed image, with average pooling.

    It reveals swapped channels and a wrong scale in the preprocessing. Machines agree to about five digits.
    """
    means = _channel_means(build_vgg(parameters), _test_image())
    return {name: float(means[name].mean()) for name in PAPER_LAYERS}


@jax.default_matmul_precision("highest")  # accelerators round to ten bits by default
@jax.jit
def _channel_means(vgg: VGG, image: Image) -> dict[str, Float[Array, " _"]]:
    return {name: f.mean((0, 1)) for name, f in vgg(image, layer_names(vgg.network)).items()}


def _test_image() -> Image:
    y, x, c = np.meshgrid(np.arange(64), np.arange(64), np.arange(3), indexing="ij")
    return jnp.asarray(0.5 + 0.25 * np.sin(x * (c + 1) / 5) + 0.25 * np.sin(y * (3 - c) / 7), jnp.float32)
