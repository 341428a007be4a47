"""The loop: any minimizer on any function and any pytree, watched, kept and resumed."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from stylejax.optimizers.base import Function, Info, Minimizer, OnHost
from stylejax.optimizers.lbfgs_direction import Params
from stylejax.types import Scalar


class Run(NamedTuple):
    """Where a minimization stands between two steps: all that is needed to go on as if it had never stopped.

    `value` and `aux` are the least value so far and its parts; `aux` is None before the first finite one.
    """

    state: Any
    value: float = float("inf")
    aux: Any = None
    evaluations: int = 0
    steps: int = 0


class Solution(NamedTuple):
    """The result of a run, the least value and its parts, the evaluations spent, and the minimizer's last state."""

    params: Params
    value: float
    aux: Any
    evaluations: int
    state: Any


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
    """Takes `steps` steps from `params` and returns the best point seen.

    `fn` and `minimizer` are compiled in by identity, `args` go in as arrays; a function `OnHost` is called as it is.
    `callback` sees the `Info` of each step as NumPy values, in order, and ends the run by returning True. `keep` sees where the
    run stands after each dispatch, before the state is given away to the next; such a `Run` goes on from there as `resume`.
    Raises `FloatingPointError` if no step had a finite value.
    """
    run = Run(begin(minimizer, params)) if resume is None else resume
    # The first image is a vector of its own no more; a large one is missed.
    del params, resume
    stop = False
    while run.steps < steps and not stop:
        length = 1 if isinstance(fn, OnHost) else min(chunk_length(), steps - run.steps)
        if isinstance(fn, OnHost):
            state, infos = _advance_on_host(fn, minimizer, run.state, args)
        else:
            state, infos = advance(fn, minimizer, length, run.state, args)
        run = run._replace(state=state)
        for info in by_step(jax.device_get(infos), length):
            run = noted(run, info)
            stop = bool(callback and callback(info)) or stop
        if keep:
            keep(run)
    if run.aux is None:
        raise FloatingPointError("the loss was not finite at any step: lower the weights")
    return Solution(minimizer.result(run.state), run.value, run.aux, run.evaluations, run.state)


def noted(run: Run, info: Info) -> Run:
    """The run with one more step counted, and its value and parts if they are the least so far."""
    run = run._replace(steps=run.steps + 1, evaluations=run.evaluations + int(info.evaluations))
    better = info.accepted and float(info.value) < run.value
    return run._replace(value=float(info.value), aux=info.aux) if better else run


def by_step(infos: Info, length: int) -> list[Info]:
    """The `Info` of each step of a dispatch, in order."""
    return [infos] if length == 1 else [jax.tree.map(lambda x, i=i: x[i], infos) for i in range(length)]


def chunk_length() -> int:
    """Steps to a dispatch, by backend: the one place that knows.

    XLA runs convolutions inside a loop three times slower on the CPU, so there a step is a program; on accelerators the wait
    for the host between steps costs more, and steps are scanned.
    """
    return 1 if jax.default_backend() == "cpu" else 10


@functools.partial(jax.jit, static_argnums=0)
def begin(minimizer: Minimizer, params: Params) -> Any:
    """A fresh state whose leaves are buffers of their own, so that it can be donated, and strongly typed, so that the
    second step does not compile again."""
    state = minimizer.init(params)
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), state)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def advance(fn: Function, minimizer: Minimizer, length: int, state: Any, args: tuple) -> tuple[Any, Info]:
    """So many steps as one program; the state is given away to it."""
    if length == 1:
        return minimizer.step(fn, state, *args)
    return jax.lax.scan(lambda s, _: minimizer.step(fn, s, *args), state, length=length)


def _advance_on_host(fn: OnHost, minimizer: Minimizer, state: Any, args: tuple) -> tuple[Any, Info]:
    """One step in its two halves, with the evaluation between them."""
    assert minimizer.ask, "a function on the host is minimized by asking and telling"
    (value, aux), gradient = fn.evaluate(minimizer.ask(state), *args)
    return _tell(minimizer, state, value, aux, gradient)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _tell(minimizer: Minimizer, state: Any, value: Scalar, aux: Any, gradient: Params) -> tuple[Any, Info]:
    assert minimizer.tell, "a function on the host is minimized by asking and telling"
    return minimizer.tell(state, value, aux, gradient)
