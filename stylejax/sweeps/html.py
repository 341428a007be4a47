"""Grids of images as one self-contained HTML page, with titles, labels and a table."""

import base64
import io
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from PIL import Image as Pillow

from stylejax.images.io import quantize
from stylejax.images.resize import HostImage
from stylejax.sweeps.contact_sheet import ImageGrid, Labels, Panel, cell_size, check_grid


def html_page(
    title: str,
    caption: str,
    pictures: ImageGrid,
    rows: Sequence[str],
    columns: Sequence[str] = (),
    labels: Labels | None = None,
    table: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return a grid of images as an HTML page that refers to no other file.

    A click on an image shows it in full size. The arguments are those of `contact_sheet`, and `table`: rows by column name,
    which a click on a name sorts.
    """
    return panels_page(title, caption, [Panel(pictures, rows, columns, labels)], table)


def panels_page(title: str, caption: str, panels: Sequence[Panel], table: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the page of several grids, each under its heading; see `html_page`."""
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


def _data_uri(image: HostImage) -> str:
    buffer = io.BytesIO()
    Pillow.fromarray(quantize(image)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _number(value: Any) -> tuple[str, str] | None:
    """Return a number in four digits to display and in full to sort by; None if it is not a number."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return None
    text = str(value) if isinstance(value, numbers.Integral) else f"{value:.4g}"
    return text, repr(float(value)) if math.isfinite(value) else ""
