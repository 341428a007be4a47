"""What a minimizer is. It knows nothing of images or style.

A minimizer is a pair of pure functions: `init(params) -> state` and `step(fn, state, *args) -> (state, info)`, where
`fn(params, *args) -> (value, aux)`. What must be carried is the state, what is only looked at is the info.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int

from stylejax.optimizers.lbfgs_direction import Params
from stylejax.types import Scalar

Function: TypeAlias = Callable[..., tuple[Scalar, Any]]

STALL = 50
"""Steps without a value below the best one after which a minimizer begins anew from the best point."""


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


def in_halves(init: Callable, ask: Callable, tell: Callable) -> Minimizer:
    """A step is a question, one evaluation, and an answer."""

    def step(fn: Function, state: Any, *args: Any) -> tuple[Any, Info]:
        (value, aux), gradient = jax.value_and_grad(fn, has_aux=True)(ask(state), *args)
        return tell(state, value, aux, gradient)

    return Minimizer(init, step, ask, tell)


def better(best: Best, params: Params, value: Scalar, accepted: Bool[Array, ""]) -> Best:
    improved = accepted & (value < best.value)
    return Best(where(improved, params, best.params), jnp.where(improved, value, best.value))


def waited(steps: Int[Array, ""], before: Best, best: Best) -> Int[Array, ""]:
    """Steps since there was a better value."""
    return jnp.where(best.value < before.value, 0, steps + 1)


def is_finite(value: Scalar, gradient: Params) -> Bool[Array, ""]:
    return jnp.isfinite(value) & jnp.isfinite(dot(gradient, gradient))


def dot(a: Params, b: Params) -> Scalar:
    return jnp.asarray(optax.tree.vdot(a, b))


def where(condition: Bool[Array, ""], a: Params, b: Params) -> Params:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)
