"""The one exception that means: the input is at fault, and here is what to do about it."""

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Something the user gave cannot be used; the message is one line that says what, why and what to do.

    The command line prints it and exits with code 2.
    """


def brief(error: BaseException) -> str:
    """Return the reason of an error as one printable line of at most 160 characters."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in line)[:160]


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`" (did you mean 'conv4_2'?)"` for the choice nearest to `name`, or an empty string."""
    near = difflib.get_close_matches(name, list(choices), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
