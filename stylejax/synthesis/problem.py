"""The optimization problem of one scale, evaluated whole, by tiles, or with its rows shared among devices.

All three evaluations give the same numbers. This is the one place where targets, weights and an evaluation are put together.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from stylejax.images.resize import Picture, resize
from stylejax.losses.objective import Terms, objective, shown
from stylejax.losses.targets import Guides, Kept, Statistic, StyleTargets, Targets
from stylejax.losses.total_variation import TOTAL_VARIATIONS
from stylejax.losses.weighting import loss_weights
from stylejax.models.architecture import smallest_side
from stylejax.models.vgg import VGG
from stylejax.optimizers.base import Function, Minimizer, OnHost
from stylejax.parameterization import Encoded, Parameterization, encode
from stylejax.partitioning.sharded import (
    gathered,
    padded,
    placed,
    sharded_content,
    sharded_objective,
    sharded_styles,
    spread,
)
from stylejax.partitioning.tile_grid import Window, window_size, windows
from stylejax.partitioning.tiled import cut, cut_targets, tiled_styles, tiled_value_and_gradient
from stylejax.synthesis.schedule import Scale
from stylejax.synthesis.targets import (
    ContentTargets,
    Inputs,
    StyleStatistics,
    content_at,
    content_features,
    style_at,
    style_statistics,
)
from stylejax.synthesis.validation import Plan
from stylejax.types import Features

TILED = OnHost(tiled_value_and_gradient)


class Problem(NamedTuple):
    """Optimization problem of one scale.

    Attributes:
        fn: function of (params, *args) to minimize.
        args: network, targets and weights, as arrays.
        kept: preserved region of the content; None without one.
        parameterization: of the image.
        mesh: devices that share the rows; None for one device.
        shapes: of the parameters' leaves, without the rows that sharding adds.
    """

    fn: Function | OnHost
    args: tuple
    kept: Kept | None
    parameterization: Parameterization
    mesh: Mesh | None
    shapes: tuple[tuple[int, ...], ...]

    def params(self, image: Picture) -> Encoded:
        """Return the parameters of an image."""
        params = encode(jnp.asarray(image), self.parameterization)
        return spread(self.mesh, params) if self.mesh else params

    def minimizer(self, minimizer: Minimizer) -> Minimizer:
        """Return the minimizer with its state shared out as the image is."""
        return placed(minimizer, self.mesh) if self.mesh else minimizer

    def image(self, params: Encoded) -> Picture:
        """Return the image of parameters, clipped to [0, 1]."""
        params = gathered(params, self.shapes) if self.mesh else params
        return np.clip(np.asarray(shown(params, self.kept)), 0, 1)


class Evaluation(NamedTuple):
    """How features, statistics and the objective of an image are computed; `problem` takes network, content, targets and
    weights, and returns the function with its arguments."""

    content: ContentTargets
    style: StyleStatistics
    problem: Callable[[VGG, Picture, Targets, Terms], tuple[Function | OnHost, tuple]]
    mesh: Mesh | None


def build_problem(
    plan: Plan,
    inputs: Inputs,
    vgg: VGG,
    scale: Scale,
    mesh: Mesh | None,
    content_at: Callable = content_at,
    style_at: Callable = style_at,
) -> Problem:
    """Build the problem of one scale.

    Args:
        plan: of the run.
        inputs: content and styles.
        vgg: the network.
        scale: one of the plan's.
        mesh: the devices of a sharded run, else None.
        content_at: computes the content targets; a sweep passes one that remembers.
        style_at: the same of the style.

    Returns:
        The problem, with its targets and weights as arguments.
    """
    evaluation = evaluation_at(plan, vgg.network, scale, mesh)
    features, kept = content_at(plan, inputs, vgg, scale, evaluation.content)
    style, guides = style_at(plan, inputs, vgg, scale, evaluation.style)
    targets = Targets(features, style, guides, kept, TOTAL_VARIATIONS[plan.config.tv])
    weights = _weights(plan, targets, scale, vgg)
    fn, args = evaluation.problem(vgg, inputs.content, targets, weights)
    leaves = jax.tree.leaves(params_shape(plan, scale))
    return Problem(fn, args, kept, plan.config.parameterization, evaluation.mesh, tuple(leaf.shape for leaf in leaves))


def evaluation_at(plan: Plan, network: str, scale: Scale, mesh: Mesh | None) -> Evaluation:
    """Choose the evaluation of a scale: one that is too small to be shared or cut is evaluated whole."""
    tile, layers = plan.partition.tile, plan.layers
    if mesh and shards_at(plan, scale) > 1:
        return _sharded(mesh, plan, scale)
    if tile and window_size(*scale.size, tile, layers, network) != scale.size:
        return _tiled(scale, lambda image: windows(image.shape[0], image.shape[1], tile, layers, network))
    return Evaluation(content_features, style_statistics, _whole, None)


def shards_at(plan: Plan, scale: Scale) -> int:
    """Return the number of devices that share a scale: all of the plan, or one if some would have no row."""
    shards = plan.partition.shards
    return shards if scale.size[0] >= shards * smallest_side(plan.layers) else 1


def params_shape(plan: Plan, scale: Scale) -> Any:
    """Return the shapes of the parameters of a scale, without the rows that sharding adds."""
    image = jax.ShapeDtypeStruct((*scale.size, 3), np.float32)
    return jax.eval_shape(lambda x: encode(x, plan.config.parameterization), image)


def state_shape(plan: Plan, scale: Scale, minimizer: Minimizer) -> Any:
    """Return the shapes of an optimizer's state at a scale."""
    return jax.eval_shape(lambda x: minimizer.init(padded(x, shards_at(plan, scale))), params_shape(plan, scale))


