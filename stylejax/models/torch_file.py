"""Read PyTorch's legacy files (torch.save before 1.6) without PyTorch.

A file is five pickles (magic number, protocol, system, state dict, keys of the storages), and then for each key the count of
its numbers (int64) and the numbers (float32, little-endian). `pickle.Unpickler` is not used: it calls what a file names, and
allocates a memo as large as a file claims. The machine below builds numbers, text and containers, and knows three names.
"""

import io
import os
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stylejax.errors import InputError

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle: the number 0x1950a86a20f9469cfc6c."""

MAX_PICKLES = 1 << 16
"""Bytes that the five pickles may have; those of VGG-19 have 4,625."""

_STORAGE, _TENSOR, _DICT = "torch FloatStorage", "torch._utils _rebuild_tensor_v2", "collections OrderedDict"
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINSTRING", "BINSTRING"}


class ForeignName(InputError):
    """A pickle asks for something of PyTorch's that only PyTorch can make."""


class Storage(NamedTuple):
    """A vector of `size` float32 numbers, by its key."""

    key: str
    size: int


class Tensor(NamedTuple):
    """A view of a storage; `offset` and `strides` count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TorchFile(NamedTuple):
    """The tensors of a state dict by name, and where in the file each storage begins; no numbers are read yet."""

    path: Path
    tensors: dict[str, Tensor]
    starts: dict[str, int]

    def load(self, name: str) -> np.ndarray:
        """Read one tensor, as float32."""
        storage, offset, shape, strides = self.tensors[name]
        numbers = np.memmap(self.path, "<f4", "r", self.starts[storage.key], (storage.size,))
        steps = tuple(4 * stride for stride in strides)
        return np.array(np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps), np.float32)


def read_torch(path: Path) -> TorchFile:
    """Read the structure of a legacy file; every size is compared with the file's before an array is made.

    Raises `ForeignName` for a file that needs PyTorch, `InputError` for one that is damaged or asks for anything else; damaged
    pickles may end in other exceptions too.
    """
    with path.open("rb") as file:
        pickles = io.BytesIO(file.read(MAX_PICKLES))
        _, protocol, system, state, keys = (_unpickle(pickles) for _ in range(5))
        if protocol != 1001 or system.get("little_endian") is not True:
            raise InputError(
                "it is of another protocol, or of a machine with another order of bytes; get the file again"
            )
        if not isinstance(state, dict) or not state or not all(isinstance(tensor, Tensor) for tensor in state.values()):
            raise InputError("the .pth file holds no plain state dict; save model.state_dict() and give that")
        file.seek(pickles.tell())
        starts, sizes = _storages(file, keys)
    for name, tensor in state.items():
        _check_tensor(name, tensor, sizes)
    return TorchFile(path, state, starts)


def _storages(file: io.BufferedReader, keys: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Return the place of each storage's first number, and the count of its numbers."""
    end = os.fstat(file.fileno()).st_size
    starts, sizes = {}, {}
    for key in keys:
        if type(key) is not str:
            raise InputError("it has storages without a name; get the file again")
        size = int.from_bytes(file.read(8), "little", signed=True)
        starts[key], sizes[key] = file.tell(), size
        if not 0 <= size <= (end - file.tell()) // 4:
            raise InputError(f"a storage claims {size} numbers, more than the file has; get the file again")
        file.seek(4 * size, os.SEEK_CUR)
    if file.tell() != end:
        raise InputError(f"{end - file.tell()} bytes follow the last storage; get the file again")
    return starts, sizes


def _check_tensor(name: str, tensor: Tensor, sizes: Mapping[str, int]) -> None:
    (key, size), offset, shape, strides = tensor
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if sizes.get(key) != size or min(shape, default=1) < 1 or last >= size:
        raise InputError(f"{name} lies outside of its storage; get the file again")


def _unpickle(file: io.BytesIO) -> Any:
    """Return the value of the next pickle. `stack` holds values, `marks` the heights of the stack at open containers."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(file):
        value: Any = argument
        match opcode.name:
            case "PROTO":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                marks.append(len(stack))
            case "BINPUT" | "LONG_BINPUT":
                memo[value] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[value])
            case "GLOBAL":
                stack.append(_admitted(value))
            case name if name in _VALUES:
                stack.append(value)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case name:
                _build(name, stack, marks)
    raise InputError("its pickle has no end; get the file again")


def _build(opcode: str, stack: list[Any], marks: list[int]) -> None:
    """Replace the last values of the stack by what an opcode makes of them."""
    match opcode:
        case "TUPLE":
            stack.append(tuple(_pop(stack, marks.pop())))
        case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
            stack.append(tuple(_pop(stack, len(stack) - _TUPLES[opcode])))
        case "EMPTY_LIST":
            stack.append([])
        case "EMPTY_DICT":
            stack.append({})
        case "APPEND" | "APPENDS":
            items = _pop(stack, marks.pop() if opcode == "APPENDS" else len(stack) - 1)
            stack[-1].extend(items)
        case "SETITEM" | "SETITEMS":
            items = _pop(stack, marks.pop() if opcode == "SETITEMS" else len(stack) - 2)
            stack[-1].update(_dict(zip(items[::2], items[1::2], strict=True)))
        case "BUILD":
            # The attributes of a dict, PyTorch's `_metadata`.
            stack.pop()
        case "BINPERSID":
            stack.append(_storage(*stack.pop()))
        case "REDUCE":
            function, arguments = _pop(stack, len(stack) - 2)
            if function not in (_TENSOR, _DICT):
                raise InputError("its pickle calls what is no function; get the file again")
            stack.append(_tensor(*arguments) if function == _TENSOR else _dict(*arguments))
        case _:
            raise InputError(f"its pickle has the opcode {opcode}, which no state dict needs; get the file again")


def _pop(stack: list[Any], height: int) -> list[Any]:
    """Remove and return what lies above a height."""
    if not 0 <= height <= len(stack):
        raise InputError("its pickle is damaged; get the file again")
    values = stack[height:]
    del stack[height:]
    return values


def _admitted(name: str) -> str:
    if name in (_STORAGE, _TENSOR, _DICT):
        return name
    shown = "".join(c if c.isprintable() else "?" for c in name.replace(" ", "."))[:80]
    error = ForeignName if name.startswith("torch") else InputError
    raise error(f"its pickle asks for {shown}, which a file of weights must not; do not use it")


def _dict(pairs: Any = ()) -> dict[str, Any]:
    """Make a dict whose keys are text: the hash of a nested tuple would take as long as a file wants."""
    made: dict[str, Any] = {}
    for key, value in pairs:
        if type(key) not in (str, int):
            raise InputError("its pickle has keys that are no text; get the file again")
        made[key] = value
    return made


def _storage(kind: Any, function: Any, key: Any, _location: Any, size: Any, view: Any = None) -> Storage:
    if kind != "storage" or function != _STORAGE or type(key) is not str or view is not None:
        raise InputError("its pickle names a storage that is no vector of float32; get the file again")
    return Storage(key, _count(size))


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if not (isinstance(storage, Storage) and type(shape) is type(strides) is tuple and len(shape) == len(strides)):
        raise InputError("its pickle has a tensor without a storage; get the file again")
    return Tensor(storage, _count(offset), tuple(map(_count, shape)), tuple(map(_count, strides)))


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise InputError("its pickle has a size that is no whole number; get the file again")
    return value
