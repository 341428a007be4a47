"""Write the report of a sweep: its images in grids by setting, as a PNG sheet and an HTML page."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from stylejax.config import TransferConfig
from stylejax.files import write_atomically
from stylejax.images.io import read_image, write_image
from stylejax.images.resize import HostImage, resize_longest_side
from stylejax.sweeps.contact_sheet import Panel, panels_sheet
from stylejax.sweeps.grid import Row
from stylejax.sweeps.html import panels_page
from stylejax.sweeps.scatter import scatter_plot

SHEET, PAGE = "sheet.png", "index.html"

ON_SHEET, ON_PAGE = 256, 512
"""Maximum side of an image on the sheet and on the page, in pixels: both stay small, as the folder has the full sizes."""

COLUMNS = 6
"""Images per line outside a grid; 6 of `ON_SHEET` pixels are about as wide as a screen."""

ALWAYS = ("content", "style", "size", "steps")
"""Settings that the caption names even at their defaults."""

MIN_FILL = 0.5
"""Minimum share of grid cells with a row; sparser grids become lines of images."""


def write_report(folder: Path, rows: Sequence[Row], entries: Mapping[int, Mapping[str, Any]]) -> None:
    """Write sheet and page of the finished rows, which have `entries`; write nothing if none has an image."""
    images = {n: read_image(folder / entry["picture"]) for n, entry in entries.items() if entry["picture"]}
    if not images:
        return
    finished = [row for row in rows if row.number in entries]
    caption = _caption(finished, entries, len(rows))
    write_image(folder / SHEET, panels_sheet(panels_of(finished, _shrink(images, ON_SHEET), entries), caption))
    panels = [*panels_of(finished, _shrink(images, ON_PAGE), entries), *_measures_panel(entries)]
    names = list(varying_settings(finished))
    table = [_table_row(row, names, entries[row.number]) for row in finished]
    write_atomically(folder / PAGE, panels_page(f"{len(finished)} rows of a sweep", caption, panels, table).encode())


def panels_of(
    rows: Sequence[Row], images: Mapping[int, HostImage], entries: Mapping[int, Mapping[str, Any]]
) -> list[Panel]:
    """Return one panel for each combination of the settings that are not axes.

    If most of the grid would be empty, or if one setting varies over many values, all images form one panel of lines.
    """
    settings = {row.number: settings_of(row) for row in rows}
    values = varying_settings(rows)
    axes = choose_axes(values)
    groups: dict[str, list[int]] = {}
    for n, row in settings.items():
        groups.setdefault(", ".join(f"{name} {row[name]}" for name in values if name not in axes), []).append(n)
    across, down = (values.get(name, [""]) for name in (*axes, "", "")[:2])
    if len(rows) < MIN_FILL * len(across) * len(down) * len(groups) or len(axes) == 1 and len(across) > COLUMNS:
        texts = {n: [f"{name} {row[name]}" for name in values] for n, row in settings.items()}
        return [_lines_panel(images, {n: ", ".join([*text, _loss(entries[n])]) for n, text in texts.items()})]

    def panel(heading: str, group: Sequence[int]) -> Panel:
        numbers = {tuple(settings[n][name] for name in axes): n for n in group}
        cells = [[numbers.get((x, y)[: len(axes)], 0) for x in across] for y in down]
        return Panel(
            [[images.get(n) for n in line] for line in cells],
            [f"{axes[1]} {y}" if len(axes) > 1 else "" for y in down],
            [f"{axes[0]} {x}" for x in across] if axes else (),
            [[_loss(entries[n]) if n else "" for n in line] for line in cells],
            heading,
        )

    panels = [panel(*group) for group in groups.items()]
    return [p for p in panels if any(image is not None for line in p.pictures for image in line)]


def choose_axes(values: Mapping[str, Sequence[str]]) -> list[str]:
    """Return up to two axes, columns first: the settings with the most values.

    Among settings with equally many values, the last becomes the columns; files come first and so become the rows.
    """
    by_count = functools.partial(sorted, key=lambda name: len(values[name]), reverse=True)
    columns = by_count(reversed(list(values)))[:1]
    return columns + by_count(name for name in values if name not in columns)[:1]


def varying_settings(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the settings in which rows differ, each with its values in the order of the rows."""
    settings = [settings_of(row) for row in rows]
    values = {name: list(dict.fromkeys(row[name] for row in settings)) for name in settings[0]}
    return {name: distinct for name, distinct in values.items() if len(distinct) > 1}


