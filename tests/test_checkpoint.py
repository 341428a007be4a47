"""The canonical file: what goes in comes out, and whatever else a file holds is refused in one line."""

from pathlib import Path

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import features_of

from stylejax.errors import InputError
from stylejax.models.architecture import ConvWeights, VGGWeights, layer_names, random_weights
from stylejax.models.pretrained import load_vgg
from stylejax.models.vgg import build_vgg
from stylejax.models.weights_file import read_weights, save_weights, weights_hash

NARROW = (4, 5, 6, 7, 8)


@pytest.fixture
def parameters() -> VGGWeights:
    return random_weights("vgg19", 0, NARROW)


@pytest.fixture
def saved(tmp_path: Path, parameters: VGGWeights) -> Path:
    save_weights(tmp_path / "vgg19.h5", parameters)
    return tmp_path / "vgg19.h5"


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_weights(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("network", ["vgg19", "vgg16"])
def test_what_is_saved_is_read(tmp_path: Path, network: str):
    parameters = random_weights(network, 3, NARROW)._replace(mean=np.array([0.1, 0.2, 0.3], np.float32))
    save_weights(tmp_path / "a.h5", parameters)
    read = read_weights(tmp_path / "a.h5")
    assert (read.network, read.source, tuple(read.layers)) == (network, parameters.source, layer_names(network))
    for name, convolution in parameters.layers.items():
        np.testing.assert_array_equal(read.layers[name].kernel, convolution.kernel)
        np.testing.assert_array_equal(read.layers[name].bias, convolution.bias)
    np.testing.assert_array_equal(read.mean, parameters.mean)
    np.testing.assert_array_equal(read.std, parameters.std)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_the_layout_is_the_documented_one(saved: Path, parameters: VGGWeights):
    with h5py.File(saved) as file:
        assert set(file) == set(layer_names("vgg19"))
        assert dataset(file, "conv1_1/kernel").shape == (3, 3, 3, 4)
        assert dataset(file, "conv1_1/bias").shape == (4,)
        assert set(file.attrs) == {"format", "network", "mean", "std", "source", "normalized", "sha256"}
        assert file.attrs["format"] == "stylejax-vgg 2"
        assert file.attrs["sha256"] == weights_hash(parameters)


def test_the_hash_is_of_the_numbers_alone(parameters: VGGWeights):
    expected = weights_hash(parameters)
    reordered = dict(reversed(parameters.layers.items()))
    assert weights_hash(parameters._replace(source="elsewhere", layers=reordered)) == expected
    assert weights_hash(parameters._replace(mean=parameters.mean[::-1] + np.float32(0.1))) != expected
    for name in layer_names("vgg19"):
        kernel, bias = parameters.layers[name]
        bias = bias + np.eye(1, len(bias), 1, dtype=np.float32)[0]
        changed = parameters._replace(layers=parameters.layers | {name: ConvWeights(kernel, bias)})
        assert weights_hash(changed) != expected


def test_load_vgg_is_the_network_of_the_numbers(saved: Path, parameters: VGGWeights):
    image = jnp.linspace(0, 1, 32 * 32 * 3).reshape(32, 32, 3)
    for pooling in ("avg", "max"):
        loaded, built = load_vgg(saved, pooling), build_vgg(parameters, pooling)
        np.testing.assert_array_equal(loaded(image, ["conv5_1"])["conv5_1"], built(image, ["conv5_1"])["conv5_1"])


def test_all_differences_come_in_one_message(saved: Path):
    with h5py.File(saved, "r+") as file:
        del file["conv2_1/bias"]
        file["conv9_9/kernel"] = np.zeros(3, np.float32)
        replace(file, "conv3_1/kernel", np.zeros((3, 3, 9, 6), np.float32))
        replace(file, "conv4_1/bias", np.zeros(7, np.float64))
    message = refusal(saved)
    assert "conv2_1/bias is missing" in message
    assert "conv9_9/kernel is unexpected" in message
    assert "conv3_1/kernel has the shape (3, 3, 9, 6), expected (3, 3, 5, 6)" in message
    assert "conv4_1/bias is float64, expected float32" in message
    assert "more" not in message


def test_a_long_list_of_differences_is_cut(saved: Path):
    with h5py.File(saved, "r+") as file:
        for name in layer_names("vgg19")[:5]:
            del file[name]
    message = refusal(saved)
    assert "conv1_1/kernel is missing" in message
    # Ten arrays are missing, and conv3_2 does not fit a layer of unknown width.
    assert message.count("missing") == 6
    assert "and 4 more" in message


@pytest.mark.parametrize("shape", [(1, 1, 3, 4), (3, 3, 4, 4), (3, 3, 3), (3, 3, 3, 4, 1), ()])
def test_wrong_kernels_are_refused(saved: Path, shape: tuple[int, ...]):
    with h5py.File(saved, "r+") as file:
        replace(file, "conv1_1/kernel", np.zeros(shape, np.float32))
    assert f"conv1_1/kernel has the shape {shape}" in refusal(saved)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, saved: Path, parameters: VGGWeights, value: float):
    with h5py.File(saved, "r+") as file:
        dataset(file, "conv4_2/kernel")[0, 0, 0, 0] = value
    assert "conv4_2/kernel has numbers that are not finite" in refusal(saved)
    with pytest.raises(InputError, match="mean is not three usable"):
        save_weights(tmp_path / "b.h5", parameters._replace(mean=np.full(3, value, np.float32)))
    assert not (tmp_path / "b.h5").exists()


