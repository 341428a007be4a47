"""Questions about paths, atomic writes, and files of installed packages, without dependencies."""

import contextlib
import importlib.metadata
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Literal, TypeAlias

from stylejax.errors import InputError, brief

Kind: TypeAlias = Literal["nothing", "file", "folder", "special"]

TEMPORARY = re.compile(r"\.stylejax-[0-9a-f]{16}")
"""Names of the temporary files of `atomic_write`."""


def kind_of(path: str | os.PathLike[str]) -> Kind:
    """Return what is at `path`, behind links; `special` is a device, pipe or socket.

    Every question about a path is asked here. Raises `InputError` for a name that no file can have, and for a folder that
    cannot be searched.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be used: {brief(error)}; choose another name or place") from None
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "special"


def require_file(path: str | os.PathLike[str], remedy: str) -> None:
    """Raise `InputError` with the remedy unless `path` is a regular file."""
    faults = {"nothing": "does not exist", "folder": "is a folder", "special": "is a device, pipe or socket"}
    if fault := faults.get(kind_of(path)):
        raise InputError(f"{path} {fault}; {remedy}")


def list_files(folder: Path) -> list[Path]:
    """Return the visible regular files in a folder, sorted; raise `InputError` if it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.name[0] != "." and kind_of(path) == "file")
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be read: {brief(error)}; name another one") from None


def check_writable(target: Path) -> None:
    """Raise `InputError` unless a file can be created at `target`; remove what a killed run left beside it."""
    if not target.name:
        raise InputError(f"cannot write {str(target)!r}: it must be the name of a file; choose one")
    match kind_of(target):
        case "folder":
            raise InputError(f"cannot write {target}: it is a folder; name a file in it")
        case "special":
            raise InputError(f"cannot write {target}: it is a device, pipe or socket; name a regular file")
    if kind_of(target.parent) != "folder":
        raise InputError(f"cannot write {target}: the folder {target.parent} does not exist; create it first")
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
        with contextlib.suppress(FileNotFoundError):
            os.close(os.open(target, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NONBLOCK", 0)))
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}; choose another place") from None
    remove_abandoned(target.parent)


def check_distinct(outputs: Mapping[str, Path], inputs: Iterable[Path]) -> None:
    """Raise `InputError` if an output, given by its role, is an input or another output, through links of any kind."""
    used = {identity for path in inputs for identity in _identities(path)}
    for role, path in outputs.items():
        identities = _identities(path)
        if identities & used:
            raise InputError(f"cannot write {role} {path}: the run uses this file otherwise; name another one")
        used |= identities


def _identities(path: Path) -> set[object]:
    """Return the real path and, of an existing file, its inode: two names of one file share one of them."""
    exists = kind_of(path) != "nothing"
    identities: set[object] = {os.path.realpath(path)}
    if exists:
        status = os.stat(path)
        identities.add((status.st_dev, status.st_ino))
    return identities


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, or raise `InputError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot make the folder {folder}: {brief(error)}; choose another place") from None


def write_atomically(target: Path, data: bytes) -> None:
    """Write `data` to `target` in one step, so that a crash leaves the old file or the new one."""
    atomic_write(target, lambda path: path.write_bytes(data))


def atomic_write(target: Path, write: Callable[[Path], object]) -> None:
    """Replace `target` in one step by the file that `write` creates, or raise `InputError`."""
    try:
        with _temporary_file(target.parent) as file:
            write(Path(file.name))
            os.fsync(file.fileno())
            if os.name == "nt":  # Windows does not rename an open file.
                file.close()
            os.replace(file.name, target)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {target}: {brief(error)}; choose another place") from None


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of killed runs: those that no process has locked."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError), open(entry, "rb") as file:
                    _lock(file, wait=False)
                    os.unlink(entry)


@contextlib.contextmanager
def _temporary_file(folder: Path) -> Iterator[IO[bytes]]:
    """Create a locked file; repeat this if another process removed it before it was locked."""
    while True:
        file = (folder / f".stylejax-{secrets.token_hex(8)}").open("x+b")
        with contextlib.suppress(OSError):  # Some network file systems have no locks.
            _lock(file, wait=True)
        if os.fstat(file.fileno()).st_nlink:
            break
        file.close()
    try:
        with file:
            yield file
    finally:
        with contextlib.suppress(OSError):
            os.unlink(file.name)


def _lock(file: IO[bytes], wait: bool) -> None:
    """Lock an open file until it is closed; raise `OSError` if another process has locked it."""
    with contextlib.suppress(ImportError):  # Windows does not remove open files anyway.
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def installed_file(distribution: str, member: str) -> Path | None:
    """Return the path of `member` of an installed distribution; None if it is not installed."""
    try:
        path = Path(str(importlib.metadata.distribution(distribution).locate_file(member)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return path if kind_of(path) == "file" else None
