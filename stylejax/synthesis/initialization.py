"""The image that the first scale starts from."""

import numpy as np

from stylejax.config import TransferConfig
from stylejax.config_parsing import parse_init
from stylejax.images.io import read_image
from stylejax.images.resize import Picture, resize

NOISE = 0.05
"""Standard deviation of the initial noise around middle gray. Noise that the network does not see stays in the image."""


def first_image(config: TransferConfig, content: Picture, styles: list[Picture], size: tuple[int, int]) -> Picture:
    """Return the image that `init` names, or a blend of several, as (h, w, 3) of `size`."""
    images = {
        "content": lambda: resize(content, *size),
        "style": lambda: resize(styles[0], *size),
        "noise": lambda: noise(config.seed, *size),
        "gray": lambda: np.full((*size, 3), 0.5, np.float32),
    }
    match list(parse_init(config.init).items()):
        case []:
            return resize(read_image(config.init), *size)
        case [(name, _)]:
            return images[name]()
        case blend:
            return np.sum([np.float32(share) * images[name]() for name, share in blend], 0)


def noise(seed: int, height: int, width: int) -> Picture:
    """Return Gaussian noise around middle gray, the same for the same seed on every machine."""
    generator = np.random.Generator(np.random.Philox(seed))
    return (0.5 + NOISE * generator.standard_normal((height, width, 3))).astype(np.float32)
