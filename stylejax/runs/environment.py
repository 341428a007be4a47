"""The environment of a run, which decides its last digits: versions, device, processor, flags."""

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any, cast

PACKAGES = ("stylejax", "jax", "jaxlib", "flax", "optax", "numpy", "pillow")
ACCELERATOR_PACKAGES = ("jax-cuda12-plugin", "jax-cuda13-plugin", "nvidia-cublas-cu12", "nvidia-cudnn-cu12", "libtpu")
"""Packages that change the numbers on machines with an accelerator; recorded only if installed."""


def environment() -> dict[str, Any]:
    """Return versions, device, machine, XLA flags and precision as plain JSON, without any path."""
    import jax

    config, device = cast(Any, jax.config), jax.local_devices()[0]
    versions = {name: _version(name) or "unknown" for name in PACKAGES}
    versions |= {name: version for name in ACCELERATOR_PACKAGES if (version := _version(name))}
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
        "xla_flags": redact_paths(os.environ.get("XLA_FLAGS", "")),
        "precision": f"{config.jax_default_matmul_precision or 'default'}, {64 if config.jax_enable_x64 else 32} bits",
    }


def environment_diff(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the differences of two environments, each as `jax 0.10.1 → 0.10.2`."""
    old, new = _flatten(then), _flatten(now)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [f"{name} {old.get(name, 'none')} → {new.get(name, 'none')}" for name in names]


def redact_paths(flags: str) -> str:
    """Return `XLA_FLAGS` with each path replaced by `…`, also if it is itself the name of a file."""
    return " ".join(_redact_path(flag) for flag in flags.split())


def _redact_path(flag: str) -> str:
    name, equals, value = flag.partition("=")
    if not re.fullmatch(r"--?\w+", name):
        return "…"
    is_path = re.search(r"dump_to|_(dir|path|file|filename)s?$", name) or not re.fullmatch(r"[\w.,:+-]*", value)
    return f"{name}=…" if is_path else f"{name}{equals}{value}"


def _flatten(tree: dict[str, Any]) -> dict[str, Any]:
    """Flatten `{"versions": {"jax": …}}` to `{"jax": …}`; device facts get the prefix `device`."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        inner = value if isinstance(value, dict) else {name: value}
        flat |= {f"device {key}" if name == "device" else key.replace("_", " "): v for key, v in inner.items()}
    return flat


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """Return the model of the processor, which decides the instructions that XLA compiles for."""
    try:
        match = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, ValueError):
        match = None
    return "".join(c for c in (match[1] if match else platform.processor() or "unknown").strip() if c.isprintable())


def _cores() -> int:
    """Return the cores that this process may use: their number decides the order of sums over threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
