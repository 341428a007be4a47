"""Exact evaluation of one image with its rows sharded over devices.

Before each convolution a device receives one row from each neighbor; no other features are transferred. The losses are
functions of the summed statistics of the shards. The rows of a shard are a multiple of the total stride, so the last shard may
extend beyond the image: its features there are zero, like the padding, and excluded from the statistics.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

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
    StyleRepresentation,
    StyleTargets,
    Targets,
    parse_style_key,
    required_layers,
    statistic_target,
    statistics_only,
)
from stylejax.models.architecture import total_stride
from stylejax.models.ops import RowShard
from stylejax.models.vgg import VGG
from stylejax.optimizers.base import Info, Minimizer
from stylejax.types import Features, Image, Params, Scalar

ROW_AXIS = "rows"
"""Name of the axis of the mesh."""


@functools.cache
def sharded_objective(mesh: Mesh, shapes: tuple[tuple[int, ...], ...]) -> Callable[..., tuple[Scalar, LossTerms]]:
    """Return `objective` for sharded parameters and content targets.

    `shapes` are those of the parameters' leaves before `pad_params`.
    """

    def fn(params: Params, vgg: VGG, targets: Targets, weights: LossTerms) -> tuple[Scalar, LossTerms]:
        image = compose_image(unpad_params(params, shapes), targets.preserved)
        statistics = _sum_statistics(mesh, image, vgg, targets)._replace(tv=targets.total_variation(image))
        return weighted_loss(statistics, targets, weights)

    return fn


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def sharded_content(
    mesh: Mesh, vgg: VGG, image: Image, layers: tuple[str, ...], style_layers: tuple[str, ...]
) -> Features:
    """Return P of equation 1, sharded by rows; their number depends on `style_layers` too."""

    def features(rows: RowShard, image: Image, vgg: VGG, targets: Targets) -> Features:
        return vgg.apply_with(image, layers, lambda _, features: features, rows)

    targets = statistics_only(dict.fromkeys((*layers, *style_layers)), "gram")
    return _map_rows(mesh, image, features, vgg, targets)


@functools.partial(jax.jit, static_argnums=(0, 4))
def sharded_styles(
    mesh: Mesh, vgg: VGG, image: Image, guides: GuidanceMasks, representation: StyleRepresentation
) -> StyleTargets:
    """Return `style_targets` of an image, evaluated by shards."""
    statistics = _sum_statistics(mesh, image, vgg, statistics_only(guides, representation))
    return {name: statistic_target(value.mean, representation) for name, value in statistics.style.items()}


def shard_params(mesh: Mesh, params: Params) -> Params:
    """Distribute the rows of the parameters over the devices, after padding."""
    return jax.device_put(pad_params(params, mesh.size), NamedSharding(mesh, PartitionSpec(ROW_AXIS)))


def pad_params(params: Params, devices: int) -> Params:
    """Pad each leaf with rows of zeros to a multiple of the number of devices; their gradient is zero."""
    return jax.tree.map(lambda z: jnp.pad(z, ((0, -z.shape[0] % devices), *[(0, 0)] * (z.ndim - 1))), params)


def unpad_params(params: Params, shapes: tuple[tuple[int, ...], ...]) -> Params:
    """Return the parameters without the padding rows of `pad_params`."""
    leaves, tree = jax.tree.flatten(params)
    return jax.tree.unflatten(tree, [leaf[: shape[0]] for leaf, shape in zip(leaves, shapes, strict=True)])


@functools.cache
def shard_minimizer(minimizer: Minimizer, mesh: Mesh) -> Minimizer:
    """Return the minimizer for parameters of `shard_params`; it keeps its state sharded like them."""

    def init(params: Params) -> Any:
        return shard_state(mesh, minimizer.init(params))

    def tell(state: Any, *answer: Any) -> tuple[Any, Info]:
        state, info = minimizer.tell(state, *answer)
        return shard_state(mesh, state), info

    return minimizer._replace(init=init, tell=tell)


def shard_state(mesh: Mesh, state: Any) -> Any:
    """Shard an optimizer state: leaves shaped like parameters by rows, the memory of L-BFGS by columns.

    A row of that memory is one flattened leaf of the parameters. All other leaves are replicated.
    """
    params = jax.tree.leaves(state.best.params)
    shapes, sizes = {leaf.shape for leaf in params}, {leaf.size for leaf in params}

    def spec(leaf: Any) -> PartitionSpec:
        if leaf.shape in shapes:
            return PartitionSpec(ROW_AXIS)
        is_memory = leaf.ndim == 2 and leaf.shape[1] in sizes and leaf.shape[0] != leaf.shape[1]
        return PartitionSpec(None, ROW_AXIS) if is_memory else PartitionSpec()

    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec(x))), state)


def _sum_statistics(mesh: Mesh, image: Image, vgg: VGG, targets: Targets) -> Statistics:
    """Return the statistics of an image, without its total variation."""
    return jax.tree.map(lambda x: x.sum(0), _map_rows(mesh, image, _shard_statistics, vgg, targets))


def _map_rows(mesh: Mesh, image: Image, fn: Callable[..., Any], vgg: VGG, targets: Targets) -> Any:
    """Return `fn(rows, image, vgg, targets)` of each device's rows, concatenated along the first axis."""
    height = image.shape[0]
    padding = -height % (mesh.size * total_stride(required_layers(targets)))
    by_rows, replicated = PartitionSpec(ROW_AXIS), PartitionSpec()
    targets = targets._replace(guides=_padded_guides(targets.guides, height + padding), preserved=None)
    specs = jax.tree.map(lambda _: replicated, targets)._replace(
        content=dict.fromkeys(targets.content, by_rows), guides=jax.tree.map(lambda _: by_rows, targets.guides)
    )
    fn = functools.partial(fn, RowShard(ROW_AXIS, mesh.size, height))
    # The network is not differentiated, so JAX need not track which values vary over the devices.
    mapped = jax.shard_map(fn, mesh=mesh, in_specs=(by_rows, replicated, specs), out_specs=by_rows, check_vma=False)
    return mapped(jnp.pad(image, ((0, padding), (0, 0), (0, 0))), vgg, targets)


def _padded_guides(guides: GuidanceMasks, height: int) -> GuidanceMasks:
    """Return guidance masks of an image of that height, zero in the padding rows."""

    def pad(name: str, guide: Array) -> Array:
        rows = height // total_stride([parse_style_key(name)[0]])
        return jnp.pad(guide, ((0, rows - guide.shape[0]), (0, 0)))

    return {name: None if guide is None else pad(name, guide) for name, guide in guides.items()}


def _shard_statistics(rows: RowShard, image: Image, vgg: VGG, targets: Targets) -> Statistics:
    """Return the statistics of a shard, each with a leading axis of length 1 to be stacked along."""
    owned = _ownership_masks(rows, image, required_layers(targets))
    statistics = measure_statistics(image, vgg, targets, owned, rows)
    return jax.tree.map(lambda x: x[None], statistics)._replace(tv=())


def _ownership_masks(rows: RowShard, image: Image, layers: Iterable[str]) -> OwnershipMasks:
    h, w, _ = image.shape

    def valid(stride: int) -> Array:
        return jnp.broadcast_to(rows.valid_row_mask(h // stride, stride)[:, None], (h // stride, w // stride))

    return OwnershipMasks(valid(1), {name: valid(total_stride([name])) for name in layers})
