"""VGG-19 and VGG-16 without fully connected layers: features of named layers from an image.

A network is an immutable, callable pytree: pass it through `jax.jit`, `jax.vmap` and `jax.device_put` like any argument.
"""

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from stylejax.errors import InputError
from stylejax.models.architecture import VGGWeights, block_index, canonical_layer_name, layer_names, total_stride
from stylejax.models.ops import RowShard, average_pool, max_pool, recompute_in_backward
from stylejax.models.winograd import transform_kernel, winograd_conv2d
from stylejax.types import FeatureMap, Features, Image, Scalar

Pooling: TypeAlias = Literal["avg", "max"]
Padding: TypeAlias = Literal["zeros", "circular", "reflect", "replicate"]
Precision: TypeAlias = Literal["default", "highest", "tf32", "bf16"]

MIN_WINOGRAD_CHANNEL_PAIRS = 64 * 64
"""Minimum for Winograd convolution: in narrower layers the transforms take as long as they save."""

PRECISIONS = {"default": None, "highest": "highest", "tf32": "high", "bf16": None}
"""JAX's precision for float32 operands; bf16 converts the operands themselves to bfloat16."""

NUMPY_PAD_MODES = {"circular": "wrap", "reflect": "reflect", "replicate": "edge"}


class VGG(nnx.Module):
    """Convolutions, rectifications and poolings of one network. Build it with `build_vgg` or `load_vgg`."""

    def __init__(
        self,
        parameters: VGGWeights,
        pooling: Pooling,
        winograd: bool,
        padding: Padding,
        remat: bool,
        precision: Precision,
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
            if winograd and kernel.shape[2] * kernel.shape[3] >= MIN_WINOGRAD_CHANNEL_PAIRS:
                setattr(self, f"{name}_transformed", nnx.Variable(jnp.asarray(transform_kernel(kernel))))

    def caffe_scale(self) -> Scalar:
        """Return the factor to the scale of Caffe's features, whose images range from 0 to 255."""
        return 255 * self.std[...].mean()

    def __call__(self, image: Image, layers: Iterable[str]) -> Features:
        """Return the float32 features of `layers` on one RGB image in [0, 1], by the names given.

        Raises `InputError` for an unknown layer, and for an image too small for the deepest layer.
        """
        return self.apply_with(image, layers, lambda _, features: features)

    def apply_with(
        self, image: Image, layers: Iterable[str], look: Callable[[str, FeatureMap], Any], rows: RowShard | None = None
    ) -> dict[str, Any]:
        """Return `look(name, features)` at each of `layers`; deeper layers are not computed.

        Args:
            image: RGB in [0, 1].
            layers: names such as conv4_2 or relu4_2.
            look: called with each name and its float32 features, which `remat` does not store for the gradient.
            rows: the shard that `image` is, inside `shard_map`. None means a whole image.
        """
        requested = {name: canonical_layer_name(name, self.network) for name in layers}
        require_min_size(image.shape, requested.values())
        names = layer_names(self.network)
        deepest = max((names.index(layer) for layer in requested.values()), default=-1)
        outputs: dict[str, Any] = {}
        x = (image - self.mean[None, None]) / self.std[None, None]
        if rows:
            x = x * rows.valid_row_mask(x.shape[0], 1)[:, None, None]
        for _, block in itertools.groupby(names[: deepest + 1], block_index):
            compute = functools.partial(self._block, tuple(block), requested, look, rows)
            x, block_outputs = recompute_in_backward(compute, x) if self.remat else compute(x)
            outputs |= block_outputs
        return {name: outputs[name] for name in requested}

    def _block(
        self,
        names: tuple[str, ...],
        requested: dict[str, str],
        look: Callable[[str, FeatureMap], Any],
        rows: RowShard | None,
        x: FeatureMap,
    ) -> tuple[Float[Array, "_ _ _"], dict[str, Any]]:
        """Return the features of a block's last layer, and the outputs of its requested layers."""
        outputs: dict[str, Any] = {}
        if block_index(names[0]) > 1:
            x = average_pool(x) if self.pooling == "avg" else max_pool(x)
            # Pooling drops an odd last row of the image, but a shard pools it with its first row of padding.
            x = rows.valid_row_mask(x.shape[0], 2 ** (block_index(names[0]) - 1))[:, None, None] * x if rows else x
        for layer in names:
            x = self._layer(layer, x, rows)
            # bfloat16 would lose digits in sums over positions.
            precise = jnp.promote_types(x.dtype, jnp.float32)
            outputs |= {n: look(n, x.astype(precise)) for n, canonical in requested.items() if canonical == layer}
        return x, outputs

    def _layer(self, name: str, x: FeatureMap, rows: RowShard | None) -> Float[Array, "h w o"]:
        """Return the features of a layer, with padding from the neighboring shards or by `self.padding`."""
        if rows:
            padded = jnp.concatenate([rows.recv_from_previous(x, 1), x, rows.recv_from_next(x, 1)])
            valid = rows.valid_row_mask(x.shape[0], 2 ** (block_index(name) - 1))
            return self._convolve(name, padded)[1:-1] * valid[:, None, None]
        if self.padding == "zeros":
            return self._convolve(name, x)
        padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode=NUMPY_PAD_MODES[self.padding])
        return self._convolve(name, padded)[1:-1, 1:-1]

    def _convolve(self, name: str, x: FeatureMap) -> Float[Array, "h w o"]:
        """Return the rectified convolution with zero padding."""
        direct = getattr(self, name)
        if not hasattr(self, f"{name}_transformed"):
            return jax.nn.relu(direct(x))
        transformed = getattr(self, f"{name}_transformed")[...].astype(x.dtype)
        return winograd_conv2d(x, transformed, direct.bias[...].astype(x.dtype))


