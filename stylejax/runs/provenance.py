"""What a run is made of: its config, and its files and its network by their hashes."""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stylejax.config import TransferConfig, files_of, with_files
from stylejax.errors import InputError
from stylejax.models.architecture import Parameters
from stylejax.models.download import DOWNLOADS
from stylejax.models.weights_file import parameters_hash
from stylejax.runs import schema
from stylejax.runs.environment import environment

NETWORKS = ("auto", "random", *DOWNLOADS)
"""What `weights` may be but the name of a file."""


class File(NamedTuple):
    """A file by its name, without its folder; without a hash if it could be read only once, as a pipe."""

    name: str
    sha256: str | None


class Network(NamedTuple):
    """The numbers of a network by their hash, where they came from, and the name of their file if one was given."""

    network: str
    source: str
    sha256: str
    file: str | None


class InputPaths(NamedTuple):
    """Paths of a run's inputs; empty for an input that is to be found by its name. `files` are those of `Recipe.files`, and
    `weights` may be a name that is no file."""

    content: str
    styles: tuple[str, ...]
    files: dict[str, tuple[str, ...]]
    weights: str


class Recipe(NamedTuple):
    """What a run is made of. `files` are the pictures that the config names, by its fields; there, and in `weights`, the names
    of files alone are left."""

    config: TransferConfig
    content: File
    styles: tuple[File, ...]
    files: dict[str, tuple[File, ...]]
    weights: Network
    environment: dict[str, Any]


def recipe(content: Path, styles: Sequence[Path], config: TransferConfig, parameters: Parameters) -> Recipe:
    """What the run of these files is made of, on this machine."""
    return recipe_with(content, styles, config, network_of(config.weights, parameters))


def recipe_with(content: Path, styles: Sequence[Path], config: TransferConfig, network: Network) -> Recipe:
    """`recipe` with a network that was hashed before."""
    files = {name: tuple(file_of(Path(path)) for path in paths) for name, paths in files_of(config).items()}
    named = with_files(config, {name: [file.name for file in known] for name, known in files.items()})
    named = dataclasses.replace(named, weights=network.file or config.weights)
    return Recipe(named, file_of(content), tuple(file_of(path) for path in styles), files, network, environment())


def network_of(weights: str, parameters: Parameters) -> Network:
    """The numbers that `weights` was resolved to, by their hash."""
    source = re.sub(r"\S*[/\\]", "", parameters.source)
    file = None if weights in NETWORKS else plain_name(Path(weights))
    return Network(parameters.network, source, parameters_hash(parameters), file)


def file_of(path: Path) -> File:
    """Name and hash of a file. A pipe is not read again, for nothing would come."""
    if not path.is_file():
        return File(plain_name(path), None)
    with path.open("rb") as file:
        return File(plain_name(path), hashlib.file_digest(file, "sha256").hexdigest())


def plain_name(path: Path) -> str:
    """The last part of a path, without what other systems take for a folder or a drive."""
    name = re.sub(r"^([A-Za-z]):", r"\1_", path.name.replace("\\", "_"))
    return "_" if name in ("", ".", "..") else name


def _recipe(**fields: Any) -> Recipe:
    """A name of a file and its entry are there together, or neither is."""
    made_of = Recipe(**fields)
    config, weights = made_of.config, made_of.weights
    for name, paths in files_of(config).items():
        if len(paths) > len(made_of.files[name]):
            value = getattr(config, name)
            raise InputError(f"recipe.config.{name} is {value!r}, and recipe.files does not say which files that is")
    if weights.file is None and config.weights not in NETWORKS:
        raise InputError(
            f"recipe.config.weights is {config.weights!r}, and recipe.weights does not say which file that is"
        )
    return made_of


def _name(value: Any, where: str) -> str:
    name = schema.text(255)(value, where)
    if not name or name in (".", "..") or "\0" in name or plain_name(Path(name)) != name:
        raise InputError(f"{where} is {name[:60]!r}; it should be the name of a file, without a folder")
    return name


sha256_check = schema.matching("[0-9a-f]{64}", "a SHA-256 in hexadecimal")


@functools.cache
def recipe_check() -> schema.Check:
    """What a recipe must look like as JSON."""
    file = schema.record(File, name=_name, sha256=schema.optional(sha256_check))
    known = schema.table(schema.either(schema.whole(), schema.line))
    surroundings = schema.record(
        dict, versions=known, device=known, machine=known, xla_flags=schema.line, precision=schema.line
    )
    return schema.record(
        _recipe,
        config=schema.dataclass_of(TransferConfig),
        content=file,
        styles=schema.many(file, 10_000),
        files=schema.record(dict, **{name: schema.many(file) for name in files_of(TransferConfig())}),
        weights=schema.record(
            Network,
            network=schema.one_of(*DOWNLOADS),
            source=schema.line,
            sha256=sha256_check,
            file=schema.optional(_name),
        ),
        environment=surroundings,
    )
