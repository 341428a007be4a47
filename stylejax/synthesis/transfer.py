"""Style transfer: the content of one image with the style of others, from coarse to fine."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike

from stylejax.config import TransferConfig, with_options
from stylejax.errors import InputError
from stylejax.images import color
from stylejax.images.resize import Picture, resize
from stylejax.losses.objective import Terms, shown
from stylejax.models.pretrained import resolve
from stylejax.models.vgg import VGG
from stylejax.optimizers.base import Info, Minimizer
from stylejax.optimizers.minimize import Run, Solution, minimize
from stylejax.parameterization import Encoded, decode
from stylejax.presets import preset
from stylejax.synthesis.factories import check_scale, minimizer_of, vgg_of
from stylejax.synthesis.initialization import first_image
from stylejax.synthesis.problem import Problem, build_problem
from stylejax.synthesis.regions import Masks, read_masks
from stylejax.synthesis.schedule import Scale, step_costs
from stylejax.synthesis.targets import Inputs, kept_at
from stylejax.synthesis.validation import Plan, check_image, make_plan


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
    """State of a transfer between two steps: index of the scale, state of the optimizer in it, steps and evaluations so far."""

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


class Job(NamedTuple):
    """A run as the loop over scales takes it: its plan, what builds the problem of a scale, and the first image of a size."""

    plan: Plan
    build: Callable[[Scale], Problem]
    first: Callable[[tuple[int, int]], Picture]


Solve: TypeAlias = Callable[[int, list[Problem], Minimizer, Iterator[Encoded]], list[Solution]]


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
    """Return an image with the content of `content` and the style of `style`.

    Args:
        content: image (h, w, 3) in [0, 1], of any size.
        style: one such image, or several for their mean; none if `style_weight` is 0.
        masks: take the place of the files of `content_masks`, `style_masks` and `keep_mask`.
        vgg: takes the place of `weights` and `pooling`.
        config: the settings to start from; the defaults of the command line without one.
        callback: sees each step, and ends the run with the best image so far by returning True.
        keep: sees the state of the run after each step; a copy of it can be given as `resume`.
        resume: a checkpoint to go on from, with the same images and settings.
        mesh: the devices of `shard` along an axis "rows":
            jax.make_mesh((n,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,)).
        options: fields of `TransferConfig`, or `preset`, the name of the ones to start from.

    Returns:
        The image, its losses and what they took.

    Raises:
        InputError: the run cannot work; raised before the work.
    """
    config = with_options(config or preset(options.pop("preset", "default")), options)
    given = [style] if isinstance(style, str) or not isinstance(style, Sequence) else style
    styles = [check_image(s, "style") for s in given]
    content = check_image(content, "content")
    if vgg is None:
        vgg = vgg_of(config, resolve(config.weights, config.seed)[0])
    _check_network(config, vgg)
    masks = read_masks(config) if masks is None else masks
    plan = make_plan(config, vgg.network, content.shape, [s.shape for s in styles], masks)
    return run_plan(plan, content, styles, vgg, callback=callback, keep=keep, resume=resume, mesh=mesh)


def run_plan(
    plan: Plan,
    content: Picture,
    styles: list[Picture],
    vgg: VGG,
    *,
    callback: Callback | None,
    keep: Callable[[Checkpoint], None] | None,
    resume: Checkpoint | None,
    mesh: Mesh | None,
) -> Result:
    """Run a plan on the images that it was made for, as `transfer` does."""
    shards = plan.partition.shards
    if shards > 1 and (mesh is None or mesh.size != shards):
        raise InputError(f"--shard {shards} needs a mesh of {shards} devices; give transfer one, as its text says")
    inputs = Inputs(*color.before(plan.config.color, content, styles))
    job = Job(
        plan,
        functools.partial(build_problem, plan, inputs, vgg, mesh=mesh),
        functools.partial(first_image, plan.config, *inputs),
    )
    watch = _Watch(plan.schedule, callback, keep, resume)

    def solve(index: int, problems: list[Problem], minimizer: Minimizer, starts: Iterator[Encoded]) -> list[Solution]:
        (problem,), steps, resumed = problems, plan.schedule[index].steps, watch.enter(index)
        how = {"callback": watch, "resume": resumed, "keep": watch.keep}
        # Nothing here holds the first image during the run.
        return [minimize(problem.fn, minimizer, None if resumed else next(starts), problem.args, steps, **how)]

    first = resume.scale if resume else 0
    (image,), passed = coarse_to_fine([job], solve, lambda: watch.stopped, first)
    loss, terms = passed[-1][0].value, passed[-1][0].aux
    return Result(finished(plan, content, image), loss, terms, watch.step, watch.evaluations, watch.stopped)


def coarse_to_fine(
    jobs: Sequence[Job], solve: Solve, stopped: Callable[[], bool], first: int
) -> tuple[list[Picture], list[list[Solution]]]:
    """Run all scales: each starts from the images of the scale before, enlarged, with the memory of the optimizer empty.

    Measurements of other ways are in docs/design.md.

    Args:
        jobs: runs of one schedule, but for the sizes of the styles.
        solve: minimizes the problems of the scale with that index, each from its start.
        stopped: whether to end after this scale.
        first: index of the scale to begin with.

    Returns:
        The last image of each job, and by scale the solution of each job, without its parameters.
    """
    images: list[Any] = [None] * len(jobs)
    passed = []
    for index in range(first, len(jobs[0].plan.schedule)):
        problems = [job.build(job.plan.schedule[index]) for job in jobs]
        plan = jobs[0].plan
        minimizer = problems[0].minimizer(minimizer_of(plan.config, plan.schedule[index].steps))
        solutions = solve(index, problems, minimizer, _starts(jobs, problems, index, images))
        images = [problem.image(one.params) for problem, one in zip(problems, solutions, strict=True)]
        passed.append([one._replace(params=None) for one in solutions])
        if stopped():
            break
    return images, passed


def _starts(jobs: Sequence[Job], problems: list[Problem], index: int, images: list[Any]) -> Iterator[Encoded]:
    """Yield the first parameters of each job, and let go of its image: a second copy of a large image is too much."""
    for job, problem in zip(jobs, problems, strict=True):
        size, image = job.plan.schedule[index].size, images.pop(0)
        image = job.first(size) if image is None else resize(image, *size)
        yield problem.params(image)


def picture_of(plan: Plan, content: Picture, checkpoint: Checkpoint) -> Picture:
    """Return the image of a checkpoint, in the size of the result."""
    encoded = minimizer_of(plan.config, 1).result(checkpoint.run.state)
    seen, _ = color.before(plan.config.color, content, [])
    kept = kept_at(seen, plan.masks, *jax.eval_shape(decode, encoded).shape[:2])
    return finished(plan, content, np.asarray(shown(encoded, kept)))


def finished(plan: Plan, content: Picture, image: Picture) -> Picture:
    """Return an image in the size of the result, with the colors that it gets at the end."""
    image = resize(image.clip(0, 1), *plan.schedule[-1].size).clip(0, 1)
    if not color.is_after(plan.config.color):
        return image
    return color.after(plan.config.color, image, resize(content, *image.shape[:2])).clip(0, 1)


def _check_network(config: TransferConfig, vgg: VGG) -> None:
    check_scale(config, vgg.normalized)
    if config.losses != "caffe" and not vgg.normalized:
        raise InputError(
            f"vgg must be a normalized network for --losses {config.losses}, got one as published; build it of "
            "stylejax.normalized(parameters)"
        )


class _Watch:
    """Counts steps over the scales, from the beginning or from a checkpoint, and tells the callbacks."""

    def __init__(
        self,
        schedule: Sequence[Scale],
        callback: Callback | None,
        keeper: Callable[[Checkpoint], None] | None,
        resume: Checkpoint | None,
    ):
        self.schedule, self.costs = schedule, step_costs(schedule)
        self.callback, self.keeper, self.resume = callback, keeper, resume
        self.step, self.evaluations = (resume.steps, resume.evaluations) if resume else (0, 0)
        self.scale, self.stopped = 0, False

    def enter(self, scale: int) -> Run | None:
        """Begin a scale; return where the optimizer stood in it, at the first one after a resumption."""
        self.scale, resume, self.resume = scale, self.resume, None
        return resume.run if resume else None

    def __call__(self, info: Info) -> bool:
        self.step += 1
        self.evaluations += int(info.evaluations)
        terms = jax.tree.map(float, info.aux)
        taken = bool(info.accepted), bool(info.restarted)
        place = self.step, len(self.costs), float(self.costs[: self.step].sum() / self.costs.sum())
        now = Step(*place, self.schedule[self.scale].size, self.evaluations, float(info.value), terms, *taken)
        self.stopped = bool(self.callback and self.callback(now)) or self.stopped
        return self.stopped

    def keep(self, run: Run) -> None:
        """Between two dispatches."""
        if self.keeper:
            self.keeper(Checkpoint(self.scale, run, self.step, self.evaluations))
