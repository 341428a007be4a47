"""Properties of the mathematics that hold for every image, on images that hypothesis chooses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import NARROW, plain_targets
from hypothesis import given, settings
from hypothesis import strategies as st

from stylejax.losses.gatys import gram_matrix
from stylejax.losses.objective import LossTerms, objective
from stylejax.losses.targets import Targets, content_targets, style_targets
from stylejax.models.architecture import random_weights
from stylejax.models.vgg import VGG, build_vgg

STYLE = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
SEEDS = st.integers(0, 2**32 - 1)
PROPERTIES = settings(max_examples=25, deadline=None)


@pytest.fixture(scope="module")
def circular() -> VGG:
    """A network that sees a picture as one that goes on for ever."""
    return build_vgg(random_weights("vgg19", 0, NARROW), padding="circular")


def features(seed: int, h: int, w: int, c: int, scale: float) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal((h, w, c))).astype(np.float32)


def images(seed: int, count: int) -> list[jax.Array]:
    return [jnp.asarray(x, jnp.float32) for x in np.random.default_rng(seed).random((count, 32, 48, 3))]


def weights(value: float = 1.0) -> LossTerms:
    return LossTerms({"conv4_2": jnp.float32(1)}, {name: jnp.float32(value) for name in STYLE}, jnp.float32(0))


def targets_of(vgg: VGG, content: jax.Array, style: jax.Array) -> Targets:
    return plain_targets(content_targets(vgg, content, ("conv4_2",)), style_targets(vgg, style, STYLE))


SIDES = st.integers(1, 9)


@given(SEEDS, SIDES, SIDES, SIDES, st.floats(1e-3, 1e3))
@PROPERTIES
def test_a_gram_matrix_is_symmetric_and_positive_semidefinite(seed: int, h: int, w: int, c: int, scale: float):
    gram = np.asarray(gram_matrix(jnp.asarray(features(seed, h, w, c, scale))), np.float64)
    size = np.abs(gram).max()
    np.testing.assert_allclose(gram, gram.T, rtol=0, atol=1e-6 * size)
    assert np.linalg.eigvalsh((gram + gram.T) / 2).min() >= -1e-5 * size


@given(SEEDS, SIDES, SIDES, SIDES)
@PROPERTIES
def test_a_gram_matrix_does_not_know_where_things_are(seed: int, h: int, w: int, c: int):
    f = features(seed, h, w, c, 1.0)
    moved = np.random.default_rng(seed).permutation(f.reshape(h * w, c)).reshape(w, h, c)
    gram, after = (np.asarray(gram_matrix(jnp.asarray(x))) for x in (f, moved))
    np.testing.assert_allclose(after, gram, rtol=1e-4, atol=1e-5)


@given(SEEDS)
@PROPERTIES
def test_losses_are_zero_at_the_target_and_nowhere_negative(narrow_vgg: VGG, seed: int):
    here, elsewhere = images(seed, 2)
    targets = targets_of(narrow_vgg, here, here)
    there, terms = jax.jit(objective)(here, narrow_vgg, targets, weights())
    away, others = jax.jit(objective)(elsewhere, narrow_vgg, targets, weights())
    assert min(jax.tree.leaves(terms)) >= 0 and min(jax.tree.leaves(others)) >= 0
    # Two compiled programs round differently.
    assert there <= 1e-6 * away and away > 0


@given(SEEDS, st.floats(0, 1), st.integers(0, 3))
@PROPERTIES
def test_a_weight_may_move_between_equal_layers(narrow_vgg: VGG, seed: int, share: float, regions: int):
    """Entries with the same layer are equal, wherever the weight lies among them."""
    image, content, style = images(seed, 3)
    grams = style_targets(narrow_vgg, style, ("conv2_1",))["conv2_1"]
    names = [f"conv2_1/{i}" for i in range(regions + 2)]
    targets = plain_targets(content_targets(narrow_vgg, content, ("conv4_2",)), dict.fromkeys(names, grams))

    def total(first: float, second: float) -> float:
        by_entry = dict.fromkeys(names, jnp.float32(0.5)) | {
            names[0]: jnp.float32(first),
            names[1]: jnp.float32(second),
        }
        moved = LossTerms({"conv4_2": jnp.float32(0)}, by_entry, jnp.float32(0))
        return float(jax.jit(objective)(image, narrow_vgg, targets, moved)[0])

    assert total(share, 1 - share) == pytest.approx(total(1, 0), rel=1e-5)


@given(SEEDS)
@PROPERTIES
def test_the_objective_does_not_know_the_size(circular: VGG, seed: int):
    """With circular padding a picture that is repeated 2×2 has the losses of one copy; 32 and 48 divide by the poolings."""
    image, content, style = images(seed, 3)
    (small, terms), (large, others) = (
        jax.jit(objective)(jnp.tile(image, n), circular, targets_of(circular, jnp.tile(content, n), style), weights())
        for n in ((1, 1, 1), (2, 2, 1))
    )
    assert large == pytest.approx(float(small), rel=1e-4)
    grams = targets_of(circular, content, style).style
    for name, loss in terms.style.items():
        # An image nearly like the style loses the digits that they share.
        lost = 1e-5 * float(jnp.mean(grams[name] ** 2)) / 4
        assert float(others.style[name]) == pytest.approx(float(loss), rel=1e-4, abs=lost)
    for name, loss in terms.content.items():
        assert float(others.content[name]) == pytest.approx(float(loss), rel=1e-4)
