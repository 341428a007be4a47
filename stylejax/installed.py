"""Find data files of other installed packages, without importing those packages. Standard library only."""

import importlib.metadata
from pathlib import Path


def installed_file(distribution: str, member: str) -> Path | None:
    """Return the path of a distribution's file, `member` as in its wheel; None if it is not installed."""
    try:
        path = Path(str(importlib.metadata.distribution(distribution).locate_file(member)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None
