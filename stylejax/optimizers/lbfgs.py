"""L-BFGS with one evaluation a step."""

import functools
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from stylejax.optimizers.base import (
    Best,
    Info,
    Minimizer,
    dot,
    is_finite,
    is_stalled,
    no_best,
    scalar_like,
    update_best,
)
from stylejax.optimizers.lbfgs_direction import LbfgsMemory, reset_memory, scale_by_lbfgs
from stylejax.types import Params, Scalar

HISTORY = 100
"""Pairs that L-BFGS remembers, as in the authors' code and its ports."""

NONMONOTONE_WINDOW = 10
"""Accepted values whose maximum bounds the next one (Grippo et al. 1986). Before there are 10, twice the first value counts as
the others: from noise, one of the first steps is far too long and still worth taking."""

INITIAL_STEP_NORM = 0.01
"""Norm of a step without memory, over all parameters: enough to measure the curvature, and hardly a change."""

MAX_REJECTIONS = 6
"""Rejections in a row after which the memory is emptied: a step of at most 1/32 has failed by then."""


class LbfgsState(NamedTuple):
    """State of L-BFGS: the next trial is `step_size` · `direction` from the last accepted point."""

    memory: LbfgsMemory
    direction: Params
    slope: Scalar
    step_size: Scalar
    rejections: Int[Array, ""]
    recent_values: Float[Array, " r"]
    best: Best


# Cached, so that equal arguments give the same functions, and these the same compiled program.
@functools.cache
def lbfgs(history: int = HISTORY) -> Minimizer:
    """Return L-BFGS with one evaluation of value and gradient a step.

    A step evaluates a trial point x + t·d. It is accepted when the value is finite and satisfies the nonmonotone Armijo test
    f(x + t·d) ≤ max of the recent values + 10⁻⁴ · t · gᵀd; the next trial then takes the full step of the new direction.
    Otherwise the next trial is a shorter step from the same x. After `MAX_REJECTIONS` rejections the memory is emptied; after
    `STALL_STEPS` steps without improvement the run restarts from the best point. No branch surrounds `fn`, so steps can be
    scanned and batched.

    Deviation: the authors take every step with t = 1, untested. On ordinary problems this gives the same steps.
    """
    transformation = scale_by_lbfgs(history)

    def init(params: Params) -> LbfgsState:
        memory = cast(LbfgsMemory, transformation.init(params))
        zeros, zero = optax.tree.zeros_like(params), scalar_like(params, 0.0)
        recent_values = jnp.full(NONMONOTONE_WINDOW, scalar_like(params, jnp.inf))
        return LbfgsState(memory, zeros, zero, zero, jnp.asarray(0), recent_values, no_best(params))

    def ask(state: LbfgsState) -> Params:
        return optax.tree.add_scale(state.memory.params, state.step_size, state.direction)

    def tell(state: LbfgsState, value: Scalar, aux: Any, gradient: Params) -> tuple[LbfgsState, Info]:
        trial = ask(state)
        accepted = is_finite(value, gradient) & _armijo(state, value)
        rejections = jnp.where(accepted, 0, state.rejections + 1)
        restarted = rejections == MAX_REJECTIONS
        memory = reset_memory(state.memory, when=restarted)
        # A rejected trial is replaced by the point that it started from: their pair is zero, and is not remembered.
        point, gradient = optax.tree.where(accepted, (trial, gradient), (memory.params, memory.gradient))
        direction, memory = cast(tuple[Params, LbfgsMemory], transformation.update(gradient, memory, point))
        moved = jnp.where(accepted, state.step_size * optax.tree.norm(state.direction), 0.0)
        direction, slope, full_step = _descent_direction(direction, gradient, memory.num_pairs, moved)
        new = LbfgsState(
            memory,
            direction,
            slope,
            # Without pairs the direction is the same as before, and its full step has failed.
            jnp.where(accepted | restarted & (state.memory.num_pairs > 0), full_step, _backtrack(state, value)),
            rejections % MAX_REJECTIONS,
            jnp.where(accepted, _push_value(state.recent_values, value), state.recent_values),
            update_best(state.best, trial, value, accepted),
        )
        stalled = is_stalled(new.best)
        return _restart(new, when=stalled), Info(value, aux, accepted, restarted | stalled, jnp.asarray(1))

    return Minimizer(init, ask, tell)


def _restart(state: LbfgsState, when: Bool[Array, ""]) -> LbfgsState:
    """Return the state of a first step from the best point if `when`."""
    memory = reset_memory(state.memory, when)
    return state._replace(
        memory=memory._replace(params=optax.tree.where(when, state.best.params, memory.params)),
        step_size=jnp.where(when, 0.0, state.step_size),
        rejections=jnp.where(when, 0, state.rejections),
        recent_values=jnp.where(when, jnp.inf, state.recent_values),
    )


def _push_value(recent: Float[Array, " r"], value: Scalar) -> Float[Array, " r"]:
    """Put the newest value first; missing earlier values become twice the first value."""
    shifted = jnp.where(jnp.isinf(recent), value + jnp.abs(value), jnp.roll(recent, 1))
    return shifted.at[0].set(value)


def _armijo(state: LbfgsState, value: Scalar) -> Bool[Array, ""]:
    rounding = 2 * jnp.finfo(value.dtype).eps * jnp.abs(value)
    return value <= jnp.max(state.recent_values) + 1e-4 * state.step_size * state.slope + rounding


def _backtrack(state: LbfgsState, value: Scalar) -> Scalar:
    """Return the minimum of the parabola through both values and the slope, within 0.1 to 0.5 of the step."""
    rise = value - state.recent_values[0] - state.step_size * state.slope
    ratio = -state.step_size * state.slope / (2 * rise)
    return state.step_size * jnp.where(jnp.isfinite(ratio), jnp.clip(ratio, 0.1, 0.5), 0.1)


def _descent_direction(
    direction: Params, gradient: Params, num_pairs: Int[Array, ""], moved: Scalar
) -> tuple[Params, Scalar, Scalar]:
    """Return the direction, its slope and its full step.

    Without pairs, or with a direction that rounding has spoilt, this is steepest descent: a step of norm `INITIAL_STEP_NORM`,
    or ten times the norm of a last step (`moved`) that left no pair.
    """
    slope, squared = dot(direction, gradient), dot(gradient, gradient)
    usable = (num_pairs > 0) & (slope < 0) & jnp.isfinite(slope)
    distance = jnp.where(squared > 0, jnp.maximum(INITIAL_STEP_NORM, 10 * moved) * jax.lax.rsqrt(squared), 0.0)
    direction = optax.tree.where(usable, direction, optax.tree.scale(-1.0, gradient))
    return direction, jnp.where(usable, slope, -squared), jnp.where(usable, 1.0, distance)
