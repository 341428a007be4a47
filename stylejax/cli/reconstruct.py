"""Find the image that a representation holds: from the responses of one layer, or from Gram matrices."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from stylejax.cli.files import Files, OutputOptions
from stylejax.cli.parsing import Output, Pooling, Weights, asking
from stylejax.cli.run import run_transfer
from stylejax.config import TransferConfig
from stylejax.errors import InputError

Input = Annotated[Positional[Path], arg(metavar="IMAGE")]


@dataclass(frozen=True)
class Reconstruct:
    """Find the image that a representation holds: see stylejax reconstruct --help."""

    def __call__(self) -> int:
        """The words after `reconstruct` are parsed before this: there were none."""
        raise InputError("say what to reconstruct: stylejax reconstruct content | style")


@dataclass(frozen=True, kw_only=True)
class Search:
    """How the image is searched for."""

    size: int = 256
    """Longest side of the result, in pixels. The aspect ratio is kept."""
    steps: int = 400
    """Steps of the optimizer, one evaluation each."""
    seed: int = 0
    """Seed of the noise."""
    init: str = "noise"
    """First image: noise, content, or a picture FILE."""
    weights: Weights = "auto"
    pooling: Pooling = "avg"
    tv_weight: float = 0.0
    """Weight of the total variation: smooths what the representation leaves open."""
    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """lbfgs comes closer in as many steps; adam needs less memory."""
    history: int = 100
    """Steps that L-BFGS remembers; each costs two copies of the image."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """Find the image whose responses at one layer are those of IMAGE: what that layer knows of it (Figure 1)."""

    image: Input
    """The picture to look at."""
    layer: str
    """The layer: conv1_1 keeps the pixels, conv5_1 the objects and their arrangement."""
    out: Output
    search: OmitArgPrefixes[Search] = Search()
    output: OmitArgPrefixes[OutputOptions] = OutputOptions()

    def __call__(self) -> int:
        """Prints how near the result is to the picture."""
        from stylejax.synthesis.reconstruct import CONTENT, content_scales

        scales = content_scales(self.search.size)
        config = _with(CONTENT, self.search, content_layers=(self.layer,), scales=scales)
        return run_transfer(Files(content=self.image, styles=(), out=self.out, output=self.output), config)


@dataclass(frozen=True, kw_only=True)
class Style:
    """Find a texture whose Gram matrices are those of IMAGE: its style without its arrangement (Figure 1)."""

    image: Input
    """The picture whose texture is taken."""
    out: Output
    layers: tuple[str, ...] = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    """Layers whose correlations are matched: deeper ones bring larger shapes."""
    style_scale: float = 1.0
    """Size of IMAGE over that of the result: 0.5 makes a texture of twice the side from the same shapes."""
    seamless: bool = False
    """Make a texture that repeats without a seam; its sides are multiples of what the deepest layer pools."""
    scales: str = "auto"
    """Coarse to fine: auto, 1 for the full size alone, or the longest sides A,B,… before the full size."""
    search: OmitArgPrefixes[Search] = Search()
    output: OmitArgPrefixes[OutputOptions] = OutputOptions()

    def __call__(self) -> int:
        """IMAGE stands for the content as well, for its shape alone."""
        from stylejax.synthesis.reconstruct import STYLE

        padding = "circular" if self.seamless else "zeros"
        options = {"style_layers": self.layers, "style_scale": self.style_scale, "scales": self.scales}
        config = _with(STYLE, self.search, padding=padding, **options)
        return run_transfer(Files(content=self.image, styles=(self.image,), out=self.out, output=self.output), config)


def _with(config: TransferConfig, search: Search, **options: Any) -> TransferConfig:
    return dataclasses.replace(config, **dataclasses.asdict(search), **options)


VERBS: dict[str, Any] = {"content": asking(Content), "style": asking(Style)}