def _weights(plan: Plan, targets: Targets, scale: Scale, vgg: VGG) -> Terms:
    config = plan.config
    return loss_weights(
        targets,
        losses=config.losses,
        alpha=config.content_weight,
        beta=config.style_weight,
        tv=config.tv_weight,
        content_layers=plan.content_layers,
        style_layers=plan.style_layers,
        style_weights=config.style_weights,
        pixels=scale.size[0] * scale.size[1],
        unit=float(vgg.unit()),
    )


def _whole(vgg: VGG, content: Picture, targets: Targets, weights: Terms) -> tuple[Function, tuple]:
    return objective, (vgg, targets, weights)


def _tiled(scale: Scale, tiles: Callable[[Picture], list[Window]]) -> Evaluation:
    def content(vgg: VGG, image: Picture, layers: tuple[str, ...]) -> Features:
        """Return empty features: those of a whole image would take more memory than the image; see `_targets_in`."""
        return dict.fromkeys(layers, jnp.zeros((0, 0, 0)))

    def style(vgg: VGG, image: Picture, guides: Guides, statistic: Statistic) -> StyleTargets:
        return tiled_styles(vgg, image, guides, statistic, tiles(image))

    def problem(vgg: VGG, content: Picture, targets: Targets, weights: Terms) -> tuple[OnHost, tuple]:
        layers, without = tuple(targets.content), targets._replace(content={}, kept=None)
        content = resize(content, *scale.size)
        targets_in = functools.partial(_targets_in, vgg, content, without, layers)
        return TILED, (vgg, targets_in, targets.kept, weights, tiles(content))

    return Evaluation(content, style, problem, None)


def _targets_in(vgg: VGG, content: Picture, without: Targets, layers: tuple[str, ...], window: Window) -> Targets:
    """Return the targets of a tile, with the features of its own part of the content."""
    return cut_targets(without, window)._replace(content=content_features(vgg, cut(content, window), layers))


def _sharded(mesh: Mesh, plan: Plan, scale: Scale) -> Evaluation:
    def content(vgg: VGG, image: Picture, layers: tuple[str, ...]) -> Features:
        return sharded_content(mesh, vgg, image, layers, tuple(plan.style_layers))

    def problem(vgg: VGG, content: Picture, targets: Targets, weights: Terms) -> tuple[Function, tuple]:
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(params_shape(plan, scale)))
        return sharded_objective(mesh, shapes), (vgg, targets, weights)

    return Evaluation(content, functools.partial(sharded_styles, mesh), problem, mesh)
