"""A run from its manifest alone: its inputs, found by name and known by their hashes; and two pictures compared."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stylejax.config import TransferConfig, with_files
from stylejax.config_validation import option
from stylejax.errors import InputError
from stylejax.images.io import FORMATS, MAX_BYTES, Pixels
from stylejax.models.download import weights_folder
from stylejax.models.pretrained import resolve
from stylejax.models.weights_file import parameters_hash
from stylejax.runs.manifest import Manifest, pixels_hash
from stylejax.runs.provenance import File, InputPaths, Recipe, file_of

LOSSY = ("JPEG", "WEBP")
"""Kinds whose pixels are not those that were written."""


class Inputs(NamedTuple):
    """The files of a run, and its config, in which all that is a file is a path."""

    content: Path
    styles: tuple[Path, ...]
    config: TransferConfig


class Difference(NamedTuple):
    """How far two pictures are apart, in levels of their bits: at most, on average, and the share of values that differ."""

    most: int
    mean: float
    share: float


def inputs_of(made_of: Recipe, picture: Path, given: InputPaths) -> Inputs:
    """Find the inputs of the run that made `picture`: those given, else beside the picture or in the current folder by name.

    Each is taken only if it has the hash that the recipe says. Raises `InputError` for one that is missing or another.
    """
    folders = (picture.absolute().parent, Path.cwd())
    known = {"style": made_of.styles, **made_of.files}
    paths = {"style": given.styles, **given.files}
    for name, named in paths.items():
        if named and len(named) != len(known[name]):
            what = name.replace("_", " ").removesuffix("s") + "s"
            raise InputError(f"{picture} was made from {len(known[name])} {what}; {option(name)} names {len(named)}")

    def find(name: str) -> tuple[Path, ...]:
        named = paths[name] or ("",) * len(known[name])
        return tuple(_find(option(name), *pair, folders) for pair in zip(known[name], named, strict=True))

    content, styles = _find("--content", made_of.content, given.content, folders), find("style")
    config = dataclasses.replace(made_of.config, weights=_weights(made_of, given.weights, folders))
    return Inputs(content, styles, with_files(config, {name: list(map(str, find(name))) for name in made_of.files}))


def is_lossless(picture: Path) -> bool:
    """Whether a file of this name keeps every pixel. Raises `InputError` for a name that no picture is written to."""
    if picture.suffix.lower() not in FORMATS:
        raise InputError(f"the name of {picture} should end in one of {' '.join(FORMATS)}, as it was written")
    return FORMATS[picture.suffix.lower()] not in LOSSY


def is_as_made(pixels: Pixels, manifest: Manifest, lossless: bool) -> bool:
    """Whether a picture as it was read can be the one that its manifest tells of: by its pixels, or else by its size."""
    size = (manifest.outcome.height, manifest.outcome.width)
    return pixels.shape[:2] == size and (not lossless or pixels_hash(pixels) == manifest.outcome.sha256)


def difference(a: Pixels, b: Pixels) -> Difference:
    """How far two pictures of one size are apart."""
    apart = np.abs(a.astype(np.int32) - b)
    return Difference(int(apart.max()), float(apart.mean()), float((apart > 0).mean()))


def _find(option: str, file: File, given: str, folders: Sequence[Path]) -> Path:
    what, remedy = f"the {option.lstrip('-')} {file.name!r}", f"give the right one with {option} FILE"
    if file.sha256 is None:
        if not given:
            raise InputError(f"{what} was read from no ordinary file; {remedy}")
        return Path(given)

    def is_it(path: Path) -> bool:
        return path.stat().st_size <= MAX_BYTES and file_of(path).sha256 == file.sha256

    return _first(is_it, what, remedy, file.name, given, folders)


def _first(
    is_it: Callable[[Path], bool], what: str, remedy: str, name: str, given: str, folders: Sequence[Path]
) -> Path:
    """The first file of that name that `is_it`; of one that is given, that one or none."""
    places = [Path(given)] if given else [folder / name for folder in folders]
    there = [path for path in places if path.is_file()]
    for path in there:
        if is_it(path):
            return path
    if there:
        raise InputError(f"{there[0]} is not {what} that the picture was made from: its hash is another; {remedy}")
    where = f"{given} does not exist" if given else f"{what} is neither beside the picture nor in the current folder"
    raise InputError(f"{where}; {remedy}")


def _weights(made_of: Recipe, given: str, folders: Sequence[Path]) -> str:
    """What `resolve` finds the numbers of the network by, which must have the hash of the manifest."""
    network, remedy = made_of.weights, "give the right ones with --weights FILE"

    def is_it(weights: str | Path) -> bool:
        return parameters_hash(resolve(str(weights), made_of.config.seed)[0]) == network.sha256

    if not given and network.file:
        what = f"the weights file {network.file!r}"
        return str(_first(is_it, what, remedy, network.file, "", (*folders, weights_folder().absolute())))
    weights = given or ("random" if made_of.config.weights == "random" else network.network)
    if not is_it(weights):
        raise InputError(
            f"the weights {weights} are not the {network.network} that the picture was made with ({network.source}); {remedy}"
        )
    return weights
