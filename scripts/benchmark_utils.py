"""Count operations, time calls and processes, and measure peak memory for the benchmarks."""

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
from stylejax.images.resize import HostImage
from stylejax.models.architecture import VGGWeights, block_index
from stylejax.models.vgg import VGG
from stylejax.runs.environment import environment
from stylejax.synthesis.problem import build_problem
from stylejax.synthesis.regions import Masks
from stylejax.synthesis.targets import Inputs
from stylejax.synthesis.validation import make_plan

MATRIX_SIDE = 2048
"""Side of the matrices that measure the machine: large enough to keep a GPU busy."""


def count_operations(parameters: VGGWeights, config: TransferConfig, side: int) -> float:
    """Return the additions and multiplications of a loss and its gradient for a square image.

    Forward and backward, they are `2·9·M·i·o` a layer and `2·M·N²` a Gram matrix. Winograd's convolution needs fewer.
    """
    names = list(parameters.layers)
    last = max(names.index(name) for name in (*config.content_layers, *config.style_layers))
    total = 0.0
    for name in names[: last + 1]:
        kernel, positions = parameters.layers[name].kernel, (side // 2 ** (block_index(name) - 1)) ** 2
        total += 4 * positions * (kernel.size + kernel.shape[3] ** 2 * (name in config.style_layers))
    return total


def objective_args(vgg: VGG, content: HostImage, style: HostImage) -> tuple[Any, ...]:
    """Return the network, targets and loss weights of the default objective for a square content image."""
    config = TransferConfig(size=content.shape[0], scales="1")
    plan = make_plan(config, vgg.network, content.shape, [style.shape], Masks())
    return build_problem(plan, Inputs(content, [style]), vgg, plan.schedule[0], None).args


def matmul_rate() -> float:
    """Return the operations per second of a float32 matrix product, which bound direct convolution."""
    a = jnp.ones((MATRIX_SIDE, MATRIX_SIDE))
    product = jax.jit(lambda a: a @ a)
    return 2 * MATRIX_SIDE**3 / min(time_calls(lambda: jax.block_until_ready(product(a)), 10))


def time_calls(run: Callable[[], Any], repeats: int) -> list[float]:
    """Return the seconds of `repeats` calls after a first one, which compiles and allocates."""
    return [seconds(run) for _ in range(repeats + 1)][1:]


def seconds(run: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def format_spread(times: Sequence[float]) -> str:
    """Format times as their median, minimum and maximum."""
    return f"{statistics.median(times):.3f} ({min(times):.3f}–{max(times):.3f})"


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median ratio of corresponding times."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def peak_bytes() -> int:
    """Return the peak memory of this process: of the GPU if jax uses one, else of the machine."""
    stats = jax.local_devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    return stats["peak_bytes_in_use"] if stats else peak_resident_bytes()


def peak_resident_bytes() -> int:
    """Return the peak resident memory of this process."""
    # On Linux getrusage starts from the peak of the parent process.
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run_json(program: str, *arguments: str, **variables: str) -> Any:
    """Run a Python program with environment variables and parse the last line of its output as JSON."""
    command = [sys.executable, program, *arguments]
    process = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(process.stderr.strip().splitlines()[-1])
    return json.loads(process.stdout.splitlines()[-1])


def startup_seconds(program: Sequence[str]) -> tuple[float, float]:
    """Return the seconds from start to end of a program with empty caches, and of its second run."""
    with tempfile.TemporaryDirectory() as folder:
        caches = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/jax", "TORCHINDUCTOR_CACHE_DIR": f"{folder}/torch"}

        def start() -> None:
            subprocess.run(program, cwd=folder, env=os.environ | caches, capture_output=True, check=True)

        return seconds(start), seconds(start)


def describe_machine(rate: float) -> str:
    """Return one line on the machine, its versions and its `rate` of matrix products."""
    facts = environment()
    versions = [f"{name} {metadata.version(name)}" for name in ("jax", "torch")]
    device = "" if facts["device"]["backend"] == "cpu" else f"{facts['device']['kind']}, "
    words = [
        f"{facts['machine']['processor']}, {facts['machine']['cores']} cores",
        f"python {platform.python_version()}",
    ]
    return f"{device}{', '.join([*words, *versions])}; matrix products in float32: {rate / 1e9:.0f} GFLOP/s"
