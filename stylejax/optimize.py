"""Minimizers over any pytree. They know nothing of images or style.

A minimizer is a pair of pure functions: `init(params) -> state` and `step(fn, state, *args) -> (state, info)`, where
`fn(params, *args) -> (value, aux)`. What must be carried is the state, what is only looked at is the info.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from stylejax.curvature import Memory, Params, forget, scale_by_lbfgs
from stylejax.types import Scalar

Function: TypeAlias = Callable[..., tuple[Scalar, Any]]

HISTORY = 100
"""Pairs that L-BFGS remembers, as in the authors' code and its ports."""

RECENT = 10
"""A step may rise above the last value, but not above the worst of so many: the non-monotone test of Grippo et al. 1986.
Until there are so many, not above twice the first: from noise one of the first steps is far too long, and worth taking."""

FIRST = 0.01
"""Length of a step without a memory, all parameters together: it measures the curvature, and changes hardly anything."""

PATIENCE = 6
"""Rejections in a row after which the memory is to blame, and is emptied."""


class OnHost(NamedTuple):
    """A function whose evaluation is many programs, called from the host:
    `evaluate(params, *args) -> ((value, aux), gradient)`. Only minimizers that ask and tell can minimize it."""

    evaluate: Callable[..., tuple[tuple[Scalar, Any], Params]]


class Best(NamedTuple):
    """The best point that was evaluated, and its value."""

    params: Params
    value: Scalar


class Info(NamedTuple):
    """One step, as seen from outside: the loss and its parts at the point that was tried, whether it was taken, and whether
    the minimizer began anew from a good point, because nothing else helped."""

    value: Scalar
    aux: Any
    accepted: Bool[Array, ""]
    restarted: Bool[Array, ""]
    evaluations: Int[Array, ""]


class Minimizer(NamedTuple):
    """`init(params) -> state`; `step(fn, state, *args) -> (state, info)`. A state has a field `best`; `result(state)` is what
    comes out, the best point where nothing else is said.

    Where a step is one evaluation, it is also there in two halves, for a function that is not a traceable one:
    `ask(state) -> params` says where to evaluate, `tell(state, value, aux, gradient) -> (state, info)` takes the answer.
    """

    init: Callable[[Params], Any]
    step: Callable[..., tuple[Any, Info]]
    ask: Callable[[Any], Params] | None = None
    tell: Callable[..., tuple[Any, Info]] | None = None
    result: Callable[[Any], Params] = lambda state: state.best.params


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


class LbfgsState(NamedTuple):
    """The last accepted point with its gradient is in `memory`; the next trial is that point + length · direction."""

    memory: Memory
    direction: Params
    slope: Scalar
    length: Scalar
    rejections: Int[Array, ""]
    recent: Float[Array, " r"]
    last: Scalar
    best: Best


class AdamState(NamedTuple):
    """The point to be evaluated next, and Optax' moments."""

    params: Params
    moments: optax.OptState
    best: Best


class AveragedState(NamedTuple):
    """Adam's state, and the sum of its points, each weighing `kept` times as much as the one after it."""

    adam: AdamState
    total: Params
    weight: Scalar

    @property
    def best(self) -> Best:
        """The best point that was evaluated."""
        return self.adam.best


# The factories are cached so that the same arguments give the same functions, and these the same compiled program.
@functools.cache
def lbfgs(history: int = HISTORY, history_dtype: str = "float32") -> Minimizer:
    """L-BFGS with one evaluation of value and gradient a step.

    A step evaluates a trial point x + t·d. It is accepted when the value is finite and f(x + t·d) ≤ max of the last values
    + 10⁻⁴ · t · gᵀd (Armijo); the next trial then goes the full length of the new direction. Else the next trial is
    shorter, from the same x. Without a branch around `fn` it is one program a step, which maps over lanes and scans.

    Deviation: the authors take every step of length 1 unseen. On ordinary problems so does this one.
    """
    transformation = scale_by_lbfgs(history, None if history_dtype == "float32" else history_dtype)

    def init(params: Params) -> LbfgsState:
        zeros = optax.tree.zeros_like(params)
        recent, inf = jnp.full(RECENT, jnp.inf), jnp.asarray(jnp.inf)
        memory = cast(Memory, transformation.init(params))
        zero, none = jnp.asarray(0.0), jnp.asarray(0)
        return LbfgsState(memory, zeros, zero, zero, none, recent, inf, Best(params, inf))

    def ask(state: LbfgsState) -> Params:
        return optax.tree.add_scale(state.memory.params, state.length, state.direction)

    def tell(state: LbfgsState, value: Scalar, aux: Any, gradient: Params) -> tuple[LbfgsState, Info]:
        memory, trial = state.memory, ask(state)
        accepted = _is_finite(value, gradient) & _decreases(state, value)
        rejections = jnp.where(accepted, 0, state.rejections + 1)
        restarted = rejections == PATIENCE
        memory = forget(memory, when=restarted)
        # A rejected trial is replaced by the point it started from: the pair it makes is zero, and is not remembered.
        point = _where(accepted, trial, memory.params)
        gradient = _where(accepted, gradient, memory.gradient)
        direction, memory = cast(tuple[Params, Memory], transformation.update(gradient, memory, point))
        moved = jnp.where(accepted, state.length * optax.tree.norm(state.direction), 0.0)
        direction, slope, full = _descending(direction, gradient, memory.pairs, moved)
        shorter = jnp.where(restarted, full, _shorter(state, value))
        new = LbfgsState(
            memory,
            direction,
            slope,
            jnp.where(accepted, full, shorter),
            rejections % PATIENCE,
            jnp.where(accepted, _push(state.recent, value), state.recent),
            jnp.where(accepted, value, state.last),
            _better(state.best, trial, value, accepted),
        )
        return new, Info(value, aux, accepted, restarted, jnp.asarray(1))

    return _in_halves(init, ask, tell)


