"""What decides the last digits of a run beside its inputs: versions, device, processor, flags; and how to fix them."""

import contextlib
import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from stylejax.errors import InputError

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
"""On a GPU: no operations whose order of summation is left to chance, and no choice of kernels by their speed."""

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
"""Where Linux says who gets pages of 2 MiB: always, never, or with `[madvise]` who asks."""

PACKAGES = ("stylejax", "jax", "jaxlib", "flax", "optax", "numpy", "pillow")
ACCELERATED = ("jax-cuda12-plugin", "jax-cuda13-plugin", "nvidia-cublas-cu12", "nvidia-cudnn-cu12", "libtpu")
"""Packages that decide the numbers where they are installed."""


def environment() -> dict[str, Any]:
    """Plain JSON without any path of the machine: versions, device, machine, XLA's flags, precision."""
    import jax

    config, device = cast(Any, jax.config), jax.local_devices()[0]
    versions = {name: _installed(name) or "unknown" for name in PACKAGES}
    versions |= {name: version for name in ACCELERATED if (version := _installed(name))}
    runtime = " ".join(device.client.platform_version.split())
    return {
        "versions": {"python": platform.python_version(), **versions},
        "device": {
            "backend": jax.default_backend(),
            "kind": device.device_kind,
            "count": jax.local_device_count(),
            "runtime": re.sub(r"\S*[/\\]\S*", "…", runtime),
        },
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": _cores(),
        },
        "xla_flags": without_paths(os.environ.get("XLA_FLAGS", "")),
        "precision": f"{config.jax_default_matmul_precision or 'default'}, {64 if config.jax_enable_x64 else 32} bits",
    }


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What is not the same in two environments, each as `jax 0.10.1 → 0.10.2`."""
    before, after = _flat(then), _flat(now)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return [f"{name} {before.get(name, 'none')} → {after.get(name, 'none')}" for name in names]


def without_paths(flags: str) -> str:
    """XLA's flags without the value of each that names a file or a folder. `XLA_FLAGS` may itself name a file."""
    return " ".join(_without_path(flag) for flag in flags.split())


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
        raise InputError(f"--deterministic can not be added, for XLA_FLAGS names a file; write {DETERMINISTIC} into it")
    os.environ["XLA_FLAGS"] = f"{flags} {DETERMINISTIC}".lstrip()


def ask_for_huge_pages() -> None:
    """Starts this process again, once, with glibc asking for pages of 2 MiB where Linux gives them to who asks.

    Every evaluation takes its memory anew, and on the CPU a quarter of its time went into pages of 4 KiB. glibc reads this
    wish only at its start. A wish of the user's own stays.
    """
    with contextlib.suppress(OSError):
        if "GLIBC_TUNABLES" not in os.environ and "[madvise]" in HUGE_PAGES.read_text():
            os.execve(sys.executable, sys.orig_argv, os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"})


def _without_path(flag: str) -> str:
    name, equals, value = flag.partition("=")
    if not re.fullmatch(r"--?\w+", name):
        return "…"
    names_a_file = re.search(r"dump_to|_(dir|path|file|filename)s?$", name) or not re.fullmatch(r"[\w.,:+-]*", value)
    return f"{name}=…" if names_a_file else f"{name}{equals}{value}"


def _flat(tree: dict[str, Any]) -> dict[str, Any]:
    """`{"versions": {"jax": …}}` as `{"jax": …}`; names are unique but for the device's, which keep its name."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        inner = value if isinstance(value, dict) else {name: value}
        flat |= {f"device {key}" if name == "device" else key.replace("_", " "): v for key, v in inner.items()}
    return flat


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """Its model, since it decides the instructions that XLA compiles for."""
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, ValueError):
        found = None
    return "".join(c for c in (found[1] if found else platform.processor() or "unknown").strip() if c.isprintable())


def _cores() -> int:
    """Those that this process may use: a sum over threads has another order where there are more."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
