"""Type and range checks of single settings, with their error messages. Standard library only."""

import numbers
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
        raise InputError(f"{flag_name(name)} must be {expected}, got {text}{hint}")


def require_type(field: Field, value: object) -> None:
    """Raise `InputError` unless the value has the field's type or is one of its choices.

    The command-line parser checks types itself; this check is for Python callers.
    """
    if get_origin(field.type) is Literal:
        choices: tuple[Any, ...] = get_args(field.type)
        require(field.name, value, value in choices, f"one of {', '.join(choices)}", did_you_mean(str(value), choices))
    else:
        require(field.name, value, _fits(field.type, value), _expected(field.type))


def _fits(kind: Any, value: object) -> bool:
    if get_origin(kind) in (Union, UnionType):
        return any(_fits(option, value) for option in get_args(kind))
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, (tuple, list)) and all(_fits(get_args(kind)[0], part) for part in value)
    if isinstance(value, bool) or kind not in (int, float):
        return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
    # Numbers of any library are accepted.
    return isinstance(value, numbers.Integral) if kind is int else hasattr(value, "__float__")


def _expected(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_expected, get_args(kind)))
    if get_origin(kind) is Literal:
        return ", ".join(map(repr, get_args(kind)))
    return f"a tuple, each {_expected(get_args(kind)[0])}" if get_origin(kind) is tuple else TYPE_NAMES[kind]