@functools.cache
def lbfgs_zoom(history: int = HISTORY) -> Minimizer:
    """Optax' L-BFGS with its zoom line search: a step evaluates until the strong Wolfe conditions hold, up to 20 times.

    Dearer than `lbfgs` and no better on style transfer; for those who want textbook steps. On the CPU its convolutions run
    inside a loop, where XLA is three times slower.
    """
    transformation = optax.lbfgs(memory_size=history)

    def init(params: Params) -> AdamState:
        return AdamState(params, transformation.init(params), Best(params, jnp.asarray(jnp.inf)))

    def step(fn: Function, state: AdamState, *args: Any) -> tuple[AdamState, Info]:
        # The line search wants a function without aux and keeps none, so the parts cost one evaluation of their own.
        (value, aux), gradient = jax.value_and_grad(fn, has_aux=True)(state.params, *args)
        accepted = _is_finite(value, gradient)
        updates, moments = transformation.update(
            gradient, state.moments, state.params, value=value, grad=gradient, value_fn=lambda p: fn(p, *args)[0]
        )
        searched = optax.tree.get(moments, "info").num_linesearch_steps
        params = optax.apply_updates(state.params, updates)
        new = AdamState(params, moments, _better(state.best, state.params, value, accepted))
        return new, Info(value, aux, accepted, jnp.asarray(False), 1 + searched)

    return Minimizer(init, step)


@functools.cache
def adam(learning_rate: float = 0.05, average: float = 0.0) -> Minimizer:
    """Optax' Adam. Where the value is not finite, or has run away to 100 times the best one's size above it, it begins anew
    from the best point. With an `average` the result is that mean of its points (`averaged`)."""
    return averaged(_adam(learning_rate), average) if average else _adam(learning_rate)


def averaged(minimizer: Minimizer, kept: float) -> Minimizer:
    """The same steps, with another result: the mean x̄ of the points that were evaluated, which the noise of the steps does not
    reach.

        x̄_t = Σ_i kept^(t-i) x_i / Σ_i kept^(t-i)

    Dividing by the weights themselves is the correction of the bias to the first point. A point that was not taken, and with it
    all before, is left out. The value that is told is the least of the points', not that of the mean.
    """
    asked, told = minimizer.ask, minimizer.tell
    assert asked and told, "only a minimizer in two halves can be averaged"

    def init(params: Params) -> AveragedState:
        return AveragedState(minimizer.init(params), optax.tree.zeros_like(params), jnp.asarray(0.0))

    def ask(state: AveragedState) -> Params:
        return asked(state.adam)

    def tell(state: AveragedState, value: Scalar, aux: Any, gradient: Params) -> tuple[AveragedState, Info]:
        adam, info = told(state.adam, value, aux, gradient)
        point, share = ask(state), jnp.where(info.accepted, 1.0, 0.0)
        total = jax.tree.map(lambda t, p: share * (kept * t + p), state.total, point)
        return AveragedState(adam, total, share * (kept * state.weight + 1)), info

    def result(state: AveragedState) -> Params:
        mean = optax.tree.scale(1 / jnp.maximum(state.weight, 1), state.total)
        return _where(state.weight > 0, mean, state.best.params)

    return _in_halves(init, ask, tell)._replace(result=result)


def _adam(learning_rate: float) -> Minimizer:
    transformation = optax.adam(learning_rate)

    def init(params: Params) -> AdamState:
        return AdamState(params, transformation.init(params), Best(params, jnp.asarray(jnp.inf)))

    def ask(state: AdamState) -> Params:
        return state.params

    def tell(state: AdamState, value: Scalar, aux: Any, gradient: Params) -> tuple[AdamState, Info]:
        ran_away = value - state.best.value > 100 * jnp.abs(state.best.value)
        accepted = _is_finite(value, gradient) & ~ran_away
        best = _better(state.best, state.params, value, accepted)
        updates, moments = transformation.update(gradient, state.moments, state.params)
        params = _where(accepted, optax.apply_updates(state.params, updates), best.params)
        moments = _where(accepted, moments, transformation.init(params))
        return AdamState(params, moments, best), Info(value, aux, accepted, ~accepted, jnp.asarray(1))

    return _in_halves(init, ask, tell)