def build_vgg(
    parameters: VGGWeights,
    pooling: Pooling = "avg",
    winograd: bool | None = None,
    padding: Padding = "zeros",
    remat: bool = False,
    precision: Precision = "default",
) -> VGG:
    """Return the network with the given weights.

    Args:
        parameters: the weights.
        pooling: `avg`, as in the paper, or `max`, as VGG was trained.
        winograd: convolve wide layers with fewer multiplications, equal to about 10⁻⁵. None means on CPU only; off with bf16.
        padding: continuation of the features beyond the edge in each layer; `circular` makes a seamless pattern.
        remat: recompute the features of a block in the backward pass instead of storing them.
        precision: of the convolutions; on GPU `default` and `tf32` keep 10 bits of a mantissa of 23, `bf16` keeps 7, as
            does `default` on TPU.

    Raises:
        InputError: an option has an unknown value.
    """
    options = {"pooling": (pooling, Pooling), "padding": (padding, Padding), "precision": (precision, Precision)}
    for option, (value, choices) in options.items():
        if value not in get_args(choices):
            raise InputError(f"{option} must be one of {', '.join(get_args(choices))}, got {value!r}")
    winograd = jax.default_backend() == "cpu" if winograd is None else winograd
    # Winograd's transforms would lose the 7 bits of bf16.
    return VGG(parameters, pooling, winograd and precision != "bf16", padding, remat, precision)


def _convolution(kernel: np.ndarray, bias: np.ndarray, precision: Precision) -> nnx.Conv:
    """Return a layer whose initializers give its weights: a random initialization takes seconds for a whole network."""
    _, _, inputs, outputs = kernel.shape
    return nnx.Conv(
        inputs,
        outputs,
        (3, 3),
        padding="SAME",
        dtype=jnp.bfloat16 if precision == "bf16" else None,
        precision=PRECISIONS[precision],
        kernel_init=lambda *_: jnp.asarray(kernel, jnp.float32),
        bias_init=lambda *_: jnp.asarray(bias, jnp.float32),
        rngs=nnx.Rngs(0),
    )


def require_min_size(shape: tuple[int, ...], layers: Iterable[str]) -> None:
    """Raise `InputError` unless an image of this shape leaves the deepest layer at least one position."""
    minimum = total_stride(layers)
    h, w = shape[:2]
    if min(h, w) < minimum:
        raise InputError(
            f"an image of {w}×{h} pixels is too small for layers {', '.join(layers)}: they need at least "
            f"{minimum} pixels a side; take a larger size or shallower layers"
        )
