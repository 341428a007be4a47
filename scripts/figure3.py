"""The paper's Figure 3, deeper and deeper style against more and more content: `python scripts/figure3.py`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from _figures import (
    LAYER_SETS,
    Figure,
    Made,
    Options,
    Source,
    Studio,
    Task,
    command,
    images,
    make,
    painting,
    prepare,
    publish,
    read,
    total,
)
from tyro.conf import OmitArgPrefixes, Positional, arg

import stylejax

TITLE = "Figure 3: the weight of the content against that of the style, and the layers of the style"
CAPTION = (
    "{content} in the style of {style}. From above, the style is matched at one to five layers. From left to right, {columns} "
    "{recipe}"
)
RELATIVE = (
    "the content weighs more. The losses are relative errors (balance relative), for which α/β means otherwise than in the "
    "paper: in place of the paper's ratio, which heads each column, the content, conv4_2, has weight 1, and the style the "
    "weight below the ratio. Each picture begins with noise and goes from coarse to fine."
)
PAPER = (
    "α/β grows, α being 1. The losses are equations 1 to 7 as printed (balance paper), the content is conv4_2. Each picture "
    "begins with noise, at a single scale."
)
POWERS = ("10⁻⁵", "10⁻⁴", "10⁻³", "10⁻²")
RATIOS = (1e-5, 1e-4, 1e-3, 1e-2)


@dataclass(frozen=True, kw_only=True)
class Figure3:
    """Five sets of style layers by four ratios of content to style, laid out as the paper's Figure 3."""

    content: Annotated[Positional[Path | None], arg(metavar="[CONTENT]")] = None
    """The photograph; by default the demo's."""
    style: Annotated[Positional[Path | None], arg(metavar="[STYLE]")] = None
    """The picture whose style is taken; by default a painting made here."""
    balance: Literal["relative", "paper"] = "relative"
    """relative: ratios of --style-weights, which work for every network; paper: the printed equations and ratios, made for a
    network with normalized filters (stylejax weights normalize)."""
    style_weights: tuple[float, float, float, float] = (300.0, 30.0, 3.0, 0.3)
    """What stands for the paper's four ratios where the balance is relative."""
    options: OmitArgPrefixes[Options] = Options(steps=150)

    def __call__(self) -> int:
        """Writes figure3.png and figure3.html."""
        content = read(self.content)
        style = read(self.style) if self.style else painting(content.image)
        studio = prepare(self.options, "figure3", content, [style], *self.style_weights)
        made = make(self.tasks(content, style, studio))
        return publish(self.figure(content, style, studio, made), "figure3", self.options.out, made)

    def tasks(self, content: Source, style: Source, studio: Studio) -> list[Task]:
        """Row by row."""
        paint = partial(
            stylejax.transfer, content.image, style.image, vgg=studio.vgg, init="noise", **self.options.search
        )
        return [
            Task({"layers": total(layers), **facts}, partial(paint, style_layers=layers, **weights))
            for layers in LAYER_SETS
            for facts, weights in self.columns()
        ]

    def columns(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """What the table says of the four columns, and their options; α is 1."""
        if self.balance == "paper":
            return [({"α/β": ratio}, {"preset": "paper", "style_weight": 1 / ratio}) for ratio in RATIOS]
        pairs = zip(RATIOS, self.style_weights, strict=True)
        return [({"paper's α/β": ratio, "style weight": weight}, {"style_weight": weight}) for ratio, weight in pairs]

    def figure(self, content: Source, style: Source, studio: Studio, made: list[Made | None]) -> Figure:
        """As the table of the paper, without labels."""
        paper = self.balance == "paper"
        weights = ["" if paper else f"\nstyle weight {weight:g}" for weight in self.style_weights]
        caption = CAPTION.format(
            style=style.name,
            content=content.name,
            columns=PAPER if paper else RELATIVE,
            recipe=studio.recipe,
        )
        grid = [images(made[i : i + len(RATIOS)]) for i in range(0, len(made), len(RATIOS))]
        rows = [f"{letter}: " + "\n+ ".join(layers) for letter, layers in zip("ABCDE", LAYER_SETS, strict=False)]
        return Figure(TITLE, caption, grid, rows, [p + w for p, w in zip(POWERS, weights, strict=True)], None)


def main(words: Sequence[str] | None = None) -> int:
    """One command; see --help."""
    return command(Figure3, "figure3", words)


if __name__ == "__main__":
    sys.exit(main())
