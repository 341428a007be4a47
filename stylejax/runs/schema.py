"""JSON to anywhere, plain; and from anywhere, believed field by field: a check takes a value and says what it is worth, or
raises `InputError`.

A check is a function `(value, where) -> value`; `where` is the way to the value, such as `recipe.config.size`. Nothing that a
check passed on is longer, larger or of another type than it allows.
"""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Collection
from typing import Any, Literal, TypeAlias, get_args, get_origin

from stylejax.errors import InputError, brief

Check: TypeAlias = Callable[[Any, str], Any]

WIDEST = 2**53
"""The largest whole number that every reader of JSON knows exactly."""


def plain(value: Any) -> Any:
    """Plain JSON of records, arrays and numbers; a number that is not finite becomes null."""
    if hasattr(value, "__dataclass_fields__"):
        return plain(dataclasses.asdict(value))
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
    """The value of a JSON text. Raises `InputError` for what is not JSON: NaN, a name twice in one object, endless nesting."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise InputError("it is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"it is not JSON ({brief(error)})") from None


def record(build: Callable[..., Any], may_lack: Collection[str] = (), /, **checks: Check) -> Check:
    """An object with exactly these fields, but for those that it `may_lack`, made into `build(**fields)`."""

    def check(value: Any, where: str) -> Any:
        _expect(isinstance(value, dict), value, where, "an object")
        _known(value, checks, where)
        for name in checks:
            if name not in value and name not in may_lack:
                raise InputError(f"{_at(where, name)} is missing")
        return build(**{name: checks[name](v, _at(where, name)) for name, v in value.items()})

    return check


def dataclass_of(kind: type) -> Check:
    """An object with the fields of a dataclass of numbers, texts, choices, and tuples of texts or numbers. One that is missing
    has its default: an older version wrote the object. What only `kind` knows of the values, such as their range, it checks
    itself."""
    plain: dict[Any, Check] = {int: whole(), float: number, bool: truth, str: text()}
    plain |= {tuple[str, ...]: many(text()), tuple[float, ...]: many(number)}
    plain[float | tuple[float, ...]] = either(many(number), number)
    types = {field.name: field.type for field in dataclasses.fields(kind)}
    checks = {name: one_of(*get_args(t)) if get_origin(t) is Literal else plain[t] for name, t in types.items()}
    defaults = {field.name for field in dataclasses.fields(kind) if field.default is not dataclasses.MISSING}
    return record(kind, defaults, **checks)


def table(inner: Check, most: int = 100) -> Check:
    """An object of any names, which are lines of text, with values of one kind."""

    def check(value: Any, where: str) -> dict[str, Any]:
        _expect(isinstance(value, dict) and len(value) <= most, value, where, f"an object of at most {most} fields")
        return {line(name, f"a name in {where}"): inner(v, _at(where, name)) for name, v in value.items()}

    return check


def many(inner: Check, most: int = 100) -> Check:
    """An array with values of one kind, as a tuple."""

    def check(value: Any, where: str) -> tuple[Any, ...]:
        _expect(isinstance(value, list) and len(value) <= most, value, where, f"an array of at most {most} values")
        return tuple(inner(v, f"{where}[{i}]") for i, v in enumerate(value))

    return check


def optional(inner: Check) -> Check:
    """null, or a value of that kind."""
    return lambda value, where: None if value is None else inner(value, where)


def either(*inner: Check) -> Check:
    """A value of the first kind that it is of."""

    def check(value: Any, where: str) -> Any:
        for one in inner[:-1]:
            try:
                return one(value, where)
            except InputError:
                pass
        return inner[-1](value, where)

    return check


def whole(least: int = 0, most: int = 2**63 - 1) -> Check:
    """A whole number; true and false are none."""

    def check(value: Any, where: str) -> int:
        ok = type(value) is int and least <= value <= most
        return _expect(ok, value, where, f"a whole number from {least} to {most}")

    return check


def number(value: Any, where: str) -> float:
    """A finite number."""
    ok = type(value) is float and math.isfinite(value) or type(value) is int and abs(value) <= WIDEST
    return float(_expect(ok, value, where, "a finite number"))


def truth(value: Any, where: str) -> bool:
    """true or false."""
    return _expect(type(value) is bool, value, where, "true or false")


def text(most: int = 1000) -> Check:
    """Any text; it may hold what a terminal would act on, so it is shown by its `repr`."""
    return lambda value, where: _expect(
        type(value) is str and len(value) <= most, value, where, f"a text of at most {most} characters"
    )


def line(value: Any, where: str) -> str:
    """A text that can be shown as it is."""
    ok = type(value) is str and len(value) <= 10_000 and value.isprintable()
    return _expect(ok, value, where, "a line of text")


def one_of(*choices: str) -> Check:
    """One of these texts."""
    return lambda value, where: _expect(
        type(value) is str and value in choices, value, where, f"one of {', '.join(choices)}"
    )


def matching(pattern: str, expected: str) -> Check:
    """A text that a regular expression matches from end to end."""
    return lambda value, where: _expect(
        type(value) is str and bool(re.fullmatch(pattern, value, re.DOTALL)), value, where, expected
    )


def _expect(ok: bool, value: Any, where: str, expected: str) -> Any:
    if not ok:
        # A container may be of any size and depth.
        shown = "an object" if isinstance(value, dict) else "an array" if isinstance(value, list) else repr(value)[:60]
        raise InputError(f"{where} is {shown}; it should be {expected}")
    return value


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _known(value: dict[str, Any], checks: dict[str, Check], where: str) -> None:
    for name in value:
        if name not in checks:
            raise InputError(f"{where or 'it'} has {name[:60]!r}, which this version of stylejax does not know")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
