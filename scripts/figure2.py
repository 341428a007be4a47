"""Make the paper's Figure 2, one image in several styles: `figure2.py [CONTENT STYLE …]`."""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import ascii_uppercase
from typing import Annotated

import numpy as np
from _figures import (
    Figure,
    FigureContext,
    FigurePanel,
    Options,
    Source,
    Task,
    fit,
    make_panels,
    painting,
    prepare,
    read,
    run_cli,
    save_figure,
)
from tyro.conf import OmitArgPrefixes, Positional, arg

import stylejax
from stylejax.config import TransferConfig
from stylejax.images.resize import HostImage

TITLE = "Figure 2: the content of a photograph with the styles of several artworks"
CAPTION = "A: {content}. {letters}: A in the style of the image in the corner, α/β = 1/{weight:g}. {provenance}"
MAX_STYLES = len(ascii_uppercase) - 1
INSET, BORDER = 0.4, 0.012
"""Side of the image in the corner, and width of its border, over the shortest side of the result."""
TILE = 24
"""Side of a piece of stained glass, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Figure2:
    """One photograph in several styles, laid out as the paper's Figure 2."""

    content: Annotated[Positional[Path | None], arg(metavar="[CONTENT]")] = None
    """Content image; by default the demo's photograph."""
    styles: Annotated[Positional[tuple[Path, ...]], arg(metavar="[STYLE …]")] = ()
    """Style images; by default a generated painting, stained glass and an ink drawing."""
    style_weight: float = TransferConfig().style_weight
    """β: weight of the style."""
    options: OmitArgPrefixes[Options] = Options(steps=300)

    def __call__(self) -> int:
        """Write figure2.png and figure2.html."""
        content = read(self.content)
        styles = [read(path) for path in self.styles] or artworks(content.image)
        if len(styles) > MAX_STYLES:
            raise stylejax.InputError(
                f"styles must be at most {MAX_STYLES}, one a letter, got {len(styles)}; give fewer"
            )
        context = prepare(self.options, "figure2", content, styles, self.style_weight)
        panels = make_panels(self.tasks(context))
        return save_figure(context, self.figure(context, panels), panels)

    def tasks(self, context: FigureContext) -> list[Task]:
        """Return one image for each style."""
        options = {"style_weight": self.style_weight, "loss_normalization": "paper", **self.options.common_options}
        make = partial(stylejax.transfer, context.content.image, vgg=context.vgg, **options)
        return [
            Task({"panel": letter, "style": style.name}, partial(make, style.image))
            for letter, style in zip(ascii_uppercase[1:], context.styles, strict=False)
        ]

    def figure(self, context: FigureContext, panels: list[FigurePanel | None]) -> Figure:
        """Return the content and the results in two columns, or in three if there are more than six images."""
        pairs = zip(panels, context.styles, strict=True)
        results = [with_inset(panel.image, style.image) if panel else None for panel, style in pairs]
        letters = ascii_uppercase[1 : len(results) + 1]
        names = [f"{letter}: {style.name}" for letter, style in zip(letters, context.styles, strict=True)]
        columns = 2 if len(results) < 6 else 3
        caption = CAPTION.format(
            content=context.content.name,
            letters=letters if len(letters) == 1 else f"{letters[0]} to {letters[-1]}",
            weight=self.style_weight,
            provenance=context.provenance,
        )
        grid = rows_of([fit(context.content, self.options.size), *results], columns, None)
        return Figure(TITLE, caption, grid, [""] * len(grid), (), rows_of(["A", *names], columns, ""))


def artworks(like: HostImage) -> list[Source]:
    """Generate three artworks with the aspect ratio of another image."""
    night = painting(like)
    return [night, Source(stained_glass(night.image), "stained glass"), Source(ink(night.image), "a drawing in ink")]


def stained_glass(image: HostImage) -> HostImage:
    """Return panes of the image's colors, with red and green exchanged, and lead between them."""
    h, w = image.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    corners = np.mgrid[: h - TILE // 2 : TILE, : w - TILE // 2 : TILE].reshape(2, -1).T
    points = corners + np.random.Generator(np.random.Philox(0)).integers(0, TILE // 2, corners.shape)
    pane, nearest, second = np.zeros((h, w), int), np.full((h, w), np.inf), np.full((h, w), np.inf)
    for i, (down, across) in enumerate(points):
        distance = np.hypot(y - down, x - across)
        pane[distance < nearest] = i
        nearest, second = np.minimum(nearest, distance), np.minimum(second, np.maximum(nearest, distance))
    colors = image[points[:, 0], points[:, 1]][:, [1, 0, 2]]
    lead = ((second - nearest) / 5).clip(0.05, 1)[..., None]
    return (colors[pane] * lead).astype(np.float32)


def ink(image: HostImage) -> HostImage:
    """Return an ink drawing on paper, black where the image is light."""
    tone = (1.35 - 1.7 * image.mean(-1, keepdims=True)).clip(0.05, 1)
    return (tone * np.array([0.98, 0.95, 0.88])).astype(np.float32)


def with_inset(image: HostImage, style: HostImage) -> HostImage:
    """Return the image with the style in its lower left corner, as in the paper."""
    side = min(image.shape[:2])
    small = stylejax.resize_longest_side(style, max(1, round(INSET * side))).clip(0, 1)
    border = max(1, round(BORDER * side))
    small = np.pad(small, ((border, border), (border, border), (0, 0)), constant_values=1)
    result = image.copy()
    result[-small.shape[0] :, : small.shape[1]] = small
    return result


def rows_of(items: list, columns: int, fill: object) -> list[list]:
    """Return the items in rows of `columns`, the last one completed with `fill`."""
    items = items + [fill] * (-len(items) % columns)
    return [items[i : i + columns] for i in range(0, len(items), columns)]


main = partial(run_cli, Figure2, "figure2")

if __name__ == "__main__":
    sys.exit(main())
