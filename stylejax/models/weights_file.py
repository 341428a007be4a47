"""The canonical weights file, and the checks that a network's numbers must pass wherever they come from.

One HDF5 file holds one network: a group `conv1_1` … for each layer with the datasets `kernel` (height, width, in, out;
float32) and `bias` (out; float32), and the attributes `format`, `network`, `mean`, `std`, `source`, `normalized` and `sha256`.
A file may come from anywhere, so nothing in it is believed before it was checked.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from stylejax.errors import InputError, brief
from stylejax.models.architecture import CONVOLUTIONS, Convolution, Parameters, layer_names

FORMAT = "stylejax-vgg 2"
LARGEST = 3 * 3 * 4096 * 4096
"""The most numbers that a file may claim to hold, in all: VGG-19 has 20 million. Looked at before memory is taken."""

_SHOWN = 6
_ATTRIBUTES = ("format", "network", "mean", "std", "source", "normalized", "sha256")


def save_parameters(path: str | os.PathLike[str], parameters: Parameters) -> None:
    """Write the canonical file, whole or not at all: beside its place first, then renamed over it.

    Raises `InputError` for a folder that cannot be written and for numbers that `read_parameters` would refuse.
    """
    path = Path(path)
    check_parameters(parameters, path.name)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        # The system's own message is clearer than HDF5's.
        part.touch(exist_ok=False)
        with h5py.File(part, "w") as file:
            _write(file, parameters)
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        raise InputError(f"cannot write {path}: {brief(error)}; choose a folder that exists and is yours") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def read_parameters(path: str | os.PathLike[str]) -> Parameters:
    """The numbers of a canonical file, compared both ways with what the network must have.

    Raises `InputError`, one line that lists every difference: missing and unexpected layers, shapes, types, numbers
    that are not finite, a hash that does not fit, a file that is missing, damaged or of another kind.
    """
    path = check_file(path)
    with reading(path.name), h5py.File(path, "r") as file:
        parameters, stored = _read(file, path.name)
    check_parameters(parameters, path.name)
    if parameters_hash(parameters) != stored:
        raise InputError(
            f"{path.name} was changed or damaged: its numbers do not have its hash; convert or fetch it again"
        )
    return parameters


def parameters_hash(parameters: Parameters) -> str:
    """SHA-256 over names, shapes and numbers in the order of the network: the same numbers have the same hash."""
    digest = hashlib.sha256()
    arrays = {name: parameters.layers[name.split("/")[0]] for name in layer_names(parameters.network)}
    parts = [(f"{n}/{f}", getattr(c, f)) for n, c in arrays.items() for f in Convolution._fields]
    for name, array in (*parts, ("mean", parameters.mean), ("std", parameters.std)):
        digest.update(f"{name} {np.shape(array)}\n".encode())
        digest.update(np.ascontiguousarray(array, "<f4").tobytes())
    return digest.hexdigest()


def check_parameters(parameters: Parameters, name: str) -> Parameters:
    """`parameters` themselves, if they are a whole network of finite float32 numbers.

    Raises `InputError` that lists every difference, for the file called `name`.
    """
    if parameters.network not in CONVOLUTIONS:
        known = " or ".join(CONVOLUTIONS)
        raise InputError(f"{name} holds the network {parameters.network!r}; only {known} can be used")
    arrays = {f"{n}/{f}": getattr(c, f) for n, c in parameters.layers.items() for f in Convolution._fields}
    problems = [*differences(parameters.network, arrays), *_wrong_preprocessing(parameters)]
    problems += [f"{n} has numbers that are not finite" for n, a in arrays.items() if not np.isfinite(a).all()]
    refuse(problems, name, parameters.network)
    return parameters


def differences(network: str, arrays: Mapping[str, Any]) -> list[str]:
    """Where the shapes and types of `{"conv1_1/kernel": array}` are not those of `network`; nothing else is looked at.

    The widths of the layers are free, but each layer takes as many channels as the one before gives.
    """
    expected = [f"{name}/{field}" for name in layer_names(network) for field in Convolution._fields]
    problems = [f"{name} is missing" for name in expected if name not in arrays]
    problems += [f"{name} is unexpected" for name in arrays if name not in expected]
    inputs: int | str = 3
    for name in layer_names(network):
        kernel, bias = (arrays.get(f"{name}/{field}") for field in Convolution._fields)
        outputs = kernel.shape[-1] if kernel is not None and kernel.shape else "n"
        problems += _wrong_array(f"{name}/kernel", kernel, (3, 3, inputs, outputs))
        problems += _wrong_array(f"{name}/bias", bias, (outputs,))
        inputs = outputs
    return problems


def refuse(problems: Sequence[str], name: str, network: str) -> None:
    """Raise `InputError` if there are any problems: all of them in one line, a long list cut short."""
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        listed = "; ".join(problems[:_SHOWN]) + more
        raise InputError(f"{name} is not a {network}: {listed}; convert or fetch the weights again")


def check_file(path: str | os.PathLike[str]) -> Path:
    """The path of a file that can be read; `InputError` for a folder, and for no file at all."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a weights file; name the file in it")
    if not path.is_file():
        raise InputError(f"there is no weights file {path}; `stylejax weights list` shows what can be had")
    return path


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Whatever goes wrong while a foreign file is decoded becomes an `InputError` of one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # decoders raise nearly every type when bytes are damaged, and each means the same here
        raise InputError(f"{name} cannot be read: {brief(error)}; it is damaged or of another kind") from error


