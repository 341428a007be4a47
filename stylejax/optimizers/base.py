"""Protocol of the minimizers, which know nothing of images or style.

A step is one evaluation of `fn(params, *args) -> (value, aux)` and of its gradient.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer
from jaxtyping import Array, Bool, Int

from stylejax.errors import InputError
from stylejax.types import Params, Scalar

Callee = TypeVar("Callee", bound=Callable)
Function: TypeAlias = Callable[..., tuple[Scalar, Any]]

STALL_STEPS = 50
"""Steps without improvement after which a minimizer restarts from the best point: 5 windows in which L-BFGS may rise."""


class HostFunction(NamedTuple):
    """Function of several programs: `evaluate(params, *args)` returns ((value, aux), gradient)."""

    evaluate: Callable[..., tuple[tuple[Scalar, Any], Params]]


class Best(NamedTuple):
    """Best point that was evaluated, its value, and the steps since then."""

    params: Params
    value: Scalar
    age: Int[Array, ""]


class Info(NamedTuple):
    """Observation of one step.

    Attributes:
        value: loss at the point that was tried.
        aux: second result of the function, such as the loss terms.
        accepted: whether the minimizer took the point.
        restarted: whether it discarded its memory, or went back to the best point.
        evaluations: of the function.
    """

    value: Scalar
    aux: Any
    accepted: Bool[Array, ""]
    restarted: Bool[Array, ""]
    evaluations: Int[Array, ""]


class Minimizer(NamedTuple):
    """Minimizer as pure functions of its state, which has a field `best`.

    Attributes:
        init: `init(params) -> state`.
        ask: `ask(state) -> params`, the point to evaluate next.
        tell: `tell(state, value, aux, gradient) -> (state, info)`, with the evaluation at that point.
        result: `result(state) -> params`; by default the best point.
    """

    init: Callable[[Params], Any]
    ask: Callable[[Any], Params]
    tell: Callable[..., tuple[Any, Info]]
    result: Callable[[Any], Params] = lambda state: state.best.params


def host_only(function: Callee) -> Callee:
    """Return the function, refused with `InputError` inside a transformation of jax: its steps are a loop of Python."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        # Inside jit every array is a tracer, also a new one.
        if any(isinstance(x, Tracer) for x in (jnp.zeros(()), *jax.tree.leaves((args, options)))):
            raise InputError(
                f"stylejax.{function.__name__} must be outside of jit, grad and vmap: it loops on the host; transform "
                "stylejax.objective, or a network of stylejax.load_vgg"
            )
        return function(*args, **options)

    return cast(Callee, call)


def step(minimizer: Minimizer, fn: Function, state: Any, *args: Any) -> tuple[Any, Info]:
    """Take one step on `fn(params, *args)`."""
    (value, aux), gradient = jax.value_and_grad(fn, has_aux=True)(minimizer.ask(state), *args)
    return minimizer.tell(state, value, aux, gradient)


def no_best(params: Params) -> Best:
    """Return the `Best` of a run without evaluations."""
    return Best(params, scalar_like(params, jnp.inf), jnp.asarray(0))


def update_best(best: Best, params: Params, value: Scalar, accepted: Bool[Array, ""]) -> Best:
    improved = accepted & (value < best.value)
    new = Best(params, value, jnp.asarray(0))
    return optax.tree.where(improved, new, best._replace(age=best.age + 1))


def is_stalled(best: Best) -> Bool[Array, ""]:
    """Return whether another `STALL_STEPS` steps have not improved on the best point."""
    return (best.age > 0) & (best.age % STALL_STEPS == 0)


def is_finite(value: Scalar, gradient: Params) -> Bool[Array, ""]:
    return jnp.isfinite(value) & jnp.isfinite(dot(gradient, gradient))


def scalar_like(params: Params, value: float) -> Scalar:
    """Return a number in the type of the parameters, also where the default type is float64."""
    return jnp.asarray(value, jnp.result_type(*jax.tree.leaves(params)))


def dot(a: Params, b: Params) -> Scalar:
    return jnp.asarray(optax.tree.vdot(a, b))
