"""The environment of a run, which decides its last digits: versions, device, processor, flags."""

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any, cast

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
