"""Content and style reconstruction (the paper's Figure 1).

Both are `transfer` with a weight of zero: content alone shows what a layer encodes of an image, style alone gives a texture.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from stylejax.config import TransferConfig
from stylejax.images.resize import HostImage
from stylejax.models.vgg import VGG
from stylejax.optimizers.base import host_only
from stylejax.synthesis.transfer import Callback, Result, transfer

CONTENT = TransferConfig(
    size=256, steps=400, init="noise", content_layers=("conv1_1",), style_weight=0.0, style_layers=()
)
"""Settings of content reconstruction: equation 1 alone, from noise. `content_scales` gives its scales."""

STYLE = TransferConfig(size=256, steps=400, init="noise", style_crop=0.0, content_weight=0.0, content_layers=())
"""Settings of style reconstruction: equation 5 alone, from noise. Coarse scales produce the large shapes of the style."""


@host_only
def reconstruct_content(
    image: ArrayLike, layer: str, *, vgg: VGG | None = None, callback: Callback | None = None, **options: Any
) -> Result:
    """Reconstruct an image (h, w, 3) from its features at one layer: argmin ½ mean (F - P)² from noise.

    `options` are fields of `TransferConfig`. Errors are those of `transfer`.
    """
    options.setdefault("scales", content_scales(options.get("size", CONTENT.size)))
    options.setdefault("content_layers", (layer,))
    return transfer(image, vgg=vgg, config=CONTENT, callback=callback, **options)


def content_scales(size: int) -> str:
    """Return the `scales` of content reconstruction: a quarter, a half, and the whole of the size.

    At full size a layer hardly determines the mean colors of regions; coarse scales do. At 128² and 200 steps they raised
    conv2_1 from 26 to 31 dB, conv3_1 from 14 to 21.
    """
    return f"{size // 4},{size // 2}" if size >= 64 else "1"


@host_only
def reconstruct_style(
    image: ArrayLike,
    layers: Sequence[str] = STYLE.style_layers,
    *,
    seamless: bool = False,
    vgg: VGG | None = None,
    callback: Callback | None = None,
    **options: Any,
) -> Result:
    """Synthesize a texture with the Gram matrices of an image (h, w, 3), and of its shape, from noise.

    Args:
        image: image in [0, 1].
        layers: names of the layers.
        seamless: whether the texture repeats without an edge, by circular padding.
        vgg: network, with circular padding if `seamless`; by default that of `weights`.
        callback: as in `transfer`, as are the errors.
        **options: fields of `TransferConfig`; with `style_scale` below 1 the texture is larger than its source.
    """
    options.setdefault("style_layers", layers)
    options.setdefault("padding", "circular" if seamless else "zeros")
    return transfer(image, image, vgg=vgg, config=STYLE, callback=callback, **options)


def psnr(image: HostImage, reference: HostImage) -> float:
    """Return the peak signal-to-noise ratio of two images in [0, 1], in dB: -10 log₁₀ mean (x - y)²."""
    error = np.mean((np.asarray(image, np.float64) - np.asarray(reference, np.float64)) ** 2)
    return float(-10 * np.log10(max(error, np.finfo(np.float64).tiny)))
