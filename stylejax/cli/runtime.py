"""Process-wide settings of the command line: signals, XLA flags and cache, memory pages, devices."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylejax.errors import InputError

if TYPE_CHECKING:
    from jax.sharding import Mesh

EXIT_OK, EXIT_INTERRUPTED = 0, 130

DETERMINISTIC_FLAGS = "--xla_gpu_deterministic_ops=true"
"""Forbids sums in random order and the selection of kernels by timing on a GPU."""

HUGE_PAGES_FILE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
"""Linux setting for 2 MiB pages; in the mode `[madvise]` a program must request them."""


@contextmanager
def graceful_interrupt() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into a flag, with which a run ends after its step.

    The second one raises `KeyboardInterrupt`. A signal that is ignored, as by nohup, stays ignored.
    """
    received: list[int] = []

    def receive(number: int, _: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    previous = {number: signal.signal(number, receive) for number in heard}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def enable_compilation_cache() -> None:
    """Cache compiled programs on disk, so that the second run of a size starts at once."""
    import jax

    from stylejax.models.download import cache_folder

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def device_mesh(axis: str, count: int) -> "Mesh | None":
    """Return a mesh of the first `count` devices of this process; None for one device."""
    import jax

    if count == 1:
        return None
    kinds, devices = (jax.sharding.AxisType.Auto,), jax.local_devices()[:count]
    return jax.make_mesh((count,), (axis,), axis_types=kinds, devices=devices)


def is_deterministic(flags: str) -> bool:
    """Return whether `DETERMINISTIC_FLAGS` is in effect; the last of contradicting flags counts."""
    name = DETERMINISTIC_FLAGS.split("=")[0]
    matches = [flag for flag in flags.split() if flag.split("=")[0] == name]
    return bool(matches) and matches[-1] in (name, DETERMINISTIC_FLAGS, f"{name}=1")


def enable_determinism() -> None:
    """Make GPU results reproducible bit for bit; CPU results always are.

    Raises `InputError` if jax has already started a device, or if XLA_FLAGS names a file.
    """
    from jax._src import xla_bridge

    flags = os.environ.get("XLA_FLAGS", "")
    if is_deterministic(flags):
        return
    if xla_bridge.backends_are_initialized():
        raise InputError(f"--deterministic must be set before jax starts; set XLA_FLAGS={DETERMINISTIC_FLAGS}")
    if flags and not flags.lstrip().startswith("-"):
        raise InputError(f"--deterministic cannot edit the file in XLA_FLAGS; write {DETERMINISTIC_FLAGS} into it")
    os.environ["XLA_FLAGS"] = f"{flags} {DETERMINISTIC_FLAGS}".lstrip()


def enable_huge_pages() -> None:
    """Restart this process with 2 MiB memory pages if Linux grants them on request.

    Page faults took a quarter of an evaluation on a CPU. glibc reads its tunables only at the start of a process. Does nothing
    if the user has set GLIBC_TUNABLES.
    """
    with contextlib.suppress(OSError):
        if "GLIBC_TUNABLES" not in os.environ and "[madvise]" in HUGE_PAGES_FILE.read_text():
            os.execve(sys.executable, sys.orig_argv, os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"})
