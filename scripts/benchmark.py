"""Against PyTorch on the same network, losses and images, in turn in one run: `python scripts/benchmark.py`.

Prints two Markdown tables: seconds for one value and gradient of the objective, and the loss and seconds of 200 evaluations of
L-BFGS with a memory of 100, from the content image and from noise. Needs the extras `pretrained` and `torch`.
"""

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import tyro

import stylejax
from stylejax.config import TransferConfig
from stylejax.demo import photograph
from stylejax.images import resize
from stylejax.scales import loss_weights, noise
from stylejax.vgg import Parameters, block

CONFIG = TransferConfig()


@dataclass(frozen=True)
class Benchmark:
    """Time stylejax and PyTorch in turn."""

    sizes: tuple[int, ...] = (256, 512)
    """Sides of the square images of the first table."""
    repeats: int = 7
    """Evaluations of each; the median counts, with the least and the most beside it."""
    run_size: int = 128
    """Side of the images of the second table; 0 leaves it out."""
    evaluations: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 200
    """Evaluations of a run of the second table."""
    seeds: int = 3
    """Runs from noise in the second table: each takes another way, and their losses differ by a few per cent."""


class Torch:
    """The objective as a user of PyTorch writes it, on the numbers of our targets and weights."""

    def __init__(self, parameters: Parameters, targets: Any, weights: Any):
        self.layers = {name: (_nchw(c.kernel), torch.tensor(c.bias)) for name, c in parameters.layers.items()}
        self.mean, self.std = (torch.tensor(x).view(1, 3, 1, 1) for x in (parameters.mean, parameters.std))
        self.content = {name: torch.tensor(np.asarray(p)).permute(2, 0, 1)[None] for name, p in targets.content.items()}
        self.style = {name: torch.tensor(np.asarray(a)) for name, a in targets.style.items()}
        self.weights = jax.tree.map(float, weights)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """The weighted sum of the losses."""
        x, before, total = (image - self.mean) / self.std, 1, torch.zeros(())
        last = max([*self.content, *self.style])
        for name, (kernel, bias) in self.layers.items():
            if block(name) != before:
                x, before = torch.nn.functional.avg_pool2d(x, 2), block(name)
            x = torch.relu(torch.nn.functional.conv2d(x, kernel, bias, padding=1))
            if name in self.content:
                total = total + self.weights.content[name] * ((x - self.content[name]) ** 2).mean() / 2
            if name in self.style:
                flat = x.flatten(2)[0]
                gram = flat @ flat.T / flat.shape[1]
                total = total + self.weights.style[name] * ((gram - self.style[name]) ** 2).mean() / 4
            if name == last:
                break
        return total


def main(benchmark: Benchmark) -> None:
    """Prints both tables, and what they were measured on."""
    parameters, _ = stylejax.resolve("vgg16")
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, python {platform.python_version()}",
        end="",
    )
    print("".join(f", {name} {metadata.version(name)}" for name in ("jax", "torch")), end="\n\n")
    print("| side | stylejax s (least–most) | torch s (least–most) | ratio |\n|---|---|---|---|")
    for size in benchmark.sizes:
        ours, theirs = _evaluations(parameters, size, benchmark.repeats)
        print(f"| {size} | {_spread(ours)} | {_spread(theirs)} | {_ratio(ours, theirs):.2f} |", flush=True)
    if benchmark.run_size:
        print(f"\n| {benchmark.evaluations} evaluations at {benchmark.run_size}² | stylejax | torch |\n|---|---|---|")
        for start in ("content", *map(str, range(benchmark.seeds))):
            (a, s), (b, t) = _runs(parameters, benchmark.run_size, benchmark.evaluations, start)
            name = "the content" if start == "content" else f"noise of seed {start}"
            print(f"| from {name} | {a:.4f} in {s:.1f} s | {b:.4f} in {t:.1f} s |", flush=True)


def _problem(parameters: Parameters, size: int) -> tuple[np.ndarray, tuple[Any, Any, Any]]:
    vgg = stylejax.build_vgg(parameters)
    content = resize(stylejax.read_image(photograph()), size, size)
    style = resize(stylejax.paint(), size, size)
    targets = stylejax.Targets(
        stylejax.content_targets(vgg, jnp.asarray(content), CONFIG.content_layers),
        stylejax.style_targets(vgg, jnp.asarray(style), CONFIG.style_layers),
    )
    return content, (vgg, targets, loss_weights(CONFIG, targets))


def _evaluations(parameters: Parameters, size: int, repeats: int) -> tuple[list[float], list[float]]:
    image, args = _problem(parameters, size)
    image = image[::-1].copy()
    step = jax.jit(jax.value_and_grad(stylejax.objective, has_aux=True))
    x, network = _nchw(image).requires_grad_(), Torch(parameters, *args[1:])

    def ours() -> None:
        jax.block_until_ready(step(image, *args))

    def theirs() -> None:
        x.grad = None
        network(x).backward()

    times: tuple[list[float], list[float]] = ([], [])
    for i in range(repeats + 1):
        for record, run in zip(times, (ours, theirs), strict=True):
            seconds = _seconds(run)
            if i:  # The first of each compiles and allocates.
                record.append(seconds)
    return times


def _runs(
    parameters: Parameters, size: int, evaluations: int, start: str
) -> tuple[tuple[float, float], tuple[float, float]]:
    content, args = _problem(parameters, size)
    image = content if start == "content" else noise(int(start), size, size)
    found: list[float] = []

    def ours(steps: int = evaluations) -> None:
        first = stylejax.encode(jnp.asarray(image), CONFIG.parameterization)
        found.append(stylejax.minimize(stylejax.objective, stylejax.lbfgs(), first, args, steps).value)

    ours(1)

    seconds = _seconds(ours)
    network, x, losses = Torch(parameters, *args[1:]), _nchw(image).requires_grad_(), []
    optimizer = torch.optim.LBFGS(
        [x], max_iter=evaluations, max_eval=evaluations, history_size=100, tolerance_grad=-1, tolerance_change=-1
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = network(x)
        loss.backward()
        losses.append(loss.item())
        return loss

    torch_seconds = _seconds(lambda: optimizer.step(closure))  # type: ignore[arg-type]
    return (found[-1], seconds), (min(losses), torch_seconds)


def _nchw(array: np.ndarray) -> torch.Tensor:
    axes = (2, 0, 1) if array.ndim == 3 else (3, 2, 0, 1)
    tensor = torch.tensor(np.asarray(array, np.float32).transpose(axes).copy())
    return tensor[None] if array.ndim == 3 else tensor


def _seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _spread(times: list[float]) -> str:
    return f"{statistics.median(times):.3f} ({min(times):.3f}–{max(times):.3f})"


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
