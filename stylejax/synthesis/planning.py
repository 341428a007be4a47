"""Whether a run fits the memory, and how it is evaluated so that it does: whole, by tiles, or shared among devices."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from stylejax.config import TransferConfig, part
from stylejax.errors import InputError
from stylejax.models.architecture import smallest_side
from stylejax.partitioning.memory import available_bytes, check_memory, predicted_bytes
from stylejax.partitioning.tile_grid import halo
from stylejax.synthesis.targets import content_size, layers_of

TILES = (4096, 2048, 1024, 512, 256)
"""What `--tile auto` chooses from: the larger, the less is computed twice in the halos."""

LEAST_ROWS = 128
"""`--shard auto` gives no device fewer: the devices would wait for each other."""


def planned(config: TransferConfig, network: str, content: tuple[int, ...]) -> TransferConfig:
    """The config with `tile` and `shard` decided for a content of that shape.

    Raises `InputError` for a tile or a mesh that can not be, and for what does not fit the memory, before the work.
    """
    config = dataclasses.replace(config, shard=_shard(config, content))
    _check_shard(config)
    _check_tile(config, network)
    config = dataclasses.replace(config, tile=_tile(config, network, content))
    check_memory(
        needed_bytes(config, network, content), _available(config), config.size, _others(config, network, content)
    )
    return config


def _shard(config: TransferConfig, content: tuple[int, ...]) -> str:
    devices = part("shard", config.shard)
    if devices is not None:
        return config.shard if devices > 1 else "off"
    devices, possible = len(jax.local_devices()), config.padding == "zeros" and not part("tile", config.tile)
    height = content_size(config, content, config.size)[0]
    return str(devices) if possible and devices > 1 and height >= devices * LEAST_ROWS else "off"


def _tile(config: TransferConfig, network: str, content: tuple[int, ...]) -> str:
    """The largest tile that fits where the whole picture does not; the smallest if none does."""
    if part("tile", config.tile) is not None:
        return config.tile
    if config.shard != "off" or config.padding == "circular" or config.optimizer == "lbfgs-zoom":
        return "off"
    sides = [str(side) for side in TILES if side >= halo(layers_of(config), network)]
    for side in ("off", *sides):
        tiled = dataclasses.replace(config, tile=side)
        if needed_bytes(tiled, network, content)(config.size) <= 0.9 * _available(config):
            return side
    return sides[-1]


def _check_tile(config: TransferConfig, network: str) -> None:
    tile, around = part("tile", config.tile), halo(layers_of(config), network)
    if not tile:
        return
    if tile < around:
        deepest = max(layers_of(config), default="conv1_1")
        raise InputError(
            f"--tile {tile} is smaller than the {around} pixels of halo that {deepest} sees around it; take {around} or more"
        )
    if config.shard != "off":
        raise InputError("--tile and --shard were both given, and a picture is evaluated in one way; choose one")
    if config.padding == "circular":
        raise InputError(
            "--tile can not be combined with --padding circular, whose windows have no edge; take --tile off"
        )
    if config.optimizer == "lbfgs-zoom":
        raise InputError(
            "--tile can not be combined with --optimizer lbfgs-zoom, which searches inside one program; take lbfgs"
        )


def _check_shard(config: TransferConfig) -> None:
    devices, there = part("shard", config.shard) or 1, len(jax.local_devices())
    if devices == 1:
        return
    if devices > there:
        raise InputError(
            f"--shard {devices} needs {devices} devices, and there are {there}; take --shard auto or --tile"
        )
    if config.padding != "zeros":
        raise InputError(f"--shard can not be combined with --padding {config.padding}; take zeros, or --tile")
    least = devices * smallest_side(layers_of(config))
    if config.size < least:
        raise InputError(
            f"--shard {devices} leaves a device no row of a picture of --size {config.size}; take {least} or more"
        )


def needed_bytes(
    config: TransferConfig, network: str, content: tuple[int, ...], lanes: int = 1
) -> Callable[[int], int]:
    """Peak memory of a device, for so many runs at once, at the size of the config or, at most, at another one, whose last
    scale may have more of the steps."""

    def needed(size: int) -> int:
        steps = config.schedule()[-1][1] if size == config.size else config.steps
        return predicted_bytes(
            network,
            layers_of(config),
            *content_size(config, content, size),
            min(config.history, steps),
            optimizer=config.optimizer,
            pyramid=config.parameterization == "pyramid",
            remat=config.remat,
            tile=part("tile", config.tile) or 0,
            lanes=lanes,
            shards=part("shard", config.shard) or 1,
        )

    return needed


def _available(config: TransferConfig) -> int:
    """Bytes of a device. Those of a CPU share the machine's memory."""
    on_cpu = jax.local_devices()[0].platform == "cpu"
    return available_bytes() // (part("shard", config.shard) or 1 if on_cpu else 1)


def _others(config: TransferConfig, network: str, content: tuple[int, ...]) -> dict[str, Callable[[int], int]]:
    """Options that save memory, with what the run would need with each."""
    changes: dict[str, dict[str, Any]] = {} if config.remat else {"--remat": {"remat": True}}
    if config.tile == "off" and config.shard == "off" and config.padding != "circular":
        side = max(512, halo(layers_of(config), network))
        changes[f"--tile {side}"] = {"tile": str(side)}
    return {
        name: needed_bytes(dataclasses.replace(config, **change), network, content) for name, change in changes.items()
    }
