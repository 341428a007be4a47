"""The canonical weights file, and the checks that weights of any origin must pass.

An HDF5 file holds one network: a group per layer (`conv1_1` …) with the datasets `kernel` (height, width, in, out; float32)
and `bias` (out; float32), and the attributes `format`, `network`, `mean`, `std`, `source`, `normalized` and `sha256`.
Files are untrusted: sizes and types are checked before anything is read into memory.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from stylejax.errors import InputError, brief
from stylejax.files import require_file, write_atomically
from stylejax.models.architecture import LAYERS_PER_BLOCK, ConvWeights, VGGWeights, layer_names

FORMAT = "stylejax-vgg 2"
MAX_NUMBERS = 3 * 3 * 4096 * 4096
"""Maximum numbers that a file may claim to hold: 600 MB of float32. VGG-19 has 20 million."""

_MAX_PROBLEMS = 6
_ATTRIBUTES = ("format", "network", "mean", "std", "source", "normalized", "sha256")


def save_weights(path: str | os.PathLike[str], parameters: VGGWeights) -> None:
    """Write the canonical file atomically.

    Raises `InputError` if it cannot be written, or if `read_weights` would refuse the weights.
    """
    path = Path(path)
    check_weights(parameters, path.name)
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        for name in layer_names(parameters.network):
            for field, array in parameters.layers[name]._asdict().items():
                file.create_dataset(f"{name}/{field}", data=np.asarray(array, np.float32))
        values = (FORMAT, *parameters[:1], *parameters[2:], weights_hash(parameters))
        for name, value in zip(_ATTRIBUTES, values, strict=True):
            file.attrs[name] = value
        file.flush()
        write_atomically(path, file.id.get_file_image())


def read_weights(path: str | os.PathLike[str]) -> VGGWeights:
    """Return the weights in a canonical file.

    Raises `InputError` if it is missing, damaged or not canonical; the message lists all differences from the network.
    """
    path = check_file(path)
    with decode_errors(path.name), h5py.File(path, "r") as file:
        parameters, stored_hash = _read(file, path.name)
    check_weights(parameters, path.name)
    if weights_hash(parameters) != stored_hash:
        raise InputError(f"{path.name} is damaged: its weights do not match its hash; convert or fetch it again")
    return parameters


def weights_hash(parameters: VGGWeights) -> str:
    """Return the SHA-256 of names, shapes and values in the order of the network, independent of the file."""
    digest = hashlib.sha256()
    layers = {name: parameters.layers[name] for name in layer_names(parameters.network)}
    for name, array in (*_arrays(layers).items(), ("mean", parameters.mean), ("std", parameters.std)):
        digest.update(f"{name} {np.shape(array)}\n".encode())
        digest.update(np.ascontiguousarray(array, "<f4").tobytes())
    return digest.hexdigest()


def check_weights(parameters: VGGWeights, name: str) -> VGGWeights:
    """Return the weights; raise `InputError` unless they are a whole network of finite float32 values."""
    _check_network(parameters.network, name)
    arrays = _arrays(parameters.layers)
    problems = [*_structure_problems(parameters.network, arrays), *_preprocessing_problems(parameters)]
    problems += [f"{n} has numbers that are not finite" for n, a in arrays.items() if not np.isfinite(a).all()]
    _raise_problems(problems, name, parameters.network)
    return parameters


def _arrays(layers: Mapping[str, ConvWeights]) -> dict[str, np.ndarray]:
    return {f"{name}/{field}": array for name, conv in layers.items() for field, array in conv._asdict().items()}


def _check_network(network: str, name: str) -> None:
    if network not in LAYERS_PER_BLOCK:
        raise InputError(f"{name} holds the network {network!r}; only {' or '.join(LAYERS_PER_BLOCK)} can be used")


def _structure_problems(network: str, arrays: Mapping[str, Any]) -> list[str]:
    """Compare `{"conv1_1/kernel": array}` with a network, whose layers may have any width."""
    expected = [f"{name}/{field}" for name in layer_names(network) for field in ConvWeights._fields]
    problems = [f"{name} is missing" for name in expected if name not in arrays]
    problems += [f"{name} is unexpected" for name in arrays if name not in expected]
    inputs: int | str = 3
    for name in layer_names(network):
        kernel, bias = (arrays.get(f"{name}/{field}") for field in ConvWeights._fields)
        outputs = kernel.shape[-1] if kernel is not None and kernel.shape else "n"
        problems += _array_problems(f"{name}/kernel", kernel, (3, 3, inputs, outputs))
        problems += _array_problems(f"{name}/bias", bias, (outputs,))
        inputs = outputs
    return problems


def _array_problems(name: str, array: Any, shape: tuple[int | str, ...]) -> list[str]:
    """Compare an array with a shape, in which text matches any size."""
    if array is None:
        return []
    problems = []
    if len(array.shape) != len(shape) or any(
        type(n) is int and n != m for n, m in zip(shape, array.shape, strict=True)
    ):
        problems.append(f"{name} has the shape {tuple(array.shape)}, expected {shape}")
    if array.dtype != np.float32:
        problems.append(f"{name} is {array.dtype}, expected float32")
    return problems


def _preprocessing_problems(parameters: VGGWeights) -> list[str]:
    problems = []
    for name, lower_bound in (("mean", -np.inf), ("std", 0)):
        value = np.asarray(getattr(parameters, name))
        if value.shape != (3,) or value.dtype != np.float32 or not (np.isfinite(value) & (value > lower_bound)).all():
            problems.append(f"{name} is not three usable float32 numbers")
    if not (isinstance(parameters.source, str) and parameters.source.isprintable() and len(parameters.source) < 1000):
        problems.append("source is not a line of text")
    return problems


def _raise_problems(problems: Sequence[str], name: str, network: str) -> None:
    if problems:
        rest = len(problems) - _MAX_PROBLEMS
        listed = "; ".join((*problems[:_MAX_PROBLEMS], *([f"and {rest} more"] if rest > 0 else [])))
        raise InputError(f"{name} is not a {network}: {listed}; convert or fetch the weights again")


def check_file(path: str | os.PathLike[str]) -> Path:
    """Return the path. Raise `InputError` unless it is a file."""
    require_file(path, "`stylejax weights list` shows what is available")
    return Path(path)


@contextlib.contextmanager
def decode_errors(name: str) -> Iterator[None]:
    """Turn any exception raised while the file `name` is decoded into an `InputError` of one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # decoders raise nearly every type on damaged bytes
        raise InputError(f"{name} cannot be read: {brief(error)}; it is damaged or of another format") from error


