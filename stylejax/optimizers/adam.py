"""Adam, and the exponential moving average of its points."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from stylejax.optimizers.base import Best, Info, Minimizer, is_finite, is_stalled, no_best, scalar_like, update_best
from stylejax.types import Params, Scalar


class AdamState(NamedTuple):
    """State of Adam: the next point, Optax's moments, and a factor of the learning rate."""

    params: Params
    moments: optax.OptState
    step_scale: Scalar
    best: Best


class EmaState(NamedTuple):
    """State of Adam, and the weighted sum of its points with its total weight."""

    adam: AdamState
    ema_sum: Params
    weight: Scalar

    @property
    def best(self) -> Best:
        return self.adam.best


# Cached, so that equal arguments give the same functions, and these the same compiled program.
@functools.cache
def adam(learning_rate: float = 0.05, ema_decay: float = 0.0) -> Minimizer:
    """Return Optax's Adam, with restarts from the best point.

    It restarts with a quarter of the learning rate when a value is not finite or exceeds the best one by more than 100 times
    its magnitude, and with half of it when `STALL_STEPS` steps have not improved the loss. With an `ema_decay` d, the result is
    the moving average

        x̄_t = Σ_i d^(t-i) x_i / Σ_i d^(t-i)

    of the accepted points since the last rejected one, in place of the best point; the reported loss is still the best one.
    """
    minimizer = _adam(learning_rate)
    return _with_ema(minimizer, ema_decay) if ema_decay else minimizer


def _with_ema(minimizer: Minimizer, decay: float) -> Minimizer:
    def init(params: Params) -> EmaState:
        return EmaState(minimizer.init(params), optax.tree.zeros_like(params), scalar_like(params, 0.0))

    def ask(state: EmaState) -> Params:
        return minimizer.ask(state.adam)

    def tell(state: EmaState, value: Scalar, aux: Any, gradient: Params) -> tuple[EmaState, Info]:
        adam, info = minimizer.tell(state.adam, value, aux, gradient)
        share = jnp.where(info.accepted, 1.0, 0.0)
        ema_sum = jax.tree.map(lambda total, x: share * (decay * total + x), state.ema_sum, ask(state))
        return EmaState(adam, ema_sum, share * (decay * state.weight + 1)), info

    def result(state: EmaState) -> Params:
        mean = optax.tree.scale(1 / jnp.maximum(state.weight, 1), state.ema_sum)
        return optax.tree.where(state.weight > 0, mean, state.best.params)

    return Minimizer(init, ask, tell, result)


def _adam(learning_rate: float) -> Minimizer:
    transformation = optax.adam(learning_rate)

    def init(params: Params) -> AdamState:
        return AdamState(params, transformation.init(params), scalar_like(params, 1.0), no_best(params))

    def tell(state: AdamState, value: Scalar, aux: Any, gradient: Params) -> tuple[AdamState, Info]:
        diverged = value - state.best.value > 100 * jnp.abs(state.best.value)
        accepted = is_finite(value, gradient) & ~diverged
        best = update_best(state.best, state.params, value, accepted)
        stalled = is_stalled(best)
        restarted = ~accepted | stalled
        # Fresh moments at the same point give the same step again: it must become shorter.
        scale = jnp.where(restarted, state.step_scale / jnp.where(accepted, 2, 4), state.step_scale)
        # Optax mixes types, which a user's jax_numpy_dtype_promotion may forbid.
        with jax.numpy_dtype_promotion("standard"):
            updates, moments = transformation.update(gradient, state.moments, state.params)
        params = optax.tree.where(restarted, best.params, optax.tree.add_scale(state.params, scale, updates))
        moments = optax.tree.where(restarted, transformation.init(params), moments)
        return AdamState(params, moments, scale, best), Info(value, aux, accepted, restarted, jnp.asarray(1))

    return Minimizer(init, lambda state: state.params, tell)
