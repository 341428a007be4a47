"""Manifest of a run: its provenance and outcome, stored in the image and as JSON beside it.

It contains all that is needed to repeat the run and to check the result, but no folder of this machine. Images may come from
an untrusted source, so `decode` validates every field.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypedDict

from msgspec import Meta

from stylejax.errors import InputError
from stylejax.files import kind_of, write_atomically
from stylejax.images.io import FORMATS, Pixels, quantize
from stylejax.images.metadata import MAX_CHARS, read_metadata
from stylejax.runs import schema
from stylejax.runs.provenance import Provenance
from stylejax.runs.schema import ByLayer, Count, Seconds, Sha256
from stylejax.synthesis.transfer import Result

FORMAT = "stylejax-manifest 1"


class LossesByLayer(TypedDict):
    """Unweighted losses; None if not finite."""

    content: ByLayer
    style: ByLayer
    tv: float | None


@dataclass(frozen=True)
class Outcome:
    """Outcome of a run: unweighted losses, cost, and the SHA-256 of the pixels (see `pixels_hash`)."""

    loss: float | None
    losses: LossesByLayer
    steps: Count
    evaluations: Count
    interrupted: bool
    seconds: Seconds | None
    width: Annotated[int, Meta(ge=1, le=10**9)]
    height: Annotated[int, Meta(ge=1, le=10**9)]
    sha256: Sha256


@dataclass(frozen=True)
class Manifest:
    """Provenance and outcome of a run."""

    provenance: Provenance
    outcome: Outcome


def outcome(result: Result, seconds: float, bit_depth: int = 8) -> Outcome:
    """Return the outcome of a run whose image file has `bit_depth` bits per channel."""
    h, w = result.image.shape[:2]
    losses = schema.plain(result.terms)
    counts = (result.steps, result.evaluations, result.interrupted, round(seconds, 3))
    return Outcome(schema.plain(result.loss), losses, *counts, w, h, pixels_hash(quantize(result.image, bit_depth)))


def pixels_hash(pixels: Pixels) -> str:
    """Return the SHA-256 of RGB pixels of 8 bits, or of 16 bits in little-endian order, row by row."""
    return hashlib.sha256(pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()).hexdigest()


def embedded_json(manifest: Manifest) -> str:
    """Return the manifest for the image file: without seconds, so that equal runs write equal bytes."""
    return encode(replace(manifest, outcome=replace(manifest.outcome, seconds=None)))


def encode(manifest: Manifest, indent: int | None = None) -> str:
    """Return the manifest as ASCII JSON."""
    return json.dumps({"format": FORMAT, **schema.plain(manifest)}, allow_nan=False, indent=indent)


def decode(text: str, name: str) -> Manifest:
    """Return the manifest in JSON from the file `name`; raise `InputError` unless it is valid."""
    try:
        if len(text) > MAX_CHARS:
            raise InputError(f"it must have at most {MAX_CHARS:,} characters, got {len(text):,}")
        value = schema.parse(text)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise InputError(f"format must be {FORMAT!r}")
        manifest = schema.convert({key: v for key, v in value.items() if key != "format"}, Manifest)
        _check_steps(manifest.outcome, manifest.provenance.config.total_steps)
        return manifest
    except InputError as error:
        raise InputError(f"the manifest of {name} cannot be used: {error}") from None


def _check_steps(outcome: Outcome, steps: int) -> None:
    """Raise `InputError` for an outcome that no run of `steps` steps can have."""
    if not (1 if outcome.interrupted else steps) <= outcome.steps <= steps:
        raise InputError(f"outcome.steps is {outcome.steps}, which does not fit the {steps} steps of its config")
    if outcome.evaluations < outcome.steps:
        raise InputError(f"outcome.evaluations must be at least {outcome.steps}, got {outcome.evaluations}")


def read(picture: Path) -> Manifest:
    """Return the manifest in an image file or, if it contains none, from the JSON file beside it.

    Raises `InputError` if there is no manifest or it is invalid.
    """
    if (text := read_metadata(picture)) is not None:
        return decode(text, str(picture))
    path = sidecar_path(picture)
    if kind_of(path) != "file":
        raise InputError(
            f"{picture} has no manifest, and there is no {path.name} beside it: it was not made by stylejax, or another "
            "program rewrote it"
        )
    return decode(_read_sidecar(path), str(path))


def sidecar_path(out: Path) -> Path:
    """Return the path of the manifest beside an image: OUT.json for OUT.png."""
    return out.with_suffix(".json")


def check_sidecar(out: Path) -> None:
    """Raise `InputError` if writing the manifest of `out` would replace a file that is not a manifest."""
    path = sidecar_path(out)
    kind = kind_of(path)
    if kind != "nothing" and not (kind == "file" and _is_manifest(path)):
        raise InputError(f"cannot write {path}: something else has that name; move it or rename the image")
    if kind == "nothing" or kind_of(out) != "nothing":
        return
    for other in (out.with_suffix(suffix) for suffix in FORMATS):
        if kind_of(other) == "file" and read_metadata(other) is None:
            raise InputError(f"cannot write {path}: it may be the only manifest of {other}; rename the image")


def write_sidecar(out: Path, manifest: Manifest) -> None:
    """Write the manifest beside its image."""
    write_atomically(sidecar_path(out), encode(manifest, indent=1).encode("ascii") + b"\n")


def _is_manifest(path: Path) -> bool:
    try:
        value = schema.parse(_read_sidecar(path))
    except InputError:
        return False
    return isinstance(value, dict) and str(value.get("format")).startswith(FORMAT.split()[0])


def _read_sidecar(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_CHARS + 1).decode("utf-8", "replace")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
