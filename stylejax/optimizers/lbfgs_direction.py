"""The direction of limited-memory BFGS, as an Optax gradient transformation in matrix form.

It is the method of `optax.scale_by_lbfgs`, with two differences. A pair (s, y) enters the memory only when its curvature sᵀy
is safely positive, so that the direction always descends; and the two-loop recursion, 2m dependent products of vectors, is
written as four products with the memory as a matrix (Byrd, Nocedal and Schnabel 1994, theorem 2.2):

    H = γ I + [S  γY] · [ R⁻ᵀ(D + γ YᵀY)R⁻¹   -R⁻ᵀ ] · [  Sᵀ ]
                        [      -R⁻¹              0  ]   [ γYᵀ ]

S and Y hold the last m steps and changes of the gradient as columns, R is the upper triangle of SᵀY, D its diagonal,
γ = sᵀy / yᵀy of the newest pair. H is the inverse Hessian that the two-loop recursion applies.
"""

import functools
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, Int

Params: TypeAlias = Any
"""Any pytree of arrays: pixels, several images, a decoder's input."""

CURVATURE = 1e-6
"""The least cosine between s and y with which a pair is kept: below it float32 rounding decides the sign of sᵀy."""


class Memory(NamedTuple):
    """The last m pairs in rings of m + 1 slots, their products, and the point and gradient that they were measured from.

    A ring has one matrix a leaf, one flattened leaf a row: in any other shape XLA copies it to write into it. `pairs` is how
    many were kept since the memory was empty. The next one goes to slot pairs mod (m + 1), which is never in use: a pair
    that is not kept may lie there without harm, so that writing needs no branch.
    """

    steps: Params
    changes: Params
    steps_changes: Float[Array, "slots slots"]
    changes_changes: Float[Array, "slots slots"]
    pairs: Int[Array, ""]
    params: Params
    gradient: Params


def scale_by_lbfgs(history: int) -> optax.GradientTransformation:
    """Turn a gradient into -H · gradient, remembering the last `history` pairs.

    `update` is to be called once at each point that is accepted, with `params` the point and `updates` its gradient. The
    memory takes 2 · (`history` + 1) copies of the parameters.
    """

    def init(params: Params) -> Memory:
        ring = jax.tree.map(lambda p: jnp.zeros((history + 1, p.size), p.dtype), params)
        products = jnp.zeros((history + 1, history + 1), jnp.result_type(*jax.tree.leaves(params)))
        return Memory(ring, ring, products, products, jnp.asarray(0), params, optax.tree.zeros_like(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Params, Memory]:
        assert params is not None, "L-BFGS measures curvature between points: pass params to update"
        memory = _remember(state, params, updates)
        return _direction(memory), memory

    return optax.GradientTransformation(init, update)


def forget(memory: Memory, when: Bool[Array, ""]) -> Memory:
    """Return the memory without its pairs if `when`: the next direction is the steepest descent."""
    return memory._replace(pairs=jnp.where(when, 0, memory.pairs))


def _remember(memory: Memory, params: Params, gradient: Params) -> Memory:
    """Write the pair of this point and the last, and count it if its curvature is safely positive.

    At the first point both are zero, or the step is, and such a pair is not kept.
    """
    step, change = optax.tree.sub(params, memory.params), optax.tree.sub(gradient, memory.gradient)
    slot = memory.pairs % memory.steps_changes.shape[0]
    steps, changes = _put(memory.steps, step, slot), _put(memory.changes, change, slot)
    squares = _products(changes, change)
    sy = memory.steps_changes.at[slot].set(_products(changes, step)).at[:, slot].set(_products(steps, change))
    yy = memory.changes_changes.at[slot].set(squares).at[:, slot].set(squares)
    keep = sy[slot, slot] > CURVATURE * jnp.sqrt(optax.tree.vdot(step, step) * squares[slot])
    return Memory(steps, changes, sy, yy, memory.pairs + keep, params, gradient)


def _direction(memory: Memory) -> Params:
    """Return -H · gradient. The small matrices are in the order of time; slots without a pair come first, as the identity."""
    slots = memory.steps_changes.shape[0]
    order = (memory.pairs + jnp.arange(slots)) % slots
    filled = jnp.arange(slots) >= slots - jnp.minimum(memory.pairs, slots - 1)
    both = jnp.outer(filled, filled)
    products = jnp.where(both, memory.steps_changes[order][:, order], jnp.eye(slots))
    squares = jnp.where(both, memory.changes_changes[order][:, order], jnp.eye(slots))
    along_steps = jnp.where(filled, _products(memory.steps, memory.gradient)[order], 0.0)
    along_changes = jnp.where(filled, _products(memory.changes, memory.gradient)[order], 0.0)
    gamma, triangle = products[-1, -1] / squares[-1, -1], jnp.triu(products)
    z = solve_triangular(triangle, along_steps)
    w = solve_triangular(triangle, jnp.diag(products) * z + gamma * (squares @ z - along_changes), trans="T")
    w, z = jnp.zeros((2, slots), w.dtype).at[:, order].set(jnp.stack([w, z]))
    return jax.tree.map(
        lambda g, s, y: -gamma * g - _combine(w, s, g) + gamma * _combine(z, y, g),
        memory.gradient,
        memory.steps,
        memory.changes,
    )


def _put(ring: Params, value: Params, slot: Int[Array, ""]) -> Params:
    return jax.tree.map(lambda r, v: r.at[slot].set(v.ravel()), ring, value)


def _products(ring: Params, vector: Params) -> Float[Array, " slots"]:
    """Return the inner product of each slot with a vector."""
    parts = jax.tree.map(lambda r, v: jnp.matmul(r, v.ravel(), precision="highest"), ring, vector)
    return functools.reduce(jnp.add, jax.tree.leaves(parts))


def _combine(coefficients: Float[Array, " slots"], ring: Float[Array, "slots n"], like: Array) -> Array:
    """Return the sum of the slots, each times its coefficient, in the shape of `like`."""
    return jnp.matmul(coefficients, ring, precision="highest").reshape(like.shape)
