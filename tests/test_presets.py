"""Presets that stand for other programs, against their published formulas in float64: on the same features, the same loss."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from conftest import targets_at, weights_of

from stylejax.cli.main import parse
from stylejax.config_parsing import parse_init
from stylejax.errors import InputError
from stylejax.losses.objective import objective
from stylejax.models.architecture import random_weights
from stylejax.models.vgg import build_vgg
from stylejax.presets import PRESETS, preset
from stylejax.synthesis.initialization import initial_image
from stylejax.synthesis.transfer import transfer

LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")


def gatys2016(x, f, p, a):
    """PytorchNeuralStyleTransfer: MSELoss of Gram matrices over h·w, weights 1e3/C², and of relu4_2."""
    style = 0.0
    for name in LAYERS:
        c, m, k = f[name].shape[2], f[name][..., 0].size, a[name][..., 0].size
        style += 1e3 / c**2 * np.mean((oracle.gram(f[name]) / m - oracle.gram(a[name]) / k) ** 2)
    return np.mean((f["conv4_2"] - p["conv4_2"]) ** 2) + style


def neural_style(x, f, p, a):
    """neural-style-pt with its defaults: Gram matrices over C·h·w, and TV over an image in 0…255."""
    style = sum(np.mean((oracle.gram(f[n]) / f[n].size - oracle.gram(a[n]) / a[n].size) ** 2) for n in LAYERS)
    y = 255 * x
    tv = np.sum(np.abs(y[1:] - y[:-1])) + np.sum(np.abs(y[:, 1:] - y[:, :-1]))
    return 5 * np.mean((f["conv4_2"] - p["conv4_2"]) ** 2) + 100 * style + 1e-3 * tv


def relative(x, f, p, a):
    """Equations 1 to 7 with w_l = 1/5 and the content averaged; the style's over 4 times that of no activations."""
    grams = {n: oracle.gram(a[n]) / a[n][..., 0].size for n in LAYERS}
    style = sum(oracle.style(f[n], grams[n] * f[n][..., 0].size) / 5 for n in LAYERS)
    contrast = sum(np.mean(g**2) / 4 / 5 for g in grams.values()) / 0.25
    return oracle.content(f["conv4_2"], p["conv4_2"]) + preset("default").style_weight * style / contrast


FORMULAS = {
    "default": relative,
    "fast": relative,
    "quality": relative,
    "large": relative,
    "gatys2016": gatys2016,
    "neural-style": neural_style,
}
"""Formulas of every preset but `paper`, whose equations test_objective has in float64."""


def scaled(features, unit):
    return {name: unit * response for name, response in features.items()}


def network(config, deviation=0.225):
    """A narrow network in the scale that the losses of the config need."""
    std = np.full(3, deviation, np.float32)
    return random_weights("vgg19", 2, (2, 3, 2, 3, 2))._replace(
        std=std, normalized=config.loss_normalization != "caffe"
    )


@pytest.mark.parametrize("name", FORMULAS)
def test_a_preset_is_its_formula_in_value_and_gradient(name, generator):
    """The responses of this network, of torchvision's scale, count as if it were one of Caffe's."""
    image, photo = (generator.random((16, 18, 3)) for _ in range(2))
    artwork = generator.random((17, 20, 3))
    config = dataclasses.replace(preset(name), size=18, style_scale=20 / 18)
    parameters = network(config)
    vgg = build_vgg(parameters, config.pooling)
    unit = float(255 * np.mean(parameters.std)) if config.loss_normalization == "caffe" else 1.0
    targets = targets_at(photo.astype(np.float32), [artwork.astype(np.float32)], vgg, config, 18)
    p, a = (oracle.features(x.astype(np.float32), parameters, config.pooling) for x in (photo, artwork))
    weights = weights_of(config, targets, 16 * 18, float(vgg.caffe_scale()))
    loss = jax.jit(jax.value_and_grad(lambda x: objective(x, vgg, targets, weights)[0]))
    found, slopes = loss(jnp.asarray(image, jnp.float32))

    def peer(x):
        responses = oracle.features(x, parameters, config.pooling)
        return FORMULAS[name](x, *(scaled(f, unit) for f in (responses, p, a)))

    np.testing.assert_allclose(found, peer(image), rtol=1e-4)
    for index in ((0, 0, 0), (7, 9, 1), (15, 17, 2)):
        step = np.zeros(image.shape)
        step[index] = 1e-5
        slope = (peer(image + step) - peer(image - step)) / 2e-5
        np.testing.assert_allclose(slopes[index], slope, rtol=2e-3, atol=1e-5 * np.abs(slopes).max())


@pytest.mark.parametrize("name", ["gatys2016", "neural-style"])
def test_a_preset_means_the_same_for_files_of_any_scale(name, photo, artwork):
    """Without biases, a network that divides by a smaller deviation is the same with larger responses."""
    losses = []
    for deviation in (0.225, 1 / 255):
        vgg = build_vgg(network(preset(name), deviation), preset(name).pooling)
        losses.append(transfer(photo, artwork, vgg=vgg, preset=name, size=32, steps=1).loss)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


@pytest.mark.parametrize("name", ["gatys2016", "neural-style"])
def test_what_else_these_programs_do(name):
    config = preset(name)
    assert (config.pooling, config.optimizer, config.history, config.scales) == ("max", "lbfgs", 100, "1")
    assert (config.size, config.parameterization, config.padding) == (512, "pixels", "zeros")
    assert (config.content_layers, config.style_layers) == (("conv4_2",), LAYERS)
    assert (config.steps, config.init) == {"gatys2016": (500, "content"), "neural-style": (1000, "gray+noise:0.0001")}[
        name
    ]


def test_neural_style_starts_from_a_flat_image_with_noise_of_a_thousandth_of_a_level():
    config = preset("neural-style")
    flat = initial_image(config, np.zeros((8, 8, 3)), [], (64, 64), parse_init(config.init))
    np.testing.assert_allclose(flat.mean(), 0.5, atol=1e-5)
    assert 2e-6 < flat.std() < 1e-5


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_picture(name, photo, artwork):
    vgg = build_vgg(network(preset(name)))
    result = transfer(photo, artwork, vgg=vgg, preset=name, size=32, steps=3)
    assert np.isfinite(result.image).all() and np.isfinite(result.loss)


@pytest.mark.parametrize("name", ["gatys2016", "neural-style"])
def test_presets_of_published_networks_refuse_a_normalized_one(name, narrow_vgg, photo, artwork):
    with pytest.raises(
        InputError, match="must have a network as published, got a normalized one; give --weights vgg16"
    ):
        transfer(photo, artwork, vgg=narrow_vgg, preset=name, size=32, steps=1)


def test_a_network_as_published_is_refused_for_the_paper_s_losses(photo, artwork):
    vgg = build_vgg(network(preset("neural-style")))
    with pytest.raises(
        InputError,
        match="vgg must be a normalized network for --loss-normalization relative, got one as published; build",
    ):
        transfer(photo, artwork, vgg=vgg, size=32, steps=1)


def test_a_preset_sets_the_defaults_that_help_shows(capsys):
    with pytest.raises(SystemExit):
        parse(["transfer", "--preset", "large", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "(default: 2048)" in text and "(default: 600)" in text
    command: Any = parse(["transfer", "c", "s", "-o", "o.png", "--preset", "neural-style"])
    assert command.config == preset("neural-style")
