"""Render text as an image with matplotlib, whose font includes mathematical symbols."""

import math
import warnings

import numpy as np

from stylejax.images.resize import HostImage

TEXT_GRAY = "0.125"
"""Color of the text, as matplotlib names it: nearly black, as `--ink` of `report.html`."""

LINE_HEIGHT = 1.3
"""Distance of two lines over the height of a letter."""

SUPERSAMPLING = 4
"""Factor by which letters are drawn larger and then reduced; at the final size, whole pixels would space them unevenly."""


def render_text(text: str, size: int, width: int, anchor: float = 0.0) -> HostImage:
    """Render dark text on white, wrapped at spaces and broken at line breaks.

    Args:
        text: the text.
        size: height of a letter, in pixels.
        width: maximum width of a line, in pixels; a longer word has a line to itself.
        anchor: 0 for left-aligned lines, ½ for centered ones.

    Returns:
        The image, as wide as its longest line; it has no pixels if the text is empty.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = [line for part in text.splitlines() for line in _wrap(part, size, width)]
    w, h = math.ceil(max((_length(line, size) for line in lines), default=0)), round(LINE_HEIGHT * size)
    if not w:
        return np.ones((h * len(lines), 0, 3), np.float32)
    figure = Figure(figsize=(w, h * len(lines)), dpi=SUPERSAMPLING)
    # A font size counts points, 72 to an inch; in this figure an inch is a pixel.
    style = {"fontsize": 72 * size * 0.75, "color": TEXT_GRAY, "va": "top", "ha": "left", "parse_math": False}
    for i, line in enumerate(lines):
        figure.text(anchor * (1 - _length(line, size) / w), 1 - (i + 0.15) / len(lines), line, **style)
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings(action="ignore"):  # A character missing from the font is drawn as a box.
        canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba(), np.float32)[..., :3] / 255
    return pixels.reshape(h * len(lines), SUPERSAMPLING, w, SUPERSAMPLING, 3).mean((1, 3))


def _wrap(text: str, size: int, width: int) -> list[str]:
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
