"""The stepping loop: any minimizer on any function and any pytree, watched, kept and resumed."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax

from stylejax.optimizers.base import Function, Info, Minimizer, OnHost, step
from stylejax.optimizers.lbfgs_direction import Params
from stylejax.types import Scalar

Dispatch: TypeAlias = Callable[[Any, int], tuple[Any, list[list[Info]]]]
"""Takes a state and a number of steps; returns the new state, and for each step the infos of all runs as NumPy values."""


class Progress(NamedTuple):
    """The least value of a run so far and its parts, None before the first finite one; evaluations and steps."""

    value: float
    aux: Any
    evaluations: int
    steps: int


class Run(NamedTuple):
    """A minimization between two steps: all that is needed to go on as if it had never stopped."""

    state: Any
    progress: Progress


class Solution(NamedTuple):
    """The result of a run, the least value and its parts, and the evaluations spent; `aux` is None without a finite value."""

    params: Params
    value: float
    aux: Any
    evaluations: int


START = Progress(float("inf"), None, 0, 0)


def minimize(
    fn: Function | OnHost,
    minimizer: Minimizer,
    params: Params,
    args: tuple,
    steps: int,
    callback: Callable[[Info], bool | None] | None = None,
    *,
    resume: Run | None = None,
    keep: Callable[[Run], None] | None = None,
) -> Solution:
    """Take `steps` steps from `params` and return the best point seen.

    Args:
        fn: compiled in by identity; a function `OnHost` is called as it is.
        minimizer: compiled in by identity.
        params: the first point; a large one is freed if the caller holds no other reference.
        args: further arguments of `fn`, passed as arrays.
        steps: number of steps.
        callback: sees the `Info` of each step as NumPy values, in order, and ends the run by returning True.
        resume: a `Run` to go on from, instead of `params`.
        keep: sees the run after each dispatch, before the state is donated to the next.

    Raises:
        FloatingPointError: no step had a finite value.
    """
    run = Run(begin(minimizer, params), START) if resume is None else resume
    del params, resume
    state, (progress,) = run_steps(
        functools.partial(_dispatch, fn, minimizer, args),
        run.state,
        [run.progress],
        steps,
        1 if isinstance(fn, OnHost) else chunk_length(),
        (lambda infos: callback(infos[0])) if callback else None,
        (lambda state, progress: keep(Run(state, progress[0]))) if keep else None,
    )
    if progress.aux is None:
        raise FloatingPointError("the loss was not finite at any step: lower the weights")
    return Solution(minimizer.result(state), progress.value, progress.aux, progress.evaluations)


def run_steps(
    dispatch: Dispatch,
    state: Any,
    progress: Sequence[Progress],
    steps: int,
    chunk: int,
    callback: Callable[[list[Info]], bool | None] | None,
    keep: Callable[[Any, list[Progress]], None] | None,
) -> tuple[Any, list[Progress]]:
    """Take steps in dispatches of at most `chunk` until each run has `steps` or the callback says so: the only such loop.

    Args:
        dispatch: advances all runs together.
        state: of all runs; donated to the first dispatch.
        progress: of each run.
        steps: of each run, those before a resumption included.
        chunk: steps of a dispatch.
        callback: sees the infos of all runs at each step, in order, and ends them by returning True.
        keep: sees state and progress after each dispatch.

    Returns:
        The last state and the progress of each run.
    """
    now, stop = list(progress), False
    while now[0].steps < steps and not stop:
        state, infos = dispatch(state, min(chunk, steps - now[0].steps))
        for info in infos:
            now = [noted(*pair) for pair in zip(now, info, strict=True)]
            stop = bool(callback and callback(info)) or stop
        if keep:
            keep(state, now)
    return state, now


def noted(progress: Progress, info: Info) -> Progress:
    """Count one more step, and take its value and parts if they are the least so far."""
    value, aux, evaluations, steps = progress
    if info.accepted and float(info.value) < value:
        value, aux = float(info.value), info.aux
    return Progress(value, aux, evaluations + int(info.evaluations), steps + 1)


def by_step(infos: Info, length: int) -> list[Info]:
    """Return the `Info` of each step of a dispatch as NumPy values, in order."""
    infos = jax.device_get(infos)
    return [infos] if length == 1 else [jax.tree.map(lambda x, i=i: x[i], infos) for i in range(length)]


def chunk_length() -> int:
    """Return the steps of a dispatch, by backend.

    XLA runs convolutions inside a loop three times slower on the CPU, so there a step is a program; on accelerators the wait
    for the host between steps costs more, and steps are scanned.
    """
    return 1 if jax.default_backend() == "cpu" else 10


@functools.partial(jax.jit, static_argnums=0)
def begin(minimizer: Minimizer, params: Params) -> Any:
    """Return a fresh state that can be donated (its leaves are buffers of their own) and is strongly typed (the second step
    does not compile again)."""
    state = minimizer.init(params)
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), state)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def advance(fn: Function, minimizer: Minimizer, length: int, state: Any, args: tuple) -> tuple[Any, Info]:
    """Take `length` steps as one program, to which the state is donated."""
    if length == 1:
        return step(minimizer, fn, state, *args)
    return jax.lax.scan(lambda s, _: step(minimizer, fn, s, *args), state, length=length)


def _dispatch(
    fn: Function | OnHost, minimizer: Minimizer, args: tuple, state: Any, length: int
) -> tuple[Any, list[list[Info]]]:
    if isinstance(fn, OnHost):
        (value, aux), gradient = fn.evaluate(minimizer.ask(state), *args)
        state, infos = _tell(minimizer, state, value, aux, gradient)
    else:
        state, infos = advance(fn, minimizer, length, state, args)
    return state, [[info] for info in by_step(infos, length)]


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _tell(minimizer: Minimizer, state: Any, value: Scalar, aux: Any, gradient: Params) -> tuple[Any, Info]:
    return minimizer.tell(state, value, aux, gradient)
