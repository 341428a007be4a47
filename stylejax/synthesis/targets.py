"""Content and style targets of one scale, by layer and region, and its preserved region."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp

from stylejax.images.resize import HostImage, crop_edges, resize, resize_mask
from stylejax.losses.targets import (
    GuidanceMasks,
    PreservedRegion,
    StyleRepresentation,
    StyleTargets,
    blend,
    style_key,
)
from stylejax.models.vgg import VGG
from stylejax.synthesis.regions import Masks, layer_masks, region_masks, style_index, style_mask
from stylejax.synthesis.schedule import Scale, style_crop
from stylejax.synthesis.validation import Plan
from stylejax.types import Features

ContentTargets: TypeAlias = Callable[[VGG, HostImage, tuple[str, ...]], Features]
"""Function that returns the features of an image at some layers."""

StyleStatistics: TypeAlias = Callable[[VGG, HostImage, Any, StyleRepresentation], StyleTargets]
"""Function that returns the statistics of an image at the layers of the guidance masks."""


class Inputs(NamedTuple):
    """Content and style images after the color mode has been applied."""

    content: HostImage
    styles: list[HostImage]


def content_targets_at(
    plan: Plan, inputs: Inputs, vgg: VGG, scale: Scale, compute: ContentTargets
) -> tuple[Features, PreservedRegion | None]:
    """Return the content targets and the preserved region of a scale."""
    features = compute(vgg, resize(inputs.content, *scale.size), tuple(plan.content_layers))
    return features, preserved_region(inputs.content, plan.masks, *scale.size)


def preserved_region(content: HostImage, masks: Masks, h: int, w: int) -> PreservedRegion | None:
    """Return the preserved region of an image of size (h, w); None without a mask of it."""
    if masks.preserve is None:
        return None
    return PreservedRegion(jnp.asarray(resize(content, h, w)), jnp.asarray(resize_mask(masks.preserve, h, w)))


def style_targets_at(
    plan: Plan, inputs: Inputs, vgg: VGG, scale: Scale, compute: StyleStatistics
) -> tuple[StyleTargets, GuidanceMasks]:
    """Return style targets and guidance masks of a scale, without layers where a region is empty."""
    parts = [_part_targets(part, plan, inputs, vgg, scale, compute) for part in scale.styles]
    regions = region_masks(plan.masks, len(parts), *scale.size)
    # Without content masks, all styles are blended in the only region.
    by_region = parts if plan.masks.content else [blend(parts, plan.config.style_weights)]
    style, guides = {}, {}
    for (region, mask), targets in zip(regions.items(), by_region, strict=True):
        covered = layer_masks(mask, plan.style_layers)
        for layer in (layer for layer in targets if layer in covered):
            style[style_key(layer, region)] = targets[layer]
            if (guide := covered[layer]) is not None:
                guides[style_key(layer, region)] = jnp.asarray(guide)
    return style, guides


def _part_targets(
    part: int, plan: Plan, inputs: Inputs, vgg: VGG, scale: Scale, compute: StyleStatistics
) -> StyleTargets:
    """Return the targets of one style image, or of a masked part of it, by layer."""
    index = style_index(part, len(inputs.styles))
    size = scale.style_sizes[index]
    crop = style_crop(plan.config)
    masks = layer_masks(style_mask(plan.masks, part, len(inputs.styles), *size, crop), plan.style_layers)
    guides = {layer: mask if mask is None else jnp.asarray(mask) for layer, mask in masks.items()}
    return compute(vgg, resize(crop_edges(inputs.styles[index], crop), *size), guides, plan.config.style_representation)
