"""Measure time and memory of an evaluation by image size: `python scripts/benchmark_size.py`.

The cases are the whole image, tiles, recomputed features, and 8 virtual devices of one CPU. Each runs in its own process,
because the system reports only the peak memory of a process. The program prints a Markdown table and draws the plot `--out`.
Needs the extra `pretrained`.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import tyro
from benchmark_utils import peak_resident_bytes, run_json

import stylejax
from stylejax.images.resize import resize

BYTES_PER_PIXEL = 12
"""Size of a pixel in float32."""
CASES = {"whole": {}, "tiled": {"tile": "512"}, "remat": {"remat": True}, "8 devices": {"shard": "8"}}

Points = dict[str, list[tuple[int, float, float]]]
"""Side, seconds and GiB of each measurement, by case."""


@dataclass(frozen=True)
class BenchmarkSize:
    """Measure time and memory by size."""

    largest: int = 2048
    """Largest side of the square images, which begin at 256 and double."""
    largest_untiled: int = 2048
    """Largest side of the cases without tiles."""
    out: Path = Path("size.png")
    """File of the plot."""
    case: str = ""
    """CASE,SIDE to measure in this process; the benchmark itself uses this option."""


def main(benchmark: BenchmarkSize) -> None:
    """Print the table and draw the plot."""
    if benchmark.case:
        name, side = benchmark.case.split(",")
        return print(json.dumps(_measure(name, int(side))))
    points: Points = {name: [] for name in CASES}
    print("| side | case | seconds | peak GiB |\n|---|---|---|---|")
    for side in (side for k in range(8, 14) if (side := 2**k) <= benchmark.largest):
        for name in CASES:
            if side > benchmark.largest_untiled and name != "tiled":
                continue
            flags = f"--xla_force_host_platform_device_count={8 if name == '8 devices' else 1}"
            seconds, peak = run_json(__file__, "--case", f"{name},{side}", XLA_FLAGS=flags)
            points[name].append((side, seconds, peak))
            print(f"| {side} | {name} | {seconds:.1f} | {peak:.2f} |", flush=True)
    _draw(points, benchmark.out)


def _measure(name: str, side: int) -> tuple[float, float]:
    """Return the seconds of the second step of Adam and the peak memory of the process in GiB."""
    times: list[float] = []
    content = resize(stylejax.generate_painting(512, 512), side, side).clip(0, 1)
    mesh = None
    if name == "8 devices":
        mesh = jax.make_mesh((8,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    stylejax.transfer(
        content,
        stylejax.generate_painting(256, 256, seed=3),
        size=side,
        steps=2,
        scales="1",
        weights="vgg19",
        optimizer="adam",
        parameterization="pixels",
        mesh=mesh,
        callback=lambda _: times.append(time.perf_counter()),
        **CASES[name],
    )
    return times[1] - times[0], peak_resident_bytes() / 2**30


def _draw(points: Points, out: Path) -> None:
    """Plot seconds and GiB over megapixels on logarithmic axes.

    The dotted line is the memory of the content, the four images of Adam's state, and the gradient.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    time_axes, memory_axes = figure.subplots(1, 2)
    for index, axes, title in ((1, time_axes, "seconds an evaluation"), (2, memory_axes, "peak memory, GiB")):
        for name, line in points.items():
            axes.loglog([side**2 / 1e6 for side, *_ in line], [point[index] for point in line], "o-", label=name)
        axes.set(xlabel="million pixels", title=title)
        axes.grid(alpha=0.3)
    pixels = [side**2 for side in sorted({side for line in points.values() for side, *_ in line})]
    images = [6 * BYTES_PER_PIXEL * n / 2**30 for n in pixels]
    memory_axes.loglog([n / 1e6 for n in pixels], images, "k:", label="images")
    time_axes.legend()
    memory_axes.legend()
    figure.savefig(out)


if __name__ == "__main__":
    main(tyro.cli(BenchmarkSize))
