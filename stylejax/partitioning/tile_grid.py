"""Grid of tiles with halos, for an exact evaluation by tiles.

A tile owns some pixels, and reads a halo as wide as the receptive field around them. Both lie inside the image: an edge of the
pixels that it reads is either an edge of the image, with the true padding, or far enough that wrong features stay in the halo.
Tiles start at multiples of the total stride and all have the same shape, so one compiled program serves them all.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from stylejax.models.architecture import block_index, layer_names, total_stride


class Interval(NamedTuple):
    """A tile along one axis, in pixels: what it reads, halo included, and what it owns."""

    read_start: int
    read_size: int
    own_start: int
    own_stop: int

    def at(self, scale: int) -> "Interval":
        """Return the interval on the grid of a layer with a total stride of `scale`."""
        return Interval(*(pixels // scale for pixels in self))

    def ownership_mask(self) -> Float[np.ndarray, " n"]:
        """Return a vector over the positions read, 1 where the tile owns them and 0 in its halo."""
        positions = np.arange(self.read_start, self.read_start + self.read_size)
        return ((self.own_start <= positions) & (positions < self.own_stop)).astype(np.float32)


class Tile(NamedTuple):
    """A tile: its rows and columns."""

    rows: Interval
    columns: Interval

    def at(self, layer: str) -> "Tile":
        """Return the tile on the grid of a layer."""
        scale = total_stride([layer])
        return Tile(self.rows.at(scale), self.columns.at(scale))


def halo_size(layers: Iterable[str], network: str) -> int:
    """Return the halo in pixels: the reach of the deepest layer, rounded up to a multiple of its stride.

    A convolution of block b reaches 2^(b-1) pixels to each side, a pooling no further; total variation reaches one.
    """
    names = layer_names(network)
    deepest = max((names.index(layer) for layer in layers), default=0)
    reach = sum(2 ** (block_index(name) - 1) for name in names[: deepest + 1])
    multiple = total_stride([names[deepest]])
    return -(-reach // multiple) * multiple


def tile_extent(length: int, tile: int, halo: int, multiple: int) -> tuple[int, int]:
    """Return how many pixels of an axis each tile owns, at most `tile`, and reads.

    Tiles are about equal, and start at multiples of `multiple`, the total stride.
    """
    count = -(-length // max(tile // multiple * multiple, multiple))
    own = -(-length // (count * multiple)) * multiple
    size = own + 2 * halo
    # The last tile ends with the image, so its start is a multiple only if `size` and `length` have the same remainder.
    size += (length - size) % multiple
    return (own, size) if size < length else (length, length)


def split_axis(length: int, tile: int, halo: int, multiple: int) -> list[Interval]:
    """Return the intervals of the tiles along an axis; the arguments are those of `tile_extent`."""
    own, size = tile_extent(length, tile, halo, multiple)
    if size == length:
        return [Interval(0, length, 0, length)]
    starts = range(0, length, own)
    return [Interval(min(max(i - halo, 0), length - size), size, i, min(i + own, length)) for i in starts]


def make_tiles(height: int, width: int, tile: int, layers: Iterable[str], network: str) -> list[Tile]:
    """Return the tiles of an image, row by row, each of which owns at most `tile`² pixels."""
    layers = tuple(layers)
    halo, multiple = halo_size(layers, network), total_stride(layers)
    rows, columns = (split_axis(length, tile, halo, multiple) for length in (height, width))
    return [Tile(r, c) for r in rows for c in columns]


def tile_read_size(height: int, width: int, tile: int, layers: Iterable[str], network: str) -> tuple[int, int]:
    """Return the rows and columns that each of `make_tiles` reads, without building their list."""
    layers = tuple(layers)
    halo, multiple = halo_size(layers, network), total_stride(layers)
    return tile_extent(height, tile, halo, multiple)[1], tile_extent(width, tile, halo, multiple)[1]
