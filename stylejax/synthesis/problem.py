"""Optimization problem of one scale, evaluated whole, by tiles, or sharded over devices.

All three evaluations give the same numbers. Only this module combines targets, loss weights and an evaluation.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from stylejax.images.resize import HostImage, resize
from stylejax.losses.objective import LossTerms, compose_image, objective
from stylejax.losses.targets import (
    GuidanceMasks,
    PreservedRegion,
    StyleRepresentation,
    StyleTargets,
    Targets,
    content_targets,
    style_targets,
)
from stylejax.losses.total_variation import TOTAL_VARIATIONS
from stylejax.losses.weighting import loss_weights
from stylejax.models.architecture import total_stride
from stylejax.models.vgg import VGG
from stylejax.optimizers.base import Function, HostFunction, Minimizer
from stylejax.parameterization import ImageParams, Parameterization, pack, to_params
from stylejax.partitioning import sharded
from stylejax.partitioning.tile_grid import Tile, make_tiles, tile_read_size
from stylejax.partitioning.tiled import crop, crop_targets, tiled_styles, tiled_value_and_gradient
from stylejax.synthesis.schedule import Scale
from stylejax.synthesis.targets import (
    ContentTargets,
    Inputs,
    StyleStatistics,
    content_targets_at,
    style_targets_at,
)
from stylejax.synthesis.validation import Plan
from stylejax.types import Features

TILED = HostFunction(tiled_value_and_gradient)


class Problem(NamedTuple):
    """Optimization problem of one scale: minimize `fn(params, *args)`.

    `args` are network, targets and loss weights. `encode` returns the parameters of an image. `mesh` is None for one device,
    and `preserved` without a preserved region. `shapes` are those of the parameters' leaves, without padding rows.
    """

    fn: Function | HostFunction
    args: tuple
    preserved: PreservedRegion | None
    encode: Callable[[Any], ImageParams]
    mesh: Mesh | None
    shapes: tuple[tuple[int, ...], ...]

    def params(self, image: HostImage) -> ImageParams:
        params = self.encode(jnp.asarray(image))
        return sharded.shard_params(self.mesh, params) if self.mesh else params

    def minimizer(self, minimizer: Minimizer) -> Minimizer:
        """Return the minimizer, with its state sharded like the parameters."""
        return sharded.shard_minimizer(minimizer, self.mesh) if self.mesh else minimizer

    def image(self, params: ImageParams) -> HostImage:
        """Return the image of the parameters, clipped to [0, 1]."""
        params = sharded.unpad_params(params, self.shapes) if self.mesh else params
        return np.clip(np.asarray(jax.jit(compose_image)(params, self.preserved)), 0, 1)


class Evaluation(NamedTuple):
    """Functions that compute the content features, the style statistics, and the objective with its arguments."""

    content: ContentTargets
    style: StyleStatistics
    problem: Callable[[VGG, HostImage, Targets, LossTerms], tuple[Function | HostFunction, tuple]]
    mesh: Mesh | None


def build_problem(
    plan: Plan,
    inputs: Inputs,
    vgg: VGG,
    scale: Scale,
    mesh: Mesh | None,
    content_at: Callable = content_targets_at,
    style_at: Callable = style_targets_at,
) -> Problem:
    """Build the problem of one scale.

    Args:
        plan: plan of the run.
        inputs: content and style images.
        vgg: network.
        scale: scale of the plan's schedule.
        mesh: devices of a sharded run, else None.
        content_at: computes the content targets; a sweep passes a memoized function.
        style_at: computes the style targets.
    """
    evaluation = make_evaluation(plan, vgg.network, scale, mesh)
    features, preserved = content_at(plan, inputs, vgg, scale, evaluation.content)
    style, guides = style_at(plan, inputs, vgg, scale, evaluation.style)
    targets = Targets(features, style, guides, preserved, TOTAL_VARIATIONS[plan.config.tv_norm])
    fn, args = evaluation.problem(vgg, inputs.content, targets, _weights(plan, targets, scale, vgg))
    shapes = _leaf_shapes(plan, scale)
    return Problem(fn, args, preserved, _encoder(plan, scale), evaluation.mesh, shapes)


def make_evaluation(plan: Plan, network: str, scale: Scale, mesh: Mesh | None) -> Evaluation:
    """Choose the evaluation of a scale: whole if it is too small for tiles or shards, else as planned."""
    tile, layers = plan.partition.tile, plan.layers
    if mesh and shards_at(plan, scale) > 1:
        return _sharded(mesh, plan, scale)
    if tile and tile_read_size(*scale.size, tile, layers, network) != scale.size:
        return _tiled(scale, lambda image: make_tiles(image.shape[0], image.shape[1], tile, layers, network))
    return Evaluation(content_targets, _whole_styles, _whole, None)


def shards_at(plan: Plan, scale: Scale) -> int:
    """Return the devices that share a scale: those of the plan, or 1 if a device would have no row."""
    shards = plan.partition.shards
    return shards if scale.size[0] >= shards * total_stride(plan.layers) else 1


def params_shape(plan: Plan, scale: Scale) -> Any:
    """Return the parameters of a scale as shapes, without padding rows."""
    image = jax.ShapeDtypeStruct((*scale.size, 3), np.float32)
    return jax.eval_shape(_encoder(plan, scale), image)


def state_shape(plan: Plan, scale: Scale, minimizer: Minimizer) -> Any:
    """Return the optimizer state at a scale as shapes."""
    params = params_shape(plan, scale)
    return jax.eval_shape(lambda x: minimizer.init(sharded.pad_params(x, shards_at(plan, scale))), params)


def _encoder(plan: Plan, scale: Scale) -> Callable[[Any], ImageParams]:
    """Return the function from an image to its parameters: in one array, unless their rows are sharded."""
    encode = to_params if shards_at(plan, scale) > 1 else _packed_params
    return functools.partial(encode, kind=plan.config.parameterization, gray=plan.gray)


@functools.partial(jax.jit, static_argnames=("kind", "gray"))
def _packed_params(image: Any, kind: Parameterization, gray: bool) -> ImageParams:
    return pack(to_params(image, kind, gray))


def _leaf_shapes(plan: Plan, scale: Scale) -> tuple[tuple[int, ...], ...]:
    return tuple(leaf.shape for leaf in jax.tree.leaves(params_shape(plan, scale)))


def _weights(plan: Plan, targets: Targets, scale: Scale, vgg: VGG) -> LossTerms:
    config = plan.config
    return loss_weights(
        targets,
        normalization=config.loss_normalization,
        alpha=config.content_weight,
        beta=config.style_weight,
        tv=config.tv_weight,
        content_layers=plan.content_layers,
        style_layers=plan.style_layers,
        style_weights=config.style_weights,
        pixels=scale.size[0] * scale.size[1],
        caffe_scale=float(vgg.caffe_scale()),
    )


def _whole_styles(vgg: VGG, style: Any, guides: GuidanceMasks, representation: StyleRepresentation) -> StyleTargets:
    return style_targets(vgg, style, guides, guides, representation)


def _whole(vgg: VGG, content: HostImage, targets: Targets, weights: LossTerms) -> tuple[Function, tuple]:
    return objective, (vgg, targets, weights)


def _tiled(scale: Scale, make: Callable[[HostImage], list[Tile]]) -> Evaluation:
    def content(vgg: VGG, image: HostImage, layers: tuple[str, ...]) -> Features:
        # Features of the whole image do not fit in memory; `_tile_targets` computes those of a tile.
        return dict.fromkeys(layers, jnp.zeros((0, 0, 0)))

    def style(vgg: VGG, image: HostImage, guides: GuidanceMasks, statistic: StyleRepresentation) -> StyleTargets:
        return tiled_styles(vgg, image, guides, statistic, make(image))

    def problem(vgg: VGG, content: HostImage, targets: Targets, weights: LossTerms) -> tuple[HostFunction, tuple]:
        content, without_content = resize(content, *scale.size), targets._replace(content={}, preserved=None)
        targets_in = functools.partial(_tile_targets, vgg, content, without_content, tuple(targets.content))
        return TILED, (vgg, targets_in, targets.preserved, weights, make(content))

    return Evaluation(content, style, problem, None)


def _tile_targets(vgg: VGG, content: HostImage, targets: Targets, layers: tuple[str, ...], tile: Tile) -> Targets:
    """Return the targets of a tile, with the features of its part of the content."""
    return crop_targets(targets, tile)._replace(content=content_targets(vgg, crop(content, tile), layers))


def _sharded(mesh: Mesh, plan: Plan, scale: Scale) -> Evaluation:
    def content(vgg: VGG, image: HostImage, layers: tuple[str, ...]) -> Features:
        return sharded.sharded_content(mesh, vgg, image, layers, tuple(plan.style_layers))

    def problem(vgg: VGG, content: HostImage, targets: Targets, weights: LossTerms) -> tuple[Function, tuple]:
        return sharded.sharded_objective(mesh, _leaf_shapes(plan, scale)), (vgg, targets, weights)

    return Evaluation(content, functools.partial(sharded.sharded_styles, mesh), problem, mesh)
