"""Prediction of the memory of a run, and its check against the free memory."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import jax

from stylejax.errors import InputError
from stylejax.models.architecture import CHANNELS, block_index, layer_names
from stylejax.models.winograd import BLOCK_SIZE
from stylejax.partitioning.tile_grid import tile_read_size

BYTES_PER_PIXEL = 12
"""Bytes per pixel of an RGB image in float32."""

WORKING_SET_FACTOR = 1.6
"""Bytes of an evaluation over those of all features: rectified features are kept for the backward pass, and the largest are
held twice more. `tests/test_memory.py` compares it with the compiled program."""

REMAT_FACTOR = 2.4
"""Bytes of an evaluation with `remat` over those of the features of the largest block, which alone are held at once."""

KERNEL_COPIES, WINOGRAD_COPIES = 2, 4
"""Bytes of the network over those of its kernels: direct convolution also holds them flipped for the backward pass, and
Winograd's holds 36 numbers for the 9 of a kernel."""

STEP_IMAGES = 5
"""Images that a step of L-BFGS holds temporarily, after its evaluation has freed its memory; Adam holds two."""

BATCH_MEMORY_FRACTION = 0.8
"""Fraction of the free memory that a batch may take, since predictions are accurate to 20 %."""

WINOGRAD_BLOCK_BYTES = 2 * 36 * 4 * BLOCK_SIZE
"""Bytes of the transformed inputs and the products of one block of Winograd's convolution."""

MIN_SIZE = 32
"""Minimum size that an error message suggests; smaller images are of no use."""


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
    batch_size: int = 1,
    remat: bool = False,
    tile: int = 0,
    shards: int = 1,
) -> int:
    """Return the peak memory of a step on each device, in bytes: network, features and optimizer state.

    The network is evaluated up to the deepest of `layers`; `history` counts the pairs of vectors of L-BFGS. A `tile` of 0 means
    the whole image. `winograd` and `remat` are those of `build_vgg`.
    """
    winograd = jax.default_backend() == "cpu" if winograd is None else winograd
    layers = tuple(layers)
    names = layer_names(network)
    names = names[: 1 + max((names.index(layer) for layer in layers), default=-1)]
    channels = [CHANNELS[block_index(name) - 1] for name in names]
    kernels = sum(4 * 9 * i * o for i, o in zip((3, *channels), channels, strict=False))
    h, w = tile_read_size(height, width, tile, layers, network) if tile else (height, width)
    tiled, pixels = (h, w) != (height, width), h * w
    evaluation = pixels * _bytes_per_pixel(names, remat)
    if tiled:
        evaluation = max(evaluation, BYTES_PER_PIXEL * height * width * (2 if optimizer == "adam" else STEP_IMAGES))
    vectors = BYTES_PER_PIXEL * height * width * _num_images(optimizer, history, pyramid, tiled)
    copies, block_bytes = (WINOGRAD_COPIES, WINOGRAD_BLOCK_BYTES) if winograd else (KERNEL_COPIES, 0)
    return int(batch_size * ((evaluation + vectors) / shards + block_bytes) + copies * kernels)


def _num_images(optimizer: str, history: int, pyramid: bool, tiled: bool) -> float:
    """Return how many copies of the image are held.

    With tiles each is counted: content, point, gradient and best point; two moments of Adam, or direction, trial and last
    point of L-BFGS. A pyramid has a third more numbers, and its decoded image and the gradient of that are held too.
    """
    pairs = 2 * history
    if not tiled:
        return (4 if optimizer == "adam" else pairs) * (4 / 3 if pyramid else 1) + 12.0
    vectors = 5 if optimizer == "adam" else pairs + 8
    return 1.0 + (vectors * 4 / 3 + 2 if pyramid else vectors)


def _bytes_per_pixel(names: Sequence[str], remat: bool) -> float:
    sizes = {name: 4 * CHANNELS[block_index(name) - 1] / 4 ** (block_index(name) - 1) for name in names}
    if not remat:
        return WORKING_SET_FACTOR * sum(sizes.values())
    return REMAT_FACTOR * max(sum(sizes[n] for n in names if block_index(n) == b) for b in range(1, 6))


def available_bytes() -> int:
    """Return the free bytes of the first device; on a CPU the lesser of the machine's and the container's."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    import psutil

    return min([psutil.virtual_memory().available, *_container_bytes()])


def check_memory(
    needed: Callable[[int], int], available: int, size: int, others: Mapping[str, Callable[[int], int]] | None = None
) -> None:
    """Raise `InputError` if a run of a size needs more bytes than are available.

    `others` maps options to the bytes needed with them. The message names those that fit, and a size that fits.
    """
    if needed(size) <= available:
        return
    fits = size
    while fits and needed(fits) > 0.95 * available:
        fits = int(0.95 * fits)
    helpful = [name for name, other in (others or {}).items() if other(size) <= available]
    options = ([f"--size {fits}"] if fits >= MIN_SIZE else []) + helpful
    remedy = f"{' or '.join(options)} would fit, and so may" if options else "free some memory, or try"
    raise InputError(
        f"an image of --size {size} needs about {needed(size) / 2**30:.1f} GiB of memory, and "
        f"{available / 2**30:.1f} GiB are free; {remedy} a smaller --history or --optimizer adam"
    )


def max_batch_size(needed: Callable[[int], int], available: int, count: int) -> int:
    """Return the largest batch that fits, at least 1, such that all batches of `count` runs are about equal.

    For example, 9 runs of which 8 fit at once are batches of 5 and 4.
    """
    fit = next((n for n in range(count, 1, -1) if needed(n) <= BATCH_MEMORY_FRACTION * available), 1)
    return -(-count // -(-count // fit))


def _container_bytes() -> list[int]:
    """Return the free bytes of a Linux control group, if it has a limit; its cached files count as free."""
    group = Path(os.environ.get("STYLEJAX_CGROUP", "/sys/fs/cgroup"))
    try:
        limit, used = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        cached = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.MULTILINE)
    except OSError:
        return []
    spare = int(cached[1]) if cached else 0
    return [int(limit) - int(used) + spare] if limit.isdecimal() and used.isdecimal() else []