def _write(file: h5py.File, parameters: Parameters) -> None:
    for name in layer_names(parameters.network):
        for field, array in parameters.layers[name]._asdict().items():
            file.create_dataset(f"{name}/{field}", data=np.asarray(array, np.float32))
    values = (FORMAT, *parameters[:1], *parameters[2:], parameters_hash(parameters))
    for name, value in zip(_ATTRIBUTES, values, strict=True):
        file.attrs[name] = value


def _read(file: h5py.File, name: str) -> tuple[Parameters, str]:
    attributes = {key: _attribute(file, key) for key in _ATTRIBUTES if key in file.attrs}
    if attributes.get("format") != FORMAT:
        raise InputError(
            f"{name} is not a canonical weights file of stylejax; `stylejax weights convert` makes one of it"
        )
    if missing := [key for key in _ATTRIBUTES if key not in attributes]:
        raise InputError(f"{name} lacks the attributes {', '.join(missing)}; convert or fetch the weights again")
    network, source = str(attributes["network"]), str(attributes["source"])
    if network not in CONVOLUTIONS:
        raise InputError(f"{name} holds the network {network!r}; only {' or '.join(CONVOLUTIONS)} can be used")
    datasets = _datasets(file, name)
    refuse(differences(network, datasets), name, network)
    layers = {n: Convolution(datasets[f"{n}/kernel"][...], datasets[f"{n}/bias"][...]) for n in layer_names(network)}
    mean, std = np.asarray(attributes["mean"]), np.asarray(attributes["std"])
    normalized = bool(np.all(attributes["normalized"]))
    return Parameters(network, layers, mean, std, source, normalized), str(attributes["sha256"])


def _attribute(file: h5py.File, key: str) -> Any:
    # An attribute too can claim a shape of any size.
    shape = file.attrs.get_id(key).shape
    if shape and int(np.prod(shape, dtype=object)) > 3:
        raise InputError(f"attribute {key!r} has the shape {shape}; convert or fetch the weights again")
    return file.attrs[key]


def _datasets(file: h5py.File, name: str) -> dict[str, h5py.Dataset]:
    datasets = {f"{group}/{key}": d for group, g in members(file) for key, d in members(g)}
    if bad := [key for key, d in datasets.items() if not isinstance(d, h5py.Dataset)]:
        raise InputError(f"{name} has {bad[0]!r}, which is no array; convert or fetch the weights again")
    check_claims(datasets, name)
    return datasets


def members(group: Any) -> list[tuple[str, Any]]:
    """What lies in an HDF5 group. `InputError` for a link that leads elsewhere, to another file perhaps."""
    names = list(group) if isinstance(group, h5py.Group) else []
    if links := [n for n in names if not isinstance(group.get(n, getlink=True), h5py.HardLink)]:
        raise InputError(f"{links[0]!r} is a link to elsewhere, which a weights file must not have")
    return [(name, group[name]) for name in names]


def check_claims(arrays: Mapping[str, Any], name: str) -> None:
    """`InputError` if arrays that are not yet in memory are too large, lie in other files, or are no plain numbers as they are:
    a compressed array, and a text of any length, can grow without end when they are read."""
    claimed = sum(_claim(a) for a in arrays.values())
    if claimed > LARGEST:
        raise InputError(
            f"{name} claims to hold {claimed} numbers, more than any VGG ({LARGEST} at most); get it again"
        )
    for key, a in arrays.items():
        if not isinstance(a, h5py.Dataset):
            continue
        if a.external or a.is_virtual:
            raise InputError(f"{name} keeps {key!r} in another file, which a weights file must not do")
        if a.id.get_create_plist().get_nfilters():
            raise InputError(f"{name} has compressed {key!r}; write the file without compression")
        if a.dtype.kind not in "fiu":
            raise InputError(
                f"{name} has {key!r} of the type {a.dtype}, which are no plain numbers; get the file again"
            )


def _claim(array: Any) -> int:
    """Numbers of 32 bits that reading takes; of an array in chunks at least one whole chunk."""
    shape = getattr(array, "chunks", None) or ()
    most = max(int(np.prod(s or (), dtype=object)) for s in (array.shape, shape))
    return most * -(-array.dtype.itemsize // 4) if isinstance(array, h5py.Dataset) else most


def _wrong_array(name: str, array: Any, shape: tuple[int | str, ...]) -> list[str]:
    if array is None:
        return []
    wrong = len(array.shape) != len(shape) or any(
        isinstance(n, int) and n != m for n, m in zip(shape, array.shape, strict=True)
    )
    problems = [f"{name} has the shape {tuple(array.shape)}, expected {shape}"] if wrong else []
    if array.dtype != np.float32:
        problems.append(f"{name} is {array.dtype}, expected float32")
    return problems


def _wrong_preprocessing(parameters: Parameters) -> list[str]:
    problems = []
    for name, least in (("mean", -np.inf), ("std", 0)):
        value = np.asarray(getattr(parameters, name))
        if value.shape != (3,) or value.dtype != np.float32 or not (np.isfinite(value) & (value > least)).all():
            problems.append(f"{name} is not three usable float32 numbers")
    if not (isinstance(parameters.source, str) and parameters.source.isprintable() and len(parameters.source) < 1000):
        problems.append("source is not a line of text")
    return problems
