"""Compare a batched sweep with runs one after another: `python scripts/benchmark_sweep.py`.

The program prints a Markdown table with the seconds of single runs, and of one sweep for several batch sizes, without
compilation. Needs the extra `pretrained`.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from benchmark_utils import objective_args, seconds

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
    """Runs, each with another style weight."""
    steps: int = 10
    """Steps of each run."""
    batch_sizes: tuple[int, ...] = (1, 20)
    """Rows that one program computes at a time, on one device."""


def main(benchmark: Benchmark) -> None:
    """Print the table and the machine."""
    vgg = stylejax.build_vgg(stylejax.load_pretrained("vgg19")[0])
    image, targets, weights = _problem(vgg, benchmark)
    minimizer = stylejax.lbfgs(min(100, benchmark.steps))

    def single_runs(rows: int = benchmark.rows) -> None:
        for i in range(rows):
            row_weights = jax.tree.map(lambda x, i=i: x[i] if jnp.ndim(x) else x, weights)
            params = stylejax.to_params(image, CONFIG.parameterization)
            stylejax.minimize(stylejax.objective, minimizer, params, (vgg, targets, row_weights), benchmark.steps)

    def sweep(batch_size: int, rows: int = benchmark.rows) -> None:
        stacked = jax.tree.map(lambda x: x[:rows] if jnp.ndim(x) else x, weights)
        stylejax.sweep(image, vgg, targets, stacked, steps=benchmark.steps, minimizer=minimizer, batch_size=batch_size)

    rows = f"{benchmark.rows} rows at {benchmark.size}², {benchmark.steps} steps"
    print(f"{jax.devices()[0].device_kind}, {rows}, jax {jax.__version__}\n")
    print("| | seconds | of single runs |\n|---|---|---|")
    single_runs(1)
    baseline = seconds(single_runs)
    print(f"| single runs | {baseline:.1f} | 1 |", flush=True)
    for size in benchmark.batch_sizes:
        sweep(size, min(size, benchmark.rows))
        time = seconds(lambda size=size: sweep(size))
        print(f"| batches of {size} | {time:.1f} | {time / baseline:.2f} |", flush=True)


def _problem(vgg: stylejax.VGG, benchmark: Benchmark) -> tuple[Any, stylejax.Targets, stylejax.LossTerms]:
    """Return an image, its targets, and loss weights with the style weights of all rows stacked."""
    size = benchmark.size
    content = resize(stylejax.read_image(photograph()), size, size)
    _, targets, weights = objective_args(vgg, content, resize(stylejax.generate_painting(), size, size))
    factors = np.geomspace(0.1, 10, benchmark.rows, dtype=np.float32)
    style = {name: beta * factors for name, beta in weights.style.items()}
    return jnp.asarray(content), targets, weights._replace(style=style)


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
