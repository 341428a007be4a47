"""MATLAB 5 files as plain Python: arrays, strings, lists for cells, and dicts for structs.

SciPy reads them too, but its decoder is native code that ends the whole process on some damaged files, and it inflates
compressed elements without a limit. Of the format this is what MatConvNet's networks use.
"""

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from stylejax.errors import InputError

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le", 18: "utf-32-le"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}


def read_matlab(data: memoryview, most: int) -> dict[str, Any]:
    """The variables of a file by name; `InputError` if compressed ones would take more than `most` bytes.

    Arrays that are not compressed are views of `data`. Damage ends in one of the exceptions of Python's own decoders.
    """
    if bytes(data[126:_HEADER]) != b"IM":
        raise InputError("this MATLAB file is not little-endian; save it again on a usual machine")
    variables = {}
    for kind, payload in _elements(data[_HEADER:]):
        if kind == _COMPRESSED:
            inflated, most = _inflate(payload, most)
            (kind, payload), *_ = _elements(inflated)
        if kind == _MATRIX:
            name, value = _matrix(payload)
            variables[name] = value
    return variables


def _elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Type and payload of one element after another; four bytes or fewer lie within the tag."""
    while len(data) >= 8:
        kind, size = (int(word) for word in np.frombuffer(data[:8], "<u4"))
        if kind >> 16:
            yield kind & 0xFFFF, data[4 : 4 + min(kind >> 16, 4)]
            data = data[8:]
            continue
        if size > len(data) - 8:
            raise ValueError(f"an element claims {size} bytes where {len(data) - 8} are left")
        yield kind, data[8 : 8 + size]
        data = data[8 + (size if kind == _COMPRESSED else -(-size // 8) * 8) :]


def _inflate(payload: memoryview, most: int) -> tuple[memoryview, int]:
    inflater = zlib.decompressobj()
    inflated = inflater.decompress(payload, most + 1)
    if len(inflated) > most:
        raise InputError("its compressed arrays are larger than any VGG's; get the file anew")
    return memoryview(inflated), most - len(inflated)


def _matrix(payload: memoryview) -> tuple[str, Any]:
    """Flags, shape and name come first; None stands for an empty matrix and for classes that are of no use here."""
    if not payload:
        return "", None
    (_, flags), (_, shape), (_, name), *rest = _elements(payload)
    return bytes(name).decode("ascii"), _value(flags[0], np.frombuffer(shape, "<i4"), rest)


def _value(kind: int, shape: np.ndarray, rest: list[tuple[int, memoryview]]) -> Any:
    if kind == _CELL:
        return [_matrix(payload)[1] for _, payload in rest]
    if kind == _STRUCT:
        return _structs(rest)
    if kind == _CHAR and rest:
        return bytes(rest[0][1]).decode(_TEXT[rest[0][0]])
    if kind in _CLASSES and rest:
        # Whole numbers are stored in fewer bytes than their class has.
        numbers = np.frombuffer(rest[0][1], _NUMBERS[rest[0][0]])
        return numbers.reshape(shape, order="F").astype(_CLASSES[kind], copy=False)
    return None


def _structs(rest: list[tuple[int, memoryview]]) -> list[dict[str, Any]]:
    (_, length), (_, text), *values = rest
    width = max(int(np.frombuffer(length, "<i4")[0]), 1)
    names = [bytes(text[i : i + width]).split(b"\0")[0].decode("ascii") for i in range(0, len(text), width)]
    decoded = [_matrix(payload)[1] for _, payload in values]
    starts = range(0, len(decoded), len(names)) if names else ()
    return [dict(zip(names, decoded[i : i + len(names)], strict=True)) for i in starts]
