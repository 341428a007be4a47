"""Write the files of a sweep: a PNG per row, with its manifest, and `results.jsonl`, a line per row.

An image is written atomically, then its line is appended. At the end all lines are rewritten in the order of the rows, from the
manifests in the images: a resumed sweep leaves the same bytes as an uninterrupted one, except for the seconds, which only
`results.jsonl` records.
"""

import contextlib
import dataclasses
import functools
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stylejax.errors import InputError
from stylejax.evaluation.alexnet import AlexNet
from stylejax.evaluation.evaluate import evaluate
from stylejax.files import check_distinct, check_writable, kind_of, list_files, make_folder, write_atomically
from stylejax.images.io import flatten_alpha, quantize, read_image, read_stored, write_image
from stylejax.models.architecture import VGGWeights
from stylejax.runs import schema
from stylejax.runs.manifest import Manifest, embedded_json, outcome, read
from stylejax.runs.provenance import Provenance, config_paths, provenance_with, weights_ref
from stylejax.runs.rerun import matches_manifest
from stylejax.sweeps.grid import Row
from stylejax.sweeps.report import PAGE, SHEET
from stylejax.sweeps.runner import RowResult

RESULTS_FILE = "results.jsonl"

NON_FINITE = "the loss was not finite at any step: lower the weights"
"""Error of a row without an image."""


def row_picture(folder: Path, row: Row) -> Path:
    return folder / f"{row.name}.png"


def check_folder(folder: Path, resume: bool, rows: Sequence[Row], file: Path | None) -> None:
    """Create the folder, or raise `InputError` for a sweep that is not to be resumed and for an output that is an input.

    Args:
        folder: folder of the sweep.
        resume: whether the images of a sweep may be in the folder.
        rows: rows of the sweep.
        file: TOML file of the sweep.
    """
    make_folder(folder)
    check_writable(folder / RESULTS_FILE)
    outputs = {name: folder / name for name in (RESULTS_FILE, SHEET, PAGE)}
    outputs |= {f"row {row.number}": row_picture(folder, row) for row in rows}
    existing = [path for path in outputs.values() if kind_of(path) != "nothing"]
    for path in existing:
        check_writable(path)
    inputs = {path for row in rows for path in (row.content, *row.styles, *config_paths(row.config))}
    check_distinct(outputs, inputs | ({file} if file else set()))
    if existing and not resume:
        raise InputError(f"{existing[0]} exists; continue its sweep with --resume, or name another folder")


def row_provenance(networks: Mapping[tuple[str, int], VGGWeights]) -> Callable[[Row], Provenance]:
    """Return a function that returns the provenance of a row; it hashes each network once."""
    network = functools.cache(lambda key: weights_ref(key[0], networks[key]))
    return lambda row: provenance_with(row.content, row.styles, row.config, network(row.network))


def load_finished(folder: Path, row: Row, provenance: Provenance) -> Manifest | None:
    """Return the manifest of a row's image; None unless it is intact and has this provenance."""
    path = row_picture(folder, row)
    try:
        manifest = read(path)
        pixels = quantize(read_stored(path, whole=True)[0], row.config.bit_depth)
        is_intact = matches_manifest(pixels, manifest, lossless=True)
    except InputError:
        return None
    recorded, expected = (dataclasses.replace(p, environment={}) for p in (manifest.provenance, provenance))
    return manifest if is_intact and recorded == expected else None


def save_row(folder: Path, row_result: RowResult, provenance: Provenance, lines: str) -> None:
    """Write the image of a finished row, or raise `InputError`; then append its line to file `lines`."""
    row, result, seconds = row_result
    manifest = None
    if result:
        path, bit_depth = row_picture(folder, row), row.config.bit_depth
        image, alpha = flatten_alpha(result.image, row.plan.masks.content_alpha, path)
        manifest = Manifest(provenance, outcome(result._replace(image=image), seconds, bit_depth))
        write_image(path, image, embedded_json(manifest), alpha, bit_depth)
    line = _line(folder, row, provenance, manifest, seconds)
    try:
        with (folder / lines).open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"cannot write {folder / lines}: {error.strerror}; choose another place") from None


def measures_of(folder: Path, row: Row, network: AlexNet) -> dict[str, Any]:
    """Return the `Evaluation` of a row's image against its content and style; raise `InputError` if it has several styles."""
    if len(row.styles) != 1:
        raise InputError(f"measures need rows of one style, got {len(row.styles)}; name one style a row")
    images = (read_image(path) for path in (row_picture(folder, row), row.content, row.styles[0]))
    return evaluate(*images, network=network)._asdict()


def write_results(
    folder: Path,
    rows: Sequence[Row],
    provenance: Callable[[Row], Provenance],
    measure: Callable[[Row], dict[str, Any] | None] = lambda _: None,
) -> dict[int, dict[str, Any]]:
    """Rewrite `results.jsonl` and return the entries of the finished rows by number.

    Entries come from the manifests in the images, and from `measure` for each of them; only the seconds, and rows without an
    image, come from the lines of all processes.
    """
    old = _read_lines(folder)
    lines: list[bytes] = []
    for row in rows:
        expected, previous = provenance(row), old.get(row.number, {})
        manifest = load_finished(folder, row, expected)
        failed = previous.get("error") == NON_FINITE and previous.get("config") == schema.plain(expected.config)
        if manifest or failed:
            is_same = manifest is None or previous.get("sha256") == manifest.outcome.sha256
            seconds = previous.get("seconds") if is_same else None
            lines.append(_line(folder, row, expected, manifest, seconds, measure(row) if manifest else None))
    write_atomically(folder / RESULTS_FILE, b"".join(lines))
    for file in _process_files(folder):
        file.unlink()
    return {entry["row"]: entry for entry in map(json.loads, lines)}


def _process_files(folder: Path) -> list[Path]:
    """Return the files of lines that the processes of a sweep have left."""
    return [path for path in list_files(folder) if re.fullmatch(r"results-\d+\.jsonl", path.name)]


def _line(
    folder: Path,
    row: Row,
    provenance: Provenance,
    manifest: Manifest | None,
    seconds: Any,
    measures: dict[str, Any] | None = None,
) -> bytes:
    """Return one line of JSON: settings and hashes, the unweighted losses by layer, the measures, and last the seconds."""
    settings = schema.plain(provenance)
    del settings["environment"]
    result = schema.plain(manifest.outcome) if manifest else {"error": NON_FINITE}
    result = {name: value for name, value in result.items() if name not in ("interrupted", "seconds")}
    image = row_picture(folder, row).name if manifest else None
    seconds = round(seconds, 3) if isinstance(seconds, (int, float)) and 0 <= seconds <= 1e10 else None
    evaluation = {"evaluation": measures} if measures else {}
    entry = {"row": row.number, "picture": image, **settings, **result, **evaluation, "seconds": seconds}
    return json.dumps(entry, allow_nan=False).encode("ascii") + b"\n"


def _read_lines(folder: Path) -> dict[int, dict[str, Any]]:
    """Return the newest entry of each row; a line that a killed process left incomplete is skipped."""
    entries: dict[int, dict[str, Any]] = {}
    for path in (folder / RESULTS_FILE, *_process_files(folder)):
        if kind_of(path) != "file":
            continue
        for line in path.read_bytes().decode("utf-8", "replace").splitlines():
            with contextlib.suppress(InputError):
                entry = schema.parse(line)
                if isinstance(entry, dict) and isinstance(entry.get("row"), int):
                    entries[entry["row"]] = entry
    return entries
