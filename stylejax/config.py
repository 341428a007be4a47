"""What a run is: plain values with their defaults, each with the sentence that `--help` shows. Standard library only."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from stylejax.config_parsing import parse_count, parse_init, parse_layers, parse_scales
from stylejax.config_validation import check, check_kind, check_known
from stylejax.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """How a picture is made."""

    size: int = 512
    """Longest side of the result, in pixels. The aspect ratio of the content is kept."""
    steps: int = 500
    """Steps of the optimizer, over all scales."""
    scales: str = "auto"
    """Coarse to fine: auto, 1 for the full size alone, or the longest sides A,B,… before the full size.
    Coarse scales bring the large shapes of the style."""
    seed: int = 0
    """Seed of the noise."""
    init: str = "content"
    """First image: content, noise, style, gray, a blend such as content+noise:0.3, or a picture FILE."""
    weights: str = "auto"
    """The network: auto, vgg19, vgg16, random, or a weights FILE."""
    pooling: Literal["avg", "max"] = "avg"
    """avg as in the paper, or max as in the network's training."""
    padding: Literal["zeros", "circular", "reflect", "replicate"] = "zeros"
    """Padding at the edges; circular makes an image that repeats without a seam."""
    precision: Literal["default", "highest", "tf32", "bf16"] = "default"
    """Precision of the network on an accelerator. default: its own choice for float32; highest: full float32;
    tf32, bf16: faster and coarser. Losses are float32 in any case; on a CPU only bf16 makes a difference, and is slow."""
    content_weight: float = 1.0
    """α: weight of the content."""
    style_weight: float = 1000.0
    """β: weight of the style. Ten times more or less is a visible difference."""
    tv_weight: float = 0.0
    """Weight of the total variation: smooths noise, and fine strokes."""
    tv: Literal["squared", "absolute", "isotropic"] = "squared"
    """Form of the total variation. squared: differences of neighbors, which softens every edge;
    absolute: keeps sharp edges and flattens what is between; isotropic: does so in all directions alike."""
    style_scale: float | tuple[float, ...] = 1.0
    """Size of the style's picture over that of the result: 0.5 halves its strokes and shapes; A,B,… for several styles."""
    style_weights: tuple[float, ...] = ()
    """Weights of several styles: 2,1 takes twice as much of the first; equal by default."""
    style_per_scale: bool = False
    """Several styles from coarse to fine in place of their mean: large shapes of the first, fine strokes of the last."""
    content_masks: tuple[str, ...] = ()
    """Gray pictures A,B,…, white where the picture takes the first, the second style, …;
    a last style without a mask has the rest."""
    style_masks: tuple[str, ...] = ()
    """Gray pictures A,B,…, white where a style's picture has what is taken; several for one style make several of it."""
    keep_mask: str = ""
    """A gray picture, white where the picture stays as the content is."""
    color: Literal["style", "match", "luminance", "after"] = "style"
    """style: takes on its colors. The content's are kept by match, which gives them to the style first; by luminance, which
    paints in grays; by after, which puts them back."""
    content_layers: tuple[str, ...] = ("conv4_2",)
    """Layers whose responses are the content; conv3_2:0.5 counts half as much as one without a weight."""
    style_layers: tuple[str, ...] = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    """Layers whose correlations are the style: deeper ones bring larger strokes and shapes; conv1_1:2 counts twice."""
    statistic: Literal["gram", "wasserstein"] = "gram"
    """What of the style's responses is matched. gram: their correlations, as in the paper;
    wasserstein: their mean and covariance, which keeps to the style's colors and gives broader shapes."""
    losses: Literal["relative", "paper", "caffe"] = "relative"
    """paper: equations 1 to 7 on a normalized network; relative: with the style's loss over the contrast of its picture, so
    that a weight means the same for every style; caffe: mean squared errors on a network as published, as in neural-style."""
    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """lbfgs comes closer in as many steps; adam needs less memory."""
    parameterization: Literal["pyramid", "pixels", "sigmoid", "fourier"] = "pyramid"
    """What the optimizer moves. pyramid: images of several sizes whose sum is the picture, finds large shapes sooner;
    pixels: as in the paper; sigmoid: cannot leave black to white; fourier: waves of all lengths, the long ones first."""
    history: int = 100
    """Steps that L-BFGS remembers; each costs two copies of the image."""
    learning_rate: float = 0.05
    """Step size of adam."""
    average: float = 0.0
    """The picture is a mean over the last steps of adam, with this share of the mean kept a step:
    0.99 takes away its grain; 0 takes the best step."""
    bits: int = 8
    """Bits a channel of the file: 8, or 16 in PNG and TIFF, which leave smooth skies without steps."""
    tile: str = "off"
    """Side in pixels of tiles that the image is evaluated by, exactly, in the memory of one; auto if it needs them."""
    shard: str = "off"
    """Number of devices that share the rows of the image; auto takes all if the image is large enough."""
    remat: bool = False
    """Compute the network's responses twice instead of keeping them: less memory, a third more time."""

    def __post_init__(self) -> None:
        """Raises `InputError` for a value that no run can have."""
        for field in fields(self):
            check_kind(field, getattr(self, field.name))
        _check_numbers(self)
        for kind in ("content", "style"):
            unused = getattr(self, f"{kind}_weight") == 0
            _check_layers(f"{kind}_layers", getattr(self, f"{kind}_layers"), unused)
        for name in ("tile", "shard"):
            parse_count(name, getattr(self, name))
        parse_scales(self.scales, self.size)
        parse_init(self.init)
        if self.style_weights and self.style_per_scale:
            raise InputError(
                "--style-weights mixes styles, and --style-per-scale takes one at a time; leave out one of them"
            )
        if self.average and self.optimizer != "adam":
            raise InputError(f"--average is for --optimizer adam, and the optimizer is {self.optimizer}; leave one out")
        if self.content_weight + self.style_weight + self.tv_weight == 0:
            raise InputError("content_weight, style_weight and tv_weight are all 0: there is nothing to minimize")


