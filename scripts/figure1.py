"""The paper's Figure 1, what the layers know of a picture and of its style: `python scripts/figure1.py [IMAGE]`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from _figures import (
    LAYER_SETS,
    LAYERS,
    LIKENESS,
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
    shown,
    total,
)
from tyro.conf import OmitArgPrefixes, Positional, arg

import stylejax

TITLE = "Figure 1: image representations in a convolutional neural network"
CAPTION = (
    "Above: images from noise with the Gram matrices of {style} at one to five layers. Below: images from noise with the "
    "features of {content} at one layer, and their PSNR. {recipe}"
)


@dataclass(frozen=True, kw_only=True)
class Figure1:
    """Five style reconstructions and five content reconstructions, laid out as the paper's Figure 1."""

    image: Annotated[Positional[Path | None], arg(metavar="[IMAGE]")] = None
    """The picture whose content is reconstructed; by default the demo's photograph."""
    style: Path | None = None
    """The picture whose style is reconstructed; by default a painting made here."""
    options: OmitArgPrefixes[Options] = Options(steps=400)

    def __call__(self) -> int:
        """Writes figure1.png and figure1.html."""
        content = read(self.image)
        style = read(self.style) if self.style else painting(content.image)
        studio = prepare(self.options, "figure1", content, [style])
        made = make(tasks(content, style, studio, self.options))
        return publish(figure(content, style, studio, self.options, made), "figure1", self.options.out, made)


def tasks(content: Source, style: Source, studio: Studio, options: Options) -> list[Task]:
    """The row of styles, then the row of contents."""
    of_style = partial(stylejax.reconstruct_style, style.image, vgg=studio.vgg, **options.search)
    of_content = partial(stylejax.reconstruct_content, content.image, vgg=studio.vgg, **options.search)
    styles = [Task({"of": "style", "layers": total(layers)}, partial(of_style, layers)) for layers in LAYER_SETS]
    contents = [Task({"of": "content", "layers": layer}, partial(of_content, layer), content.image) for layer in LAYERS]
    return styles + contents


def figure(content: Source, style: Source, studio: Studio, options: Options, made: list[Made | None]) -> Figure:
    """At the left, what is reconstructed."""
    styles, contents = made[: len(LAYER_SETS)], made[len(LAYER_SETS) :]
    likeness = [
        f"{layer}: {one.row[LIKENESS]:.1f} dB" if one else layer for layer, one in zip(LAYERS, contents, strict=True)
    ]
    return Figure(
        TITLE,
        CAPTION.format(style=style.name, content=content.name, recipe=studio.recipe),
        [[shown(style, options.size), *images(styles)], [shown(content, options.size), *images(contents)]],
        ["Style recon-\nstructions", "Content recon-\nstructions"],
        ["input", *"abcde"[: len(LAYERS)]],
        [["", *map(total, LAYER_SETS)], ["", *likeness]],
    )


def main(words: Sequence[str] | None = None) -> int:
    """One command; see --help."""
    return command(Figure1, "figure1", words)


if __name__ == "__main__":
    sys.exit(main())
