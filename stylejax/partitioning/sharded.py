"""One image over many devices, exactly: each has a part of the rows.

Before each convolution a device takes one row from either neighbor; nothing else of the features travels. The statistics of
the devices are added up, and the losses are functions of the sum. Parts are multiples of all poolings, so the last may reach
beyond the image: its features there are zero, as the padding is, and are not owned.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from stylejax.losses.objective import OwnershipMasks, Statistics, Terms, measure_statistics, shown, weighted_loss
from stylejax.losses.targets import (
    Guides,
    Statistic,
    StyleTargets,
    Targets,
    parse_style_key,
    required_layers,
    statistic_target,
    statistics_only,
)
from stylejax.models.architecture import smallest_side
from stylejax.models.ops import Rows
from stylejax.models.vgg import VGG
from stylejax.optimizers.base import Info, Minimizer
from stylejax.optimizers.lbfgs_direction import Params
from stylejax.types import Features, Image, Scalar

ROWS = "rows"
"""The axis of the mesh."""


def rows_each(height: int, devices: int, layers: Iterable[str]) -> int:
    """Return the rows of each device, a multiple of all poolings."""
    multiple = smallest_side(layers)
    return -(-height // (multiple * devices)) * multiple


@functools.cache
def sharded_objective(mesh: Mesh, shapes: tuple[tuple[int, ...], ...]) -> Callable[..., tuple[Scalar, Terms]]:
    """Return `objective` for parameters of `spread`, whose leaves have these `shapes`, and targets of `sharded_content`."""

    def fn(params: Params, vgg: VGG, targets: Targets, weights: Terms) -> tuple[Scalar, Terms]:
        image = shown(gathered(params, shapes), targets.kept)
        parts = _shared(mesh, image, _measures, vgg, targets)
        measures = jax.tree.map(lambda m: m.sum(0), parts)
        return weighted_loss(measures._replace(tv=targets.variations(image)), targets, weights)

    return fn


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def sharded_content(
    mesh: Mesh, vgg: VGG, image: Image, layers: tuple[str, ...], style_layers: tuple[str, ...]
) -> Features:
    """Return P of equation 1, on each device its own rows. `style_layers` decide on the rows too."""

    def features(rows: Rows, image: Image, vgg: VGG, targets: Targets) -> Features:
        return vgg.apply_with(image, layers, lambda _, response: response, rows)

    names = statistics_only(dict.fromkeys((*layers, *style_layers)), "gram")
    return _shared(mesh, image, features, vgg, names)


@functools.partial(jax.jit, static_argnums=(0, 4))
def sharded_styles(mesh: Mesh, vgg: VGG, image: Image, guides: Guides, statistic: Statistic) -> StyleTargets:
    """Return `style_targets` of an image whose rows are shared."""
    none = statistics_only(guides, statistic)
    means = jax.tree.map(lambda m: m.sum(0), _shared(mesh, image, _measures, vgg, none).style)
    return {name: statistic_target(mean.value, statistic) for name, mean in means.items()}


def spread(mesh: Mesh, params: Params) -> Params:
    """Share the rows of the parameters over the devices."""
    return jax.device_put(padded(params, mesh.size), NamedSharding(mesh, PartitionSpec(ROWS)))


def padded(params: Params, devices: int) -> Params:
    """Pad each leaf with rows of zeros until the devices divide them; their gradient is zero."""
    return jax.tree.map(lambda z: jnp.pad(z, ((0, -z.shape[0] % devices), (0, 0), (0, 0))), params)


def gathered(params: Params, shapes: tuple[tuple[int, ...], ...]) -> Params:
    """Return the parameters without the rows that `spread` added."""
    leaves, tree = jax.tree.flatten(params)
    return jax.tree.unflatten(tree, [leaf[: shape[0]] for leaf, shape in zip(leaves, shapes, strict=True)])


@functools.cache
def placed(minimizer: Minimizer, mesh: Mesh) -> Minimizer:
    """Return the minimizer for parameters of `spread`: its state stays shared as they are."""

    def init(params: Params) -> Any:
        return shared_out(mesh, minimizer.init(params))

    def tell(state: Any, *answer: Any) -> tuple[Any, Info]:
        state, info = minimizer.tell(state, *answer)
        return shared_out(mesh, state), info

    return minimizer._replace(init=init, tell=tell)


def shared_out(mesh: Mesh, state: Any) -> Any:
    """An optimizer's state: what is like the parameters is shared out by its rows; what has one of them, flat, in each row
    (the memory of L-BFGS), along them; the rest is on every device."""
    params = jax.tree.leaves(state.best.params)
    shapes, flat = {leaf.shape for leaf in params}, {leaf.size for leaf in params}

    def along(leaf: Any) -> PartitionSpec:
        if leaf.shape in shapes:
            return PartitionSpec(ROWS)
        ring = leaf.ndim == 2 and leaf.shape[1] in flat and leaf.shape[0] != leaf.shape[1]
        return PartitionSpec(None, ROWS) if ring else PartitionSpec()

    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, NamedSharding(mesh, along(x))), state)


def _shared(mesh: Mesh, image: Image, part: Callable[..., Any], vgg: VGG, targets: Targets) -> Any:
    """`part(rows, image, vgg, targets)` on each device's rows; what comes out is stacked along the first axis."""
    height = image.shape[0]
    padding = mesh.size * rows_each(height, mesh.size, required_layers(targets)) - height
    rows, everywhere = PartitionSpec(ROWS), PartitionSpec()
    targets = targets._replace(guides=_padded_guides(targets.guides, height + padding), kept=None)
    given = jax.tree.map(lambda _: everywhere, targets)
    given = given._replace(
        content=dict.fromkeys(targets.content, rows), guides=jax.tree.map(lambda _: rows, targets.guides)
    )
    fn = functools.partial(part, Rows(ROWS, mesh.size, height))
    # The network is not differentiated, so that what varies over the devices need not be told.
    mapped = jax.shard_map(fn, mesh=mesh, in_specs=(rows, everywhere, given), out_specs=rows, check_vma=False)
    return mapped(jnp.pad(image, ((0, padding), (0, 0), (0, 0))), vgg, targets)


def _padded_guides(guides: Guides, height: int) -> Guides:
    """Guides of a picture of that height: nothing beyond the picture belongs to a region."""

    def padded(name: str, guide: Array) -> Array:
        rows = height // smallest_side([parse_style_key(name)[0]])
        return jnp.pad(guide, ((0, rows - guide.shape[0]), (0, 0)))

    return {name: None if guide is None else padded(name, guide) for name, guide in guides.items()}


def _measures(rows: Rows, image: Image, vgg: VGG, targets: Targets) -> Statistics:
    owned = _owned(rows, image, required_layers(targets))
    return _stacked(measure_statistics(image, vgg, targets, owned, rows))._replace(tv=())


def _owned(rows: Rows, image: Image, layers: Iterable[str]) -> OwnershipMasks:
    h, w, _ = image.shape

    def inside(scale: int) -> Array:
        return jnp.broadcast_to(rows.inside(h // scale, scale)[:, None], (h // scale, w // scale))

    return OwnershipMasks(inside(1), {name: inside(smallest_side([name])) for name in layers})


def _stacked(parts: Any) -> Any:
    return jax.tree.map(lambda x: x[None], parts)
