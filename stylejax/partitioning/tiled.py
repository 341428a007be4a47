"""Exact value and gradient of an image of any size, in the memory of one tile.

The objective is a function of statistics, which are sums over positions. A first pass over the tiles t sums the statistics m of
the whole image. With dL/dm fixed, a second pass computes each tile's part of the gradient,

    dL/dx = Σ_t (dm_t/dx)ᵀ · dL/dm.

The parts overlap in the halos and are added there. The loop over tiles runs on the host, because convolutions in a compiled
loop are slow on a CPU; it waits for each tile, so that the memory of several is not held at once.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stylejax.losses.objective import (
    LossTerms,
    OwnershipMasks,
    Statistics,
    compose_image,
    measure_statistics,
    weighted_loss,
)
from stylejax.losses.targets import (
    GuidanceMasks,
    PreservedRegion,
    StyleRepresentation,
    StyleTargets,
    Targets,
    parse_style_key,
    required_layers,
    statistic_target,
    statistics_only,
)
from stylejax.models.vgg import VGG
from stylejax.parameterization import ImageParams
from stylejax.partitioning.tile_grid import Tile
from stylejax.types import Image, Scalar


class Ownership(NamedTuple):
    """Vectors along rows and columns whose outer products are the `OwnershipMasks` of a tile."""

    pixels: tuple[Float[Array, " h"], Float[Array, " w"]]
    layers: dict[str, tuple[Float[Array, " _"], Float[Array, " _"]]]


def tiled_value_and_gradient(
    params: ImageParams,
    vgg: VGG,
    targets_in: Callable[[Tile], Targets],
    preserved: PreservedRegion | None,
    weights: LossTerms,
    tiles: Sequence[Tile],
) -> tuple[tuple[Scalar, LossTerms], ImageParams]:
    """Return `jax.value_and_grad(objective, has_aux=True)` at `params`, computed by tiles.

    `targets_in` returns the targets of a tile; `preserved` is of the whole image.
    """
    # Pixels without a preserved region are the image, which need not be copied.
    is_image = isinstance(params, jax.Array) and preserved is None
    image: Image = params if is_image else jax.jit(compose_image)(params, preserved)  # type: ignore[assignment]
    targets = targets_in(tiles[0])
    layers = required_layers(targets)
    statistics = sum_statistics(
        _tile_statistics(_read(image, tile), vgg, targets_in(tile), ownership(tile, layers)) for tile in tiles
    )
    value, cotangents = _cotangents(statistics, targets, weights)
    gradient = jnp.zeros_like(image)
    for tile in tiles:
        part = _tile_gradient(_read(image, tile), vgg, targets_in(tile), ownership(tile, layers), cotangents)
        gradient = jax.block_until_ready(_add(gradient, part, tile.rows.read_start, tile.columns.read_start))
    del image
    return value, gradient if is_image else _params_gradient(params, preserved, gradient)


def tiled_styles(
    vgg: VGG, image: Any, guides: GuidanceMasks, representation: StyleRepresentation, tiles: Sequence[Tile]
) -> StyleTargets:
    """Return `style_targets` of an image on the host, computed by tiles."""
    targets = statistics_only(guides, representation)
    parts = (_tile_statistics(crop(image, t), vgg, crop_targets(targets, t), ownership(t, guides)) for t in tiles)
    return {name: statistic_target(value.mean, representation) for name, value in sum_statistics(parts).style.items()}


def crop(image: Any, tile: Tile) -> Any:
    """Return the part of an image (h, w, …), or of a map on the tile's grid, that a tile reads."""
    rows, columns = tile
    return image[
        rows.read_start : rows.read_start + rows.read_size, columns.read_start : columns.read_start + columns.read_size
    ]


def crop_targets(targets: Targets, tile: Tile) -> Targets:
    """Return the targets of a tile: content and guidance masks are cropped, each on the grid of its layer."""
    content = {name: crop(features, tile.at(name)) for name, features in targets.content.items()}
    guides = {
        name: None if guide is None else crop(guide, tile.at(parse_style_key(name)[0]))
        for name, guide in targets.guides.items()
    }
    return targets._replace(content=content, guides=guides)


def ownership(tile: Tile, layers: Iterable[str]) -> Ownership:
    """Return the ownership of the pixels, and of the features of `layers`."""

    def vectors(tile: Tile) -> tuple[Any, Any]:
        return tile.rows.ownership_mask(), tile.columns.ownership_mask()

    return Ownership(vectors(tile), {name: vectors(tile.at(name)) for name in layers})


def sum_statistics(parts: Iterable[Statistics]) -> Statistics:
    """Return the sum of the statistics of tiles, waiting for each."""
    parts = iter(parts)
    total = jax.block_until_ready(next(parts))
    for part in parts:
        total = jax.block_until_ready(jax.tree.map(jnp.add, total, part))
    return total


def _ownership_masks(ownership: Ownership) -> OwnershipMasks:
    def outer(vectors: tuple[Array, Array]) -> Array:
        return vectors[0][:, None] * vectors[1][None]

    return OwnershipMasks(outer(ownership.pixels), {name: outer(v) for name, v in ownership.layers.items()})


@jax.jit
def _tile_statistics(image: Image, vgg: VGG, targets: Targets, ownership: Ownership) -> Statistics:
    return measure_statistics(image, vgg, targets, _ownership_masks(ownership))


@jax.jit
def _tile_gradient(image: Image, vgg: VGG, targets: Targets, ownership: Ownership, cotangents: Statistics) -> Image:
    _, pull = jax.vjp(lambda x: measure_statistics(x, vgg, targets, _ownership_masks(ownership)), image)
    return pull(cotangents)[0]


@jax.jit
def _cotangents(
    statistics: Statistics, targets: Targets, weights: LossTerms
) -> tuple[tuple[Scalar, LossTerms], Statistics]:
    return jax.value_and_grad(lambda m: weighted_loss(m, targets, weights), has_aux=True)(statistics)


def _read(image: Image, tile: Tile) -> Float[Array, "_ _ 3"]:
    """Crop an image on the device; unlike `crop`, one compiled program serves all tiles."""
    rows, columns = tile
    return jax.lax.dynamic_slice(
        image, (rows.read_start, columns.read_start, 0), (rows.read_size, columns.read_size, 3)
    )


@functools.partial(jax.jit, donate_argnums=0)
def _add(gradient: Image, part: Float[Array, "_ _ 3"], row: int | Array, column: int | Array) -> Image:
    """Add the part of a tile in place, without a copy of the whole gradient."""
    previous = jax.lax.dynamic_slice(gradient, (row, column, 0), part.shape)
    return jax.lax.dynamic_update_slice(gradient, previous + part, (row, column, 0))


@jax.jit
def _params_gradient(params: ImageParams, preserved: PreservedRegion | None, gradient: Image) -> ImageParams:
    return jax.vjp(lambda p: compose_image(p, preserved), params)[1](gradient)[0]
