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
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from stylejax.optimizers.base import Function, Info, Minimizer
from stylejax.optimizers.base import step as one_step
from stylejax.optimizers.lbfgs_direction import Params
from stylejax.optimizers.minimize import START, Progress, Solution, advance, begin, by_step, chunk_length, run_steps

AXIS = "lanes"
"""The one axis of a mesh that lanes are spread over."""

SPREAD, ALIKE, LATER = PartitionSpec(AXIS), PartitionSpec(), PartitionSpec(None, AXIS)
"""To each device its lanes; the same to all; the lanes of several steps."""


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
) -> list[Solution]:
    """Minimize `fn(params, shared, *args)` from each of `params` with the `args` in the same place, as `minimize` does.

    Args:
        fn: compiled in by identity.
        minimizer: compiled in by identity.
        params: the first point of each lane.
        shared: the first argument after the parameters, the same for all lanes.
        args: further arguments of each lane.
        steps: of each lane.
        callback: sees the `Info` of every lane at each step, and ends the run by returning True.
        width: lanes of the program; copies of the first fill it up and are dropped. By default the least number that the
            devices divide.
        mesh: devices to spread the lanes over, along an axis `lanes`; the first device without one.

    Returns:
        The solution of each lane; its `aux` is None if no step had a finite value.
    """
    progress, devices = [START] * len(params), mesh.size if mesh else 1
    width = width or -(-len(params) // devices) * devices
    if width == 1 or (mesh is None and jax.default_backend() == "cpu"):
        each = [placed((shared, *own), mesh, ALIKE) for own in args]
        states = [begin(minimizer, start) for start in params]
        dispatch = functools.partial(_in_turn, fn, minimizer, each)
        states, progress = run_steps(dispatch, states, progress, steps, chunk_length(), callback, None)
        return [_solution(minimizer.result(state), one) for state, one in zip(states, progress, strict=True)]
    filled = [*range(len(params)), *[0] * (width - len(params))]
    each = placed(stack([(params[i], args[i]) for i in filled]), mesh, SPREAD)
    state, each, shared = _begin(minimizer, mesh, each[0]), each[1], placed(shared, mesh, ALIKE)
    dispatch = functools.partial(_together, fn, minimizer, mesh, shared, each, len(params))
    state, progress = run_steps(dispatch, state, progress, steps, chunk_length(), callback, None)
    results = jax.vmap(minimizer.result)(state)
    return [_solution(_lane(results, i), one) for i, one in enumerate(progress)]


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
        step = jax.vmap(functools.partial(one_step, minimizer, fn), (0, None, *(0 for _ in args)))
        if length == 1:
            return step(state, shared, *args)
        return jax.lax.scan(lambda s, _: step(s, shared, *args), state, length=length)

    return _over(mesh, here, (SPREAD, ALIKE, SPREAD), (SPREAD, SPREAD if length == 1 else LATER))(state, shared, args)


def _together(
    fn: Function,
    minimizer: Minimizer,
    mesh: Mesh | None,
    shared: Any,
    each: tuple,
    count: int,
    state: Any,
    length: int,
) -> tuple[Any, list[list[Info]]]:
    state, infos = _advance(fn, minimizer, length, mesh, state, shared, each)
    return state, [[_lane(info, i) for i in range(count)] for info in by_step(infos, length)]


def _in_turn(
    fn: Function, minimizer: Minimizer, args: Sequence[tuple], states: list[Any], length: int
) -> tuple[list[Any], list[list[Info]]]:
    """Advance each lane by the program of `minimize`, which has no axis of lanes: with one, even a single lane's memory of
    L-BFGS would be copied at every step."""
    infos: list[list[Info]] = []
    for i, own in enumerate(args):
        states[i], told = advance(fn, minimizer, length, states[i], own)
        infos.append(by_step(told, length))
    return states, [list(now) for now in zip(*infos, strict=True)]


def _solution(params: Params, progress: Progress) -> Solution:
    return Solution(params, progress.value, progress.aux, progress.evaluations)


def _over(mesh: Mesh | None, here: Callable, given: Any, made: Any) -> Callable:
    """`here` on the lanes of each device by itself: no lane needs anything of another."""
    return jax.shard_map(here, mesh=mesh, in_specs=given, out_specs=made, check_vma=False) if mesh else here


def _lane(tree: Any, i: int) -> Any:
    return jax.tree.map(lambda x: x[i], tree)
