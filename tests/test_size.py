"""Any size, exactly: by windows, over devices, computed again; each against the whole picture on one device."""

import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import picture, plain_targets, weights_of
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType

from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.images.resize import fit_longest_side
from stylejax.losses.objective import objective
from stylejax.losses.targets import content_targets, style_targets
from stylejax.models.architecture import random_weights
from stylejax.models.vgg import build_vgg
from stylejax.optimizers.adam import adam
from stylejax.optimizers.lbfgs import lbfgs
from stylejax.optimizers.minimize import minimize, run_chunk
from stylejax.parameterization import to_params
from stylejax.partitioning.sharded import (
    shard_minimizer,
    shard_params,
    sharded_content,
    sharded_objective,
    sharded_styles,
    unpad_params,
)
from stylejax.partitioning.tile_grid import halo_size, make_tiles, split_axis
from stylejax.partitioning.tiled import crop_targets, tiled_styles, tiled_value_and_gradient
from stylejax.synthesis.problem import TILED
from stylejax.synthesis.regions import Masks
from stylejax.synthesis.schedule import resolve_size
from stylejax.synthesis.transfer import transfer
from stylejax.synthesis.validation import make_plan

CONTENT, STYLE = ("conv4_2",), ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
LAYERS = (*CONTENT, *STYLE)
slow = pytest.mark.slow
CONFIG = TransferConfig(tv_weight=0.1)


def problem(vgg, generator, height, width):
    image, content, style = (picture(generator, *size) for size in ((height, width), (height, width), (60, 50)))
    targets = plain_targets(
        content_targets(vgg, jnp.asarray(content), CONTENT), style_targets(vgg, jnp.asarray(style), STYLE)
    )
    return jnp.asarray(image), targets, weights_of(CONFIG, targets)


def whole(params, vgg, targets, weights):
    return jax.jit(jax.value_and_grad(objective, has_aux=True))(params, vgg, targets, weights)


def assert_equal(found, expected, tolerance):
    """Values and gradients, relative to the largest slope."""
    (value, terms), gradient = found
    (right, parts), slopes = expected
    np.testing.assert_allclose(value, right, rtol=tolerance)
    for a, b in zip(jax.tree.leaves(terms), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(slopes), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance * float(jnp.abs(b).max()))


