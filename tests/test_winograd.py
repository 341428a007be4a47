"""Winograd's convolution against loops, against XLA's, and its closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from conftest import features_of

from stylejax.models import winograd
from stylejax.models.architecture import layer_names, random_weights
from stylejax.models.vgg import build_vgg
from stylejax.models.winograd import backward_transforms, forward_transforms, transform_kernel, winograd_conv2d

BIAS = jnp.linspace(-2, 2, 7)


def direct(x, kernel):
    dimensions = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x[None], kernel, (1, 1), "SAME", dimension_numbers=dimensions)[0]
    return jax.nn.relu(y + BIAS[None, None])


def problem(generator, h, w, i=5, o=7):
    x, g = (jnp.asarray(generator.standard_normal((h, w, c)), jnp.float32) for c in (i, o))
    return x, generator.standard_normal((3, 3, i, o)).astype(np.float32), g


def test_in_one_dimension_it_is_a_correlation(generator):
    b, g, a = forward_transforms()
    inputs, taps = generator.standard_normal(6), generator.standard_normal(3)
    np.testing.assert_allclose(a @ ((g @ taps) * (b @ inputs)), np.correlate(inputs, taps), rtol=1e-10)


def test_the_backward_matrices_reverse_the_kernel(generator):
    b, g, a = backward_transforms()
    inputs, taps = generator.standard_normal(6), generator.standard_normal(3)
    np.testing.assert_allclose(a @ ((g @ taps) * (b @ inputs)), np.correlate(inputs, taps[::-1]), rtol=1e-10)


def test_it_equals_plain_loops(generator):
    x, kernel, _ = problem(generator, 6, 9)
    expected = oracle.convolve(np.asarray(x), kernel, np.asarray(BIAS))
    found = winograd_conv2d(x, jnp.asarray(transform_kernel(kernel)), BIAS)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (5, 3), (8, 13), (31, 30)])
def test_value_and_gradient_equal_the_direct_convolution(shape, generator):
    x, kernel, g = problem(generator, *shape)
    transformed = jnp.asarray(transform_kernel(kernel))
    expected, pull = jax.vjp(lambda x: direct(x, kernel), x)
    found, pull_found = jax.vjp(lambda x: winograd_conv2d(x, transformed, BIAS), x)
    np.testing.assert_allclose(found, expected, atol=3e-5 * float(jnp.abs(expected).max()) + 1e-6)
    np.testing.assert_allclose(pull_found(g)[0], pull(g)[0], atol=3e-5 * float(jnp.abs(pull(g)[0]).max()) + 1e-6)


@pytest.mark.parametrize("block", [1, 60, 100, 10**6])
def test_blocks_of_tiles_are_the_same_as_all_at_once(block, generator, monkeypatch):
    """Split 6 rows of tiles: each alone; in twos; in threes; all."""
    x, kernel, g = problem(generator, 22, 17)
    transformed = jnp.asarray(transform_kernel(kernel))
    expected, pull = jax.vjp(lambda x: direct(x, kernel), x)
    monkeypatch.setattr(winograd, "BLOCK_SIZE", block)
    found, pull_found = jax.vjp(lambda x: winograd_conv2d(x, transformed, BIAS), x)
    np.testing.assert_allclose(found, expected, atol=3e-5 * float(jnp.abs(expected).max()))
    np.testing.assert_allclose(pull_found(g)[0], pull(g)[0], atol=3e-5 * float(jnp.abs(pull(g)[0]).max()))
    program = str(jax.make_jaxpr(lambda x: winograd_conv2d(x, transformed, BIAS))(x))
    assert ("scan" in program) == (block < 10**6)


def test_it_maps_over_images(generator):
    x, kernel, _ = problem(generator, 9, 10)
    transformed = jnp.asarray(transform_kernel(kernel))
    mapped = jax.jit(jax.vmap(winograd_conv2d, (0, None, None)))(jnp.stack([x, 2 * x]), transformed, BIAS)
    np.testing.assert_allclose(mapped[1], winograd_conv2d(2 * x, transformed, BIAS), atol=1e-4)


def test_the_responses_are_kept_once(generator):
    """The gradient needs only the rectified features of a layer, which the next layer needs too."""
    x, kernel, _ = problem(generator, 9, 10)
    transformed = jnp.asarray(transform_kernel(kernel))
    y, pull = jax.vjp(lambda x: winograd_conv2d(x, transformed, BIAS), x)
    kept = [leaf for leaf in jax.tree.leaves(pull) if leaf.shape[:2] == (9, 10)]
    assert len(kept) == 1
    np.testing.assert_array_equal(kept[0], y)


def test_a_wide_network_has_the_same_features_with_and_without(generator):
    parameters = random_weights("vgg19", 1, (8, 128, 256, 256, 256))
    image = jnp.asarray(generator.random((50, 37, 3)), jnp.float32)
    fast, slow = (features_of(build_vgg(parameters, winograd=on), image, layer_names("vgg19")) for on in (True, False))
    for name, expected in slow.items():
        np.testing.assert_allclose(fast[name], expected, atol=1e-4 * float(expected.max()), err_msg=name)
    program = str(jax.make_jaxpr(lambda x: build_vgg(parameters, winograd=True)(x, layer_names("vgg19")))(image))
    assert program.count("conv_general_dilated") == 3
