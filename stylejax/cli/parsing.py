"""From words to a verb: what tyro has to be told, and what it says when it understands nothing, in one line."""

import contextlib
import dataclasses
import io
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import arg, subcommand

from stylejax.errors import InputError

Output = Annotated[Path, arg(aliases=["-o"], help="The file to write: PNG, JPEG, WebP, TIFF or BMP, by its name.")]
Weights = Annotated[str, arg(help="The network: auto, vgg19, vgg16, random, or a weights FILE.")]
Pooling = Annotated[Literal["avg", "max"], arg(help="avg as in the paper, or max as in the network's training.")]
"""Options that several commands have."""


def union_of(verbs: dict[str, Any]) -> Any:
    """The type that tyro reads subcommands from: one alternative a verb."""
    union: Any = None
    for name, default in verbs.items():
        verb = Annotated[type(default), subcommand(name, default=default)]
        union = verb if union is None else union | verb
    return union


def asking(verb: type, **known: Any) -> Any:
    """A verb as the defaults of its options: what is neither known nor has a default must be given, which tyro marks by
    a value that is of no field's type."""
    instance = object.__new__(verb)
    for field in dataclasses.fields(verb):
        default = tyro.MISSING if field.default is dataclasses.MISSING else field.default
        object.__setattr__(instance, field.name, known.get(field.name, default))
    return instance


def preset_name(words: Sequence[str]) -> str:
    """The preset is read before the rest, for it sets the defaults of the rest; of two the last counts."""
    found = "default"
    for word, following in zip(words, [*words[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if name == "--preset":
            found = value if equals else following
    return found


def comma_separated(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """Reads and shows `A,B` for a tuple of names or of numbers, or for one number or several."""
    kinds = {tuple[str, ...]: str, tuple[float, ...]: float, float | tuple[float, ...]: float}
    if info.type not in kinds:
        return None
    kind, single = kinds[info.type], info.type == float | tuple[float, ...]

    def read(words: list[str]) -> Any:
        values = tuple(kind(name.strip()) for name in words[0].split(",") if name.strip())
        return values[0] if single and len(values) == 1 else values

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="A|A,B" if single else "A,B",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, (tuple, float) if single else tuple),
        str_from_instance=lambda value: [",".join(map(str, value)) if isinstance(value, tuple) else str(value)],
    )


def say(line: str) -> None:
    """To standard error; what a program may read goes to standard output."""
    print(line, file=sys.stderr)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns the box of many lines, with which tyro refuses words, into an `InputError` of one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as stop:
        if stop.code:
            raise InputError(_condensed(said.getvalue())) from None
        sys.stderr.write(said.getvalue())
        raise


def _condensed(box: str) -> str:
    """What is wrong, what may have been meant, and where the help is; the help itself is left out."""
    lines = [line.strip("│| ") for line in re.sub(r"\x1b\[[\d;]*m", "", box).splitlines()[1:-1]]
    parts = re.split(r"^[-─]{3,}$", "\n".join(lines), flags=re.MULTILINE)
    sections = [part.strip().split("\n") for part in parts if part.strip()]
    hints = [part[:2] for part in sections[1:-1] if part[0].startswith(("Perhaps", "Available"))]
    return "; ".join(" ".join(" ".join(part).split()) for part in (sections[0], *hints, sections[-1]))
