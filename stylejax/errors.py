"""The one exception that means: the input is at fault, and here is what to do about it."""

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Something the user gave can not be used; the message is one line that says what, why and what to do.

    The command line prints it and exits with code 2.
    """


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`" (did you mean 'conv4_2'?)"` for the choice nearest to `name`, or an empty string."""
    near = difflib.get_close_matches(name, list(choices), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
