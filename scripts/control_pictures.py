"""Makes the README's row on losses and presets: `python scripts/control_pictures.py`. Needs the extra `pretrained`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import stylejax
from stylejax.demo import photograph

ROW: tuple[dict[str, Any], ...] = (
    {},
    {"statistic": "wasserstein"},
    {"tv": "squared", "tv_weight": 100.0},
    {"tv": "absolute", "tv_weight": 3.0},
    {"preset": "neural-style", "style_weight": 3e5, "steps": 120},
)
"""From left to right; the last has a style weight for a network of torchvision's scale."""


@dataclass(frozen=True)
class Row:
    """One photograph with one painting, made in several ways, side by side."""

    out: Path = Path(__file__).parent.parent / "docs" / "control.jpg"
    """The file to write."""
    size: int = 192
    """Longest side of each picture."""
    steps: int = 80
    """Steps of each."""


def main(row: Row) -> None:
    """Every picture is the same run but for the options that are told."""
    content, style = stylejax.read_image(photograph()), stylejax.paint()
    parameters, pictures = stylejax.resolve("vgg16")[0], []
    for options in ROW:
        config = stylejax.preset(options.get("preset", "default"))
        vgg = stylejax.build_vgg(parameters, config.pooling)
        result = stylejax.transfer(content, style, vgg=vgg, **{"size": row.size, "steps": row.steps, **options})
        print(f"{options}: loss {result.loss:.4g}", flush=True)
        pictures.append(result.image)
    row.out.parent.mkdir(exist_ok=True)
    stylejax.write_image(row.out, np.concatenate(pictures, 1))


if __name__ == "__main__":
    main(tyro.cli(Row))
