"""Run the rows of a sweep in batches: rows that differ only in numbers share a compiled program."""

import functools
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from stylejax.config import TransferConfig
from stylejax.images import color
from stylejax.images.io import read_image_with_alpha
from stylejax.images.resize import HostImage
from stylejax.losses.objective import objective
from stylejax.models.architecture import VGGWeights
from stylejax.models.vgg import VGG
from stylejax.optimizers.base import Info, Minimizer
from stylejax.optimizers.batched import REPLICATED, device_put, minimize_batch
from stylejax.optimizers.minimize import Solution
from stylejax.parameterization import ImageParams
from stylejax.sweeps.batched_transfer import Watch, choose_batch_size
from stylejax.sweeps.grid import Row
from stylejax.synthesis.factories import NETWORK_FIELDS, make_vgg
from stylejax.synthesis.initialization import initial_image
from stylejax.synthesis.planning import memory_estimator
from stylejax.synthesis.problem import Problem, build_problem
from stylejax.synthesis.schedule import Scale
from stylejax.synthesis.targets import Inputs, content_targets_at, style_targets_at
from stylejax.synthesis.transfer import Job, Result, coarse_to_fine, postprocess, recolored
from stylejax.synthesis.validation import Plan

TRACED_FIELDS = ("seed", "init", "content_weight", "style_weight", "tv_weight", "style_scale")
"""Settings that change only the arguments of a compiled program; any other setting makes another group of rows."""


class RowResult(NamedTuple):
    """A finished row, its result (None if the loss was not finite), and its share of the batch's time."""

    row: Row
    result: Result | None
    seconds: float


def group_rows(rows: Sequence[Row]) -> list[list[Row]]:
    """Group rows that share a program: equal networks, shapes and settings except `TRACED_FIELDS`, all gray or none.

    Each group is sorted by content, so that rows of one content follow each other.
    """
    static = [field.name for field in fields(TransferConfig) if field.name not in TRACED_FIELDS]
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        settings = tuple(getattr(row.config, name) for name in static)
        sizes = tuple((scale.side, scale.steps, scale.size) for scale in row.plan.schedule)
        groups.setdefault((row.network, settings, sizes, row.plan.gray), []).append(row)
    return [sorted(group, key=lambda row: str(row.content)) for group in groups.values()]


def run_rows(
    rows: Sequence[Row],
    networks: dict[tuple[str, int], VGGWeights],
    *,
    batch_size: int | None = None,
    mesh: Mesh | None = None,
    watch: Callable[[Sequence[Row], Sequence[Info]], bool | None] | None = None,
) -> Generator[RowResult, None, None]:
    """Yield the result of each row as its batch finishes, group by group.

    Each image equals that of `transfer` with the same settings, bit for bit on a single CPU device.

    Args:
        rows: rows to run.
        networks: weights by `Row.network`.
        batch_size: rows at once on each device; by default 1 on the CPU, else as many as memory is predicted to hold.
        mesh: devices to distribute a batch over, along its only axis `batch`; the first device by default.
        watch: sees the running rows and their `Info` at each step, and ends the sweep by returning True; unfinished rows
            then have no result.
    """
    vggs: dict[Any, VGG] = {}
    for group in group_rows(rows):
        first = group[0]
        if not first.config.total_steps:
            yield from map(_recolored_row, group)
            continue
        key = (first.network, *(getattr(first.config, name) for name in NETWORK_FIELDS))
        if key not in vggs:
            vggs[key] = device_put(make_vgg(first.config, networks[first.network]), mesh, REPLICATED)
        width = choose_batch_size(batch_size, len(group), mesh, functools.partial(_needed_bytes, first.plan))
        make_job = _job_factory(vggs[key], first.config.color)
        for batch in (group[i : i + width] for i in range(0, len(group), width)):
            began = time.perf_counter()
            callback = functools.partial(watch, batch) if watch else None
            results = _run_batch(batch, [make_job(row) for row in batch], vggs[key], callback, width, mesh)
            if results is None:
                return
            seconds = (time.perf_counter() - began) / len(batch)
            yield from (RowResult(row, result, seconds) for row, result in zip(batch, results, strict=True))


