"""Contact sheets: images in rows and columns, with titles, labels and a caption."""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from stylejax.errors import InputError
from stylejax.images.resize import HostImage, resize
from stylejax.sweeps.text import render_text

ImageGrid: TypeAlias = Sequence[Sequence[HostImage | None]]
Labels: TypeAlias = Sequence[Sequence[str]]
TITLE, LABEL = 0.075, 0.064
"""Letter heights of titles and labels, as a share of the side √(h·w) of a cell, so that text grows with the images."""

MIN_CELL = 11
"""Minimum height of a letter, in pixels; smaller letters are hard to read."""

MIN_TEXT_WIDTH = 8
"""Minimum width of a line, in letter heights; otherwise titles of small images would break after each word."""


class Panel(NamedTuple):
    """A grid of images with titles, labels and a heading: one part of a sheet."""

    pictures: ImageGrid
    rows: Sequence[str]
    columns: Sequence[str] = ()
    labels: Labels | None = None
    heading: str = ""


def contact_sheet(
    pictures: ImageGrid,
    rows: Sequence[str],
    columns: Sequence[str] = (),
    caption: str = "",
    labels: Labels | None = None,
    heading: str = "",
) -> HostImage:
    """Return a grid of images as one image, with dark text on white.

    Each cell has the size of the largest image, and smaller images are enlarged to fit. Text wraps and grows with the cells.

    Args:
        pictures: rows of images (h, w, 3) in [0, 1]; None leaves a cell empty.
        rows: titles to the left of the rows.
        columns: titles above the columns.
        caption: text below the grid.
        labels: text below each image.
        heading: text above the grid.

    Raises:
        InputError: the numbers of images, titles and labels disagree.
    """
    check_grid(pictures, rows, columns, labels)
    h, w = cell_size(pictures)
    title, label = (max(MIN_CELL, round(share * math.sqrt(h * w))) for share in (TITLE, LABEL))
    text_width = max(w, MIN_TEXT_WIDTH * title)
    column_titles = [render_text(text, title, text_width, 0.5) for text in columns]
    row_titles = [render_text(text, title, text_width) for text in rows]
    notes = [[render_text(text, label, text_width, 0.5) for text in line] for line in labels or [()] * len(rows)]
    cells = [[_white(h, w) if image is None else enlarge(image, h, w) for image in line] for line in pictures]
    title_width = max(image.shape[1] + title // 2 * (image.size > 0) for image in row_titles)
    column_width = max(image.shape[1] for line in (column_titles, *cells, *notes) for image in line)

    def row(row_title: HostImage, images: Sequence[HostImage], down: float) -> HostImage:
        row_height = max(image.shape[0] for image in (row_title, *images))
        parts = [_pad(image, row_height, column_width, down, 0.5) for image in images]
        return _stack([_pad(row_title, row_height, title_width, 0.5, 0.0), *parts], 1, title // 2)

    lines = [
        _stack([row(text, images, 0.5), row(_white(0, 0), below, 0.0)], 0, 0)
        for text, images, below in zip(row_titles, cells, notes, strict=True)
    ]
    grid = _stack([row(_white(0, 0), column_titles, 1.0), *lines], 0, title if labels else title // 2)
    above, below = (render_text(t, size, grid.shape[1]) for t, size in ((heading, title), (caption, label)))
    sheet = _stack([above, grid, below], 0, title)
    return _pad(sheet, sheet.shape[0] + 2 * title, sheet.shape[1] + 2 * title, 0.5, 0.5)


def panels_sheet(panels: Sequence[Panel], caption: str = "") -> HostImage:
    """Return the contact sheets of all panels from top to bottom, with the caption below the last."""
    captions = [""] * (len(panels) - 1) + [caption]
    sheets = [
        contact_sheet(p.pictures, p.rows, p.columns, text, p.labels, p.heading)
        for p, text in zip(panels, captions, strict=True)
    ]
    return _stack(sheets, 0, 0)


def cell_size(pictures: ImageGrid) -> tuple[int, int]:
    """Return the maximum height and the maximum width of the images."""
    shapes = [image.shape for line in pictures for image in line if image is not None]
    return max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)


def check_grid(pictures: ImageGrid, rows: Sequence[str], columns: Sequence[str], labels: Labels | None) -> None:
    """Raise `InputError` unless there is an image and the numbers of images, titles and labels agree."""
    if all(image is None for line in pictures for image in line):
        raise InputError("pictures must contain at least one image, got none")
    lengths = [len(line) for line in pictures]
    if len(set(lengths)) > 1:
        raise InputError(f"pictures must have rows of one length, got {lengths}; fill up shorter ones with None")
    for name, titles, count in (("rows", rows, len(pictures)), ("columns", columns, lengths[0])):
        if len(titles) != count and (titles or name == "rows"):
            raise InputError(f"{name} must have one title for each of the {count} {name}, got {len(titles)}")
    if labels is not None and [len(line) for line in labels] != lengths:
        raise InputError(f"labels must have rows of the lengths {lengths}, got {[len(line) for line in labels]}")


def enlarge(picture: HostImage, height: int, width: int) -> HostImage:
    """Enlarge an image to fit a cell, and keep its aspect ratio.

    A whole factor repeats pixels; any other uses Lanczos interpolation.
    """
    h, w = picture.shape[:2]
    factor = min(height / h, width / w)
    if factor.is_integer():
        return np.asarray(picture, np.float32).repeat(int(factor), 0).repeat(int(factor), 1)
    return resize(picture, min(height, max(1, round(h * factor))), min(width, max(1, round(w * factor)))).clip(0, 1)


def _white(height: int, width: int) -> HostImage:
    return np.ones((height, width, 3), np.float32)


def _pad(image: HostImage, height: int, width: int, down: float, across: float) -> HostImage:
    """Pad an image with white; shares `down` and `across` of the padding go above and left of it."""
    y, x = int(down * (height - image.shape[0])), int(across * (width - image.shape[1]))
    padding = (y, height - image.shape[0] - y), (x, width - image.shape[1] - x), (0, 0)
    return np.pad(image, padding, constant_values=1)


def _stack(images: Sequence[HostImage], axis: int, gap: int) -> HostImage:
    """Join images along an axis, aligned at the left or at the top; empty images are skipped."""
    if axis == 1:
        return _stack([image.swapaxes(0, 1) for image in images], 0, gap).swapaxes(0, 1)
    images = [image for image in images if image.shape[0]]
    width = max((image.shape[1] for image in images), default=0)
    parts = [part for image in images for part in (_white(gap, width), _pad(image, image.shape[0], width, 0.0, 0.0))]
    return np.concatenate(parts[1:] or [_white(0, 0)])
