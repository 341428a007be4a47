"""Plots of two numbers of each row against each other."""

from collections.abc import Mapping

import numpy as np

from stylejax.images.resize import HostImage
from stylejax.sweeps.text import TEXT_GRAY

SIZE = 512
"""Width of a plot in pixels, three quarters of which are its height."""


def scatter_plot(points: Mapping[str, tuple[float, float]], across: str, up: str) -> HostImage:
    """Return a plot of labeled points (x, y), with the titles of its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE / 100, 0.75 * SIZE / 100), dpi=100, layout="constrained")
    axes = figure.add_subplot(xlabel=across, ylabel=up)
    x, y = zip(*points.values(), strict=True)
    axes.scatter(x, y, s=16, color=TEXT_GRAY)
    for label, point in points.items():
        axes.annotate(label, point, (4, 4), textcoords="offset points", parse_math=False)
    axes.margins(0.1)
    axes.grid(alpha=0.3)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), np.float32)[..., :3] / 255
