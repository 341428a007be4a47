"""Parsers of textual settings: layers, initial image, scales, tile, shard. Standard library only."""

import math
from collections.abc import Iterable

from stylejax.config_validation import require

INIT_KINDS = ("content", "noise", "style", "gray")
"""Initial images that `init` may name or blend; any other text is a file name."""

INIT_ALIASES = {"random": "noise", "image": "content"}
"""Names of other programs."""


def parse_layers(entries: Iterable[str]) -> dict[str, float]:
    """Return the weight of each layer, by default 1: 0.5 for `conv1_1:0.5`. Invalid weights are NaN."""
    parts = (entry.partition(":") for entry in entries)
    return {name: _number(weight) if colon else 1.0 for name, colon, weight in parts}


def parse_init(init: str) -> dict[str, float]:
    """Return the share of each image in the blend `init`; empty if `init` is a file.

    Images without a share divide the remainder equally. Raises `InputError` unless the shares sum to 1.
    """
    parts = [part.strip().lower().partition(":") for part in init.split("+")]
    names = [INIT_ALIASES.get(name, name) for name, _, _ in parts]
    if not set(names) <= set(INIT_KINDS):
        return {}
    shares = [_number(text) if text else None for _, _, text in parts]
    rest, unset = 1 - sum(share for share in shares if share is not None), shares.count(None)
    shares = [rest / unset if share is None else share for share in shares]
    ok = len(set(names)) == len(names) and all(share > 0 for share in shares) and abs(sum(shares) - 1) < 1e-6
    require("init", init, ok, "different initial images with shares that sum to 1, such as content+noise:0.3")
    return dict(zip(names, shares, strict=True))


def parse_scales(scales: str, size: int) -> tuple[int, ...] | None:
    """Return the longest sides from coarse to fine, ending with `size`; None for auto.

    Raises `InputError` unless the sides increase.
    """
    if scales in ("1", "auto"):
        return (size,) if scales == "1" else None
    parts = [part.strip() for part in scales.split(",")]
    sides = [int(part) for part in parts if _is_count(part)]
    rising = all(a < b for a, b in zip(sides, sides[1:], strict=False))
    ok = len(sides) == len(parts) and rising and sides[-1] <= size
    require("scales", scales, ok, f"auto, 1, or rising sizes up to the size {size}, such as 128,256")
    return tuple(dict.fromkeys((*sides, size)))


def parse_count(name: str, value: str) -> int | None:
    """Return `tile` or `shard` as a number, 0 for off, None for auto; raise `InputError` for other text."""
    keywords = {"off": 0, "auto": None}
    require(name, value, value in keywords or _is_count(value), "off, auto, or a whole number above 0")
    return keywords[value] if value in keywords else int(value)


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) < 10 and int(text) > 0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
