"""Foreign files: written in each published layout by the tools that publish them, read to the same network."""

import hashlib
import importlib.util
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import features_of
from torch_layout import legacy_file

from stylejax.errors import InputError
from stylejax.models import convert
from stylejax.models.architecture import ConvWeights, VGGWeights, layer_names, random_weights
from stylejax.models.convert import REGISTRY, PublishedFile, convert_weights
from stylejax.models.formats import decode_file, read_pickle
from stylejax.models.normalize import fingerprint
from stylejax.models.vgg import build_vgg
from stylejax.models.weights_file import save_weights

NARROW = (4, 5, 6, 7, 8)
CAFFE_MEAN = np.array([123.68, 116.779, 103.939]) / 255
PUBLISHED = {
    "vgg19": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
}
"""The numbers of the convolutions in torchvision's `features`, as its files have them."""

Numbers = dict[str, ConvWeights]


def numbers(network: str = "vgg19") -> Numbers:
    """Random kernels and biases, in whatever order of colors a test says they are."""
    generator = np.random.default_rng(7)
    layers = random_weights(network, 5, NARROW).layers
    return {n: ConvWeights(k, generator.normal(0, 0.1, b.shape).astype(np.float32)) for n, (k, b) in layers.items()}


def block_name(layer: str) -> str:
    return f"block{layer[4]}_conv{layer[6]}"


def write_keras(
    path: Path, layers: Numbers, kernel: str = "{0}_W_1:0", bias: str = "{0}_b_1:0", top: bool = False
) -> None:
    with h5py.File(path, "w") as file:
        names = ["input_1", *map(block_name, layers), *(["fc1"] if top else [])]
        file.attrs["layer_names"] = np.array(names, "S")
        for name in ("input_1", *(["fc1"] if top else [])):
            file.create_group(name).attrs["weight_names"] = np.array(
                ["fc1_W_1:0", "fc1_b_1:0"] if name == "fc1" else [], "S"
            )
        if top:
            file["fc1/fc1_W_1:0"], file["fc1/fc1_b_1:0"] = np.ones((8, 4), np.float32), np.ones(4, np.float32)
        for layer, (k, b) in layers.items():
            name = block_name(layer)
            group = file.create_group(name)
            keys = kernel.format(name), bias.format(name)
            group.attrs["weight_names"] = np.array(keys, "S")
            group[keys[0]], group[keys[1]] = k, b


def state_dict(layers: Numbers, gatys: bool = False) -> dict[str, np.ndarray]:
    network = "vgg19" if len(layers) == 16 else "vgg16"
    state = {}
    for number, (name, (kernel, bias)) in zip(PUBLISHED[network], layers.items(), strict=True):
        prefix = name if gatys else f"features.{number}"
        state[f"{prefix}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        state[f"{prefix}.bias"] = bias
    return state


def write_torch(path: Path, layers: Numbers, gatys: bool = False, zipped: bool = True) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch writes the .pth files")
    state = {key: torch.tensor(array) for key, array in state_dict(layers, gatys).items()}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)


BGR = np.eye(3, dtype=np.float32)[::-1]


def write_adain(
    path: Path, layers: Numbers, colors: np.ndarray = BGR, mean: Sequence[float] = (123.68, 116.779, 103.939)
) -> None:
    """The layout of vgg_normalised.pth: every module has a number, and the first is a convolution of the colors."""
    arrays = {"0.weight": 255 * colors[..., None, None], "0.bias": -colors @ np.array(mean, np.float32)}
    for number, (name, (kernel, bias)) in enumerate(layers.items()):
        key = 2 + 3 * number + int(name[4]) - 1
        arrays |= {f"{key}.weight": np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)), f"{key}.bias": bias}
    path.write_bytes(legacy_file(arrays))


def write_safetensors(path: Path, layers: Numbers) -> None:
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors writes its own files")
    safetensors.save_file(state_dict(layers), path)


