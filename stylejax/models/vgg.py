"""VGG without its fully connected layers: an image in, the responses of named layers out.

One table of convolutions gives VGG-19 (the paper's network) and VGG-16. A network is an immutable, callable pytree: it
goes through `jax.jit`, `jax.vmap` and `jax.device_put` like any other argument.
"""

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from stylejax.errors import InputError
from stylejax.models.architecture import Parameters, block, canonical_layer, layer_names, smallest_side
from stylejax.models.ops import Rows, average_pool, computed_again, max_pool
from stylejax.models.winograd import convolve, transform_kernel
from stylejax.types import FeatureMap, Features, Image, Scalar

Pooling: TypeAlias = Literal["avg", "max"]
Padding: TypeAlias = Literal["zeros", "circular", "reflect", "replicate"]
Precision: TypeAlias = Literal["default", "highest", "tf32", "bf16"]

WINOGRAD_PAIRS = 64 * 64
"""Layers with fewer pairs of channels are convolved directly: there the transforms take as long as they save."""

PRECISIONS = {"default": None, "highest": "highest", "tf32": "high", "bf16": None}
"""What jax calls them for operands in float32; with bf16 the operands themselves are bfloat16."""

BEYOND = {"circular": "wrap", "reflect": "reflect", "replicate": "edge"}
"""What NumPy calls the ways to continue an image beyond its edge."""


class VGG(nnx.Module):
    """The convolutions, rectifications and poolings of one network. Build it with `build_vgg` or `load_vgg`."""

    def __init__(
        self,
        parameters: Parameters,
        pooling: Pooling,
        winograd: bool,
        padding: Padding,
        remat: bool = False,
        precision: Precision = "default",
    ):
        self.network = parameters.network
        self.normalized: bool = parameters.normalized
        self.remat: bool = remat
        self.pooling: str = pooling
        self.padding: str = padding
        self.mean = nnx.Variable(jnp.asarray(parameters.mean, jnp.float32))
        self.std = nnx.Variable(jnp.asarray(parameters.std, jnp.float32))
        for name, (kernel, bias) in parameters.layers.items():
            setattr(self, name, _convolution(kernel, bias, precision))
            if winograd and kernel.shape[2] * kernel.shape[3] >= WINOGRAD_PAIRS:
                setattr(self, f"{name}_transformed", nnx.Variable(jnp.asarray(transform_kernel(kernel))))

    def unit(self) -> Scalar:
        """What the responses are multiplied by to have the scale of Caffe's networks, whose images go from 0 to 255: 255 times
        the deviation that this one divides by. 57 for torchvision's, 1 for Caffe's."""
        return 255 * self.std[...].mean()

    def __call__(self, image: Image, layers: Iterable[str]) -> Features:
        """The responses of `layers` to one RGB image in [0, 1], by the names that were asked for.

        Nothing beyond the deepest layer asked for is computed. Responses are float32 even where the network computes in
        bfloat16: their sums over positions are not to lose digits.
        Raises `InputError` for an unknown layer and for an image too small for the deepest one.
        """
        return self.apply_with(image, layers, lambda _, response: response)

    def apply_with(
        self, image: Image, layers: Iterable[str], look: Callable[[str, FeatureMap], Any], rows: Rows | None = None
    ) -> dict[str, Any]:
        """Return `look(name, features)` at each of `layers`.

        With `remat` the features are not kept for the gradient. `rows` tells the part of an image that these pixels are.
        """
        wanted = {name: canonical_layer(name, self.network) for name in layers}
        check_size(image.shape, wanted.values())
        names = layer_names(self.network)
        last = max((names.index(layer) for layer in wanted.values()), default=-1)
        seen: dict[str, Any] = {}
        x = (image - self.mean[None, None]) / self.std[None, None]
        if rows:
            x = x * rows.inside(x.shape[0], 1)[:, None, None]
        for _, group in itertools.groupby(names[: last + 1], block):
            compute = functools.partial(self._block, tuple(group), wanted, look, rows)
            x, more = computed_again(compute, x) if self.remat else compute(x)
            seen |= more
        return {name: seen[name] for name in wanted}

    def _block(
        self,
        names: tuple[str, ...],
        wanted: dict[str, str],
        look: Callable[[str, FeatureMap], Any],
        rows: Rows | None,
        x: FeatureMap,
    ) -> tuple[Float[Array, "_ _ _"], dict[str, Any]]:
        """What a block gives to the next, and what is seen of its layers. From the second on it pools first."""
        seen: dict[str, Any] = {}
        if block(names[0]) > 1:
            x = average_pool(x) if self.pooling == "avg" else max_pool(x)
            # Of an odd last row, half a window is in the picture: it is dropped.
            x = rows.inside(x.shape[0], 2 ** (block(names[0]) - 1))[:, None, None] * x if rows else x
        for layer in names:
            x = self._padded(layer, x, rows)
            seen |= {name: look(name, _widened(x)) for name, asked in wanted.items() if asked == layer}
        return x, seen

    def _padded(self, name: str, x: FeatureMap, rows: Rows | None) -> Float[Array, "h w o"]:
        """The response of a layer, which sees one pixel beyond the edge: zeros as in training, or what `padding` says is
        there, or the neighbor's."""
        if rows:
            beyond = jnp.concatenate([rows.above(x, 1), x, rows.below(x, 1)])
            inside = rows.inside(x.shape[0], 2 ** (block(name) - 1))
            return self._respond(name, beyond)[1:-1] * inside[:, None, None]
        if self.padding == "zeros":
            return self._respond(name, x)
        beyond = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode=BEYOND[self.padding])
        return self._respond(name, beyond)[1:-1, 1:-1]

    def _respond(self, name: str, x: FeatureMap) -> Float[Array, "h w o"]:
        direct = getattr(self, name)
        if not hasattr(self, f"{name}_transformed"):
            return jax.nn.relu(direct(x))
        transformed = getattr(self, f"{name}_transformed")[...].astype(x.dtype)
        return convolve(x, transformed, direct.bias[...].astype(x.dtype))


