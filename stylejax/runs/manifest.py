"""What was run, with what, and its proof: a record that lies in every picture, and beside it as JSON.

It says what is needed to make the picture again, and how to know that it is the same. It holds names of files and their
hashes, but no folder of the user's machine. A picture comes from anywhere, so what is read from one is checked field by field.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypedDict

from msgspec import Meta

from stylejax.errors import InputError
from stylejax.files import write_atomically
from stylejax.images.io import Pixels, levels
from stylejax.images.metadata import LARGEST, read_text
from stylejax.runs import schema
from stylejax.runs.provenance import Recipe
from stylejax.runs.schema import ByLayer, Count, Sha256
from stylejax.synthesis.transfer import Result

FORMAT = "stylejax-manifest 1"


class LossesByLayer(TypedDict):
    """Losses before their weights; None if not finite."""

    content: ByLayer
    style: ByLayer
    tv: float | None


@dataclass(frozen=True)
class Outcome:
    """What came out: losses by layer before their weights, what it took, and SHA-256 of the pixels, rows of RGB in 8 bits, or
    in 16 of which the lower come first."""

    loss: float | None
    losses: LossesByLayer
    steps: Count
    evaluations: Count
    stopped: bool
    seconds: float | None
    width: Annotated[int, Meta(ge=1, le=10**9)]
    height: Annotated[int, Meta(ge=1, le=10**9)]
    sha256: Sha256


@dataclass(frozen=True)
class Manifest:
    """What was run, and its proof."""

    recipe: Recipe
    outcome: Outcome


def outcome(result: Result, seconds: float, bits: int = 8) -> Outcome:
    """What the run gave, in a file of so many bits."""
    h, w = result.image.shape[:2]
    losses = schema.plain(result.terms)
    counts = (result.steps, result.evaluations, result.stopped, round(seconds, 3))
    return Outcome(schema.plain(result.loss), losses, *counts, w, h, pixels_hash(levels(result.image, bits)))


def pixels_hash(pixels: Pixels) -> str:
    """SHA-256 of the pixels, row by row."""
    little = pixels.astype(pixels.dtype.newbyteorder("<"))
    return hashlib.sha256(little.tobytes()).hexdigest()


def embedded(manifest: Manifest) -> str:
    """The text for the picture itself, in ASCII. The seconds are left to the file beside it: the same run on the same machine
    gives the same picture, byte for byte."""
    return encode(replace(manifest, outcome=replace(manifest.outcome, seconds=None)))


def encode(manifest: Manifest, indent: int | None = None) -> str:
    """The manifest as JSON, in ASCII."""
    return json.dumps({"format": FORMAT, **schema.plain(manifest)}, allow_nan=False, indent=indent)


def decode(text: str, name: str) -> Manifest:
    """The manifest of a JSON text from `name`. Raises `InputError` for anything but a whole and sound manifest."""
    try:
        if len(text) > LARGEST:
            raise InputError(f"it has {len(text):,} characters, more than the {LARGEST:,} of any run")
        value = schema.parse(text)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise InputError(f"it does not say that its format is {FORMAT!r}")
        return schema.convert({key: v for key, v in value.items() if key != "format"}, Manifest)
    except InputError as error:
        raise InputError(f"the manifest of {name} cannot be used: {error}") from None


def read(picture: Path) -> Manifest:
    """The manifest that a picture carries or, where it carries none, that lies beside it.

    Raises `InputError` if there is none, and for one that is not sound.
    """
    if (found := read_text(picture)) is not None:
        return decode(found, str(picture))
    path = beside(picture)
    if not path.is_file():
        raise InputError(
            f"{picture} has no manifest, and there is no {path.name} beside it: it was not made by stylejax, or another "
            "program wrote it again"
        )
    return decode(_read_beside(path), str(path))


def beside(out: Path) -> Path:
    """Where the manifest of a picture lies: OUT.json for OUT.png."""
    return out.with_suffix(".json")


def check_beside(out: Path) -> None:
    """Raises `InputError` where the manifest's file would take the place of one that is no manifest."""
    path = beside(out)
    if path.is_dir() or path.is_file() and not _is_manifest(path):
        raise InputError(f"cannot write {path}: something else has that name; move it, or give the picture another")


def write_beside(out: Path, manifest: Manifest) -> None:
    """Writes the manifest beside its picture, whole or not at all."""
    write_atomically(beside(out), encode(manifest, indent=1).encode("ascii") + b"\n")


def _is_manifest(path: Path) -> bool:
    try:
        value = schema.parse(_read_beside(path))
    except InputError:
        return False
    return isinstance(value, dict) and str(value.get("format")).startswith(FORMAT.split()[0])


def _read_beside(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1).decode("utf-8", "replace")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
