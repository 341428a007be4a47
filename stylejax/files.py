"""Atomic writes, checks of output paths, and files of installed packages, without dependencies."""

import contextlib
import importlib.metadata
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

from stylejax.errors import InputError


def check_writable(target: Path) -> None:
    """Raise `InputError` unless a file can be created at `target`; leave no file behind."""
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
    """Create a folder and its parents, or raise `InputError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror}; choose another place") from None


def write_atomically(target: Path, data: bytes) -> None:
    """Write `data` to `target` in one step, so that a crash leaves the old file or the new one."""
    atomic_write(target, lambda path: path.write_bytes(data))


def atomic_write(target: Path, write: Callable[[Path], object]) -> None:
    """Replace `target` in one step by the file that `write` creates, or raise `InputError`."""
    temporary = target.with_name(f".stylejax-{secrets.token_hex(8)}")
    try:
        write(temporary)
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}; choose another place") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def installed_file(distribution: str, member: str) -> Path | None:
    """Return the path of `member` of an installed distribution; None if it is not installed."""
    try:
        path = Path(str(importlib.metadata.distribution(distribution).locate_file(member)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None
