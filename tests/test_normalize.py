"""Mean activations: every filter's becomes 1 and nothing else changes."""

import jax.numpy as jnp
import numpy as np
import pytest

from stylejax.checkpoint import check_parameters
from stylejax.errors import InputError
from stylejax.network import PAPER_LAYERS, Convolution, Parameters, layer_names, random_parameters
from stylejax.normalize import fingerprint, normalize
from stylejax.vgg import build_vgg


@pytest.fixture(scope="module")
def parameters() -> Parameters:
    """Random, with biases that matter and one filter that never responds."""
    parameters = random_parameters("vgg19", 0, (4, 5, 6, 7, 8))
    generator = np.random.default_rng(1)
    layers = {
        n: Convolution(k, generator.uniform(0, 0.5, b.shape).astype(np.float32))
        for n, (k, b) in parameters.layers.items()
    }
    layers["conv2_1"].bias[3] = -100
    return parameters._replace(layers=layers)


@pytest.fixture(scope="module")
def images() -> list[jnp.ndarray]:
    generator = np.random.default_rng(2)
    return [jnp.asarray(generator.random((h, w, 3)), jnp.float32) for h, w in ((32, 32), (40, 21))]


def all_positions(parameters: Parameters, images: list[jnp.ndarray]) -> dict[str, np.ndarray]:
    """Every layer's responses to all images, as one array of positions by channels."""
    vgg, names = build_vgg(parameters), layer_names(parameters.network)
    features = [vgg(image, names) for image in images]
    return {
        n: np.concatenate([np.asarray(f[n], np.float64).reshape(-1, f[n].shape[-1]) for f in features]) for n in names
    }


def test_every_mean_activation_is_one(parameters: Parameters, images: list[jnp.ndarray]):
    normalized = normalize(parameters, images)
    check_parameters(normalized, "normalized")
    assert float(build_vgg(normalized).unit()) == pytest.approx(1)
    before = all_positions(parameters, images)
    for name, responses in all_positions(normalized, images).items():
        mean = responses.mean(0)
        alive = before[name].mean(0) > 0
        np.testing.assert_allclose(mean[alive], 1, rtol=2e-4)
        assert (mean[~alive] == 0).all()
        assert alive.any()


def test_only_the_scale_of_channels_changes(parameters: Parameters, images: list[jnp.ndarray]):
    before, after = all_positions(parameters, images), all_positions(normalize(parameters, images), images)
    for name in before:
        mean = before[name].mean(0)
        np.testing.assert_allclose(after[name] * np.where(mean > 0, mean, 1), before[name], rtol=2e-4, atol=1e-5)


def test_normalizing_twice_changes_nothing(parameters: Parameters, images: list[jnp.ndarray]):
    once = normalize(parameters, images)
    twice = normalize(once, [np.asarray(image) for image in images])
    for name in once.layers:
        np.testing.assert_allclose(twice.layers[name].kernel, once.layers[name].kernel, rtol=1e-3, atol=1e-7)
    assert twice.source.endswith("over 2 images")


def test_it_needs_images_of_a_size(parameters: Parameters):
    with pytest.raises(InputError, match="needs at least one image"):
        normalize(parameters, [])
    with pytest.raises(InputError, match="too small"):
        normalize(parameters, [jnp.zeros((8, 8, 3))])


def test_the_fingerprint_is_the_mean_of_the_papers_layers(parameters: Parameters):
    first = fingerprint(parameters)
    assert tuple(first) == PAPER_LAYERS
    assert fingerprint(parameters._replace(source="elsewhere")) == first
    # By hand for a first layer that gives back one color: the mean of max(0, x - mean) / std over the image.
    kernel, bias = (np.zeros_like(array) for array in parameters.layers["conv1_1"])
    kernel[1, 1, 0, 0] = 1
    y, x = np.mgrid[:64, :64]
    red = 0.5 + 0.25 * np.sin(x / 5) + 0.25 * np.sin(3 * y / 7)
    expected = np.maximum((red - 0.45) / 0.225, 0).mean() / 4
    changed = parameters._replace(layers=parameters.layers | {"conv1_1": Convolution(kernel, bias)})
    assert fingerprint(changed)["conv1_1"] == pytest.approx(expected, rel=1e-5)


def test_swapped_colors_have_another_fingerprint(parameters: Parameters):
    kernel, bias = parameters.layers["conv1_1"]
    swapped = parameters._replace(layers=parameters.layers | {"conv1_1": Convolution(kernel[:, :, ::-1], bias)})
    assert abs(fingerprint(swapped)["conv1_1"] / fingerprint(parameters)["conv1_1"] - 1) > 0.01
