"""Provenance of a run: its config, and its input files and network by their hashes."""

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypedDict, cast

from msgspec import Meta

from stylejax.config import TransferConfig, input_files, replace_files
from stylejax.errors import InputError
from stylejax.files import kind_of
from stylejax.models.architecture import VGGWeights
from stylejax.models.download import DEFAULT_FILES
from stylejax.models.weights_file import weights_hash
from stylejax.runs.environment import environment
from stylejax.runs.schema import FileName, Line, Sha256

NETWORKS = ("auto", "random", *DEFAULT_FILES)
"""Values of `weights` that are not file names."""


@dataclass(frozen=True)
class FileRef:
    """Name of a file, without its folder, and its hash; None for a pipe, which can be read only once."""

    name: FileName
    sha256: Sha256 | None


@dataclass(frozen=True)
class WeightsRef:
    """Weights of a network: their hash and origin, and the name of their file if `weights` named one."""

    network: Literal["vgg19", "vgg16"]
    source: Line
    sha256: Sha256
    file: FileName | None


@dataclass(frozen=True)
class InputPaths:
    """Paths of the inputs of a run, with the keys of `Provenance.files`.

    An empty path means to search for the recorded name. `weights` may be one of `NETWORKS`.
    """

    content: str
    styles: tuple[str, ...]
    files: dict[str, tuple[str, ...]]
    weights: str


Facts: TypeAlias = Annotated[dict[Line, int | Line], Meta(max_length=100)]


class Environment(TypedDict):
    """Result of `environment.environment`."""

    versions: Facts
    device: Facts
    machine: Facts
    xla_flags: Line
    precision: Line


@dataclass(frozen=True)
class Provenance:
    """Provenance of a run.

    `files` are the image files that the config names, by field. Both they and the config contain file names without folders.
    Raises `InputError` unless the config and the file references agree.
    """

    config: TransferConfig
    content: FileRef
    styles: tuple[FileRef, ...]
    files: dict[str, tuple[FileRef, ...]]
    weights: WeightsRef
    environment: Environment

    def __post_init__(self) -> None:
        named = input_files(self.config)
        for name in self.files:
            if name not in named:
                raise InputError(f"provenance.files has {name[:60]!r}, which this version of stylejax does not know")
        for name, paths in named.items():
            if name not in self.files:
                raise InputError(f"provenance.files.{name} is missing")
            if len(paths) > len(self.files[name]):
                value = getattr(self.config, name)
                raise InputError(f"provenance.config.{name} is {value!r}, and provenance.files does not list it")
        weights = self.config.weights
        if self.weights.file is None and weights not in NETWORKS:
            raise InputError(f"provenance.config.weights is {weights!r}, and provenance.weights.file is null")


def make_provenance(content: Path, styles: Sequence[Path], config: TransferConfig, network: VGGWeights) -> Provenance:
    """Return the provenance of a run on this machine, with these files and this network."""
    return provenance_with(content, styles, config, weights_ref(config.weights, network))


def provenance_with(content: Path, styles: Sequence[Path], config: TransferConfig, network: WeightsRef) -> Provenance:
    """Return the provenance of a run whose network is already hashed."""
    files = {name: tuple(file_ref(Path(path)) for path in paths) for name, paths in input_files(config).items()}
    named = replace_files(config, {name: [ref.name for ref in refs] for name, refs in files.items()})
    named = dataclasses.replace(named, weights=network.file or config.weights)
    style_refs = tuple(file_ref(path) for path in styles)
    return Provenance(named, file_ref(content), style_refs, files, network, cast(Environment, environment()))


def weights_ref(weights: str, parameters: VGGWeights) -> WeightsRef:
    """Return the reference to the parameters that the option `weights` resolved to."""
    source = re.sub(r"\S*[/\\]", "", parameters.source)
    file = None if weights in NETWORKS else public_name(Path(weights))
    return WeightsRef(cast(Any, parameters.network), source, weights_hash(parameters), file)


def config_paths(config: TransferConfig) -> list[Path]:
    """Return the files that a config names."""
    return [Path(path) for paths in input_files(config).values() for path in paths] + weights_paths(config.weights)


def weights_paths(weights: str) -> list[Path]:
    """Return the weights file in a list, which is empty for the name of a network."""
    return [] if weights in NETWORKS else [Path(weights)]


def file_ref(path: Path) -> FileRef:
    """Return name and hash of a file; a pipe is not read, since its data would be lost."""
    if kind_of(path) != "file":
        return FileRef(public_name(path), None)
    with path.open("rb") as file:
        return FileRef(public_name(path), hashlib.file_digest(file, "sha256").hexdigest())


def public_name(path: Path) -> str:
    """Return the last part of a path, without characters that other systems read as a folder or a drive."""
    name = re.sub(r"^([A-Za-z]):", r"\1_", path.name.replace("\\", "_"))
    return "_" if name in ("", ".", "..") else name
