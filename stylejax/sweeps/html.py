"""Many pictures on one HTML page that needs no other file, with titles, labels and a table."""

import base64
import html
import io
import math
import numbers
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template
from typing import Any

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
    page = Template(resources.files("stylejax.sweeps").joinpath("report.html").read_text("utf-8"))
    return page.substitute(
        title=html.escape(title),
        caption=html.escape(caption),
        panels="\n".join(map(_panel, panels)),
        table=_table(table),
    )


def _panel(panel: Panel) -> str:
    pictures, rows, columns, labels, heading = panel
    check_grid(pictures, rows, columns, labels)
    heads = [f'<div class="column">{html.escape(text)}</div>' for text in columns]
    cells = ["<div></div>", *heads] if heads else []
    for i, line in enumerate(pictures):
        cells.append(f'<div class="row">{html.escape(rows[i])}</div>')
        for j, picture in enumerate(line):
            above, below = columns[j] if columns else "", labels[i][j] if labels else ""
            name = ", ".join(filter(None, (heading, rows[i], above, below)))
            cells.append(_figure(picture, name, below, cell_size(pictures)))
    grid = f"--count: {len(pictures[0])}; --wide: {cell_size(pictures)[1]}px"
    above = f"<h2>{html.escape(heading)}</h2>\n" if heading else ""
    return f'{above}<div class="wide"><div class="grid" style="{grid}">\n' + "\n".join(cells) + "\n</div></div>"


def _figure(picture: Picture | None, name: str, label: str, cell: tuple[int, int]) -> str:
    if picture is None:
        return "<div></div>"
    h, w = picture.shape[:2]
    small = ' class="small"' if 2 * max(h / cell[0], w / cell[1]) <= 1 else ""
    image = f'<img{small} width="{w}" height="{h}" alt="{html.escape(name)}" src="{_data_uri(picture)}">'
    below = f"<figcaption>{html.escape(label)}</figcaption>" if label else ""
    return f'<figure><button type="button">{image}</button>{below}</figure>'


def _data_uri(picture: Picture) -> str:
    buffer = io.BytesIO()
    Pillow.fromarray(levels(picture)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row))
    heads = "".join(f'<th scope="col"><button type="button">{html.escape(name)}</button></th>' for name in names)
    body = "\n".join(f"<tr>{''.join(_cell(row.get(name)) for name in names)}</tr>" for row in rows)
    return f'<div class="wide"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _cell(value: Any) -> str:
    """A number is shown with four digits, and sorted with all of them."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return f"<td>{html.escape('' if value is None else str(value))}</td>"
    text = str(value) if isinstance(value, numbers.Integral) else f"{value:.4g}"
    key = f' data-value="{float(value)!r}"' if math.isfinite(value) else ""
    return f'<td class="number"{key}>{text}</td>'
