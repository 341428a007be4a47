"""How one scale of a run is evaluated: whole, by tiles, or with its rows shared among devices. All three give the same numbers.

This is the one place where it is chosen: by the config, and by the size of the scale.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from stylejax.config import TransferConfig, part
from stylejax.config_validation import layer_name
from stylejax.images.resize import Picture, resize
from stylejax.losses.objective import Kept, Statistic, StyleTargets, Targets, objective, shown
from stylejax.losses.weighting import loss_weights
from stylejax.models.architecture import smallest_side
from stylejax.models.vgg import VGG
from stylejax.optimizers.base import Function, Minimizer, OnHost
from stylejax.parameterization import Encoded, encode
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
from stylejax.synthesis.regions import Masks
from stylejax.synthesis.targets import VARIATIONS, content_size, kept_at, layers_of, responses, style_at, targets_at

TILED = OnHost(tiled_value_and_gradient)


class Engine(NamedTuple):
    """What is minimized at a scale, with its arguments; what of the content is kept in it; over which mesh, if any, and the
    sizes of the parameters' leaves."""

    fn: Function | OnHost
    args: tuple
    kept: Kept | None
    mesh: Mesh | None = None
    shapes: tuple[tuple[int, ...], ...] = ()

    def first(self, image: Picture, config: TransferConfig) -> Encoded:
        """What the optimizer starts from."""
        params = encode(jnp.asarray(image), config.parameterization)
        return spread(self.mesh, params) if self.mesh else params

    def minimizer(self, minimizer: Minimizer) -> Minimizer:
        """The same minimizer, with its state shared out as the picture is."""
        return placed(minimizer, self.mesh) if self.mesh else minimizer

    def picture(self, params: Encoded) -> Picture:
        """The picture, in [0, 1]."""
        params = gathered(params, self.shapes) if self.mesh else params
        return np.clip(np.asarray(shown(params, self.kept)), 0, 1)


class Subject(NamedTuple):
    """What a picture is made of: content and styles as the network sees them, and the masks of both."""

    content: Picture
    styles: list[Picture]
    masks: Masks


def engine_at(config: TransferConfig, subject: Subject, vgg: VGG, side: int, mesh: Mesh | None) -> Engine:
    """The evaluation of the scale of that longest side."""
    h, w = content_size(config, subject.content.shape, side)
    if mesh and devices_at(config, h) > 1:
        return _sharded(config, subject, vgg, side, mesh)
    if is_tiled(config, vgg.network, h, w):
        return _tiled(config, subject, vgg, side)
    targets = targets_at(subject.content, subject.styles, vgg, config, side, subject.masks)
    return Engine(objective, (vgg, targets, loss_weights(config, targets, h * w, vgg.unit())), targets.kept)


def devices_at(config: TransferConfig, height: int) -> int:
    """Among how many devices the rows of a scale are shared: all that the config says, or one where some would have none."""
    devices = part("shard", config.shard) or 1
    return devices if height >= devices * smallest_side(layers_of(config)) else 1


def is_tiled(config: TransferConfig, network: str, height: int, width: int) -> bool:
    """Whether a scale has more than one tile."""
    tile = part("tile", config.tile)
    return bool(tile) and window_size(height, width, tile, layers_of(config), network) != (height, width)


def parameters_at(config: TransferConfig, height: int, width: int) -> Any:
    """The shapes of what the optimizer moves at a scale."""
    image = jax.ShapeDtypeStruct((height, width, 3), np.float32)
    return jax.eval_shape(lambda x: padded(encode(x, config.parameterization), devices_at(config, height)), image)


def _tiled(config: TransferConfig, subject: Subject, vgg: VGG, side: int) -> Engine:
    def parts(image: Picture) -> list[Window]:
        h, w = image.shape[:2]
        return windows(h, w, part("tile", config.tile) or 0, layers_of(config), vgg.network)

    def styled(vgg: VGG, image: Picture, guides: Any, statistic: Statistic) -> StyleTargets:
        return tiled_styles(vgg, image, guides, statistic, parts(image))

    (content, styles, masks), layers = subject, tuple(map(layer_name, config.content_layers))
    h, w = content_size(config, content.shape, side)
    style, guides = style_at(content.shape, styles, vgg, config, side, masks, styled)
    kept, content = kept_at(content, masks, h, w), resize(content, h, w)
    without = Targets({}, style, guides, variations=VARIATIONS[config.tv])
    named = without._replace(content=dict.fromkeys(layers, jnp.zeros((0, 0, 0))))
    weights = loss_weights(config, named, h * w, vgg.unit())
    targets_in = functools.partial(_targets_in, vgg, content, without, layers)
    return Engine(TILED, (vgg, targets_in, kept, weights, parts(content)), kept)


def _targets_in(vgg: VGG, content: Picture, without: Targets, layers: tuple[str, ...], window: Window) -> Targets:
    """P is computed where it is looked at: that of a whole picture would take more memory than the picture."""
    return cut_targets(without, window)._replace(content=responses(vgg, cut(content, window), layers))


def _sharded(config: TransferConfig, subject: Subject, vgg: VGG, side: int, mesh: Mesh) -> Engine:
    content, styles, masks = subject
    h, w = content_size(config, content.shape, side)
    styled = functools.partial(sharded_styles, mesh)
    style, guides = style_at(content.shape, styles, vgg, config, side, masks, styled)
    kept, content = kept_at(content, masks, h, w), resize(content, h, w)
    of_content, of_style = (tuple(map(layer_name, layers)) for layers in (config.content_layers, config.style_layers))
    maps = sharded_content(mesh, vgg, content, of_content, of_style)
    targets = Targets(maps, style, guides, kept, VARIATIONS[config.tv])
    whole = jax.eval_shape(lambda x: encode(x, config.parameterization), content)
    shapes = tuple(leaf.shape for leaf in jax.tree.leaves(whole))
    weights = loss_weights(config, targets, h * w, vgg.unit())
    return Engine(sharded_objective(mesh, shapes), (vgg, targets, weights), kept, mesh, shapes)
