"""Targets of one scale: what the image is compared with, by layer and region, and what it keeps of the content."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from stylejax.images.resize import Picture, resize, resize_mask
from stylejax.losses.targets import (
    Guides,
    Kept,
    Statistic,
    StyleTargets,
    blend,
    content_targets,
    style_key,
    style_targets,
)
from stylejax.models.vgg import VGG
from stylejax.synthesis.regions import Masks, guides, regions, style_of
from stylejax.synthesis.schedule import Scale
from stylejax.synthesis.validation import Plan
from stylejax.types import Features

ContentTargets: TypeAlias = Callable[[VGG, Picture, tuple[str, ...]], Features]
"""Computes the features of an image at some layers."""

StyleStatistics: TypeAlias = Callable[[VGG, Picture, Any, Statistic], StyleTargets]
"""Computes the statistics of an image at the layers of the guides."""


class Inputs(NamedTuple):
    """Content and styles as the network sees them."""

    content: Picture
    styles: list[Picture]


def content_at(
    plan: Plan, inputs: Inputs, vgg: VGG, scale: Scale, compute: ContentTargets
) -> tuple[Features, Kept | None]:
    """Return the content targets of a scale, and what of the content is kept."""
    features = compute(vgg, resize(inputs.content, *scale.size), tuple(plan.content_layers))
    return features, kept_at(inputs.content, plan.masks, *scale.size)


def kept_at(content: Picture, masks: Masks, h: int, w: int) -> Kept | None:
    """Return what of the content is kept in an image of that size; None without a mask."""
    if masks.keep is None:
        return None
    return Kept(jnp.asarray(resize(content, h, w)), jnp.asarray(resize_mask(masks.keep, h, w)))


def style_at(
    plan: Plan, inputs: Inputs, vgg: VGG, scale: Scale, compute: StyleStatistics
) -> tuple[StyleTargets, Guides]:
    """Return style targets and guides of a scale by layer and region. A layer at which a region is empty is left out."""
    taken = [_targets_of(part, plan, inputs, vgg, scale, compute) for part in scale.styles]
    found = regions(plan.masks, len(taken), *scale.size)
    # Without masks of the content, all styles are for the one region that there is.
    each = taken if plan.masks.content else [blend(taken, plan.config.style_weights)]
    style, guided = {}, {}
    for (region, mask), wanted in zip(found.items(), each, strict=True):
        covered = guides(mask, plan.style_layers)
        for layer in (layer for layer in wanted if layer in covered):
            style[style_key(layer, region)] = wanted[layer]
            if (guide := covered[layer]) is not None:
                guided[style_key(layer, region)] = jnp.asarray(guide)
    return style, guided


def _targets_of(
    part: int, plan: Plan, inputs: Inputs, vgg: VGG, scale: Scale, compute: StyleStatistics
) -> StyleTargets:
    """Return the targets of one style, or of a part of it, by layer."""
    number = style_of(part, len(inputs.styles))
    size = scale.style_sizes[number]
    within = resize_mask(plan.masks.style[part], *size) if plan.masks.style else None
    covered = guides(within, plan.style_layers)
    return compute(vgg, resize(inputs.styles[number], *size), covered, plan.config.statistic)


@functools.partial(jax.jit, static_argnums=2)
def content_features(vgg: VGG, content: Any, layers: tuple[str, ...]) -> Features:
    """Compute `content_targets`, compiled."""
    return content_targets(vgg, content, layers)


@functools.partial(jax.jit, static_argnums=3)
def style_statistics(vgg: VGG, style: Any, guides: dict[str, Any], statistic: Statistic) -> StyleTargets:
    """Compute `style_targets` at the layers of the guides, compiled."""
    return style_targets(vgg, style, guides, guides, statistic)
