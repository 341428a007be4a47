"""Gaussians as the style, against SciPy's square root of a matrix in float64, and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import plain_targets
from scipy.linalg import sqrtm

from stylejax.losses.objective import LossTerms, objective
from stylejax.losses.reductions import WeightedSum
from stylejax.losses.targets import blend, style_targets
from stylejax.losses.wasserstein import GaussianStats, gaussian_stats, second_moments, trace_sqrtm, wasserstein_loss


def gaussian(f):
    flat = np.asarray(f, np.float64).reshape(-1, f.shape[-1])
    return flat.mean(0), np.cov(flat.T, bias=True)


def distance(f, a):
    """W² / N as published, with the root of the style's covariance on both sides."""
    (mean, cov), (wanted, its_cov) = gaussian(f), gaussian(a)
    root = np.real(sqrtm(its_cov))
    both = np.sqrt(np.linalg.eigvalsh(root @ cov @ root).clip(0)).sum()
    return np.mean((mean - wanted) ** 2) + (np.trace(its_cov) + np.trace(cov) - 2 * both) / mean.size


def loss(f, a):
    return wasserstein_loss(second_moments(f).mean, gaussian_stats(second_moments(a).mean))


@pytest.fixture
def responses(generator):
    """Correlated channels, with means of their own."""
    mix = generator.standard_normal((2, 5, 5))
    return [generator.standard_normal((6, 8, 5)) @ m + generator.random(5) for m in mix]


def test_the_loss_is_the_wasserstein_distance_over_channels(responses):
    f, a = responses
    np.testing.assert_allclose(loss(*(jnp.asarray(x, jnp.float32) for x in (f, a))), distance(f, a), rtol=1e-4)
    with jax.enable_x64(True):
        np.testing.assert_allclose(loss(jnp.asarray(f), jnp.asarray(a)), distance(f, a), rtol=1e-8)


def test_gradients_are_finite_differences_of_the_oracle(responses):
    f, a = responses
    with jax.enable_x64(True):
        slopes = np.asarray(jax.jit(jax.grad(loss))(jnp.asarray(f), jnp.asarray(a)))
    for index in ((0, 0, 0), (3, 2, 4), (5, 7, 1)):
        step = np.zeros(f.shape)
        step[index] = 1e-6
        slope = (distance(f + step, a) - distance(f - step, a)) / 2e-6
        np.testing.assert_allclose(slopes[index], slope, rtol=1e-5, atol=1e-9)


def test_it_is_zero_at_the_target_and_of_shifted_responses_the_square_of_the_way(responses):
    f = jnp.asarray(responses[0], jnp.float32)
    np.testing.assert_allclose(loss(f, f), 0, atol=1e-4)
    np.testing.assert_allclose(loss(f + 2, f), 4, rtol=1e-4)


def test_parts_of_a_picture_add_up_and_positions_can_weigh(responses):
    f = jnp.asarray(responses[0], jnp.float32)
    upper, lower, whole = second_moments(f[:2]), second_moments(f[2:]), second_moments(f)
    added = jax.tree.map(jnp.add, upper, lower)
    assert isinstance(added, WeightedSum)
    np.testing.assert_allclose(added.mean, whole.mean, rtol=1e-5, atol=1e-6)
    only = jnp.zeros(f.shape[:2]).at[:2].set(0.5)
    np.testing.assert_allclose(second_moments(f, only).mean, upper.mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("positions", [1, 3, 40])
def test_fewer_positions_than_channels_are_no_trouble_in_float32(positions, generator):
    f, a = (jnp.asarray(generator.random((positions, 1, 64)) * 1e3, jnp.float32) for _ in range(2))
    value, slopes = jax.jit(jax.value_and_grad(loss))(f, a)
    # SciPy's root wants a regular matrix. With Σ = XᵀX and Σ* = YᵀY the trace of the root is the sum of YXᵀ's singular values.
    (mean, cov), (wanted, its_cov) = gaussian(f), gaussian(a)
    x, y = (np.asarray(v, np.float64).reshape(-1, 64) for v in (f, a))
    way = np.linalg.svd((y - y.mean(0)) @ (x - x.mean(0)).T / positions, compute_uv=False).sum()
    expected = np.mean((mean - wanted) ** 2) + (np.trace(cov) + np.trace(its_cov) - 2 * way) / 64
    assert np.isfinite(slopes).all()
    np.testing.assert_allclose(value, expected, rtol=0.02)


def test_a_picture_without_any_response_has_a_loss_and_a_slope():
    nothing = jnp.zeros((4, 4, 3))
    value, slopes = jax.jit(jax.value_and_grad(loss))(nothing, nothing)
    assert value == 0 and np.isfinite(slopes).all()
    assert trace_sqrtm(jnp.zeros((3, 3))) == 0


@pytest.mark.parametrize("contrast", [0, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("channels", [4, 64])
def test_a_flat_picture_has_a_loss_and_a_slope(channels, contrast, generator):
    level = generator.random(channels)
    f = level + contrast * level * generator.standard_normal((160, 160, channels))
    a = generator.random((50, 50, channels))
    f, a = jnp.asarray(f, jnp.float32), jnp.asarray(a, jnp.float32)
    value, slopes = jax.jit(jax.value_and_grad(loss))(f, a)
    np.testing.assert_allclose(value, distance(f, a), rtol=0.1)
    assert np.isfinite(slopes).all()


def test_the_root_of_a_diagonal_is_known():
    np.testing.assert_allclose(trace_sqrtm(jnp.diag(jnp.asarray([9.0, 4.0, 1.0, 0.25]))), 6.5, rtol=1e-5)


def test_several_styles_are_the_gaussian_with_the_mean_of_their_moments(responses):
    one, two = (gaussian_stats(second_moments(jnp.asarray(x, jnp.float32)).mean) for x in responses)
    both = blend([{"conv1_1": one}, {"conv1_1": two}])["conv1_1"]
    assert isinstance(both, GaussianStats)
    np.testing.assert_allclose(both.second_moments, (one.second_moments + two.second_moments) / 2, rtol=1e-5)
    _, cov = gaussian(np.concatenate(responses))
    np.testing.assert_allclose(both.sqrt_covariance @ both.sqrt_covariance, cov, rtol=1e-3, atol=1e-3)


def test_the_objective_takes_what_its_targets_are(narrow_vgg, photo, artwork):
    layers, image = ("conv1_1", "conv4_1"), jnp.asarray(photo)
    targets = plain_targets({}, style_targets(narrow_vgg, jnp.asarray(artwork), layers, representation="wasserstein"))
    weights = LossTerms({}, dict.fromkeys(layers, 1.0), 0.0)
    _, terms = objective(image, narrow_vgg, targets, weights)
    ours, theirs = (narrow_vgg(jnp.asarray(x), layers) for x in (photo, artwork))
    for name in layers:
        np.testing.assert_allclose(terms.style[name], distance(ours[name], theirs[name]), rtol=1e-2)
