"""Time and peak memory of an evaluation against picture size: `python scripts/benchmark_size.py --largest 2048`.

Whole, by tiles, computed again, and over 8 virtual devices of one CPU: each case in a process of its own, since the most
memory that a process ever had is what the system tells. Prints a Markdown table and draws the plot `--out`.
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
from PIL import Image as Pillow
from PIL import ImageDraw

CASES = {"whole": {}, "tiled": {"tile": "512"}, "remat": {"remat": True}, "8 devices": {"shard": "8"}}
COLOURS = {"whole": "#c0392b", "tiled": "#2471a3", "remat": "#239b56", "8 devices": "#9a7d0a"}
WIDTH, HEIGHT, MARGIN = 520, 360, 60


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
    from stylejax.resizing import resize

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
        weights="vgg16",
        optimizer="adam",
        parameterization="pixels",
        mesh=mesh,
        callback=lambda _: times.append(time.perf_counter()),
        **CASES[name],
    )
    return times[1] - times[0], most_resident() / 2**30


def _draw(found: dict[str, list[tuple[int, float, float]]], out: Path) -> None:
    """Two plots side by side over millions of pixels, both axes linear: seconds, and GiB."""
    image = Pillow.new("RGB", (2 * WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    for panel, (index, title) in enumerate(((1, "seconds an evaluation"), (2, "peak memory, GiB"))):
        left, right, top, bottom = panel * WIDTH + MARGIN, (panel + 1) * WIDTH - 20, 40, HEIGHT - MARGIN
        points = [point for line in found.values() for point in line]
        across, up = max(p[0] ** 2 for p in points), max(p[index] for p in points)

        def place(
            side: float, value: float, box=(left, right, top, bottom), across=across, up=up
        ) -> tuple[float, float]:
            return box[0] + side**2 / across * (box[1] - box[0]), box[3] - value / up * (box[3] - box[2])

        draw.text((left, 12), title, "black")
        draw.line([(left, top), (left, bottom), (right, bottom)], "black")
        draw.text((right - 110, bottom + 24), "million pixels", "black")
        for side in sorted({p[0] for p in points})[-3:]:
            draw.text((place(side, 0)[0] - 12, bottom + 6), f"{side**2 / 1e6:.1f}", "black")
        for share in (0.5, 1.0):
            draw.text((left - 45, place(0, share * up)[1] - 6), f"{share * up:.1f}", "black")
        for row, (name, line) in enumerate(found.items()):
            draw.line([place(p[0], p[index]) for p in line], COLOURS[name], 3)
            draw.text((left + 12, top + 14 * row), name, COLOURS[name])
    image.save(out)


if __name__ == "__main__":
    main(tyro.cli(BenchmarkSize))
