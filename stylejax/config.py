"""Settings of a style transfer; the docstring of each field is its `--help`. Standard library only."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from stylejax.config_parsing import parse_count, parse_init, parse_layers, parse_scales
from stylejax.config_validation import require, to_type
from stylejax.errors import InputError, did_you_mean

MAX_INT = 10**9
"""Largest size, step count and history; larger values are typing errors."""

MIN_WEIGHT, MAX_WEIGHT = 1e-12, 1e12
"""Range of the weights that are not 0: L-BFGS gave the same losses for 10⁻¹² to 10¹⁸, and fails in float32 beyond it."""

WEIGHT = f"0 or from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}"
"""Description of a weight in error messages."""


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """Settings of one style transfer."""

    size: int | Literal["content"] = 512
    """Longest side of the result in pixels, or content for that of the content image, whose aspect ratio is kept."""
    width: int = 0
    """Width of the result in pixels, in place of --size; 0 leaves it to the size."""
    height: int = 0
    """Height of the result in pixels, in place of --size; 0 leaves it to the size."""
    steps: int = 500
    """Number of optimizer steps over all scales."""
    scales: str = "auto"
    """Longest sides from coarse (large shapes) to fine: auto, 1 (full size only), or A,B,… below the full size."""
    seed: int = 0
    """Seed of the initial noise and of --weights random."""
    init: str = "content"
    """Initial image: content, noise, style, gray, a blend such as content+noise:0.3, or the middle of an image FILE."""
    weights: str = "auto"
    """Weights of the network: auto, vgg19, vgg16, random, or a weights FILE."""
    pooling: Literal["avg", "max"] = "avg"
    """Pooling of the network: avg (as in the paper) or max (as trained)."""
    padding: Literal["zeros", "circular", "reflect", "replicate"] = "zeros"
    """Padding at the image edges; circular makes an image that repeats without a seam."""
    precision: Literal["default", "highest", "tf32", "bf16"] = "default"
    """Precision of the network: default (the backend's), highest (float32), tf32, or bf16 (slow on a CPU). Losses: float32."""
    content_weight: float = 1.0
    """α of equation 7: weight of the content loss."""
    style_weight: float = 1000.0
    """β of equation 7: weight of the style loss. A factor of ten is a visible difference."""
    tv_weight: float = 0.0
    """Weight of the total variation, which smooths noise and fine strokes."""
    tv_norm: Literal["squared", "l1", "isotropic"] = "squared"
    """Norm of the total variation: squared (softens all edges), l1 (keeps sharp edges), or isotropic (l1 in all directions)."""
    style_scale: float | tuple[float, ...] = 1.0
    """Size of the style image relative to the result: 0.5 halves its strokes; A,B,… for several. It is never enlarged."""
    style_crop: float = 0.02
    """Share of the style image that is cut off at each edge: scans show the edge of the canvas. Not with circular padding."""
    style_weights: tuple[float, ...] = ()
    """Relative weights of several styles, for example 2,1. By default they are equal."""
    style_schedule: Literal["blend", "coarse-to-fine"] = "blend"
    """Use of several styles: blend (weighted mean) or coarse-to-fine (large shapes of the first, fine strokes of the last)."""
    content_masks: tuple[str, ...] = ()
    """Masks A,B,… of the result, white where the first, second, … style goes; or one image in flat colors, each a region."""
    style_masks: tuple[str, ...] = ()
    """Masks A,B,… of the style images; several for one image are several styles; or one in the colors of --content-masks."""
    preserve_mask: str = ""
    """Mask of the pixels copied unchanged from the content image (white = preserved)."""
    color: Literal["style", "match", "luminance", "after", "only"] = "style"
    """Colors of the style, or the content's by match (style), luminance (in gray), after (result); only: without strokes."""
    content_layers: tuple[str, ...] = ("conv4_2",)
    """Layers of the content loss. A layer may have a weight: conv3_2:0.5 counts half."""
    style_layers: tuple[str, ...] = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    """Layers of the style loss, deeper ones for larger shapes; conv1_1:2 counts twice."""
    style_representation: Literal["gram", "wasserstein"] = "gram"
    """Statistics of the style: gram (Gram matrices, as in the paper), wasserstein (mean, covariance: closer colors)."""
    loss_normalization: Literal["relative", "paper", "caffe"] = "relative"
    """Scale of the losses: relative (to the contrast of the style image), paper (equations 1 to 7), caffe (as neural-style)."""
    optimizer: Literal["lbfgs", "adam"] = "lbfgs"
    """Optimizer: lbfgs (lower loss in as many steps) or adam (less memory)."""
    parameterization: Literal["pyramid", "pixels", "sigmoid", "dct"] = "pyramid"
    """Optimized variables: pyramid (images of several sizes), pixels (as in the paper), sigmoid (in [0, 1]), dct (cosines)."""
    history: int = 100
    """Number of steps in the memory of L-BFGS; each costs two copies of the image."""
    learning_rate: float = 0.05
    """Step size of Adam."""
    ema_decay: float = 0.0
    """Decay of the moving average of Adam's images, which removes grain, for example 0.99; 0 returns the best step."""
    bit_depth: int = 8
    """Bits per channel of the image file: 8, or 16 (PNG and TIFF) for smooth gradients."""
    tile: str = "off"
    """Side in pixels of the tiles of an exact evaluation that needs less memory; off, or auto (only if memory is short)."""
    shard: str = "off"
    """Number of devices that share the rows of the image; off, or auto (all, if the image is large enough)."""
    remat: bool = False
    """Recomputation of the features in the backward pass: less memory, a third more time."""

    def __post_init__(self) -> None:
        """Raise `InputError` for a value that no run can have."""
        for field in fields(self):
            object.__setattr__(self, field.name, to_type(field, getattr(self, field.name)))
        _check_numbers(self)
        for kind in ("content", "style"):
            unused = getattr(self, f"{kind}_weight") == 0
            _check_layers(f"{kind}_layers", getattr(self, f"{kind}_layers"), unused)
        for name in ("tile", "shard"):
            parse_count(name, getattr(self, name))
        if isinstance(self.size, int):
            parse_scales(self.scales, self.size)
        parse_init(self.init)
        if self.style_weights and self.style_schedule != "blend":
            raise InputError(f"--style-weights needs --style-schedule blend, got {self.style_schedule}; leave one out")
        if self.ema_decay and self.optimizer != "adam":
            raise InputError(f"--ema-decay needs --optimizer adam, got {self.optimizer}; leave one out")
        if self.content_weight + self.style_weight + self.tv_weight == 0:
            raise InputError("content_weight, style_weight and tv_weight must not all be 0")

    @property
    def side(self) -> int:
        """Longest side of the result in pixels, once `make_plan` has resolved `size`, `width` and `height` to it."""
        if isinstance(self.size, str) or self.width or self.height:
            raise InputError("--size, --width and --height must be resolved by make_plan")
        return int(self.size)

    @property
    def total_steps(self) -> int:
        """Number of steps that the run takes: none with `color` only, which does not use the network."""
        return 0 if self.color == "only" else self.steps


OPTION_GROUPS: dict[str, tuple[str, ...]] = {
    "image": ("init", "seed", "padding"),
    "style": (
        "style_scale",
        "style_crop",
        "style_weights",
        "style_schedule",
        "style_layers",
        "style_representation",
        "weights",
        "pooling",
    ),
    "loss weight": ("content_weight", "style_weight", "tv_weight", "tv_norm", "content_layers", "loss_normalization"),
    "region": ("content_masks", "style_masks", "preserve_mask"),
    "color": ("color",),
    "optimization": ("steps", "scales", "optimizer", "parameterization", "history", "learning_rate", "ema_decay"),
    "size and memory": ("size", "width", "height", "tile", "shard", "remat", "precision"),
    "output": ("bit_depth",),
}
"""Fields under each heading of `--help`, in the order of need; each field is in exactly one group."""


def input_files(config: TransferConfig) -> dict[str, tuple[str, ...]]:
    """Return the image files that a config names, by field."""
    return {
        "init": () if parse_init(config.init) else (config.init,),
        "content_masks": config.content_masks,
        "style_masks": config.style_masks,
        "preserve_mask": (config.preserve_mask,) if config.preserve_mask else (),
    }


def replace_fields(config: TransferConfig, options: Mapping[str, Any]) -> TransferConfig:
    """Return the config with other values. Raise `InputError` for unknown fields and invalid values."""
    names = [field.name for field in fields(config)]
    for name in options:
        if name not in names:
            raise InputError(f"unknown option {name!r}{did_you_mean(name, names)}; see stylejax transfer --help")
    return replace(config, **options)


def replace_files(config: TransferConfig, files: Mapping[str, Sequence[str]]) -> TransferConfig:
    """Return the config with other paths for the fields of `input_files`; empty entries change nothing."""
    values = {name: tuple(paths) for name, paths in files.items() if paths}
    singles = {name: paths[0] for name, paths in values.items() if isinstance(getattr(config, name), str)}
    return replace(config, **(values | singles))  # type: ignore[arg-type]


def _check_numbers(config: TransferConfig) -> None:
    for name in ("content_weight", "style_weight", "tv_weight"):
        require(name, getattr(config, name), _is_weight(getattr(config, name)), WEIGHT)
    for name in ("size", "steps", "history"):
        value = getattr(config, name)
        require(name, value, value == "content" or 1 <= value <= MAX_INT, f"a whole number from 1 to {MAX_INT}")
    for name in ("width", "height"):
        value = getattr(config, name)
        require(name, value, 0 <= value <= MAX_INT, f"a whole number from 0 to {MAX_INT}")
    require("seed", config.seed, 0 <= config.seed < 2**63, "a whole number from 0 to 2^63 - 1")
    rate = config.learning_rate
    require("learning_rate", rate, _is_weight(rate) and rate > 0, f"from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}")
    require("ema_decay", config.ema_decay, 0 <= config.ema_decay < 1, "a number from 0 to below 1, such as 0.99")
    require("style_crop", config.style_crop, 0 <= config.style_crop <= 0.4, "a number from 0 to 0.4")
    require("bit_depth", config.bit_depth, config.bit_depth in (8, 16), "8 or 16")
    scales = config.style_scale if isinstance(config.style_scale, tuple) else (config.style_scale,)
    ok = len(scales) > 0 and all(0 < scale < math.inf for scale in scales)
    require("style_scale", config.style_scale, ok, "a number above 0, or one for each style")
    ok = not config.style_weights or _valid_weights(config.style_weights)
    require("style_weights", config.style_weights, ok, f"numbers, each {WEIGHT}, and not all 0")


def _check_layers(name: str, layers: Sequence[str], unused: bool) -> None:
    weights = parse_layers(layers)
    ok = (len(layers) > 0 or unused) and len(weights) == len(layers)
    require(name, layers, ok, "one or more different layers")
    ok = unused or _valid_weights(list(weights.values()))
    require(name, ",".join(layers), ok, f"names, each with :WEIGHT or without, {WEIGHT}, not all 0")


def _valid_weights(weights: Sequence[float]) -> bool:
    return all(map(_is_weight, weights)) and sum(weights) > 0


def _is_weight(value: float) -> bool:
    return value == 0 or MIN_WEIGHT <= value <= MAX_WEIGHT
