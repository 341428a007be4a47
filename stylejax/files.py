"""Write files whole or not at all, and find data files of installed packages. Standard library only."""

import contextlib
import importlib.metadata
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from stylejax.errors import InputError


def check_writable(target: Path) -> None:
    """Raises `InputError` unless a file can be created at `target`. Nothing is left behind."""
    if os.path.isdir(target):
        raise InputError(f"cannot write {target}: it is a folder; name a file in it")
    if not os.path.isdir(target.parent):
        raise InputError(f"cannot write {target}: the folder {target.parent} does not exist; create it first")
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
        with contextlib.suppress(FileNotFoundError):
            target.stat()
            target.open("ab").close()
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}; choose another place") from None


def make_folder(folder: Path) -> None:
    """Make a folder and those above it. Raises `InputError` if that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror}; choose another place") from None


def write_atomically(target: Path, data: bytes) -> None:
    """Replaces `target` by `data` in one step: a reader, or a crash, finds the old file or the new one, never a part."""
    replace_atomically(target, lambda file: file.write(data))


def replace_atomically(target: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Replaces `target` in one step by what `write` writes into a file beside it. Raises `InputError` if it cannot."""
    partial = target.with_name(f".stylejax-{secrets.token_hex(8)}")
    try:
        with partial.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}; choose another place") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def installed_file(distribution: str, member: str) -> Path | None:
    """Return the path of a distribution's file, `member` as in its wheel; None if it is not installed."""
    try:
        path = Path(str(importlib.metadata.distribution(distribution).locate_file(member)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None
