"""Make the paper's Figure 3, style layers against the ratio α/β: `figure3.py [CONTENT STYLE]`."""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from _figures import (
    LAYER_SETS,
    Figure,
    FigureContext,
    FigurePanel,
    Options,
    Task,
    make_panels,
    painting,
    panel_images,
    prepare,
    read,
    run_cli,
    save_figure,
)
from tyro.conf import OmitArgPrefixes, Positional, arg

import stylejax

TITLE = "Figure 3: the weight of the content against that of the style, and the layers of the style"
CAPTION = "{content} in the style of {style}, from noise at one scale. Rows: style layers. Columns: α/β. {provenance}"
RATIOS = {"10⁻⁵": 1e-5, "10⁻⁴": 1e-4, "10⁻³": 1e-3, "10⁻²": 1e-2}


@dataclass(frozen=True, kw_only=True)
class Figure3:
    """Five sets of style layers by four ratios of content to style, laid out as the paper's Figure 3."""

    content: Annotated[Positional[Path | None], arg(metavar="[CONTENT]")] = None
    """Content image; by default the demo's photograph."""
    style: Annotated[Positional[Path | None], arg(metavar="[STYLE]")] = None
    """Style image; by default a generated painting."""
    options: OmitArgPrefixes[Options] = Options(steps=300)

    def __call__(self) -> int:
        """Write figure3.png and figure3.html."""
        content = read(self.content)
        style = read(self.style) if self.style else painting(content.image)
        context = prepare(self.options, "figure3", content, [style])
        panels = make_panels(self.tasks(context))
        return save_figure(context, self.figure(context, panels), panels)

    def tasks(self, context: FigureContext) -> list[Task]:
        """Return the images row by row."""
        options = {"vgg": context.vgg, "preset": "paper", **self.options.common_options}
        make = partial(stylejax.transfer, context.content.image, context.styles[0].image, **options)
        return [
            Task({"layers": " + ".join(x), "α/β": ratio}, partial(make, style_layers=x, style_weight=1 / ratio))
            for x in LAYER_SETS
            for ratio in RATIOS.values()
        ]

    def figure(self, context: FigureContext, panels: list[FigurePanel | None]) -> Figure:
        """Return the table of the paper."""
        content, style = context.content.name, context.styles[0].name
        caption = CAPTION.format(style=style, content=content, provenance=context.provenance)
        grid = [panel_images(panels[i : i + len(RATIOS)]) for i in range(0, len(panels), len(RATIOS))]
        rows = [f"{letter}: " + "\n+ ".join(layers) for letter, layers in zip("ABCDE", LAYER_SETS, strict=False)]
        return Figure(TITLE, caption, grid, rows, list(RATIOS), None)


main = partial(run_cli, Figure3, "figure3")

if __name__ == "__main__":
    sys.exit(main())
