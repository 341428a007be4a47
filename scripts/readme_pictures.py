"""Make a row of images of the README and docs/options.md, such as `readme_pictures.py row:ways`.

Needs the extra `pretrained`, and `row:losses` also `vgg16`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import stylejax
from stylejax.images.resize import HostImage, resize_middle
from stylejax.images.samples import photograph
from stylejax.synthesis.transfer import Result

DOCS = Path(__file__).parent.parent / "docs"


@dataclass(frozen=True)
class Row:
    """Results side by side in one image file."""

    out: Path
    """Image file to write."""
    size: int = 256
    """Longest side of each image, in pixels."""
    steps: int = 150
    """Steps of each image."""

    def results(self, content: HostImage, style: HostImage, common: dict[str, Any]) -> Iterator[tuple[str, Result]]:
        """Yield each result with its name; `common` are the options of all."""
        raise NotImplementedError

    def compose(self, content: HostImage, style: HostImage, images: list[HostImage]) -> HostImage:
        """Return one image of the results."""
        return np.concatenate(images, 1)


@dataclass(frozen=True)
class Hero(Row):
    """The photograph above the painting, and beside them the result at twice their size."""

    out: Path = DOCS / "hero.jpg"
    size: int = 640
    steps: int = 400

    def results(self, content: HostImage, style: HostImage, common: dict[str, Any]) -> Iterator[tuple[str, Result]]:
        yield "result", stylejax.transfer(content, style, **{**common, "loss_normalization": "relative"})

    def compose(self, content: HostImage, style: HostImage, images: list[HostImage]) -> HostImage:
        height, width = images[0].shape[0] // 2, images[0].shape[1] // 2
        inputs = [resize_middle(image, height, width) for image in (content, style)]
        return np.concatenate([np.concatenate(inputs), images[0][: 2 * height]], 1)


@dataclass(frozen=True)
class StyleWeight(Row):
    """Growing style weights."""

    out: Path = DOCS / "style_weight.jpg"
    steps: int = 200
    style_weights: tuple[float, ...] = (10.0, 100.0, 1e3, 1e4, 1e5)
    """Style weights from left to right."""

    def results(self, content: HostImage, style: HostImage, common: dict[str, Any]) -> Iterator[tuple[str, Result]]:
        for weight in self.style_weights:
            yield f"style weight {weight:g}", stylejax.transfer(content, style, style_weight=weight, **common)


@dataclass(frozen=True)
class Controls(Row):
    """Two mixed styles, a style in a region, a preserved region, and two ways to keep the colors."""

    out: Path = DOCS / "controls.jpg"
    size: int = 192
    steps: int = 100

    def results(self, content: HostImage, style: HostImage, common: dict[str, Any]) -> Iterator[tuple[str, Result]]:
        styles, tower = [style[..., ::-1], style], ellipse(*content.shape[:2])
        region, preserved = stylejax.Masks(content=[tower]), stylejax.Masks(preserve=tower)
        yield "mixed", stylejax.transfer(content, styles, **common)
        yield "region", stylejax.transfer(content, styles, masks=region, **common)
        yield "preserved", stylejax.transfer(content, style, masks=preserved, **common)
        yield "match", stylejax.transfer(content, style, color="match", **common)
        yield "luminance", stylejax.transfer(content, style, color="luminance", **common)


@dataclass(frozen=True)
class Losses(Row):
    """Default, Wasserstein loss, squared and absolute total variation, and the preset neural-style."""

    out: Path = DOCS / "losses.jpg"
    steps: int = 120

    def results(self, content: HostImage, style: HostImage, common: dict[str, Any]) -> Iterator[tuple[str, Result]]:
        published = {**common, "vgg": None, "weights": "vgg16", "preset": "neural-style", "loss_normalization": "caffe"}
        yield "default", stylejax.transfer(content, style, **common)
        yield "wasserstein", stylejax.transfer(content, style, style_representation="wasserstein", **common)
        yield "squared", stylejax.transfer(content, style, tv_norm="squared", tv_weight=100.0, **common)
        yield "absolute", stylejax.transfer(content, style, tv_norm="l1", tv_weight=3.0, **common)
        yield "neural-style", stylejax.transfer(content, style, **published)


@dataclass(frozen=True)
class Ways(Row):
    """Half-size style, two styles from coarse to fine, start from noise, cosine waves, averaged Adam."""

    out: Path = DOCS / "ways.jpg"

    def results(self, content: HostImage, style: HostImage, common: dict[str, Any]) -> Iterator[tuple[str, Result]]:
        styles = [style[..., ::-1], style]
        yield "half the size", stylejax.transfer(content, style, style_scale=0.5, **common)
        yield "coarse to fine", stylejax.transfer(content, styles, style_schedule="coarse-to-fine", **common)
        yield "noise", stylejax.transfer(content, style, init="noise", **common)
        yield "dct", stylejax.transfer(content, style, parameterization="dct", **common)
        yield "adam", stylejax.transfer(content, style, optimizer="adam", ema_decay=0.95, **common)


def ellipse(height: int, width: int) -> np.ndarray:
    """Return a mask with a soft edge around the tower in the demo's photograph."""
    y, x = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    distance = np.hypot((x - 0.31) / 0.22, (y - 0.5) / 0.55)
    return np.clip((1 - distance) / 0.2, 0, 1)


def main(row: Hero | StyleWeight | Controls | Losses | Ways, painting: Path | None = None) -> None:
    """Make one row of images.

    Args:
        row: Row to make.
        painting: Style image; by default a generated painting.
    """
    vgg = stylejax.build_vgg(stylejax.load_pretrained("vgg19")[0])
    content = stylejax.read_image(photograph())
    style = stylejax.read_image(painting) if painting else stylejax.generate_painting()
    common = {"vgg": vgg, "size": row.size, "steps": row.steps, "loss_normalization": "paper"}
    images = []
    for name, result in row.results(content, style, common):
        print(f"{name}: loss {result.loss:.4g}", flush=True)
        images.append(result.image)
    row.out.parent.mkdir(exist_ok=True)
    stylejax.write_image(row.out, row.compose(content, style, images))


if __name__ == "__main__":
    tyro.cli(main)
