"""The rows of a grid, painted: those that differ only in numbers as lanes of one program, group by group."""

import dataclasses
import functools
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from stylejax.config import TransferConfig
from stylejax.images import color
from stylejax.images.io import read_image
from stylejax.images.resize import Picture
from stylejax.losses.objective import objective
from stylejax.models.architecture import Parameters
from stylejax.models.vgg import VGG
from stylejax.optimizers.base import Info, Minimizer
from stylejax.optimizers.batched import ALIKE, minimize_lanes, placed
from stylejax.optimizers.minimize import Solution
from stylejax.parameterization import Encoded
from stylejax.sweeps.batched_transfer import Watch, width_of
from stylejax.sweeps.grid import Row
from stylejax.synthesis.factories import NETWORK_FIELDS, vgg_of
from stylejax.synthesis.initialization import first_image
from stylejax.synthesis.planning import needed_bytes
from stylejax.synthesis.problem import Problem, build_problem
from stylejax.synthesis.schedule import Scale
from stylejax.synthesis.targets import Inputs, content_at, style_at
from stylejax.synthesis.transfer import Job, Result, coarse_to_fine, finished
from stylejax.synthesis.validation import Plan

LEAVES = ("seed", "init", "content_weight", "style_weight", "tv_weight", "style_scale")
"""Settings that change only the numbers that a program is given. Any other makes another group of rows."""


class Painted(NamedTuple):
    """A row that has ended, with its share of the seconds of the lanes beside it; None for the result where the loss was never
    finite."""

    row: Row
    result: Result | None
    seconds: float


def groups_of(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows that can be lanes of one program: those with the same network, shapes and settings, but for `LEAVES`. Within a
    group the rows of one content follow each other."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        fixed = tuple(getattr(row.config, f.name) for f in dataclasses.fields(TransferConfig) if f.name not in LEAVES)
        sizes = tuple((scale.side, scale.steps, scale.size) for scale in row.plan.schedule)
        groups.setdefault((row.network, fixed, sizes), []).append(row)
    return [sorted(group, key=lambda row: str(row.content)) for group in groups.values()]


def paint(
    rows: Sequence[Row],
    networks: dict[tuple[str, int], Parameters],
    *,
    lanes: int | None = None,
    mesh: Mesh | None = None,
    watch: Callable[[Sequence[Row], Sequence[Info]], bool | None] | None = None,
) -> Generator[Painted, None, None]:
    """Every row, as it ends: group by group, `lanes` at once on each device as `sweep` has it, each from coarse to fine.

    `watch` sees the rows that run with their `Info`, at each step, and ends the sweep by returning True; what has not ended
    then is left out. A row is the picture that `transfer` makes with its settings; on a CPU as one device, bit for bit.
    """
    built: dict[Any, VGG] = {}
    for group in groups_of(rows):
        config = group[0].config
        key = (group[0].network, *(getattr(config, name) for name in NETWORK_FIELDS))
        if key not in built:
            built[key] = placed(vgg_of(config, networks[group[0].network]), mesh, ALIKE)
        vgg, plan = built[key], group[0].plan
        width = width_of(lanes, len(group), mesh, functools.partial(_needed, plan))
        job = _job_maker(vgg, group[0])
        for batch in (group[i : i + width] for i in range(0, len(group), width)):
            began = time.perf_counter()
            told = functools.partial(watch, batch) if watch else None
            results = _run_batch(batch, [job(row) for row in batch], vgg, told, width, mesh)
            if results is None:
                return
            seconds = (time.perf_counter() - began) / len(batch)
            yield from (Painted(row, result, seconds) for row, result in zip(batch, results, strict=True))


def _run_batch(
    batch: Sequence[Row], jobs: Sequence[Job], vgg: VGG, watch: Watch | None, width: int, mesh: Mesh | None
) -> list[Result | None] | None:
    """`transfer` of each row, as lanes; None where `watch` ended it."""
    stopped: list[bool] = []

    def callback(infos: Sequence[Info]) -> bool:
        stopped.append(bool(watch and watch(infos)))
        return stopped[-1]

    def solve(index: int, problems: list[Problem], minimizer: Minimizer, starts: Iterator[Encoded]) -> list[Solution]:
        args = [problem.args[1:] for problem in problems]
        steps = jobs[0].plan.schedule[index].steps
        return minimize_lanes(objective, minimizer, list(starts), vgg, args, steps, callback, width=width, mesh=mesh)

    images, passed = coarse_to_fine(jobs, solve, lambda: stopped[-1], 0)
    if stopped[-1]:
        return None
    return [_result(row, image, scales) for row, image, *scales in zip(batch, images, *passed, strict=True)]


def _result(row: Row, image: Picture, scales: Sequence[Solution]) -> Result | None:
    """None if the loss was not finite at a scale: there `transfer` ends."""
    if any(one.aux is None for one in scales):
        return None
    evaluations = sum(one.evaluations for one in scales)
    content = read_image(row.content) if color.is_after(row.config.color) else image
    image = finished(row.plan, content, image)
    return Result(image, scales[-1].value, scales[-1].aux, row.config.steps, evaluations, False)


def _job_maker(vgg: VGG, first: Row) -> Callable[[Row], Job]:
    """Return what makes the job of a row of the group of `first`. What rows share is read and computed once."""
    picture, mode = functools.lru_cache(8)(read_image), first.config.color
    content, style = _remembered(64, content_at), _remembered(256, style_at)

    @functools.lru_cache(8)
    def inputs(content: Path, styles: tuple[Path, ...]) -> Inputs:
        return Inputs(*color.before(mode, picture(content), [picture(path) for path in styles]))

    def job(row: Row) -> Job:
        # Styles depend on the content only where they take on its colors.
        like = row.content if color.is_of_content(mode) else None

        def build(scale: Scale) -> Problem:
            return build_problem(
                row.plan,
                inputs(row.content, row.styles),
                vgg,
                scale,
                None,
                content_at=functools.partial(content, (row.content, scale.side)),
                style_at=functools.partial(style, (like, row.styles, row.config.style_scale, scale.side)),
            )

        return Job(row.plan, build, lambda size: first_image(row.config, *inputs(row.content, row.styles), size))

    return job


def _remembered(count: int, compute: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of a key and the arguments of `compute` that remembers `count` results on the host, by key."""
    known: dict[Any, Any] = {}

    def call(key: Any, *args: Any) -> Any:
        if key not in known:
            if len(known) == count:
                known.pop(next(iter(known)))
            known[key] = jax.device_get(compute(*args))
        return known[key]

    return call


def _needed(plan: Plan, lanes: int) -> int:
    return needed_bytes(plan.work, plan.partition, lanes)(plan.config.size)
