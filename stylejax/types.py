"""Names for the arrays that travel through the package. Every image is one unbatched picture; batch with `jax.vmap`."""

from collections.abc import Mapping
from typing import TypeAlias

from jaxtyping import Array, Float

Scalar: TypeAlias = Float[Array, ""]
Image: TypeAlias = Float[Array, "h w 3"]
"""Height, width, RGB; values in [0, 1] for black to full intensity, sRGB-encoded."""

FeatureMap: TypeAlias = Float[Array, "h w c"]
"""One layer's response to an image: the columns of F in the paper are its c channels over M = h·w positions."""

GramMatrix: TypeAlias = Float[Array, "c c"]

Features: TypeAlias = dict[str, Float[Array, "_ _ _"]]
"""Responses by layer, each of its own size."""

ByLayer: TypeAlias = Mapping[str, Scalar | float]
