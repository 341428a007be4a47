"""The objective and the optimizer as a user of PyTorch writes them, on the numbers of our targets and weights."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from _work import most_resident

from stylejax.models.architecture import Parameters, block

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def prepare() -> None:
    """What a user who wants speed sets on a GPU."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True


class Torch:
    """The weighted sum of the losses of an image (1, 3, h, w)."""

    def __init__(self, parameters: Parameters, targets: Any, weights: Any):
        self.layers = {name: (tensor(c.kernel), tensor(c.bias)) for name, c in parameters.layers.items()}
        self.mean, self.std = (tensor(x).view(1, 3, 1, 1) for x in (parameters.mean, parameters.std))
        self.content = {name: tensor(p) for name, p in targets.content.items()}
        self.style = {name: tensor(a) for name, a in targets.style.items()}
        self.weights = jax.tree.map(float, weights)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        x, before, total = (image - self.mean) / self.std, 1, image.new_zeros(())
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


def evaluation(network: Callable[[torch.Tensor], torch.Tensor], image: np.ndarray) -> Callable[[], None]:
    """One value and gradient, waited for."""
    x = tensor(image).requires_grad_()

    def evaluate() -> None:
        x.grad = None
        network(x).backward()
        wait()

    return evaluate


def descent(network: Torch, image: np.ndarray, evaluations: int) -> list[tuple[float, float]]:
    """(seconds since the start, least loss so far) after each evaluation of torch.optim.LBFGS with a history of 100."""
    x, seen = tensor(image).requires_grad_(), []
    optimizer = torch.optim.LBFGS(
        [x], max_iter=evaluations, max_eval=evaluations, history_size=100, tolerance_grad=-1, tolerance_change=-1
    )
    began = time.perf_counter()

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = network(x)
        loss.backward()
        least = min(loss.item(), seen[-1][1] if seen else float("inf"))
        seen.append((time.perf_counter() - began, least))
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return seen


def tensor(array: Any) -> torch.Tensor:
    """A picture or a map (h, w, c) as (1, c, h, w), a kernel (3, 3, i, o) as (o, i, 3, 3), anything else as it is."""
    array = np.asarray(array, np.float32)
    axes = {3: (2, 0, 1), 4: (3, 2, 0, 1)}.get(array.ndim)
    made = torch.tensor(array.transpose(axes).copy() if axes else array, device=DEVICE)
    return made[None] if array.ndim == 3 else made


def peak_bytes() -> int:
    """The most that this process has had: on a GPU of what torch took of its memory, else of the machine's."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else most_resident()


def wait() -> None:
    """Until the device has done what it was given."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
