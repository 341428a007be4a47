"""One setting of a run: its name as it is typed, what it may hold, what is said of what it cannot. Standard library only."""

import numbers
import reprlib
from collections.abc import Iterable
from dataclasses import Field
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from stylejax.errors import InputError, did_you_mean

KINDS = {int: "a whole number", float: "a number", str: "text", bool: "True or False"}
"""What is expected of a type."""


def option(name: str) -> str:
    """The option of a field, as it is typed."""
    return "--" + name.replace("_", "-")


def check(name: str, value: object, ok: bool, expected: str) -> None:
    """Raises `InputError` where a setting is not what it should be."""
    if not ok:
        # An array would take the whole screen; a list of layers is wanted whole.
        shown = repr(value) if len(repr(value)) < 300 else reprlib.repr(value)
        raise InputError(f"{option(name)} is {shown}; it should be {expected}")


def check_known(names: Iterable[str], known: Iterable[str]) -> None:
    """Raises `InputError` for a setting that there is not."""
    known = list(known)
    for name in names:
        if name not in known:
            raise InputError(f"there is no setting {name!r}{did_you_mean(name, known)}: see stylejax transfer --help")


def check_kind(field: Field, value: object) -> None:
    """Raises `InputError` for a value of another type than the field's, or that is none of its choices. Whoever types is helped
    by the parser; this is for Python."""
    choices: tuple[Any, ...] = get_args(field.type) if get_origin(field.type) is Literal else ()
    if choices:
        check(field.name, value, value in choices, f"one of {', '.join(choices)}{did_you_mean(str(value), choices)}")
    else:
        check(field.name, value, _fits(field.type, value), _expected(field.type))


def _fits(kind: Any, value: object) -> bool:
    if isinstance(kind, UnionType):
        return any(_fits(one, value) for one in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, (tuple, list)) and all(_fits(get_args(kind)[0], part) for part in value)
    if isinstance(value, bool) or kind not in (int, float):
        return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
    # Any library's numbers will do.
    return isinstance(value, numbers.Integral) if kind is int else hasattr(value, "__float__")


def _expected(kind: Any) -> str:
    if isinstance(kind, UnionType):
        return " or ".join(map(_expected, get_args(kind)))
    return f"a tuple, each {_expected(get_args(kind)[0])}" if get_origin(kind) is tuple else KINDS[kind]
