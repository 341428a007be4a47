"""Reconstruction of an image from the features of one layer, or from Gram matrices."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from stylejax.cli.files import OutputOptions, RunFiles
from stylejax.cli.parsing import Output, Pooling, Weights, with_required_args
from stylejax.cli.run import run_transfer
from stylejax.config import TransferConfig

Input = Annotated[Positional[Path], arg(metavar="IMAGE")]


@dataclass(frozen=True)
class Reconstruct:
    """Reconstruct an image from features or Gram matrices: see stylejax reconstruct --help."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """Options of the optimization."""

    size: int = 256
    """Longest side of the result in pixels; the aspect ratio is kept."""
    steps: int = 400
    """Number of optimizer steps, one evaluation each."""
    seed: int = 0
    """Seed of the initial noise and of --weights random."""
    init: str = "noise"
    """Initial image: noise, content, or an image FILE."""
    weights: Weights = "auto"
    pooling: Pooling = "avg"
    tv_weight: float = 0.0
    """Weight of the total variation, which smooths what the representation leaves undetermined."""
    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """Optimizer: lbfgs (lower loss in as many steps) or adam (less memory)."""
    history: int = 100
    """Number of steps in the memory of L-BFGS; each costs two copies of the image."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """Find an image with the features of IMAGE at one layer (content reconstruction, Figure 1)."""

    image: Input
    """Image to reconstruct."""
    layer: str
    """Layer whose features are matched: conv1_1 keeps the pixels, conv5_1 the objects and their arrangement."""
    out: Output
    search: OmitArgPrefixes[Search] = Search()
    output: OmitArgPrefixes[OutputOptions] = OutputOptions()

    def __call__(self) -> int:
        from stylejax.synthesis.reconstruct import CONTENT, content_scales

        scales = content_scales(self.search.size)
        config = _with(CONTENT, self.search, content_layers=(self.layer,), scales=scales)
        return run_transfer(RunFiles(content=self.image, styles=(), out=self.out, output=self.output), config)


@dataclass(frozen=True, kw_only=True)
class Style:
    """Find a texture with the Gram matrices of IMAGE (style reconstruction, Figure 1)."""

    image: Input
    """Image whose texture is reconstructed."""
    out: Output
    layers: tuple[str, ...] = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    """Layers whose Gram matrices are matched, deeper ones for larger shapes."""
    style_scale: float = 1.0
    """Size of IMAGE relative to the result: 0.5 makes a texture of twice the side from the same shapes."""
    seamless: bool = False
    """Texture that repeats without a seam; its sides are multiples of the pooling of the deepest layer."""
    scales: str = "auto"
    """Longest sides from coarse to fine: auto, 1 (full size only), or A,B,… below the full size."""
    search: OmitArgPrefixes[Search] = Search()
    output: OmitArgPrefixes[OutputOptions] = OutputOptions()

    def __call__(self) -> int:
        """Reconstruct the texture; IMAGE as the content only determines the shape."""
        from stylejax.synthesis.reconstruct import STYLE

        padding = "circular" if self.seamless else "zeros"
        options = {"style_layers": self.layers, "style_scale": self.style_scale, "scales": self.scales}
        config = _with(STYLE, self.search, padding=padding, **options)
        files = RunFiles(content=self.image, styles=(self.image,), out=self.out, output=self.output)
        return run_transfer(files, config)


def _with(config: TransferConfig, search: Search, **options: Any) -> TransferConfig:
    return dataclasses.replace(config, **dataclasses.asdict(search), **options)


COMMANDS: dict[str, Any] = {"content": with_required_args(Content), "style": with_required_args(Style)}
