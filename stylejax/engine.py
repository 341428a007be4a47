"""How one scale of a run is evaluated: whole, by tiles, or with its rows shared among devices. All three give the same numbers.

This is the one place where it is chosen: by the config, and by the size of the scale.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from stylejax.config import TransferConfig, part
from stylejax.images import Picture, resize
from stylejax.objective import Targets, blend, content_targets, objective
from stylejax.optimize import Function, Minimizer, OnHost
from stylejax.parameterize import Encoded, decode, encode
from stylejax.scales import content_size, layers_of, loss_weights, style_size, targets_at
from stylejax.shards import gathered, padded, placed, sharded_content, sharded_grams, sharded_objective, spread
from stylejax.tiles import cut, tiled_grams, tiled_squares, tiled_value_and_gradient
from stylejax.types import Features, GramMatrices
from stylejax.vgg import VGG, smallest_side
from stylejax.windows import Window, windows

TILED = OnHost(tiled_value_and_gradient)


class Engine(NamedTuple):
    """What is minimized at a scale, with its arguments; over which mesh, if any; and the sizes of the parameters' leaves."""

    fn: Function | OnHost
    args: tuple
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
        return np.clip(np.asarray(decode(params)), 0, 1)


def engine_at(
    config: TransferConfig, content: Picture, styles: Sequence[Picture], vgg: VGG, side: int, mesh: Mesh | None
) -> Engine:
    """The evaluation of the scale of that longest side."""
    h, w = content_size(config, content.shape, side)
    if mesh and devices_at(config, h) > 1:
        return _sharded(config, content, styles, vgg, side, mesh)
    if is_tiled(config, vgg.network, h, w):
        return _tiled(config, content, styles, vgg, side)
    targets = targets_at(content, list(styles), vgg, config, side)
    return Engine(objective, (vgg, targets, loss_weights(config, targets)))


def devices_at(config: TransferConfig, height: int) -> int:
    """Among how many devices the rows of a scale are shared: all that the config says, or one where some would have none."""
    devices = part("shard", config.shard) or 1
    return devices if height >= devices * smallest_side(layers_of(config)) else 1


def is_tiled(config: TransferConfig, network: str, height: int, width: int) -> bool:
    """Whether a scale has more than one tile."""
    tile = part("tile", config.tile)
    return bool(tile) and len(windows(height, width, tile, layers_of(config), network)) > 1


def parameters_at(config: TransferConfig, height: int, width: int) -> Any:
    """The shapes of what the optimizer moves at a scale."""
    image = jax.ShapeDtypeStruct((height, width, 3), np.float32)
    return jax.eval_shape(lambda x: padded(encode(x, config.parameterization), devices_at(config, height)), image)


def _tiled(config: TransferConfig, content: Picture, styles: Sequence[Picture], vgg: VGG, side: int) -> Engine:
    def parts(image: Picture) -> list[Window]:
        h, w = image.shape[:2]
        return windows(h, w, part("tile", config.tile) or 0, layers_of(config), vgg.network)

    at_scale = (resize(s, *style_size(config, s.shape, side)) for s in styles)
    grams = [tiled_grams(vgg, s, config.style_layers, parts(s)) for s in at_scale]
    content = resize(content, *content_size(config, content.shape, side))
    squares = tiled_squares(vgg, content, config.content_layers, parts(content))
    style = blend(grams) if grams else {}
    weights = loss_weights(config, Targets({}, style), squares)
    targets_in = functools.partial(_targets_in, vgg, content, style, config.content_layers)
    return Engine(TILED, (vgg, targets_in, weights, parts(content)))


def _targets_in(vgg: VGG, content: Picture, style: GramMatrices, layers: tuple[str, ...], window: Window) -> Targets:
    """P is computed where it is looked at: that of a whole picture would take more memory than the picture."""
    return Targets(_responses(vgg, cut(content, window), layers), style)


@functools.partial(jax.jit, static_argnums=2)
def _responses(vgg: VGG, content: Any, layers: tuple[str, ...]) -> Features:
    return content_targets(vgg, content, layers)


def _sharded(
    config: TransferConfig, content: Picture, styles: Sequence[Picture], vgg: VGG, side: int, mesh: Mesh
) -> Engine:
    at_scale = (resize(s, *style_size(config, s.shape, side)) for s in styles)
    grams = [sharded_grams(mesh, vgg, s, config.style_layers) for s in at_scale]
    content = resize(content, *content_size(config, content.shape, side))
    maps, squares = sharded_content(mesh, vgg, content, config.content_layers, config.style_layers)
    targets = Targets(maps, blend(grams) if grams else {})
    whole = jax.eval_shape(lambda x: encode(x, config.parameterization), content)
    shapes = tuple(leaf.shape for leaf in jax.tree.leaves(whole))
    weights = loss_weights(config, targets, squares)
    return Engine(sharded_objective(mesh, shapes), (vgg, targets, weights), mesh, shapes)
