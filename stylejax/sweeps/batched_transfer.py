"""Many runs in one compiled program: lanes that share the network and differ in their weights, targets and first images."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from stylejax.errors import InputError
from stylejax.losses.objective import Terms, objective, shown
from stylejax.losses.targets import Kept, Targets, required_layers
from stylejax.models.vgg import VGG
from stylejax.optimizers.base import Info, Minimizer
from stylejax.optimizers.batched import minimize_lanes
from stylejax.optimizers.lbfgs import lbfgs
from stylejax.optimizers.minimize import Solution
from stylejax.parameterization import Parameterization, encode
from stylejax.partitioning.memory import IMAGE, available_bytes, lanes_that_fit, predicted_bytes

Watch: TypeAlias = Callable[[Sequence[Info]], bool | None]


class Swept(NamedTuple):
    """The images of all lanes, clipped to [0, 1], with their losses; infinite, and its terms NaN, where a lane never had a
    finite one."""

    images: Float[np.ndarray, "n h w 3"]
    losses: Float[np.ndarray, " n"]
    terms: Terms


def sweep(
    images: Any,
    vgg: VGG,
    targets: Targets,
    weights: Terms,
    *,
    steps: int = 500,
    minimizer: Minimizer | None = None,
    parameterization: Parameterization = "pyramid",
    lanes: int | None = None,
    mesh: Mesh | None = None,
    callback: Watch | None = None,
) -> Swept:
    """Minimizes the objective of many images in one program, at one size.

    `images` (h, w, 3), `targets` and `weights` are those of `objective`, stacked: a leaf with one axis more has one entry a
    lane, a leaf without it is the same for all. `lanes` run at once on each device of `mesh`, whose one axis is named `lanes`,
    or on the first device without one; by default as many as memory is predicted to hold or, on the CPU, one.
    `callback` sees the `Info` of the lanes that run, at each step, and ends them by returning True.
    Raises `InputError` when leaves disagree on how many lanes there are.
    """
    alone = _lanes_of((images, targets, weights))
    minimizer = minimizer or lbfgs()
    h, w, _ = alone[0][0].shape
    vectors = _state_images(minimizer, parameterization, h, w)

    def needed(count: int) -> int:
        layers = required_layers(targets)
        return predicted_bytes(vgg.network, layers, h, w, round(vectors / 2), lanes=count, remat=vgg.remat)

    width = width_of(lanes, len(alone), mesh, needed)
    ended: list[Solution] = []
    for batch in (alone[i : i + width] for i in range(0, len(alone), width)):
        starts = [encode(jnp.asarray(image), parameterization) for image, _, _ in batch]
        args = [(targets, weights) for _, targets, weights in batch]
        ended += minimize_lanes(objective, minimizer, starts, vgg, args, steps, callback, width=width, mesh=mesh)
    images = [shown(one.params, targets.kept) for one, (_, targets, _) in zip(ended, alone, strict=True)]
    found = [
        one.aux or jax.tree.map(lambda _: np.nan, weights) for one, (_, _, weights) in zip(ended, alone, strict=True)
    ]
    terms = jax.tree.map(lambda *parts: np.asarray(parts, np.float32), *found)
    losses = np.asarray([one.value for one in ended], np.float32)
    return Swept(np.stack([np.clip(np.asarray(image), 0, 1) for image in images]), losses, terms)


def _state_images(minimizer: Minimizer, parameterization: Parameterization, height: int, width: int) -> float:
    """Return the size of an optimizer's state, in float32 images."""
    image = jax.ShapeDtypeStruct((height, width, 3), np.float32)
    state = jax.eval_shape(lambda x: minimizer.init(encode(x, parameterization)), image)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)) / (IMAGE * height * width)


def width_of(lanes: int | None, count: int, mesh: Mesh | None, needed: Callable[[int], int]) -> int:
    """Lanes of a program, on all devices together."""
    devices = mesh.size if mesh else 1
    if lanes is None and jax.default_backend() == "cpu":
        lanes = 1
    most = -(-count // devices)
    return devices * (min(lanes, most) if lanes else lanes_that_fit(needed, available_bytes(), most))


def _ranks(targets: Targets) -> Any:
    """Axes of one lane's image, targets and weights."""
    kept = None if targets.kept is None else Kept(3, 2)  # type: ignore[arg-type]
    return 3, Targets(3, 2, 2, kept, targets.variations), Terms(0, 0, 0)  # type: ignore[arg-type]


def _lanes_of(trees: tuple[Any, Targets, Terms]) -> list[tuple[Any, Targets, Terms]]:
    """Each lane's own trees. Raises `InputError` where leaves have different numbers of lanes."""
    leaves, structure = jax.tree.flatten(jax.device_get(trees))
    ranks = jax.tree.leaves(jax.tree.broadcast(_ranks(trees[1]), trees))
    counts = {len(leaf) for leaf, rank in zip(leaves, ranks, strict=True) if np.ndim(leaf) > rank}
    if len(counts) != 1:
        given = f"of {sorted(counts)} lanes" if counts else "of one lane, without an axis of lanes"
        raise InputError(f"images, targets and weights are {given}; stack leaves of as many lanes as there should be")

    def lane(i: int) -> Any:
        own = [leaf[i] if np.ndim(leaf) > rank else leaf for leaf, rank in zip(leaves, ranks, strict=True)]
        return jax.tree.unflatten(structure, own)

    return [lane(i) for i in range(counts.pop())]
