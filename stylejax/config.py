"""What a run is: plain values with their defaults, each with the sentence that `--help` shows. Standard library only."""

import math
from dataclasses import dataclass, fields
from typing import Literal

from stylejax.errors import InputError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class TransferConfig:
    """How a picture is made."""

    size: int = 512
    """Longest side of the result, in pixels. The aspect ratio of the content is kept."""
    steps: int = 500
    """Steps of the optimizer, over all scales."""
    scales: str = "auto"
    """Coarse to fine: auto, 1 for the full size alone, or the longest sides A,B,… before the full size. Coarse scales bring
    the large shapes of the style."""
    seed: int = 0
    """Seed of the noise."""
    init: str = "content"
    """First image: content, noise, style, or a picture FILE."""
    weights: str = "auto"
    """The network: auto, vgg19, vgg16, random, or a weights FILE."""
    pooling: Literal["avg", "max"] = "avg"
    """avg as in the paper, or max as in the network's training."""
    padding: Literal["zeros", "circular", "reflect", "replicate"] = "zeros"
    """What the network sees beyond the edge; circular makes a picture that repeats without a seam."""
    precision: Literal["default", "highest", "tf32", "bf16"] = "default"
    """Of the network's numbers on an accelerator: default is its own choice for float32, highest is full float32, tf32 and
    bf16 are faster and coarser. Losses are float32 in any case; on a CPU only bf16 makes a difference, and is slow."""
    content_weight: float = 1.0
    """α: how much the picture holds on to the content."""
    style_weight: float = 100.0
    """β: how much it takes on the style. Ten times more or less is a visible difference."""
    tv_weight: float = 0.0
    """Weight of the total variation: smooths noise, and fine strokes."""
    style_scale: float = 1.0
    """Size of the style's picture over that of the result: 0.5 halves its strokes and shapes."""
    content_layers: tuple[str, ...] = ("conv4_2",)
    """Layers whose responses are the content."""
    style_layers: tuple[str, ...] = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    """Layers whose correlations are the style: deeper ones bring larger strokes and shapes."""
    balance: Literal["relative", "paper"] = "relative"
    """relative: the weights mean the same for every size, network and style; paper: the equations as printed."""
    optimizer: Literal["lbfgs", "adam", "lbfgs-zoom"] = "lbfgs"
    """lbfgs takes one evaluation a step; adam needs less memory; lbfgs-zoom searches along each step."""
    parameterization: Literal["pyramid", "pixels", "sigmoid"] = "pyramid"
    """What the optimizer moves: images of several sizes whose sum is the picture, which finds large shapes sooner; pixels,
    as in the paper; or sigmoid, which can not leave black to white."""
    history: int = 100
    """Steps that L-BFGS remembers; each costs two copies of the image."""
    learning_rate: float = 0.05
    """Step size of adam."""

    def __post_init__(self) -> None:
        """Raises `InputError` for a value that no run can have."""
        for name in ("content_weight", "style_weight", "tv_weight"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) < math.inf, "a number of 0 or more")
        for name in ("size", "steps", "history"):
            _check(
                name, getattr(self, name), 1 <= getattr(self, name) <= LARGEST, f"a whole number from 1 to {LARGEST}"
            )
        _check("seed", self.seed, 0 <= self.seed < 2**63, "a whole number from 0 to 2^63 - 1")
        for name in ("learning_rate", "style_scale"):
            _check(name, getattr(self, name), 0 < getattr(self, name) < math.inf, "a number above 0")
        if self.content_weight + self.style_weight + self.tv_weight == 0:
            raise InputError("content_weight, style_weight and tv_weight are all 0: there is nothing to minimize")
        for kind in ("content", "style"):
            layers, unused = getattr(self, f"{kind}_layers"), getattr(self, f"{kind}_weight") == 0
            ok = (len(layers) > 0 or unused) and len(set(layers)) == len(layers)
            _check(f"{kind}_layers", layers, ok, "one or more different layers")
        for name in ("pooling", "padding", "precision", "balance", "optimizer", "parameterization"):
            _check_choice(self, name)
        self.ladder()

    def ladder(self) -> tuple[int, ...]:
        """The longest sides of the scales, from coarse to fine; the last is `size`."""
        if self.scales == "1":
            return (self.size,)
        if self.scales == "auto":
            halves = range(int(2 * math.log2(max(self.size / COARSEST, 1))), 0, -1)
            return (*(round(self.size / 2 ** (i / 2)) for i in halves), self.size)
        parts = [part.strip() for part in self.scales.split(",")]
        sides = [int(part) for part in parts if part.isdecimal() and len(part) < 10 and int(part) > 0]
        rising = all(a < b for a, b in zip(sides, sides[1:], strict=False))
        ok = len(sides) == len(parts) and rising and sides[-1] <= self.size
        _check("scales", self.scales, ok, f"auto, 1, or rising sizes up to the size {self.size}, such as 128,256")
        return tuple(dict.fromkeys((*sides, self.size)))

    def schedule(self) -> tuple[tuple[int, int], ...]:
        """(longest side, steps) of each scale. A scale gets 3/4 of the steps of the one before, for it costs more."""
        ladder = self.ladder()[-self.steps :]
        shares = [0.75**i for i in range(len(ladder))]
        # Each scale has one step for certain; the others are shared out.
        spare = self.steps - len(ladder)
        ends = [round(spare * sum(shares[: i + 1]) / sum(shares)) for i in range(len(ladder))]
        return tuple((side, 1 + b - a) for side, a, b in zip(ladder, [0, *ends], ends, strict=False))


FIRST_IMAGES = ("content", "noise", "style")
"""What `init` may be but the name of a file."""

LARGEST = 10**9
"""More than any run; Python's whole numbers have no end of their own."""

COARSEST = 128
"""`--scales auto` starts no smaller: below it the deepest layer has hardly any positions left."""


def option(name: str) -> str:
    """The option of a field, as it is typed."""
    return "--" + name.replace("_", "-")


def _check(name: str, value: object, ok: bool, expected: str) -> None:
    if not ok:
        raise InputError(f"{option(name)} is {value!r}; it should be {expected}")


def _check_choice(config: TransferConfig, name: str) -> None:
    choices = next(f.type for f in fields(config) if f.name == name).__args__  # type: ignore[union-attr]
    value = getattr(config, name)
    _check(name, value, value in choices, f"one of {', '.join(choices)}{did_you_mean(str(value), choices)}")


PRESETS: dict[str, TransferConfig] = {
    "default": TransferConfig(),
    "paper": TransferConfig(
        scales="1",
        init="noise",
        content_weight=1.0,
        style_weight=3e8,
        balance="paper",
        pooling="avg",
        tv_weight=0.0,
        parameterization="pixels",
    ),
}
"""Starting points; every option overrides them. `paper` is equations 1 to 7 as printed, from white noise.
The paper's α/β of 10⁻³ is for its normalized network; with a network as published the sum of equation 1 then leaves no
style, and β is chosen by looking."""


def preset(name: str) -> TransferConfig:
    """The preset of that name. Raises `InputError` if there is none."""
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}{did_you_mean(name, PRESETS)}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
