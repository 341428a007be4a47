"""Lanes of one program against runs one after another, in one process: `python scripts/benchmark_sweep.py`.

Prints a Markdown table: seconds for so many runs of `minimize`, and for the same as one sweep with one lane at once and with
several, each after a first call that compiles. Needs the extra `pretrained`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from _work import objective_args

import stylejax
from stylejax.config import TransferConfig
from stylejax.images.resize import resize
from stylejax.images.samples import photograph

CONFIG = TransferConfig()


@dataclass(frozen=True)
class Benchmark:
    """Time a sweep over the style weight."""

    size: int = 128
    """Side of the square images."""
    rows: int = 20
    """Runs, each with a style weight of its own."""
    steps: int = 10
    """Steps of each."""
    lanes: tuple[int, ...] = (1, 20)
    """Lanes of one program, on one device."""


def main(benchmark: Benchmark) -> None:
    """Prints the table, and what it was measured on."""
    vgg = stylejax.build_vgg(stylejax.resolve("vgg19")[0])
    image, targets, weights = _problem(vgg, benchmark)
    minimizer = stylejax.lbfgs(min(100, benchmark.steps))

    def singles(rows: int = benchmark.rows) -> None:
        for i in range(rows):
            own = jax.tree.map(lambda x, i=i: x[i] if jnp.ndim(x) else x, weights)
            start = stylejax.encode(image, CONFIG.parameterization)
            stylejax.minimize(stylejax.objective, minimizer, start, (vgg, targets, own), benchmark.steps)

    def sweep(lanes: int, rows: int = benchmark.rows) -> None:
        few = jax.tree.map(lambda x: x[:rows] if jnp.ndim(x) else x, weights)
        stylejax.sweep(image, vgg, targets, few, steps=benchmark.steps, minimizer=minimizer, lanes=lanes)

    rows = f"{benchmark.rows} rows at {benchmark.size}², {benchmark.steps} steps"
    print(f"{jax.devices()[0].device_kind}, {rows}, jax {jax.__version__}\n")
    print("| | seconds | of single runs |\n|---|---|---|")
    singles(1)
    alone = _seconds(singles)
    print(f"| single runs | {alone:.1f} | 1 |", flush=True)
    for lanes in benchmark.lanes:
        sweep(lanes, min(lanes, benchmark.rows))
        seconds = _seconds(lambda lanes=lanes: sweep(lanes))
        print(f"| {lanes} at once | {seconds:.1f} | {seconds / alone:.2f} |", flush=True)


def _problem(vgg: stylejax.VGG, benchmark: Benchmark) -> tuple[Any, stylejax.Targets, stylejax.Terms]:
    """One image and its targets, and the weights of all rows, stacked."""
    size = benchmark.size
    content = resize(stylejax.read_image(photograph()), size, size)
    _, targets, weights = objective_args(vgg, content, resize(stylejax.paint(), size, size))
    factors = np.geomspace(0.1, 10, benchmark.rows, dtype=np.float32)
    return (
        jnp.asarray(content),
        targets,
        weights._replace(style={name: beta * factors for name, beta in weights.style.items()}),
    )


def _seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
