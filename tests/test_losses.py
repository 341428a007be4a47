"""The equations against loops in float64, closed forms and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from stylejax.losses.gatys import content_loss, gram_matrix, style_loss
from stylejax.losses.total_variation import (
    SMOOTHING,
    anisotropic_total_variation,
    isotropic_total_variation,
    total_variation,
)


@pytest.fixture
def responses(generator):
    return generator.standard_normal((3, 5, 4)).astype(np.float32), generator.standard_normal((3, 5, 4)).astype(
        np.float32
    )


def test_gram_matrix_is_equation_3_over_positions(responses):
    f, _ = responses
    np.testing.assert_allclose(gram_matrix(jnp.asarray(f)), oracle.gram(f) / 15, rtol=1e-5, atol=1e-6)


def test_content_loss_is_equation_1_over_its_size(responses):
    f, p = map(jnp.asarray, responses)
    np.testing.assert_allclose(content_loss(f, p), oracle.content(f, p), rtol=1e-5)


def test_style_loss_is_equation_4(responses):
    f, a = responses
    ours = style_loss(gram_matrix(jnp.asarray(f)), gram_matrix(jnp.asarray(a)))
    np.testing.assert_allclose(ours, oracle.style(f, oracle.gram(a)), rtol=1e-5)


def test_gram_of_ones_is_one_at_every_size():
    for shape in ((1, 1, 3), (7, 2, 3)):
        np.testing.assert_allclose(gram_matrix(jnp.ones(shape)), np.ones((3, 3)), rtol=1e-6)


def test_gram_of_a_repeated_picture_is_the_same(responses):
    f = jnp.asarray(responses[0])
    np.testing.assert_allclose(gram_matrix(jnp.tile(f, (2, 2, 1))), gram_matrix(f), rtol=1e-5, atol=1e-6)


def test_losses_are_zero_at_the_target(responses):
    f = jnp.asarray(responses[0])
    assert content_loss(f, f) == 0
    assert style_loss(gram_matrix(f), gram_matrix(f)) == 0


def test_total_variation_of_a_checkerboard_is_two():
    board = np.indices((6, 8)).sum(0) % 2
    image = jnp.asarray(np.repeat(board[..., None], 3, -1), jnp.float32)
    assert total_variation(image) == 2


def test_total_variation_is_the_oracles_and_zero_for_flat_or_single_pixels(generator):
    image = generator.random((4, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(total_variation(jnp.asarray(image)), oracle.variation(image), rtol=1e-5)
    assert total_variation(jnp.full((4, 4, 3), 0.3)) == 0
    assert total_variation(jnp.ones((1, 1, 3))) == 0


NORMS = {
    anisotropic_total_variation: lambda down, right: abs(down) + abs(right),
    isotropic_total_variation: lambda down, right: np.sqrt(down**2 + right**2 + SMOOTHING**2) - SMOOTHING,
}


@pytest.mark.parametrize("form", NORMS)
@pytest.mark.parametrize("shape", [(4, 5, 3), (1, 6, 3), (1, 1, 3)])
def test_other_variations_are_the_oracles(form, shape, generator):
    image = generator.random(shape).astype(np.float32)
    (found,) = form(jnp.asarray(image))
    np.testing.assert_allclose(found.mean, oracle.variation_in_place(image, NORMS[form]), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("form", NORMS)
def test_parts_of_a_picture_add_up_where_each_position_is_owned_once(form, generator):
    image, owned = jnp.asarray(generator.random((6, 5, 3)), jnp.float32), jnp.zeros((6, 5)).at[:2].set(1.0)
    (whole,), (upper,), (lower,) = form(image), form(image, owned), form(image, 1 - owned)
    both = jax.tree.map(jnp.add, upper, lower)
    np.testing.assert_allclose(both.mean, whole.mean, rtol=1e-5)


def test_an_isotropic_variation_is_the_same_for_slopes_in_every_direction():
    """Compare ramps of one steepness in several directions; the l1 norm prefers the axes."""
    rows, columns = np.indices((20, 20))
    values = {form: [] for form in NORMS}
    for angle in (0, 30, 45):
        ramp = (columns * np.cos(np.deg2rad(angle)) + rows * np.sin(np.deg2rad(angle)))[..., None] * np.ones(3)
        inside = jnp.ones((20, 20)).at[-1].set(0).at[:, -1].set(0)
        for form in NORMS:
            values[form].append(float(form(jnp.asarray(ramp, jnp.float32), inside)[0].mean))
    np.testing.assert_allclose(values[isotropic_total_variation], 1, rtol=2e-3)
    np.testing.assert_allclose(values[anisotropic_total_variation], [1, 1.366, 1.414], rtol=1e-3)


@pytest.mark.parametrize("form", NORMS)
def test_flat_places_have_no_slope(form):
    slopes = jax.jit(jax.grad(lambda x: form(x)[0].mean))(jnp.full((5, 5, 3), 0.4))
    assert np.array_equal(slopes, np.zeros((5, 5, 3)))


@pytest.mark.parametrize(
    "loss",
    [
        lambda f, t: content_loss(f, t),
        lambda f, t: style_loss(gram_matrix(f), gram_matrix(t)),
        lambda f, t: total_variation(f[..., :3]),
        lambda f, t: anisotropic_total_variation(f[..., :3])[0].mean,
        lambda f, t: isotropic_total_variation(f[..., :3])[0].mean,
        # A cotangent that is not symmetric: the rule of gram_matrix must not assume one.
        lambda f, t: jnp.vdot(gram_matrix(f), jnp.arange(16.0).reshape(4, 4)),
    ],
)
def test_gradients_are_finite_differences(loss, responses):
    with jax.enable_x64(True):
        f, t = (jnp.asarray(x, jnp.float64) for x in responses)
        gradient = np.asarray(jax.jit(jax.grad(loss))(f, t))
        for index in ((0, 0, 0), (1, 2, 3), (2, 4, 1)):
            step = np.zeros(f.shape)
            step[index] = 1e-6
            slope = (loss(f + step, t) - loss(f - step, t)) / 2e-6
            np.testing.assert_allclose(gradient[index], slope, rtol=1e-6, atol=1e-9)


def test_gram_matrix_maps_over_a_batch(responses):
    batch = jnp.stack([jnp.asarray(x) for x in responses])
    grams = jax.jit(jax.vmap(gram_matrix))(batch)
    np.testing.assert_allclose(grams[1], gram_matrix(batch[1]), rtol=1e-5, atol=1e-6)
