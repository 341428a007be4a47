"""Value and gradient of an image of any size in the memory of one tile, exactly.

The objective is a function of statistics, which are sums over positions. A first pass over the windows adds up the statistics m
of the whole image. With dL/dm fixed, a second takes each window's part of the gradient,

    dL/dx = Σ_w (dm_w/dx)ᵀ · dL/dm,

which reaches into the halo, where windows overlap and it adds up. The loop over windows runs on the host, since convolutions
inside a compiled loop are slow on the CPU; each window is waited for, or many would take memory at once.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from stylejax.losses.objective import OwnershipMasks, Statistics, Terms, measure_statistics, shown, weighted_loss
from stylejax.losses.targets import (
    Guides,
    Kept,
    Statistic,
    StyleTargets,
    Targets,
    parse_style_key,
    required_layers,
    statistic_target,
    statistics_only,
)
from stylejax.models.vgg import VGG
from stylejax.parameterization import Encoded
from stylejax.partitioning.tile_grid import Window
from stylejax.types import Image, Scalar

TargetsIn: TypeAlias = Callable[[Window], Targets]
"""Returns the targets of a window."""


Place: TypeAlias = int | Int[Array, ""]


class Ownership(NamedTuple):
    """Masks of what a window owns, as vectors along rows and columns: of the pixels, and by layer."""

    pixels: tuple[Float[Array, " h"], Float[Array, " w"]]
    layers: dict[str, tuple[Float[Array, " _"], Float[Array, " _"]]]


def tiled_value_and_gradient(
    params: Encoded, vgg: VGG, targets_in: TargetsIn, kept: Kept | None, weights: Terms, windows: Sequence[Window]
) -> tuple[tuple[Scalar, Terms], Encoded]:
    """Return `jax.value_and_grad(objective, has_aux=True)` at `params`, computed by windows."""
    image = _shown(params, kept)
    targets = targets_in(windows[0])
    layers = required_layers(targets)
    measures = total(
        _measures(_cut(image, window), vgg, targets_in(window), ownership(window, layers)) for window in windows
    )
    value, slopes = _slopes(measures, targets, weights)
    gradient = jnp.zeros_like(image)
    for window in windows:
        part = _gradient(_cut(image, window), vgg, targets_in(window), ownership(window, layers), slopes)
        gradient = jax.block_until_ready(_add(gradient, part, window.rows.start, window.columns.start))
    del image
    return value, _encoded_gradient(params, kept, gradient)


def tiled_styles(vgg: VGG, image: Any, guides: Guides, statistic: Statistic, windows: Sequence[Window]) -> StyleTargets:
    """Return `style_targets` of an image on the host, computed by windows."""
    none = statistics_only(guides, statistic)
    parts = (_measures(cut(image, w), vgg, cut_targets(none, w), ownership(w, guides)) for w in windows)
    return {name: statistic_target(mean.value, statistic) for name, mean in total(parts).style.items()}


def cut(image: Any, window: Window) -> Any:
    """Return the part of an image (h, w, …) that a window reads, or of a map on the grid of the window."""
    rows, columns = window
    return image[rows.start : rows.start + rows.size, columns.start : columns.start + columns.size]


def cut_targets(targets: Targets, window: Window) -> Targets:
    """Return the targets of a window: content and guides are cut out, each on its layer's grid."""
    content = {name: cut(p, window.at(name)) for name, p in targets.content.items()}
    of_layers = {name: window.at(parse_style_key(name)[0]) for name in targets.guides}
    guides = {name: None if g is None else cut(g, of_layers[name]) for name, g in targets.guides.items()}
    return targets._replace(content=content, guides=guides)


def ownership(window: Window, layers: Iterable[str]) -> Ownership:
    """Return the masks of the pixels and of the features of `layers` that the window owns."""

    def along(window: Window) -> tuple[Any, Any]:
        return window.rows.owned(), window.columns.owned()

    return Ownership(along(window), {name: along(window.at(name)) for name in layers})


def total(parts: Iterable[Statistics]) -> Statistics:
    """Return the sum of the statistics of parts."""
    parts = iter(parts)
    measures = jax.block_until_ready(next(parts))
    for part in parts:
        measures = jax.block_until_ready(jax.tree.map(jnp.add, measures, part))
    return measures


def _owned(ownership: Ownership) -> OwnershipMasks:
    def outer(along: tuple[Array, Array]) -> Array:
        return along[0][:, None] * along[1][None]

    return OwnershipMasks(outer(ownership.pixels), {name: outer(v) for name, v in ownership.layers.items()})


@jax.jit
def _measures(image: Image, vgg: VGG, targets: Targets, ownership: Ownership) -> Statistics:
    return measure_statistics(image, vgg, targets, _owned(ownership))


@jax.jit
def _gradient(image: Image, vgg: VGG, targets: Targets, ownership: Ownership, slopes: Statistics) -> Image:
    _, pull = jax.vjp(lambda x: measure_statistics(x, vgg, targets, _owned(ownership)), image)
    return pull(slopes)[0]


@jax.jit
def _slopes(measures: Statistics, targets: Targets, weights: Terms) -> tuple[tuple[Scalar, Terms], Statistics]:
    return jax.value_and_grad(lambda m: weighted_loss(m, targets, weights), has_aux=True)(measures)


def _cut(image: Image, window: Window) -> Float[Array, "_ _ 3"]:
    rows, columns = window
    return _sliced(image, rows.start, columns.start, (rows.size, columns.size))


@functools.partial(jax.jit, static_argnums=3)
def _sliced(image: Image, row: Place, column: Place, size: tuple[int, int]) -> Float[Array, "_ _ 3"]:
    return jax.lax.dynamic_slice(image, (row, column, 0), (*size, 3))


@functools.partial(jax.jit, donate_argnums=0)
def _add(gradient: Image, part: Float[Array, "_ _ 3"], row: Place, column: Place) -> Image:
    """Add a window's part in its place, without a copy of the whole."""
    before = jax.lax.dynamic_slice(gradient, (row, column, 0), part.shape)
    return jax.lax.dynamic_update_slice(gradient, before + part, (row, column, 0))


def _shown(params: Encoded, kept: Kept | None) -> Image:
    return params if isinstance(params, jax.Array) and kept is None else jax.jit(shown)(params, kept)


def _encoded_gradient(params: Encoded, kept: Kept | None, gradient: Image) -> Encoded:
    return gradient if isinstance(params, jax.Array) and kept is None else _pulled(params, kept, gradient)


@jax.jit
def _pulled(params: Encoded, kept: Kept | None, gradient: Image) -> Encoded:
    return jax.vjp(lambda p: shown(p, kept), params)[1](gradient)[0]
