"""Command-line parsing with tyro: subcommands, option groups, list values and one-line errors."""

import argparse
import contextlib
import dataclasses
import functools
import io
import itertools
import operator
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import arg, subcommand
from tyro.constructors import StructConstructorSpec, StructFieldSpec

from stylejax.config import OPTION_GROUPS, TransferConfig
from stylejax.errors import InputError, printable

Output = Annotated[Path, arg(aliases=["-o"], help="Image file to write: PNG, JPEG, WebP, TIFF or BMP, by its suffix.")]
Weights = Annotated[str, arg(help="Weights of the network: auto, vgg19, vgg16, random, or a weights FILE.")]
Pooling = Annotated[Literal["avg", "max"], arg(help="Pooling of the network: avg (the paper) or max (as trained).")]
"""Options of several commands."""

OTHER_NAMES = {
    **dict.fromkeys(("iterations", "num-iterations", "num-steps", "max-iter", "epochs"), "--steps"),
    **dict.fromkeys(("image-size", "img-size", "max-size", "end-scale"), "--size"),
    **dict.fromkeys(("output", "output-image", "save"), "-o"),
    **dict.fromkeys(
        ("content-image", "style-image", "content-img", "style-img"), "CONTENT or STYLE, without an option"
    ),
    **dict.fromkeys(("original-colors", "preserve-color", "preserve-colors"), "--color match, luminance or after"),
    **dict.fromkeys(("model", "model-file", "network"), "--weights"),
    "style-blend-weights": "--style-weights",
    "content-layer": "--content-layers",
    "style-layer": "--style-layers",
    "style-scale-fac": "--style-scale",
    "min-scale": "--scales",
    "lbfgs-num-correction": "--history",
    "avg-decay": "--ema-decay",
    "random-seed": "--seed",
    "save-iter": "--save-every",
    "init-image": "--init",
    **dict.fromkeys(("lr", "step-size"), "--learning-rate"),
    **dict.fromkeys(("devices", "multidevice-strategy", "multigpu-strategy"), "--shard"),
}
"""Options of other programs, and their names here."""


def parse_command(commands: dict[str, Any], words: Sequence[str], prog: str, description: str) -> Any:
    """Return the command with its validated options; each of the `commands` is given as its defaults."""
    _require_values(words)
    registry = tyro.constructors.ConstructorRegistry()
    registry.primitive_rule(_comma_separated)
    registry.primitive_rule(_size)
    registry.struct_rule(_option_groups)
    types = (Annotated[type(default), subcommand(name, default=default)] for name, default in commands.items())
    union: Any = tyro.conf.OmitSubcommandPrefixes[functools.reduce(operator.or_, types)]
    with tyro_errors(words):
        return tyro.cli(union, prog=prog, description=description, args=words or ["--help"], registry=registry)


def _require_values(words: Sequence[str]) -> None:
    """Raise `InputError` for an empty value: as a path it would be the current folder."""
    for option, word in itertools.pairwise(("", *words)):
        name, equals, value = word.partition("=")
        if not word or (name.startswith("--") and equals and not value):
            raise InputError(
                f"the value of {name or option or 'COMMAND'} must not be empty; check the shell's variables"
            )


def with_required_args(command: type, **defaults: Any) -> Any:
    """Return a command with `tyro.MISSING` for its required options, for use as a subcommand default."""
    instance = object.__new__(command)
    for field in dataclasses.fields(command):
        default = tyro.MISSING if field.default is dataclasses.MISSING else field.default
        vars(instance)[field.name] = defaults.get(field.name, default)
    return instance


def find_preset(words: Sequence[str]) -> str:
    """Return the last `--preset`; it is parsed before the other options because it sets their defaults."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?", default="default", const="")
    return parser.parse_known_args(words)[0].preset


def print_stderr(line: str) -> None:
    """Print a line for the user; standard output is for results that a program may read."""
    print(printable(line), file=sys.stderr)


@contextlib.contextmanager
def tyro_errors(words: Sequence[str] = ()) -> Iterator[None]:
    """Turn tyro's boxed error message into an `InputError` of one line, with the names here of other programs' options."""
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output):
            yield
    except SystemExit as stop:
        if stop.code:
            raise InputError("; ".join((*_translate(words), _condense(output.getvalue())))) from None
        sys.stderr.write(output.getvalue())
        raise


def _option_groups(info: tyro.constructors.StructTypeInfo) -> StructConstructorSpec | None:
    """Nest the options of a `TransferConfig` by `OPTION_GROUPS`, for each of which tyro prints a heading."""
    config = info.type
    if not (isinstance(config, type) and issubclass(config, TransferConfig)) or issubclass(config, SimpleNamespace):
        return None

    def group(heading: str, names: Sequence[str]) -> StructFieldSpec:
        # tyro takes the help from the docstrings of the base class.
        members = {name: config.__dataclass_fields__[name] for name in names}
        group_type = type(heading, (SimpleNamespace, config), {"__dataclass_fields__": members})
        default = group_type(**{name: getattr(info.default, name) for name in names})
        annotated: Any = Annotated[group_type, arg(name=heading, prefix_name=False, help="")]
        return StructFieldSpec(heading, annotated, default)

    return StructConstructorSpec(
        lambda **groups: config(**{name: value for group in groups.values() for name, value in vars(group).items()}),
        tuple(group(*item) for item in OPTION_GROUPS.items()),
    )


def _translate(words: Sequence[str]) -> list[str]:
    """Return a line for each option of another program."""
    options = [word.partition("=")[0] for word in words if word.startswith("-")]
    known = {option: OTHER_NAMES.get(option.lstrip("-").replace("_", "-").lower()) for option in options}
    return [f"{option} is {name} here" for option, name in known.items() if name]


def _comma_separated(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """Parse and print `A,B` for a tuple of names or numbers, and for one number or several."""
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


def _size(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """Parse and print a whole number or `content`."""
    if info.type != int | Literal["content"]:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT|content",
        instance_from_str=lambda words: words[0] if words[0] == "content" else int(words[0]),
        is_instance=lambda value: value == "content" or isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    )


def _condense(box: str) -> str:
    """Return the fault, suggestions and the pointer to the help from tyro's error box."""
    lines = [line.strip("│| ") for line in re.sub(r"\x1b\[[\d;]*m", "", box).splitlines()[1:-1]]
    parts = re.split(r"^[-─]{3,}$", "\n".join(lines), flags=re.MULTILINE)
    sections = [part.strip().split("\n") for part in parts if part.strip()]
    hints = [part[:2] for part in sections[1:-1] if part[0].startswith(("Perhaps", "Available"))]
    return "; ".join(" ".join(" ".join(part).split()) for part in (sections[0], *hints, sections[-1]))
