"""Normalize a network: rescale its filters so that each has a mean activation of 1, as the paper's authors did (section 2)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stylejax.errors import InputError
from stylejax.files import installed_file
from stylejax.images.io import read_image
from stylejax.images.resize import fit, resize
from stylejax.models.architecture import PAPER_LAYERS, Convolution, Parameters, block, layer_names
from stylejax.models.vgg import VGG, build_vgg
from stylejax.models.weights_file import parameters_hash
from stylejax.types import Image

Pictures: TypeAlias = Sequence[Float[Array | np.ndarray, "_ _ 3"]]
"""Images of any sizes, of JAX or NumPy."""

SIZE = 384
"""Longest side, in pixels, of the photographs that activations are measured on."""

MIN_SHARE = 0.1
"""Least mean activation of a filter, over the mean of its layer. A filter that a few photographs hardly excite would be
amplified without a limit."""

KNOWN_MEANS = {
    "b6dac728b7aabceb485ad59bfc805684b04acb9b185e4a51deecb4ae3c36cc9d": Path(__file__).parent / "vgg16_means.npz",
}
"""Files of measured mean activations, by the hash of the parameters."""

PHOTOGRAPHS = ("sklearn/datasets/images/china.jpg", "sklearn/datasets/images/flower.jpg")
"""The photographs that come with scikit-learn."""


def normalized(parameters: Parameters) -> Parameters:
    """Return the normalized network, by stored mean activations if there are any, else by two photographs of scikit-learn.

    Raises `InputError` if the mean activations are unknown and scikit-learn is not installed.
    """
    if parameters.normalized:
        return parameters
    if path := KNOWN_MEANS.get(parameters_hash(parameters)):
        with np.load(path) as file:
            return rescale(parameters, dict(file), f"mean activations 1 by {path.name}")
    files = [installed_file("scikit-learn", member) for member in PHOTOGRAPHS]
    if None in files:
        raise InputError(
            f"the mean activations of {parameters.source} are unknown; pip install 'stylejax[pretrained]' for photographs to "
            "measure them on, or use stylejax weights normalize"
        )
    images = [read_image(path) for path in files if path]
    return normalize(parameters, [resize(image, *fit(image.shape, SIZE)).clip(0, 1) for image in images])


def normalize(parameters: Parameters, images: Pictures) -> Parameters:
    """Return the network with the mean activation of every filter over all images and positions equal to 1.

    Raises `InputError` without images and for one that is too small for the network.
    """
    return rescale(parameters, mean_activations(parameters, images), f"mean activations 1 over {len(images)} images")


def rescale(parameters: Parameters, means: Mapping[str, np.ndarray], how: str) -> Parameters:
    """Divide the activations of every filter by its mean; `how` is added to the source.

    Rectification and pooling commute with a positive scale: dividing kernel and bias of filter o by m_o, and multiplying by
    m_o what the next layer takes from it, changes only the scale of the channels. The network then takes images of 0 … 255.
    Deviation: a mean below `MIN_SHARE` of its layer's counts as that.
    """
    std = np.full(3, 1 / 255, np.float32)
    layers, previous = {}, std / parameters.std
    for name in layer_names(parameters.network):
        kernel, bias = parameters.layers[name]
        mean = np.asarray(means[name], np.float64)
        scale = np.maximum(mean, MIN_SHARE * mean.mean() or 1.0)
        layers[name] = Convolution(
            (kernel * previous[:, None] / scale).astype(np.float32), (bias / scale).astype(np.float32)
        )
        previous = scale
    return parameters._replace(layers=layers, std=std, source=f"{parameters.source}; {how}", normalized=True)


def mean_activations(parameters: Parameters, images: Pictures) -> dict[str, np.ndarray]:
    """Return the mean activation of every filter, by layer, over all images and positions.

    Maximum pooling, as the authors measured it: their normalized VGG-19 has a mean of 1.00 at conv1_1 as at conv5_1 over nine
    photographs, with average pooling 1.07 and 0.24.
    """
    if not images:
        raise InputError("normalizing needs at least one image; name a folder that holds some")
    vgg = build_vgg(parameters, "max")
    names = layer_names(vgg.network)
    sums: dict[str, Any] = dict.fromkeys(names, 0.0)
    positions = dict.fromkeys(names, 0)
    for image in images:
        for name, mean in _channel_means(vgg, jnp.asarray(image, jnp.float32)).items():
            # Each pooling drops an odd last row and column.
            count = (image.shape[0] >> block(name) - 1) * (image.shape[1] >> block(name) - 1)
            sums[name] = sums[name] + np.asarray(mean, np.float64) * count
            positions[name] += count
    return {name: sums[name] / positions[name] for name in names}


def fingerprint(parameters: Parameters) -> dict[str, float]:
    """Return the mean activation of each of `PAPER_LAYERS` on one fixed image, with average pooling.

    It depends on the preprocessing too, so it tells a network that was converted rightly from one with swapped channels
    or another scale. Machines agree to about five digits.
    """
    means = _channel_means(build_vgg(parameters), _test_image())
    return {name: float(means[name].mean()) for name in PAPER_LAYERS}


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
