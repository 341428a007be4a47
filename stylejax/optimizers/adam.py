"""Adam, and the mean of its points."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from stylejax.optimizers.base import STALL, Best, Info, Minimizer, best_params, better, is_finite, waited, where
from stylejax.optimizers.lbfgs_direction import Params
from stylejax.types import Scalar


class AdamState(NamedTuple):
    """The point to be evaluated next, Optax' moments, and the share of the step size that is left."""

    params: Params
    moments: optax.OptState
    pace: Scalar
    waited: Int[Array, ""]
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


@functools.cache
def adam(learning_rate: float = 0.05, average: float = 0.0) -> Minimizer:
    """Optax' Adam. Where the value is not finite, or has run away to 100 times the best one's size above it, it begins anew
    from the best point; after `STALL` steps without a better value too, and from then on with half the step. With an
    `average` the result is that mean of its points (`averaged`)."""
    return averaged(_adam(learning_rate), average) if average else _adam(learning_rate)


def averaged(minimizer: Minimizer, kept: float) -> Minimizer:
    """The same steps, with another result: the mean x̄ of the points that were evaluated, which the noise of the steps does not
    reach.

        x̄_t = Σ_i kept^(t-i) x_i / Σ_i kept^(t-i)

    Dividing by the weights themselves is the correction of the bias to the first point. A point that was not taken, and with it
    all before, is left out. The value that is told is the least of the points', not that of the mean.
    """

    def init(params: Params) -> AveragedState:
        return AveragedState(minimizer.init(params), optax.tree.zeros_like(params), jnp.asarray(0.0))

    def ask(state: AveragedState) -> Params:
        return minimizer.ask(state.adam)

    def tell(state: AveragedState, value: Scalar, aux: Any, gradient: Params) -> tuple[AveragedState, Info]:
        adam, info = minimizer.tell(state.adam, value, aux, gradient)
        point, share = ask(state), jnp.where(info.accepted, 1.0, 0.0)
        total = jax.tree.map(lambda t, p: share * (kept * t + p), state.total, point)
        return AveragedState(adam, total, share * (kept * state.weight + 1)), info

    def result(state: AveragedState) -> Params:
        mean = optax.tree.scale(1 / jnp.maximum(state.weight, 1), state.total)
        return where(state.weight > 0, mean, state.best.params)

    return Minimizer(init, ask, tell, result)


def _adam(learning_rate: float) -> Minimizer:
    transformation = optax.adam(learning_rate)

    def init(params: Params) -> AdamState:
        one, none = jnp.asarray(1.0), jnp.asarray(0)
        return AdamState(params, transformation.init(params), one, none, Best(params, jnp.asarray(jnp.inf)))

    def ask(state: AdamState) -> Params:
        return state.params

    def tell(state: AdamState, value: Scalar, aux: Any, gradient: Params) -> tuple[AdamState, Info]:
        ran_away = value - state.best.value > 100 * jnp.abs(state.best.value)
        accepted = is_finite(value, gradient) & ~ran_away
        best = better(state.best, state.params, value, accepted)
        steps = waited(state.waited, state.best, best)
        stalled, going = steps == STALL, accepted & (steps < STALL)
        pace = jnp.where(stalled, state.pace / 2, state.pace)
        updates, moments = transformation.update(gradient, state.moments, state.params)
        params = where(going, optax.tree.add_scale(state.params, pace, updates), best.params)
        moments = where(going, moments, transformation.init(params))
        new = AdamState(params, moments, pace, steps % STALL, best)
        return new, Info(value, aux, accepted, ~going, jnp.asarray(1))

    return Minimizer(init, ask, tell, best_params)
