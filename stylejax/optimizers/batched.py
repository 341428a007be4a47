"""Minimization of a batch of runs in one program, on one device or spread over several.

The starts, states and arguments of the runs are stacked along a first axis. Shared arguments, such as the network, are not:
kernels with a batch axis would make grouped convolutions. A run that has converged or diverged does not affect the others.

Batching changes XLA's rounding, and L-BFGS amplifies a difference about 100-fold every ten steps. On a CPU as one device, where
batching saves no time, the runs therefore take their steps in turn by the program of a single run, which is bit-exact.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from stylejax.optimizers.base import Function, Info, Minimizer, step
from stylejax.optimizers.minimize import (
    START,
    Solution,
    init_state,
    run_steps,
    solution,
    step_in_turn,
    steps_per_dispatch,
    unstack,
    unstack_infos,
)
from stylejax.types import Params

BATCHED, REPLICATED, STEP_BATCHED = PartitionSpec("batch"), PartitionSpec(), PartitionSpec(None, "batch")
"""Shardings over the mesh axis `batch`: by run, replicated, and by run after an axis of steps."""


def minimize_batch(
    fn: Function,
    minimizer: Minimizer,
    params: Sequence[Params],
    shared: Any,
    args: Sequence[tuple],
    steps: int,
    callback: Callable[[list[Info]], bool | None] | None = None,
    *,
    batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> list[Solution]:
    """Minimize `fn(params[i], shared, *args[i])` for each i, as `minimize` does.

    Args:
        fn: function to minimize; a program is compiled for each function object.
        minimizer: likewise.
        params: first point of each run.
        shared: first argument after the parameters, the same for all runs.
        args: further arguments of each run.
        steps: steps of each run.
        callback: receives the `Info` of all runs at each step; returning True ends them.
        batch_size: runs of the program, with copies of the first run as padding. By default, the number of runs rounded up to
            a multiple of the devices.
        mesh: devices that share the runs, along an axis `batch`. None means the first device.

    Returns:
        The solution of each run; its `value` is infinite without a finite loss.
    """
    count, devices = len(params), mesh.size if mesh else 1
    batch_size = batch_size or -(-count // devices) * devices
    in_turn = batch_size == 1 or (mesh is None and jax.default_backend() == "cpu")
    if in_turn:
        device_args = [device_put((shared, *own_args), mesh, REPLICATED) for own_args in args]
        state = [init_state(minimizer, start) for start in params]
        dispatch = functools.partial(step_in_turn, fn, minimizer, device_args)
    else:
        runs = list(zip(params, args, strict=True))
        runs += runs[:1] * (batch_size - count)
        starts, batch_args = device_put(jax.tree.map(lambda *leaves: np.stack(leaves), *runs), mesh, BATCHED)
        state, shared = _init_batch(minimizer, mesh, starts), device_put(shared, mesh, REPLICATED)
        del starts

        def step_together(state: Any, length: int) -> tuple[Any, list[list[Info]]]:
            state, infos = _advance(fn, minimizer, length, mesh, state, shared, batch_args)
            return state, [unstack(info, count) for info in unstack_infos(infos, length)]

        dispatch = step_together
    state, progress = run_steps(dispatch, state, [START] * count, steps, steps_per_dispatch(), callback)
    results = map(minimizer.result, state) if in_turn else unstack(jax.vmap(minimizer.result)(state), count)
    return [solution(*run) for run in zip(results, progress, strict=True)]


def device_put(tree: Any, mesh: Mesh | None, spec: PartitionSpec) -> Any:
    """Put a tree on the devices of the mesh, or on the first device."""
    return jax.device_put(tree, NamedSharding(mesh, spec) if mesh else None)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _init_batch(minimizer: Minimizer, mesh: Mesh | None, params: Params) -> Any:
    return _shard_map(mesh, jax.vmap(functools.partial(init_state, minimizer)), (BATCHED,), BATCHED)(params)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=4)
def _advance(
    fn: Function, minimizer: Minimizer, length: int, mesh: Mesh | None, state: Any, shared: Any, args: tuple
) -> tuple[Any, Info]:
    def advance(state: Any, shared: Any, args: tuple) -> tuple[Any, Info]:
        batch_step = jax.vmap(functools.partial(step, minimizer, fn), (0, None, *(0 for _ in args)))
        if length == 1:
            return batch_step(state, shared, *args)
        return jax.lax.scan(lambda s, _: batch_step(s, shared, *args), state, length=length)

    infos_spec = BATCHED if length == 1 else STEP_BATCHED
    return _shard_map(mesh, advance, (BATCHED, REPLICATED, BATCHED), (BATCHED, infos_spec))(state, shared, args)


def _shard_map(mesh: Mesh | None, fn: Callable, in_specs: Any, out_specs: Any) -> Callable:
    return jax.shard_map(fn, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False) if mesh else fn
