"""Files in PyTorch's legacy layout, opcode by opcode: sound ones without PyTorch, and hostile ones that it never writes."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
PROTOCOL = b"\x80\x02M\xe9\x03."
SYSTEM = b"\x80\x02}(X\x10\x00\x00\x00protocol_versionM\xe9\x03X\x0d\x00\x00\x00little_endian\x88u."
HALF = b"ctorch\nHalfStorage\n"
FLOAT = b"ctorch\nFloatStorage\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
ORDERED = b"ccollections\nOrderedDict\n"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return (
        b"J" + struct.pack("<i", value)
        if abs(value) < 2**31
        else b"\x8a\x09" + value.to_bytes(9, "little", signed=True)
    )


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def storage(key: str, size: int, kind: bytes = FLOAT) -> bytes:
    return tuple_of(text("storage"), kind, text(key), text("cpu"), number(size), b"N") + b"Q"


def tensor(store: bytes, offset: int, shape: Sequence[int], strides: Sequence[int]) -> bytes:
    sizes = (tuple_of(*map(number, values)) for values in (shape, strides))
    return REBUILD + tuple_of(store, number(offset), *sizes, b"\x89", ORDERED + b")R") + b"R"


def state_pickle(tensors: Mapping[str, bytes]) -> bytes:
    items = b"".join(text(name) + value for name, value in tensors.items())
    return b"\x80\x02" + ORDERED + b")R(" + items + b"u."


def keys_pickle(keys: Sequence[str]) -> bytes:
    return b"\x80\x02](" + b"".join(map(text, keys)) + b"e."


def numbers(values: Any) -> bytes:
    flat = np.asarray(values, "<f4").ravel()
    return struct.pack("<q", flat.size) + flat.tobytes()


def legacy_file(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A state dict with a storage of its own for each array."""
    tensors = {}
    for key, (name, array) in enumerate(arrays.items()):
        strides = [int(stride) // 4 for stride in np.empty(array.shape, np.float32).strides]
        tensors[name] = tensor(storage(str(key), array.size), 0, array.shape, strides)
    head = MAGIC + PROTOCOL + SYSTEM + state_pickle(tensors) + keys_pickle([str(key) for key in range(len(arrays))])
    return head + b"".join(map(numbers, arrays.values()))
