"""Process-wide settings of the command line: signals, XLA flags and cache, memory pages, devices."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylejax.errors import InputError, brief

if TYPE_CHECKING:
    from jax.sharding import Mesh

EXIT_OK, EXIT_INTERRUPTED = 0, 130

JAX_SETTINGS = {
    "jax_numpy_dtype_promotion": "standard",
    "jax_enable_x64": False,
    "jax_transfer_guard": "allow",
    "jax_debug_nans": False,
    "jax_debug_infs": False,
}
"""Settings without which a run fails or has other results."""

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


def configure_jax() -> None:
    """Import jax, and replace the `JAX_SETTINGS` of the environment; raise `InputError` for variables that jax refuses."""
    _check_xla_flags()
    try:
        import jax
    except ValueError as error:
        raise InputError(
            f"jax does not accept the environment: {brief(error)}; correct or unset the variable"
        ) from None
    for name, value in JAX_SETTINGS.items():
        jax.config.update(name, value)


def _check_xla_flags() -> None:
    """Raise `InputError` for unknown XLA_FLAGS, with which XLA would end this process."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    if not os.environ.get("XLA_FLAGS") or bridge and bridge.backends_are_initialized():
        return
    trial = [sys.executable, "-c", "from jaxlib import xla_client; xla_client.CompileOptions()"]
    output = subprocess.run(trial, capture_output=True, check=False).stderr.decode(errors="replace")
    if reason := re.search(r"^[EF]\d.*?\] (.*)", output, re.MULTILINE):
        raise InputError(
            f"XLA_FLAGS must be flags of this jaxlib, got: {brief(ValueError(reason[1]))}; correct or unset it"
        )


def start_jax() -> None:
    """Start the devices, with a cache of compiled programs on disk, so that the second run of a size starts at once.

    Raises `InputError` if jax finds no device of JAX_PLATFORMS.
    """
    import jax

    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:
        platforms = os.environ.get("JAX_PLATFORMS", "")
        reason = brief(error).split(" (set ")[0] if str(error) else "no such device"
        raise InputError(f"jax cannot start with JAX_PLATFORMS={platforms}: {reason}; correct or unset it") from None
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if not (named and _is_text(named)):
        jax.config.update("jax_compilation_cache_dir", _programs_folder())
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _programs_folder() -> str | None:
    """Create and return the folder of compiled programs; None without a home, or if jax cannot use it."""
    from stylejax.models.download import cache_folder

    with contextlib.suppress(OSError):
        if (cache := cache_folder()) and _is_text(folder := str(cache / "programs")):
            Path(folder).mkdir(parents=True, exist_ok=True)
            return folder
    return None


def _is_text(path: str) -> bool:
    """Return whether a path is Unicode, as jax requires; in other paths Python has surrogates."""
    return path.encode(errors="replace").decode() == path


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
