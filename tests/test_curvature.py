"""The matrix form of L-BFGS against Optax' two-loop recursion, and what keeps a pair out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stylejax.optimizers.lbfgs_direction import reset_memory, scale_by_lbfgs


def quadratic(generator, n=12):
    """A positive definite matrix of condition 100."""
    basis, _ = np.linalg.qr(generator.standard_normal((n, n)))
    return jnp.asarray(basis @ np.diag(np.geomspace(0.1, 10, n)) @ basis.T)


def walk(transformation, matrix, points):
    """The directions that a transformation gives along a path of points."""
    state = transformation.init(points[0])
    directions = []
    for x in points:
        direction, state = jax.jit(transformation.update)(matrix @ x, state, x)
        directions.append(direction)
    return directions, state


@pytest.mark.parametrize("history", [1, 3, 20])
def test_directions_are_those_of_the_two_loop_recursion(history, generator):
    with jax.enable_x64(True):
        matrix = quadratic(generator)
        points = list(jnp.asarray(generator.standard_normal((9, 12))))
        ours, _ = walk(scale_by_lbfgs(history), matrix, points)
        # Optax leaves the sign to its caller, and scales the first step.
        optaxs, _ = walk(optax.scale_by_lbfgs(history, scale_init_precond=True), matrix, points)
        for a, b in zip(ours[1:], optaxs[1:], strict=True):
            np.testing.assert_allclose(a, -b, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(ours[0], -(matrix @ points[0]), rtol=1e-9)


def test_float32_directions_stay_close_to_float64_with_a_long_memory(generator):
    matrix, path = quadratic(generator, 60), generator.standard_normal((80, 60))
    single, _ = walk(scale_by_lbfgs(100), matrix.astype(jnp.float32), list(jnp.asarray(path, jnp.float32)))
    with jax.enable_x64(True):
        double, _ = walk(scale_by_lbfgs(100), jnp.asarray(matrix, jnp.float64), list(jnp.asarray(path)))
    a, b = np.asarray(single[-1]), np.asarray(double[-1])
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.999


def test_any_pytree_is_the_same_as_its_flat_vector(generator):
    matrix, points = quadratic(generator), generator.standard_normal((5, 12))
    flat, _ = walk(scale_by_lbfgs(4), matrix, list(jnp.asarray(points, jnp.float32)))
    transformation = scale_by_lbfgs(4)

    def tree(x):
        return {"a": x[:8].reshape(2, 4), "b": (x[8:],)}

    direction: Any = None
    state = transformation.init(tree(jnp.asarray(points[0], jnp.float32)))
    for x in jnp.asarray(points, jnp.float32):
        direction, state = transformation.update(tree(matrix @ x), state, tree(x))
    np.testing.assert_allclose(direction["a"].ravel(), flat[-1][:8], rtol=1e-3, atol=1e-4)


def test_pairs_of_no_or_negative_curvature_are_not_remembered(generator):
    transformation = scale_by_lbfgs(4)
    x = jnp.asarray(generator.standard_normal(6), jnp.float32)
    state: Any = transformation.init(x)
    _, state = transformation.update(2 * x, state, x)
    assert state.num_pairs == 0
    direction, state = transformation.update(4 * x, state, 2 * x)
    assert state.num_pairs == 1
    for gradient, point in ((4 * x, 2 * x), (x, 3 * x)):  # no step at all; a gradient that falls along the step
        kept = state
        direction, state = transformation.update(gradient, state, point)
        assert state.num_pairs == 1
        np.testing.assert_allclose(direction, -gradient / 2, rtol=1e-4)  # still H = 1/2 of the one good pair
        state = kept


def test_a_forgotten_memory_gives_the_steepest_descent(generator):
    matrix, points = quadratic(generator), list(jnp.asarray(generator.standard_normal((5, 12)), jnp.float32))
    _, state = walk(scale_by_lbfgs(4), matrix, points)
    kept, gone = reset_memory(state, jnp.asarray(False)), reset_memory(state, jnp.asarray(True))
    assert kept.num_pairs == 4
    direction, _ = scale_by_lbfgs(4).update(gone.gradient, gone, gone.params)
    np.testing.assert_allclose(direction, -gone.gradient, rtol=1e-6)


def test_the_memory_is_written_in_place():
    """XLA copies a memory whose writing it cannot order behind the reading; 100 pairs at 512² are 600 MiB."""
    x = jnp.ones((16, 16, 3))
    transformation = scale_by_lbfgs(7)
    state = jax.jit(transformation.init)(x)
    update = jax.jit(transformation.update, donate_argnums=1)
    program = update.lower(x, state, x).compile().as_text()
    assert not [line for line in program.splitlines() if " copy(" in line and "f32[8,768]" in line.split(" copy(")[0]]
