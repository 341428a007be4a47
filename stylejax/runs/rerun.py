"""Repeat a run from its manifest: find its inputs by name and hash, and compare images."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stylejax.config import TransferConfig, replace_files
from stylejax.config_validation import flag_name
from stylejax.errors import InputError
from stylejax.files import kind_of
from stylejax.images.io import FORMATS, MAX_BYTES, Pixels
from stylejax.models.download import weights_folder
from stylejax.models.pretrained import load_pretrained
from stylejax.models.weights_file import weights_hash
from stylejax.runs.manifest import Manifest, pixels_hash
from stylejax.runs.provenance import FileRef, InputPaths, Provenance, file_ref

LOSSY = ("JPEG", "WEBP")
"""Formats that do not preserve every pixel."""


class Inputs(NamedTuple):
    """Input files of a run, and its config with paths in place of file names."""

    content: Path
    styles: tuple[Path, ...]
    config: TransferConfig


class Difference(NamedTuple):
    """Maximum and mean difference of two images, in levels, and the share of values that differ."""

    most: int
    mean: float
    share: float


def find_inputs(provenance: Provenance, picture: Path, overrides: InputPaths) -> Inputs:
    """Find the inputs of the run that made `picture`.

    They are the files in `overrides`, else those of the recorded names beside the image or in the current folder. Raises
    `InputError` for a file that is missing or has another hash than recorded.
    """
    content, styles = find_images(provenance, picture, overrides)
    weights = _find_weights(provenance, overrides.weights, _folders(picture))
    files = {
        name: list(map(str, _find_files(name, refs, overrides.files[name], picture)))
        for name, refs in provenance.files.items()
    }
    return Inputs(content, styles, replace_files(dataclasses.replace(provenance.config, weights=weights), files))


def find_images(provenance: Provenance, picture: Path, overrides: InputPaths) -> tuple[Path, tuple[Path, ...]]:
    """Find only the content and the styles of the run that made `picture`, as `find_inputs`."""
    content = _find_file("--content", provenance.content, overrides.content, _folders(picture))
    return content, _find_files("style", provenance.styles, overrides.styles, picture)


def is_lossless(picture: Path) -> bool:
    """Return whether an image format preserves every pixel; raise `InputError` for an unknown suffix."""
    if picture.suffix.lower() not in FORMATS:
        raise InputError(f"the name of {picture} should end in one of {' '.join(FORMATS)}, as it was written")
    return FORMATS[picture.suffix.lower()] not in LOSSY


def matches_manifest(pixels: Pixels, manifest: Manifest, lossless: bool) -> bool:
    """Return whether pixels have the recorded size and, in a lossless format, the recorded hash."""
    size = (manifest.outcome.height, manifest.outcome.width)
    return pixels.shape[:2] == size and (not lossless or pixels_hash(pixels) == manifest.outcome.sha256)


def difference(a: Pixels, b: Pixels) -> Difference:
    """Return the difference of two images of equal size."""
    levels = np.abs(a.astype(np.int32) - b)
    return Difference(int(levels.max()), float(levels.mean()), float((levels > 0).mean()))


def _folders(picture: Path) -> tuple[Path, Path]:
    return picture.absolute().parent, Path.cwd()


def _find_files(name: str, refs: Sequence[FileRef], named: Sequence[str], picture: Path) -> tuple[Path, ...]:
    if named and len(named) != len(refs):
        kind = name.replace("_", " ").removesuffix("s") + "s"
        raise InputError(f"{picture} was made from {len(refs)} {kind}; {flag_name(name)} names {len(named)}")
    pairs = zip(refs, named or [""] * len(refs), strict=True)
    return tuple(_find_file(flag_name(name), *pair, _folders(picture)) for pair in pairs)


def _find_file(option: str, ref: FileRef, override: str, folders: Sequence[Path]) -> Path:
    description, remedy = f"the {option.lstrip('-')} {ref.name!r}", f"give the right one with {option} FILE"
    if ref.sha256 is None:
        if not override:
            raise InputError(f"{description} was not read from a regular file; {remedy}")
        return Path(override)

    def matches(path: Path) -> bool:
        return path.stat().st_size <= MAX_BYTES and file_ref(path).sha256 == ref.sha256

    candidates = [Path(override)] if override else [folder / ref.name for folder in folders]
    return _first_match(matches, candidates, description, remedy)


def _find_weights(provenance: Provenance, override: str, folders: Sequence[Path]) -> str:
    """Return the value of `weights` that `load_pretrained` resolves to the recorded parameters."""
    network, remedy = provenance.weights, "give the right ones with --weights FILE"

    def matches(weights: str | Path) -> bool:
        return weights_hash(load_pretrained(str(weights), provenance.config.seed)[0]) == network.sha256

    if not override and network.file:
        candidates = [folder / network.file for folder in (*folders, weights_folder().absolute())]
        return str(_first_match(matches, candidates, f"the weights file {network.file!r}", remedy))
    weights = override or ("random" if provenance.config.weights == "random" else network.network)
    if not matches(weights):
        raise InputError(
            f"the weights {weights} are not the {network.network} that the image was made with ({network.source}); {remedy}"
        )
    return weights


def _first_match(matches: Callable[[Path], bool], candidates: Sequence[Path], description: str, remedy: str) -> Path:
    """Return the first candidate that exists and matches; raise `InputError` if there is none."""
    existing = [path for path in candidates if kind_of(path) == "file"]
    for path in existing:
        if matches(path):
            return path
    if existing:
        raise InputError(f"{existing[0]} is not {description} that the image was made from: its hash differs; {remedy}")
    if len(candidates) == 1:
        raise InputError(f"{candidates[0]} does not exist; {remedy}")
    raise InputError(f"{description} is neither beside the image nor in the current folder; {remedy}")
