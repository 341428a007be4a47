"""What a sweep leaves in its folder: one PNG a row, which carries its manifest, and `results.jsonl`, one row a line.

A picture appears whole or not at all, and a line is added behind it. At the end the lines are written anew, in the order of the
rows, from what the pictures say of themselves: a sweep that was killed and resumed leaves the same bytes as one that was not,
but for the seconds, which only `results.jsonl` tells.
"""

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stylejax.errors import InputError
from stylejax.files import make_folder, write_atomically
from stylejax.images.io import lay, levels, read_picture, write_image
from stylejax.models.architecture import Parameters
from stylejax.runs import schema
from stylejax.runs.manifest import Manifest, embedded, outcome, read
from stylejax.runs.provenance import Recipe, network_of, recipe_with
from stylejax.runs.rerun import is_as_made
from stylejax.sweeps.grid import Row
from stylejax.sweeps.runner import Painted

LINES = "results.jsonl"

BROKEN = "the loss was not finite at any step: lower the weights"
"""What is said of a row without a picture."""


def picture_of(folder: Path, row: Row) -> Path:
    """Where the picture of a row is."""
    return folder / f"row{row.number:04d}.png"


def check_folder(folder: Path, resume: bool) -> None:
    """Makes the folder. Raises `InputError` where that cannot be, and where a sweep is that is not to be resumed."""
    make_folder(folder)
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write into the folder {folder}; choose another place")
    if not resume and any(folder.glob("row*.png")):
        raise InputError(f"{folder} has the pictures of a sweep; go on with it by --resume, or name another folder")


def recipes(networks: Mapping[tuple[str, int], Parameters]) -> Callable[[Row], Recipe]:
    """What a row is made of. Each network is hashed once."""
    network = functools.cache(lambda key: network_of(key[0], networks[key]))
    return lambda row: recipe_with(row.content, row.styles, row.config, network(row.network))


def finished(folder: Path, row: Row, made_of: Recipe) -> Manifest | None:
    """The manifest of the row's picture, if it is there, whole, and made of the same."""
    path = picture_of(folder, row)
    try:
        manifest = read(path)
        pixels = levels(read_picture(path, flatten=False)[0], row.config.bits)
        sound = is_as_made(pixels, manifest, lossless=True)
    except InputError:
        return None
    same = dataclasses.replace(manifest.recipe, environment={}) == dataclasses.replace(made_of, environment={})
    return manifest if sound and same else None


def keep(folder: Path, painted: Painted, made_of: Recipe, lines: str = LINES) -> None:
    """Writes the picture of a row that has ended, then its line. Raises `InputError` if the disk does not take them."""
    manifest = None
    if painted.result:
        path, bits = picture_of(folder, painted.row), painted.row.config.bits
        image, alpha = lay(painted.result.image, read_picture(painted.row.content)[1], path)
        manifest = Manifest(made_of, outcome(painted.result._replace(image=image), painted.seconds, bits))
        write_image(path, image, embedded(manifest), alpha, bits)
    line = _line(folder, painted.row, made_of, manifest, painted.seconds)
    try:
        with (folder / lines).open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"cannot write {folder / lines}: {error.strerror}; choose another place") from None


def gather(folder: Path, rows: Sequence[Row], made_of: Callable[[Row], Recipe]) -> dict[int, dict[str, Any]]:
    """Writes `results.jsonl` anew from the pictures, and from the lines of all processes what no picture tells: the
    seconds, and the rows without a picture. Gives the entry of each row that has ended."""
    old, files = _read_lines(folder), [*folder.glob("results-*.jsonl")]
    lines: list[bytes] = []
    for row in rows:
        recipe, before = made_of(row), old.get(row.number, {})
        manifest = finished(folder, row, recipe)
        if manifest or before.get("error") == BROKEN and before.get("config") == schema.plain(recipe.config):
            same = manifest is None or before.get("sha256") == manifest.outcome.sha256
            lines.append(_line(folder, row, recipe, manifest, before.get("seconds") if same else None))
    write_atomically(folder / LINES, b"".join(lines))
    for file in files:
        file.unlink()
    return {entry["row"]: entry for entry in map(json.loads, lines)}


def _line(folder: Path, row: Row, made_of: Recipe, manifest: Manifest | None, seconds: Any) -> bytes:
    """One JSON object: settings and hashes, losses by layer before their weights, and last the seconds."""
    settings = schema.plain(made_of)
    del settings["environment"]
    came_out = schema.plain(manifest.outcome) if manifest else {"error": BROKEN}
    came_out = {name: value for name, value in came_out.items() if name not in ("stopped", "seconds")}
    picture = picture_of(folder, row).name if manifest else None
    seconds = round(seconds, 3) if isinstance(seconds, (int, float)) else None
    entry = {"row": row.number, "picture": picture, **settings, **came_out, "seconds": seconds}
    return json.dumps(entry, allow_nan=False).encode("ascii") + b"\n"


def _read_lines(folder: Path) -> dict[int, dict[str, Any]]:
    """The entries by row, the newest of each. A line that was torn when the sweep was killed is left out."""
    found: dict[int, dict[str, Any]] = {}
    for path in (folder / LINES, *sorted(folder.glob("results-*.jsonl"))):
        if not path.is_file():
            continue
        for line in path.read_bytes().decode("utf-8", "replace").splitlines():
            with contextlib.suppress(InputError):
                entry = schema.parse(line)
                if isinstance(entry, dict) and isinstance(entry.get("row"), int):
                    found[entry["row"]] = entry
    return found
