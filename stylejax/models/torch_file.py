"""Safe reader of PyTorch's legacy files (torch.save before 1.6), which does not need PyTorch.

A file consists of five pickles (magic number, protocol, system, state dict, storage keys), then for each key the count (int64)
and the values (little-endian float32) of a storage. `pickle.Unpickler` would call functions that the file names and allocate
a memo of any size that it claims. The interpreter below builds numbers, text and containers, and knows three names.
"""

import io
import os
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stylejax.errors import InputError
from stylejax.models.weights_file import printable

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle, the number 0x1950a86a20f9469cfc6c."""

MAX_PICKLES = 1 << 16
"""Maximum bytes of the five pickles; those of VGG-19 take 4,625."""

_STORAGE, _TENSOR, _DICT = "torch FloatStorage", "torch._utils _rebuild_tensor_v2", "collections OrderedDict"
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_OPERANDS = {"BINPERSID": 1, "BUILD": 1, "APPEND": 1, "SETITEM": 2, "REDUCE": 2, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINSTRING", "BINSTRING"}


class ForeignName(InputError):
    """A pickle names a function or class that only PyTorch can load."""


class Storage(NamedTuple):
    """A vector of `size` float32 values."""

    key: str
    size: int


class Tensor(NamedTuple):
    """A view of a storage; `offset` and `strides` count values."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TorchFile(NamedTuple):
    """Tensors of a state dict by name, and the byte offset of each storage; values are not read yet."""

    path: Path
    tensors: dict[str, Tensor]
    starts: dict[str, int]

    def load(self, name: str) -> np.ndarray:
        """Read one tensor as float32."""
        storage, offset, shape, strides = self.tensors[name]
        values = np.memmap(self.path, "<f4", "r", self.starts[storage.key], (storage.size,))
        byte_strides = tuple(4 * stride for stride in strides)
        return np.array(np.lib.stride_tricks.as_strided(values[offset:], shape, byte_strides), np.float32)


def read_torch(path: Path) -> TorchFile:
    """Read the structure of a legacy file, and compare every size with the size of the file.

    Raises:
        ForeignName: the file needs PyTorch.
        InputError: the file is damaged. Damaged pickles may raise other exceptions too.
    """
    with path.open("rb") as file:
        pickles = io.BytesIO(file.read(MAX_PICKLES))
        _, protocol, system, state, keys = (_unpickle(pickles) for _ in range(5))
        _require(protocol == 1001 and system.get("little_endian") is True, "it has an unknown protocol or byte order")
        if not isinstance(state, dict) or not state or not all(isinstance(tensor, Tensor) for tensor in state.values()):
            raise InputError("the .pth file holds no plain state dict; save model.state_dict() and give that")
        file.seek(pickles.tell())
        starts, sizes = _storages(file, keys)
    for name, tensor in state.items():
        _check_tensor(name, tensor, sizes)
    return TorchFile(path, state, starts)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise InputError(f"{problem}; get the file again")


def _storages(file: io.BufferedReader, keys: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Return the byte offset and the size of each storage."""
    end = os.fstat(file.fileno()).st_size
    starts, sizes = {}, {}
    for key in keys:
        _require(type(key) is str, "it has storages without a name")
        size = int.from_bytes(file.read(8), "little", signed=True)
        starts[key], sizes[key] = file.tell(), size
        _require(0 <= size <= (end - file.tell()) // 4, f"a storage claims {size} numbers, more than the file has")
        file.seek(4 * size, os.SEEK_CUR)
    _require(file.tell() == end, f"{end - file.tell()} bytes follow the last storage")
    return starts, sizes


def _check_tensor(name: str, tensor: Tensor, sizes: Mapping[str, int]) -> None:
    (key, size), offset, shape, strides = tensor
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    inside = sizes.get(key) == size and min(shape, default=1) >= 1 and last < size
    _require(inside, f"{name} lies outside of its storage")


def _unpickle(file: io.BytesIO) -> Any:
    """Return the value of the next pickle; `marks` are the stack heights of open containers."""
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
                stack.append(_check_name(value))
            case name if name in _VALUES:
                stack.append(value)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case name:
                _build(name, stack, marks)
    raise InputError("its pickle has no end; get the file again")


def _build(opcode: str, stack: list[Any], marks: list[int]) -> None:
    """Replace the top of the stack by the container or object that an opcode makes of it."""
    to_mark = opcode in ("TUPLE", "APPENDS", "SETITEMS")
    operands = _pop(stack, marks.pop() if to_mark else len(stack) - _OPERANDS.get(opcode, 0))
    match opcode:
        case "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
            stack.append(tuple(operands))
        case "EMPTY_LIST":
            stack.append([])
        case "EMPTY_DICT":
            stack.append({})
        case "APPEND" | "APPENDS":
            stack[-1].extend(operands)
        case "SETITEM" | "SETITEMS":
            stack[-1].update(_dict(zip(operands[::2], operands[1::2], strict=True)))
        case "BUILD":
            pass  # attributes of a dict: PyTorch's `_metadata`
        case "BINPERSID":
            stack.append(_storage(*operands[0]))
        case "REDUCE":
            function, arguments = operands
            _require(function in (_TENSOR, _DICT), "its pickle calls a value that is not a function")
            stack.append(_tensor(*arguments) if function == _TENSOR else _dict(*arguments))
        case _:
            raise InputError(f"its pickle has the opcode {opcode}, which no state dict needs; get the file again")


def _pop(stack: list[Any], height: int) -> list[Any]:
    """Remove and return the values above a height."""
    _require(0 <= height <= len(stack), "its pickle is damaged")
    values = stack[height:]
    del stack[height:]
    return values


def _check_name(name: str) -> str:
    if name in (_STORAGE, _TENSOR, _DICT):
        return name
    error = ForeignName if name.startswith("torch") else InputError
    dotted = printable(name.replace(" ", "."))[:80]
    raise error(f"its pickle asks for {dotted}, which no state dict needs; do not use it")


def _dict(pairs: Any = ()) -> dict[str, Any]:
    """Return a dict with text keys: hashing a nested tuple could take forever."""
    result: dict[str, Any] = {}
    for key, value in pairs:
        _require(type(key) in (str, int), "its pickle has keys that are not text")
        result[key] = value
    return result


def _storage(kind: Any, function: Any, key: Any, _location: Any, size: Any, view: Any = None) -> Storage:
    sound = kind == "storage" and function == _STORAGE and type(key) is str and view is None
    _require(sound, "its pickle has a storage that is not a float32 vector")
    return Storage(key, _count(size))


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    sound = isinstance(storage, Storage) and type(shape) is type(strides) is tuple and len(shape) == len(strides)
    _require(sound, "its pickle has a tensor without a storage")
    return Tensor(storage, _count(offset), tuple(map(_count, shape)), tuple(map(_count, strides)))


def _count(value: Any) -> int:
    _require(type(value) is int and value >= 0, "its pickle has a size that is not a whole number")
    return value
