"""Layers of VGG-16 and VGG-19, and the weights of a network as a file stores them."""

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from stylejax.errors import InputError, did_you_mean

LAYERS_PER_BLOCK: dict[str, tuple[int, ...]] = {"vgg19": (2, 2, 4, 4, 4), "vgg16": (2, 2, 3, 3, 3)}
"""Convolutions between pooling layers (Simonyan and Zisserman 2014, table 1, columns E and D)."""

LAYER_NAME = re.compile(r"(?:conv|relu|r|block)_?([1-5])[_-]?(?:conv)?([1-4])")
"""Name of a layer in this program and others, with its block and its number in the block."""

CHANNELS = (64, 128, 256, 512, 512)
PAPER_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv4_2", "conv5_1")


class ConvWeights(NamedTuple):
    """Weights of one layer."""

    kernel: Float[np.ndarray, "3 3 i o"]
    bias: Float[np.ndarray, " o"]


class VGGWeights(NamedTuple):
    """Weights of a network as NumPy arrays, with the preprocessing that they were trained with.

    The first convolution expects (x - mean) / std of an RGB image x in [0, 1]; mean and std have one entry per channel.
    `normalized` means that each filter's mean activation over photographs is 1, as in the paper.
    """

    network: str
    layers: dict[str, ConvWeights]
    mean: Float[np.ndarray, "3"]
    std: Float[np.ndarray, "3"]
    source: str
    normalized: bool


def layer_names(network: str) -> tuple[str, ...]:
    """Return `conv1_1`, `conv1_2`, … in the order of the network."""
    return tuple(f"conv{b}_{i}" for b, n in enumerate(LAYERS_PER_BLOCK[network], 1) for i in range(1, n + 1))


def canonical_layer_name(name: str, network: str) -> str:
    """Return `conv4_2` for this name and those of other programs: `relu4_2`, `conv42`, `r42`, `block4_conv2`.

    All mean the features after the rectification. Raises `InputError` for an unknown layer.
    """
    names = layer_names(network)
    match = LAYER_NAME.fullmatch(name.strip().lower())
    layer = f"conv{match[1]}_{match[2]}" if match else name
    if layer not in names:
        # A single number may count the layers of a network in many ways.
        hint = did_you_mean(name.lower(), names) if len(re.findall(r"\d", name)) > 1 else ""
        raise InputError(f"unknown layer {name!r}{hint}: {network} has {names[0]} … {names[-1]}; name one of these")
    return layer


def block_index(layer: str) -> int:
    """Return the block of a layer, 1 to 5; `block - 1` poolings precede it."""
    return int(layer[len("conv")])


def total_stride(layers: Iterable[str]) -> int:
    """Return the stride of the deepest layer, which is the smallest image side: 16 pixels for conv5_1."""
    return max((2 ** (block_index(layer) - 1) for layer in layers), default=1)


def random_weights(network: str = "vgg19", seed: int = 0, channels: tuple[int, ...] = CHANNELS) -> VGGWeights:
    """Return He-scaled random kernels for a seed; `channels` narrows the network for tests.

    Random features reproduce textures but no objects. He's scale keeps activations near 1, so they count as normalized.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    layers, inputs = {}, 3
    for name in layer_names(network):
        outputs = channels[block_index(name) - 1]
        kernel = generator.standard_normal((3, 3, inputs, outputs)) * np.sqrt(2 / (9 * inputs))
        layers[name] = ConvWeights(kernel.astype(np.float32), np.zeros(outputs, np.float32))
        inputs = outputs
    mean, std = np.full(3, 0.45, np.float32), np.full(3, 0.225, np.float32)
    return VGGWeights(network, layers, mean, std, f"random numbers of seed {seed}", True)
