"""The rows of a grid, painted: those that differ only in numbers as lanes of one program, group by group."""

import dataclasses
import functools
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from stylejax.config import Losses, TransferConfig
from stylejax.images import color
from stylejax.images.io import read_image
from stylejax.images.resize import Picture, resize
from stylejax.losses.objective import Targets, Terms
from stylejax.losses.weighting import loss_weights
from stylejax.models.architecture import Parameters
from stylejax.models.normalize import scaled
from stylejax.models.vgg import VGG, build_vgg
from stylejax.optimizers.base import Info
from stylejax.optimizers.batched import ALIKE, Lane, placed
from stylejax.sweeps.batched_transfer import Watch, descend, width_of
from stylejax.sweeps.grid import Row
from stylejax.synthesis.planning import needed_bytes
from stylejax.synthesis.regions import check_masks, read_masks
from stylejax.synthesis.targets import VARIATIONS, content_at, content_size, first_image, scales_of, style_at
from stylejax.synthesis.transfer import Result, minimizer_of, network_options

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
        groups.setdefault((row.network, fixed, _schedule(row)), []).append(row)
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

    @functools.cache
    def built(network: tuple[str, int], losses: Losses, **options: Any) -> VGG:
        return placed(build_vgg(scaled(networks[network], losses), **options), mesh, ALIKE)

    for group in groups_of(rows):
        config = group[0].config
        vgg = built(group[0].network, config.losses, **network_options(config))
        width = width_of(
            _most_lanes(config, lanes), len(group), mesh, functools.partial(_needed, group[0], vgg.network)
        )
        lane = _lane_maker(vgg, group[0])
        for batch in (group[i : i + width] for i in range(0, len(group), width)):
            began = time.perf_counter()
            told = functools.partial(watch, batch) if watch else None
            results = _coarse_to_fine(batch, vgg, lane, told, width, mesh)
            if results is None:
                return
            seconds = (time.perf_counter() - began) / len(batch)
            yield from (Painted(row, result, seconds) for row, result in zip(batch, results, strict=True))


def _coarse_to_fine(
    batch: Sequence[Row], vgg: VGG, lane: Callable, watch: Watch | None, width: int, mesh: Mesh | None
) -> list[Result | None] | None:
    """`transfer` of each row, as lanes; None where `watch` ended it."""
    stopped: list[bool] = []

    def callback(infos: Sequence[Info]) -> bool:
        stopped.append(bool(watch and watch(infos)))
        return stopped[-1]

    config, images, passed = batch[0].config, [None] * len(batch), []
    for side, steps, _ in _schedule(batch[0]):
        lanes = [lane(row, side, image) for row, image in zip(batch, images, strict=True)]
        minimizer = minimizer_of(config, steps)
        ended = descend(lanes, vgg, minimizer, config.parameterization, steps, callback, width, mesh)
        if stopped[-1]:
            return None
        images, found = zip(*ended, strict=True)
        passed.append(found)
    return [_result(row, image, scales) for row, image, *scales in zip(batch, images, *passed, strict=True)]


def _result(row: Row, image: Any, scales: Sequence[Lane]) -> Result | None:
    """None if the loss was not finite at a scale: there `transfer` ends."""
    if any(lane.aux is None for lane in scales):
        return None
    evaluations = sum(lane.evaluations for lane in scales)
    if color.is_after(row.config.colour):
        content = resize(read_image(row.content), *image.shape[:2])
        image = color.after(row.config.colour, image, content).clip(0, 1)
    return Result(image, scales[-1].value, scales[-1].aux, row.config.steps, evaluations, False)


def _schedule(row: Row) -> tuple[tuple[int, int, tuple[int, int]], ...]:
    """Longest side, steps, and height and width of each scale."""
    content, *styles = row.shapes
    scales = scales_of(row.config, content, styles)
    return tuple((side, steps, content_size(row.config, content, side)) for side, steps in scales)


def _lane_maker(vgg: VGG, first: Row) -> Callable[[Row, int, Any], tuple[Any, Targets, Terms]]:
    """Makes the first image, targets and weights of a row at a scale, where `image` is what the coarser one gave or None. Rows
    are of the group of `first`. What they share is read and computed once, and kept on the host."""
    config, shapes = first.config, first.shapes
    picture = functools.lru_cache(8)(read_image)
    masks = check_masks(read_masks(config), config, shapes[0], shapes[1:])

    def pictures(content: Path, styles: Sequence[Path]) -> tuple[Picture, list[Picture]]:
        return color.before(config.colour, picture(content), [picture(path) for path in styles])

    @functools.lru_cache(64)
    def content(path: Path, side: int) -> Any:
        return jax.device_get(content_at(pictures(path, ())[0], vgg, config, side, masks))

    @functools.lru_cache(256)
    def style(like: Path, paths: tuple[Path, ...], style_scale: Any, side: int) -> Any:
        scaled = dataclasses.replace(config, style_scale=style_scale)
        return jax.device_get(style_at(shapes[0], pictures(like, paths)[1], vgg, scaled, side, masks))

    def lane(row: Row, side: int, image: Any) -> tuple[Any, Targets, Terms]:
        h, w = content_size(row.config, row.shapes[0], side)
        responses, kept = content(row.content, side)
        like = row.content if color.is_of_content(config.colour) else first.content
        grams, guides = style(like, row.styles, row.config.style_scale, side)
        targets = Targets(responses, grams, guides, kept, VARIATIONS[config.tv])
        if image is None:
            image = first_image(row.config, *pictures(row.content, row.styles), h, w)
        weights = loss_weights(row.config, targets, h * w, vgg.unit())
        return resize(image, h, w), targets, weights

    return lane


def _most_lanes(config: TransferConfig, lanes: int | None) -> int | None:
    """A line search in lanes goes on until the slowest has ended, and takes both branches of every choice."""
    return 1 if config.optimizer == "lbfgs-zoom" else lanes


def _needed(row: Row, network: str, lanes: int) -> int:
    return needed_bytes(row.config, network, row.shapes[0], lanes)(row.config.size)
