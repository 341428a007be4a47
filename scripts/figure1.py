"""Make the paper's Figure 1, reconstructions by layer: `python scripts/figure1.py [IMAGE]`."""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from _figures import (
    LAYER_SETS,
    LAYERS,
    PSNR_COLUMN,
    Figure,
    FigureContext,
    FigurePanel,
    Options,
    Task,
    fit,
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

TITLE = "Figure 1: image representations in a convolutional neural network"
CAPTION = (
    "Above: images from noise with the Gram matrices of {style} at one to five layers. Below: images from noise with the "
    "features of {content} at one layer, and their PSNR. {provenance}"
)


@dataclass(frozen=True, kw_only=True)
class Figure1:
    """Five style reconstructions and five content reconstructions, laid out as the paper's Figure 1."""

    image: Annotated[Positional[Path | None], arg(metavar="[IMAGE]")] = None
    """Image whose content is reconstructed; by default the demo's photograph."""
    style: Path | None = None
    """Image whose style is reconstructed; by default a generated painting."""
    options: OmitArgPrefixes[Options] = Options(steps=400)

    def __call__(self) -> int:
        """Write figure1.png and figure1.html."""
        content = read(self.image)
        style = read(self.style) if self.style else painting(content.image)
        context = prepare(self.options, "figure1", content, [style])
        panels = make_panels(self.tasks(context))
        return save_figure(context, self.figure(context, panels), panels)

    def tasks(self, context: FigureContext) -> list[Task]:
        """Return the row of style reconstructions, then that of content reconstructions."""
        options = {"vgg": context.vgg, **self.options.common_options}
        content = context.content.image
        of_style = partial(stylejax.reconstruct_style, context.styles[0].image, **options)
        of_content = partial(stylejax.reconstruct_content, content, **options)
        styles = [Task({"of": "style", "layers": " + ".join(x)}, partial(of_style, x)) for x in LAYER_SETS]
        contents = [Task({"of": "content", "layers": x}, partial(of_content, x), content) for x in LAYERS]
        return styles + contents

    def figure(self, context: FigureContext, panels: list[FigurePanel | None]) -> Figure:
        """Return the two rows, each with its input at the left."""
        styles, contents = panels[: len(LAYER_SETS)], panels[len(LAYER_SETS) :]
        pairs = zip(LAYERS, contents, strict=True)
        labels = [f"{layer}: {panel.row[PSNR_COLUMN]:.1f} dB" if panel else layer for layer, panel in pairs]
        content, style = context.content, context.styles[0]
        return Figure(
            TITLE,
            CAPTION.format(style=style.name, content=content.name, provenance=context.provenance),
            [
                [fit(style, self.options.size), *panel_images(styles)],
                [fit(content, self.options.size), *panel_images(contents)],
            ],
            ["Style recon-\nstructions", "Content recon-\nstructions"],
            ["input", *"abcde"[: len(LAYERS)]],
            [["", *map(" + ".join, LAYER_SETS)], ["", *labels]],
        )


main = partial(run_cli, Figure1, "figure1")

if __name__ == "__main__":
    sys.exit(main())
