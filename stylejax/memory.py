"""How much memory a run takes, before it is started."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import jax

from stylejax.errors import InputError
from stylejax.vgg import CHANNELS, block, layer_names
from stylejax.winograd import BLOCK

IMAGE = 12
"""Bytes a pixel of one RGB image in float32."""

WORKING_SET = 1.6
"""Bytes of an evaluation over the bytes of all responses: rectified responses are kept for the gradient, the largest is
needed twice more. From the compiled program, with which `tests/test_memory.py` compares it."""

COPIES, WINOGRAD_COPIES = 2, 4
"""Bytes of the network over those of its kernels: directly, they are there once more, turned round for the gradient; for
Winograd's convolution they are transformed, 36 numbers for 9."""

WINOGRAD_BLOCK = 2 * 36 * 4 * BLOCK
"""Bytes of the values and of the products of the tiles that it takes at once."""

SMALLEST = 32
"""No smaller size is recommended: it would be no picture."""


def predicted_bytes(
    network: str, layers: Iterable[str], height: int, width: int, history: int, winograd: bool | None = None
) -> int:
    """Peak memory of a step at height×width: the network and its responses up to the deepest of `layers`, and
    2 · `history` images. `winograd` is what `build_vgg` was given."""
    winograd = jax.default_backend() == "cpu" if winograd is None else winograd
    names = layer_names(network)
    names = names[: 1 + max((names.index(layer) for layer in layers), default=-1)]
    channels = [CHANNELS[block(name) - 1] for name in names]
    responses = sum(4 * c / 4 ** (block(name) - 1) for name, c in zip(names, channels, strict=True))
    kernels = sum(4 * 9 * i * o for i, o in zip((3, *channels), channels, strict=False))
    copies, block_bytes = (WINOGRAD_COPIES, WINOGRAD_BLOCK) if winograd else (COPIES, 0)
    return int(height * width * (WORKING_SET * responses + IMAGE * (2 * history + 12)) + copies * kernels + block_bytes)


def available_bytes() -> int:
    """What the first device can still give; on the CPU the machine's free memory, or the container's if that is less."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    import psutil

    return min([psutil.virtual_memory().available, *_container_bytes()])


def check_memory(needed: Callable[[int], int], available: int, size: int) -> None:
    """Raises `InputError` that names a size that fits, if the `needed` bytes at `size` are more than `available`."""
    if needed(size) <= available:
        return
    fits = size
    while fits and needed(fits) > 0.95 * available:
        fits = int(0.95 * fits)
    remedy = f"--size {fits} would fit, and so may" if fits >= SMALLEST else "free some memory, or try"
    raise InputError(
        f"a picture of --size {size} needs about {needed(size) / 2**30:.1f} GiB of memory, and "
        f"{available / 2**30:.1f} GiB are free; {remedy} a smaller --history or --optimizer adam"
    )


def _container_bytes() -> list[int]:
    """The rest of a Linux control group's limit, if there is one. Files that it keeps in memory make room when asked."""
    group = Path(os.environ.get("STYLEJAX_CGROUP", "/sys/fs/cgroup"))
    try:
        limit, used = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        cached = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.MULTILINE)
    except OSError:
        return []
    spare = int(cached[1]) if cached else 0
    return [int(limit) - int(used) + spare] if limit.isdecimal() and used.isdecimal() else []
