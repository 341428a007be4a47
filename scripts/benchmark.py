"""Against PyTorch on the same network, losses and images, in turn in one run: `python scripts/benchmark.py`.

Prints Markdown, and with `--json FILE` writes the same figures as JSON:

(a) seconds of one value and gradient of the objective, with the operations counted and the share of the machine's matrix rate;
(b) seconds to the least loss that PyTorch's L-BFGS has after 100, 300 and 500 evaluations, at one scale and coarse to fine;
(c) the most memory of a process that evaluates; (d) seconds from a program's start to its end, cold and the second time.

Both have what the command line gives itself: memory in pages of 2 MiB, where Linux gives them to who asks. Needs the extras
`pretrained` and `torch`.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from _work import child, machine, matrix_rate, objective_args, operations, peak_bytes, ratio, spread, starts, timed

import stylejax
from stylejax.cli.runtime import ask_for_huge_pages
from stylejax.config import TransferConfig
from stylejax.images.resize import resize
from stylejax.images.samples import photograph, write_demo
from stylejax.models.architecture import Parameters
from stylejax.models.vgg import VGG, Precision
from stylejax.optimizers.minimize import chunk_length
from stylejax.synthesis.initialization import noise
from stylejax.synthesis.transfer import Step

CONFIG = TransferConfig()
PROGRAMS = ("stylejax", "torch", "torch.compile")
CPU_SIZES, ACCELERATOR_SIZES = (128, 256, 512, 1024), (256, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class Benchmark:
    """Time stylejax and PyTorch in turn."""

    sizes: tuple[int, ...] = ()
    """Sides of the square images of (a) and (c); where nothing is said, 128 … 1024 on a CPU and 256 … 4096 elsewhere."""
    repeats: int = 5
    """Evaluations of each in a round; the median of all counts, with the least and the most beside it."""
    rounds: int = 2
    """How often each has its turn."""
    compile: bool = True
    """Also time torch.compile, where it works."""
    precision: Precision = "default"
    """Of our network."""
    run_size: int = 192
    """Side of the images of (b); 0 leaves it out."""
    evaluations: tuple[int, ...] = (100, 300, 500)
    """Of PyTorch's L-BFGS, after which its loss is the one to reach."""
    seeds: int = 1
    """Runs of (b) from noise, beside the one from the content: each takes another way."""
    start: bool = True
    """Whether to measure (d)."""
    json: Path | None = None
    """A file for all figures."""
    alone: Literal["", "stylejax", "torch", "torch.compile"] = ""
    """Evaluate this one at the first size, and print what it took: for the program itself."""


def main(benchmark: Benchmark) -> None:
    """Prints the tables, and what they were measured on."""
    parameters, _ = stylejax.resolve("vgg19")
    sizes = benchmark.sizes or (CPU_SIZES if jax.default_backend() == "cpu" else ACCELERATOR_SIZES)
    if benchmark.alone:
        return print(json.dumps(_alone(benchmark, parameters, sizes[0])))
    rate = matrix_rate()
    print(machine(rate), end="\n\n", flush=True)
    tables = {"evaluation": _table(_evaluations(benchmark, parameters, side, rate) for side in sizes)}
    if benchmark.run_size:
        starts_from = ("content", *map(str, range(benchmark.seeds)))
        tables["descent"] = _table(row for start in starts_from for row in _descents(benchmark, parameters, start))
    if benchmark.start:
        tables["start"] = _table(_starts(sizes[0]))
    if benchmark.json:
        benchmark.json.write_text(json.dumps({"machine": machine(rate), **tables}, indent=1) + "\n", encoding="utf-8")


def _evaluations(benchmark: Benchmark, parameters: Parameters, side: int, rate: float) -> dict[str, Any]:
    """(a) and (c) at one size: in processes of their own, in turn, for what one leaves behind in a process slows another."""
    found: dict[str, Any] = {name: [] for name in PROGRAMS if benchmark.compile or name != "torch.compile"}
    words = ("--sizes", str(side), "--precision", benchmark.precision, "--repeats", str(benchmark.repeats))
    for _ in range(benchmark.rounds):
        for name in [name for name, alone in found.items() if alone is not None]:
            alone = child(*words, "--alone", name)
            found[name] = [*found[name], alone] if alone else None
    found = {name: alone for name, alone in found.items() if alone}
    times = {name: [s for one in alone for s in one["seconds"]] for name, alone in found.items()}
    ours, done = times["stylejax"], operations(parameters, CONFIG, side)
    row: dict[str, Any] = {"side": side} | {f"{name} s (least–most)": spread(t) for name, t in times.items()}
    row |= {f"ratio to {name}": round(ratio(ours, t), 2) for name, t in times.items() if name != "stylejax"}
    row |= {"GFLOP": round(done / 1e9), "of the matrix rate": round(done / min(ours) / rate, 2)}
    return row | {f"{name} MiB": round(max(one["bytes"] for one in alone) / 2**20) for name, alone in found.items()}


