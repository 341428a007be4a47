"""Many pictures on one sheet, with titles and labels: as one picture, or as one HTML page that needs no other file."""

import base64
import html
import io
import math
import numbers
import re
import unicodedata
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont, features

from stylejax.errors import InputError
from stylejax.images import Picture, resize

Grid: TypeAlias = Sequence[Sequence[Picture | None]]
Labels: TypeAlias = Sequence[Sequence[str]]
Font: TypeAlias = ImageFont.ImageFont | ImageFont.FreeTypeFont

INK = 32
"""Grey of the text, of 255."""
TITLE, LABEL, RAISED = 0.075, 0.064, 0.7
"""Heights of letters: of titles and of labels over the side of a cell, of powers over their line."""
SMALLEST, LEADING = 11, 1.3
"""Height of a letter in pixels, at least; from one line to the next over that height."""
ROOM = 8
"""Letters' heights that a line may be wide, at least; else titles of small pictures are towers of words."""
SHARP = 4
"""Letters are drawn so many times larger and shrunk: whole pixels would space them unevenly."""

SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-", strict=True))
LETTERS = {"α": "alpha", "β": "beta", "×": "x", "·": "*", "−": "-", "–": "-", "—": "-", "→": "->", "≈": "~", "…": "..."}
"""What stands for a letter that the font has not: Pillow's own has little beyond ASCII."""


class Panel(NamedTuple):
    """A grid of pictures with its titles and labels: one of several on a sheet, under a heading of its own."""

    pictures: Grid
    rows: Sequence[str]
    columns: Sequence[str] = ()
    labels: Labels | None = None
    heading: str = ""


class Letters(NamedTuple):
    """A font and the one of its powers, both `scale` times larger than the `size` that letters come out with."""

    line: Font
    power: Font
    size: int
    scale: int


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
    title, label = _letters(size), _letters(max(SMALLEST, round(LABEL * math.sqrt(high * wide))))
    room = max(wide, ROOM * size)
    heads = [_text(words, title, room, 0.5) for words in columns]
    sides = [_text(words, title, room) for words in rows]
    notes = [[_text(words, label, room, 0.5) for words in line] for line in labels or [()] * len(rows)]
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
    sheet = _joined([_text(heading, title, grid.shape[1]), grid, _text(caption, label, grid.shape[1])], 0, size)
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


