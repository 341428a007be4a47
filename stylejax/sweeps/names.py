"""Names of the images of a sweep: after their content, with the settings that vary."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESERVED = ("sheet",)
"""Name of another PNG in the folder of a sweep."""

MAX_NAME = 100
"""Longest name in characters: with four bytes each and a suffix, below the limits of file systems and terminals."""


def row_names(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a name for each row, without a suffix; equal names get the numbers of their rows, counted from 1.

    A name has the stem of the content, that of the styles if they vary, and any other setting that varies with its value, as
    in `photo_painting_seed-2`.
    """
    keys = {key for row in settings for key in row}
    varying = {key for key in keys if len({_text(row.get(key)) for row in settings}) > 1}
    names = [_name(row, [name for name in row if name in varying]) for row in settings]
    counts = Counter(name.casefold() for name in names)
    return [
        f"{name}_{number:04d}" if counts[name.casefold()] > 1 or name.casefold() in RESERVED else name
        for number, name in enumerate(names, 1)
    ]


def _name(row: Mapping[str, Any], varying: Sequence[str]) -> str:
    parts = [_text(row.get("content"))]
    parts += [_text(row["style"])] if "style" in varying else []
    settings = [name for name in varying if name not in ("content", "style")]
    parts += [f"{name.replace('_', '-')}-{_text(row[name])}" for name in settings]
    return re.sub(r"[^\w.,+() -]", "-", "_".join(parts))[:MAX_NAME].strip(" .") or "row"


def _text(value: Any) -> str:
    """Return a value for a name: the stems of paths, and several values joined by +."""
    if isinstance(value, (list, tuple)):
        return "+".join(map(_text, value))
    if isinstance(value, Path) or os.path.sep in str(value):
        return Path(value).stem
    return f"{value:g}" if isinstance(value, float) else str(value)
