"""The processes of one job, on one machine or on many: JAX's own runtime finds them, and knows which of them are alive.

Each does its own rows and needs nothing of the others until the end, where all meet. A process that dies stops the others only
if it is process 0, which is what the runtime's own messages say then.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from stylejax.errors import InputError, brief

HEARTBEAT = 60
"""Seconds without a sign of life after which a process counts as dead."""


@dataclass(frozen=True, kw_only=True)
class Machines:
    """The processes that share the rows."""

    distributed: bool = False
    """Share the rows out over the processes of this job, which write into one folder.
    Slurm, Open MPI and Cloud TPU tell which they are; elsewhere the next three options do."""
    coordinator: str | None = None
    """HOST:PORT where process 0 can be reached."""
    processes: int | None = None
    """How many processes there are."""
    process: int | None = None
    """Which of them this is, from 0."""


@contextmanager
def joined(machines: Machines) -> Iterator[tuple[int, int]]:
    """This process and how many there are, for as long as the job lasts. Before jax starts a device.

    Raises `InputError` where nothing tells which processes there are, and when they do not find each other.
    """
    if not _asked(machines):
        yield 0, 1
        return
    import jax

    _initialize(machines)
    process, processes = jax.process_index(), jax.process_count()
    try:
        yield process, processes
    except KeyboardInterrupt:
        raise
    except BaseException:
        _leave(process)
        raise
    else:
        _leave(process)


@contextmanager
def meeting(processes: int) -> Iterator[list[int]]:
    """Waits until every process that is alive has come here, and again at the end; gives those that have died."""
    if processes == 1:
        yield []
        return
    import jax
    from jax.experimental.multihost_utils import ProcessFailureError, live_devices

    # Of several such contexts, all wait at their end, and only the first at its beginning.
    with suppress(ProcessFailureError), live_devices(jax.devices()):
        pass
    with live_devices(jax.devices()) as devices:
        yield sorted(set(range(processes)) - {device.process_index for device in devices})


def _asked(machines: Machines) -> bool:
    explicit = (machines.coordinator, machines.processes, machines.process)
    if any(x is not None for x in explicit) and (None in explicit or not machines.distributed):
        raise InputError(
            "--distributed, --coordinator, --processes and --process belong together; give all four, or the first"
        )
    if machines.processes is not None and not 0 <= (machines.process or 0) < machines.processes:
        raise InputError(f"--process is {machines.process}; it should be from 0 to {machines.processes - 1}")
    if machines.coordinator is not None and not machines.coordinator.rpartition(":")[2].isdecimal():
        raise InputError(f"--coordinator is {machines.coordinator!r}; it should be HOST:PORT")
    return machines.distributed


def _initialize(machines: Machines) -> None:
    import jax

    # Else one process that dies takes the others with it.
    jax.config.update("jax_enable_recoverability", True)
    here = (machines.coordinator or "").rpartition(":")[0] in ("127.0.0.1", "localhost")
    options: dict[str, Any] = {"coordinator_bind_address": machines.coordinator} if here else {}
    try:
        jax.distributed.initialize(
            machines.coordinator,
            machines.processes,
            machines.process,
            heartbeat_timeout_seconds=HEARTBEAT,
            **options,
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"the processes did not find each other ({brief(error)}); name --coordinator HOST:PORT --processes N --process I"
        ) from None


def _leave(process: int) -> None:
    """Process 0, which the others are connected to, is the last to go."""
    import jax
    from jax.experimental.multihost_utils import ProcessFailureError, live_devices

    alone = process != 0
    while not alone:
        with suppress(ProcessFailureError), live_devices(jax.devices()) as devices:
            alone = {device.process_index for device in devices} == {0}
    jax.distributed.shutdown()
