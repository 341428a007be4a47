"""How a run is evaluated so that it fits the memory: whole, by tiles, or shared among devices."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax

from stylejax.config import TransferConfig
from stylejax.config_parsing import parse_count
from stylejax.errors import InputError
from stylejax.models.architecture import smallest_side
from stylejax.partitioning.memory import available_bytes, check_memory, predicted_bytes
from stylejax.partitioning.tile_grid import halo
from stylejax.synthesis.schedule import image_size, split_steps

TILES = (4096, 2048, 1024, 512, 256)
"""Sides that `--tile auto` chooses from: the larger, the less is computed twice in the halos."""

MIN_ROWS = 128
"""Least rows of a device for `--shard auto`: with fewer, devices wait for each other."""


class Partition(NamedTuple):
    """How a run is split: pixels a side of a tile, 0 for none; and devices that share the rows, 1 for none."""

    tile: int
    shards: int


class Workload(NamedTuple):
    """Config, layers, network and content shape of a run: they decide its memory."""

    config: TransferConfig
    layers: tuple[str, ...]
    network: str
    content: tuple[int, ...]


def plan_partition(work: Workload) -> Partition:
    """Decide on tiles and shards.

    Raises `InputError` for a tile or a number of devices that is impossible, and for a run that does not fit the memory.
    """
    shards = _shards(work)
    _check_shards(work, shards)
    tile = parse_count("tile", work.config.tile)
    _check_tile(work, tile or 0, shards)
    partition = Partition(_auto_tile(work, shards) if tile is None else tile, shards)
    check_memory(needed_bytes(work, partition), _available(shards), work.config.size, _alternatives(work, partition))
    return partition


def needed_bytes(work: Workload, partition: Partition, lanes: int = 1) -> Callable[[int], int]:
    """Return the peak memory of a device, for a batch of `lanes` runs, as a function of the size.

    At most, for another size than the config's: its last scale may have more of the steps.
    """
    config = work.config

    def needed(size: int) -> int:
        steps = split_steps(config)[-1][1] if size == config.size else config.steps
        return predicted_bytes(
            work.network,
            work.layers,
            *image_size(config, work.layers, work.content, size),
            min(config.history, steps),
            optimizer=config.optimizer,
            pyramid=config.parameterization == "pyramid",
            remat=config.remat,
            tile=partition.tile,
            lanes=lanes,
            shards=partition.shards,
        )

    return needed


def _shards(work: Workload) -> int:
    config = work.config
    wanted = parse_count("shard", config.shard)
    if wanted is not None:
        return max(wanted, 1)
    devices, possible = len(jax.local_devices()), config.padding == "zeros" and not parse_count("tile", config.tile)
    height = image_size(config, work.layers, work.content, config.size)[0]
    return devices if possible and height >= devices * MIN_ROWS else 1


def _auto_tile(work: Workload, shards: int) -> int:
    """Return the largest tile that fits where the whole image does not; the smallest if none fits."""
    if shards > 1 or work.config.padding == "circular":
        return 0
    tiles = [tile for tile in TILES if tile >= halo(work.layers, work.network)]
    fits = (t for t in (0, *tiles) if needed_bytes(work, Partition(t, 1))(work.config.size) <= 0.9 * _available(1))
    return next(fits, tiles[-1])


def _check_tile(work: Workload, tile: int, shards: int) -> None:
    around = halo(work.layers, work.network)
    if not tile:
        return
    if tile < around:
        deepest = max(work.layers, default="conv1_1")
        raise InputError(
            f"--tile {tile} is smaller than the {around} pixels of halo that {deepest} sees around it; take {around} or more"
        )
    if shards > 1:
        raise InputError("--tile and --shard were both given, and a picture is evaluated in one way; choose one")
    if work.config.padding == "circular":
        raise InputError(
            "--tile cannot be combined with --padding circular, whose windows have no edge; take --tile off"
        )


def _check_shards(work: Workload, shards: int) -> None:
    config, available = work.config, len(jax.local_devices())
    if shards == 1:
        return
    if shards > available:
        raise InputError(
            f"--shard {shards} needs {shards} devices, and there are {available}; take --shard auto or --tile"
        )
    if config.padding != "zeros":
        raise InputError(f"--shard cannot be combined with --padding {config.padding}; take zeros, or --tile")
    least = shards * smallest_side(work.layers)
    if config.size < least:
        raise InputError(
            f"--shard {shards} leaves a device no row of a picture of --size {config.size}; take {least} or more"
        )


def _available(shards: int) -> int:
    """Return the free bytes of a device. Those of a CPU share the machine's memory."""
    on_cpu = jax.local_devices()[0].platform == "cpu"
    return available_bytes() // (shards if on_cpu else 1)


def _alternatives(work: Workload, partition: Partition) -> dict[str, Callable[[int], int]]:
    """Return options that save memory, each with the memory of the run with it."""
    others = {}
    if not work.config.remat:
        others["--remat"] = needed_bytes(work._replace(config=dataclasses.replace(work.config, remat=True)), partition)
    if partition == (0, 1) and work.config.padding != "circular":
        tile = max(512, halo(work.layers, work.network))
        others[f"--tile {tile}"] = needed_bytes(work, Partition(tile, 1))
    return others
