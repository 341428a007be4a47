"""Conversion, and type and range checks, of single settings, with their error messages. Standard library only."""

import contextlib
import operator
import os
import reprlib
from dataclasses import Field
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from stylejax.errors import InputError, did_you_mean

TYPE_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "True or False"}
"""Names of the types in error messages."""


def flag_name(name: str) -> str:
    """Return the command-line option of a field."""
    return "--" + name.replace("_", "-")


def require(name: str, value: object, ok: bool, expected: str, hint: str = "") -> None:
    """Raise `InputError` unless `ok`: the option must be `expected`, got `value`."""
    if not ok:
        # Abbreviated only if very long, such as an array; a list of layers is shown whole.
        text = repr(value) if len(repr(value)) < 300 else reprlib.repr(value)
        raise InputError(f"{flag_name(name)} must be {expected}, got {' '.join(text.split())}{hint}")


def to_type(field: Field, value: Any) -> Any:
    """Return the value in the field's type: numbers of any library, paths, lists and one-dimensional arrays are converted.

    Raises `InputError` for other types, and unless the value is one of the field's choices.
    """
    if get_origin(field.type) is Literal:
        choices: tuple[Any, ...] = get_args(field.type)
        ok = isinstance(value, str) and value in choices
        require(field.name, value, ok, f"one of {', '.join(choices)}", did_you_mean(str(value), choices))
        return value
    try:
        return _convert(field.type, value)
    except (TypeError, ValueError, OverflowError):
        require(field.name, value, False, _expected(field.type))


def _convert(kind: Any, value: Any) -> Any:
    """Return the value in the type `kind`, or raise an error of Python."""
    rank = getattr(value, "ndim", int(isinstance(value, (tuple, list))))
    if get_origin(kind) in (Union, UnionType):
        *options, last = get_args(kind)
        for option in options:
            with contextlib.suppress(TypeError):
                return _convert(option, value)
        return _convert(last, value)
    if kind in (bool, int, float) and isinstance(value, bool) != (kind is bool):
        raise TypeError
    if kind is int:
        return operator.index(value)
    if kind is float and rank == 0 and hasattr(value, "__float__"):
        return float(value)
    if kind is bool:
        return value
    if get_origin(kind) is Literal and str(value) in get_args(kind):
        return str(value)
    if get_origin(kind) is tuple and kind != tuple[float, ...] and isinstance(value, str | os.PathLike):
        value, rank = (value,), 1
    if get_origin(kind) is tuple and rank == 1:
        return tuple(_convert(get_args(kind)[0], part) for part in value)
    if kind is str and isinstance(value, str | os.PathLike):
        return str(os.fspath(value))
    raise TypeError


def _expected(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_expected, get_args(kind)))
    if get_origin(kind) is Literal:
        return ", ".join(map(repr, get_args(kind)))
    return f"a tuple, each {_expected(get_args(kind)[0])}" if get_origin(kind) is tuple else TYPE_NAMES[kind]
