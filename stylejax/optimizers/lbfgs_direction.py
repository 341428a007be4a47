"""Direction of limited-memory BFGS, as an Optax gradient transformation in matrix form.

It is the method of `optax.scale_by_lbfgs`, with two differences. A pair (s, y) is remembered only when its curvature sᵀy is
safely positive, so the direction always descends. The two-loop recursion, 2m dependent products of vectors, becomes four
products with the memory as a matrix (Byrd, Nocedal and Schnabel 1994, theorem 2.2):

    H = γ I + [S  γY] · [ R⁻ᵀ(D + γ YᵀY)R⁻¹   -R⁻ᵀ ] · [  Sᵀ ]
                        [      -R⁻¹              0  ]   [ γYᵀ ]

H is the inverse Hessian. The columns of S and Y are the last m steps and gradient changes; R is the upper triangle of SᵀY and
D its diagonal; γ = sᵀy / yᵀy of the newest pair.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, Int

from stylejax.types import Params

MIN_CURVATURE_COSINE = 1e-6
"""Minimum cosine between s and y of a pair: below it, float32 rounding decides the sign of sᵀy."""


class LbfgsMemory(NamedTuple):
    """Last m pairs in ring buffers of m + 1 slots, their products, and the last point and its gradient.

    A ring has one matrix a leaf of the parameters, and one flattened leaf a row, which XLA can write in place. `num_pairs`
    counts the pairs since the memory was empty. The next pair is written to slot `num_pairs` mod (m + 1), which is not in use,
    so a pair that is not counted needs no branch.
    """

    s: Params
    y: Params
    sy: Float[Array, "slots slots"]
    yy: Float[Array, "slots slots"]
    num_pairs: Int[Array, ""]
    params: Params
    gradient: Params


def scale_by_lbfgs(history: int) -> optax.GradientTransformation:
    """Return a transformation of a gradient into -H · gradient, which remembers the last `history` pairs.

    Call `update` once at each accepted point, with its gradient as `updates` and the point as `params`. The memory takes
    2 · (`history` + 1) copies of the parameters.
    """

    def init(params: Params) -> LbfgsMemory:
        ring = jax.tree.map(lambda p: jnp.zeros((history + 1, p.size), p.dtype), params)
        products = jnp.zeros((history + 1, history + 1), jnp.result_type(*jax.tree.leaves(params)))
        return LbfgsMemory(ring, ring, products, products, jnp.asarray(0), params, optax.tree.zeros_like(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Params, LbfgsMemory]:
        assert params is not None, "L-BFGS measures curvature between points: pass params to update"
        memory = _push_pair(state, params, updates)
        return _direction(memory), memory

    return optax.GradientTransformation(init, update)


def reset_memory(memory: LbfgsMemory, when: Bool[Array, ""]) -> LbfgsMemory:
    """Return the memory, without its pairs if `when`: the next direction is then steepest descent."""
    return memory._replace(num_pairs=jnp.where(when, 0, memory.num_pairs))


def _push_pair(memory: LbfgsMemory, params: Params, gradient: Params) -> LbfgsMemory:
    """Write the pair of the last point and this one, and count it if its curvature is safely positive."""
    step, change = optax.tree.sub(params, memory.params), optax.tree.sub(gradient, memory.gradient)
    slot = memory.num_pairs % memory.sy.shape[0]
    steps, changes = _write_row(memory.s, step, slot), _write_row(memory.y, change, slot)
    squares = _products(changes, change)
    sy = memory.sy.at[slot].set(_products(changes, step)).at[:, slot].set(_products(steps, change))
    yy = memory.yy.at[slot].set(squares).at[:, slot].set(squares)
    is_convex = sy[slot, slot] > MIN_CURVATURE_COSINE * jnp.sqrt(optax.tree.vdot(step, step) * squares[slot])
    return LbfgsMemory(
        steps, changes, sy, yy, memory.num_pairs + is_convex.astype(memory.num_pairs.dtype), params, gradient
    )


def _direction(memory: LbfgsMemory) -> Params:
    """Return -H · gradient."""
    # The m + 1 slots are sorted by age; those without a pair come first, and are rows of the identity.
    slots = memory.sy.shape[0]
    order = (memory.num_pairs + jnp.arange(slots)) % slots
    filled = jnp.arange(slots) >= slots - jnp.minimum(memory.num_pairs, slots - 1)
    is_pair = jnp.outer(filled, filled)
    sy, yy = (jnp.where(is_pair, m[order][:, order], jnp.eye(slots, dtype=m.dtype)) for m in (memory.sy, memory.yy))
    s_gradient = jnp.where(filled, _products(memory.s, memory.gradient)[order], 0.0)
    y_gradient = jnp.where(filled, _products(memory.y, memory.gradient)[order], 0.0)
    gamma, upper = sy[-1, -1] / yy[-1, -1], jnp.triu(sy)
    z = solve_triangular(upper, s_gradient)
    w = solve_triangular(upper, jnp.diag(sy) * z + gamma * (yy @ z - y_gradient), trans="T")
    w, z = jnp.zeros((2, slots), w.dtype).at[:, order].set(jnp.stack([w, z]))

    def multiply(g: Array, s: Float[Array, "slots n"], y: Float[Array, "slots n"]) -> Array:
        ws, zy = (jnp.matmul(x, ring, precision="highest").reshape(g.shape) for x, ring in ((w, s), (z, y)))
        return -gamma * g - ws + gamma * zy

    return jax.tree.map(multiply, memory.gradient, memory.s, memory.y)


def _write_row(ring: Params, value: Params, slot: Int[Array, ""]) -> Params:
    return jax.tree.map(lambda r, v: r.at[slot].set(v.ravel()), ring, value)


def _products(ring: Params, vector: Params) -> Float[Array, " slots"]:
    """Return the inner product of each row with a vector."""
    parts = jax.tree.map(lambda r, v: jnp.matmul(r, v.ravel(), precision="highest"), ring, vector)
    return functools.reduce(jnp.add, jax.tree.leaves(parts))