def _recolored_row(row: Row) -> RowResult:
    began = time.perf_counter()
    content, *styles = (read_image_with_alpha(path)[0] for path in (row.content, *row.styles))
    return RowResult(row, recolored(row.plan, content, styles), time.perf_counter() - began)


def _run_batch(
    batch: Sequence[Row], jobs: Sequence[Job], vgg: VGG, watch: Watch | None, batch_size: int, mesh: Mesh | None
) -> list[Result | None] | None:
    """Run rows as one batch from coarse to fine; return None if `watch` ended it."""
    stopped = False

    def callback(infos: Sequence[Info]) -> bool:
        nonlocal stopped
        stopped = bool(watch and watch(infos))
        return stopped

    def solve(
        index: int, problems: list[Problem], minimizer: Minimizer, starts: Iterator[ImageParams]
    ) -> list[Solution]:
        args = [problem.args[1:] for problem in problems]
        steps = jobs[0].plan.schedule[index].steps
        return minimize_batch(
            objective, minimizer, list(starts), vgg, args, steps, callback, batch_size=batch_size, mesh=mesh
        )

    images, solutions = coarse_to_fine(jobs, solve, lambda: stopped, 0)
    if stopped:
        return None
    return [_result(row, image, scales) for row, image, *scales in zip(batch, images, *solutions, strict=True)]


def _result(row: Row, image: HostImage, scales: Sequence[Solution]) -> Result | None:
    """Return the result of a row; None if the loss was not finite at a scale, at which `transfer` raises."""
    if any(math.isinf(solution.value) for solution in scales):
        return None
    content = read_image_with_alpha(row.content)[0] if color.restores_color(row.config.color) else image
    image = postprocess(row.plan, content, image)
    evaluations, last = sum(solution.evaluations for solution in scales), scales[-1]
    return Result(image, last.value, last.aux, row.config.steps, evaluations, False, last.first_value)


def _job_factory(vgg: VGG, mode: color.ColorMode) -> Callable[[Row], Job]:
    """Return a function that makes the job of a row; the jobs share cached images and targets."""
    read = functools.lru_cache(8)(read_image_with_alpha)
    content_targets, style_targets = _cached_by_key(64, content_targets_at), _cached_by_key(256, style_targets_at)

    @functools.lru_cache(8)
    def inputs(content: Path, styles: tuple[Path, ...]) -> Inputs:
        (image, *style_images), alpha = zip(*map(read, (content, *styles)), strict=True)
        return Inputs(*color.apply_color_mode(mode, image, style_images, alpha))

    def make_job(row: Row) -> Job:
        # Some color modes give the styles the colors of the content.
        content = row.content if color.styles_depend_on_content(mode) else None

        def build(scale: Scale) -> Problem:
            return build_problem(
                row.plan,
                inputs(row.content, row.styles),
                vgg,
                scale,
                None,
                content_at=functools.partial(content_targets, (row.content, scale.side)),
                style_at=functools.partial(style_targets, (content, row.styles, row.config.style_scale, scale.side)),
            )

        def first(size: tuple[int, int]) -> HostImage:
            return initial_image(row.config, *inputs(row.content, row.styles), size, row.plan.initial)

        return Job(row.plan, build, first)

    return make_job


def _cached_by_key(maximum: int, compute: Callable[..., Any]) -> Callable[..., Any]:
    """Return `compute` with a key as a new first argument; it keeps the last results on the host."""
    results: dict[Any, Any] = {}

    def call(key: Any, *args: Any) -> Any:
        if key not in results:
            if len(results) == maximum:
                results.pop(next(iter(results)))
            results[key] = jax.device_get(compute(*args))
        return results[key]

    return call


def _needed_bytes(plan: Plan, batch_size: int) -> int:
    return memory_estimator(plan.workload, plan.partition, batch_size)(plan.config.side)
