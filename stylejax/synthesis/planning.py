"""The choice of an evaluation that fits in memory: whole, by tiles, or sharded over devices."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax

from stylejax.config import TransferConfig
from stylejax.config_parsing import parse_count
from stylejax.errors import InputError
from stylejax.models.architecture import total_stride
from stylejax.partitioning.memory import available_bytes, check_memory, predicted_bytes
from stylejax.partitioning.tile_grid import halo_size
from stylejax.synthesis.schedule import image_size, split_steps

TILE_SIZES = (4096, 2048, 1024, 512, 256)
"""Sides that `--tile auto` tries in this order: larger tiles compute less twice in their halos."""

MIN_ROWS_PER_DEVICE = 128
"""Minimum rows of a device for `--shard auto`: with fewer, devices wait for each other."""


class Partition(NamedTuple):
    """Partition of the image: side of a tile in pixels, 0 for none; number of devices that share the rows."""

    tile: int
    shards: int


class Workload(NamedTuple):
    """Config, layers, network and content shape of a run, which determine its memory."""

    config: TransferConfig
    layers: tuple[str, ...]
    network: str
    content: tuple[int, ...]


def plan_execution(work: Workload) -> Partition:
    """Choose tiles and shards.

    Raises `InputError` for an invalid tile or number of devices, and for a run that does not fit in memory.
    """
    shards = _num_shards(work)
    _check_shards(work, shards)
    tile = parse_count("tile", work.config.tile)
    _check_tile(work, tile or 0, shards)
    partition = Partition(_auto_tile(work, shards) if tile is None else tile, shards)
    needed = memory_estimator(work, partition)
    check_memory(needed, _available(shards), work.config.side, _alternatives(work, partition))
    return partition


def memory_estimator(work: Workload, partition: Partition, batch_size: int = 1) -> Callable[[int], int]:
    """Return a function from the size to the peak memory of a device, for a batch of `batch_size` runs.

    For sizes other than the config's, it is an upper bound: their last scale may have more steps.
    """
    config = work.config

    def needed(size: int) -> int:
        steps = split_steps(config)[-1][1] if size == config.side else config.steps
        return predicted_bytes(
            work.network,
            work.layers,
            *image_size(config, work.layers, work.content, size),
            min(config.history, steps),
            optimizer=config.optimizer,
            pyramid=config.parameterization == "pyramid",
            remat=config.remat,
            tile=partition.tile,
            batch_size=batch_size,
            shards=partition.shards,
        )

    return needed


def _num_shards(work: Workload) -> int:
    config = work.config
    requested = parse_count("shard", config.shard)
    if requested is not None:
        return max(requested, 1)
    devices, possible = len(jax.local_devices()), config.padding == "zeros" and not parse_count("tile", config.tile)
    height = image_size(config, work.layers, work.content, config.side)[0]
    return devices if possible and height >= devices * MIN_ROWS_PER_DEVICE else 1


def _auto_tile(work: Workload, shards: int) -> int:
    """Return 0 if the whole image fits, else the largest tile that fits, else the smallest tile."""
    if shards > 1 or work.config.padding == "circular":
        return 0
    tiles = [tile for tile in TILE_SIZES if tile >= halo_size(work.layers, work.network)]
    fits = (t for t in (0, *tiles) if memory_estimator(work, Partition(t, 1))(work.config.side) <= 0.9 * _available(1))
    return next(fits, tiles[-1])


def _check_tile(work: Workload, tile: int, shards: int) -> None:
    if not tile:
        return
    halo = halo_size(work.layers, work.network)
    if tile < halo:
        deepest = max(work.layers, default="conv1_1")
        raise InputError(
            f"--tile must be at least {halo}, the halo of {deepest}, got {tile}; use --tile {halo} or auto"
        )
    if shards > 1:
        raise InputError("--tile cannot be combined with --shard; use one of them")
    if work.config.padding == "circular":
        raise InputError("--tile cannot be combined with --padding circular; use --tile off")


def _check_shards(work: Workload, shards: int) -> None:
    config, devices = work.config, len(jax.local_devices())
    if shards == 1:
        return
    if shards > devices:
        raise InputError(f"--shard must be at most {devices}, the number of devices, got {shards}; use auto, or --tile")
    if config.padding != "zeros":
        raise InputError(f"--shard cannot be combined with --padding {config.padding}; use zeros, or --tile")
    minimum = shards * total_stride(work.layers)
    if config.side < minimum:
        raise InputError(f"--size must be at least {minimum} for --shard {shards}, got {config.side}; use --shard auto")


def _available(shards: int) -> int:
    """Return the free bytes of a device; CPU devices share the memory of the machine."""
    on_cpu = jax.local_devices()[0].platform == "cpu"
    return available_bytes() // (shards if on_cpu else 1)


def _alternatives(work: Workload, partition: Partition) -> dict[str, Callable[[int], int]]:
    """Return options that save memory, each with the estimator of the run with that option."""
    estimators = {}
    if not work.config.remat:
        with_remat = work._replace(config=dataclasses.replace(work.config, remat=True))
        estimators["--remat"] = memory_estimator(with_remat, partition)
    if partition == (0, 1) and work.config.padding != "circular":
        tile = max(512, halo_size(work.layers, work.network))
        estimators[f"--tile {tile}"] = memory_estimator(work, Partition(tile, 1))
    return estimators
