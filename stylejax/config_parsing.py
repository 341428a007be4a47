"""Parse the settings that are typed as text: layers, first images, scales, tile and shard. Standard library only."""

import math
from collections.abc import Iterable

from stylejax.config_validation import check

FIRST_IMAGES = ("content", "noise", "style", "gray")
"""First images that `init` may name or blend; any other text is the name of a file."""


def parse_layers(entries: Iterable[str]) -> dict[str, float]:
    """Return the weight of each layer: 0.5 for `conv1_1:0.5`, 1 for `conv1_1`, and NaN for a weight that is not a number."""
    parts = (entry.partition(":") for entry in entries)
    return {name: _number(weight) if colon else 1.0 for name, colon, weight in parts}


def parse_init(init: str) -> dict[str, float]:
    """Return the share of each first image in the blend `init`; empty for a file.

    Images without a share divide what is left. Raises `InputError` for shares that do not make 1.
    """
    names, _, given = zip(*(part.strip().partition(":") for part in init.split("+")), strict=True)
    if not set(names) <= set(FIRST_IMAGES):
        return {}
    shares = [_number(share) if share else None for share in given]
    rest, unset = 1 - sum(share for share in shares if share is not None), shares.count(None)
    shares = [rest / unset if share is None else share for share in shares]
    ok = len(set(names)) == len(names) and all(share > 0 for share in shares) and abs(sum(shares) - 1) < 1e-6
    check("init", init, ok, "different first images with shares that make 1, such as content+noise:0.3")
    return dict(zip(names, shares, strict=True))


def parse_scales(scales: str, size: int) -> tuple[int, ...] | None:
    """Return the longest sides from coarse to fine, of which `size` is the last; None for auto.

    Raises `InputError` unless the sides rise.
    """
    if scales in ("1", "auto"):
        return (size,) if scales == "1" else None
    parts = [part.strip() for part in scales.split(",")]
    sides = [int(part) for part in parts if part.isdecimal() and len(part) < 10 and int(part) > 0]
    rising = all(a < b for a, b in zip(sides, sides[1:], strict=False))
    ok = len(sides) == len(parts) and rising and sides[-1] <= size
    check("scales", scales, ok, f"auto, 1, or rising sizes up to the size {size}, such as 128,256")
    return tuple(dict.fromkeys((*sides, size)))


def parse_count(name: str, value: str) -> int | None:
    """Return `tile` or `shard` as a number: 0 for off, None for auto. Raises `InputError` for any other text."""
    ok = value in ("off", "auto") or value.isdecimal() and len(value) < 10 and int(value) > 0
    check(name, value, ok, "off, auto, or a whole number above 0")
    return {"off": 0, "auto": None}[value] if value in ("off", "auto") else int(value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
