"""Rows of a sweep from a TOML file and the command line, all validated before the first one runs.

A table assigns a value or a list of values to each setting and stands for the product of the lists. The settings are the fields
of `TransferConfig`, `preset`, `content` and `style`. A TOML file is one table or several `[[row]]` tables, which share the
settings above them. Options of the command line override the file.
"""

import contextlib
import itertools
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from stylejax.config import TransferConfig, input_files
from stylejax.config_validation import to_type
from stylejax.errors import InputError, brief, did_you_mean
from stylejax.files import kind_of, require_file
from stylejax.images.color import is_gray, stays_gray
from stylejax.images.folder import list_images
from stylejax.images.io import read_image_with_alpha
from stylejax.images.resize import Alpha
from stylejax.models.architecture import VGGWeights
from stylejax.models.pretrained import load_pretrained
from stylejax.presets import preset
from stylejax.runs import schema
from stylejax.sweeps.names import row_names
from stylejax.synthesis.factories import require_published_weights
from stylejax.synthesis.regions import read_mask, read_masks
from stylejax.synthesis.validation import Plan, make_plan

TYPES = {field.name: field.type for field in fields(TransferConfig)}
FILES = ("content", "style")
SETTINGS = (*FILES, "preset", *TYPES)

PATHS = ("weights", *input_files(TransferConfig()))
"""Settings that may name files."""

MAX_ROWS = 100_000
"""Maximum number of rows; a larger product is most likely a mistake."""


class Row(NamedTuple):
    """One run of a sweep; `number` counts from 1, and `name` is that of its image file without the suffix."""

    number: int
    name: str
    content: Path
    styles: tuple[Path, ...]
    plan: Plan

    @property
    def config(self) -> TransferConfig:
        return self.plan.config

    @property
    def network(self) -> tuple[str, int]:
        """Arguments of `load_pretrained` for the network of the row."""
        return _network_key(self.config)


class InvalidRow(NamedTuple):
    """A row that cannot run, and the reason."""

    number: int
    reason: str


class SweepSpec(NamedTuple):
    """Valid and invalid rows of a sweep, and the networks of the valid ones, each with a description."""

    rows: list[Row]
    invalid: list[InvalidRow]
    networks: dict[tuple[str, int], tuple[VGGWeights, str]]

    def error_message(self) -> str:
        """Return one line that names all invalid rows, by reason."""
        numbers: dict[str, list[str]] = {}
        for row in self.invalid:
            numbers.setdefault(row.reason, []).append(str(row.number))
        reasons = [f"Row{'s' * (len(n) > 1)} {', '.join(n)}: {reason}." for reason, n in numbers.items()]
        return f"{len(self.invalid)} of {len(self.rows) + len(self.invalid)} rows cannot be run. {' '.join(reasons)}"


def load_sweep(file: Path | None, options: Mapping[str, Sequence[str]]) -> SweepSpec:
    """Return the rows of a TOML file, of `options` (setting to values, as text), or of both.

    Paths in a file are relative to its folder. Raises `InputError` for a file that is not a grid; invalid rows are listed in
    the result.
    """
    overrides = {name: _values(name, list(values), Path()) for name, values in options.items()}
    folder = file.parent if file else Path()
    settings: list[dict[str, Any]] = []
    for table in _tables(file) if file else [{}]:
        lists = {name: _values(name, value, folder) for name, value in table.items()}
        settings += _product(lists | overrides, MAX_ROWS - len(settings))
    return _check_rows(settings)


def _check_rows(settings: Sequence[Mapping[str, Any]]) -> SweepSpec:
    """Check every row, and read each image, mask and network once."""
    look, network, mask = _memoize(_look), _memoize(load_pretrained), _memoize(read_mask)
    spec = SweepSpec([], [], {})
    names = row_names(settings)
    for number, values in enumerate(settings, 1):
        try:
            config, content, styles = _parse_settings(values)
            for path in input_files(config)["init"]:
                look(Path(path))
            shapes, alpha, gray = zip(*map(look, (content, *styles)), strict=True)
            parameters, explanation = network(*_network_key(config))
            require_published_weights(config, parameters.normalized)
            plan = make_plan(
                config,
                parameters.network,
                shapes[0],
                shapes[1:],
                read_masks(config, alpha, mask),
                stays_gray(config.color, gray[0], gray[1:]),
            )
            if plan.partition != (0, 1):
                raise InputError("--tile and --shard must be off in a sweep; leave them out, or run stylejax transfer")
        except InputError as error:
            spec.invalid.append(InvalidRow(number, str(error)))
            continue
        spec.rows.append(Row(number, names[number - 1], content, styles, plan))
        spec.networks[_network_key(config)] = parameters, explanation
    return spec