def _in_halves(init: Callable, ask: Callable, tell: Callable) -> Minimizer:
    """A step is a question, one evaluation, and an answer."""

    def step(fn: Function, state: Any, *args: Any) -> tuple[Any, Info]:
        (value, aux), gradient = jax.value_and_grad(fn, has_aux=True)(ask(state), *args)
        return tell(state, value, aux, gradient)

    return Minimizer(init, step, ask, tell)


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
    run = Run(_init(minimizer, params)) if resume is None else resume
    # The first image is a vector of its own no more; a large one is missed.
    del params, resume
    stop = False
    while run.steps < steps and not stop:
        length = 1 if isinstance(fn, OnHost) else min(chunk_length(), steps - run.steps)
        if isinstance(fn, OnHost):
            state, infos = _advance_on_host(fn, minimizer, run.state, args)
        else:
            state, infos = _advance(fn, minimizer, length, run.state, args)
        run = run._replace(state=state)
        for info in _unstack(jax.device_get(infos), length):
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


def chunk_length() -> int:
    """Steps to a dispatch, by backend: the one place that knows.

    XLA runs convolutions inside a loop three times slower on the CPU, so there a step is a program; on accelerators the wait
    for the host between steps costs more, and steps are scanned.
    """
    return 1 if jax.default_backend() == "cpu" else 10


@functools.partial(jax.jit, static_argnums=0)
def _init(minimizer: Minimizer, params: Params) -> Any:
    """A fresh state whose leaves are buffers of their own, so that it can be donated, and strongly typed, so that the
    second step does not compile again."""
    state = minimizer.init(params)
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), state)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _advance(fn: Function, minimizer: Minimizer, length: int, state: Any, args: tuple) -> tuple[Any, Info]:
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


def _unstack(infos: Info, length: int) -> list[Info]:
    if length == 1:
        return [infos]
    return [jax.tree.map(lambda x, i=i: x[i], infos) for i in range(length)]


def _push(recent: Float[Array, " r"], value: Scalar) -> Float[Array, " r"]:
    """The newest value first; twice the first of all stands for those before it."""
    before = jnp.where(jnp.isinf(recent), value + jnp.abs(value), jnp.roll(recent, 1))
    return before.at[0].set(value)


def _decreases(state: LbfgsState, value: Scalar) -> Bool[Array, ""]:
    worst = jnp.max(state.recent)
    rounding = 2 * jnp.finfo(value.dtype).eps * jnp.abs(value)
    return value <= worst + 1e-4 * state.length * state.slope + rounding


def _shorter(state: LbfgsState, value: Scalar) -> Scalar:
    """The minimum of the parabola through the last value, its slope and the rejected value, between 0.1 and 0.5 of the
    length; a tenth when the rejected value is not finite."""
    rise = value - state.last - state.length * state.slope
    ratio = -state.length * state.slope / (2 * rise)
    return state.length * jnp.where(jnp.isfinite(ratio), jnp.clip(ratio, 0.1, 0.5), 0.1)


def _descending(
    direction: Params, gradient: Params, pairs: Int[Array, ""], moved: Scalar
) -> tuple[Params, Scalar, Scalar]:
    """A direction with its slope and full length. Without a memory, or where rounding has spoilt the direction, it is the
    steepest descent over a length of `FIRST`, or ten times as far as was just `moved` without learning anything."""
    slope, squared = _dot(direction, gradient), _dot(gradient, gradient)
    usable = (pairs > 0) & (slope < 0) & jnp.isfinite(slope)
    distance = jnp.where(squared > 0, jnp.maximum(FIRST, 10 * moved) * jax.lax.rsqrt(squared), 0.0)
    direction = _where(usable, direction, optax.tree.scale(-1.0, gradient))
    return direction, jnp.where(usable, slope, -squared), jnp.where(usable, 1.0, distance)


def _better(best: Best, params: Params, value: Scalar, accepted: Bool[Array, ""]) -> Best:
    improved = accepted & (value < best.value)
    return Best(_where(improved, params, best.params), jnp.where(improved, value, best.value))


def _is_finite(value: Scalar, gradient: Params) -> Bool[Array, ""]:
    return jnp.isfinite(value) & jnp.isfinite(_dot(gradient, gradient))


def _dot(a: Params, b: Params) -> Scalar:
    return jnp.asarray(optax.tree.vdot(a, b))


def _where(condition: Bool[Array, ""], a: Params, b: Params) -> Params:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)
