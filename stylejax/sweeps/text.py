"""Words as pictures: lines of letters, wrapped, with powers."""

import math
import re
import unicodedata
from typing import NamedTuple, TypeAlias

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont, features

from stylejax.images.resize import Picture

Font: TypeAlias = ImageFont.ImageFont | ImageFont.FreeTypeFont

INK = 32
"""Grey of the text, of 255."""

LEADING, RAISED = 1.3, 0.7
"""From one line to the next, and a power, over the height of a letter."""

SHARP = 4
"""Letters are drawn so many times larger and shrunk: whole pixels would space them unevenly."""

SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-", strict=True))
LETTERS = {"α": "alpha", "β": "beta", "×": "x", "·": "*", "−": "-", "–": "-", "—": "-", "→": "->", "≈": "~", "…": "..."}
"""What stands for a letter that the font has not: Pillow's own has little beyond ASCII."""


class Letters(NamedTuple):
    """A font and the one of its powers, both `scale` times larger than the `size` that letters come out with."""

    line: Font
    power: Font
    size: int
    scale: int


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


def letters_of(size: int) -> Letters:
    """Pillow's own font; where Pillow was built without FreeType, it has only one size."""
    if not features.check("freetype2"):
        return Letters(ImageFont.load_default(), ImageFont.load_default(), size, 1)
    return Letters(ImageFont.load_default(SHARP * size), ImageFont.load_default(SHARP * RAISED * size), size, SHARP)


def written(text: str, letters: Letters, width: int, anchor: float = 0.0) -> Picture:
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