def _look(path: Path) -> tuple[tuple[int, ...], Alpha | None, bool]:
    """Return shape and alpha of an image, and whether it is gray."""
    image, alpha = read_image_with_alpha(path)
    return image.shape, alpha, is_gray(image)


def _network_key(config: TransferConfig) -> tuple[str, int]:
    return config.weights, config.seed if config.weights == "random" else 0


def _tables(file: Path) -> list[dict[str, Any]]:
    """Return one table per `[[row]]`, with the common settings; a file without rows is one table."""
    require_file(file, "give a TOML file with settings")
    try:
        common = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}; give a TOML file with settings") from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{file} is not TOML ({brief(error)}); write name = value or name = [value, …] in it"
        ) from None
    rows = common.pop("row", [{}])
    if not (isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)):
        raise InputError(f"{file}: a row must be a table, with [[row]] above it")
    return [common | row for row in rows]


def _values(name: str, value: Any, folder: Path) -> list[Any]:
    """Return the listed values of a setting; a folder in `content` or `style` stands for its images."""
    if name not in SETTINGS:
        raise InputError(f"unknown setting {name!r}{did_you_mean(name, SETTINGS)}; see stylejax sweep --help")
    values = value if isinstance(value, list) else [value]
    if not values:
        raise InputError(f"{name} must list one or more values, got none")
    if name in FILES:
        return [paths for v in values for paths in _image_sets(name, v, folder)]
    if name == "scales":
        values = [v.replace("+", ",") if isinstance(v, str) else v for v in values]
    values = [_parse_value(TYPES.get(name), v) for v in values]
    return [_resolve_path(folder, v) for v in values] if name in PATHS else values


def _parse_value(kind: Any, value: Any) -> Any:
    """Return a text as a value of type `kind`, or unchanged for `_check_rows` to report."""
    if not isinstance(value, str):
        return value
    if kind is bool:
        return {"true": True, "false": False}.get(value, value)
    if kind == tuple[str, ...]:
        return value.split("+")
    with contextlib.suppress(ValueError):
        if kind in (int, float):
            return kind(value)
        if kind == TYPES["size"]:
            return int(value)
        if kind in (tuple[float, ...], float | tuple[float, ...]):
            numbers = [float(number) for number in value.split("+")]
            return numbers if kind == tuple[float, ...] or len(numbers) > 1 else numbers[0]
    return value


def _resolve_path(folder: Path, value: Any) -> Any:
    """Return the path of each file that exists in `folder`, and any other value unchanged."""
    if isinstance(value, list):
        return [_resolve_path(folder, v) for v in value]
    return str(folder / value) if isinstance(value, str) and kind_of(folder / value) == "file" else value


def _image_sets(name: str, value: Any, folder: Path) -> list[tuple[Path, ...]]:
    """Return one set of images for a file or a list of files, and one set per image for a folder."""
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(n, str) and n for n in names):
        raise InputError(f"{name} must be the name of an image or of a folder, got {value!r}")
    path = folder / names[0]
    if len(names) == 1 and kind_of(path) == "folder":
        images = list_images(path)
        if not images:
            raise InputError(f"{name} must be an image or a folder with images, got the folder {path} without images")
        return [(image,) for image in images]
    if len(names) == 1 and name == "style" and "+" in names[0] and kind_of(path) == "nothing":
        names = names[0].split("+")
    return [tuple(folder / n for n in names)]


def _product(lists: Mapping[str, list[Any]], limit: int) -> list[dict[str, Any]]:
    """Return all combinations of the values; those of the last setting change fastest."""
    if (count := math.prod(map(len, lists.values()))) > limit:
        total = MAX_ROWS - limit + count
        raise InputError(f"a sweep must have at most {MAX_ROWS:,} rows, got {total:,} or more; list fewer values")
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def _parse_settings(values: Mapping[str, Any]) -> tuple[TransferConfig, Path, tuple[Path, ...]]:
    """Return config, content and styles of a row."""
    settings = {name: value for name, value in values.items() if name in TYPES}
    for field in fields(TransferConfig):
        if field.name in settings:
            settings[field.name] = to_type(field, settings[field.name])
    defaults = schema.plain(preset(str(values.get("preset", "default"))))
    config = schema.convert(defaults | settings, TransferConfig)
    content = values.get("content", ())
    if len(content) != 1:
        raise InputError("content must be one image; name it with --content or as content = in the file")
    return config, content[0], values.get("style", ())


def _memoize(function: Callable[..., Any]) -> Callable[..., Any]:
    """Memoize a function, including the `InputError`s that it raises."""
    results: dict[tuple, Any] = {}

    def call(*args: Any) -> Any:
        if args not in results:
            try:
                results[args] = function(*args)
            except InputError as error:
                results[args] = error
        if isinstance(results[args], InputError):
            raise results[args]
        return results[args]

    return call