def files_of(config: TransferConfig) -> dict[str, tuple[str, ...]]:
    """The pictures that a config names, by its fields."""
    return {
        "init": () if parse_init(config.init) else (config.init,),
        "content_masks": config.content_masks,
        "style_masks": config.style_masks,
        "keep_mask": (config.keep_mask,) if config.keep_mask else (),
    }


def with_options(config: TransferConfig, options: Mapping[str, Any]) -> TransferConfig:
    """The config with other values. Raises `InputError` for what it does not have, or cannot be."""
    check_known(options, (field.name for field in fields(config)))
    return replace(config, **options)


def with_files(config: TransferConfig, files: Mapping[str, Sequence[str]]) -> TransferConfig:
    """The config with other names for these pictures."""
    values = {name: tuple(paths) for name, paths in files.items() if paths}
    singles = {name: paths[0] for name, paths in values.items() if isinstance(getattr(config, name), str)}
    return replace(config, **(values | singles))  # type: ignore[arg-type]


LARGEST = 10**9
"""More than any run; Python's whole numbers have no end of their own."""


def _check_numbers(config: TransferConfig) -> None:
    for name in ("content_weight", "style_weight", "tv_weight"):
        value = getattr(config, name)
        check(name, value, 0 <= value < math.inf, "a number of 0 or more")
    for name in ("size", "steps", "history"):
        value = getattr(config, name)
        check(name, value, 1 <= value <= LARGEST, f"a whole number from 1 to {LARGEST}")
    check("seed", config.seed, 0 <= config.seed < 2**63, "a whole number from 0 to 2^63 - 1")
    check("learning_rate", config.learning_rate, 0 < config.learning_rate < math.inf, "a number above 0")
    check("average", config.average, 0 <= config.average < 1, "a number from 0 to below 1, such as 0.99")
    check("bits", config.bits, config.bits in (8, 16), "8 or 16")
    scales = config.style_scale if isinstance(config.style_scale, tuple) else (config.style_scale,)
    ok = len(scales) > 0 and all(0 < scale < math.inf for scale in scales)
    check("style_scale", config.style_scale, ok, "a number above 0, or one for each style")
    ok = not config.style_weights or _can_be_weights(config.style_weights)
    check("style_weights", config.style_weights, ok, "numbers of 0 or more, and not all 0")


def _check_layers(name: str, layers: Sequence[str], unused: bool) -> None:
    weights = parse_layers(layers)
    ok = (len(layers) > 0 or unused) and len(weights) == len(layers)
    check(name, layers, ok, "one or more different layers")
    ok = unused or _can_be_weights(list(weights.values()))
    check(name, ",".join(layers), ok, "names, each with :WEIGHT or without, of 0 or more, not all 0")


def _can_be_weights(weights: Sequence[float]) -> bool:
    return all(0 <= weight < math.inf for weight in weights) and sum(weights) > 0
