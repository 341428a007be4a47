"""The pictures of a sweep side by side: a grid where two settings differ, small multiples where more do, as a PNG and as a
page."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from stylejax.config import TransferConfig
from stylejax.files import write_atomically
from stylejax.images.io import read_image, write_image
from stylejax.images.resize import Picture, fit, resize
from stylejax.sweeps.contact_sheet import Panel, panels_sheet
from stylejax.sweeps.grid import Row
from stylejax.sweeps.html import panels_page

SHEET, PAGE = "sheet.png", "index.html"

ON_SHEET, ON_PAGE = 256, 512
"""Longest sides of a picture on the sheet and on the page; larger ones are in the folder."""

ABREAST = 6
"""Pictures in a line where they are in no grid."""

ALWAYS = ("content", "style", "size", "steps")
"""Settings that the caption names even at their defaults."""

FILLED = 0.5
"""The least share of a grid that has a row; with fewer, the pictures follow each other instead."""


def write_report(folder: Path, rows: Sequence[Row], entries: Mapping[int, Mapping[str, Any]]) -> None:
    """Writes both from the entries of the rows that have ended. Nothing is written where there is no picture."""
    pictures = {n: read_image(folder / e["picture"]) for n, e in entries.items() if e["picture"]}
    if not pictures:
        return
    shown = [row for row in rows if row.number in entries]
    caption = _caption(shown, entries, len(rows))
    sheet = panels_sheet(panels_of(shown, _shrunk(pictures, ON_SHEET), entries), caption)
    write_image(folder / SHEET, sheet)
    panels = panels_of(shown, _shrunk(pictures, ON_PAGE), entries)
    page = panels_page(f"{len(shown)} rows of a sweep", caption, panels, [_facts(row, shown, entries) for row in shown])
    write_atomically(folder / PAGE, page.encode())


def panels_of(
    rows: Sequence[Row], pictures: Mapping[int, Picture], entries: Mapping[int, Mapping[str, Any]]
) -> list[Panel]:
    """One panel for each combination of the settings that have no axis. The axes are the two settings with the most values."""
    settings = {row.number: settings_of(row) for row in rows}
    listed = varying(rows)
    axes = axes_of(listed)
    others = [name for name in listed if name not in axes]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(", ".join(f"{name} {settings[row.number][name]}" for name in others), []).append(row)
    across, down = (listed.get(name, [""]) for name in (*axes, "", "")[:2])
    if len(rows) < FILLED * len(across) * len(down) * len(groups) or len(axes) == 1 and len(across) > ABREAST:
        return [_in_lines(rows, pictures, entries, settings, list(listed))]

    def panel(heading: str, group: Sequence[Row]) -> Panel:
        at = {tuple(settings[row.number][name] for name in axes): row.number for row in group}
        cells = [[at.get((x, y)[: len(axes)]) for x in across] for y in down]
        return Panel(
            [[pictures.get(n) if n else None for n in line] for line in cells],
            [f"{axes[1]} {y}" if len(axes) > 1 else "" for y in down],
            [f"{axes[0]} {x}" for x in across] if axes else (),
            [[_loss(entries[n]) if n else "" for n in line] for line in cells],
            heading,
        )

    return [
        p
        for p in (panel(*group) for group in groups.items())
        if any(x is not None for line in p.pictures for x in line)
    ]


def axes_of(listed: Mapping[str, Sequence[str]]) -> list[str]:
    """What goes across, the setting with the most values, and down, the one with the most of the others. Of settings that have
    as many, the last goes across: files stand first, and go down."""
    across = sorted(reversed(list(listed)), key=lambda name: -len(listed[name]))[:1]
    return across + sorted((name for name in listed if name not in across), key=lambda name: -len(listed[name]))[:1]


def varying(rows: Sequence[Row]) -> dict[str, list[str]]:
    """The settings in which the rows differ, each with its values in the order of the rows."""
    settings = [settings_of(row) for row in rows]
    values = {name: list(dict.fromkeys(one[name] for one in settings)) for name in settings[0]}
    return {name: found for name, found in values.items() if len(found) > 1}


def settings_of(row: Row) -> dict[str, str]:
    """Every setting of a row as it is shown, files by their names."""
    shown = {field.name.replace("_", " "): getattr(row.config, field.name) for field in fields(TransferConfig)}
    files = {"content": row.content.name, "style": " + ".join(path.name for path in row.styles)}
    return files | {name: _shown(value) for name, value in shown.items()}


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " + ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _in_lines(
    rows: Sequence[Row],
    pictures: Mapping[int, Picture],
    entries: Mapping[int, Mapping[str, Any]],
    settings: Mapping[int, Mapping[str, str]],
    listed: Sequence[str],
) -> Panel:
    """The pictures one after another, each with the settings that set it apart."""
    numbers = [row.number for row in rows if row.number in pictures]
    lines = [numbers[i : i + ABREAST] for i in range(0, len(numbers), ABREAST)]
    blanks = [0] * (len(lines) * ABREAST - len(numbers)) if len(lines) > 1 else []
    lines[-1] += blanks

    def label(number: int) -> str:
        named = [f"{name} {settings[number][name]}" for name in listed]
        return ", ".join([*named, _loss(entries[number])])

    return Panel(
        [[pictures[n] if n else None for n in line] for line in lines],
        [""] * len(lines),
        (),
        [[label(n) if n else "" for n in line] for line in lines],
    )


def _shrunk(pictures: Mapping[int, Picture], longest: int) -> dict[int, Picture]:
    return {n: resize(p, *fit(p.shape, min(longest, max(p.shape)))).clip(0, 1) for n, p in pictures.items()}


def _loss(entry: Mapping[str, Any]) -> str:
    return f"loss {entry['loss']:.4g}" if "loss" in entry else "not finite"


def _facts(row: Row, rows: Sequence[Row], entries: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """A line of the table: the settings that differ, numbers as numbers, and the losses by layer."""
    entry, settings = entries[row.number], settings_of(row)
    facts: dict[str, Any] = {"row": row.number}
    for name in varying(rows):
        value = getattr(row.config, name.replace(" ", "_"), None)
        facts[name] = value if isinstance(value, (int, float)) else settings[name]
    if "error" in entry:
        return facts | {"loss": entry["error"]}
    by_layer = {f"{kind} {layer}": x for kind in ("content", "style") for layer, x in entry["losses"][kind].items()}
    return facts | {"loss": entry["loss"], **by_layer, "evaluations": entry["evaluations"]}


def _caption(rows: Sequence[Row], entries: Mapping[int, Mapping[str, Any]], count: int) -> str:
    """What differs, what is the same, and what is missing."""
    listed, settings = varying(rows), settings_of(rows[0])
    differs = " × ".join(f"{name} ({len(values)})" for name, values in listed.items())
    plan = rows[0].plan._replace(config=TransferConfig())
    defaults = settings_of(rows[0]._replace(plan=plan))
    same = [
        f"{name} {x}" for name, x in settings.items() if name not in listed and (x != defaults[name] or name in ALWAYS)
    ]
    networks = dict.fromkeys(f"{e['weights']['network'].upper()}, {e['weights']['source']}" for e in entries.values())
    broken = [str(n) for n, entry in entries.items() if "error" in entry]
    parts = [
        f"{differs} differ." if listed else "",
        f"All have {', '.join(same)}." if same else "",
        f"Network: {'; '.join(networks)}.",
        f"Rows without a finite loss: {', '.join(broken)}." if broken else "",
        f"{count - len(rows)} of {count} rows are missing." if count > len(rows) else "",
    ]
    return " ".join(filter(None, parts))