def _read(file: h5py.File, name: str) -> tuple[VGGWeights, str]:
    attributes = {key: _attribute(file, key) for key in _ATTRIBUTES if key in file.attrs}
    if attributes.get("format") != FORMAT:
        raise InputError(f"{name} is not a canonical weights file; convert it with `stylejax weights convert`")
    if missing := [key for key in _ATTRIBUTES if key not in attributes]:
        raise InputError(f"{name} lacks the attributes {', '.join(missing)}; convert or fetch the weights again")
    network, source = str(attributes["network"]), str(attributes["source"])
    _check_network(network, name)
    datasets = _datasets(file, name)
    _raise_problems(_structure_problems(network, datasets), name, network)
    layers = {n: ConvWeights(datasets[f"{n}/kernel"][...], datasets[f"{n}/bias"][...]) for n in layer_names(network)}
    mean, std = np.asarray(attributes["mean"]), np.asarray(attributes["std"])
    normalized = bool(np.all(attributes["normalized"]))
    return VGGWeights(network, layers, mean, std, source, normalized), str(attributes["sha256"])


def _attribute(file: h5py.File, key: str) -> Any:
    shape = file.attrs.get_id(key).shape
    if shape and int(np.prod(shape, dtype=object)) > 3:
        raise InputError(f"attribute {key!r} has the shape {shape}; convert or fetch the weights again")
    return file.attrs[key]


def _datasets(file: h5py.File, name: str) -> dict[str, h5py.Dataset]:
    groups = safe_members(file).items()
    datasets = {f"{group}/{key}": d for group, members in groups for key, d in safe_members(members).items()}
    if wrong := [key for key, d in datasets.items() if not isinstance(d, h5py.Dataset)]:
        raise InputError(f"{name} has {wrong[0]!r}, which is not an array; convert or fetch the weights again")
    check_declared_sizes(datasets, name)
    return datasets


def safe_members(group: Any) -> dict[str, Any]:
    """Return the members of an HDF5 group. Raise `InputError` for a link, which may lead to another file."""
    names = list(group) if isinstance(group, h5py.Group) else []
    if links := [n for n in names if not isinstance(group.get(n, getlink=True), h5py.HardLink)]:
        raise InputError(f"{links[0]!r} is a link to elsewhere; a weights file must be self-contained")
    return {name: group[name] for name in names}


def check_declared_sizes(arrays: Mapping[str, Any], name: str) -> None:
    """Raise `InputError` unless arrays are small, inside the file, uncompressed and numeric.

    Compressed arrays and texts can grow without bound when they are read.
    """
    claimed = sum(_declared_size(a) for a in arrays.values())
    if claimed > MAX_NUMBERS:
        raise InputError(
            f"{name} claims to hold {claimed} numbers, more than any VGG (at most {MAX_NUMBERS}); get it again"
        )
    for key, a in arrays.items():
        if not isinstance(a, h5py.Dataset):
            continue
        if a.external or a.is_virtual:
            raise InputError(f"{name} keeps {key!r} in another file; a weights file must be self-contained")
        if a.id.get_create_plist().get_nfilters():
            raise InputError(f"{name} has compressed {key!r}; write the file without compression")
        if a.dtype.kind not in "fiu":
            raise InputError(f"{name} has {key!r} of type {a.dtype}, expected numbers; get the file again")


def _declared_size(array: Any) -> int:
    """Return the 32-bit numbers that reading allocates: at least one chunk of a chunked array."""
    shapes = (array.shape, getattr(array, "chunks", None) or ())
    count = max(int(np.prod(shape or (), dtype=object)) for shape in shapes)
    return count * -(-array.dtype.itemsize // 4) if isinstance(array, h5py.Dataset) else count


def printable(text: str) -> str:
    """Replace control characters, which could act on a terminal, by question marks."""
    return "".join(c if c.isprintable() else "?" for c in text)
