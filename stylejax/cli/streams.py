"""Standard streams that may be closed, full or without a reader: an image is worth more than a line about it."""

import io
import os
import sys
from typing import Any

from stylejax.errors import InputError


def open_streams() -> None:
    """Reopen the standard streams so that a lost stream cannot cost an image.

    Text for standard error is dropped if it cannot be written. For standard output, a closed pipe raises `BrokenPipeError` and
    any other failure `InputError`. Characters without an encoding, as in file names, are escaped.
    """
    for number in range(3):
        _occupy(number)
    sys.stdout, sys.stderr = _text(_Output(1, "w", closefd=False)), _text(_Notes(2, "w", closefd=False))


class _Output(io.FileIO):
    """Standard output."""

    def write(self, data: Any) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            _discard(self.fileno())
            if isinstance(error, BrokenPipeError):
                raise
            raise InputError(f"cannot write to standard output: {error.strerror}; redirect it elsewhere") from None


class _Notes(io.FileIO):
    """Standard error."""

    def write(self, data: Any) -> int | None:
        try:
            return super().write(data)
        except OSError:
            _discard(self.fileno())
            return len(data)


def _occupy(number: int) -> None:
    """Connect a closed descriptor to the null device: the next file opened would get its number."""
    try:
        os.fstat(number)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_RDWR), number)


def _discard(number: int) -> None:
    """Connect a descriptor to the null device, so that Python does not fail again when it flushes at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)


def _text(raw: io.FileIO) -> io.TextIOWrapper:
    original: Any = sys.stderr if isinstance(raw, _Notes) else sys.stdout
    encoding = original.encoding if original else "utf-8"
    buffered = isinstance(raw, _Output) and not raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=not buffered)
