"""Grid of tiles with halos, for an exact evaluation by parts.

A window reads its own tile and a halo as wide as the receptive field. It lies inside the image, so that each of its edges is
either the image's own, where the padding is the true one, or an edge whose wrong features lie in the halo. Windows begin at
multiples of all poolings, and all windows of an image have one shape: one compiled program serves them all.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from stylejax.models.architecture import block, layer_names, smallest_side


class Span(NamedTuple):
    """A window along one axis, in pixels: it reads `size` from `start` on, and owns from `first` up to `last`."""

    start: int
    size: int
    first: int
    last: int

    def at(self, scale: int) -> "Span":
        """Return the span on the grid of a layer behind poolings of `scale` in all; odd ends are dropped."""
        return Span(self.start // scale, self.size // scale, self.first // scale, self.last // scale)

    def owned(self) -> Float[np.ndarray, " n"]:
        """Return 1 for each position that the window owns, 0 for the others."""
        positions = np.arange(self.start, self.start + self.size)
        return ((self.first <= positions) & (positions < self.last)).astype(np.float32)


class Window(NamedTuple):
    """Rows and columns."""

    rows: Span
    columns: Span

    def at(self, layer: str) -> "Window":
        """Return the window on the grid of a layer."""
        scale = smallest_side([layer])
        return Window(self.rows.at(scale), self.columns.at(scale))


def halo(layers: Iterable[str], network: str) -> int:
    """Return the pixels around its own that a position of the deepest of `layers` depends on, as a multiple of all poolings.

    A convolution of block b reaches 2^(b-1) pixels further to each side, a pooling no further; total variation reaches one.
    """
    names, deepest = layer_names(network), 0
    deepest = max((names.index(layer) for layer in layers), default=0)
    reach = sum(2 ** (block(name) - 1) for name in names[: deepest + 1])
    multiple = smallest_side([names[deepest]])
    return -(-reach // multiple) * multiple


def extent(length: int, part: int, around: int, multiple: int) -> tuple[int, int]:
    """Return how many pixels of an axis of `length` a window owns and reads.

    It owns `part` pixels, or fewer so that windows share evenly, and reads `around` more on either side, at most all.
    """
    count = -(-length // max(part // multiple * multiple, multiple))
    own = -(-length // (count * multiple)) * multiple
    size = own + 2 * around
    # The last start is a multiple too if the size has the remainder of the length.
    size += (length - size) % multiple
    return (own, size) if size < length else (length, length)


def spans(length: int, part: int, around: int, multiple: int) -> list[Span]:
    """Return the windows along an axis, each of the same `extent`.

    Starts are multiples of `multiple`, and so is `around`; the last window ends where the image does.
    """
    own, size = extent(length, part, around, multiple)
    if size == length:
        return [Span(0, length, 0, length)]
    firsts = range(0, length, own)
    return [Span(min(max(f - around, 0), length - size), size, f, min(f + own, length)) for f in firsts]


def windows(height: int, width: int, tile: int, layers: Iterable[str], network: str) -> list[Window]:
    """Return the windows of an image, row by row, that own at most `tile`² pixels each. A single window is the whole image."""
    layers = tuple(layers)
    around, multiple = halo(layers, network), smallest_side(layers)
    rows, columns = (spans(length, tile, around, multiple) for length in (height, width))
    return [Window(r, c) for r in rows for c in columns]


def window_size(height: int, width: int, tile: int, layers: Iterable[str], network: str) -> tuple[int, int]:
    """Return the rows and columns that each of `windows` reads, without the list of them, which is long for a huge image."""
    layers = tuple(layers)
    around, multiple = halo(layers, network), smallest_side(layers)
    return extent(height, tile, around, multiple)[1], extent(width, tile, around, multiple)[1]
