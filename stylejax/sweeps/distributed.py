"""Join the processes of a distributed sweep through JAX's runtime, and wait for live ones.

Each process runs its own rows, and they meet only at the end. If process 0 dies, JAX's runtime ends the others with a message;
the death of any other process has no effect on them.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from stylejax.errors import InputError, brief

HEARTBEAT_SECONDS = 60
"""Seconds without a heartbeat after which a process counts as dead; more than a busy process may pause."""


@dataclass(frozen=True, kw_only=True)
class DistributedOptions:
    """Processes that share the rows."""

    distributed: bool = False
    """Distribution of the rows over the processes of this job, which write into one folder.
    Slurm, Open MPI and Cloud TPU are detected; elsewhere the next three options are required."""
    coordinator: str | None = None
    """HOST:PORT of process 0."""
    processes: int | None = None
    """Number of processes."""
    process: int | None = None
    """Index of this process, from 0."""


@contextmanager
def distributed_context(options: DistributedOptions) -> Iterator[tuple[int, int]]:
    """Join the job before jax starts a device; yield the index of this process and the number of all.

    Raises `InputError` if neither the options nor the environment describe the job, or if the processes cannot connect.
    """
    if not _is_distributed(options):
        yield 0, 1
        return
    import jax

    _initialize(options)
    process = jax.process_index()
    try:
        yield process, jax.process_count()
    except KeyboardInterrupt:
        raise
    except BaseException:
        _shut_down(process)
        raise
    _shut_down(process)


@contextmanager
def barrier(processes: int) -> Iterator[list[int]]:
    """Wait for all live processes on entry and on exit; yield the indices of the dead ones."""
    if processes == 1:
        yield []
        return
    import jax
    from jax.experimental.multihost_utils import ProcessFailureError, live_devices

    # Only the first such context waits on entry; every one waits on exit.
    with suppress(ProcessFailureError), live_devices(jax.devices()):
        pass
    with live_devices(jax.devices()) as devices:
        yield sorted(set(range(processes)) - {device.process_index for device in devices})


def _is_distributed(options: DistributedOptions) -> bool:
    explicit = (options.coordinator, options.processes, options.process)
    if any(x is not None for x in explicit) and (None in explicit or not options.distributed):
        raise InputError("--coordinator, --processes and --process must come together, and with --distributed")
    if options.processes is not None and not 0 <= (options.process or 0) < options.processes:
        raise InputError(f"--process must be from 0 to {options.processes - 1}, got {options.process}")
    if options.coordinator is not None and not options.coordinator.rpartition(":")[2].isdecimal():
        raise InputError(f"--coordinator must be HOST:PORT, got {options.coordinator!r}")
    return options.distributed


def _initialize(options: DistributedOptions) -> None:
    import jax

    # Without recoverability, the death of one process ends all.
    jax.config.update("jax_enable_recoverability", True)
    is_local = (options.coordinator or "").rpartition(":")[0] in ("127.0.0.1", "localhost")
    bind: dict[str, Any] = {"coordinator_bind_address": options.coordinator} if is_local else {}
    explicit = (options.coordinator, options.processes, options.process)
    try:
        jax.distributed.initialize(*explicit, heartbeat_timeout_seconds=HEARTBEAT_SECONDS, **bind)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"the processes did not find each other ({brief(error)}); give --coordinator HOST:PORT --processes N --process I"
        ) from None


def _shut_down(process: int) -> None:
    """Leave the job; process 0, to which all others are connected, leaves last."""
    import jax
    from jax.experimental.multihost_utils import ProcessFailureError, live_devices

    is_last = process != 0
    while not is_last:
        with suppress(ProcessFailureError), live_devices(jax.devices()) as devices:
            is_last = {device.process_index for device in devices} == {0}
    jax.distributed.shutdown()
