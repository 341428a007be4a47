"""The paper's Figure 3, deeper and deeper style against more and more content: `python scripts/figure3.py`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

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
CAPTION = "{content} in the style of {style}, from noise at one scale. Rows: style layers. Columns: α/β. {recipe}"
POWERS = ("10⁻⁵", "10⁻⁴", "10⁻³", "10⁻²")
RATIOS = (1e-5, 1e-4, 1e-3, 1e-2)


@dataclass(frozen=True, kw_only=True)
class Figure3:
    """Five sets of style layers by four ratios of content to style, laid out as the paper's Figure 3."""

    content: Annotated[Positional[Path | None], arg(metavar="[CONTENT]")] = None
    """The photograph; by default the demo's."""
    style: Annotated[Positional[Path | None], arg(metavar="[STYLE]")] = None
    """The picture whose style is taken; by default a painting made here."""
    options: OmitArgPrefixes[Options] = Options(steps=300)

    def __call__(self) -> int:
        """Writes figure3.png and figure3.html."""
        content = read(self.content)
        style = read(self.style) if self.style else painting(content.image)
        studio = prepare(self.options, "figure3", content, [style])
        made = make(self.tasks(content, style, studio))
        return publish(self.figure(content, style, studio, made), "figure3", self.options.out, made)

    def tasks(self, content: Source, style: Source, studio: Studio) -> list[Task]:
        """Row by row."""
        paint = partial(
            stylejax.transfer, content.image, style.image, vgg=studio.vgg, preset="paper", **self.options.search
        )
        return [
            Task({"layers": total(layers), "α/β": ratio}, partial(paint, style_layers=layers, style_weight=1 / ratio))
            for layers in LAYER_SETS
            for ratio in RATIOS
        ]

    def figure(self, content: Source, style: Source, studio: Studio, made: list[Made | None]) -> Figure:
        """As the table of the paper, without labels."""
        caption = CAPTION.format(style=style.name, content=content.name, recipe=studio.recipe)
        grid = [images(made[i : i + len(RATIOS)]) for i in range(0, len(made), len(RATIOS))]
        rows = [f"{letter}: " + "\n+ ".join(layers) for letter, layers in zip("ABCDE", LAYER_SETS, strict=False)]
        return Figure(TITLE, caption, grid, rows, POWERS, None)


def main(words: Sequence[str] | None = None) -> int:
    """One command; see --help."""
    return command(Figure3, "figure3", words)


if __name__ == "__main__":
    sys.exit(main())
