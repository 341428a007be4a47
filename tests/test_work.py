"""How much work a run is, counted in its programs: what a change may not make more of, whatever a clock says."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import shapes
from jax import export

import stylejax.optimizers.minimize as optimize
from stylejax.config import TransferConfig
from stylejax.losses.objective import objective
from stylejax.models.vgg import build_vgg
from stylejax.optimizers.lbfgs import lbfgs
from stylejax.optimizers.minimize import minimize, run_chunk
from stylejax.parameterization import to_params
from stylejax.synthesis.transfer import transfer

CONFIG = TransferConfig()
LAYERS = 13
"""Convolutions of VGG-19 down to conv5_1."""


def chunk(vgg, steps):
    """The program of so many steps."""
    image, args = shapes(vgg, 32)
    return run_chunk.lower(objective, lbfgs(5), steps, jax.eval_shape(lbfgs(5).init, image), args)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_step_convolves_twice_a_layer(steps, narrow_vgg):
    """Once forward and once backward, and for no kernel's gradient; in a chunk the program is there once."""
    compiled = chunk(narrow_vgg, steps).compile().as_text()
    assert compiled.count(" convolution(") == 2 * LAYERS


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_steps_of_an_accelerator_need_no_host_and_no_foreign_code(platform, narrow_parameters):
    """Lowered here for a device that is not here: no callback and no transfer inside, and nothing but StableHLO."""
    image, args = shapes(build_vgg(narrow_parameters, winograd=False), 32)
    params = jax.eval_shape(lambda x: to_params(x, "pyramid"), image)
    state = jax.eval_shape(lbfgs(5).init, params)
    steps = jax.jit(lambda state, args: run_chunk(objective, lbfgs(5), 10, state, args))
    text = export.export(steps, platforms=[platform])(state, args).mlir_module()
    assert text.count("stablehlo.convolution") == 2 * LAYERS
    assert not re.findall(r"custom_call|callback|infeed|outfeed|stablehlo\.(?:send|recv)", text)


def test_a_size_is_compiled_once(narrow_vgg, photo, artwork, caplog):
    """A second weight compiles nothing, and a start needs few programs.

    No other test takes this step: six pairs remembered, of images from 26 pixels on. The work done once a scale took a second
    of a start: 47 programs in these two scales, 64 in three (once 92).
    """
    compiled, programs = [], []
    for weight in (10.0, 1000.0):
        caplog.clear()
        with jax.log_compiles():
            transfer(photo, artwork, vgg=narrow_vgg, size=42, scales="26", steps=16, style_weight=weight, history=6)
        lines = [record.getMessage() for record in caplog.records]
        compiled.append(sum("Finished XLA compilation of jit(run_chunk)" in line for line in lines))
        programs.append(sum("Finished XLA compilation" in line for line in lines))
    assert compiled == [2, 0]
    assert programs[0] < 55 and programs[1] == 0, programs


@pytest.mark.parametrize(("steps", "chunks"), [(20, 2), (23, 3)])
def test_the_host_waits_once_a_chunk(steps, chunks, monkeypatch):
    fetched = []
    monkeypatch.setattr(optimize, "steps_per_dispatch", lambda: 10)
    get = jax.device_get
    monkeypatch.setattr(optimize.jax, "device_get", lambda tree: fetched.append(1) or get(tree))
    solution = minimize(lambda x: (jnp.sum((x - 1) ** 2), ()), lbfgs(3), jnp.zeros(3), (), steps)
    assert len(fetched) == chunks
    np.testing.assert_allclose(solution.params, 1, atol=1e-4)
