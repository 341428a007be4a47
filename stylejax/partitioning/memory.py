"""How much memory a run takes, before it is started."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import jax

from stylejax.errors import InputError
from stylejax.models.architecture import CHANNELS, block, layer_names
from stylejax.models.winograd import BLOCK
from stylejax.partitioning.tile_grid import window_size

IMAGE = 12
"""Bytes a pixel of one RGB image in float32."""

WORKING_SET = 1.6
"""Bytes of an evaluation over the bytes of all responses: rectified responses are kept for the gradient, the largest is
needed twice more. From the compiled program, with which `tests/test_memory.py` compares it."""

REMAT = 2.4
"""The same over those of the largest block, where a block's responses are computed again."""

COPIES, WINOGRAD_COPIES = 2, 4
"""Bytes of the network over those of its kernels: directly, they are there once more, turned round for the gradient; for
Winograd's convolution they are transformed, 36 numbers for 9."""

MOVING = 5
"""Images that a step of L-BFGS takes for a moment, after the evaluation and not beside it; Adam takes two."""

ROOM = 0.8
"""The share of the free memory that lanes may take, as the prediction is right to a fifth."""
WINOGRAD_BLOCK = 2 * 36 * 4 * BLOCK
"""Bytes of the values and of the products of the tiles that it takes at once."""

SMALLEST = 32
"""No smaller size is recommended: it would be no picture."""


def predicted_bytes(
    network: str,
    layers: Iterable[str],
    height: int,
    width: int,
    history: int,
    winograd: bool | None = None,
    *,
    optimizer: str = "lbfgs",
    pyramid: bool = False,
    lanes: int = 1,
    remat: bool = False,
    tile: int = 0,
    shards: int = 1,
) -> int:
    """Peak memory of a step at height×width, of each of `shards` devices: the network, its responses up to the deepest of
    `layers`, and the optimizer's vectors, of which L-BFGS has 2 · `history`. Where `tile` is a side of tiles, the responses are
    those to one window. `winograd` and `remat` are what `build_vgg` was given.
    """
    winograd = jax.default_backend() == "cpu" if winograd is None else winograd
    layers = tuple(layers)
    names = layer_names(network)
    names = names[: 1 + max((names.index(layer) for layer in layers), default=-1)]
    channels = [CHANNELS[block(name) - 1] for name in names]
    kernels = sum(4 * 9 * i * o for i, o in zip((3, *channels), channels, strict=False))
    h, w = window_size(height, width, tile, layers, network) if tile else (height, width)
    tiled, pixels = (h, w) != (height, width), h * w
    evaluation = pixels * _responses(names, remat)
    if tiled:
        evaluation = max(evaluation, IMAGE * height * width * (2 if optimizer == "adam" else MOVING))
    vectors = IMAGE * height * width * _images(optimizer, history, pyramid, tiled)
    copies, block_bytes = (WINOGRAD_COPIES, WINOGRAD_BLOCK) if winograd else (COPIES, 0)
    return int(lanes * ((evaluation + vectors) / shards + block_bytes) + copies * kernels)


def _images(optimizer: str, history: int, pyramid: bool, tiled: bool) -> float:
    """Copies of the image. By tiles every one is counted: the content, and the point, its gradient, the best one and two
    moments of Adam, or the direction, the trial and the memory's last point of L-BFGS. The coarser images of a pyramid are
    a third more numbers, and the picture that they make is there beside them with its gradient."""
    remembered = 2 * history
    if not tiled:
        return (4 if optimizer == "adam" else remembered) * (4 / 3 if pyramid else 1) + 12.0
    moved = 5 if optimizer == "adam" else remembered + 8
    return 1.0 + (moved * 4 / 3 + 2 if pyramid else moved)


def _responses(names: Sequence[str], remat: bool) -> float:
    """Bytes a pixel of an evaluation."""
    sizes = {name: 4 * CHANNELS[block(name) - 1] / 4 ** (block(name) - 1) for name in names}
    if not remat:
        return WORKING_SET * sum(sizes.values())
    return REMAT * max(sum(sizes[n] for n in names if block(n) == b) for b in range(1, 6))


def available_bytes() -> int:
    """What the first device can still give; on the CPU the machine's free memory, or the container's if that is less."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    import psutil

    return min([psutil.virtual_memory().available, *_container_bytes()])


def check_memory(
    needed: Callable[[int], int], available: int, size: int, others: Mapping[str, Callable[[int], int]] | None = None
) -> None:
    """Raises `InputError` if the `needed` bytes at `size` are more than `available`. It names a size that fits, and which of
    the `others`, options with what they need, would make this size fit."""
    if needed(size) <= available:
        return
    fits = size
    while fits and needed(fits) > 0.95 * available:
        fits = int(0.95 * fits)
    helping = [name for name, other in (others or {}).items() if other(size) <= available]
    ways = ([f"--size {fits}"] if fits >= SMALLEST else []) + helping
    remedy = f"{' or '.join(ways)} would fit, and so may" if ways else "free some memory, or try"
    raise InputError(
        f"a picture of --size {size} needs about {needed(size) / 2**30:.1f} GiB of memory, and "
        f"{available / 2**30:.1f} GiB are free; {remedy} a smaller --history or --optimizer adam"
    )


def lanes_that_fit(needed: Callable[[int], int], available: int, count: int) -> int:
    """As many lanes of one program, of `count`, as the `needed` bytes of so many leave room for; one at least. They are as
    many in each batch as can be: of 9 where 8 fit it takes 5 and 4."""
    fit = next((n for n in range(count, 1, -1) if needed(n) <= ROOM * available), 1)
    return -(-count // -(-count // fit))


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
