"""Types of arrays, which have no batch axis; batch functions with `jax.vmap`."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from jaxtyping import Array, Float

Scalar: TypeAlias = Float[Array, ""]
Image: TypeAlias = Float[Array, "h w 3"]
"""An sRGB-encoded image in [0, 1]."""

FeatureMap: TypeAlias = Float[Array, "h w c"]
"""Features F of one layer: c channels (the paper's N) at h·w positions (its M)."""

GramMatrix: TypeAlias = Float[Array, "c c"]

Params: TypeAlias = Any
"""Parameters of an optimizer: any pytree of arrays."""

Features: TypeAlias = dict[str, Float[Array, "_ _ _"]]
"""Features by layer, each of its own size."""

ByLayer: TypeAlias = Mapping[str, Scalar | float]
