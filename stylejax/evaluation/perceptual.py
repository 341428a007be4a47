"""Distances between images by the responses of a network; each is 0 for equal images.

A response f_p is a vector of C channels at a position p of a layer.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stylejax.evaluation.alexnet import LAYERS, AlexNet
from stylejax.types import FeatureMap, Features, Scalar

LAYOUT_GRID = 16
"""Positions a side at which `self_distances` compares an image with itself."""

MAX_PATCHES = 64
"""Positions a side that `patches` takes at most: it bounds the time of the search for neighbors."""

CELLS = 4
"""Parts of an image a side that `local_spread` compares."""

CHUNK = 256
"""Patches that are compared with all others at once: 4 MB of distances at most."""


@jax.jit
def lpips(network: AlexNet, a: Features, b: Features) -> Scalar:
    """Return LPIPS (Zhang et al. 2018, eq. 1): Σ_layer mean_p Σ_c w_c (a_pc/|a_p| - b_pc/|b_p|)², with trained w ≥ 0."""
    terms = [
        jnp.mean(jnp.sum(jnp.asarray(w)[None, None] * (_unit(a[layer]) - _unit(b[layer])) ** 2, -1))
        for layer, w in zip(LAYERS, network.heads, strict=True)
    ]
    return sum(terms, jnp.zeros(()))


@jax.jit
def gaussian(features: FeatureMap) -> tuple[Float[Array, " c"], Float[Array, "_ c"]]:
    """Return the mean of the responses of a layer, and a matrix R of which Rᵀ R is their covariance."""
    x = features.reshape(-1, features.shape[-1])
    mean = x.mean(0)
    return mean, jnp.linalg.qr((x - mean[None]) / x.shape[0] ** 0.5, mode="r")


def frechet_distance(a: FeatureMap, b: Float[Array, "_ _ c"]) -> float:
    """Return the Fréchet distance of two layers as Gaussians over the second moment of b.

    `(|μ_a - μ_b|² + tr(Σ_a + Σ_b - 2 (Σ_a^½ Σ_b Σ_a^½)^½)) / mean_p |b_p|²`: that of Dowson and Landau 1982, as in FID
    (Heusel et al. 2017), here over the positions of one image each. Without any response, `a` is at distance 1.
    """
    (mean_a, root_a), (mean_b, root_b) = ([np.asarray(x, np.float64) for x in gaussian(f)] for f in (a, b))
    # The trace of the square root is the sum of the singular values of R_a R_bᵀ: rounding has no square roots.
    trace = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    distance = ((mean_a - mean_b) ** 2).sum() + (root_a**2).sum() + (root_b**2).sum() - 2 * trace
    energy = (mean_b**2).sum() + (root_b**2).sum()
    return float(max(distance, 0) / max(energy, 1e-30))


@jax.jit
def self_distances(features: FeatureMap) -> Float[Array, "n n"]:
    """Return the cosine distances between the positions of a layer on a 16×16 grid, each column divided by its sum."""
    grid = jax.image.resize(features, (LAYOUT_GRID, LAYOUT_GRID, features.shape[-1]), "linear")
    x = _unit(grid).reshape(LAYOUT_GRID**2, -1)
    distances = 1 - jnp.matmul(x, x.T, precision="highest")
    return distances / jnp.maximum(distances.sum(0, keepdims=True), 1e-6)


@jax.jit
def self_similarity_distance(a: FeatureMap, b: FeatureMap) -> Scalar:
    """Return the content loss of STROTSS (Kolkin et al. 2019, eq. 6) between two layers, Σ_ij |A_ij - B_ij| / n.

    A and B are the `self_distances` of n positions: only the arrangement within each image counts.
    """
    return jnp.abs(self_distances(a) - self_distances(b)).sum(0).mean()


def patches(features: FeatureMap) -> Float[Array, "_ _ c"]:
    """Return the responses at evenly spaced positions, at most 64 a side; each responds to a patch of the image."""
    rows, columns = (np.linspace(0, n - 1, min(n, MAX_PATCHES)).round().astype(int) for n in features.shape[:2])
    return features[rows[:, None], columns]


@jax.jit
def nearest_distances(a: FeatureMap, b: Float[Array, "_ _ c"]) -> Float[Array, "h w"]:
    """Return for each patch of `a` the cosine distance 1 - max_j a·b_j / (|a| |b_j|) to the nearest patch of `b`.

    The means of both directions are the halves of the relaxed earth mover's distance of STROTSS (Kolkin et al. 2019, eq. 3).
    """
    x, y = (_unit(f).reshape(-1, f.shape[-1]) for f in (a, b))
    nearest = jax.lax.map(lambda f: jnp.max(jnp.matmul(y, f, precision="highest")), x, batch_size=CHUNK)
    return jnp.maximum(1 - nearest.reshape(a.shape[:2]), 0)


def local_spread(distances: Float[np.ndarray, "h w"]) -> float:
    """Return the standard deviation over 4×4 cells of the mean distance in each cell: large if a part is unlike the rest."""
    cells = [cell for rows in np.array_split(distances, CELLS) for cell in np.array_split(rows, CELLS, axis=1)]
    return float(np.std([cell.mean() for cell in cells]))


def _unit(features: FeatureMap) -> FeatureMap:
    """Divide each response by its norm, with the ε of LPIPS."""
    return features / (jnp.sqrt(jnp.sum(features**2, -1, keepdims=True)) + 1e-10)
