"""Many runs in one compiled program: lanes that share the network and differ in their weights, targets and first images."""

import dataclasses
import functools
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from stylejax import colours
from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.grid import Row
from stylejax.images import read_image
from stylejax.lanes import ALIKE, Lane, minimize_lanes, placed
from stylejax.lbfgs import HISTORY, lbfgs
from stylejax.memory import available_bytes, lanes_that_fit, predicted_bytes
from stylejax.minimizer import Info, Minimizer
from stylejax.network import Parameters
from stylejax.objective import Targets, Terms, objective, shown
from stylejax.parameterize import Parameterization, encode
from stylejax.plan import needed_bytes
from stylejax.regions import check_masks, read_masks
from stylejax.resizing import Picture, resize
from stylejax.scales import content_at, content_size, first_image, loss_weights, scales_of, style_at
from stylejax.transfer import Result, minimizer_of, network_options
from stylejax.vgg import VGG, build_vgg

LEAVES = ("seed", "init", "content_weight", "style_weight", "tv_weight", "balance", "style_scale")
"""Settings that change only the numbers that a program is given. Any other makes another group of rows."""

RANKS = (3, Targets(3, 2), Terms(0, 0, 0))  # type: ignore[arg-type]
"""Axes of one lane's image, targets and weights."""

Watch: TypeAlias = Callable[[Sequence[Info]], bool | None]


class Swept(NamedTuple):
    """The images of all lanes, clipped to [0, 1], with their losses; infinite, and its terms NaN, where a lane never had a
    finite one."""

    images: Float[np.ndarray, "n h w 3"]
    losses: Float[np.ndarray, " n"]
    terms: Terms


class Painted(NamedTuple):
    """A row that has ended, with its share of the seconds of the lanes beside it; None for the result where the loss was never
    finite."""

    row: Row
    result: Result | None
    seconds: float


