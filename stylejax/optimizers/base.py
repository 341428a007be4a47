"""The protocol of minimizers, which know nothing of images or style.

A minimizer is four pure functions: `init(params) -> state`; `ask(state) -> params`, where to evaluate next;
`tell(state, value, aux, gradient) -> (state, info)`, which takes the answer; `result(state) -> params`. The state is carried,
the info is observed. A step is one evaluation of `fn(params, *args) -> (value, aux)` and its gradient.
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
    """A function whose evaluation is many programs: `evaluate(params, *args) -> ((value, aux), gradient)` runs on the host."""

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
    """Four functions, as above; every state has a field `best`."""

    init: Callable[[Params], Any]
    ask: Callable[[Any], Params]
    tell: Callable[..., tuple[Any, Info]]
    result: Callable[[Any], Params]


def step(minimizer: Minimizer, fn: Function, state: Any, *args: Any) -> tuple[Any, Info]:
    """Take one step on `fn(params, *args)`: a single evaluation of value and gradient."""
    (value, aux), gradient = jax.value_and_grad(fn, has_aux=True)(minimizer.ask(state), *args)
    return minimizer.tell(state, value, aux, gradient)


def best_params(state: Any) -> Params:
    """Return the best point that was evaluated: the usual `result`."""
    return state.best.params


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
