"""How much work a run is, counted in its programs: what a change may not make more of, whatever a clock says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import shapes

import stylejax.optimizers.minimize as optimize
from stylejax.config import TransferConfig
from stylejax.losses.objective import objective
from stylejax.models.architecture import random_parameters
from stylejax.models.vgg import build_vgg
from stylejax.optimizers.lbfgs import lbfgs
from stylejax.optimizers.minimize import advance, minimize
from stylejax.synthesis.transfer import transfer

CONFIG = TransferConfig()
LAYERS = 13
"""Of VGG-19 down to conv5_1."""


def chunk(vgg, steps):
    """The program of so many steps."""
    image, args = shapes(vgg, 32)
    return advance.lower(objective, lbfgs(5), steps, jax.eval_shape(lbfgs(5).init, image), args)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_step_convolves_twice_a_layer(steps, narrow_vgg):
    """Once forward and once backward, and for no kernel's gradient; in a chunk the program is there once."""
    compiled = chunk(narrow_vgg, steps).compile().as_text()
    assert compiled.count(" convolution(") == 2 * LAYERS


def test_a_wide_layer_is_two_products_of_winograd():
    """36 products of matrices forward and 36 backward, a batch each; what is left to convolve is narrow."""
    vgg = build_vgg(random_parameters("vgg19", 0, (8, 64, 64, 64, 64)), winograd=True)
    wide = LAYERS - 3  # conv1_1, conv1_2 and conv2_1 have few pairs of channels.
    program = chunk(vgg, 1).as_text()
    assert program.count("stablehlo.convolution") == 2 * 3
    assert (
        len([line for line in program.splitlines() if "dot_general" in line and "batching_dims = [0]" in line])
        == 2 * wide
    )


def test_an_evaluation_multiplies_no_more_than_its_convolutions_and_grams(narrow_parameters, narrow_vgg):
    """2·9·M·i·o a layer and 2·M·N² a Gram matrix, each forward and backward; XLA counts what is elementwise as well."""
    side, operations = 64, 0
    image, args = shapes(narrow_vgg, side)
    for name, (kernel, _) in list(narrow_parameters.layers.items())[:LAYERS]:
        positions = (side // 2 ** (int(name[4]) - 1)) ** 2
        operations += 4 * positions * kernel.size
        operations += 4 * positions * kernel.shape[3] ** 2 * (name in CONFIG.style_layers)
    compiled = jax.jit(jax.value_and_grad(objective, has_aux=True)).lower(image, *args).compile()
    assert operations <= compiled.cost_analysis()["flops"] < 1.2 * operations


def test_a_size_is_compiled_once(narrow_vgg, photo, artwork, caplog):
    """A step that no other test takes: six steps remembered, of images that begin at 26 pixels. What is computed once a scale
    is no crowd of small programs either, which took a second of a start: 47 in these two scales, 64 in three (once 92)."""
    compiled, programs = [], []
    for weight in (10.0, 1000.0):
        caplog.clear()
        with jax.log_compiles():
            transfer(photo, artwork, vgg=narrow_vgg, size=42, scales="26", steps=16, style_weight=weight, history=6)
        lines = [record.getMessage() for record in caplog.records]
        compiled.append(sum("Finished XLA compilation of jit(advance)" in line for line in lines))
        programs.append(sum("Finished XLA compilation" in line for line in lines))
    assert compiled == [2, 0]
    assert programs[0] < 55 and programs[1] == 0, programs


def test_a_chunk_is_one_program_that_talks_to_nobody(narrow_vgg):
    compiled = chunk(narrow_vgg, 4).compile().as_text()
    for word in ("infeed", "outfeed", " send(", " recv(", "callback"):
        assert word not in compiled
    assert compiled.count(" while(") >= 1


@pytest.mark.parametrize(("steps", "chunks"), [(20, 2), (23, 3)])
def test_the_host_waits_once_a_chunk(steps, chunks, monkeypatch):
    fetched = []
    monkeypatch.setattr(optimize, "chunk_length", lambda: 10)
    get = jax.device_get
    monkeypatch.setattr(optimize.jax, "device_get", lambda tree: fetched.append(1) or get(tree))
    solution = minimize(lambda x: (jnp.sum((x - 1) ** 2), ()), lbfgs(3), jnp.zeros(3), (), steps)
    assert len(fetched) == chunks
    np.testing.assert_allclose(solution.params, 1, atol=1e-4)
