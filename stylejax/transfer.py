"""Style transfer: the content of one image with the style of others, from coarse to fine."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from stylejax.config import TransferConfig, preset
from stylejax.errors import InputError
from stylejax.images import Picture, resize
from stylejax.memory import available_bytes, check_memory, predicted_bytes
from stylejax.objective import Terms, objective
from stylejax.optimize import Info, Minimizer, Run, adam, lbfgs, lbfgs_zoom, minimize
from stylejax.parameterize import decode, encode
from stylejax.scales import content_size, first_image, layers_of, loss_weights, scales_of, style_size, targets_at
from stylejax.sources import resolve
from stylejax.vgg import VGG, build_vgg, canonical_layer, smallest_side


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
        vgg = build_vgg(
            resolve(config.weights, config.seed)[0], config.pooling, padding=config.padding, precision=config.precision
        )
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
    if config.init == "style" and not styles:
        raise InputError("--init is 'style', and no style image was given; begin with content, noise or a FILE")
    content_layers = tuple(canonical_layer(name, network) for name in config.content_layers)
    style_layers = tuple(canonical_layer(name, network) for name in config.style_layers)
    config = dataclasses.replace(config, content_layers=content_layers, style_layers=style_layers if styles else ())
    layers = layers_of(config)
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
            image = first_image(config, content, styles, h, w) if image is None else resize(image, h, w)
            image = encode(jnp.asarray(image), config.parameterization)
        targets = targets_at(content, styles, vgg, config, side)
        args = (vgg, targets, loss_weights(config, targets))
        minimizer = minimizer_of(config, steps)
        solution = minimize(objective, minimizer, image, args, steps, watch, resume=watch.resumed, keep=watch.keep)
        image = np.clip(np.asarray(decode(solution.params)), 0, 1)
        if watch.stopped:
            break
    assert image is not None and solution is not None
    image = resize(image, *content_size(config, content.shape, config.size)).clip(0, 1)
    return Result(image, solution.value, solution.aux, watch.step, watch.evaluations, watch.stopped)


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
