"""Evaluate and minimize the objective in PyTorch, with the targets and weights of stylejax."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from benchmark_utils import peak_resident_bytes

from stylejax.models.architecture import VGGWeights, block_index

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def enable_fast_math() -> None:
    """Enable the settings of PyTorch that are fastest on a GPU."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True


class TorchObjective:
    """Weighted sum of the content and style losses of an image (1, 3, h, w)."""

    def __init__(self, parameters: VGGWeights, targets: Any, weights: Any):
        self.layers = {name: (tensor(c.kernel), tensor(c.bias)) for name, c in parameters.layers.items()}
        self.mean, self.std = (tensor(x).view(1, 3, 1, 1) for x in (parameters.mean, parameters.std))
        self.content = {name: tensor(p) for name, p in targets.content.items()}
        self.style = {name: tensor(a) for name, a in targets.style.items()}
        self.weights = jax.tree.map(float, weights)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        x, block, total = (image - self.mean) / self.std, 1, image.new_zeros(())
        last = max([*self.content, *self.style])
        for name, (kernel, bias) in self.layers.items():
            if block_index(name) != block:
                x, block = torch.nn.functional.avg_pool2d(x, 2), block_index(name)
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


def evaluation(objective: Callable[[torch.Tensor], torch.Tensor], image: np.ndarray) -> Callable[[], None]:
    """Return a function that computes the loss and its gradient once and waits for the device."""
    x = tensor(image).requires_grad_()

    def evaluate() -> None:
        x.grad = None
        objective(x).backward()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return evaluate


def lbfgs_history(objective: TorchObjective, image: np.ndarray, evaluations: int) -> list[tuple[float, float]]:
    """Return (seconds since the start, lowest loss so far) after each evaluation of torch.optim.LBFGS."""
    x, history = tensor(image).requires_grad_(), []
    optimizer = torch.optim.LBFGS(
        [x], max_iter=evaluations, max_eval=evaluations, history_size=100, tolerance_grad=-1, tolerance_change=-1
    )
    start = time.perf_counter()

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = objective(x)
        loss.backward()
        lowest = min(loss.item(), history[-1][1] if history else float("inf"))
        history.append((time.perf_counter() - start, lowest))
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return history


def tensor(array: Any) -> torch.Tensor:
    """Convert (h, w, c) to (1, c, h, w), kernels (3, 3, i, o) to (o, i, 3, 3); keep other shapes."""
    array = np.asarray(array, np.float32)
    axes = {3: (2, 0, 1), 4: (3, 2, 0, 1)}.get(array.ndim)
    result = torch.tensor(array.transpose(axes).copy() if axes else array, device=DEVICE)
    return result[None] if array.ndim == 3 else result


def peak_bytes() -> int:
    """Return the peak memory of this process: PyTorch's on a GPU, else that of the machine."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else peak_resident_bytes()
