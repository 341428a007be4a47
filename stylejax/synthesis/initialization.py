"""The initial image of the first scale."""

import warnings
from collections.abc import Mapping

import numpy as np

from stylejax.config import TransferConfig
from stylejax.images.io import read_image_with_alpha
from stylejax.images.resize import HostImage, resize, resize_middle, same_aspect

NOISE_STD = 0.05
"""Standard deviation of the initial noise; kept low because noise that the network cannot see stays in the image."""


def initial_image(
    config: TransferConfig,
    content: HostImage,
    styles: list[HostImage],
    size: tuple[int, int],
    initial: Mapping[str, float] | HostImage,
) -> HostImage:
    """Return the initial image (h, w, 3) of a `size` (height, width); `initial` is that of a plan."""
    if isinstance(initial, np.ndarray):
        return _fitted(initial, "the initial image", *size)
    images = {
        "content": lambda: resize(content, *size),
        "style": lambda: resize_middle(styles[0], *size),
        "noise": lambda: noise(config.seed, *size),
        "gray": lambda: np.full((*size, 3), 0.5, np.float32),
    }
    match list(initial.items()):
        case []:
            return _fitted(read_image_with_alpha(config.init)[0], config.init, *size)
        case [(name, _)]:
            return images[name]()
        case blend:
            return np.sum([np.float32(share) * images[name]() for name, share in blend], 0)


def _fitted(image: HostImage, name: str, height: int, width: int) -> HostImage:
    if not same_aspect(image.shape, (height, width)):
        size = f"{image.shape[1]}×{image.shape[0]} pixels"
        warnings.warn(f"{name} is {size}, of another aspect ratio than the result; its middle is taken", stacklevel=2)
    return resize_middle(image, height, width)


def noise(seed: int, height: int, width: int) -> HostImage:
    """Return Gaussian noise (h, w, 3) around middle gray; a seed gives the same image on every machine."""
    generator = np.random.Generator(np.random.Philox(seed))
    return (0.5 + NOISE_STD * generator.standard_normal((height, width, 3))).astype(np.float32)