def test_one_changed_number_is_noticed(saved: Path):
    with h5py.File(saved, "r+") as file:
        dataset(file, "conv4_2/kernel")[1, 2, 3, 4] += 1
    assert "its weights do not match its hash" in refusal(saved)


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("format", "stylejax-vgg 1", "not a canonical weights file"),
        ("format", None, "not a canonical weights file"),
        ("network", "vgg11", "network 'vgg11'; only vgg19 or vgg16"),
        ("network", None, "lacks the attributes network"),
        ("mean", np.zeros(4, np.float32), "attribute 'mean' has the shape"),
        ("std", np.zeros(3, np.float32), "std is not three usable"),
        ("std", np.ones(3), "std is not three usable"),
        ("source", "\x1b[2Jhello", "source is not a line of text"),
        ("sha256", "0" * 64, "do not match its hash"),
    ],
)
def test_wrong_attributes_are_refused(saved: Path, attribute: str, value: object, expected: str):
    with h5py.File(saved, "r+") as file:
        del file.attrs[attribute]
        if value is not None:
            file.attrs[attribute] = value
    assert expected in refusal(saved)


def test_files_that_are_none(tmp_path: Path, saved: Path):
    assert "nothing.h5 does not exist; `stylejax weights list` shows" in refusal(tmp_path / "nothing.h5")
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "text.h5").write_text("hello")
    assert "text.h5 cannot be read" in refusal(tmp_path / "text.h5")
    (tmp_path / "cut.h5").write_bytes(saved.read_bytes()[: saved.stat().st_size // 2])
    assert "cut.h5 cannot be read" in refusal(tmp_path / "cut.h5")
    (tmp_path / "empty.h5").touch()
    assert "empty.h5 cannot be read" in refusal(tmp_path / "empty.h5")


def test_claims_are_checked_before_memory_is_taken(saved: Path):
    with h5py.File(saved, "r+") as file:
        del file["conv1_1/kernel"]
        # A chunked dataset without data takes no room on the disk, and a terabyte when it is read.
        file.create_dataset("conv1_1/kernel", (3, 3, 3, 10**10), np.float32, chunks=(3, 3, 3, 100))
    assert saved.stat().st_size < 10**6
    assert "more than any VGG" in refusal(saved)


def test_nothing_outside_the_file_is_read(tmp_path: Path, saved: Path):
    other = tmp_path / "other.h5"
    other.write_bytes(saved.read_bytes())
    zeros = tmp_path / "zeros.bin"
    zeros.write_bytes(b"\0" * 16)
    layout = h5py.VirtualLayout((4,), np.float32)
    layout[:] = h5py.VirtualSource(str(other), "conv1_1/bias", (4,))
    changes = {
        "is a link to elsewhere": lambda f: f.__setitem__(
            "conv1_1/bias", h5py.ExternalLink(str(other), "conv1_1/bias")
        ),
        "'bias' is a link": lambda f: f.__setitem__("conv1_1/bias", h5py.SoftLink("/conv1_2/bias")),
        "in another file": lambda f: f.create_dataset("conv1_1/bias", (4,), np.float32, external=[(zeros, 0, 16)]),
        "'conv1_1/bias' in another file": lambda f: f.create_virtual_dataset("conv1_1/bias", layout),
        "of type object, expected numbers": lambda f: f.create_dataset("conv1_1/bias", data=["a"] * 4),
        "which is not an array": lambda f: f.create_group("conv1_1/bias"),
    }
    for expected, change in changes.items():
        changed = tmp_path / "changed.h5"
        changed.write_bytes(other.read_bytes())
        with h5py.File(changed, "r+") as file:
            del file["conv1_1/bias"]
            change(file)
        assert expected in refusal(changed)


def test_saving_fails_as_a_whole(tmp_path: Path, saved: Path, parameters: VGGWeights):
    before = saved.read_bytes()
    with pytest.raises(InputError, match="cannot write .*No such file or directory; choose another place"):
        save_weights(tmp_path / "nowhere" / "a.h5", parameters)
    with pytest.raises(InputError, match="cannot write .*Not a directory; choose"):
        save_weights(saved / "a.h5", parameters)
    broken = parameters._replace(layers=parameters.layers | {"conv1_1": parameters.layers["conv5_1"]})
    with pytest.raises(InputError, match="conv1_1/kernel has the shape"):
        save_weights(saved, broken)
    assert saved.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["vgg19.h5"]


def test_the_same_numbers_are_the_same_bytes(tmp_path: Path, saved: Path, parameters: VGGWeights):
    save_weights(tmp_path / "again.h5", parameters)
    assert (tmp_path / "again.h5").read_bytes() == saved.read_bytes()


def test_damage_ends_in_input_error_or_changes_nothing(tmp_path: Path, saved: Path, parameters: VGGWeights):
    whole = np.frombuffer(saved.read_bytes(), np.uint8)
    expected = weights_hash(parameters)
    generator = np.random.default_rng(0)
    path = tmp_path / "damaged.h5"
    refused = 0
    for _ in range(250):
        damaged = whole.copy()
        # The structure lies in the first kilobytes and between the arrays: aim at both.
        reach = generator.choice([2048, len(whole)])
        damaged[generator.integers(0, reach, generator.integers(1, 6))] ^= generator.integers(1, 256, dtype=np.uint8)
        path.write_bytes(damaged.tobytes())
        try:
            assert weights_hash(read_weights(path)) == expected
        except InputError as error:
            refused += "\n" not in str(error)
    assert refused > 100


def test_identity_layers_make_vgg16_of_vgg19():
    small, large = random_weights("vgg16", 1, NARROW), random_weights("vgg19", 2, NARROW)
    layers = dict(small.layers)
    for name in ("conv3_4", "conv4_4", "conv5_4"):
        kernel, bias = (np.zeros_like(array) for array in large.layers[name])
        kernel[1, 1] = np.eye(kernel.shape[-1])
        layers[name] = ConvWeights(kernel, bias)
    image = jnp.linspace(0, 1, 32 * 48 * 3).reshape(32, 48, 3) ** 2
    shared = layer_names("vgg16")
    of_16 = features_of(build_vgg(small), image, shared)
    of_19 = features_of(build_vgg(large._replace(layers={n: layers[n] for n in layer_names("vgg19")})), image, shared)
    for name in shared:
        np.testing.assert_allclose(of_19[name], of_16[name], rtol=1e-6)


def dataset(file: h5py.File, name: str) -> h5py.Dataset:
    found = file[name]
    assert isinstance(found, h5py.Dataset)
    return found


def replace(file: h5py.File, name: str, array: np.ndarray) -> None:
    del file[name]
    file[name] = array
