"""Parameterizations: nothing is lost on the way there and back, and large shapes are near."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stylejax.optimizers.lbfgs import lbfgs
from stylejax.optimizers.minimize import minimize
from stylejax.parameterization import LEVEL_DECAY, PYRAMID_LEVELS, CosineWaves, Sigmoid, pack, to_image, to_params
from stylejax.synthesis.transfer import transfer

KINDS = ("pyramid", "pixels", "sigmoid", "dct")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (17, 43)])
def test_an_image_comes_back(kind, shape, generator):
    """Packed in one array too, whose numbers are those of all levels."""
    image = jnp.asarray(generator.random((*shape, 3)), jnp.float32)
    params = to_params(image, kind)
    np.testing.assert_allclose(to_image(params), image, atol={"sigmoid": 1 / 512, "dct": 1e-5}.get(kind, 0))
    params = jax.tree.map(lambda x: x + jnp.arange(x.size, dtype=x.dtype).reshape(x.shape), params)
    (packed,) = jax.tree.leaves(pack(params))
    np.testing.assert_array_equal(packed.ravel(), np.concatenate([x.ravel() for x in jax.tree.leaves(params)]))
    np.testing.assert_array_equal(to_image(pack(params)), to_image(params))


def test_a_packed_gray_image_stays_gray(generator):
    params = to_params(jnp.asarray(generator.random((9, 14, 3)), jnp.float32), "pyramid", gray=True)
    np.testing.assert_array_equal(to_image(pack(params)), to_image(params))
    assert len(jax.tree.leaves(pack(params))) == 1


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (9, 14)])
def test_a_wave_is_a_cosine_and_long_ones_are_near(shape):
    """One number is one wave along each axis, of an amplitude that falls with its frequency."""
    h, w = shape
    rows, columns, amplitudes = np.arange(h) + 0.5, np.arange(w) + 0.5, {}
    for u, v in ((0, 0), (0, 1), (h // 2, w // 3), (h - 1, w - 1)):
        if u >= h or v >= w:
            continue
        waves = jnp.zeros((h, w, 3)).at[u, v, 1].set(1.0)
        image = np.asarray(to_image(CosineWaves(waves)))
        cosine = np.cos(np.pi * u * rows / h)[:, None] * np.cos(np.pi * v * columns / w)[None]
        unit = cosine / np.linalg.norm(cosine)
        amplitudes[np.hypot(u / h, v / w)] = float(np.sum(image[..., 1] * unit))
        np.testing.assert_allclose(image[..., 1], amplitudes[np.hypot(u / h, v / w)] * unit, atol=1e-5)
        assert not image[..., [0, 2]].any()
    falling = [amplitudes[f] * max(f, 1 / max(h, w)) ** 0.5 for f in sorted(amplitudes)]
    np.testing.assert_allclose(falling, falling[0], rtol=1e-4)


def test_random_waves_have_the_amplitude_of_random_pixels(generator):
    image = to_image(CosineWaves(jnp.asarray(generator.standard_normal((40, 50, 3)), jnp.float32)))
    np.testing.assert_allclose(np.mean(np.asarray(image) ** 2), 1, rtol=0.5)


def test_each_level_of_a_pyramid_is_an_enlarged_image(generator):
    """A constant level adds its weight; a level is linear between the centers of its pixels."""
    pyramid: Any = to_params(jnp.zeros((32, 48, 3)), "pyramid")
    zeros = pyramid.levels
    assert [level.shape[:2] for level in zeros] == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    for k in range(1, PYRAMID_LEVELS + 1):
        levels = (*zeros[:k], jnp.ones_like(zeros[k]), *zeros[k + 1 :])
        np.testing.assert_allclose(to_image(type(to_params(zeros[0], "pyramid"))(levels)), LEVEL_DECAY**k, rtol=1e-5)
    ramp = jnp.broadcast_to(jnp.arange(24.0)[None, :, None], (16, 24, 3))
    image = to_image(type(to_params(zeros[0], "pyramid"))((zeros[0], ramp, *zeros[2:])))
    expected = np.clip((np.arange(48) + 0.5) / 2 - 0.5, 0, 23) * LEVEL_DECAY
    np.testing.assert_allclose(image[5, :, 0], expected, atol=1e-5)


def test_a_sigmoid_stays_between_black_and_white(generator):
    image = to_image(Sigmoid(jnp.asarray(100 * generator.standard_normal((8, 8, 3)), jnp.float32)))
    assert 0 <= image.min() < 0.01 and 0.99 < image.max() <= 1


def test_black_and_white_can_be_left_again():
    """Their logits are finite, and so is the way back."""
    image = jnp.asarray([0.0, 1.0])[None, :, None] * jnp.ones((2, 2, 3))
    logits = to_params(image, "sigmoid")
    slope = jax.jit(jax.grad(lambda x: to_image(x).sum()))(logits).logits
    assert slope.min() > 1e-3


def distance(image, target):
    """A stiff grain and soft large shapes, as in the losses of a network: differences weigh a hundred times the mean."""
    image = to_image(image)
    grain = jnp.diff(image - target, axis=0)[:, 1:] ** 2 + jnp.diff(image - target, axis=1)[1:] ** 2
    return jnp.mean((image - target) ** 2) + 100 * jnp.mean(grain), ()


@pytest.mark.slow
def test_large_shapes_are_found_sooner_in_a_pyramid(generator):
    coarse = jnp.asarray(generator.random((4, 4, 3)), jnp.float32)
    target = jax.image.resize(coarse, (64, 64, 3), "linear")
    value = {}
    for kind in ("pyramid", "dct", "pixels"):
        first = to_params(jnp.zeros((64, 64, 3)), kind)
        value[kind] = minimize(distance, lbfgs(10), first, (target,), 20).value
    assert value["pyramid"] < 0.7 * value["pixels"]
    assert value["dct"] < 0.7 * value["pixels"]


@pytest.mark.parametrize("kind", ("pyramid", "dct"))
def test_a_transfer_lowers_the_loss_with_each(kind, narrow_vgg, photo, artwork):
    steps = []
    options = {
        "size": 32,
        "steps": 40,
        "scales": "1",
        "content_layers": ("conv2_1",),
        "style_layers": ("conv1_1", "conv2_1"),
        "parameterization": kind,
    }
    result = transfer(photo, artwork, vgg=narrow_vgg, callback=steps.append, **options)
    assert result.loss < 0.3 * steps[0].loss
