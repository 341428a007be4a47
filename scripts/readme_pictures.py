"""Makes the row of pictures at the top of the README: `python scripts/readme_pictures.py`. Needs the extra `pretrained`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

import stylejax
from stylejax.demo import photograph


@dataclass(frozen=True)
class Row:
    """One photograph with growing style weight, side by side."""

    out: Path = Path(__file__).parent.parent / "docs" / "style_weight.jpg"
    """The file to write."""
    style_weights: tuple[float, ...] = (10.0, 30.0, 100.0, 300.0, 1000.0)
    """From left to right."""
    size: int = 256
    """Longest side of each picture."""
    steps: int = 200
    """Steps of each."""


def main(row: Row) -> None:
    """Every picture is the same run but for the weight."""
    content, style = stylejax.read_image(photograph()), stylejax.paint()
    vgg = stylejax.build_vgg(stylejax.resolve("vgg16")[0])
    pictures = []
    for weight in row.style_weights:
        result = stylejax.transfer(content, style, vgg=vgg, size=row.size, steps=row.steps, style_weight=weight)
        print(f"style weight {weight:g}: loss {result.loss:.4g}", flush=True)
        pictures.append(result.image)
    row.out.parent.mkdir(exist_ok=True)
    stylejax.write_image(row.out, np.concatenate(pictures, 1))


if __name__ == "__main__":
    main(tyro.cli(Row))
