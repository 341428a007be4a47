"""Regions: guided Gram matrices against plain loops, what each region takes, and what cannot be."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from conftest import targets_at, weights_of

from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.losses.objective import objective
from stylejax.losses.targets import style_targets
from stylejax.models.architecture import random_weights
from stylejax.models.ops import average_pool
from stylejax.models.vgg import build_vgg
from stylejax.synthesis.regions import Masks, average_pool_mask, layer_masks, region_masks
from stylejax.synthesis.transfer import transfer

FEW = {"content_layers": ("conv2_1",), "style_layers": ("conv1_1", "conv2_1", "conv3_1"), "parameterization": "pixels"}
QUICK = {"size": 48, "steps": 4, "scales": "1", **FEW}
LEFT = (np.arange(48) < 24) * np.ones((40, 1), bool)
SOFT = np.clip((np.arange(48) - 16) / 16, 0, 1) * np.ones((40, 1))


def test_a_guided_gram_is_the_sum_over_its_positions(narrow_vgg, photo):
    """G_ij = Σ_k T_k² F_ki F_kj / Σ_k T_k², in plain loops over the pooled mask."""
    parameters = random_weights("vgg19", 0, (4, 5, 6, 7, 8))
    image, style = photo[:20, :24], photo[::-1][:24, :20].copy()
    mask = np.clip(np.arange(24) / 23, 0, 1) * np.ones((20, 1))
    config = TransferConfig(size=24, scales="1", style_layers=("conv1_1", "conv2_1"), content_layers=("conv1_1",))
    targets = targets_at(image, [style], narrow_vgg, config, 24, Masks(content=[mask.astype(np.float32)]))
    _, terms = objective(jnp.asarray(image), narrow_vgg, targets, weights_of(config, targets))
    f, a = oracle.features(image, parameters), oracle.features(style, parameters)
    for layer in config.style_layers:
        weights = mask if layer == "conv1_1" else oracle.pool(mask[..., None], "avg")[..., 0]
        h, w, n = f[layer].shape
        guided = np.zeros((n, n))
        for row, column in np.ndindex(h, w):
            guided += weights[row, column] * np.outer(f[layer][row, column], f[layer][row, column])
        target = oracle.gram(a[layer]) / a[layer][..., 0].size
        expected = np.sum((guided / weights.sum() - target) ** 2) / (4 * n**2)
        np.testing.assert_allclose(terms.style[f"{layer}/1"], expected, rtol=1e-4)


def test_a_mask_is_pooled_as_the_network_pools():
    mask = np.random.default_rng(0).random((13, 22)).astype(np.float32)
    pooled = average_pool(average_pool(jnp.asarray(mask)[..., None]))[..., 0]
    np.testing.assert_allclose(average_pool_mask(mask, 2), pooled, rtol=1e-6)


@pytest.mark.slow
def test_one_mask_of_everything_is_no_mask(narrow_vgg, photo, artwork):
    plain = transfer(photo, artwork, vgg=narrow_vgg, **QUICK)
    masked = transfer(photo, artwork, masks=Masks(content=[np.ones((5, 6))]), vgg=narrow_vgg, **QUICK)
    np.testing.assert_allclose(masked.loss, plain.loss, rtol=1e-4)
    np.testing.assert_allclose(masked.image, plain.image, atol=1e-3)


def test_a_style_is_as_strong_in_a_small_region_as_in_a_large_one(narrow_vgg, photo, artwork):
    """The gradient at a pixel well inside two regions of one style is that of the style without regions.

    The layer is conv1_1, whose features reach one pixel around, and the Gram matrices are the same in both regions.
    """
    config = TransferConfig(**(QUICK | {"style_layers": ("conv1_1",), "content_weight": 0.0}))
    image = jnp.asarray(np.tile(photo[:20, :12], (2, 4, 1)))
    uneven = (np.arange(48) < 12) * np.ones((40, 1), np.float32)

    def gradient(masks: Masks, styles: list) -> np.ndarray:
        targets = targets_at(np.asarray(image), styles, vgg, config, 48, masks)
        weights = weights_of(config, targets)
        return np.asarray(jax.jit(jax.grad(lambda x: objective(x, vgg, targets, weights)[0]))(image))

    vgg = build_vgg(random_weights("vgg19", 0, (4, 5, 6, 7, 8)), padding="circular")
    plain, masked = gradient(Masks(), [artwork]), gradient(Masks(content=[uneven]), [artwork, artwork])
    inside = np.s_[:, 2:10]
    np.testing.assert_allclose(masked[inside], plain[inside], rtol=0.02, atol=2e-3 * np.abs(plain).max())


def of_styles(vgg, image, styles) -> list[list[float]]:
    """Distances of the Gram matrices of the left and right half of an image to those of two styles."""
    layers = ("conv1_1", "conv2_1")
    halves = [style_targets(vgg, jnp.asarray(half), layers) for half in (image[:, :20], image[:, 28:])]
    wanted = [style_targets(vgg, jnp.asarray(style), layers) for style in styles]
    return [
        [sum(float(((g[n] - w[n]) ** 2).mean() / (w[n] ** 2).mean()) for n in layers) for w in wanted] for g in halves
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_each_region_takes_its_style(order, narrow_vgg, photo, artwork):
    styles = [artwork, 1 - artwork][::order]
    options = QUICK | {"steps": 40, "content_weight": 0.0}
    image = transfer(photo, styles, masks=Masks(content=[LEFT]), vgg=narrow_vgg, **options).image
    (left_first, left_second), (right_first, right_second) = of_styles(narrow_vgg, image, styles)
    assert left_first < 0.3 * left_second and right_second < 0.3 * right_first


@pytest.mark.filterwarnings("ignore:.*it is not enlarged")
def test_parts_of_one_style_can_be_taken_apart(narrow_vgg, photo, artwork):
    parts = [artwork, 1 - artwork]
    inside = np.concatenate([np.ones((36, 33)), np.zeros((36, 33))], 1)
    masks = Masks(content=[~LEFT, LEFT], style=[inside, 1 - inside])
    options = QUICK | {"steps": 40, "content_weight": 0.0, "style_scale": 2.0}
    image = transfer(photo, np.concatenate(parts, 1), masks=masks, vgg=narrow_vgg, **options).image
    (left_first, left_second), (right_first, right_second) = of_styles(narrow_vgg, image, parts)
    assert left_second < 0.3 * left_first and right_first < 0.3 * right_second


def test_shares_of_a_position_never_exceed_one_and_the_rest_is_the_last_style_s():
    masks = Masks(content=[SOFT.astype(np.float32), np.ones((40, 48), np.float32) * 0.7])
    for count in (2, 3):
        shares = list(region_masks(masks, count, 40, 48).values())
        total = sum(shares)
        assert len(shares) == count and total.max() <= 1 + 1e-6
        if count == 3:
            np.testing.assert_allclose(total, 1, atol=1e-6)


def test_complementary_masks_add_up_at_every_size_and_layer():
    masks = Masks(content=[SOFT.astype(np.float32), (1 - SOFT).astype(np.float32)])
    for size in ((40, 48), (33, 41), (90, 107)):
        covered = [layer_masks(mask, ("conv1_1", "conv3_1")) for mask in region_masks(masks, 2, *size).values()]
        for layer in ("conv1_1", "conv3_1"):
            np.testing.assert_allclose(covered[0][layer] + covered[1][layer], 1, atol=1e-5)


def test_what_is_kept_is_the_content_to_the_bit_and_has_no_gradient(narrow_vgg, photo, artwork):
    masks = Masks(preserve=LEFT)
    result = transfer(photo, artwork, masks=masks, vgg=narrow_vgg, init="noise", **QUICK)
    np.testing.assert_array_equal(result.image[:, :24], photo[:, :24].clip(0, 1))
    assert np.abs(result.image[:, 24:] - photo[:, 24:]).mean() > 0.02
    config = TransferConfig(**QUICK)
    targets = targets_at(photo, [artwork], narrow_vgg, config, 48, Masks(preserve=SOFT.astype(np.float32)))
    weights, image = weights_of(config, targets), jnp.asarray(photo[::-1].copy())
    slopes = jax.jit(jax.grad(lambda x: objective(x, narrow_vgg, targets, weights)[0]))(image)
    assert (slopes[:, 32:] == 0).all() and (slopes[:, :31] != 0).any()
    free = jax.grad(lambda x: objective(x, narrow_vgg, targets._replace(preserved=None), weights)[0])
    seen = (1 - SOFT[..., None]) * image + SOFT[..., None] * photo
    np.testing.assert_allclose(slopes, (1 - SOFT[..., None]) * free(jnp.asarray(seen, jnp.float32)), atol=4e-6)


def test_what_is_kept_has_no_part_in_the_style(narrow_vgg, photo, artwork):
    """Its pixels do not enter the Gram matrices, except where the other responses see them."""
    config = TransferConfig(**(QUICK | {"style_layers": ("conv1_1",)}))
    targets = targets_at(photo, [artwork], narrow_vgg, config, 48, Masks(preserve=LEFT.astype(np.float32)))
    other = photo.copy()
    other[:, :20] = 0
    terms = [
        objective(jnp.asarray(x), narrow_vgg, targets._replace(preserved=None), weights_of(config, targets))[1].style
        for x in (photo, other)
    ]
    np.testing.assert_allclose(terms[0]["conv1_1"], terms[1]["conv1_1"], rtol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.4])
def test_a_style_has_the_statistics_of_its_middle(share, narrow_vgg, photo):
    """The edges of the image and of its mask are cut off, whatever is on them; a seamless style has no edge."""
    framed, mask, wild = photo.copy(), SOFT.astype(np.float32), SOFT.astype(np.float32)
    rows, columns = round(share * 40), round(share * 48)
    inside = np.s_[rows : 40 - rows, columns : 48 - columns]
    edge = np.ones((40, 48), bool)
    edge[inside] = False
    framed[edge], wild[edge] = 1, 0.5
    config = TransferConfig(**(QUICK | {"size": 32, "style_layers": ("conv1_1",), "style_crop": 0.0}))
    cropped = replace(config, style_crop=share)
    for masks, inner in (((), ()), ((wild,), (mask[inside],))):
        found = targets_at(photo, [framed], narrow_vgg, cropped, 32, Masks(style=masks)).style
        expected = targets_at(photo, [photo[inside]], narrow_vgg, config, 32, Masks(style=inner)).style
        np.testing.assert_allclose(found["conv1_1"], expected["conv1_1"], rtol=1e-6)
    seamless = [
        targets_at(photo, [framed], narrow_vgg, replace(c, padding="circular"), 32, Masks()).style
        for c in (cropped, config)
    ]
    np.testing.assert_array_equal(*(style["conv1_1"] for style in seamless))


# Several styles


def test_styles_are_mixed_by_their_weights(narrow_vgg, photo, artwork):
    config = TransferConfig(style_weights=(2.0, 1.0), **QUICK)
    styles = [artwork, 1 - artwork]
    mixed = targets_at(photo, styles, narrow_vgg, config, 48).style
    one, two = (targets_at(photo, [s], narrow_vgg, TransferConfig(**QUICK), 48).style for s in styles)
    for layer in config.style_layers:
        np.testing.assert_allclose(mixed[layer], (2 * one[layer] + one[layer] * 0 + two[layer]) / 3, rtol=1e-5)


def test_a_weight_of_zero_leaves_a_style_out(narrow_vgg, photo, artwork):
    options = {"vgg": narrow_vgg, **QUICK}
    alone = transfer(photo, artwork, **options)
    mixed = transfer(photo, [artwork, 1 - artwork], style_weights=(3.0, 0.0), **options)
    np.testing.assert_allclose(mixed.image, alone.image, atol=1e-5)


def test_styles_have_their_own_scale(narrow_vgg, photo, artwork):
    each = TransferConfig(**QUICK, style_scale=(0.5, 1.0))
    both = targets_at(photo, [artwork, artwork], narrow_vgg, each, 48).style
    one, half = (
        targets_at(photo, [artwork], narrow_vgg, TransferConfig(**QUICK, style_scale=s), 48).style for s in (1.0, 0.5)
    )
    np.testing.assert_allclose(both["conv2_1"], (one["conv2_1"] + half["conv2_1"]) / 2, rtol=1e-5)
    assert np.abs(one["conv2_1"] - half["conv2_1"]).max() > 0


def test_one_style_for_each_scale(narrow_vgg, photo, artwork):
    config = TransferConfig(
        size=48, steps=8, scales="16,24,32", style_layers=("conv1_1",), style_schedule="coarse-to-fine"
    )
    styles = [artwork, 1 - artwork]
    for side, style in ((16, 0), (24, 0), (32, 1), (48, 1)):
        found = targets_at(photo, styles, narrow_vgg, config, side)
        alone = targets_at(photo, [styles[style]], narrow_vgg, config, side)
        np.testing.assert_array_equal(found.style["conv1_1"], alone.style["conv1_1"])


# Refusals


TINY = np.zeros((40, 48))
TINY[3, 5] = 1


@pytest.mark.parametrize(
    ("masks", "count", "options", "reason"),
    [
        (Masks(content=[LEFT, LEFT]), 1, {}, "there are 2 content masks for 1 styles; give one for each, or one fewer"),
        (Masks(content=[LEFT]), 3, {}, "there are 1 content masks for 3 styles"),
        (Masks(style=[LEFT[:36, :33]]), 2, {}, "there are 1 style masks and 2 styles; give one for each style"),
        (Masks(content=[np.ones((40, 20))]), 1, {}, "content mask 1 is 20×40 pixels, and its content 48×40; .* aspect"),
        (Masks(style=[np.ones((40, 20))]), 1, {}, "style mask 1 is 20×40 pixels, and its style 33×36"),
        (Masks(preserve=np.ones((40, 20))), 1, {}, "the preserve mask is 20×40 pixels"),
        (
            Masks(content=[TINY]),
            1,
            {},
            "content mask 1 covers less than one position of layer conv2_1 .2 pixels a side",
        ),
        (Masks(content=[TINY * 0]), 1, {}, "content mask 1 covers less than one position of layer conv1_1"),
        (Masks(content=[np.ones((40, 48))]), 2, {}, "the region left for the last style covers less than one position"),
        (Masks(preserve=np.ones((40, 48))), 1, {}, "the region outside the preserve mask covers less than one"),
        (Masks(content=[LEFT], preserve=LEFT), 1, {}, "content mask 1 covers less than one position of layer conv1_1"),
        (Masks(style=[np.zeros((36, 33))]), 1, {}, "style mask 1 covers less than one position of layer conv1_1"),
        (Masks(content=[LEFT * 2.0]), 1, {}, "content mask 1 has values outside"),
        (Masks(content=[np.full((40, 48), np.nan)]), 1, {}, "content mask 1 has values outside"),
        (
            Masks(content=[np.ones((40, 48, 4))]),
            1,
            {},
            r"content mask 1 must be .*, got an array \(40, 48, 4\) of float32",
        ),
        (Masks(content=[np.ones((40, 48), np.uint8)]), 1, {}, "must be .h, w. of floats in"),
        (Masks(), 2, {"style_weights": (1.0,)}, "--style-weights has 1 numbers for 2 styles; give one for each"),
        (
            Masks(),
            2,
            {"style_scale": (1.0,)},
            "--style-scale has 1 numbers for 2 styles; give one for each, or one for",
        ),
        (
            Masks(),
            3,
            {"style_schedule": "coarse-to-fine"},
            "--style-schedule coarse-to-fine has 3 styles for 1 scales; give more --scales",
        ),
        (
            Masks(content=[LEFT]),
            2,
            {"style_schedule": "coarse-to-fine"},
            "--style-schedule coarse-to-fine cannot be combined with --content-masks",
        ),
    ],
)
def test_masks_that_do_not_fit_are_refused_before_the_work(masks, count, options, reason, narrow_vgg, photo, artwork):
    with pytest.raises(InputError, match=reason):
        transfer(
            photo,
            [artwork] * count,
            masks=masks,
            vgg=narrow_vgg,
            callback=lambda _: pytest.fail("it started"),
            **(QUICK | options),
        )


def test_without_a_style_there_is_nothing_to_mask(narrow_vgg, photo):
    with pytest.raises(InputError, match="there are 1 content masks for 0 styles"):
        transfer(photo, masks=Masks(content=[LEFT]), vgg=narrow_vgg, style_weight=0.0, size=48)


@pytest.mark.slow
def test_a_region_too_small_for_a_coarse_scale_waits_for_a_finer_one(narrow_vgg, photo, artwork):
    small = np.zeros((40, 48), np.float32)
    small[:9, :9] = 1
    config = TransferConfig(size=48, scales="16", style_layers=("conv1_1", "conv3_1"), content_layers=("conv1_1",))
    names = [set(targets_at(photo, [artwork], narrow_vgg, config, s, Masks(content=[small])).style) for s in (16, 48)]
    assert names == [{"conv1_1/1"}, {"conv1_1/1", "conv3_1/1"}]
    result = transfer(photo, artwork, masks=Masks(content=[small]), vgg=narrow_vgg, config=config, steps=4)
    assert np.isfinite(result.loss)


@pytest.mark.parametrize(
    "weights", [(-1.0, 1.0), (float("nan"), 1.0), (float("inf"),), (0.0, 0.0), (1e39, 1.0), (1e-50,)]
)
def test_weights_of_styles_that_mean_nothing_are_refused(weights):
    with pytest.raises(InputError, match="--style-weights must be numbers, each 0 or from .*, and not all 0, got .*"):
        TransferConfig(style_weights=weights)


@pytest.mark.parametrize("color", ["match", "luminance", "after"])
def test_the_content_s_colors_stay(color, narrow_vgg, photo, artwork):
    """The image of a photograph in blue has none of the red of the painting."""
    blue, red = photo * np.float32([0.2, 0.4, 1]), artwork * np.float32([1, 0.2, 0.1])
    options = {"vgg": narrow_vgg, **QUICK, "steps": 30, "content_weight": 0.0}
    plain, kept = (transfer(blue, red, color=c, **options).image.mean((0, 1)) for c in ("style", color))
    assert plain[0] > plain[2] and kept[2] > kept[0] + 0.1
