"""How much memory a run takes, before it is started."""

import os
from collections.abc import Iterable
from pathlib import Path

import jax

from stylejax.errors import InputError
from stylejax.vgg import CHANNELS, block, layer_names

IMAGE = 12
"""Bytes a pixel of one RGB image in float32."""

WORKING_SET = 1.5
"""Bytes of an evaluation over the bytes of all responses: rectified responses are kept for the gradient, the largest is
needed twice more. From the compiled program, which `tests/test_memory.py` compares."""


def predicted_bytes(network: str, layers: Iterable[str], height: int, width: int, history: int) -> int:
    """Peak memory of a step at height×width: responses up to the deepest of `layers`, and 2 · `history` images."""
    names = layer_names(network)
    last = max(names.index(layer) for layer in layers)
    responses = sum(4 * CHANNELS[block(n) - 1] / 4 ** (block(n) - 1) for n in names[: last + 1])
    return int(height * width * (WORKING_SET * responses + IMAGE * (2 * history + 12)))


def available_bytes() -> int:
    """What the first device can still give; on the CPU the machine's free memory, or the container's if that is less."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    import psutil

    return min([psutil.virtual_memory().available, *_container_bytes()])


def check_memory(needed: int, available: int, size: int) -> None:
    """Raises `InputError` with a size that fits, if `needed` bytes at `size` are more than `available`."""
    if needed <= available:
        return
    fits = int(0.95 * size * (available / needed) ** 0.5)
    raise InputError(
        f"a picture of --size {size} needs about {needed / 2**30:.1f} GiB of memory, and {available / 2**30:.1f} GiB are free; "
        f"--size {fits} would fit, and so may a smaller --history or --optimizer adam"
    )


def _container_bytes() -> list[int]:
    """The rest of a Linux control group's limit, if there is one."""
    group = Path(os.environ.get("STYLEJAX_CGROUP", "/sys/fs/cgroup"))
    try:
        limit, used = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current"))
    except OSError:
        return []
    return [int(limit) - int(used)] if limit.isdecimal() and used.isdecimal() else []
