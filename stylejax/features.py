"""What the network sees: the feature maps of an image, and the image that excites one filter most."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from PIL import Image as Pillow

from stylejax.errors import InputError
from stylejax.images import Picture, resize
from stylejax.losses import total_variation
from stylejax.optimize import Info, lbfgs, minimize
from stylejax.parameterize import Encoded, decode, encode
from stylejax.transfer import check_image
from stylejax.types import Features, Scalar
from stylejax.vgg import VGG, canonical_layer

SMOOTH = 10.0
"""Weight of the total variation of an exciting image: at 0 its pattern is lost in grain, at 30 it is blurred."""

CONTRAST, FALL, OCTAVES = 0.3, 1.5, 6
"""Of the first noise: its standard deviation in logits, the growth of each coarser octave over the finer, their number."""

STARTS = 64
"""First images to try. A deep filter is silent on most noise, and where it is silent it has no gradient."""

AWAKE = 1e-4
"""A filter answers when its mean activation is above this share of its layer's: less may be rounding."""

HISTORY = 20
"""Steps that L-BFGS remembers: more bring no clearer pattern."""


class Excited(NamedTuple):
    """An image in [0, 1], the mean activation of the filter on it, and what it was on the first noise."""

    image: Picture
    activation: float
    first: float


def feature_maps(image: ArrayLike, layers: Sequence[str], *, vgg: VGG) -> dict[str, Float[np.ndarray, "_ _ _"]]:
    """F of the paper for each layer: the responses (h, w, c) to an image (h, w, 3), by the names that were asked for.

    Raises `InputError` for an unknown layer, and for an image that is too small or not one.
    """
    return {name: np.asarray(f) for name, f in _responses(vgg, check_image(image, "content"), tuple(layers)).items()}


def map_shapes(height: int, width: int, layers: Sequence[str], *, vgg: VGG) -> dict[str, tuple[int, ...]]:
    """(h, w, c) of the feature maps of such an image, without their numbers. Raises `InputError` as `feature_maps` does."""
    image = jax.ShapeDtypeStruct((height, width, 3), np.float32)
    shapes = jax.eval_shape(lambda vgg, image: vgg(image, tuple(layers)), vgg, image)
    return {name: shape.shape for name, shape in shapes.items()}


def strongest(features: Float[np.ndarray, "h w c"], count: int) -> list[int]:
    """The filters of highest mean activation, the strongest first."""
    return [int(i) for i in np.argsort(-features.mean((0, 1)), kind="stable")[:count]]


def map_picture(features: Float[np.ndarray, "h w"], height: int, width: int) -> Picture:
    """One map in grey, white where it is strongest: in squares of its positions, or their means where it is shrunk. Grey is
    the root of the response, so that weak ones are seen; a silent map is black."""
    # A box smaller than a position is the position's own value.
    scaled = Pillow.fromarray(features.astype(np.float32)).resize((width, height), Pillow.Resampling.BOX)
    grey = np.asarray(scaled) / max(float(np.max(scaled)), np.finfo(np.float32).tiny)
    return np.repeat(np.sqrt(grey)[..., None], 3, -1)


def maximize(
    layer: str,
    number: int,
    *,
    vgg: VGG,
    size: int = 256,
    steps: int = 100,
    seed: int = 0,
    tv_weight: float = SMOOTH,
    callback: Callable[[Info], bool | None] | None = None,
) -> Excited:
    """The image size×size that excites filter `number` of a layer most, found from smooth noise: argmin of `silence`.

    Raises `InputError` for a layer or filter that is not there, a size too small, and a filter that no noise wakes.
    """
    check_filter(layer, number, size, vgg=vgg)
    logits, pick, first = _awake(canonical_layer(layer, vgg.network), number, vgg, size, seed)
    args = (vgg, pick, jnp.float32(tv_weight))
    found = minimize(silence, lbfgs(HISTORY), encode(logits, "pyramid"), args, steps, callback)
    return Excited(np.asarray(jax.nn.sigmoid(decode(found.params))), float(found.aux), first)


def check_filter(layer: str, number: int, size: int, *, vgg: VGG) -> None:
    """Raises `InputError` unless the layer has that filter, and a position in an image size×size."""
    (count,) = (shape[-1] for shape in map_shapes(size, size, [layer], vgg=vgg).values())
    if not 0 <= number < count:
        raise InputError(f"{layer} has {count} filters and no filter {number}; choose one from 0 to {count - 1}")


def silence(
    logits: Encoded, vgg: VGG, pick: dict[str, Float[Array, " _"]], tv_weight: Scalar
) -> tuple[Scalar, Scalar]:
    """-log a(x) + λ · tv(x), and a(x): the mean activation Σ_l mean_k F_k · p_l of what `pick` weighs, by layer, in the image
    x = 1 / (1 + exp(-z)) of the logits z.

    By the logarithm λ means the same for every filter, however strong its responses are.
    """
    image = jax.nn.sigmoid(decode(logits))
    features = vgg(image, tuple(pick))
    activation = sum((jnp.vdot(features[n].mean((0, 1)), p) for n, p in pick.items()), jnp.zeros(()))
    return tv_weight * total_variation(image) - jnp.log(activation), activation


def _awake(layer: str, number: int, vgg: VGG, size: int, seed: int) -> tuple[Array, dict[str, Array], float]:
    """Logits of a first noise to which the filter answers, the filter as weights, and its mean activation there."""
    for attempt in range(STARTS):
        logits = _smooth_noise(seed, attempt, size)
        means = _responses(vgg, jax.nn.sigmoid(logits), (layer,))[layer].mean((0, 1))
        if means[number] > AWAKE * means.mean():
            return logits, {layer: jnp.zeros(means.size).at[number].set(1.0)}, float(means[number])
    raise InputError(
        f"filter {number} of {layer} is silent on {STARTS} kinds of noise; take another --seed, a larger --size or another filter"
    )


def _smooth_noise(seed: int, attempt: int, size: int) -> Float[Array, "h w 3"]:
    """Noise with large shapes in it, the same for the same seed. With the attempts it grows bolder."""
    generator = np.random.Generator(np.random.Philox([seed, attempt]))
    bold = min(2 * attempt / STARTS, 1)
    total = np.zeros((size, size, 3), np.float32)
    for k in range(OCTAVES):
        side = -(-size // 2**k)
        octave = generator.standard_normal((side, side, 3)).astype(np.float32)
        total += (FALL + bold) ** k * resize(octave, size, size)
    return jnp.asarray(CONTRAST * 10**bold * total / total.std())


@functools.partial(jax.jit, static_argnums=2)
def _responses(vgg: VGG, image: Array, layers: tuple[str, ...]) -> Features:
    return vgg(image, layers)