@given(st.integers(1, 3000), st.integers(1, 700), st.integers(0, 6), st.integers(0, 4))
@settings(deadline=None)
def test_windows_own_every_position_once_on_every_grid(length, part, steps, poolings):
    multiple = 2**poolings
    found = split_axis(length, max(part, multiple), steps * multiple, multiple)
    assert len({span.read_size for span in found}) == 1
    for scale in (2**k for k in range(poolings + 1)):
        counts = np.zeros(length // scale)
        for span in (span.at(scale) for span in found):
            counts[span.read_start : span.read_start + span.read_size] += span.ownership_mask()[
                : len(counts) - span.read_start
            ]
        assert (counts == 1).all()
    for span in found:
        assert span.read_start % multiple == 0
        assert span.read_start == 0 or span.read_start <= span.own_start - steps * multiple
        assert (
            span.read_start + span.read_size == length
            or span.read_start + span.read_size >= span.own_stop + steps * multiple
        )


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
def test_the_halo_is_as_far_as_a_position_sees(network, narrow_parameters):
    """The gradient of one position says what it sees."""
    assert halo_size(["conv1_1"], network) == 1
    vgg = build_vgg(narrow_parameters)
    for layer in ("conv2_2", "conv3_1", "conv4_1"):
        ones = jnp.ones((96, 96, 3))
        response = jax.eval_shape(lambda x, layer=layer: vgg(x, (layer,))[layer], ones)
        middle, scale = response.shape[0] // 2, 96 // response.shape[0]
        slopes = jax.jit(jax.grad(lambda x, layer=layer, middle=middle: vgg(x, (layer,))[layer][middle, middle].sum()))(
            ones
        )
        rows = np.flatnonzero(np.abs(np.asarray(slopes)).sum((1, 2)))
        reach = max(middle * scale - rows[0], rows[-1] - (middle + 1) * scale + 1)
        assert reach <= halo_size([layer], "vgg19") < reach + scale


@pytest.mark.parametrize(
    ("size", "tile", "kind", "padding", "pooling"),
    [
        ((281, 45), 80, "pixels", "zeros", "avg"),
        pytest.param((50, 347), 96, "pyramid", "replicate", "avg", marks=slow),
        pytest.param((299, 307), 111, "sigmoid", "reflect", "max", marks=slow),
    ],
)
def test_tiles_have_the_value_and_the_gradient_of_the_whole(
    size, tile, kind, padding, pooling, narrow_parameters, generator
):
    vgg = build_vgg(narrow_parameters, pooling, padding=padding)
    image, targets, weights = problem(vgg, generator, *size)
    params, parts = to_params(image, kind), make_tiles(*size, tile, LAYERS, "vgg19")
    assert len(parts) > 1
    found = tiled_value_and_gradient(params, vgg, partial(crop_targets, targets), None, weights, parts)
    assert_equal(found, whole(params, vgg, targets, weights), 1e-4)


def test_targets_are_found_by_tiles(narrow_vgg, generator):
    image = picture(generator, 277, 45)
    parts = make_tiles(277, 45, 80, LAYERS, "vgg19")
    for name, gram in tiled_styles(narrow_vgg, image, dict.fromkeys(STYLE), "gram", parts).items():
        right = np.asarray(style_targets(narrow_vgg, jnp.asarray(image), STYLE)[name])
        np.testing.assert_allclose(gram, right, atol=1e-5 * float(right.max()))


@pytest.mark.parametrize("minimizer", [lbfgs(5), adam()], ids=["lbfgs", "adam"])
def test_a_function_on_the_host_is_minimized_as_any_other(minimizer, narrow_vgg, generator):
    image, targets, weights = problem(narrow_vgg, generator, 270, 40)
    parts = make_tiles(270, 40, 80, LAYERS, "vgg19")
    one = minimize(objective, minimizer, image, (narrow_vgg, targets, weights), 4)
    args = (narrow_vgg, partial(crop_targets, targets), None, weights, parts)
    many = minimize(TILED, minimizer, image, args, 4)
    np.testing.assert_allclose(one.value, many.value, rtol=5e-4)
    assert one.evaluations == many.evaluations == 4


def mesh_of(devices):
    return jax.make_mesh((devices,), ("rows",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])


def sharded(devices, vgg, params, content, targets, weights):
    mesh, shapes = mesh_of(devices), tuple(leaf.shape for leaf in jax.tree.leaves(params))
    maps = sharded_content(mesh, vgg, content, CONTENT, STYLE)
    step = jax.jit(jax.value_and_grad(sharded_objective(mesh, shapes), has_aux=True))
    value, gradient = step(shard_params(mesh, params), vgg, targets._replace(content=maps), weights)
    return jax.device_get(value), unpad_params(jax.device_get(gradient), shapes)


def check_devices(devices, vgg, generator, size, kind):
    """Value and gradient over `devices` against one's."""
    image, content = (jnp.asarray(picture(generator, *size)) for _ in range(2))
    _, targets, weights = problem(vgg, generator, 60, 50)
    targets = targets._replace(content=content_targets(vgg, content, CONTENT))
    params = to_params(image, kind)
    found = sharded(devices, vgg, params, content, targets, weights)
    assert_equal(found, whole(params, vgg, targets, weights), 1e-5)


@pytest.mark.parametrize("devices", [pytest.param(2, marks=slow), 4])
@pytest.mark.parametrize(("size", "kind"), [((128, 33), "pixels"), pytest.param((101, 40), "pyramid", marks=slow)])
def test_devices_have_the_value_and_the_gradient_of_one(devices, size, kind, narrow_vgg, generator):
    check_devices(devices, narrow_vgg, generator, size, kind)


def test_devices_take_the_largest_of_large_maps(generator):
    """XLA's own maximum over windows was wrong there, from some tens of thousands of numbers on."""
    vgg = build_vgg(random_weights("vgg16", 0, (8, 16, 32, 64, 8)), "max")
    check_devices(2, vgg, generator, (168, 224), "pixels")


EIGHT = """
import numpy as np, test_size
from conftest import NARROW
from stylejax import build_vgg, random_weights
vgg = build_vgg(random_weights("vgg19", 0, NARROW))
test_size.check_devices(8, vgg, np.random.default_rng(0), (143, 40), "pyramid")
print(test_size.bytes_of_a_step(vgg, (1, 2, 4, 8)))
"""


def bytes_of_a_step(vgg, counts):
    """Memory of each device for a step of L-BFGS, as the compiled program says."""
    found = []
    for devices in counts:
        mesh, image = mesh_of(devices), jnp.zeros((1024, 32, 3))
        _, targets, weights = problem(vgg, np.random.default_rng(0), 32, 32)
        maps = sharded_content(mesh, vgg, image, CONTENT, STYLE)
        minimizer = shard_minimizer(lbfgs(5), mesh)
        state = jax.jit(minimizer.init)(shard_params(mesh, image))
        args = (vgg, targets._replace(content=maps), weights)
        compiled = run_chunk.lower(sharded_objective(mesh, (image.shape,)), minimizer, 1, state, args).compile()
        used = compiled.memory_analysis()
        found.append(used.temp_size_in_bytes + used.argument_size_in_bytes)
    return found


@slow
def test_eight_devices_have_an_eighth_each(tmp_path):
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": ":".join(sys.path),
    }
    out = subprocess.run([sys.executable, "-c", EIGHT], env=environment, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    one, *more = map(int, out.stdout.strip(" []\n").split(","))
    for devices, used in zip((2, 4, 8), more, strict=True):
        assert used < 1.3 * one / devices


def test_grams_are_summed_over_devices(narrow_vgg, generator):
    image = jnp.asarray(picture(generator, 70, 41))
    for name, gram in sharded_styles(mesh_of(4), narrow_vgg, image, dict.fromkeys(STYLE), "gram").items():
        right = np.asarray(style_targets(narrow_vgg, image, STYLE)[name])
        np.testing.assert_allclose(gram, right, atol=1e-5 * float(right.max()))


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_responses_computed_again_change_nothing(pooling, narrow_parameters, generator):
    vgg, again = (build_vgg(narrow_parameters, pooling, remat=remat) for remat in (False, True))
    image, targets, weights = problem(vgg, generator, 40, 37)
    assert_equal(whole(image, again, targets, weights), whole(image, vgg, targets, weights), 1e-6)


def test_responses_computed_again_are_not_kept(narrow_parameters, generator):
    used = []
    for remat in (False, True):
        vgg = build_vgg(narrow_parameters, remat=remat)
        image, targets, weights = problem(vgg, generator, 128, 128)
        step = jax.jit(jax.value_and_grad(objective, has_aux=True)).lower(image, vgg, targets, weights)
        used.append(step.compile().memory_analysis().temp_size_in_bytes)
    assert used[1] < 0.8 * used[0]


@slow
@pytest.mark.parametrize("options", [{"tile": "80"}, {"shard": "4"}, {"remat": True}], ids=str)
def test_a_run_from_coarse_to_fine_gives_the_same_picture(options, narrow_parameters, narrow_vgg, generator):
    content, style = picture(generator, 60, 190), picture(generator, 70, 60)
    kind = {"size": 280, "scales": "48", "steps": 8}
    vgg = build_vgg(narrow_parameters, remat="remat" in options)
    mesh = mesh_of(4) if "shard" in options else None
    one = transfer(content, style, vgg=narrow_vgg, **kind)
    other = transfer(content, style, vgg=vgg, mesh=mesh, **kind, **options)
    np.testing.assert_allclose(other.loss, one.loss, rtol=1e-3)
    assert np.abs(other.image - one.image).max() < 0.02


@slow
@pytest.mark.parametrize("options", [{"tile": "80"}, {"shard": "4"}], ids=str)
def test_regions_and_other_losses_are_the_same_in_parts(options, narrow_vgg, generator):
    """A style in a soft region, another kept as it is, Gaussians, and the variation of absolute values."""
    content, style = picture(generator, 60, 190), picture(generator, 70, 60)
    across = np.linspace(0, 1, 190)[None] * np.ones((60, 1))
    masks = Masks(content=[across], preserve=(across > 0.8).astype(float))
    kind = {
        "size": 280,
        "scales": "1",
        "steps": 5,
        "style_representation": "wasserstein",
        "tv_norm": "l1",
        "tv_weight": 0.5,
    }
    mesh = mesh_of(4) if "shard" in options else None
    one = transfer(content, [style, style[::-1]], masks=masks, vgg=narrow_vgg, **kind)
    other = transfer(content, [style, style[::-1]], masks=masks, vgg=narrow_vgg, mesh=mesh, **kind, **options)
    np.testing.assert_allclose(other.loss, one.loss, rtol=1e-3)
    assert np.abs(other.image - one.image).max() < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"tile": "79"},
            "--tile must be at least 80, the halo of conv5_1, got 79; use --tile 80 or auto",
        ),
        ({"tile": "1.5"}, "--tile must be off, auto, or a whole number above 0, got '1.5'"),
        ({"tile": "96", "shard": "2"}, "--tile cannot be combined with --shard"),
        ({"tile": "96", "padding": "circular"}, "--tile cannot be combined with --padding circular"),
        ({"shard": "64"}, "--shard must be at most 4, the number of devices, got 64"),
        ({"shard": "0"}, "--shard must be off, auto, or a whole number above 0, got '0'"),
        ({"shard": "2", "padding": "reflect"}, "--shard cannot be combined with --padding reflect"),
        ({"shard": "4", "size": 63}, "--size must be at least 64 for --shard 4, got 63"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        make_plan(TransferConfig(**options), "vgg19", (64, 64, 3), [(64, 64, 3)], Masks())


@pytest.mark.parametrize("content", [(40, 48, 3), (48, 40, 3), (37, 101, 3), (301, 33, 3), (64, 64, 3)])
def test_a_width_or_a_height_is_exact(content):
    h, w, _ = content
    for length in (16, 31, 57, 640):
        by_width = resolve_size(TransferConfig(width=length), content)
        by_height = resolve_size(TransferConfig(height=length), content)
        assert fit_longest_side(content, by_width.side)[1] == length
        assert fit_longest_side(content, by_height.side)[0] == length
    both = TransferConfig(width=w, height=h)
    assert resolve_size(both, content) == resolve_size(TransferConfig(size="content"), content)
    assert resolve_size(both, content).side == max(h, w)
    with pytest.raises(
        InputError, match=f"--height must be {h} for --width {w}, as the aspect ratio .*; leave one of them out"
    ):
        resolve_size(TransferConfig(width=w, height=h + 1), content)


def test_auto_chooses_what_fits(monkeypatch):
    def chosen(gib, **options):
        monkeypatch.setattr(sys.modules["stylejax.synthesis.planning"], "available_bytes", lambda: int(gib * 2**30))
        config = TransferConfig(size=8192, steps=2, optimizer="adam", **options)
        return make_plan(config, "vgg16", (6144, 8192, 3), [(64, 64, 3)], Masks()).partition

    assert chosen(200, tile="auto").tile == 0
    large, small = chosen(20, tile="auto").tile, chosen(8, tile="auto").tile
    assert small < large
    assert chosen(200, shard="auto").shards == 4
    with pytest.raises(InputError, match=r"--size \d+ or --tile 512 would fit"):
        chosen(8)
    with pytest.raises(InputError, match="needs about"):
        chosen(2, tile="auto")


def test_no_device_is_taken_for_a_small_picture():
    config = TransferConfig(size=256, shard="auto")
    assert make_plan(config, "vgg16", (256, 256, 3), [(64, 64, 3)], Masks()).config.shard == "off"


def test_a_mesh_is_made_elsewhere(narrow_vgg, photo, artwork):
    with pytest.raises(InputError, match="mesh must have 2 devices for --shard 2, got 0; give transfer a mesh"):
        transfer(photo, artwork, vgg=narrow_vgg, size=48, steps=1, shard="2")
