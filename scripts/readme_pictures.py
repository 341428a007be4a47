"""Makes the rows of pictures of the README: `python scripts/readme_pictures.py`. Needs the extra `pretrained`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import stylejax
from stylejax.images.resize import Picture
from stylejax.images.samples import photograph
from stylejax.synthesis.transfer import Result

DOCS = Path(__file__).parent.parent / "docs"


@dataclass(frozen=True)
class StyleWeight:
    """One photograph with growing style weight, side by side."""

    out: Path = DOCS / "style_weight.jpg"
    """The file to write."""
    style_weights: tuple[float, ...] = (10.0, 100.0, 1e3, 1e4, 1e5)
    """From left to right."""
    size: int = 256
    """Longest side of each picture."""
    steps: int = 200
    """Steps of each."""

    def pictures(self, content: Picture, style: Picture, common: dict[str, Any]) -> Iterator[tuple[str, Result]]:
        """Every picture is the same run but for the weight."""
        for weight in self.style_weights:
            yield (
                f"style weight {weight:g}",
                stylejax.transfer(content, style, style_weight=weight, **common),
            )


@dataclass(frozen=True)
class Controls:
    """One photograph under several controls: two styles mixed, one of them in a region, a region kept, and the
    photograph's colors kept by matching and by luminance."""

    out: Path = DOCS / "controls.jpg"
    """The file to write."""
    size: int = 192
    """Longest side of each picture."""
    steps: int = 100
    """Steps of each."""

    def pictures(self, content: Picture, style: Picture, common: dict[str, Any]) -> Iterator[tuple[str, Result]]:
        """The second style is the painting with red and blue exchanged; the region is the tower."""
        both, tower = [style[..., ::-1], style], ellipse(*content.shape[:2])
        in_region, kept = stylejax.Masks(content=[tower]), stylejax.Masks(keep=tower)
        yield "mixed", stylejax.transfer(content, both, **common)
        yield "regions", stylejax.transfer(content, both, masks=in_region, **common)
        yield "kept", stylejax.transfer(content, style, masks=kept, **common)
        yield "match", stylejax.transfer(content, style, color="match", **common)
        yield "luminance", stylejax.transfer(content, style, color="luminance", **common)


@dataclass(frozen=True)
class Losses:
    """One photograph under several losses: as by default, with Gaussians for the style, with the total variation of squares and
    of absolute values, and by the preset neural-style."""

    out: Path = DOCS / "losses.jpg"
    """The file to write."""
    size: int = 256
    """Longest side of each picture."""
    steps: int = 120
    """Steps of each."""

    def pictures(self, content: Picture, style: Picture, common: dict[str, Any]) -> Iterator[tuple[str, Result]]:
        """The preset has a network of its own, of max pooling, and starts from gray."""
        peer = {**common, "vgg": None, "weights": "vgg16", "preset": "neural-style", "losses": "caffe"}
        yield "default", stylejax.transfer(content, style, **common)
        yield "wasserstein", stylejax.transfer(content, style, statistic="wasserstein", **common)
        yield "squared", stylejax.transfer(content, style, tv="squared", tv_weight=100.0, **common)
        yield "absolute", stylejax.transfer(content, style, tv="absolute", tv_weight=3.0, **common)
        yield "neural-style", stylejax.transfer(content, style, **peer)


@dataclass(frozen=True)
class Ways:
    """One photograph painted in other ways: with a style of half the size, with two styles from coarse to fine, from noise, as
    waves of all lengths, and as the mean of Adam's steps."""

    out: Path = DOCS / "ways.jpg"
    """The file to write."""
    size: int = 256
    """Longest side of each picture."""
    steps: int = 150
    """Steps of each."""

    def pictures(self, content: Picture, style: Picture, common: dict[str, Any]) -> Iterator[tuple[str, Result]]:
        """The two styles are the painting with red and blue exchanged, and the painting."""
        both = [style[..., ::-1], style]
        yield "half the size", stylejax.transfer(content, style, style_scale=0.5, **common)
        yield "one after the other", stylejax.transfer(content, both, style_per_scale=True, **common)
        yield "noise", stylejax.transfer(content, style, init="noise", **common)
        yield "fourier", stylejax.transfer(content, style, parameterization="fourier", **common)
        yield "adam", stylejax.transfer(content, style, optimizer="adam", average=0.95, **common)


def ellipse(height: int, width: int) -> np.ndarray:
    """A mask with a soft edge around the tower of the demo's photograph."""
    y, x = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    distance = np.hypot((x - 0.31) / 0.22, (y - 0.5) / 0.55)
    return np.clip((1 - distance) / 0.2, 0, 1)


def main(row: StyleWeight | Controls | Losses | Ways, painting: Path | None = None) -> None:
    """Make the pictures of a row, side by side.

    Args:
        row: which.
        painting: the style; by default one painted here.
    """
    vgg = stylejax.build_vgg(stylejax.resolve("vgg19")[0])
    content, style = stylejax.read_image(photograph()), stylejax.read_image(painting) if painting else stylejax.paint()
    pictures = []
    for name, result in row.pictures(
        content, style, {"vgg": vgg, "size": row.size, "steps": row.steps, "losses": "paper"}
    ):
        print(f"{name}: loss {result.loss:.4g}", flush=True)
        pictures.append(result.image)
    row.out.parent.mkdir(exist_ok=True)
    stylejax.write_image(row.out, np.concatenate(pictures, 1))


if __name__ == "__main__":
    tyro.cli(main)
