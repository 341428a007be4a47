"""The paper's Figure 2, one photograph in several styles: `python scripts/figure2.py [CONTENT STYLE …]`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import ascii_uppercase
from typing import Annotated

import numpy as np
from _figures import Figure, Made, Options, Source, Studio, Task, command, make, painting, prepare, publish, read, shown
from tyro.conf import OmitArgPrefixes, Positional, arg

import stylejax
from stylejax.config import TransferConfig
from stylejax.images.resize import Picture, fit, resize

TITLE = "Figure 2: the content of a photograph with the styles of several artworks"
CAPTION = "A: {content}. {letters}: A in the style of the picture in the corner, α/β = 1/{weight:g}. {recipe}"
INSET, BORDER = 0.4, 0.012
"""Longest side of the picture in the corner, and its white border, over the shortest side of the large one."""
TILE = 24
"""Side of a piece of stained glass, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Figure2:
    """One photograph in several styles, laid out as the paper's Figure 2."""

    content: Annotated[Positional[Path | None], arg(metavar="[CONTENT]")] = None
    """The photograph; by default the demo's."""
    styles: Annotated[Positional[tuple[Path, ...]], arg(metavar="[STYLE …]")] = ()
    """The pictures whose styles are taken; by default a painting, stained glass and a drawing in ink, made here."""
    style_weight: float = TransferConfig().style_weight
    """How much the pictures take on the style."""
    options: OmitArgPrefixes[Options] = Options(steps=300)

    def __call__(self) -> int:
        """Writes figure2.png and figure2.html."""
        content = read(self.content)
        styles = [read(path) for path in self.styles] or artworks(content.image)
        if len(styles) >= len(ascii_uppercase):
            raise stylejax.InputError(f"{len(styles)} styles are more than there are letters; give 25 or fewer")
        studio = prepare(self.options, "figure2", content, styles, self.style_weight)
        made = make(self.tasks(content, styles, studio))
        return publish(self.figure(content, styles, studio, made), "figure2", self.options.out, made)

    def tasks(self, content: Source, styles: list[Source], studio: Studio) -> list[Task]:
        """One picture for each style."""
        options = {"vgg": studio.vgg, "style_weight": self.style_weight, "losses": "paper", **self.options.search}
        return [
            Task(
                {"panel": letter, "style": style.name},
                partial(stylejax.transfer, content.image, style.image, **options),
            )
            for letter, style in zip(ascii_uppercase[1:], styles, strict=False)
        ]

    def figure(self, content: Source, styles: list[Source], studio: Studio, made: list[Made | None]) -> Figure:
        """Two pictures a row, or three where there are more than six."""
        panels = [shown(content, self.options.size)]
        panels += [with_inset(one.image, style.image) if one else None for one, style in zip(made, styles, strict=True)]
        letters = [letter for letter, _ in zip(ascii_uppercase, panels, strict=False)]
        labels = ["A", *(f"{letter}: {style.name}" for letter, style in zip(letters[1:], styles, strict=True))]
        wide = 2 if len(panels) <= 6 else 3
        missing = -len(panels) % wide
        caption = CAPTION.format(
            content=content.name,
            letters=letters[1] if len(letters) == 2 else f"{letters[1]} to {letters[-1]}",
            weight=self.style_weight,
            recipe=studio.recipe,
        )
        grid = rows_of(panels + [None] * missing, wide)
        return Figure(TITLE, caption, grid, [""] * len(grid), (), rows_of(labels + [""] * missing, wide))


def artworks(like: Picture) -> list[Source]:
    """Three pictures made here, of the aspect ratio of another."""
    night = painting(like)
    return [night, Source(stained_glass(night.image), "stained glass"), Source(ink(night.image), "a drawing in ink")]


def stained_glass(image: Picture) -> Picture:
    """Panes around points, each of the color at its point with red and green exchanged, and lead between them."""
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


def ink(image: Picture) -> Picture:
    """Black where the picture is light, on paper."""
    tone = (1.35 - 1.7 * image.mean(-1, keepdims=True)).clip(0.05, 1)
    return (tone * np.array([0.98, 0.95, 0.88])).astype(np.float32)


def with_inset(image: Picture, style: Picture) -> Picture:
    """The style in the lower left corner, as in the paper."""
    side = min(image.shape[:2])
    small = resize(style, *fit(style.shape, max(1, round(INSET * side)))).clip(0, 1)
    border = max(1, round(BORDER * side))
    small = np.pad(small, ((border, border), (border, border), (0, 0)), constant_values=1)
    result = image.copy()
    result[-small.shape[0] :, : small.shape[1]] = small
    return result


def rows_of(items: list, wide: int) -> list[list]:
    """The same items, `wide` in a row."""
    return [items[i : i + wide] for i in range(0, len(items), wide)]


def main(words: Sequence[str] | None = None) -> int:
    """One command; see --help."""
    return command(Figure2, "figure2", words)


if __name__ == "__main__":
    sys.exit(main())