def _widened(x: FeatureMap) -> FeatureMap:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def build_vgg(
    parameters: Parameters,
    pooling: Pooling = "avg",
    winograd: bool | None = None,
    padding: Padding = "zeros",
    remat: bool = False,
    precision: Precision = "default",
) -> VGG:
    """The network of `parameters`; the paper replaces max pooling by average pooling, and so does the default.

    `winograd` convolves wide layers with less arithmetic, equal to about 10⁻⁵; by default on the CPU.
    `padding` is what each layer sees beyond the edge; `circular` takes the image for one tile of an endless pattern.
    `remat` computes the responses of a block again for the gradient, instead of keeping them.
    `precision` is that of the convolutions: on a GPU `default` and `tf32` keep 10 bits of an operand's 23, on a TPU `default`
    and everywhere `bf16` keep 7. Winograd's transforms would lose what bf16 has left, and are off there.
    """
    if pooling not in ("avg", "max"):
        raise InputError(f"pooling {pooling!r} is neither 'avg' nor 'max'; choose one of the two")
    if padding not in ("zeros", *BEYOND):
        raise InputError(f"padding {padding!r} is unknown; choose one of zeros, {', '.join(BEYOND)}")
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
    winograd = jax.default_backend() == "cpu" if winograd is None else winograd
    return VGG(parameters, pooling, winograd and precision != "bf16", padding, remat, precision)


def _convolution(kernel: np.ndarray, bias: np.ndarray, precision: Precision) -> nnx.Conv:
    """A layer around given numbers. It is made without drawing random ones, which takes seconds for a whole network."""
    _, _, inputs, outputs = kernel.shape
    numbers: Any = {"dtype": jnp.bfloat16 if precision == "bf16" else None, "precision": PRECISIONS[precision]}
    layer = nnx.eval_shape(lambda: nnx.Conv(inputs, outputs, (3, 3), padding="SAME", rngs=nnx.Rngs(0), **numbers))
    nnx.update(layer, {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)})
    return layer


def check_size(shape: tuple[int, ...], layers: Iterable[str]) -> None:
    """Raises `InputError` for an image of that shape without a position left in the deepest of `layers`."""
    least = smallest_side(layers)
    h, w = shape[:2]
    if min(h, w) < least:
        raise InputError(
            f"an image of {w}×{h} pixels is too small for layers {', '.join(layers)}: they need at least "
            f"{least} pixels a side; take a larger size or shallower layers"
        )
