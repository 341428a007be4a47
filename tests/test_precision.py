"""Coarser numbers in the network, and where they may not reach: Gram matrices and losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import equations, plain_targets, shapes, weights_of

from stylejax.config import TransferConfig
from stylejax.losses.objective import objective
from stylejax.losses.targets import content_targets, style_targets
from stylejax.models.architecture import random_weights
from stylejax.models.vgg import build_vgg

CONFIG = TransferConfig()
WIDE = random_weights("vgg19", 5, (16, 24, 32, 32, 32))


@jax.jit
def evaluation(vgg, image, photo, artwork):
    targets = plain_targets(
        content_targets(vgg, photo, CONFIG.content_layers), style_targets(vgg, artwork, CONFIG.style_layers)
    )
    return jax.jit(jax.value_and_grad(objective, has_aux=True))(image, vgg, targets, weights_of(CONFIG, targets))


def named(jaxpr, primitive):
    """Every equation of that primitive."""
    return [equation for equation in equations(jaxpr) if equation.primitive.name == primitive]


def program(precision):
    image, args = shapes(build_vgg(WIDE, precision=precision), 32)
    return jax.make_jaxpr(jax.value_and_grad(objective, has_aux=True))(image, *args).jaxpr


def test_bfloat16_features_give_the_losses_within_a_few_per_cent(photo, artwork):
    vggs = (build_vgg(WIDE, precision=precision) for precision in ("highest", "bf16"))
    results = [evaluation(vgg, jnp.asarray(photo[::-1]), jnp.asarray(photo), jnp.asarray(artwork)) for vgg in vggs]
    ((value, terms), gradient), ((coarse, coarse_terms), coarse_gradient) = results
    assert value != coarse
    np.testing.assert_allclose(coarse, value, rtol=0.02)
    for a, b in zip(jax.tree.leaves(terms), jax.tree.leaves(coarse_terms), strict=True):
        np.testing.assert_allclose(b, a, rtol=0.05)
    a, b = np.ravel(gradient), np.ravel(coarse_gradient)
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.99


def test_with_bfloat16_the_convolutions_are_coarse_and_nothing_else_is():
    jaxpr = program("bf16")
    for convolution in named(jaxpr, "conv_general_dilated"):
        assert {str(v.aval.dtype) for v in (*convolution.invars, *convolution.outvars)} == {"bfloat16"}
    grams = named(jaxpr, "dot_general")
    assert len(grams) >= 2 * len(CONFIG.style_layers)
    for gram in grams:
        assert {str(v.aval.dtype) for v in (*gram.invars, *gram.outvars)} == {"float32"}
        if gram.invars[0].aval.ndim > 1:
            assert set(gram.params["precision"]) == {jax.lax.Precision.HIGHEST}
    assert {str(v.aval.dtype) for v in jaxpr.outvars} == {"float32"}


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("default", None), ("highest", jax.lax.Precision.HIGHEST), ("tf32", jax.lax.Precision.HIGH)],
)
def test_convolutions_ask_for_the_precision_forward_and_backward(precision, expected):
    convolutions = named(program(precision), "conv_general_dilated")
    assert len(convolutions) == 26
    for convolution in convolutions:
        asked = convolution.params["precision"]
        assert (asked and set(asked)) == (expected and {expected})
        assert str(convolution.outvars[0].aval.dtype) == "float32"


def test_responses_are_float32_in_every_precision():
    image = jax.ShapeDtypeStruct((32, 32, 3), jnp.float32)
    for precision in ("default", "highest", "tf32", "bf16"):
        vgg = build_vgg(WIDE, precision=precision)
        features = jax.eval_shape(lambda v, x: v(x, ["conv1_1", "conv5_1"]), vgg, image)
        assert {f.dtype for f in features.values()} == {jnp.dtype("float32")}


def test_winograd_is_off_in_bfloat16():
    parameters = random_weights("vgg16", 0, (64, 64, 4, 4, 4))
    assert hasattr(build_vgg(parameters, winograd=True), "conv1_2_transformed")
    assert not hasattr(build_vgg(parameters, winograd=True, precision="bf16"), "conv1_2_transformed")
