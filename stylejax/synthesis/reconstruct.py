"""What a representation holds: the image found from the responses of one layer, or from the Gram matrices of several.

Both are `transfer` with a weight of zero (the paper's Figure 1): content alone gives back what a layer knows of the image,
style alone gives a texture.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from stylejax.config import TransferConfig, with_options
from stylejax.images.resize import Picture
from stylejax.models.vgg import VGG
from stylejax.synthesis.transfer import Callback, Result, transfer

CONTENT = TransferConfig(
    size=256, steps=400, init="noise", content_layers=("conv1_1",), style_weight=0.0, style_layers=()
)
"""Equation 1 alone, from noise; its scales are those of `content_scales`."""

STYLE = TransferConfig(size=256, steps=400, init="noise", content_weight=0.0, content_layers=())
"""Equation 5 alone, from noise, from coarse to fine: large shapes are found where they are small."""


def reconstruct_content(
    image: ArrayLike, layer: str, *, vgg: VGG | None = None, callback: Callback | None = None, **options: Any
) -> Result:
    """The image whose responses at `layer` are those of `image` (h, w, 3): argmin ½ mean (F - P)² from noise.

    `options` are fields of `TransferConfig`. Raises `InputError` as `transfer` does.
    """
    options = {"scales": content_scales(options.get("size", CONTENT.size))} | options
    config = with_options(CONTENT, {"content_layers": (layer,)} | options)
    return transfer(image, vgg=vgg, config=config, callback=callback)


def content_scales(size: int) -> str:
    """A quarter and a half of the size come first: what a layer hardly sees, as the mean color of a region, a coarse scale
    shows it. At 128² and 200 steps this brought conv2_1 from 26 to 31 dB, conv3_1 from 14 to 21."""
    return f"{size // 4},{size // 2}" if size >= 64 else "1"


def reconstruct_style(
    image: ArrayLike,
    layers: Sequence[str] = STYLE.style_layers,
    *,
    seamless: bool = False,
    vgg: VGG | None = None,
    callback: Callback | None = None,
    **options: Any,
) -> Result:
    """A texture whose Gram matrices at `layers` are those of `image` (h, w, 3), from noise; it has the shape of `image`.

    `style_scale` below 1 makes the texture larger than its source. `seamless` repeats without an edge, by circular padding;
    a `vgg` that is given must have that padding itself.
    """
    padding = "circular" if seamless else "zeros"
    config = with_options(STYLE, {"style_layers": tuple(layers), "padding": padding} | options)
    return transfer(image, image, vgg=vgg, config=config, callback=callback)


def psnr(image: Picture, reference: Picture) -> float:
    """Peak signal-to-noise ratio of two pictures in [0, 1], in dB: -10 log₁₀ mean (x - y)²."""
    error = np.mean((np.asarray(image, np.float64) - np.asarray(reference, np.float64)) ** 2)
    return float(-10 * np.log10(max(error, np.finfo(np.float64).tiny)))
