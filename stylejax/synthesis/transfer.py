"""Style transfer: the content of one image with the style of others, from coarse to fine."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike

from stylejax.config import TransferConfig, part, with_options
from stylejax.errors import InputError
from stylejax.images import color
from stylejax.images.resize import Picture, resize
from stylejax.losses.objective import Terms, shown
from stylejax.models.architecture import Parameters
from stylejax.models.normalize import check_scale, scaled
from stylejax.models.pretrained import resolve
from stylejax.models.vgg import VGG, build_vgg
from stylejax.optimizers.adam import adam
from stylejax.optimizers.base import Info, Minimizer
from stylejax.optimizers.lbfgs import lbfgs, lbfgs_zoom
from stylejax.optimizers.minimize import Run, minimize
from stylejax.parameterization import Encoded, decode
from stylejax.presets import preset
from stylejax.synthesis.problem import Engine, Subject, engine_at
from stylejax.synthesis.regions import Masks, check_masks, read_masks
from stylejax.synthesis.targets import content_size, first_image, kept_at, scales_of, work_of
from stylejax.synthesis.validation import check_image, check_run


class Step(NamedTuple):
    """One step as a callback sees it: `step` of `steps`, which are the share `done` of the run's work, at `size` (height,
    width), the losses at the trial point, and whether the optimizer took it or began anew."""

    step: int
    steps: int
    done: float
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
    masks: Masks | None = None,
    vgg: VGG | None = None,
    config: TransferConfig | None = None,
    callback: Callback | None = None,
    keep: Callable[[Checkpoint], None] | None = None,
    resume: Checkpoint | None = None,
    mesh: Mesh | None = None,
    **options: Any,
) -> Result:
    """A picture with the content of `content` and the style of `style`; of several styles, their mean; of none, if
    `style_weight` is 0.

    Images are arrays (h, w, 3) in [0, 1] of any sizes. `options` are the fields of `TransferConfig`, by the names and with
    the defaults of the command line; `preset` names the ones to start from. `vgg` takes the place of `weights` and `pooling`,
    and `masks` of the files of `content_masks`, `style_masks` and `keep_mask`.
    `callback` sees each step and ends the run, with the best image so far, by returning True. `keep` sees where the run
    stands after each step; what it copies of it goes on from there as `resume`, with the same images and options. `mesh` has
    the devices of `shard` along an axis "rows": jax.make_mesh((n,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,)).
    Raises `InputError` for input that can not work, before the work.
    """
    config = with_options(config or preset(options.pop("preset", "default")), options)
    given = [style] if isinstance(style, str) or not isinstance(style, Sequence) else style
    styles = [check_image(s, "style") for s in given]
    content = check_image(content, "content")
    if vgg is None:
        vgg = vgg_of(config, resolve(config.weights, config.seed)[0])
    elif config.losses != "caffe" and not vgg.normalized:
        raise InputError(
            f"vgg must be a normalized network for --losses {config.losses}, got one as published; build it of "
            "stylejax.normalized(parameters)"
        )
    check_scale(config.losses, vgg.normalized)
    masks = read_masks(config) if masks is None else masks
    shapes = [s.shape for s in styles]
    config = check_run(config, vgg.network, content.shape, shapes, masks)
    devices = part("shard", config.shard) or 1
    if devices > 1 and (mesh is None or mesh.size != devices):
        raise InputError(f"--shard {devices} needs a mesh of {devices} devices; give transfer one, as its text says")
    masks = check_masks(masks, config, content.shape, shapes)
    subject = Subject(*color.before(config.colour, content, styles), masks)
    watch = _Watch(scales_of(config, content.shape, shapes), callback, keep, resume)
    result = _coarse_to_fine(subject, vgg, config, mesh, watch)
    return result._replace(image=_finished(config, content, result.image))


def vgg_of(config: TransferConfig, parameters: Parameters) -> VGG:
    """Build the network of a config, in the scale that its losses need. Raises `InputError` if that cannot be had."""
    return build_vgg(scaled(parameters, config.losses), **network_options(config))


def network_options(config: TransferConfig) -> dict[str, Any]:
    """What of a config decides the network, as `build_vgg` takes it."""
    return {name: getattr(config, name) for name in ("pooling", "padding", "remat", "precision")}


def minimizer_of(config: TransferConfig, steps: int) -> Minimizer:
    """The optimizer of a config, with no more memory than `steps` can fill."""
    history = min(config.history, steps)
    match config.optimizer:
        case "lbfgs":
            return lbfgs(history)
        case "lbfgs-zoom":
            return lbfgs_zoom(history)
        case _:
            return adam(config.learning_rate, config.average)


def picture_of(config: TransferConfig, content: Picture, masks: Masks, checkpoint: Checkpoint) -> Picture:
    """The picture as far as it is, in the size of the result."""
    encoded = minimizer_of(config, 1).result(checkpoint.run.state)
    seen, _ = color.before(config.colour, content, [])
    kept = kept_at(seen, masks, *jax.eval_shape(decode, encoded).shape[:2])
    return _finished(config, content, np.asarray(shown(encoded, kept)))


def _finished(config: TransferConfig, content: Picture, image: Picture) -> Picture:
    """In the size of the result, with the colours that it gets at the end."""
    image = resize(image.clip(0, 1), *content_size(config, content.shape, config.size)).clip(0, 1)
    if not color.is_after(config.colour):
        return image
    return color.after(config.colour, image, resize(content, *image.shape[:2])).clip(0, 1)


def _coarse_to_fine(subject: Subject, vgg: VGG, config: TransferConfig, mesh: Mesh | None, watch: "_Watch") -> Result:
    """Each scale starts from the picture of the one before, with the memory of the optimizer empty. Enlarged with the picture,
    from 128 to 256 pixels, it was in the way: 5, 20 and 80 steps later the loss was 42, 7.7 and 1.18 against 7.1, 1.7 and 1.13.

    Content and style weigh the same at all scales, and the style grows with the picture. At 512 pixels, where that left a
    loss of 0.645, α of 0.1 and 0.3 at the coarse scales left 0.669, of 5 and 2 0.643 with fewer large shapes; a style of
    twice or of half the size at the first, 0.655 and 0.651. At 1024 pixels (Golden Gate by Munch) it left 0.706, and the
    four others 0.763, 0.677, 0.733 and 0.718: the larger α kept a far tower. But it cost a night of van Gogh its swirl and
    two stars, with a loss of 0.486 against 0.484. All were looked at, and none was the finer picture throughout.
    """
    image, solution = None, None
    for index, (side, steps) in enumerate(watch.schedule):
        if index < watch.scale:
            continue
        h, w = content_size(config, subject.content.shape, side)
        watch.enter(index, (h, w))
        engine = engine_at(config, subject, vgg, side, mesh)
        minimizer = engine.minimizer(minimizer_of(config, steps))

        # Whoever holds a large picture once more than needed misses it: the minimizer alone has the first one.
        start = [] if watch.resumed else [_start(config, subject, engine, (h, w), image)]
        image = None
        solution = minimize(
            engine.fn,
            minimizer,
            start.pop() if start else None,
            engine.args,
            steps,
            watch,
            resume=watch.resumed,
            keep=watch.keep,
        )
        image = engine.picture(solution.params)
        solution = solution._replace(params=None, state=None)
        if watch.stopped:
            break
    assert image is not None and solution is not None
    return Result(image, solution.value, solution.aux, watch.step, watch.evaluations, watch.stopped)


def _start(
    config: TransferConfig, subject: Subject, engine: Engine, size: tuple[int, int], before: Picture | None
) -> Encoded:
    """What a scale starts from: the picture of the scale before it, enlarged."""
    image = first_image(config, subject.content, subject.styles, *size) if before is None else resize(before, *size)
    return engine.first(image, config)


class _Watch:
    """Counts steps over the scales, from the beginning or from a checkpoint, and tells the callbacks."""

    def __init__(
        self,
        schedule: Sequence[tuple[int, int]],
        callback: Callback | None,
        keeper: Callable[[Checkpoint], None] | None,
        resume: Checkpoint | None,
    ):
        self.schedule, self.work = schedule, work_of(schedule)
        self.callback, self.keeper, self.resume = callback, keeper, resume
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
        place = self.step, len(self.work), float(self.work[: self.step].sum() / self.work.sum())
        now = Step(*place, self.size, self.evaluations, float(info.value), terms, *taken)
        self.stopped = bool(self.callback and self.callback(now)) or self.stopped
        return self.stopped

    def keep(self, run: Run) -> None:
        """Between two dispatches."""
        if self.keeper:
            self.keeper(Checkpoint(self.scale, run, self.step, self.evaluations))
