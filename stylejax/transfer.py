"""Style transfer: the content of one image with the style of others, from coarse to fine."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from stylejax.config import TransferConfig, preset
from stylejax.errors import InputError
from stylejax.images import Picture, fit, read_image, resize
from stylejax.memory import available_bytes, check_memory, predicted_bytes
from stylejax.objective import Targets, Terms, blend, content_targets, objective, style_targets
from stylejax.optimize import Info, Minimizer, Run, adam, lbfgs, lbfgs_zoom, minimize
from stylejax.parameterize import decode, encode
from stylejax.sources import resolve
from stylejax.types import Scalar
from stylejax.vgg import VGG, build_vgg, canonical_layer, smallest_side

NOISE = 0.05
"""Standard deviation of the first noise around middle grey. What the network does not see of it stays in the picture."""


class Step(NamedTuple):
    """One step as a callback sees it: `step` of `steps`, at `size` (height, width), the losses at the trial point, and
    whether the optimizer took it or began anew."""

    step: int
    steps: int
    size: tuple[int, int]
    evaluations: int
    loss: float
    terms: Terms
    accepted: bool
    restarted: bool


class Checkpoint(NamedTuple):
    """Where a transfer stands between two steps: at which scale of the schedule, where the optimizer is in it, and the
    steps and evaluations so far."""

    scale: int
    run: Run
    steps: int
    evaluations: int


class Result(NamedTuple):
    """The picture, in [0, 1], with its losses, and what it took. `stopped`: a callback ended the run early."""

    image: Picture
    loss: float
    terms: Terms
    steps: int
    evaluations: int
    stopped: bool


Callback = Callable[[Step], bool | None]


def transfer(
    content: ArrayLike,
    style: ArrayLike | Sequence[ArrayLike] = (),
    *,
    vgg: VGG | None = None,
    config: TransferConfig | None = None,
    callback: Callback | None = None,
    keep: Callable[[Checkpoint], None] | None = None,
    resume: Checkpoint | None = None,
    **options: Any,
) -> Result:
    """A picture with the content of `content` and the style of `style`; of several styles, their mean; of none, if
    `style_weight` is 0.

    Images are arrays (h, w, 3) in [0, 1] of any sizes. `options` are the fields of `TransferConfig`, by the names and with
    the defaults of the command line; `preset` names the ones to start from. `vgg` takes the place of `weights` and `pooling`.
    `callback` sees each step and ends the run, with the best image so far, by returning True. `keep` sees where the run
    stands after each step; what it copies of it goes on from there as `resume`, with the same images and options.
    Raises `InputError` for input that can not work, before the work.
    """
    config = dataclasses.replace(config or preset(options.pop("preset", "default")), **options)
    styles = [check_image(s, "style") for s in (style if isinstance(style, Sequence) else [style])]
    content = check_image(content, "content")
    if vgg is None:
        vgg = build_vgg(resolve(config.weights, config.seed)[0], config.pooling, padding=config.padding)
    config = check_run(config, vgg.network, content.shape, [s.shape for s in styles])
    return _coarse_to_fine(content, styles, vgg, config, _Watch(config.steps, callback, keep, resume))


def check_image(image: Any, role: str) -> Picture:
    """An array (h, w, 3) of finite numbers in float32; anything else raises `InputError`."""
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[-1] != 3 or array.dtype.kind not in "fiu":
        raise InputError(
            f"the {role} image is an array {array.shape} of {array.dtype}; it should be (h, w, 3) of numbers"
        )
    if array.dtype.kind in "iu":
        raise InputError(f"the {role} image holds integers; divide it by 255 (or 65535) so that it is in [0, 1]")
    if not np.isfinite(array).all() or array.min() < -0.5 or array.max() > 1.5:
        raise InputError(f"the {role} image has values outside [0, 1]; divide it by its full intensity")
    return array.astype(np.float32)


def check_run(
    config: TransferConfig, network: str, content: tuple[int, ...], styles: Sequence[tuple[int, ...]]
) -> TransferConfig:
    """The config with the paper's names of layers. Raises `InputError` for what this network and these image shapes can not
    do: an unknown layer, a picture too small for the deepest layer, more memory than there is."""
    if config.style_weight and not styles:
        raise InputError("no style image was given; give one, or --style-weight 0")
    content_layers = tuple(canonical_layer(name, network) for name in config.content_layers)
    style_layers = tuple(canonical_layer(name, network) for name in config.style_layers)
    config = dataclasses.replace(config, content_layers=content_layers, style_layers=style_layers if styles else ())
    layers = _layers(config)
    least = smallest_side(layers)
    sizes = [("content", content, content_size(config, content, config.size))]
    sizes += [("style", shape, style_size(config, shape, config.size)) for shape in styles]
    for role, shape, (h, w) in sizes:
        if min(shape[:2]) < least:
            _refuse_small(f"the {role} image is {shape[1]}×{shape[0]} pixels", layers, "give a larger picture")
        if min(h, w) < least:
            _refuse_small(f"at --size {config.size} the {role} image is {w}×{h} pixels", layers, "take a larger --size")
    check_memory(lambda size: _needed_bytes(config, network, layers, content, size), available_bytes(), config.size)
    return config


def content_size(config: TransferConfig, shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width of the picture, and of the content in it, at a scale. To repeat without a seam, its sides divide
    by all poolings: what they dropped would be missing at the edge."""
    multiple = smallest_side(_layers(config)) if config.padding == "circular" else 1
    h, w = fit(shape, side)
    return max(1, round(h / multiple)) * multiple, max(1, round(w / multiple)) * multiple