LAYOUTS: dict[str, tuple[Callable[[Path, Numbers], None], str]] = {
    "keras": (write_keras, "caffe-bgr"),
    "keras-with-top": (lambda p, n: write_keras(p, n, top=True), "caffe-bgr"),
    "keras-kernel": (lambda p, n: write_keras(p, n, "{0}/kernel:0", "{0}/bias:0"), "caffe-bgr"),
    "gatys": (lambda p, n: write_torch(p, n, gatys=True), "caffe-bgr"),
    "gatys-old-torch": (lambda p, n: write_torch(p, n, gatys=True, zipped=False), "caffe-bgr"),
    "adain": (write_adain, "caffe-bgr"),
    "torchvision": (write_torch, "torch"),
    "safetensors": (write_safetensors, "torch"),
}


def features_by_torch(layers: Numbers, preprocessing: str, image: np.ndarray) -> dict[str, np.ndarray]:
    """The network by PyTorch, on the image as the publisher of the file says to prepare it."""
    torch = pytest.importorskip("torch", reason="PyTorch is the second implementation")
    functional = torch.nn.functional
    if preprocessing == "torch":
        x = (image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    elif preprocessing == "caffe-rgb":
        x = image * 255 - [123.68, 116.779, 103.939]
    else:
        x = image[:, :, ::-1] * 255 - [103.939, 116.779, 123.68]
    x = torch.tensor(x.transpose(2, 0, 1).copy(), dtype=torch.float64)[None]
    responses, block = {}, "1"
    for name, (kernel, bias) in layers.items():
        if name[4] != block:
            x, block = functional.avg_pool2d(x, 2), name[4]
        weight = torch.tensor(kernel.transpose(3, 2, 0, 1).copy(), dtype=torch.float64)
        x = functional.conv2d(x, weight, torch.tensor(bias, dtype=torch.float64), padding=1).relu()
        responses[name] = x[0].permute(1, 2, 0).numpy()
    return responses


@pytest.mark.parametrize("network", ["vgg19", "vgg16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_network_in_torch(tmp_path: Path, layout: str, network: str):
    write, preprocessing = LAYOUTS[layout]
    layers, path = numbers(network), tmp_path / "weights.bin"
    write(path, layers)
    asked = preprocessing if layout in ("torchvision", "safetensors") else None
    parameters = convert_weights(path, preprocessing=asked)
    assert parameters.network == network
    image = np.random.default_rng(0).random((35, 32, 3))
    expected = features_by_torch(layers, preprocessing, image)
    features = features_of(build_vgg(parameters), jnp.asarray(image, jnp.float32), layer_names(network))
    for name in layer_names(network):
        error = np.abs(np.asarray(features[name]) - expected[name]).max()
        assert error <= 1e-4 * np.abs(expected[name]).max(), name


def test_bgr_and_rgb_files_of_one_network_have_one_fingerprint(tmp_path: Path):
    bgr = numbers()
    rgb = bgr | {"conv1_1": ConvWeights(bgr["conv1_1"].kernel[:, :, ::-1].copy(), bgr["conv1_1"].bias)}
    write_keras(tmp_path / "bgr.h5", bgr)
    write_adain(tmp_path / "rgb.pth", rgb, BGR[::-1])
    first, second = convert_weights(tmp_path / "bgr.h5"), convert_weights(tmp_path / "rgb.pth")
    assert fingerprint(first) == pytest.approx(fingerprint(second), rel=1e-6)
    write_adain(tmp_path / "wrong.pth", bgr, BGR[::-1])
    assert fingerprint(convert_weights(tmp_path / "wrong.pth")) != pytest.approx(fingerprint(second), rel=1e-3)


def keras_model(layers: Numbers, named: bool) -> Any:
    if importlib.util.find_spec("keras") is None:
        pytest.skip("Keras writes these files")
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    x = first = keras.layers.Input((None, None, 3))
    for layer, (kernel, _) in layers.items():
        if layer[4] != "1" and layer.endswith("_1"):
            x = keras.layers.AveragePooling2D(2)(x)
        name = block_name(layer) if named else None
        x = keras.layers.Conv2D(
            kernel.shape[-1], 3, padding="same", activation="relu", kernel_initializer="zeros", name=name
        )(x)
    model = keras.Model(first, x)
    model.set_weights([array for convolution in layers.values() for array in convolution])
    return model


@pytest.mark.filterwarnings("ignore")  # Keras 3.15 is not quite up to NumPy 2
@pytest.mark.parametrize("name", ["a.weights.h5", "whole.h5"])
def test_files_by_keras_itself(tmp_path: Path, name: str):
    layers = numbers()
    model = keras_model(layers, named=True)
    (model.save_weights if "weights" in name else model.save)(str(tmp_path / name))
    parameters = convert_weights(tmp_path / name)
    image = np.random.default_rng(0).random((32, 32, 3)).astype(np.float32)
    # As `keras.applications` prepares an image in its mode "caffe".
    prepared = image[:, :, ::-1] * 255 - np.array([103.939, 116.779, 123.68], np.float32)
    expected = np.asarray(model(prepared[None]))[0]
    response = np.asarray(features_of(build_vgg(parameters), jnp.asarray(image), ("conv5_4",))["conv5_4"])
    assert np.abs(response - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.filterwarnings("ignore")
def test_keras_models_without_names_go_by_their_order(tmp_path: Path):
    layers, path = numbers(), tmp_path / "b.weights.h5"
    keras_model(layers, named=False).save_weights(str(path))
    with pytest.raises(InputError, match="does not determine its preprocessing; convert it with --preprocessing torch"):
        convert_weights(path)
    parameters = convert_weights(path, preprocessing="torch")
    # There are conv2d, conv2d_1 … conv2d_15, which do not sort as text.
    np.testing.assert_array_equal(parameters.layers["conv5_4"].bias, layers["conv5_4"].bias)
    np.testing.assert_array_equal(parameters.layers["conv2_1"].kernel, layers["conv2_1"].kernel)


@pytest.mark.filterwarnings("ignore")
def test_a_whole_keras_model_says_what_to_unzip(tmp_path: Path):
    keras_model(numbers("vgg16"), named=True).save(str(tmp_path / "model.keras"))
    with pytest.raises(InputError, match="unzip it and give the file model.weights.h5"):
        convert_weights(tmp_path / "model.keras")


def test_a_layer_of_colors_brings_its_own_mean(tmp_path: Path):
    write_adain(tmp_path / "a.pth", numbers(), mean=[120.0, 110.0, 100.0])
    np.testing.assert_allclose(convert_weights(tmp_path / "a.pth").mean, np.array([120, 110, 100]) / 255, rtol=1e-6)
    parameters = convert_weights(tmp_path / "a.pth", preprocessing="torch")
    np.testing.assert_allclose(parameters.mean, [0.485, 0.456, 0.406])


def test_a_first_layer_that_mixes_colors_is_refused(tmp_path: Path):
    write_adain(tmp_path / "a.pth", numbers(), np.full((3, 3), 1 / 3, np.float32))
    with pytest.raises(InputError, match="its first layer does not scale colors"):
        convert_weights(tmp_path / "a.pth")


def test_a_canonical_file_passes_through(tmp_path: Path):
    parameters = random_weights("vgg16", 0, NARROW)
    save_weights(tmp_path / "a.h5", parameters)
    read = convert_weights(tmp_path / "a.h5")
    assert read.source == parameters.source
    np.testing.assert_array_equal(read.layers["conv5_3"].kernel, parameters.layers["conv5_3"].kernel)
    with pytest.raises(InputError, match="stores its preprocessing; omit --preprocessing"):
        convert_weights(tmp_path / "a.h5", preprocessing="torch")
    with pytest.raises(InputError, match="holds vgg16, not vgg19"):
        convert_weights(tmp_path / "a.h5", network="vgg19")


def test_preprocessing_is_never_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "vgg19-dcbb9e9d.safetensors"
    write_safetensors(path, numbers())
    # The name alone proves nothing.
    with pytest.raises(InputError, match="unknown hash.*--preprocessing torch, caffe-bgr or caffe-rgb"):
        convert_weights(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = PublishedFile("Somebody", "vgg19", "vgg19-x.pth", "caffe-bgr", sha256=digest[:8])
    monkeypatch.setattr(convert, "REGISTRY", (known,))
    parameters = convert_weights(path)
    np.testing.assert_allclose(parameters.mean, CAFFE_MEAN, rtol=1e-6)
    np.testing.assert_allclose(parameters.std, 1 / 255, rtol=1e-6)
    np.testing.assert_array_equal(parameters.layers["conv1_1"].kernel, numbers()["conv1_1"].kernel[:, :, ::-1])
    assert parameters.source == f"Somebody vgg19-dcbb9e9d.safetensors (sha256 {digest[:8]}…)"
    with pytest.raises(InputError, match="expects caffe-bgr, not torch; omit --preprocessing"):
        convert_weights(path, preprocessing="torch")


def test_the_table_has_the_published_hashes():
    by_name = {k.name: k for k in REGISTRY}
    expected = {
        "vgg19-dcbb9e9d.pth": ("torch", "dcbb9e9d"),
        "vgg16-397923af.pth": ("torch", "397923af"),
        "vgg19-d01eb7cb.pth": ("caffe-bgr", "d01eb7cb"),
        "vgg16-00b39a1b.pth": ("caffe-bgr", "00b39a1b"),
        "vgg16_features-amdegroot-88682ab5.pth": ("torchvision-features", "88682ab5"),
    }
    for name, (preprocessing, sha256) in expected.items():
        assert (by_name[name].preprocessing, by_name[name].sha256) == (preprocessing, sha256)
    assert by_name["vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"].md5 == ("253f8cb515780f3b799900260a226db6",)
    assert not any(k.matches("0" * 64, "0" * 32) for k in REGISTRY)


def test_other_networks_are_named(tmp_path: Path):
    write = pytest.importorskip("safetensors.numpy", reason="safetensors writes its own files").save_file
    kernel, bias = np.zeros((4, 4, 3, 3), np.float32), np.zeros(4, np.float32)

    def refused(keys: dict[str, np.ndarray], **options: str) -> str:
        write(keys, tmp_path / "x.safetensors")
        with pytest.raises(InputError) as caught:
            convert_weights(tmp_path / "x.safetensors", **options)
        return str(caught.value)

    def with_numbers(*indices: int) -> dict[str, np.ndarray]:
        return {f"features.{i}.{k}": a for i in indices for k, a in (("weight", kernel), ("bias", bias))}

    assert "holds VGG-11, neither vgg16 nor vgg19" in refused(with_numbers(0, 3, 6, 8, 11, 13, 16, 18))
    assert "holds VGG-13" in refused(with_numbers(0, 2, 5, 7, 10, 12, 15, 17, 20, 22))
    assert "batch normalization" in refused(with_numbers(0, 3) | {"features.1.running_mean": bias})
    assert "unlike a VGG of torchvision" in refused(with_numbers(0, 4, 8))
    assert "found layer1.weight" in refused({"layer1.weight": kernel})
    # A header of such a length begins like a pickle, and must not be taken for one.
    lengths = [refused({f"x{'y' * n}": bias}) for n in range(64)]
    assert all("expected features.0.weight or conv1_1.weight, found xy" in m for m in lengths[1:])
    assert "lacks features.0.bias" in refused({"features.0.weight": kernel})
    state = state_dict(numbers())
    assert "holds vgg19, not vgg16" in refused(state, network="vgg16")
    assert "unknown network 'vgg91' (did you mean 'vgg19'?)" in refused(state, network="vgg91")
    assert "unknown preprocessing 'kaffe'" in refused(state, preprocessing="kaffe")
    wrong = state | {"features.2.weight": kernel}
    wrong["features.5.bias"] = np.full(5, np.nan, np.float32)
    message = refused({k: v for k, v in wrong.items()}, preprocessing="torch")
    assert "conv2_1/bias has numbers that are not finite" in message
    state["features.0.weight"] = np.zeros((4, 3, 5, 5), np.float32)
    assert "conv1_1/kernel has the shape (5, 5, 3, 4), expected (3, 3, 3, 4)" in refused(state, preprocessing="torch")


def test_files_that_are_none(tmp_path: Path):
    def refused(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            convert_weights(tmp_path / name)
        return str(caught.value)

    assert "this is not a weights file" in refused("a.h5", b"")
    assert "this is not a weights file" in refused("a.pth", b"GIF89a" * 100)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["hello"] = 1
    with pytest.raises(InputError, match="neither Keras's nor stylejax's: it holds hello"):
        convert_weights(tmp_path / "b.h5")
    with pytest.raises(InputError, match="does not exist; `stylejax weights list` shows"):
        convert_weights(tmp_path / "nothing.pth")
    with pytest.raises(InputError, match="is a folder"):
        convert_weights(tmp_path)


class Hostile:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


def test_hostile_pickles_do_nothing(tmp_path: Path):
    torch = pytest.importorskip("torch", reason="PyTorch writes the .pth files")
    target, path = tmp_path / "hacked", tmp_path / "vgg.pth"
    for protocol in (2, 4):
        path.write_bytes(pickle.dumps({"VGG16_0": Hostile(target)}, protocol))
        with pytest.raises(InputError, match="this is a pickle, which could run any code"):
            convert_weights(path)
        # Even where the hash would be that of the known file.
        with pytest.raises(InputError, match="this pickle asks for (posix|nt).system"):
            read_pickle(path)
        with pytest.raises(InputError, match=r"vgg.pth: this pickle asks"):
            decode_file(path, trust_pickle=True)
    for zipped in (True, False):
        torch.save({"conv1_1.weight": Hostile(target)}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(InputError, match="vgg.pth cannot be read|asks for posix.system"):
            convert_weights(path)
    assert not target.exists()


def test_claims_are_checked_before_memory_is_taken(tmp_path: Path):
    write_keras(tmp_path / "a.h5", numbers())
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        group = file["block1_conv1"]
        assert isinstance(group, h5py.Group)
        del group["block1_conv1_W_1:0"]
        group.create_dataset("block1_conv1_W_1:0", (3, 3, 3, 10**10), np.float32, chunks=(3, 3, 3, 100))
    with pytest.raises(InputError, match="more than any VGG"):
        convert_weights(tmp_path / "a.h5")
    torch = pytest.importorskip("torch", reason="PyTorch writes the .pth files")
    state = {key: torch.tensor(array) for key, array in state_dict(numbers()).items()}
    state["features.0.weight"] = torch.zeros(1).expand(10**8, 10**8, 3, 3)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(InputError, match="more than any VGG"):
        convert_weights(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"compression": "gzip"}, "has compressed"),
        ({"maxshape": (None,), "chunks": (2**28,)}, "claims to hold"),
        ({"dtype": h5py.string_dtype()}, "of type object, expected numbers"),
        ({"dtype": "S2000000000"}, "claims to hold"),
    ],
)
def test_arrays_that_grow_when_they_are_read_are_refused(tmp_path: Path, how: dict[str, Any], reason: str):
    write_keras(tmp_path / "a.h5", numbers())
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["block1_conv1/block1_conv1_b_1:0"]
        file.create_dataset("block1_conv1/block1_conv1_b_1:0", shape=(4,), **({"dtype": "f4"} | how))
    with pytest.raises(InputError, match=reason):
        convert_weights(tmp_path / "a.h5")


def test_soft_links_are_not_followed(tmp_path: Path):
    write_keras(tmp_path / "a.h5", numbers())
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["block1_conv1/block1_conv1_b_1:0"]
        file["block1_conv1/block1_conv1_b_1:0"] = h5py.ExternalLink("/etc/hostname", "/")
    with pytest.raises(InputError, match="is a link to elsewhere"):
        convert_weights(tmp_path / "a.h5")


@pytest.mark.filterwarnings("ignore")  # PyTorch warns of odd bytes before it refuses them
@pytest.mark.parametrize("layout", ["keras", "gatys", "gatys-old-torch", "safetensors", "adain"])
def test_damage_ends_in_input_error(tmp_path: Path, layout: str):
    path = tmp_path / "damaged"
    LAYOUTS[layout][0](path, numbers("vgg16"))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    generator = np.random.default_rng(1)
    refused = 0
    for trial in range(100):
        damaged = whole.copy()
        reach = (64, 2048, len(whole))[trial % 3]
        damaged[generator.integers(0, reach, generator.integers(1, 8))] = generator.integers(0, 256, dtype=np.uint8)
        path.write_bytes(damaged[: generator.integers(len(whole)) if trial % 5 == 0 else None].tobytes())
        try:
            assert isinstance(convert_weights(path, preprocessing="caffe-bgr"), VGGWeights)
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused >= 20


def test_without_torch_the_message_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_torch(tmp_path / "a.pth", numbers())
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(
        InputError, match=r"needs torch: install the extra, pip install 'stylejax\[torch\]', or convert"
    ):
        convert_weights(tmp_path / "a.pth")
