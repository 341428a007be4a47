"""What an evaluation has to compute, what the machine could, and what a process takes: seconds, bytes, multiplications."""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from stylejax.config import TransferConfig
from stylejax.images.resize import Picture
from stylejax.models.architecture import Parameters, block
from stylejax.models.vgg import VGG
from stylejax.runs.environment import environment
from stylejax.synthesis.problem import build_problem
from stylejax.synthesis.regions import Masks
from stylejax.synthesis.targets import Inputs
from stylejax.synthesis.validation import make_plan

SIDE = 2048
"""Of the matrices whose product measures the machine."""


def operations(parameters: Parameters, config: TransferConfig, side: int) -> float:
    """Multiplications and additions of a value and gradient: 2·9·M·i·o a layer and 2·M·N² a Gram matrix, forward and backward.

    They are those of direct convolution: what multiplies less is faster than its limit.
    """
    names = list(parameters.layers)
    last = max(names.index(name) for name in (*config.content_layers, *config.style_layers))
    total = 0.0
    for name in names[: last + 1]:
        kernel, positions = parameters.layers[name].kernel, (side // 2 ** (block(name) - 1)) ** 2
        total += 4 * positions * (kernel.size + kernel.shape[3] ** 2 * (name in config.style_layers))
    return total


def objective_args(vgg: VGG, content: Picture, style: Picture) -> tuple[Any, ...]:
    """Network, targets and weights of the default objective of a square content image."""
    config = TransferConfig(size=content.shape[0], scales="1")
    plan = make_plan(config, vgg.network, content.shape, [style.shape], Masks())
    return build_problem(plan, Inputs(content, [style]), vgg, plan.schedule[0], None).args


def matrix_rate() -> float:
    """Operations a second of a product of float32 matrices, the best of ten: what no convolution exceeds."""
    a = jnp.ones((SIDE, SIDE))
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))
    return 2 * SIDE**3 / min(seconds(lambda: jax.block_until_ready(product(a))) for _ in range(10))


def timed(run: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of so many calls after a first one, which compiles and allocates."""
    return [seconds(run) for _ in range(repeats + 1)][1:]


def seconds(run: Callable[[], Any]) -> float:
    """What it takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def spread(times: Sequence[float]) -> str:
    """The median, with the least and the most."""
    return f"{statistics.median(times):.3f} ({min(times):.3f}–{max(times):.3f})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of one call after the other."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def peak_bytes() -> int:
    """The most that this process has had: on a GPU of its memory, else of the machine's."""
    stats = jax.local_devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    return stats["peak_bytes_in_use"] if stats else most_resident()


def most_resident() -> int:
    """Bytes of the machine's memory. On Linux what getrusage says of a process begins with the most of its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def child(*words: str) -> Any:
    """What this benchmark says, as JSON, when it is started with these words in a process of its own."""
    program = [sys.executable, str(Path(__file__).with_name("benchmark.py")), *words]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def starts(program: Sequence[str]) -> tuple[float, float]:
    """Seconds of a program from its start to its end, with empty caches and the second time."""
    with tempfile.TemporaryDirectory() as folder:
        caches = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/jax", "TORCHINDUCTOR_CACHE_DIR": f"{folder}/torch"}

        def start() -> None:
            subprocess.run(program, cwd=folder, env=os.environ | caches, capture_output=True, check=True)

        return seconds(start), seconds(start)


def machine(rate: float) -> str:
    """One line on what the figures were measured on."""
    here = environment()
    versions = [f"{name} {metadata.version(name)}" for name in ("jax", "torch")]
    device = "" if here["device"]["backend"] == "cpu" else f"{here['device']['kind']}, "
    words = [f"{here['machine']['processor']}, {here['machine']['cores']} cores", f"python {platform.python_version()}"]
    return f"{device}{', '.join([*words, *versions])}; matrix products in float32: {rate / 1e9:.0f} GFLOP/s"
