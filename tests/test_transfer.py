"""Whole runs, on a narrow network."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stylejax
from stylejax.config import TransferConfig
from stylejax.config_parsing import parse_init
from stylejax.errors import InputError
from stylejax.images.resize import resize
from stylejax.models.weights_file import save_weights
from stylejax.synthesis.arguments import check_image
from stylejax.synthesis.initialization import initial_image, noise
from stylejax.synthesis.transfer import transfer

FEW = {"content_layers": ("conv2_1",), "style_layers": ("conv1_1", "conv2_1"), "parameterization": "pixels"}
"""Options of a run that compiles soon."""

SMALL = {"size": 32, "steps": 12, "scales": "1", **FEW}


def test_a_run_lowers_the_loss_and_says_so(narrow_vgg, photo, artwork):
    steps = []
    result = transfer(photo, artwork, vgg=narrow_vgg, callback=steps.append, size=32, steps=60, scales="1")
    assert result.loss < 0.2 * steps[0].loss
    assert result.loss == min(step.loss for step in steps)
    assert result.evaluations == result.steps == len(steps) == 60
    assert set(result.terms.style) == {"conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"}
    assert result.image.min() >= 0 and result.image.max() <= 1


@pytest.mark.parametrize("shape", [(48, 33), (17, 61)])
def test_the_longest_side_is_the_size_and_the_aspect_is_kept(shape, narrow_vgg, artwork, generator):
    content = generator.random((*shape, 3)).astype(np.float32)
    result = transfer(content, artwork, vgg=narrow_vgg, size=70, steps=2, **FEW)
    h, w = result.image.shape[:2]
    assert max(h, w) == 70
    assert abs(h / w - shape[0] / shape[1]) < 0.03


def test_scales_run_from_coarse_to_fine(narrow_vgg, photo, artwork):
    sizes = []
    options = {"size": 48, "steps": 9, "scales": "24,32", **FEW}
    result = transfer(photo, artwork, vgg=narrow_vgg, callback=lambda s: sizes.append(max(s.size)), **options)
    assert sizes == sorted(sizes)
    assert set(sizes) == {24, 32, 48}
    assert sizes.count(24) > sizes.count(48)
    assert result.image.shape == (40, 48, 3)


def test_a_scale_too_coarse_for_the_layers_is_left_out(narrow_vgg, photo, artwork):
    sizes = []
    options = {"size": 40, "steps": 6, "scales": "8,30", "parameterization": "pixels"}
    transfer(photo, artwork, vgg=narrow_vgg, callback=lambda step: sizes.append(max(step.size)), **options)
    assert sizes == [30] * 4 + [40] * 2 or (set(sizes) == {30, 40} and len(sizes) == 6)


def test_without_style_weight_the_content_stays(narrow_vgg, photo, artwork):
    result = transfer(photo, artwork, vgg=narrow_vgg, style_weight=0.0, **(SMALL | {"size": 48}))
    np.testing.assert_allclose(result.image, photo, atol=1e-3)


@pytest.mark.parametrize("init", ["content", "style", "noise", "gray", "content+noise:0.3"])
def test_every_start_works(init, narrow_vgg, photo, artwork):
    losses = []
    transfer(photo, artwork, vgg=narrow_vgg, init=init, callback=lambda s: losses.append(s.loss), **SMALL)
    assert min(losses) < losses[0]


def test_a_file_can_be_the_start(narrow_vgg, photo, artwork, tmp_path):
    stylejax.write_image(tmp_path / "start.png", photo)
    losses = {}
    for init in ("content", str(tmp_path / "start.png")):
        transfer(
            photo, artwork, vgg=narrow_vgg, init=init, callback=lambda s, i=init: losses.setdefault(i, s.loss), **SMALL
        )
    first, second = losses.values()
    assert abs(first - second) < 0.02 * first


def test_adam_lowers_the_loss(narrow_vgg, photo, artwork):
    losses = []
    result = transfer(
        photo, artwork, vgg=narrow_vgg, optimizer="adam", callback=lambda s: losses.append(s.loss), **SMALL
    )
    assert result.loss < 0.7 * losses[0]


def test_several_styles_are_all_taken_on(narrow_vgg, photo, artwork):
    both = transfer(photo, [artwork, 1 - artwork], vgg=narrow_vgg, **SMALL)
    one = transfer(photo, artwork, vgg=narrow_vgg, **SMALL)
    assert np.abs(both.image - one.image).max() > 0.01


def test_a_callback_ends_the_run_with_the_best_image(narrow_vgg, photo, artwork):
    result = transfer(
        photo, artwork, vgg=narrow_vgg, size=64, steps=30, scales="32", callback=lambda s: s.step == 5, **FEW
    )
    assert result.interrupted
    assert result.steps == 5
    assert result.image.shape == (53, 64, 3)


def test_a_blend_is_the_weighted_sum_and_the_rest_is_shared(photo, artwork):
    def first(init):
        return initial_image(TransferConfig(init=init), photo, [artwork], (40, 48), parse_init(init))

    content, style, grain = (first(name) for name in ("content", "style", "noise"))
    np.testing.assert_allclose(first("content+noise:0.3"), 0.7 * content + 0.3 * grain, atol=1e-6)
    np.testing.assert_allclose(first("content+style"), (content + style) / 2, atol=1e-6)
    np.testing.assert_allclose(first("noise:0.2+content+style"), 0.2 * grain + 0.4 * (content + style), atol=1e-6)
    np.testing.assert_allclose(first("gray"), 0.5)


def test_a_file_with_a_plus_in_its_name_is_a_file():
    assert parse_init("content+mine.png") == {}
    assert parse_init("noise") == parse_init("random") == parse_init("Noise") == {"noise": 1.0}
    assert parse_init("image") == parse_init("content")
    assert parse_init("image+random:0.25") == {"content": 0.75, "noise": 0.25}
    assert parse_init("./random") == {}


def test_an_average_of_adam_s_steps_has_less_grain(narrow_vgg, photo, artwork):
    options = {**SMALL, "optimizer": "adam", "steps": 60, "learning_rate": 0.1}
    pictures = [transfer(photo, artwork, vgg=narrow_vgg, ema_decay=a, **options).image for a in (0.0, 0.95)]
    grain = [np.abs(np.diff(image, axis=0)).mean() for image in pictures]
    assert grain[1] < grain[0]
    assert np.abs(pictures[0] - pictures[1]).mean() < 0.2


@pytest.mark.parametrize("options", [{"style_representation": "wasserstein"}, {"tv_norm": "l1"}])
def test_other_losses_are_lowered(options, narrow_vgg, photo, artwork):
    losses = []
    options = {**SMALL, "steps": 40, "tv_weight": 1.0, **options}
    transfer(photo, artwork, vgg=narrow_vgg, callback=lambda s: losses.append(s.loss), **options)
    assert min(losses) < 0.6 * losses[0]


def test_total_variation_smooths(narrow_vgg, photo, artwork):
    def roughness(**options):
        image = transfer(photo, artwork, vgg=narrow_vgg, init="noise", **(SMALL | {"steps": 40}), **options).image
        return np.abs(np.diff(image, axis=0)).mean()

    plain = roughness()
    for form in ("squared", "l1", "isotropic"):
        assert roughness(tv_norm=form, tv_weight=1e3) < 0.9 * plain, form


def test_noise_is_the_seeds():
    assert np.array_equal(noise(3, 4, 5), noise(3, 4, 5))
    assert not np.array_equal(noise(3, 4, 5), noise(4, 4, 5))
    # Golden: a change of generator or of order would change every picture that starts from noise.
    np.testing.assert_allclose(noise(0, 64, 64).mean(), 0.5, atol=2e-3)
    np.testing.assert_allclose(noise(0, 64, 64).std(), 0.05, atol=2e-3)


RUN = """
import sys, numpy as np, stylejax
content, style = (np.load(name) for name in sys.argv[1:3])
vgg = stylejax.load_vgg(sys.argv[3])
few = {"content_layers": ("conv3_1",), "style_layers": ("conv1_1", "conv3_1")}
image = stylejax.transfer(content, style, vgg=vgg, size=48, steps=12, scales="1", init="noise", seed=5, **few).image
stylejax.write_image(sys.argv[4], image)
"""


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_in_two_processes(narrow_parameters, photo, artwork, tmp_path):
    np.save(tmp_path / "content.npy", photo)
    np.save(tmp_path / "style.npy", artwork)
    save_weights(tmp_path / "vgg.h5", narrow_parameters)
    inputs = [str(tmp_path / name) for name in ("content.npy", "style.npy", "vgg.h5")]
    outputs = [tmp_path / "a.png", tmp_path / "b.png"]
    for output in outputs:
        subprocess.run([sys.executable, "-c", RUN, *inputs, str(output)], check=True, env=os.environ)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content_layers": ("conv4_22",)}, r"unknown layer 'conv4_22' \(did you mean 'conv4_2'\?\)"),
        ({"size": 12}, r"at --size 12 the content image is 12×10 pixels, and layer conv5_1 needs at least 16 pixels"),
        ({"style_weight": -1.0}, r"--style-weight must be 0 or from 1e-12 to 1e.12, got -1.0"),
        ({"content_weight": float("nan")}, r"--content-weight must be 0 or from 1e-12 to 1e.12, got nan"),
        ({"preset": "papre"}, r"unknown preset 'papre' \(did you mean 'paper'\?\)"),
    ],
)
def test_what_cannot_work_is_refused_before_the_work(change, message, narrow_vgg, photo, artwork):
    with pytest.raises(InputError, match=message):
        transfer(photo, artwork, vgg=narrow_vgg, callback=lambda _: pytest.fail("it started"), **change)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.zeros((40, 40), np.float32),
            r"content image must be \(h, w, 3\) of numbers, got an array \(40, 40\) of float32",
        ),
        (np.zeros((40, 40, 3), np.uint8), "holds integers; divide it by 255"),
        (np.full((40, 40, 3), 200.0), r"values outside \[0, 1\]"),
        (np.full((40, 40, 3), np.nan), "values that are not finite"),
    ],
)
def test_arrays_that_are_no_images_are_refused(image, message, narrow_vgg, artwork):
    with pytest.raises(InputError, match=message):
        transfer(image, artwork, vgg=narrow_vgg)


def test_the_name_of_a_picture_is_refused_with_what_to_do():
    for name in ("photo.jpg", Path("photo.jpg")):
        with pytest.raises(InputError) as refused:
            check_image(name, "content")
        remedy = "got the path 'photo.jpg'; load it with stylejax.read_image"
        assert str(refused.value) == f"the content image must be an array, {remedy}"


def test_a_black_picture_does_not_break_the_weights(narrow_vgg, artwork):
    result = transfer(np.zeros((32, 32, 3), np.float32), np.zeros((32, 32, 3), np.float32), vgg=narrow_vgg, **SMALL)
    assert np.isfinite(result.image).all()
    result = transfer(np.zeros((32, 32, 3), np.float32), artwork, vgg=narrow_vgg, **SMALL)
    assert np.isfinite(result.loss)


def test_jax_arrays_are_images_too(narrow_vgg, photo, artwork):
    transfer(jnp.asarray(photo), jnp.asarray(artwork), vgg=narrow_vgg, **(SMALL | {"steps": 1}))


def test_a_resized_picture_keeps_its_mean(photo):
    np.testing.assert_allclose(resize(photo, 20, 24).mean(), photo.mean(), atol=5e-3)


def test_options_are_the_fields_of_the_config(narrow_vgg, photo, artwork):
    config = TransferConfig(**(SMALL | {"steps": 3}))
    assert transfer(photo, artwork, vgg=narrow_vgg, config=config, steps=2).steps == 2
    with pytest.raises(InputError, match="unknown option 'stepps'"):
        transfer(photo, artwork, vgg=narrow_vgg, stepps=2)


TRANSFORMS = {
    "jit": jax.jit,
    "grad": jax.grad,
    "vmap": jax.vmap,
    "shape": lambda f: functools.partial(jax.eval_shape, f),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize(
    "name", ["transfer", "reconstruct_content", "extract_features", "style", "mask", "weight", "vgg"]
)
def test_a_loop_on_the_host_is_refused_inside_a_transformation(name: str, transform, narrow_vgg, photo, artwork):
    """Whichever argument is traced; jit also without one."""
    calls = {
        "transfer": lambda x: stylejax.transfer(x, artwork, vgg=narrow_vgg),
        "reconstruct_content": lambda x: stylejax.reconstruct_content(x, "conv1_1", vgg=narrow_vgg),
        "extract_features": lambda x: stylejax.extract_features(x, ["conv1_1"], vgg=narrow_vgg),
        "style": lambda x: stylejax.transfer(photo, [artwork, x], vgg=narrow_vgg),
        "mask": lambda x: stylejax.transfer(photo, artwork, vgg=narrow_vgg, masks=stylejax.Masks(preserve=x)),
        "weight": lambda x: stylejax.transfer(photo, artwork, vgg=narrow_vgg, style_weight=x),
        "vgg": lambda x: stylejax.transfer(photo, artwork, vgg=jax.tree.map(lambda leaf: x, narrow_vgg)),
    }
    with pytest.raises(
        InputError, match="must be outside of jit, grad and vmap: .* transform stylejax.objective"
    ) as said:
        transform(calls[name])(jnp.asarray(photo))
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda vgg: stylejax.transfer(np.zeros((9, 9, 3)), vgg=vgg),
        lambda vgg: stylejax.reconstruct_style(np.zeros((9, 9, 3)), vgg=vgg),
        lambda vgg: stylejax.maximize_activation("conv1_1", 0, vgg=vgg),
        lambda vgg: stylejax.minimize(lambda x: (x, x), stylejax.lbfgs(), jnp.ones(()), (), 1),
        lambda vgg: stylejax.sweep(np.zeros((1, 9, 9, 3)), vgg, None, None),
    ],
)
def test_a_loop_on_the_host_is_refused_inside_jit_without_an_argument(call, narrow_vgg):
    with pytest.raises(InputError, match="must be outside of jit, grad and vmap"):
        jax.jit(lambda: call(narrow_vgg))()


@pytest.mark.parametrize("parameterization", ["pyramid", "pixels", "dct"])
def test_adam_improves_with_a_learning_rate_far_too_large(parameterization: str, narrow_vgg, photo, artwork):
    options = SMALL | {"steps": 60, "parameterization": parameterization, "optimizer": "adam", "learning_rate": 1e5}
    result = transfer(photo, artwork, vgg=narrow_vgg, **options)
    assert result.improved and result.loss < 0.9 * result.initial_loss
