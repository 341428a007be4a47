"""The network against loops in NumPy and, where it is installed, against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from conftest import features_of

from stylejax.errors import InputError
from stylejax.models.architecture import canonical_layer_name, layer_names, random_weights, total_stride
from stylejax.models.vgg import build_vgg


def biased(parameters, seed=1):
    """Random biases: zeros would hide a bias that is left out."""
    generator = np.random.default_rng(seed)
    layers = {
        name: c._replace(bias=generator.normal(0, 0.1, c.bias.shape).astype(np.float32))
        for name, c in parameters.layers.items()
    }
    return parameters._replace(layers=layers)


def test_one_table_gives_both_networks():
    assert len(layer_names("vgg19")) == 16
    assert len(layer_names("vgg16")) == 13
    assert layer_names("vgg16")[-1] == "conv5_3"
    kernels = random_weights("vgg19").layers
    assert kernels["conv4_2"].kernel.shape == (3, 3, 512, 512)
    assert sum(c.kernel.size + c.bias.size for c in kernels.values()) == 20_024_384


@pytest.mark.parametrize("pooling", ["avg", "max"])
@pytest.mark.parametrize("shape", [(16, 16), (19, 33)])
def test_every_layer_equals_plain_loops(pooling, shape, generator):
    parameters = biased(random_weights("vgg16", 3, (2, 3, 2, 3, 2)))
    image = generator.random((*shape, 3)).astype(np.float32)
    expected = oracle.features(image, parameters, pooling)
    found = features_of(build_vgg(parameters, pooling), image, layer_names("vgg16"))
    for name in layer_names("vgg16"):
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5 * scale, err_msg=name)


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_every_layer_equals_pytorch(pooling, generator):
    torch = pytest.importorskip("torch", reason="PyTorch, the second oracle, is not installed")
    parameters = biased(random_weights("vgg19", 4, (8, 16, 16, 16, 16)))
    image = generator.random((65, 50, 3)).astype(np.float32)
    found = features_of(build_vgg(parameters, pooling), image, layer_names("vgg19"))
    pool = torch.nn.functional.avg_pool2d if pooling == "avg" else torch.nn.functional.max_pool2d
    x = torch.tensor((image - parameters.mean) / parameters.std).permute(2, 0, 1)[None]
    for name, (kernel, bias) in parameters.layers.items():
        if name[5:] == "_1" and name != "conv1_1":
            x = pool(x, 2)
        weight = torch.tensor(kernel).permute(3, 2, 0, 1)
        x = torch.relu(torch.nn.functional.conv2d(x, weight, torch.tensor(bias), padding=1))
        expected = x[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(found[name], expected, atol=1e-5 * np.abs(expected).max(), err_msg=name)


def test_average_pooling_is_the_default(narrow_parameters):
    assert build_vgg(narrow_parameters).pooling == "avg"


def test_odd_sizes_pool_to_the_floor(narrow_vgg):
    features = features_of(narrow_vgg, jnp.zeros((67, 35, 3)), ("conv1_1", "conv2_1", "conv3_1", "conv5_1"))
    assert [f.shape[:2] for f in features.values()] == [(67, 35), (33, 17), (16, 8), (4, 2)]


def test_names_with_relu_are_the_same_layers(narrow_vgg, photo):
    features = narrow_vgg(jnp.asarray(photo), ("relu3_1", "conv3_1"))
    np.testing.assert_array_equal(features["relu3_1"], features["conv3_1"])
    assert features["conv3_1"].min() >= 0


def test_nothing_beyond_the_deepest_layer_is_computed(narrow_vgg):
    program = jax.make_jaxpr(lambda image: narrow_vgg(image, ("conv2_1",)))(jnp.zeros((32, 32, 3)))
    assert str(program).count("conv_general_dilated") == 3


def test_a_network_maps_over_images(narrow_vgg, generator):
    images = jnp.asarray(generator.random((2, 20, 24, 3)), jnp.float32)
    mapped = jax.jit(jax.vmap(lambda image: narrow_vgg(image, ("conv4_2",))["conv4_2"]))(images)
    single = narrow_vgg(images[1], ("conv4_2",))["conv4_2"]
    np.testing.assert_allclose(mapped[1], single, rtol=1e-4, atol=1e-5)


def test_another_network_of_the_same_shape_does_not_compile_again(narrow_parameters):
    traces = []

    @jax.jit
    def features(vgg, image):
        traces.append(1)
        return vgg(image, ("conv1_1",))

    for seed in (0, 1):
        parameters = random_weights("vgg19", seed, (4, 5, 6, 7, 8))
        features(build_vgg(parameters), jnp.zeros((16, 16, 3)))
    assert len(traces) == 1


def test_random_numbers_are_seeded():
    a, b, c = (random_weights("vgg16", seed, (2, 2, 2, 2, 2)).layers["conv1_1"].kernel for seed in (5, 5, 6))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_unknown_layers_are_refused_with_a_hint(narrow_vgg):
    with pytest.raises(InputError, match=r"unknown layer 'conv4_22' \(did you mean 'conv4_2'\?\): vgg19 has conv1_1"):
        narrow_vgg(jnp.zeros((32, 32, 3)), ("conv4_22",))


@pytest.mark.parametrize(
    "form", ["relu{}_{}", "ReLU_{}_{}", "conv{}{}", "conv{}-{}", "r{}{}", "R{}_{}", "block{}_conv{}"]
)
def test_the_layers_of_other_programs_have_the_same_meaning(form: str):
    for name in layer_names("vgg19"):
        block, number = name.removeprefix("conv").split("_")
        assert canonical_layer_name(form.format(block, number), "vgg19") == name


@pytest.mark.parametrize("name", ["0", "21", "features.0", "conv_4", "pool3", "all"])
def test_a_layer_by_its_index_is_not_guessed(name: str):
    """Programs count differently."""
    with pytest.raises(InputError, match=f"unknown layer '{name}': vgg19 has conv1_1 … conv5_4; name one of these"):
        canonical_layer_name(name, "vgg19")


def test_layers_of_vgg19_are_unknown_to_vgg16(generator):
    vgg = build_vgg(random_weights("vgg16", 0, (2, 2, 2, 2, 2)))
    with pytest.raises(InputError, match=r"unknown layer 'conv4_4'.*vgg16 has conv1_1 … conv5_3"):
        vgg(jnp.zeros((32, 32, 3)), ("conv4_4",))


def test_images_too_small_for_a_layer_are_refused(narrow_vgg):
    assert total_stride(("conv1_2", "conv5_1")) == 16
    with pytest.raises(InputError, match=r"40×15 pixels is too small for layers conv5_1: they need at least 16 pixels"):
        narrow_vgg(jnp.zeros((15, 40, 3)), ("conv5_1",))
    assert narrow_vgg(jnp.zeros((16, 16, 3)), ("conv5_1",))["conv5_1"].shape == (1, 1, 8)


@pytest.mark.parametrize("padding", ["circular", "reflect", "replicate"])
def test_padding_is_what_a_layer_sees_beyond_the_edge(padding, generator):
    parameters = biased(random_weights("vgg16", 3, (2, 3, 2, 3, 2)))
    image = generator.random((16, 20, 3)).astype(np.float32)
    beyond = {"circular": "wrap", "reflect": "reflect", "replicate": "edge"}[padding]
    x = (image - parameters.mean) / parameters.std
    for name in ("conv1_1", "conv1_2"):
        x = np.maximum(oracle.convolve(np.pad(x, ((1, 1), (1, 1), (0, 0)), beyond), *parameters.layers[name]), 0)
        x = x[1:-1, 1:-1]
    found = features_of(build_vgg(parameters, padding=padding), image, ("conv1_2", "conv5_1"))
    np.testing.assert_allclose(found["conv1_2"], x, atol=1e-5 * np.abs(x).max())
    assert np.isfinite(found["conv5_1"]).all()


def test_with_circular_padding_a_shifted_picture_has_shifted_responses(generator):
    """The picture has no edge: shifted by a whole position of the deepest layer, its responses are the same, shifted."""
    vgg = build_vgg(random_weights("vgg16", 0, (2, 2, 130, 300, 2)), padding="circular", winograd=True)
    image = generator.random((64, 32, 3)).astype(np.float32)
    straight, shifted = (
        features_of(vgg, jnp.asarray(x), ("conv5_1",))["conv5_1"] for x in (image, np.roll(image, 16, 0))
    )
    np.testing.assert_allclose(shifted, np.roll(straight, 1, 0), rtol=1e-3, atol=1e-4 * np.abs(straight).max())
