"""Compare stylejax with PyTorch on the same network, losses and images: `python scripts/benchmark.py`.

The program prints Markdown tables, and `--json FILE` also writes them as JSON:

(a) seconds of one loss with its gradient, its operations, and their share of the machine's rate of matrix products;
(b) seconds until stylejax reaches the lowest loss of PyTorch's L-BFGS, at one scale and coarse to fine;
(c) peak memory of a process that evaluates; (d) seconds from a program's start to its end, cold and the second time.

All programs use pages of 2 MiB if Linux offers them, as the command line does. Needs the extras `pretrained` and `torch`.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import benchmark_utils as utils
import jax
import jax.numpy as jnp
import numpy as np
import tyro

import stylejax
from stylejax.cli.runtime import enable_huge_pages
from stylejax.config import TransferConfig
from stylejax.images.resize import resize
from stylejax.images.samples import photograph, write_demo
from stylejax.models.architecture import VGGWeights
from stylejax.models.vgg import VGG, Precision
from stylejax.optimizers.minimize import steps_per_dispatch
from stylejax.synthesis.initialization import noise
from stylejax.synthesis.transfer import Step

CONFIG = TransferConfig()
PROGRAMS = ("stylejax", "torch", "torch.compile")
CPU_SIZES, ACCELERATOR_SIZES = (128, 256, 512, 1024), (256, 512, 1024, 2048, 4096)

Losses = list[tuple[float, float]]
"""Seconds since the start and loss, of each step."""


@dataclass(frozen=True)
class Benchmark:
    """Time stylejax and PyTorch in turn."""

    sizes: tuple[int, ...] = ()
    """Sides of the square images of (a) and (c); by default 128 … 1024 on a CPU and 256 … 4096 elsewhere."""
    repeats: int = 5
    """Evaluations of each program in a round; the tables give their median and range over all rounds."""
    rounds: int = 2
    """Rounds, in which the programs take turns."""
    compile: bool = True
    """Whether to time torch.compile, if it works on this machine."""
    precision: Precision = "default"
    """Precision of the network in stylejax."""
    run_size: int = 192
    """Side of the images of (b); 0 omits it."""
    evaluations: tuple[int, ...] = (100, 300, 500)
    """Evaluations of PyTorch's L-BFGS whose loss stylejax must reach in (b)."""
    seeds: int = 1
    """Runs of (b) from noise, besides the one from the content."""
    start: bool = True
    """Whether to measure (d)."""
    json: Path | None = None
    """File for all figures."""
    worker: Literal["", "stylejax", "torch", "torch.compile"] = ""
    """Program to evaluate at the first size in this process; the benchmark itself uses this option."""


def main(benchmark: Benchmark) -> None:
    """Run the benchmark and print its tables."""
    parameters, _ = stylejax.load_pretrained("vgg19")
    sizes = benchmark.sizes or (CPU_SIZES if jax.default_backend() == "cpu" else ACCELERATOR_SIZES)
    if benchmark.worker:
        return print(json.dumps(_evaluate(benchmark, parameters, sizes[0])))
    rate = utils.matmul_rate()
    machine = utils.describe_machine(rate)
    print(machine, end="\n\n", flush=True)
    tables = {"evaluation": _table(_evaluations(benchmark, parameters, side, rate) for side in sizes)}
    if benchmark.run_size:
        inits = ("content", *map(str, range(benchmark.seeds)))
        tables["descent"] = _table(row for init in inits for row in _descents(benchmark, parameters, init))
    if benchmark.start:
        tables["start"] = _table(_starts(sizes[0]))
    if benchmark.json:
        benchmark.json.write_text(json.dumps({"machine": machine, **tables}, indent=1) + "\n", encoding="utf-8")


def _evaluations(benchmark: Benchmark, parameters: VGGWeights, side: int, rate: float) -> dict[str, Any]:
    """Return the row of (a) and (c) for one size, measured in separate processes."""
    results: dict[str, list] = {name: [] for name in PROGRAMS if benchmark.compile or name != "torch.compile"}
    words = ("--sizes", str(side), "--precision", benchmark.precision, "--repeats", str(benchmark.repeats))
    for _ in range(benchmark.rounds):
        for name in list(results):
            if result := utils.run_json(__file__, *words, "--worker", name):
                results[name].append(result)
            else:
                del results[name]
    times = {name: [s for result in rounds for s in result["seconds"]] for name, rounds in results.items()}
    ours, operations = times["stylejax"], utils.count_operations(parameters, CONFIG, side)
    row: dict[str, Any] = {"side": side} | {f"{name} s (range)": utils.format_spread(t) for name, t in times.items()}
    for name in [name for name in times if name != "stylejax"]:
        row[f"ratio to {name}"] = round(utils.median_ratio(ours, times[name]), 2)
    row |= {"GFLOP": round(operations / 1e9), "of the matrix rate": round(operations / min(ours) / rate, 2)}
    peaks = {name: max(result["bytes"] for result in rounds) for name, rounds in results.items()}
    return row | {f"{name} MiB": round(peak / 2**20) for name, peak in peaks.items()}


