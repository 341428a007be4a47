"""Many images on one HTML page that needs no other file, with titles, labels and a table."""

import base64
import io
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from PIL import Image as Pillow

from stylejax.images.io import levels
from stylejax.images.resize import Picture
from stylejax.sweeps.contact_sheet import Grid, Labels, Panel, cell_size, check_grid


def html_page(
    title: str,
    caption: str,
    pictures: Grid,
    rows: Sequence[str],
    columns: Sequence[str] = (),
    labels: Labels | None = None,
    table: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The sheet as one page that refers to no other file: pictures at their full size, which a click shows alone, and below
    them `table`, one row a mapping, sorted by a click on the head of a column; light or dark as the reader's screen.

    Raises `InputError` as `contact_sheet` does.
    """
    return panels_page(title, caption, [Panel(pictures, rows, columns, labels)], table)


def panels_page(title: str, caption: str, panels: Sequence[Panel], table: Sequence[Mapping[str, Any]] = ()) -> str:
    """`html_page` of several grids, one below the other, each under its heading."""
    for panel in panels:
        check_grid(panel.pictures, panel.rows, panel.columns, panel.labels)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("stylejax.sweeps", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals |= {"cell_size": cell_size, "data_uri": _data_uri, "number": _number}
    names = list(dict.fromkeys(name for row in table for name in row))
    page = environment.get_template("report.html")
    return page.render(title=title, caption=caption, panels=panels, table=table, names=names)


def _data_uri(picture: Picture) -> str:
    buffer = io.BytesIO()
    Pillow.fromarray(levels(picture)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _number(value: Any) -> tuple[str, str] | None:
    """Return a number with four digits, to be shown, and with all, to be sorted by (empty if not finite); None for others."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return None
    shown = str(value) if isinstance(value, numbers.Integral) else f"{value:.4g}"
    return shown, repr(float(value)) if math.isfinite(value) else ""
