"""Convert records to JSON, and untrusted JSON to records, in which msgspec checks every field."""

import dataclasses
import json
import math
import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from stylejax.errors import InputError, brief

Record = TypeVar("Record")

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Meta(ge=0, le=1e10)]
Line = Annotated[str, Meta(max_length=10_000, pattern=r"\A[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*\Z")]
"""Text without control characters, which a terminal would execute."""
FileName = Annotated[str, Meta(max_length=255, pattern=r"\A(?!\.{1,2}\Z)(?![A-Za-z]:)[^/\\\x00]+\Z")]
"""Name of a file without a folder, on any system."""
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
ByLayer = Annotated[dict[Line, float | None], Meta(max_length=10_000)]


def plain(value: Any) -> Any:
    """Return records, arrays and numbers as plain JSON; a number that is not finite becomes None."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if value is None or isinstance(value, (str, int)):
        return value
    return float(value) if math.isfinite(value) else None


def parse(text: str) -> Any:
    """Parse JSON; raise `InputError` also for NaN, duplicate names and excessive nesting."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise InputError("it is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"it is not JSON ({brief(error)})") from None


def convert(value: Any, kind: type[Record]) -> Record:
    """Return parsed JSON as a record; raise `InputError` for other types and for unknown fields."""
    try:
        record = msgspec.convert(value, kind)
    except UnicodeError:
        raise InputError("it contains text that is not Unicode") from None
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at ")
        reason = re.sub(r" matching regex .*", " of another form", reason)
        raise InputError(f"{path.replace('`', '').removeprefix('$.') or 'it'}: {brief(ValueError(reason))}") from None
    _check_known(value, msgspec.to_builtins(record), "")
    return record


def _check_known(value: Any, known: Any, path: str) -> None:
    """Raise `InputError` for a field that is not part of the record."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name not in known:
                raise InputError(f"{path or 'it'} has {name[:60]!r}, which this version of stylejax does not know")
            _check_known(inner, known[name], f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for inner, known_inner in zip(value, known, strict=True):
            _check_known(inner, known_inner, path)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name occurs twice in one object")
    return fields


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"{digits[:20]} is not finite")
    return value
