"""Time and peak memory of an evaluation against picture size: `python scripts/benchmark_size.py --largest 2048`.

Whole, by tiles, computed again, and over 8 virtual devices of one CPU: each case in a process of its own, since the most
memory that a process ever had is what the system tells. Prints a Markdown table and draws the plot `--out`. Needs the extra
`pretrained`.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from _work import most_resident

IMAGE = 12
"""Bytes a pixel of an image in float32."""
CASES = {"whole": {}, "tiled": {"tile": "512"}, "remat": {"remat": True}, "8 devices": {"shard": "8"}}


@dataclass(frozen=True)
class BenchmarkSize:
    """Time and memory against size."""

    largest: int = 2048
    """The largest side of the square pictures, which begin at 256 and double."""
    most: int = 2048
    """The largest side of those that are not tiled."""
    out: Path = Path("size.png")
    """The plot."""
    case: str = ""
    """CASE,SIDE: this one alone, for the program itself."""


def main(benchmark: BenchmarkSize) -> None:
    """Prints the table and draws the plot."""
    if benchmark.case:
        name, side = benchmark.case.split(",")
        print(json.dumps(_measured(name, int(side))))
        return
    sides = [side for k in range(8, 14) if (side := 2**k) <= benchmark.largest]
    found: dict[str, list[tuple[int, float, float]]] = {name: [] for name in CASES}
    print("| side | case | seconds | peak GiB |\n|---|---|---|---|")
    for side in sides:
        for name in CASES:
            if side > benchmark.most and name != "tiled":
                continue
            seconds, peak = _in_a_process(name, side)
            found[name].append((side, seconds, peak))
            print(f"| {side} | {name} | {seconds:.1f} | {peak:.2f} |", flush=True)
    _draw(found, benchmark.out)


def _in_a_process(name: str, side: int) -> tuple[float, float]:
    devices = 8 if name == "8 devices" else 1
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    words = [sys.executable, __file__, "--case", f"{name},{side}"]
    out = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    return tuple(json.loads(out.splitlines()[-1]))


def _measured(name: str, side: int) -> tuple[float, float]:
    """Seconds of a step of Adam, the second of two; the most memory of the process in GiB."""
    import jax

    import stylejax
    from stylejax.images.resize import resize

    times: list[float] = []
    content = resize(stylejax.paint(512, 512), side, side).clip(0, 1)
    mesh = None
    if name == "8 devices":
        mesh = jax.make_mesh((8,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    stylejax.transfer(
        content,
        stylejax.paint(256, 256, seed=3),
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
    return times[1] - times[0], most_resident() / 2**30


def _draw(found: dict[str, list[tuple[int, float, float]]], out: Path) -> None:
    """Seconds and GiB over millions of pixels, side by side, on logarithmic axes: what is proportional has slope 1. Beside the
    memory there are the bytes of the content, of the four images that Adam carries, and of the gradient."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    sides = sorted({side for line in found.values() for side, *_ in line})
    for axes, index, title in zip(
        figure.subplots(1, 2), (1, 2), ("seconds an evaluation", "peak memory, GiB"), strict=True
    ):
        for name, line in found.items():
            axes.loglog([side**2 / 1e6 for side, *_ in line], [point[index] for point in line], "o-", label=name)
        axes.set(xlabel="million pixels", title=title)
        if index == 2:
            axes.loglog(
                *zip(*((n**2 / 1e6, 6 * IMAGE * n**2 / 2**30) for n in sides), strict=True), "k:", label="images"
            )
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(out)


if __name__ == "__main__":
    main(tyro.cli(BenchmarkSize))
