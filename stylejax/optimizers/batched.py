"""Many minimizations as lanes of one program, on one device or spread over several.

A lane is one minimization: its own start, state and arguments, stacked along the first axis. What all lanes share, such as the
network, is never stacked: kernels with an axis of lanes would make convolutions of as many groups. A lane that has converged,
or whose values are not finite, computes what the others do, and changes nothing of theirs.

XLA rounds otherwise where there is a batch, several devices, or another program, and L-BFGS makes a hundred times as much of a
difference every ten steps. So on a CPU as one device, where a batch gains nothing, lanes take their steps in turn, by the
program of a single run: there each is that run, bit for bit.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from stylejax.optimizers.base import Function, Info, Minimizer
from stylejax.optimizers.lbfgs_direction import Params
from stylejax.optimizers.minimize import Run, advance, begin, by_step, chunk_length, noted

AXIS = "lanes"
"""The one axis of a mesh that lanes are spread over."""

SPREAD, ALIKE, LATER = PartitionSpec(AXIS), PartitionSpec(), PartitionSpec(None, AXIS)
"""To each device its lanes; the same to all; the lanes of several steps."""


class Lane(NamedTuple):
    """The result of a lane, the least value and its parts; `aux` is None where no step had a finite value."""

    params: Params
    value: float
    aux: Any
    evaluations: int


def minimize_lanes(
    fn: Function,
    minimizer: Minimizer,
    params: Sequence[Params],
    shared: Any,
    args: Sequence[tuple],
    steps: int,
    callback: Callable[[list[Info]], bool | None] | None = None,
    *,
    width: int | None = None,
    mesh: Mesh | None = None,
) -> list[Lane]:
    """What `minimize` does to `fn(params, shared, *args)`, from each of `params` with the `args` in the same place.

    `callback` sees the `Info` of every lane at each step, and ends the run by returning True. Lanes are spread over the devices
    of `mesh`, whose one axis is named `lanes`; without one they are all on the first device. Their number need not divide:
    copies of the first fill up a program of `width` lanes, by default the least that divides, and are dropped.
    """
    count, devices = len(params), mesh.size if mesh else 1
    width = width or -(-count // devices) * devices
    if width == 1 or (mesh is None and jax.default_backend() == "cpu"):
        each = [placed((shared, *own), mesh, ALIKE) for own in args]
        return _in_turn(fn, minimizer, params, each, steps, callback)
    filled = [*range(count), *[0] * (width - count)]
    each = placed(stack([(params[i], args[i]) for i in filled]), mesh, SPREAD)
    state, each, shared = _begin(minimizer, mesh, each[0]), each[1], placed(shared, mesh, ALIKE)
    runs, done, stop = [Run(None)] * count, 0, False
    while done < steps and not stop:
        length = min(chunk_length(), steps - done)
        state, infos = _advance(fn, minimizer, length, mesh, state, shared, each)
        for info in by_step(jax.device_get(infos), length):
            now = [_lane(info, i) for i in range(count)]
            runs = [noted(run, info) for run, info in zip(runs, now, strict=True)]
            stop = bool(callback and callback(now)) or stop
        done += length
    results = jax.vmap(minimizer.result)(state)
    return [Lane(_lane(results, i), run.value, run.aux, run.evaluations) for i, run in enumerate(runs)]


def stack(trees: Sequence[Any]) -> Any:
    """Trees of one structure as one tree on the host, whose leaves have a first axis of as many lanes."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def placed(tree: Any, mesh: Mesh | None, how: PartitionSpec) -> Any:
    """The tree on the devices of the mesh, or on the first device; what is there already is not moved."""
    return jax.device_put(tree, NamedSharding(mesh, how) if mesh else None)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _begin(minimizer: Minimizer, mesh: Mesh | None, params: Params) -> Any:
    """A fresh state of each lane, as `minimize` has it."""
    return _over(mesh, jax.vmap(functools.partial(begin, minimizer)), (SPREAD,), SPREAD)(params)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=4)
def _advance(
    fn: Function, minimizer: Minimizer, length: int, mesh: Mesh | None, state: Any, shared: Any, args: tuple
) -> tuple[Any, Info]:
    def here(state: Any, shared: Any, args: tuple) -> tuple[Any, Info]:
        step = jax.vmap(functools.partial(minimizer.step, fn), (0, None, *(0 for _ in args)))
        if length == 1:
            return step(state, shared, *args)
        return jax.lax.scan(lambda s, _: step(s, shared, *args), state, length=length)

    return _over(mesh, here, (SPREAD, ALIKE, SPREAD), (SPREAD, SPREAD if length == 1 else LATER))(state, shared, args)


def _in_turn(
    fn: Function,
    minimizer: Minimizer,
    params: Sequence[Params],
    args: Sequence[tuple],
    steps: int,
    callback: Callable[[list[Info]], bool | None] | None,
) -> list[Lane]:
    """Each lane by the program of `minimize`, which has no axis of lanes: with one, even a single lane's memory of L-BFGS would
    be copied at every step."""
    runs, done, stop = [Run(begin(minimizer, start)) for start in params], 0, False
    while done < steps and not stop:
        length, told = min(chunk_length(), steps - done), []
        for i, own in enumerate(args):
            state, infos = advance(fn, minimizer, length, runs[i].state, own)
            runs[i] = runs[i]._replace(state=state)
            told.append(by_step(jax.device_get(infos), length))
        for now in map(list, zip(*told, strict=True)):
            runs = [noted(run, info) for run, info in zip(runs, now, strict=True)]
            stop = bool(callback and callback(now)) or stop
        done += length
    return [Lane(minimizer.result(run.state), run.value, run.aux, run.evaluations) for run in runs]


def _over(mesh: Mesh | None, here: Callable, given: Any, made: Any) -> Callable:
    """`here` on the lanes of each device by itself: no lane needs anything of another."""
    return jax.shard_map(here, mesh=mesh, in_specs=given, out_specs=made, check_vma=False) if mesh else here


def _lane(tree: Any, i: int) -> Any:
    return jax.tree.map(lambda x: x[i], tree)
