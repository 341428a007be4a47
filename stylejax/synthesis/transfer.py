"""Style transfer from coarse to fine."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike

from stylejax.config import TransferConfig, replace_fields
from stylejax.errors import InputError
from stylejax.images import color
from stylejax.images.resize import HostImage, crop_edges, resize, resize_mask
from stylejax.losses.objective import LossTerms, compose_image
from stylejax.models.pretrained import load_pretrained
from stylejax.models.vgg import VGG
from stylejax.optimizers.base import Info, Minimizer, host_only
from stylejax.optimizers.minimize import LoopState, Solution, minimize
from stylejax.parameterization import ImageParams, to_image
from stylejax.presets import preset
from stylejax.synthesis.arguments import as_arrays, check_image, pop_arrays, require_kind, require_vgg
from stylejax.synthesis.factories import make_minimizer, make_vgg, require_published_weights
from stylejax.synthesis.initialization import initial_image
from stylejax.synthesis.problem import Problem, build_problem
from stylejax.synthesis.regions import Masks, read_masks, style_mask
from stylejax.synthesis.schedule import Scale, style_crop, work
from stylejax.synthesis.targets import Inputs, preserved_region
from stylejax.synthesis.validation import Plan, plan_images


class Step(NamedTuple):
    """Progress of a run after `step` of `steps`, which are a share `done` of its computation.

    `size` is (height, width). `loss` and `terms` are those of the trial point, which the optimizer accepted or not.
    """

    step: int
    steps: int
    done: float
    size: tuple[int, int]
    evaluations: int
    loss: float
    terms: LossTerms
    accepted: bool
    restarted: bool


class Checkpoint(NamedTuple):
    """State of a run between two steps: index of its scale, loop state, steps and evaluations so far."""

    scale: int
    loop_state: LoopState
    steps: int
    evaluations: int


class Result(NamedTuple):
    """Image in [0, 1] with its losses, and the cost of the run, which a callback may have interrupted.

    `initial_loss` is that of the image that the last scale began with.
    """

    image: HostImage
    loss: float
    terms: LossTerms
    steps: int
    evaluations: int
    interrupted: bool
    initial_loss: float

    @property
    def improved(self) -> bool:
        """Return whether a step of the last scale has lowered the loss, unless it was 0."""
        return self.loss < self.initial_loss or self.loss == 0


Callback = Callable[[Step], bool | None]


class Job(NamedTuple):
    """Plan of a run, and functions that build the problem of a scale and the initial image of a size."""

    plan: Plan
    build: Callable[[Scale], Problem]
    first: Callable[[tuple[int, int]], HostImage]


Solve: TypeAlias = Callable[[int, list[Problem], Minimizer, Iterator[ImageParams]], list[Solution]]


@host_only
def transfer(
    content: ArrayLike,
    style: ArrayLike | Sequence[ArrayLike] = (),
    *,
    masks: Masks | None = None,
    vgg: VGG | None = None,
    config: TransferConfig | None = None,
    callback: Callback | None = None,
    on_checkpoint: Callable[[Checkpoint], None] | None = None,
    resume_from: Checkpoint | None = None,
    mesh: Mesh | None = None,
    **options: Any,
) -> Result:
    """Return an image with the content of `content` and the style of `style`.

    Args:
        content: image (h, w, 3) in [0, 1], of any size.
        style: one such image, or several to blend; none if `style_weight` is 0.
        masks: masks of the regions, arrays or paths; by default the options `content_masks`, `style_masks` and `preserve_mask`.
        vgg: network; by default that of `weights` and `pooling`.
        config: base settings; by default those of the command line.
        callback: receives each step, and ends the run with the best image so far by returning True.
        on_checkpoint: receives the state of the run after each step; copy it to use it as `resume_from`.
        resume_from: checkpoint of a run with the same images and settings.
        mesh: devices of `shard`, with one axis "rows":
            jax.make_mesh((n,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,)).
        **options: fields of `TransferConfig`, or `preset`, the name of the base settings. Image files may be arrays.

    Returns:
        The image with its losses.

    Raises:
        InputError: an image, a mask or a setting is invalid; raised before the computation.
    """
    _check_kinds(config, masks, callback, on_checkpoint, resume_from, mesh)
    initial, mask_arrays = pop_arrays(options)
    config = replace_fields(preset(options.pop("preset", "default")) if config is None else config, options)
    styles = [style] if isinstance(style, str) or not isinstance(style, Sequence) else style
    styles = [check_image(image, "style") for image in styles]
    content = check_image(content, "content")
    if vgg is None:
        vgg = make_vgg(config, load_pretrained(config.weights, config.seed)[0])
    require_vgg(vgg)
    _check_network(config, vgg)
    masks = as_arrays((read_masks(config) if masks is None else masks)._replace(**mask_arrays))
    plan = plan_images(config, vgg.network, content, styles, masks)
    plan = plan if initial is None else plan._replace(initial=initial)
    return run_plan(
        plan, content, styles, vgg, callback=callback, on_checkpoint=on_checkpoint, resume_from=resume_from, mesh=mesh
    )


def run_plan(
    plan: Plan,
    content: HostImage,
    styles: list[HostImage],
    vgg: VGG,
    *,
    callback: Callback | None,
    on_checkpoint: Callable[[Checkpoint], None] | None,
    resume_from: Checkpoint | None,
    mesh: Mesh | None,
) -> Result:
    """Run a plan on its images; the other arguments are those of `transfer`."""
    if not plan.config.total_steps:
        return recolored(plan, content, styles)
    shards = plan.partition.shards
    if shards > 1 and (mesh is None or mesh.size != shards):
        devices = mesh.size if mesh else 0
        raise InputError(f"mesh must have {shards} devices for --shard {shards}, got {devices}; give transfer a mesh")
    inputs = Inputs(*color.apply_color_mode(plan.config.color, content, styles, plan.masks.alpha))
    job = Job(
        plan,
        functools.partial(build_problem, plan, inputs, vgg, mesh=mesh),
        functools.partial(initial_image, plan.config, *inputs, initial=plan.initial),
    )
    first, state, steps, evaluations = resume_from if resume_from is not None else (0, None, 0, 0)
    watch = _Watch(plan.schedule, callback, on_checkpoint, first, steps, evaluations)

    def solve(
        index: int, problems: list[Problem], minimizer: Minimizer, starts: Iterator[ImageParams]
    ) -> list[Solution]:
        (problem,), steps, watch.scale = problems, plan.schedule[index].steps, index
        resumed = state if index == first else None
        options = {"callback": watch, "resume_from": resumed, "on_state": watch.on_state}
        # No name is bound to the initial image, so that its memory is freed during the run.
        return [minimize(problem.fn, minimizer, None if resumed else next(starts), problem.args, steps, **options)]

    (image,), solutions = coarse_to_fine([job], solve, lambda: watch.interrupted, first)
    (last,), cost = solutions[-1], (watch.step, watch.evaluations, watch.interrupted)
    return Result(postprocess(plan, content, image), last.value, last.aux, *cost, last.first_value)


def recolored(plan: Plan, content: HostImage, styles: Sequence[HostImage]) -> Result:
    """Return the result of a plan without steps: the content in the colors of the style, except in its preserved region."""
    scale, crop = plan.schedule[-1], style_crop(plan.config)
    images = resize(content, *scale.size), resize(crop_edges(styles[0], crop), *scale.style_sizes[0])
    shown = plan.masks.content_alpha
    shown = None if shown is None else resize_mask(shown, *scale.size)
    image = color.recolor(*images, shown, style_mask(plan.masks, 0, 1, *scale.style_sizes[0], crop))
    if plan.masks.preserve is not None:
        image += resize_mask(plan.masks.preserve, *scale.size)[..., None] * (images[0] - image)
    return Result(image.clip(0, 1), 0.0, LossTerms({}, {}, 0.0), 0, 0, False, 0.0)


def coarse_to_fine(
    jobs: Sequence[Job], solve: Solve, stopped: Callable[[], bool], first: int
) -> tuple[list[HostImage], list[list[Solution]]]:
    """Run all scales; each starts from the upsampled previous images with a fresh optimizer state.

    Deviation: the paper has a single scale. docs/design.md has measurements of other schedules.

    Args:
        jobs: runs with the same schedule, except for the sizes of the styles.
        solve: minimizes the problems of the scale with an index, each from its initial parameters.
        stopped: whether to end after this scale.
        first: index of the first scale to run.

    Returns:
        The last image of each job, and by scale the solution of each job, without its parameters.
    """
    images: list[Any] = [None] * len(jobs)
    by_scale = []
    plan = jobs[0].plan
    for index in range(first, len(plan.schedule)):
        problems = [job.build(job.plan.schedule[index]) for job in jobs]
        minimizer = problems[0].minimizer(make_minimizer(plan.config, plan.schedule[index].steps))
        solutions = solve(index, problems, minimizer, _starts(jobs, problems, index, images))
        images = [problem.image(solution.params) for problem, solution in zip(problems, solutions, strict=True)]
        by_scale.append([solution._replace(params=None) for solution in solutions])
        if stopped():
            break
    return images, by_scale


def _starts(jobs: Sequence[Job], problems: list[Problem], index: int, images: list[Any]) -> Iterator[ImageParams]:
    """Yield the initial parameters of each job, and drop its image, so that no second copy is held."""
    for job, problem in zip(jobs, problems, strict=True):
        size, image = job.plan.schedule[index].size, images.pop(0)
        image = job.first(size) if image is None else resize(image, *size)
        yield problem.params(image)


def render_checkpoint(plan: Plan, content: HostImage, checkpoint: Checkpoint) -> HostImage:
    """Return the best image of a checkpoint, at the size of the result."""
    params = make_minimizer(plan.config, 1).result(checkpoint.loop_state.state)
    visible, _ = color.apply_color_mode(plan.config.color, content, [])
    preserved = preserved_region(visible, plan.masks, *jax.eval_shape(to_image, params).shape[:2])
    return postprocess(plan, content, np.asarray(compose_image(params, preserved)))


def postprocess(plan: Plan, content: HostImage, image: HostImage) -> HostImage:
    """Resize an image to the result, and restore the colors of the content if the color mode does."""
    image = resize(image.clip(0, 1), *plan.schedule[-1].size).clip(0, 1)
    if not color.restores_color(plan.config.color):
        return image
    return color.restore_color(plan.config.color, image, resize(content, *image.shape[:2])).clip(0, 1)


def _check_kinds(config: Any, masks: Any, callback: Any, on_checkpoint: Any, resume_from: Any, mesh: Any) -> None:
    """Raise `InputError` for an argument of another kind than `transfer` takes."""
    for name, value, kind, description in (
        ("config", config, TransferConfig, "a stylejax.TransferConfig"),
        ("masks", masks, Masks, "stylejax.Masks(content=[…], style=[…], preserve=…)"),
        ("callback", callback, Callable, "a function"),
        ("on_checkpoint", on_checkpoint, Callable, "a function"),
        ("resume_from", resume_from, Checkpoint, "what on_checkpoint received"),
        ("mesh", mesh, Mesh, "a jax.sharding.Mesh"),
    ):
        if value is not None:
            require_kind(name, value, kind, description)


def _check_network(config: TransferConfig, vgg: VGG) -> None:
    require_published_weights(config, vgg.normalized)
    if config.loss_normalization != "caffe" and not vgg.normalized:
        raise InputError(
            f"vgg must be a normalized network for --loss-normalization {config.loss_normalization}, got one as published; "
            "build it from stylejax.normalized(parameters)"
        )


@dataclasses.dataclass(eq=False)
class _Watch:
    """Counter of steps and evaluations over the scales, which calls the callbacks."""

    schedule: Sequence[Scale]
    callback: Callback | None
    on_checkpoint: Callable[[Checkpoint], None] | None
    scale: int
    step: int
    evaluations: int
    interrupted: bool = False

    def __post_init__(self) -> None:
        self.steps = sum(scale.steps for scale in self.schedule)
        self.work = work(self.schedule, self.steps)

    def __call__(self, info: Info) -> bool:
        self.step += 1
        self.evaluations += int(info.evaluations)
        done, size = work(self.schedule, self.step) / self.work, self.schedule[self.scale].size
        trial = float(info.value), jax.tree.map(float, info.aux), bool(info.accepted), bool(info.restarted)
        progress = Step(self.step, self.steps, done, size, self.evaluations, *trial)
        self.interrupted = bool(self.callback and self.callback(progress)) or self.interrupted
        return self.interrupted

    def on_state(self, state: LoopState) -> None:
        if self.on_checkpoint:
            self.on_checkpoint(Checkpoint(self.scale, state, self.step, self.evaluations))