def style_size(config: TransferConfig, shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width of a style at a scale. It is never enlarged, for enlarging adds no strokes."""
    return fit(shape, max(1, min(round(side * config.style_scale), max(shape[:2]))))


def _layers(config: TransferConfig) -> tuple[str, ...]:
    return (*config.content_layers, *config.style_layers)


def noise(seed: int, height: int, width: int) -> Picture:
    """Gaussian noise around middle grey, the same for the same seed on every machine."""
    generator = np.random.Generator(np.random.Philox(seed))
    return (0.5 + NOISE * generator.standard_normal((height, width, 3))).astype(np.float32)


def minimizer_of(config: TransferConfig, steps: int) -> Minimizer:
    """The optimizer of a config, with no more memory than `steps` can fill."""
    history = min(config.history, steps)
    match config.optimizer:
        case "lbfgs":
            return lbfgs(history)
        case "lbfgs-zoom":
            return lbfgs_zoom(history)
        case _:
            return adam(config.learning_rate)


def loss_weights(config: TransferConfig, targets: Targets) -> Terms:
    """α and β of equation 7 by layer.

    `paper`: α · N·M, which turns the mean of `content_loss` into the sum of equation 1, and β · w_l with w_l = 1/L.
    Deviation, `relative`: both are divided by the loss of an image without any response, Σ_l ½ mean P² and
    Σ_l 1/(4N²) Σ A². Then α and β weigh the relative errors of content and style, and mean the same for every size, network
    and style: these losses grow with the square and the fourth power of the scale of the responses.
    """
    alpha, beta, tv = (jnp.float32(w) for w in (config.content_weight, config.style_weight, config.tv_weight))
    if config.balance == "paper":
        content = {name: alpha * p.size for name, p in targets.content.items()}
        return Terms(content, {name: beta / len(targets.style) for name in targets.style}, tv)
    contents = _sum(0.5 * jnp.mean(p**2) for p in targets.content.values())
    styles = _sum(jnp.mean(a**2) / 4 for a in targets.style.values())
    content = {name: alpha / contents for name in targets.content}
    return Terms(content, {name: beta / styles for name in targets.style}, tv)


def _sum(losses: Iterable[Scalar]) -> Scalar:
    """Not quite zero even for a picture without any response, since weights are divided by it."""
    return jnp.maximum(sum(losses, jnp.zeros(())), jnp.finfo(jnp.float32).tiny ** 0.5)


def _coarse_to_fine(
    content: Picture, styles: list[Picture], vgg: VGG, config: TransferConfig, watch: "_Watch"
) -> Result:
    schedule = scales_of(config, content.shape, [s.shape for s in styles])
    image, solution = None, None
    for index, (side, steps) in enumerate(schedule):
        if index < watch.scale:
            continue
        h, w = content_size(config, content.shape, side)
        watch.enter(index, (h, w))
        if not watch.resumed:
            image = _first_image(config, content, styles, h, w) if image is None else resize(image, h, w)
            image = encode(jnp.asarray(image), config.parameterization)
        targets = _targets_at(content, styles, vgg, config, side)
        args = (vgg, targets, loss_weights(config, targets))
        minimizer = minimizer_of(config, steps)
        solution = minimize(objective, minimizer, image, args, steps, watch, resume=watch.resumed, keep=watch.keep)
        image = np.clip(np.asarray(decode(solution.params)), 0, 1)
        if watch.stopped:
            break
    assert image is not None and solution is not None
    image = resize(image, *content_size(config, content.shape, config.size)).clip(0, 1)
    return Result(image, solution.value, solution.aux, watch.step, watch.evaluations, watch.stopped)


def scales_of(
    config: TransferConfig, content: tuple[int, ...], styles: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, int], ...]:
    """(longest side, steps) of each scale that has a position left in the deepest layer of every image; the first of them
    has the steps of those that are left out."""
    least = smallest_side(_layers(config))

    def deep_enough(side: int) -> bool:
        sizes = [content_size(config, content, side), *(style_size(config, shape, side) for shape in styles)]
        return side == config.size or min(min(size) for size in sizes) >= least

    (side, steps), *finer = [(side, n) for side, n in config.schedule() if deep_enough(side)]
    return ((side, config.steps - sum(n for _, n in finer)), *finer)


class _Watch:
    """Counts steps over the scales, from the beginning or from a checkpoint, and tells the callbacks."""

    def __init__(
        self,
        steps: int,
        callback: Callback | None,
        keeper: Callable[[Checkpoint], None] | None,
        resume: Checkpoint | None,
    ):
        self.steps, self.callback, self.keeper, self.resume = steps, callback, keeper, resume
        self.scale, self.step, self.evaluations = (
            (resume.scale, resume.steps, resume.evaluations) if resume else (0, 0, 0)
        )
        self.stopped, self.size = False, (0, 0)
        self.resumed: Run | None = None

    def enter(self, scale: int, size: tuple[int, int]) -> None:
        """At a new scale, and at the first after a resumption where the optimizer stood in it."""
        self.resumed, self.resume = (self.resume.run if self.resume else None), None
        self.scale, self.size = scale, size

    def __call__(self, info: Info) -> bool:
        self.step += 1
        self.evaluations += int(info.evaluations)
        terms = jax.tree.map(float, info.aux)
        taken = bool(info.accepted), bool(info.restarted)
        now = Step(self.step, self.steps, self.size, self.evaluations, float(info.value), terms, *taken)
        self.stopped = bool(self.callback and self.callback(now)) or self.stopped
        return self.stopped

    def keep(self, run: Run) -> None:
        """Between two dispatches."""
        if self.keeper:
            self.keeper(Checkpoint(self.scale, run, self.step, self.evaluations))


def _first_image(config: TransferConfig, content: Picture, styles: list[Picture], h: int, w: int) -> Picture:
    match config.init:
        case "content":
            return resize(content, h, w)
        case "style":
            return resize(styles[0], h, w)
        case "noise":
            return noise(config.seed, h, w)
        case path:
            return resize(read_image(path), h, w)


def _targets_at(content: Picture, styles: list[Picture], vgg: VGG, config: TransferConfig, side: int) -> Targets:
    """Targets at one scale."""
    at_scale = [resize(s, *style_size(config, s.shape, side)) for s in styles]
    image = resize(content, *content_size(config, content.shape, side))
    return _targets(vgg, image, at_scale, config.content_layers, config.style_layers)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _targets(
    vgg: VGG, content: Any, styles: list[Any], content_layers: tuple[str, ...], style_layers: tuple[str, ...]
) -> Targets:
    grams = blend([style_targets(vgg, style, style_layers) for style in styles]) if styles else {}
    return Targets(content_targets(vgg, content, content_layers), grams)


def _needed_bytes(
    config: TransferConfig, network: str, layers: Sequence[str], content: tuple[int, ...], size: int
) -> int:
    """Peak memory at the size of the config or, at most, at another one, whose last scale may have more of the steps."""
    steps = config.schedule()[-1][1] if size == config.size else config.steps
    history = min(config.history, steps) if config.optimizer != "adam" else 2
    # The coarser images of a pyramid are a third more numbers.
    history = round(history * 4 / 3) if config.parameterization == "pyramid" else history
    return predicted_bytes(network, layers, *content_size(config, content, size), history)


def _refuse_small(what: str, layers: Sequence[str], remedy: str) -> None:
    deepest = max(layers)
    raise InputError(
        f"{what}, and layer {deepest} needs at least {smallest_side([deepest])} pixels a side; {remedy} or shallower layers"
    )