def html_page(
    title: str,
    caption: str,
    pictures: Grid,
    rows: Sequence[str],
    columns: Sequence[str] = (),
    labels: Labels | None = None,
    table: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The sheet as one page that refers to no other file: pictures at their full size, which a click shows alone, and below
    them `table`, one row a mapping, sorted by a click on the head of a column; light or dark as the reader's screen.

    Raises `InputError` as `contact_sheet` does.
    """
    return panels_page(title, caption, [Panel(pictures, rows, columns, labels)], table)


def panels_page(title: str, caption: str, panels: Sequence[Panel], table: Sequence[Mapping[str, Any]] = ()) -> str:
    """`html_page` of several grids, one below the other, each under its heading."""
    page = Template(resources.files("stylejax").joinpath("sheet.html").read_text("utf-8"))
    return page.substitute(
        title=html.escape(title),
        caption=html.escape(caption),
        panels="\n".join(map(_panel, panels)),
        table=_table(table),
    )


def _panel(panel: Panel) -> str:
    pictures, rows, columns, labels, heading = panel
    check_grid(pictures, rows, columns, labels)
    heads = [f'<div class="column">{html.escape(text)}</div>' for text in columns]
    cells = ["<div></div>", *heads] if heads else []
    for i, line in enumerate(pictures):
        cells.append(f'<div class="row">{html.escape(rows[i])}</div>')
        for j, picture in enumerate(line):
            above, below = columns[j] if columns else "", labels[i][j] if labels else ""
            name = ", ".join(filter(None, (heading, rows[i], above, below)))
            cells.append(_figure(picture, name, below, cell_size(pictures)))
    grid = f"--count: {len(pictures[0])}; --wide: {cell_size(pictures)[1]}px"
    above = f"<h2>{html.escape(heading)}</h2>\n" if heading else ""
    return f'{above}<div class="wide"><div class="grid" style="{grid}">\n' + "\n".join(cells) + "\n</div></div>"


def readable(text: str, font: Font) -> str:
    """The text with plain letters where the font has no others: α becomes alpha, 10⁻⁵ becomes 10^-5, drawn as a power."""
    missing = {letter for letter in text if not _has(font, letter)}
    if missing & set(SUPERSCRIPTS):
        text = re.sub(f"[{''.join(SUPERSCRIPTS)}]+", lambda run: "^" + "".join(SUPERSCRIPTS[c] for c in run[0]), text)
    return "".join(_plain(letter) if letter in missing else letter for letter in text)


def _has(font: Font, letter: str) -> bool:
    """Whether it is drawn otherwise than a letter that no font has."""
    if not isinstance(font, ImageFont.FreeTypeFont) or letter.isspace():
        return letter.isascii()
    return _drawn(font, letter) != _drawn(font, "\uffff")


def _drawn(font: ImageFont.FreeTypeFont, letter: str) -> bytes:
    canvas = Pillow.new("L", (2 * int(font.size), 2 * int(font.size)))
    ImageDraw.Draw(canvas).text((0, 0), letter, 255, font)
    return canvas.tobytes()


def _plain(letter: str) -> str:
    bare = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return LETTERS.get(letter) or bare or "?"


def _letters(size: int) -> Letters:
    """Pillow's own font; where Pillow was built without FreeType, it has only one size."""
    if not features.check("freetype2"):
        return Letters(ImageFont.load_default(), ImageFont.load_default(), size, 1)
    return Letters(ImageFont.load_default(SHARP * size), ImageFont.load_default(SHARP * RAISED * size), size, SHARP)


def _text(text: str, letters: Letters, width: int, anchor: float = 0.0) -> Picture:
    """Dark on white, in lines of at most `width` pixels; a longer word has a line of its own. Lines begin at the left or,
    with anchor ½, are centred."""
    lines = [line for part in readable(text, letters.line).splitlines() for line in _wrapped(part, letters, width)]
    leading, scale = round(LEADING * letters.size), letters.scale
    wide = math.ceil(max((_length(line, letters) for line in lines), default=0))
    canvas = Pillow.new("L", (wide * scale, len(lines) * leading * scale), 255)
    draw = ImageDraw.Draw(canvas)
    for i, line in enumerate(lines):
        x = anchor * (wide - _length(line, letters)) * scale
        for piece, font in _pieces(line, letters):
            draw.text((x, i * leading * scale), piece, INK, font)
            x += font.getlength(piece)
    grey = np.asarray(canvas.reduce(scale) if lines else canvas, np.float32) / 255
    return np.repeat(grey[..., None], 3, -1)


def _wrapped(text: str, letters: Letters, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _length(longer, letters) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _length(line: str, letters: Letters) -> float:
    return sum(font.getlength(piece) for piece, font in _pieces(line, letters)) / letters.scale


def _pieces(line: str, letters: Letters) -> list[tuple[str, Font]]:
    """10^-5 is 10 on the line and -5 as its power."""
    parts = re.split(r"(?<=\d)\^([+-]?\d+)", line)
    return [(part, letters.power if i % 2 else letters.line) for i, part in enumerate(parts)]


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


def _figure(picture: Picture | None, name: str, label: str, cell: tuple[int, int]) -> str:
    if picture is None:
        return "<div></div>"
    h, w = picture.shape[:2]
    small = ' class="small"' if 2 * max(h / cell[0], w / cell[1]) <= 1 else ""
    image = f'<img{small} width="{w}" height="{h}" alt="{html.escape(name)}" src="{_data_uri(picture)}">'
    below = f"<figcaption>{html.escape(label)}</figcaption>" if label else ""
    return f'<figure><button type="button">{image}</button>{below}</figure>'


def _data_uri(picture: Picture) -> str:
    buffer = io.BytesIO()
    levels = np.rint(np.clip(np.asarray(picture), 0, 1) * 255).astype(np.uint8)
    Pillow.fromarray(levels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row))
    heads = "".join(f'<th scope="col"><button type="button">{html.escape(name)}</button></th>' for name in names)
    body = "\n".join(f"<tr>{''.join(_cell(row.get(name)) for name in names)}</tr>" for row in rows)
    return f'<div class="wide"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _cell(value: Any) -> str:
    """A number is shown with four digits, and sorted with all of them."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return f"<td>{html.escape('' if value is None else str(value))}</td>"
    text = str(value) if isinstance(value, numbers.Integral) else f"{value:.4g}"
    key = f' data-value="{float(value)!r}"' if math.isfinite(value) else ""
    return f'<td class="number"{key}>{text}</td>'
