"""`sweep`: optimize many images of one size together, in one compiled program."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from stylejax.errors import InputError
from stylejax.losses.objective import LossTerms, compose_image, objective
from stylejax.losses.targets import PreservedRegion, Targets, required_layers
from stylejax.models.vgg import VGG
from stylejax.optimizers.base import Info, Minimizer, host_only
from stylejax.optimizers.batched import minimize_batch
from stylejax.optimizers.lbfgs import lbfgs
from stylejax.optimizers.minimize import Solution
from stylejax.parameterization import Parameterization, to_params
from stylejax.partitioning.memory import BYTES_PER_PIXEL, available_bytes, max_batch_size, predicted_bytes

Watch: TypeAlias = Callable[[Sequence[Info]], bool | None]


class SweepResult(NamedTuple):
    """Images in [0, 1] and their minimum losses: infinite, with NaN terms, if a run had no finite loss."""

    images: Float[np.ndarray, "n h w 3"]
    losses: Float[np.ndarray, " n"]
    terms: LossTerms


@host_only
def sweep(
    images: Any,
    vgg: VGG,
    targets: Targets,
    weights: LossTerms,
    *,
    steps: int = 500,
    minimizer: Minimizer | None = None,
    parameterization: Parameterization = "pyramid",
    batch_size: int | None = None,
    mesh: Mesh | None = None,
    callback: Watch | None = None,
) -> SweepResult:
    """Minimize the objective from many images of one size.

    Leaves of `images`, `targets` and `weights` may have a first axis with one entry per run; runs share all other leaves.

    Args:
        images: initial images (h, w, 3), in [0, 1].
        vgg: network, shared by all runs.
        targets: style and content targets.
        weights: loss weights.
        steps: steps of each run.
        minimizer: L-BFGS by default.
        parameterization: parameterization of the images.
        batch_size: runs at once on each device; by default 1 on the CPU, else as many as memory is predicted to hold.
        mesh: devices to distribute the runs over, along its only axis `batch`; the first device by default.
        callback: sees the `Info` of the runs of a batch after each step, and ends the batch by returning True.

    Returns:
        The images, losses and unweighted loss terms of all runs.

    Raises:
        InputError: leaves have different batch sizes.
    """
    runs = _unstack((images, targets, weights))
    minimizer = minimizer or lbfgs()
    h, w, _ = runs[0][0].shape
    layers, history = required_layers(targets), round(_state_images(minimizer, parameterization, h, w) / 2)

    def needed(count: int) -> int:
        return predicted_bytes(vgg.network, layers, h, w, history, batch_size=count, remat=vgg.remat)

    width = choose_batch_size(batch_size, len(runs), mesh, needed)
    solutions: list[Solution] = []
    for batch in (runs[i : i + width] for i in range(0, len(runs), width)):
        starts = [to_params(jnp.asarray(image), parameterization) for image, _, _ in batch]
        args = [(targets, weights) for _, targets, weights in batch]
        solutions += minimize_batch(
            objective, minimizer, starts, vgg, args, steps, callback, batch_size=width, mesh=mesh
        )
    results = [compose_image(s.params, targets.preserved) for s, (_, targets, _) in zip(solutions, runs, strict=True)]
    nan_terms = jax.tree.map(lambda _: np.nan, runs[0][2])
    return SweepResult(
        np.stack([np.clip(np.asarray(image), 0, 1) for image in results]),
        np.asarray([s.value for s in solutions], np.float32),
        jax.tree.map(
            lambda *parts: np.asarray(parts, np.float32),
            *(nan_terms if np.isinf(s.value) else s.aux for s in solutions),
        ),
    )


def _state_images(minimizer: Minimizer, parameterization: Parameterization, height: int, width: int) -> float:
    """Return the size of an optimizer state, in float32 images."""
    image = jax.ShapeDtypeStruct((height, width, 3), np.float32)
    state = jax.eval_shape(lambda x: minimizer.init(to_params(x, parameterization)), image)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)) / (BYTES_PER_PIXEL * height * width)


def choose_batch_size(batch_size: int | None, count: int, mesh: Mesh | None, needed: Callable[[int], int]) -> int:
    """Return the number of runs in a batch, on all devices together.

    Args:
        batch_size: maximum per device; None means 1 on the CPU, else as many as fit the memory.
        count: number of runs.
        mesh: devices; None means one.
        needed: memory of a device, in bytes, as a function of its number of runs.
    """
    devices = mesh.size if mesh else 1
    if batch_size is None and jax.default_backend() == "cpu":
        batch_size = 1
    per_device = -(-count // devices)
    if batch_size:
        return devices * min(batch_size, per_device)
    return devices * max_batch_size(needed, available_bytes(), per_device)


def _unstack(trees: tuple[Any, Targets, LossTerms]) -> list[tuple[Any, Targets, LossTerms]]:
    """Return the image, targets and weights of each run."""
    preserved = None if trees[1].preserved is None else PreservedRegion(3, 2)  # type: ignore[arg-type]
    targets = Targets(3, 2, 2, preserved, trees[1].total_variation)  # type: ignore[arg-type]
    ranks = jax.tree.leaves(jax.tree.broadcast((3, targets, LossTerms(0, 0, 0)), trees))  # type: ignore[arg-type]
    leaves, structure = jax.tree.flatten(jax.device_get(trees))
    sizes = {len(leaf) for leaf, rank in zip(leaves, ranks, strict=True) if np.ndim(leaf) > rank}
    if len(sizes) != 1:
        raise InputError(f"images, targets and weights must have one batch size, got {sorted(sizes) or 'none'}")

    def select(i: int) -> Any:
        return structure.unflatten(x[i] if np.ndim(x) > r else x for x, r in zip(leaves, ranks, strict=True))

    return [select(i) for i in range(sizes.pop())]
