"""Many pictures on one sheet, with titles and labels."""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from stylejax.errors import InputError
from stylejax.images.resize import Picture, resize
from stylejax.sweeps.text import render_text

Grid: TypeAlias = Sequence[Sequence[Picture | None]]
Labels: TypeAlias = Sequence[Sequence[str]]
TITLE, LABEL = 0.075, 0.064
"""Heights of letters of titles and of labels over the side of a cell."""

SMALLEST = 11
"""Height of a letter in pixels, at least."""

ROOM = 8
"""Letters' heights that a line may be wide, at least; else titles of small pictures are towers of words."""


class Panel(NamedTuple):
    """A grid of pictures with its titles and labels: one of several on a sheet, under a heading of its own."""

    pictures: Grid
    rows: Sequence[str]
    columns: Sequence[str] = ()
    labels: Labels | None = None
    heading: str = ""


def contact_sheet(
    pictures: Grid,
    rows: Sequence[str],
    columns: Sequence[str] = (),
    caption: str = "",
    labels: Labels | None = None,
    heading: str = "",
) -> Picture:
    """The pictures (h, w, 3) in rows and columns, with `rows` as titles at the left, `columns` above, a label under each
    picture, the heading above and the caption below all; dark on white.

    A cell has the size of the largest picture. Smaller ones are enlarged to fit, in squares where the factor is a whole
    number. None leaves its cell empty. Text is wrapped, grows with the cells, and widens small ones where it must.
    Raises `InputError` when the numbers of pictures, titles and labels do not agree.
    """
    check_grid(pictures, rows, columns, labels)
    high, wide = cell_size(pictures)
    size = max(SMALLEST, round(TITLE * math.sqrt(high * wide)))
    title, label = size, max(SMALLEST, round(LABEL * math.sqrt(high * wide)))
    room = max(wide, ROOM * size)
    heads = [render_text(words, title, room, 0.5) for words in columns]
    sides = [render_text(words, title, room) for words in rows]
    notes = [[render_text(words, label, room, 0.5) for words in line] for line in labels or [()] * len(rows)]
    cells = [[_blank(high, wide) if p is None else enlarge(p, high, wide) for p in line] for line in pictures]
    left = max(side.shape[1] + size // 2 * (side.size > 0) for side in sides)
    across = max(image.shape[1] for line in (heads, *cells, *notes) for image in line)

    def row(side: Picture, images: Sequence[Picture], down: float) -> Picture:
        tall = max(image.shape[0] for image in (side, *images))
        parts = [_framed(image, tall, across, down, 0.5) for image in images]
        return _joined([_framed(side, tall, left, 0.5, 0.0), *parts], 1, size // 2)

    lines = [
        _joined([row(s, c, 0.5), row(_blank(0, 0), n, 0.0)], 0, 0) for s, c, n in zip(sides, cells, notes, strict=True)
    ]
    grid = _joined([row(_blank(0, 0), heads, 1.0), *lines], 0, size if labels else size // 2)
    sheet = _joined(
        [render_text(heading, title, grid.shape[1]), grid, render_text(caption, label, grid.shape[1])], 0, size
    )
    return _framed(sheet, sheet.shape[0] + 2 * size, sheet.shape[1] + 2 * size, 0.5, 0.5)


def panels_sheet(panels: Sequence[Panel], caption: str = "") -> Picture:
    """Small multiples: the panels one below the other, each a `contact_sheet`, and the caption below all."""
    last = len(panels) - 1
    return _joined(
        [
            contact_sheet(p.pictures, p.rows, p.columns, caption if i == last else "", p.labels, p.heading)
            for i, p in enumerate(panels)
        ],
        0,
        0,
    )


def cell_size(pictures: Grid) -> tuple[int, int]:
    """Height and width that every picture fits into."""
    shapes = [picture.shape for line in pictures for picture in line if picture is not None]
    return max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)


def check_grid(pictures: Grid, rows: Sequence[str], columns: Sequence[str], labels: Labels | None) -> None:
    """Raises `InputError` unless there is a picture, and titles and labels are as many as there are places for them."""
    if all(picture is None for line in pictures for picture in line):
        raise InputError("a sheet of no pictures; give at least one")
    wide = {len(line) for line in pictures}
    if len(wide) > 1:
        raise InputError(f"a sheet with rows of {sorted(wide)} pictures; fill the shorter ones up with None")
    for kind, given, needed in (("row", len(rows), len(pictures)), ("column", len(columns), len(pictures[0]))):
        if given != needed and (given or kind == "row"):
            raise InputError(f"a sheet with {needed} {kind}s and {given} {kind} titles; give one for each {kind}")
    if labels is not None and [len(line) for line in labels] != [len(line) for line in pictures]:
        raise InputError("labels are not as many as the pictures; give one for each, in the same rows")


def enlarge(picture: Picture, height: int, width: int) -> Picture:
    """The picture as large as fits, of the same aspect ratio: in squares where the factor is a whole number, else by
    Lanczos interpolation."""
    h, w = picture.shape[:2]
    factor = min(height / h, width / w)
    if factor.is_integer():
        return np.asarray(picture, np.float32).repeat(int(factor), 0).repeat(int(factor), 1)
    return resize(picture, min(height, max(1, round(h * factor))), min(width, max(1, round(w * factor)))).clip(0, 1)


def _blank(height: int, width: int) -> Picture:
    return np.ones((height, width, 3), np.float32)


def _framed(image: Picture, height: int, width: int, down: float, across: float) -> Picture:
    """The image on a white ground of that size; what is left over is divided by `down` and `across`, ½ for the middle."""
    ground, (h, w) = _blank(height, width), image.shape[:2]
    y, x = int(down * (height - h)), int(across * (width - w))
    ground[y : y + h, x : x + w] = image
    return ground


def _joined(images: Sequence[Picture], axis: int, gap: int) -> Picture:
    """One below the other (axis 0) from the left, or side by side (axis 1) from the top; an image without extent has no gap."""
    images = [image for image in images if image.shape[axis]]
    if not images:
        return _blank(0, 0)
    height, width = (max(image.shape[k] for image in images) for k in (0, 1))
    sizes = [(image.shape[0], width) if axis == 0 else (height, image.shape[1]) for image in images]
    framed = [_framed(image, *size, 0.0, 0.0) for image, size in zip(images, sizes, strict=True)]
    space = _blank(gap, width) if axis == 0 else _blank(height, gap)
    return np.concatenate([part for image in framed for part in (space, image)][1:], axis)
