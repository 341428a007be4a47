"""The rows of a sweep: the product of what is listed, in a small TOML file and on the command line, each checked before any
of them starts.

A table gives each setting one value or a list of them, and stands for the product of the lists. The settings are the fields of
`TransferConfig`, `preset`, `content` and `style`. A TOML file is one table, or, where it has `[[row]]`s, one for each, to which
the settings above them are common. What is given on the command line takes the place of what the file says.
"""

import contextlib
import itertools
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from stylejax.config import TransferConfig, files_of
from stylejax.config_validation import check_kind
from stylejax.errors import InputError, did_you_mean
from stylejax.images.io import FORMATS, read_image
from stylejax.models.architecture import Parameters
from stylejax.models.pretrained import resolve
from stylejax.presets import preset
from stylejax.runs import schema
from stylejax.synthesis.factories import check_scale
from stylejax.synthesis.regions import read_mask, read_masks
from stylejax.synthesis.validation import Plan, make_plan

TYPES = {field.name: field.type for field in fields(TransferConfig)}
FILES = ("content", "style")
SETTINGS = (*FILES, "preset", *TYPES)

PATHS = ("weights", *files_of(TransferConfig()))
"""Settings that name files."""

LARGEST = 100_000
"""More rows than anybody runs; a product grows without being seen."""


class Row(NamedTuple):
    """One run: its number, from 1, its files, and its plan."""

    number: int
    content: Path
    styles: tuple[Path, ...]
    plan: Plan

    @property
    def config(self) -> TransferConfig:
        """The config of the plan."""
        return self.plan.config

    @property
    def network(self) -> tuple[str, int]:
        """The arguments of `resolve` for its network."""
        return network_of(self.config)


def network_of(config: TransferConfig) -> tuple[str, int]:
    """Return the arguments of `resolve` for the network of a config."""
    return config.weights, config.seed if config.weights == "random" else 0


class Bad(NamedTuple):
    """A row that cannot be run, and why."""

    number: int
    reason: str


class Grid(NamedTuple):
    """The rows that can be run and those that cannot, and the networks of the former, each with a line on what it is."""

    rows: list[Row]
    bad: list[Bad]
    networks: dict[tuple[str, int], tuple[Parameters, str]]

    def refusal(self) -> str:
        """One line that names every row that cannot be run."""
        reasons: dict[str, list[str]] = {}
        for bad in self.bad:
            reasons.setdefault(bad.reason, []).append(str(bad.number))
        named = [f"Row{'s' * (len(n) > 1)} {', '.join(n)}: {reason}." for reason, n in reasons.items()]
        return f"{len(self.bad)} of {len(self.rows) + len(self.bad)} rows cannot be run. {' '.join(named)}"


def read_grid(file: Path | None, options: Mapping[str, Sequence[str]]) -> Grid:
    """The grid of a TOML file, of `options`, the values of each setting as they are typed, or of both. Files that a TOML file
    names are looked for from its folder.

    Raises `InputError` for a file that is no grid; what is wrong with single rows is told in the `Grid`.
    """
    typed = {name: _values(name, list(values), Path()) for name, values in options.items()}
    settings: list[dict[str, Any]] = []
    for table in _tables(file) if file else [{}]:
        lists = {name: _values(name, value, file.parent) for name, value in table.items()} if file else {}
        settings += _product(lists | typed, LARGEST - len(settings))
    return _checked(settings)


def _checked(settings: Sequence[Mapping[str, Any]]) -> Grid:
    """Check every row; each image, mask and network is read once."""
    shape, network, mask = _once(lambda path: read_image(path).shape), _once(resolve), _once(read_mask)
    grid = Grid([], [], {})
    for number, values in enumerate(settings, 1):
        try:
            config, content, styles = _settings(values)
            for path in files_of(config)["init"]:
                shape(Path(path))
            shapes = shape(content), [shape(path) for path in styles]
            parameters, explanation = network(*network_of(config))
            check_scale(config, parameters.normalized)
            plan = make_plan(config, parameters.network, *shapes, read_masks(config, mask))
            _check_whole(plan)
        except InputError as error:
            grid.bad.append(Bad(number, str(error)))
            continue
        grid.rows.append(Row(number, content, styles, plan))
        grid.networks[network_of(config)] = parameters, explanation
    return grid