def sweep(
    images: Any,
    vgg: VGG,
    targets: Targets,
    weights: Terms,
    *,
    steps: int = 500,
    minimizer: Minimizer | None = None,
    parameterization: Parameterization = "pyramid",
    lanes: int | None = None,
    mesh: Mesh | None = None,
    callback: Watch | None = None,
) -> Swept:
    """Minimizes the objective of many images in one program, at one size.

    `images` (h, w, 3), `targets` and `weights` are those of `objective`, stacked: a leaf with one axis more has one entry a
    lane, a leaf without it is the same for all. `lanes` run at once on each device of `mesh`, whose one axis is named `lanes`,
    or on the first device without one; where nothing is said, as many as memory is predicted to hold or, on the CPU, one.
    `callback` sees the `Info` of the lanes that run, at each step, and ends them by returning True.
    Raises `InputError` when leaves disagree on how many lanes there are.
    """
    alone = _lanes_of((images, targets, weights))
    h, w, _ = alone[0][0].shape
    layers = (*targets.content, *targets.style)

    def needed(count: int) -> int:
        return predicted_bytes(vgg.network, layers, h, w, round(HISTORY * 4 / 3), lanes=count)

    width = _width(lanes, len(alone), mesh, needed)
    how = (vgg, minimizer or lbfgs(), parameterization, steps, callback, width, mesh)
    ended = [one for i in range(0, len(alone), width) for one in _descend(alone[i : i + width], *how)]
    found = [lane.aux or jax.tree.map(lambda _: np.nan, one[2]) for one, (_, lane) in zip(alone, ended, strict=True)]
    terms = jax.tree.map(lambda *parts: np.asarray(parts, np.float32), *found)
    losses = np.asarray([lane.value for _, lane in ended], np.float32)
    return Swept(np.stack([image for image, _ in ended]), losses, terms)


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
    then is left out. A row is the picture that `transfer` makes with its settings; on the CPU with one lane, bit for bit.
    """

    @functools.cache
    def built(network: tuple[str, int], **options: Any) -> VGG:
        return placed(build_vgg(networks[network], **options), mesh, ALIKE)

    for group in groups_of(rows):
        config = group[0].config
        vgg = built(group[0].network, **network_options(config))
        width = _width(_most_lanes(config, lanes), len(group), mesh, functools.partial(_needed, group[0], vgg.network))
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
        ended = _descend(lanes, vgg, minimizer, config.parameterization, steps, callback, width, mesh)
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
    if colours.is_after(row.config.colour):
        content = resize(read_image(row.content), *image.shape[:2])
        image = colours.after(row.config.colour, image, content).clip(0, 1)
    return Result(image, scales[-1].value, scales[-1].aux, row.config.steps, evaluations, False)


def _descend(
    lanes: Sequence[tuple[Any, Targets, Terms]],
    vgg: VGG,
    minimizer: Minimizer,
    parameterization: Parameterization,
    steps: int,
    callback: Watch | None,
    width: int,
    mesh: Mesh | None,
) -> list[tuple[np.ndarray, Lane]]:
    """Lanes of an image, targets and weights: the best image of each, and how it was found."""
    starts = [encode(jnp.asarray(image), parameterization) for image, _, _ in lanes]
    args = [(targets, weights) for _, targets, weights in lanes]
    ended = minimize_lanes(objective, minimizer, starts, vgg, args, steps, callback, width=width, mesh=mesh)
    images = (shown(lane.params, targets.kept) for lane, (targets, _) in zip(ended, args, strict=True))
    return [(np.clip(np.asarray(image), 0, 1), lane) for image, lane in zip(images, ended, strict=True)]


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
        return colours.before(config.colour, picture(content), [picture(path) for path in styles])

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
        like = row.content if colours.is_of_content(config.colour) else first.content
        grams, guides = style(like, row.styles, row.config.style_scale, side)
        targets = Targets(responses, grams, guides, kept)
        if image is None:
            image = first_image(row.config, *pictures(row.content, row.styles), h, w)
        return resize(image, h, w), targets, loss_weights(row.config, jax.tree.map(jnp.asarray, targets), h * w)

    return lane


def _most_lanes(config: TransferConfig, lanes: int | None) -> int | None:
    """A line search in lanes goes on until the slowest has ended, and takes both branches of every choice."""
    return 1 if config.optimizer == "lbfgs-zoom" else lanes


def _needed(row: Row, network: str, lanes: int) -> int:
    return needed_bytes(row.config, network, row.shapes[0], lanes)(row.config.size)


def _width(lanes: int | None, count: int, mesh: Mesh | None, needed: Callable[[int], int]) -> int:
    """Lanes of a program, on all devices together."""
    devices = mesh.size if mesh else 1
    if lanes is None and jax.default_backend() == "cpu":
        lanes = 1
    most = -(-count // devices)
    return devices * (min(lanes, most) if lanes else lanes_that_fit(needed, available_bytes(), most))


def _lanes_of(trees: tuple[Any, Targets, Terms]) -> list[tuple[Any, Targets, Terms]]:
    """Each lane's own trees. Raises `InputError` where leaves have different numbers of lanes."""
    leaves, structure = jax.tree.flatten(jax.device_get(trees))
    ranks = jax.tree.leaves(jax.tree.broadcast(RANKS, trees))
    counts = {len(leaf) for leaf, rank in zip(leaves, ranks, strict=True) if np.ndim(leaf) > rank}
    if len(counts) != 1:
        given = f"of {sorted(counts)} lanes" if counts else "of one lane, without an axis of lanes"
        raise InputError(f"images, targets and weights are {given}; stack leaves of as many lanes as there should be")

    def lane(i: int) -> Any:
        own = [leaf[i] if np.ndim(leaf) > rank else leaf for leaf, rank in zip(leaves, ranks, strict=True)]
        return jax.tree.unflatten(structure, own)

    return [lane(i) for i in range(counts.pop())]