def settings_of(row: Row) -> dict[str, str]:
    """Return all settings of a row as text; files by their names."""
    files = {"content": row.content.name, "style": " + ".join(path.name for path in row.styles)}
    names = [field.name for field in fields(TransferConfig)]
    return files | {name.replace("_", " "): _format(getattr(row.config, name)) for name in names}


def _format(value: Any) -> str:
    if isinstance(value, tuple):
        return " + ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _lines_panel(images: Mapping[int, HostImage], labels: Mapping[int, str]) -> Panel:
    """Return a panel of the labeled images in lines; rows without an image are left out."""
    numbers = [n for n in labels if n in images]
    lines = [numbers[i : i + COLUMNS] for i in range(0, len(numbers), COLUMNS)]
    if len(lines) > 1:
        lines[-1] += [0] * (COLUMNS - len(lines[-1]))
    captions = [[labels.get(n, "") for n in line] for line in lines]
    return Panel([[images.get(n) for n in line] for line in lines], [""] * len(lines), (), captions)


def _shrink(images: Mapping[int, HostImage], longest: int) -> dict[int, HostImage]:
    return {n: resize_longest_side(x, min(longest, max(x.shape))).clip(0, 1) for n, x in images.items()}


def _loss(entry: Mapping[str, Any]) -> str:
    return f"loss {entry['loss']:.4g}" if "loss" in entry else "not finite"


def _table_row(row: Row, names: Sequence[str], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings `names`, numbers as numbers, and the unweighted losses by layer."""
    settings = settings_of(row)
    cells: dict[str, Any] = {"row": row.number}
    for name in names:
        value = getattr(row.config, name.replace(" ", "_"), None)
        cells[name] = value if isinstance(value, (int, float)) else settings[name]
    if "error" in entry:
        return cells | {"loss": entry["error"]}
    by_layer = {f"{kind} {layer}": x for kind in ("content", "style") for layer, x in entry["losses"][kind].items()}
    return cells | {"loss": entry["loss"], **by_layer, "evaluations": entry["evaluations"], **_measures(entry)}


def _measures(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return the measures of a row by the names of their columns, which no setting has."""
    measures = entry.get("evaluation", {})
    return {f"measured {name.replace('_', ' ')}": x for name, x in measures.items() if isinstance(x, float)}


def _measures_panel(entries: Mapping[int, Mapping[str, Any]]) -> list[Panel]:
    """Return a panel that plots the distance to the style against that to the content; none for fewer than two rows."""
    pairs = {n: entry["evaluation"] for n, entry in entries.items() if "evaluation" in entry}
    if len(pairs) < 2:
        return []
    points = {str(n): (x["lpips"], x["style_distance"]) for n, x in pairs.items()}
    axes = "LPIPS to the content", "Fréchet distance to the style"
    return [
        Panel([[scatter_plot(points, *axes)]], [""], heading="Measures by row: the nearer to the corner, the better")
    ]


def _caption(rows: Sequence[Row], entries: Mapping[int, Mapping[str, Any]], count: int) -> str:
    """Describe varying and common settings, the networks, and what is missing from `count` rows."""
    values, settings = varying_settings(rows), settings_of(rows[0])
    defaults = settings_of(rows[0]._replace(plan=rows[0].plan._replace(config=TransferConfig())))
    varying = " × ".join(f"{name} ({len(distinct)})" for name, distinct in values.items())
    common = [
        f"{name} {x}" for name, x in settings.items() if name not in values and (x != defaults[name] or name in ALWAYS)
    ]
    networks = dict.fromkeys(f"{e['weights']['network'].upper()}, {e['weights']['source']}" for e in entries.values())
    failed = [str(n) for n, entry in entries.items() if "error" in entry]
    sentences = [
        f"{varying} differ." if values else "",
        f"All have {', '.join(common)}." if common else "",
        f"Network: {'; '.join(networks)}.",
        f"Rows without a finite loss: {', '.join(failed)}." if failed else "",
        f"{count - len(rows)} of {count} rows are missing." if count > len(rows) else "",
    ]
    return " ".join(filter(None, sentences))