def _check_whole(plan: Plan) -> None:
    """Raise `InputError` for a row that is not evaluated whole, as a batch is."""
    if plan.partition != (0, 1):
        raise InputError("--tile and --shard are for single pictures; leave them off, or run stylejax transfer")


def _tables(file: Path) -> list[dict[str, Any]]:
    """One table, or one for each `[[row]]` with the settings that are common to all."""
    try:
        common = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}; give a TOML file with settings") from None
    except ValueError as error:
        raise InputError(f"{file} is not TOML ({error}); write name = value or name = [value, …] in it") from None
    rows = common.pop("row", [{}])
    if not (isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)):
        raise InputError(f"{file}: a row should be a table, with [[row]] above it")
    return [common | row for row in rows]


def _values(name: str, value: Any, folder: Path) -> list[Any]:
    """The values that are listed for a setting, as JSON has them. A folder stands for the pictures in it."""
    if name not in SETTINGS:
        raise InputError(f"unknown setting {name!r}{did_you_mean(name, SETTINGS)}; see stylejax sweep --help")
    listed = value if isinstance(value, list) else [value]
    if not listed:
        raise InputError(f"{name} lists no value; give one or more")
    if name in FILES:
        return [path for one in listed for path in _paths(name, one, folder)]
    if name == "scales":
        listed = [one.replace("+", ",") if isinstance(one, str) else one for one in listed]
    values = [_value(TYPES.get(name), one) for one in listed]
    return [_from(folder, value) for value in values] if name in PATHS else values


def _value(kind: Any, value: Any) -> Any:
    """A text as a value of that kind, where it is one; else what it is, which the check of the row will tell."""
    if not isinstance(value, str):
        return value
    if kind is bool:
        return {"true": True, "false": False}.get(value, value)
    if kind == tuple[str, ...]:
        return value.split("+")
    with contextlib.suppress(ValueError):
        if kind in (int, float):
            return kind(value)
        if kind in (tuple[float, ...], float | tuple[float, ...]):
            numbers = [float(one) for one in value.split("+")]
            return numbers if kind == tuple[float, ...] or len(numbers) > 1 else numbers[0]
    return value


def _from(folder: Path, value: Any) -> Any:
    """Names of files as seen from a folder, if they are there."""
    if isinstance(value, list):
        return [_from(folder, one) for one in value]
    return str(folder / value) if isinstance(value, str) and (folder / value).is_file() else value


def _paths(name: str, value: Any, folder: Path) -> list[tuple[Path, ...]]:
    """Sets of pictures: one picture, several for styles at once, or as many sets of one as there are pictures in a folder."""
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(one, str) for one in names):
        raise InputError(f"{name} is {value!r}; it should be the name of a picture or of a folder")
    path = folder / names[0]
    if len(names) > 1 or not path.is_dir():
        several = len(names) == 1 and name == "style" and not path.exists()
        return [tuple(folder / one for one in (names[0].split("+") if several else names))]
    found = sorted(one for one in path.iterdir() if one.suffix.lower() in FORMATS)
    if not found:
        raise InputError(f"{name}: there is no picture in the folder {path}; name a folder with some")
    return [(one,) for one in found]


def _product(lists: Mapping[str, list[Any]], most: int) -> list[dict[str, Any]]:
    """Every combination of the values; those of the last setting change first."""
    if (count := math.prod(map(len, lists.values()))) > most:
        raise InputError(f"a sweep of more than {LARGEST:,} rows, with {count:,} in one product; list fewer values")
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def _settings(values: Mapping[str, Any]) -> tuple[TransferConfig, Path, tuple[Path, ...]]:
    """Return config, content and styles. Raises `InputError` for settings that no run can have."""
    settings = {name: value for name, value in values.items() if name in TYPES}
    for field in fields(TransferConfig):
        if field.name in settings:
            check_kind(field, settings[field.name])
    defaults = schema.plain(preset(str(values.get("preset", "default"))))
    config = schema.convert(defaults | settings, TransferConfig)
    content = values.get("content", ())
    if len(content) != 1:
        raise InputError("content should be one picture; name it with --content or as content = in the file")
    return config, content[0], values.get("style", ())


def _once(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, called once with the same arguments; what it refuses, it refuses again without looking."""
    known: dict[tuple, tuple[Any, InputError | None]] = {}

    def call(*args: Any) -> Any:
        if args not in known:
            try:
                known[args] = function(*args), None
            except InputError as error:
                known[args] = None, error
        value, error = known[args]
        if error:
            raise error
        return value

    return call
