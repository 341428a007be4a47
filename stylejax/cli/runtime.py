"""Process-wide settings of the command line: signals, exit codes, XLA's flags and cache, memory pages, devices."""

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

    from stylejax.synthesis.validation import Plan

DONE, INTERRUPTED = 0, 130

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
"""On a GPU: no operations whose order of summation is left to chance, and no choice of kernels by their speed."""

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
"""Linux's setting for pages of 2 MiB: always, never, or with `[madvise]` on request."""


@contextmanager
def graceful_interrupt() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C or SIGTERM into a flag that ends the run after its step; a second one ends it at once."""
    asked: list[int] = []

    def ask(number: int, _: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start_jax() -> None:
    """Keeps compiled programs in the user's cache, so that the second run of a size starts at once."""
    import jax

    from stylejax.models.download import cache_folder

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def row_mesh(plan: "Plan") -> "Mesh | None":
    """Return the devices that share the rows of an image; None for one."""
    import jax

    shards = plan.partition.shards
    if shards == 1:
        return None
    kinds, devices = (jax.sharding.AxisType.Auto,), jax.local_devices()[:shards]
    return jax.make_mesh((shards,), ("rows",), axis_types=kinds, devices=devices)


def is_deterministic(flags: str) -> bool:
    """Whether these flags have `DETERMINISTIC` in force: of two that contradict the last counts."""
    name = DETERMINISTIC.split("=")[0]
    said = [flag for flag in flags.split() if flag.split("=")[0] == name]
    return bool(said) and said[-1] in (name, DETERMINISTIC, f"{name}=1")


def deterministic() -> None:
    """Has a GPU give the same bits in every run; the CPU does so by itself. Before jax starts a device.

    Raises `InputError` when it is too late for that.
    """
    from jax._src import xla_bridge

    flags = os.environ.get("XLA_FLAGS", "")
    if is_deterministic(flags):
        return
    if xla_bridge.backends_are_initialized():
        raise InputError(f"--deterministic comes too late, for jax has started; set XLA_FLAGS={DETERMINISTIC} before")
    if flags and not flags.lstrip().startswith("-"):
        raise InputError(f"--deterministic cannot be added, for XLA_FLAGS names a file; write {DETERMINISTIC} into it")
    os.environ["XLA_FLAGS"] = f"{flags} {DETERMINISTIC}".lstrip()


def ask_for_huge_pages() -> None:
    """Starts this process again, once, with glibc asking for pages of 2 MiB where Linux gives them to who asks.

    Every evaluation takes its memory anew, and on the CPU a quarter of its time went into pages of 4 KiB. glibc reads this
    wish only at its start. A wish of the user's own stays.
    """
    with contextlib.suppress(OSError):
        if "GLIBC_TUNABLES" not in os.environ and "[madvise]" in HUGE_PAGES.read_text():
            os.execve(sys.executable, sys.orig_argv, os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"})
