"""The initial image of the first scale."""

from collections.abc import Mapping

import numpy as np

from stylejax.config import TransferConfig
from stylejax.images.io import read_image_with_alpha
from stylejax.images.resize import HostImage, resize

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
        return resize(initial, *size)
    images = {
        "content": lambda: resize(content, *size),
        "style": lambda: resize(styles[0], *size),
        "noise": lambda: noise(config.seed, *size),
        "gray": lambda: np.full((*size, 3), 0.5, np.float32),
    }
    match list(initial.items()):
        case []:
            return resize(read_image_with_alpha(config.init)[0], *size)
        case [(name, _)]:
            return images[name]()
        case blend:
            return np.sum([np.float32(share) * images[name]() for name, share in blend], 0)


def noise(seed: int, height: int, width: int) -> HostImage:
    """Return Gaussian noise (h, w, 3) around middle gray; a seed gives the same image on every machine."""
    generator = np.random.Generator(np.random.Philox(seed))
    return (0.5 + NOISE_STD * generator.standard_normal((height, width, 3))).astype(np.float32)
