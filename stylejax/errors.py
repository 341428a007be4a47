"""`InputError`, which reports invalid input, and helpers for its messages."""

import difflib
import re
from collections.abc import Iterable


class InputError(Exception):
    """Invalid input; the message is one line that names the fault and the remedy.

    The command line prints it and exits with code 2.
    """


def brief(error: BaseException) -> str:
    """Return the reason of an error as one printable line of at most 160 characters."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(" ".join(text.split()))[:160]


def printable(text: str) -> str:
    """Return a text as one line: control characters are escaped, and the middle of a very long word is omitted."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.splitlines()))
    return re.sub(r"(\S{200})\S{20,}(\S{200})", r"\1…\2", line)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return `" (did you mean 'conv4_2'?)"` for a choice close to `name`, else an empty string."""
    matches = difflib.get_close_matches(name, list(choices), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
