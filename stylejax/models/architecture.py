"""The table of VGG's layers, and the numbers of a network as they lie in a file."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from stylejax.errors import InputError, did_you_mean

CONVOLUTIONS: dict[str, tuple[int, ...]] = {"vgg19": (2, 2, 4, 4, 4), "vgg16": (2, 2, 3, 3, 3)}
"""Convolutions in each block (Simonyan and Zisserman 2014, table 1, columns E and D); a pooling layer follows each block."""

CHANNELS = (64, 128, 256, 512, 512)
PAPER_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv4_2", "conv5_1")


class Convolution(NamedTuple):
    """The numbers of one layer."""

    kernel: Float[np.ndarray, "3 3 i o"]
    bias: Float[np.ndarray, " o"]


class Parameters(NamedTuple):
    """A network's numbers as they lie in a file: plain NumPy, with the preprocessing that belongs to them.

    The first convolution expects (x - mean) / std of an RGB image x in [0, 1]; mean and std have one entry a channel.
    `normalized`: each filter's mean activation over photographs is 1, as in the paper; otherwise the scale is the publisher's.
    """

    network: str
    layers: dict[str, Convolution]
    mean: Float[np.ndarray, "3"]
    std: Float[np.ndarray, "3"]
    source: str
    normalized: bool


def layer_names(network: str) -> tuple[str, ...]:
    """`conv1_1`, `conv1_2`, …, `conv5_4` in the order of the network."""
    return tuple(f"conv{b}_{i}" for b, n in enumerate(CONVOLUTIONS[network], 1) for i in range(1, n + 1))


def canonical_layer(name: str, network: str) -> str:
    """The paper's name of a layer: `relu4_2` and `conv4_2` are both the response after the rectification.

    Raises:
        InputError: the network has no such layer.
    """
    names = layer_names(network)
    layer = name.strip().lower().replace("relu", "conv")
    if layer not in names:
        hint = did_you_mean(layer, names)
        raise InputError(f"unknown layer {name!r}{hint}: {network} has {names[0]} … {names[-1]}; name one of these")
    return layer


def block(layer: str) -> int:
    """The block of a layer, from 1 to 5: it sees the image through `block - 1` poolings."""
    return int(layer[len("conv")])


def smallest_side(layers: Iterable[str]) -> int:
    """The fewest pixels a side that leave the deepest of `layers` one position: 16 for conv5_1."""
    return max((2 ** (block(layer) - 1) for layer in layers), default=1)


def random_parameters(network: str = "vgg19", seed: int = 0, channels: tuple[int, ...] = CHANNELS) -> Parameters:
    """He-scaled random kernels, the same for the same seed everywhere; `channels` narrows the network for tests.

    Random features give textures but no objects: they are for trying things out, not for pictures. He's scale keeps their
    activations near 1, so they count as normalized.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    layers, inputs = {}, 3
    for name in layer_names(network):
        outputs = channels[block(name) - 1]
        kernel = generator.standard_normal((3, 3, inputs, outputs)) * np.sqrt(2 / (9 * inputs))
        layers[name] = Convolution(kernel.astype(np.float32), np.zeros(outputs, np.float32))
        inputs = outputs
    mean, std = np.full(3, 0.45, np.float32), np.full(3, 0.225, np.float32)
    return Parameters(network, layers, mean, std, f"random numbers of seed {seed}", True)
