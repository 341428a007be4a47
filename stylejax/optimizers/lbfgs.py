"""L-BFGS with one evaluation a step."""

import functools
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from stylejax.optimizers.base import (
    STALL,
    Best,
    Info,
    Minimizer,
    best_params,
    better,
    dot,
    is_finite,
    waited,
    where,
)
from stylejax.optimizers.lbfgs_direction import Memory, Params, forget, scale_by_lbfgs
from stylejax.types import Scalar

HISTORY = 100
"""Pairs that L-BFGS remembers, as in the authors' code and its ports."""

RECENT = 10
"""A step may rise above the last value, but not above the worst of so many: the non-monotone test of Grippo et al. 1986.
Until there are so many, not above twice the first: from noise one of the first steps is far too long, and worth taking."""

FIRST = 0.01
"""Length of a step without a memory, all parameters together: it measures the curvature, and changes hardly anything."""

PATIENCE = 6
"""Rejections in a row after which the memory is to blame, and is emptied."""


class LbfgsState(NamedTuple):
    """The last accepted point with its gradient is in `memory`; the next trial is that point + length · direction."""

    memory: Memory
    direction: Params
    slope: Scalar
    length: Scalar
    rejections: Int[Array, ""]
    recent: Float[Array, " r"]
    last: Scalar
    waited: Int[Array, ""]
    best: Best


# The factories are cached so that the same arguments give the same functions, and these the same compiled program.
@functools.cache
def lbfgs(history: int = HISTORY) -> Minimizer:
    """L-BFGS with one evaluation of value and gradient a step.

    A step evaluates a trial point x + t·d. It is accepted when the value is finite and f(x + t·d) ≤ max of the last values
    + 10⁻⁴ · t · gᵀd (Armijo); the next trial then goes the full length of the new direction. Else the next trial is
    shorter, from the same x. After `PATIENCE` rejections the memory is emptied, and after `STALL` steps without a better
    value the run begins anew from the best point. Without a branch around `fn` it is one program a step, which maps over
    lanes and scans.

    Deviation: the authors take every step of length 1 unseen. On ordinary problems so does this one.
    """
    transformation = scale_by_lbfgs(history)

    def init(params: Params) -> LbfgsState:
        zeros = optax.tree.zeros_like(params)
        recent, inf = jnp.full(RECENT, jnp.inf), jnp.asarray(jnp.inf)
        memory = cast(Memory, transformation.init(params))
        zero, none = jnp.asarray(0.0), jnp.asarray(0)
        return LbfgsState(memory, zeros, zero, zero, none, recent, inf, none, Best(params, inf))

    def ask(state: LbfgsState) -> Params:
        return optax.tree.add_scale(state.memory.params, state.length, state.direction)

    def tell(state: LbfgsState, value: Scalar, aux: Any, gradient: Params) -> tuple[LbfgsState, Info]:
        memory, trial = state.memory, ask(state)
        accepted = is_finite(value, gradient) & _decreases(state, value)
        rejections = jnp.where(accepted, 0, state.rejections + 1)
        restarted = rejections == PATIENCE
        memory = forget(memory, when=restarted)
        # A rejected trial is replaced by the point it started from: the pair it makes is zero, and is not remembered.
        point = where(accepted, trial, memory.params)
        gradient = where(accepted, gradient, memory.gradient)
        direction, memory = cast(tuple[Params, Memory], transformation.update(gradient, memory, point))
        moved = jnp.where(accepted, state.length * optax.tree.norm(state.direction), 0.0)
        direction, slope, full = _descending(direction, gradient, memory.pairs, moved)
        shorter = jnp.where(restarted, full, _shorter(state, value))
        best = better(state.best, trial, value, accepted)
        steps = waited(state.waited, state.best, best)
        new = LbfgsState(
            memory,
            direction,
            slope,
            jnp.where(accepted, full, shorter),
            rejections % PATIENCE,
            jnp.where(accepted, _push(state.recent, value), state.recent),
            jnp.where(accepted, value, state.last),
            steps % STALL,
            best,
        )
        stalled = steps == STALL
        return _anew(new, when=stalled), Info(value, aux, accepted, restarted | stalled, jnp.asarray(1))

    return Minimizer(init, ask, tell, best_params)


def _anew(state: LbfgsState, when: Bool[Array, ""]) -> LbfgsState:
    """Where `when` holds, the state as at the first step, but from the best point and with the best value known."""
    forgetful = forget(state.memory, when)
    memory = forgetful._replace(params=where(when, state.best.params, forgetful.params))
    return state._replace(
        memory=memory,
        length=jnp.where(when, 0.0, state.length),
        rejections=jnp.where(when, 0, state.rejections),
        recent=jnp.where(when, jnp.inf, state.recent),
        last=jnp.where(when, jnp.inf, state.last),
    )


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
    slope, squared = dot(direction, gradient), dot(gradient, gradient)
    usable = (pairs > 0) & (slope < 0) & jnp.isfinite(slope)
    distance = jnp.where(squared > 0, jnp.maximum(FIRST, 10 * moved) * jax.lax.rsqrt(squared), 0.0)
    direction = where(usable, direction, optax.tree.scale(-1.0, gradient))
    return direction, jnp.where(usable, slope, -squared), jnp.where(usable, 1.0, distance)