def _evaluate(benchmark: Benchmark, parameters: VGGWeights, side: int) -> dict[str, Any] | None:
    """Return the seconds of evaluations and the peak memory; None if torch.compile has no compiler."""
    image, args = _problem(parameters, side, benchmark.precision)
    # The content loss of the content itself is zero, so it is evaluated upside down.
    image = image[::-1].copy()
    if benchmark.worker == "stylejax":
        step, x = jax.jit(jax.value_and_grad(stylejax.objective, has_aux=True)), jnp.asarray(image)
        times = utils.time_calls(lambda: jax.block_until_ready(step(x, *args)), benchmark.repeats)
        return {"seconds": times, "bytes": utils.peak_bytes()}
    import torch
    import torch_reference

    torch_reference.enable_fast_math()
    eager = torch_reference.TorchObjective(parameters, *args[1:])
    objective = torch.compile(eager) if benchmark.worker == "torch.compile" else eager
    run = torch_reference.evaluation(objective, image)
    if not _works(run):
        return None
    return {"seconds": utils.time_calls(run, benchmark.repeats), "bytes": torch_reference.peak_bytes()}


def _descents(benchmark: Benchmark, parameters: VGGWeights, init: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of (b) for the content, or a seed of noise, as first image.

    One scale is timed after compilation. Coarse to fine, with as many steps as PyTorch, is timed as a whole run.
    """
    import torch_reference

    side = benchmark.run_size
    content, args = _problem(parameters, side, benchmark.precision)
    image = content if init == "content" else noise(int(init), side, side)
    torch_objective = torch_reference.TorchObjective(parameters, *args[1:])
    theirs = torch_reference.lbfgs_history(torch_objective, image, max(benchmark.evaluations))
    _single_scale(image, args, steps_per_dispatch())
    single = _single_scale(image, args, max(benchmark.evaluations))
    for n in benchmark.evaluations:
        torch_seconds, loss = theirs[n - 1]
        row: dict[str, Any] = {"from": init if init == "content" else f"noise {init}", "side": side, "evaluations": n}
        row |= {"torch loss": f"{loss:.4f}", "torch s": f"{torch_seconds:.1f}"}
        for name, ours in (("one scale", single), ("coarse to fine", _coarse_to_fine(content, args[0], init, n))):
            step, reached = next(((i, s) for i, (s, value) in enumerate(ours, 1) if value <= loss), (None, None))
            row[f"{name}: evaluations"] = step
            row[f"{name}: s"] = reached and f"{reached:.1f}"
            row[f"{name}: ratio"] = reached and f"{reached / torch_seconds:.2f}"
        yield row


def _single_scale(image: np.ndarray, args: tuple, steps: int) -> Losses:
    losses, start = [], time.perf_counter()
    params = stylejax.to_params(jnp.asarray(image), CONFIG.parameterization)

    def callback(info: stylejax.Info) -> None:
        losses.append((time.perf_counter() - start, float(info.value)))

    stylejax.minimize(stylejax.objective, stylejax.lbfgs(), params, args, steps, callback)
    return losses


def _coarse_to_fine(content: np.ndarray, vgg: VGG, init: str, steps: int) -> Losses:
    """Return the losses of a whole run; those of coarse scales cannot be compared and count as infinite."""
    losses, start, side = [], time.perf_counter(), len(content)
    options: dict[str, Any] = {} if init == "content" else {"init": "noise", "seed": int(init)}

    def callback(step: Step) -> None:
        loss = step.loss if step.size == (side, side) else float("inf")
        losses.append((time.perf_counter() - start, loss))

    style = resize(stylejax.generate_painting(), side, side)
    stylejax.transfer(content, style, vgg=vgg, size=side, steps=steps, callback=callback, **options)
    return losses


def _starts(side: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of (d): one step by the command line, and by a program in PyTorch."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/out.png"
        content, style = write_demo(Path(folder))
        options = ("-o", out, "--size", str(side), "--steps", "1", "--weights", "vgg19")
        programs = {
            "stylejax": ("-m", "stylejax", "transfer", str(content), str(style), *options),
            "torch": (str(Path(__file__).with_name("torch_cold_start.py")), str(side), out),
        }
        for name, program in programs.items():
            cold, second = utils.startup_seconds((sys.executable, *program))
            yield {"one step": name, "side": side, "cold s": f"{cold:.1f}", "second s": f"{second:.1f}"}


def _problem(parameters: VGGWeights, side: int, precision: Precision) -> tuple[np.ndarray, tuple[Any, Any, Any]]:
    vgg = stylejax.build_vgg(parameters, precision=precision)
    content = resize(stylejax.read_image(photograph()), side, side)
    style = resize(stylejax.generate_painting(), side, side)
    return content, utils.objective_args(vgg, content, style)


def _works(run: Callable[[], Any]) -> bool:
    try:
        run()
    except Exception as error:
        print(f"torch.compile does not work here: {type(error).__name__}", file=sys.stderr)
        return False
    return True


def _table(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Print each row as soon as it is measured, and return all."""
    result: list[dict[str, Any]] = []
    for row in rows:
        if not result:
            print(f"| {' | '.join(row)} |\n|{'---|' * len(row)}")
        print(f"| {' | '.join('–' if value is None else str(value) for value in row.values())} |", flush=True)
        result.append(row)
    print(flush=True)
    return result


if __name__ == "__main__":
    enable_huge_pages()
    main(tyro.cli(Benchmark))
