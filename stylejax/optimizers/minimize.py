"""Stepping loop of the minimizers, with a callback after each step, and resumption between steps."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax

from stylejax.optimizers.base import Function, HostFunction, Info, Minimizer, host_only, step
from stylejax.types import Params, Scalar

Dispatch: TypeAlias = Callable[[Any, int], tuple[Any, list[list[Info]]]]
"""Function of the state of all runs and a number of steps. It returns the new state and, by step, the `Info` of each run."""


class Progress(NamedTuple):
    """Least loss of a run with its terms, the evaluations and steps taken, and the loss of the first point.

    Before a finite loss, both losses are infinite and the terms are None.
    """

    value: float
    aux: Any
    evaluations: int
    steps: int
    first_value: float


class LoopState(NamedTuple):
    """State of a run between two steps, from which it resumes exactly."""

    state: Any
    progress: Progress


class Solution(NamedTuple):
    """Result of a run: its point, the least loss (infinite without a finite one) with its terms, and the first loss."""

    params: Params
    value: float
    aux: Any
    evaluations: int
    first_value: float


START = Progress(math.inf, None, 0, 0, math.inf)


@host_only
def minimize(
    fn: Function | HostFunction,
    minimizer: Minimizer,
    params: Params,
    args: tuple,
    steps: int,
    callback: Callable[[Info], bool | None] | None = None,
    *,
    resume_from: LoopState | None = None,
    on_state: Callable[[LoopState], None] | None = None,
) -> Solution:
    """Take `steps` steps from `params` and return the result of the minimizer.

    Args:
        fn: function of (params, *args); a program is compiled for each function object.
        minimizer: likewise.
        params: first point. Hold no other reference to a large one, so that it can be freed.
        args: further arguments of `fn`, passed as arrays.
        steps: number of steps, including those before a resumption.
        callback: receives the `Info` of each step as NumPy values; returning True ends the run.
        resume_from: state to continue from, instead of `params`.
        on_state: receives the state after each dispatch, before it is donated to the next one.

    Raises:
        FloatingPointError: no step had a finite loss.
    """
    run = LoopState(init_state(minimizer, params), START) if resume_from is None else resume_from
    del params, resume_from
    (state,), (progress,) = run_steps(
        functools.partial(step_in_turn, fn, minimizer, [args]),
        [run.state],
        [run.progress],
        steps,
        1 if isinstance(fn, HostFunction) else steps_per_dispatch(),
        (lambda infos: callback(infos[0])) if callback else None,
        (lambda states, progress: on_state(LoopState(states[0], progress[0]))) if on_state else None,
    )
    if math.isinf(progress.value):
        raise FloatingPointError("the loss was not finite at any step: lower the weights")
    return solution(minimizer.result(state), progress)


def solution(params: Params, progress: Progress) -> Solution:
    """Return the solution of a run that has ended."""
    return Solution(params, progress.value, progress.aux, progress.evaluations, progress.first_value)


def run_steps(
    dispatch: Dispatch,
    state: Any,
    progress: Sequence[Progress],
    steps: int,
    chunk: int,
    callback: Callable[[list[Info]], bool | None] | None,
    on_state: Callable[[Any, Sequence[Progress]], None] | None = None,
) -> tuple[Any, Sequence[Progress]]:
    """Dispatch up to `chunk` steps at a time until all runs have `steps` or `callback` returns True.

    `progress` and the infos that `callback` receives have one entry a run. `state` is donated to the first dispatch.
    """
    stop = False
    while progress[0].steps < steps and not stop:
        state, infos_by_step = dispatch(state, min(chunk, steps - progress[0].steps))
        for infos in infos_by_step:
            progress = [update_progress(*pair) for pair in zip(progress, infos, strict=True)]
            stop = bool(callback and callback(infos)) or stop
        if on_state:
            on_state(state, progress)
    return state, progress


def step_in_turn(
    fn: Function | HostFunction, minimizer: Minimizer, args: Sequence[tuple], states: list[Any], length: int
) -> tuple[list[Any], list[list[Info]]]:
    """Advance runs one after the other by `length` steps, with the same program for each."""
    infos_by_run: list[list[Info]] = []
    for i, own_args in enumerate(args):
        if isinstance(fn, HostFunction):
            (value, aux), gradient = fn.evaluate(minimizer.ask(states[i]), *own_args)
            states[i], infos = _tell(minimizer, states[i], value, aux, gradient)
        else:
            states[i], infos = run_chunk(fn, minimizer, length, states[i], own_args)
        infos_by_run.append(unstack_infos(infos, length))
    return states, [list(infos) for infos in zip(*infos_by_run, strict=True)]


def update_progress(progress: Progress, info: Info) -> Progress:
    value, aux, evaluations, steps, first_value = progress
    if info.accepted and float(info.value) < value:
        first_value = float(info.value) if math.isinf(value) else first_value
        value, aux = float(info.value), info.aux
    return Progress(value, aux, evaluations + int(info.evaluations), steps + 1, first_value)


def unstack(tree: Any, length: int) -> list[Any]:
    """Return the entries of a tree along the first axis of its leaves."""
    return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(length)]


def unstack_infos(infos: Info, length: int) -> list[Info]:
    """Return the `Info` of each step of a dispatch as NumPy values."""
    infos = jax.device_get(infos)
    return [infos] if length == 1 else unstack(infos, length)


def steps_per_dispatch() -> int:
    """Return the number of steps of one program: 1 on the CPU, 10 on accelerators.

    On the CPU, XLA runs convolutions inside a loop three times slower. On accelerators the wait for the host costs more.
    """
    return 1 if jax.default_backend() == "cpu" else 10


@functools.partial(jax.jit, static_argnums=0)
def init_state(minimizer: Minimizer, params: Params) -> Any:
    """Return the initial state."""
    # The conversion separates the buffers, so that they can be donated, and makes types strong, so that steps compile once.
    state = minimizer.init(params)
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), state)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def run_chunk(fn: Function, minimizer: Minimizer, length: int, state: Any, args: tuple) -> tuple[Any, Info]:
    """Take `length` steps as one program, to which the state is donated."""
    if length == 1:
        return step(minimizer, fn, state, *args)
    return jax.lax.scan(lambda s, _: step(minimizer, fn, s, *args), state, length=length)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _tell(minimizer: Minimizer, state: Any, value: Scalar, aux: Any, gradient: Params) -> tuple[Any, Info]:
    return minimizer.tell(state, value, aux, gradient)
