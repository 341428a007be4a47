"""Provenance of a run: its config, and its files and network by their hashes."""

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypedDict, cast

from msgspec import Meta

from stylejax.config import TransferConfig, files_of, with_files
from stylejax.errors import InputError
from stylejax.models.architecture import Parameters
from stylejax.models.download import DOWNLOADS
from stylejax.models.weights_file import parameters_hash
from stylejax.runs.environment import environment
from stylejax.runs.schema import FileName, Line, Sha256

NETWORKS = ("auto", "random", *DOWNLOADS)
"""Values of `weights` that are not the name of a file."""


@dataclass(frozen=True)
class File:
    """A file by its name, without its folder; without a hash if it could be read only once, as a pipe."""

    name: FileName
    sha256: Sha256 | None


@dataclass(frozen=True)
class Network:
    """The weights of a network by their hash, their origin, and the name of their file if one was given."""

    network: Literal["vgg19", "vgg16"]
    source: Line
    sha256: Sha256
    file: FileName | None


@dataclass(frozen=True)
class InputPaths:
    """Paths of a run's inputs; empty for an input that is to be found by its name. `files` are those of `Recipe.files`, and
    `weights` may be a name that is no file."""

    content: str
    styles: tuple[str, ...]
    files: dict[str, tuple[str, ...]]
    weights: str


Known: TypeAlias = Annotated[dict[Line, int | Line], Meta(max_length=100)]


class Environment(TypedDict):
    """As `stylejax.runs.environment.environment` tells it."""

    versions: Known
    device: Known
    machine: Known
    xla_flags: Line
    precision: Line


@dataclass(frozen=True)
class Recipe:
    """Provenance of a run. `files` are the images that the config names, by its fields; there, and in `weights`, the names of
    files alone are left. Raises `InputError` unless a name of a file and its entry are there together."""

    config: TransferConfig
    content: File
    styles: tuple[File, ...]
    files: dict[str, tuple[File, ...]]
    weights: Network
    environment: Environment

    def __post_init__(self) -> None:
        named = files_of(self.config)
        for name in self.files:
            if name not in named:
                raise InputError(f"recipe.files has {name[:60]!r}, which this version of stylejax does not know")
        for name, paths in named.items():
            if name not in self.files:
                raise InputError(f"recipe.files.{name} is missing")
            if len(paths) > len(self.files[name]):
                value = getattr(self.config, name)
                raise InputError(
                    f"recipe.config.{name} is {value!r}, and recipe.files does not say which files that is"
                )
        weights = self.config.weights
        if self.weights.file is None and weights not in NETWORKS:
            raise InputError(
                f"recipe.config.weights is {weights!r}, and recipe.weights does not say which file that is"
            )


def recipe(content: Path, styles: Sequence[Path], config: TransferConfig, parameters: Parameters) -> Recipe:
    """Return the provenance of a run of these files on this machine."""
    return recipe_with(content, styles, config, network_of(config.weights, parameters))


def recipe_with(content: Path, styles: Sequence[Path], config: TransferConfig, network: Network) -> Recipe:
    """`recipe` with a network that was hashed before."""
    files = {name: tuple(file_of(Path(path)) for path in paths) for name, paths in files_of(config).items()}
    named = with_files(config, {name: [file.name for file in known] for name, known in files.items()})
    named = dataclasses.replace(named, weights=network.file or config.weights)
    return Recipe(
        named,
        file_of(content),
        tuple(file_of(path) for path in styles),
        files,
        network,
        cast(Environment, environment()),
    )


def network_of(weights: str, parameters: Parameters) -> Network:
    """The numbers that `weights` was resolved to, by their hash."""
    source = re.sub(r"\S*[/\\]", "", parameters.source)
    file = None if weights in NETWORKS else plain_name(Path(weights))
    return Network(cast(Any, parameters.network), source, parameters_hash(parameters), file)


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
