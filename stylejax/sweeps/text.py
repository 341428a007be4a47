"""Text as an image, drawn by matplotlib, whose font has the letters of mathematics."""

import math
import warnings

import numpy as np

from stylejax.images.resize import Picture

GRAY = "0.125"
"""Color of the text on white, as matplotlib names it."""

LINE_HEIGHT = 1.3
"""From one line to the next, over the size of a letter."""

SCALE = 4
"""Letters are drawn so many times larger and shrunk: whole pixels would space them unevenly."""


def render_text(text: str, size: int, width: int, anchor: float = 0.0) -> Picture:
    """Render text dark on white, in lines of at most `width` pixels; a longer word has a line of its own.

    Args:
        text: with line breaks or without.
        size: height of a letter in pixels.
        width: of a line in pixels.
        anchor: 0 for lines that begin at the left, ½ for centered ones.

    Returns:
        The image, as wide as its longest line; without pixels for an empty text.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = [line for part in text.splitlines() for line in _wrapped(part, size, width)]
    wide, high = math.ceil(max((_length(line, size) for line in lines), default=0)), round(LINE_HEIGHT * size)
    if not wide:
        return np.ones((high * len(lines), 0, 3), np.float32)
    figure = Figure(figsize=(wide, high * len(lines)), dpi=SCALE)
    for i, line in enumerate(lines):
        # Sizes are in points, of which an inch has 72; here an inch is a pixel.
        how = {"fontsize": 72 * size * 0.75, "color": GRAY, "va": "top", "ha": "left", "parse_math": False}
        figure.text(anchor * (1 - _length(line, size) / wide), 1 - (i + 0.15) / len(lines), line, **how)
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings(action="ignore"):  # A letter that the font has not is drawn as a box.
        canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba(), np.float32)[..., :3] / 255
    return pixels.reshape(high * len(lines), SCALE, wide, SCALE, 3).mean((1, 3))


def _wrapped(text: str, size: int, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _length(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _length(line: str, size: int) -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    with warnings.catch_warnings(action="ignore"):
        return text_to_path.get_text_width_height_descent(line, FontProperties(size=0.75 * size), ismath=False)[0]