def _alone(benchmark: Benchmark, parameters: Parameters, side: int) -> dict[str, Any] | None:
    """Seconds of evaluations, and the most bytes there were; None where torch.compile finds no compiler."""
    image, args = _problem(parameters, side, benchmark.precision)
    if benchmark.alone == "stylejax":
        return {"seconds": timed(_ours(image, args), benchmark.repeats), "bytes": peak_bytes()}
    import _peer
    import torch

    _peer.prepare()
    eager = _peer.Torch(parameters, *args[1:])
    run = _peer.evaluation(torch.compile(eager) if benchmark.alone == "torch.compile" else eager, image[::-1].copy())
    return {"seconds": timed(run, benchmark.repeats), "bytes": _peer.peak_bytes()} if _works(run) else None


def _descents(benchmark: Benchmark, parameters: Parameters, start: str) -> Iterator[dict[str, Any]]:
    """(b) from one first image: at the one scale, compiled before, and as a user's whole job, coarse to fine with as many steps
    as PyTorch takes, where targets, compilation and all scales count."""
    import _peer

    side = benchmark.run_size
    content, args = _problem(parameters, side, benchmark.precision)
    image = content if start == "content" else noise(int(start), side, side)
    theirs = _peer.descent(_peer.Torch(parameters, *args[1:]), image, max(benchmark.evaluations))
    _single(image, args, chunk_length())
    single = _single(image, args, max(benchmark.evaluations))
    for n in benchmark.evaluations:
        their_seconds, loss = theirs[n - 1]
        first = start if start == "content" else f"noise {start}"
        row = {
            "from": first,
            "side": side,
            "evaluations": n,
            "torch loss": f"{loss:.4f}",
            "torch s": f"{their_seconds:.1f}",
        }
        for name, ours in (("one scale", single), ("coarse to fine", _scales(content, args[0], start, n))):
            taken, reached = next(((i, s) for i, (s, value) in enumerate(ours, 1) if value <= loss), (None, None))
            row |= {f"{name}: evaluations": taken}
            row |= {
                f"{name}: s": reached and f"{reached:.1f}",
                f"{name}: ratio": reached and f"{reached / their_seconds:.2f}",
            }
        yield row


def _single(image: np.ndarray, args: tuple, steps: int) -> list[tuple[float, float]]:
    """(seconds since the start, loss) of each step."""
    watch = _Watch()
    first = stylejax.encode(jnp.asarray(image), CONFIG.parameterization)
    stylejax.minimize(stylejax.objective, stylejax.lbfgs(), first, args, steps, lambda info: watch(float(info.value)))
    return watch.seen


def _scales(content: np.ndarray, vgg: VGG, start: str, steps: int) -> list[tuple[float, float]]:
    """The same; the losses of coarse scales are others, and count as none."""
    watch, side = _Watch(), len(content)
    options: dict[str, Any] = {} if start == "content" else {"init": "noise", "seed": int(start)}

    def callback(step: Step) -> None:
        watch(step.loss if step.size == (side, side) else float("inf"))

    style = resize(stylejax.paint(), side, side)
    stylejax.transfer(content, style, vgg=vgg, size=side, steps=steps, callback=callback, **options)
    return watch.seen


class _Watch:
    """Notes when a loss was seen."""

    def __init__(self) -> None:
        self.began, self.seen = time.perf_counter(), []

    def __call__(self, loss: float) -> None:
        self.seen.append((time.perf_counter() - self.began, loss))


def _starts(side: int) -> Iterator[dict[str, Any]]:
    """(d): the command line to a first picture of one step, and a program that does the same in PyTorch."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/out.png"
        content, style = write_demo(Path(folder))
        options = ("-o", out, "--size", str(side), "--steps", "1", "--weights", "vgg19")
        programs = {
            "stylejax": ("-m", "stylejax", "transfer", str(content), str(style), *options),
            "torch": (str(Path(__file__).with_name("_peer_start.py")), str(side), out),
        }
        for name, program in programs.items():
            cold, second = starts((sys.executable, *program))
            yield {"one step": name, "side": side, "cold s": f"{cold:.1f}", "second s": f"{second:.1f}"}


def _problem(parameters: Parameters, side: int, precision: Precision) -> tuple[np.ndarray, tuple[Any, Any, Any]]:
    vgg = stylejax.build_vgg(parameters, precision=precision)
    content = resize(stylejax.read_image(photograph()), side, side)
    style = resize(stylejax.paint(), side, side)
    return content, objective_args(vgg, content, style)


def _ours(image: np.ndarray, args: tuple) -> Callable[[], Any]:
    """One value and gradient, waited for, from the content upside down: at the content itself its loss is zero."""
    step = jax.jit(jax.value_and_grad(stylejax.objective, has_aux=True))
    turned = jnp.asarray(image[::-1])
    return lambda: jax.block_until_ready(step(turned, *args))


def _works(run: Callable[[], Any]) -> bool:
    """Whether torch.compile finds the compiler that it needs."""
    try:
        run()
    except Exception as error:
        print(f"torch.compile does not work here: {type(error).__name__}", file=sys.stderr)
        return False
    return True


def _table(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Prints each row as soon as it is there."""
    kept: list[dict[str, Any]] = []
    for row in rows:
        if not kept:
            print(f"| {' | '.join(row)} |\n|{'---|' * len(row)}")
        print(f"| {' | '.join('–' if value is None else str(value) for value in row.values())} |", flush=True)
        kept.append(row)
    print(flush=True)
    return kept


if __name__ == "__main__":
    ask_for_huge_pages()
    main(tyro.cli(Benchmark))
