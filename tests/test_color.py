"""Whose colors a picture has: closed forms, and few-line oracles of the papers' formulas."""

import numpy as np
import pytest
from conftest import picture
from scipy.linalg import sqrtm

from stylejax.errors import InputError
from stylejax.images import color as colors
from stylejax.images.color import match_color, match_luma
from stylejax.models.architecture import random_weights
from stylejax.models.vgg import build_vgg
from stylejax.synthesis.transfer import transfer


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Two pictures of different sizes whose channels are correlated and have means of their own."""
    mix = np.array([[0.5, 0.2, 0.1], [0.1, 0.6, 0.2], [0.3, 0.1, 0.4]])
    one, other = picture(np.random.default_rng(1), 40, 48), picture(np.random.default_rng(2), 36, 33)
    return (one @ mix).astype(np.float32), (0.2 + 0.7 * other @ mix.T).astype(np.float32)


def statistics(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pixels = image.reshape(-1, 3).astype(np.float64)
    return pixels.mean(0), np.cov(pixels.T, bias=True)


def test_a_matched_picture_has_the_mean_and_covariance_of_the_other(pair):
    style, content = pair
    matched = match_color(style, content)
    assert matched.shape == style.shape and matched.dtype == np.float32
    for found, expected in zip(statistics(matched), statistics(content), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_colors_are_moved_by_the_symmetric_map_and_no_other_map_moves_them_less(pair):
    """SciPy's matrix square root on the covariances as they are; the others are those of Cholesky and of the principal axes."""
    style, content = pair
    (mean_s, s), (mean_c, c) = statistics(style), statistics(content)
    root = np.real(sqrtm(s))
    inverse = np.linalg.inv(root)
    found = match_color(style, content)
    expected = (style - mean_s) @ (inverse @ np.real(sqrtm(root @ c @ root)) @ inverse).T + mean_c
    np.testing.assert_allclose(found, expected, atol=2e-5)
    for other in (np.linalg.cholesky(c) @ np.linalg.inv(np.linalg.cholesky(s)), np.real(sqrtm(c)) @ inverse):
        assert np.mean((found - style) ** 2) < np.mean(((style - mean_s) @ other.T + mean_c - style) ** 2)


def test_pictures_without_colors_do_no_harm(pair):
    """The noise of a gray or flat style is not amplified; a gray content makes the style gray."""
    style, content = pair
    gray = np.repeat(style.mean(-1, keepdims=True), 3, -1)
    for odd in (gray, np.full_like(style, 0.5)):
        assert np.abs(match_color(odd, content)).max() < 3
    grayed = match_color(style, gray)
    assert np.ptp(grayed, -1).max() < 1e-4


def test_luma_is_matched_in_mean_and_deviation(pair):
    tone, reference = (image @ [0.299, 0.587, 0.114] for image in pair)
    matched = match_luma(tone.astype(np.float32), reference.astype(np.float32))
    np.testing.assert_allclose((matched.mean(), matched.std()), (reference.mean(), reference.std()), rtol=1e-5)
    assert np.isfinite(match_luma(np.zeros((4, 4), np.float32), np.eye(3, dtype=np.float32))).all()


@pytest.mark.parametrize("color", ["luminance", "after"])
def test_a_picture_has_the_chroma_of_the_content_and_the_luma_of_the_result(pair, color):
    """In YIQ by NTSC's matrix."""
    yiq = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
    image, content = pair[0][:30, :30], pair[1][:30, :30]
    found = colors.restore_color(color, image, content) @ yiq.T
    np.testing.assert_allclose(found[..., 0], image @ yiq[0], atol=1e-6)
    np.testing.assert_allclose(found[..., 1:], content @ yiq[1:].T, atol=1e-5)


def test_luminance_gives_the_network_grays_of_the_content_s_range(pair):
    content, styles = colors.apply_color_mode("luminance", pair[0], [pair[1]])
    for image in (content, *styles):
        assert (image == image[..., :1]).all()
    np.testing.assert_allclose(content[..., 0], pair[0] @ [0.299, 0.587, 0.114], atol=1e-6)
    np.testing.assert_allclose(styles[0].std(), content.std(), rtol=1e-5)


@pytest.mark.parametrize("color", ["style", "after"])
def test_otherwise_nothing_is_changed_before(pair, color):
    content, styles = colors.apply_color_mode(color, pair[0], [pair[1]])
    assert content is pair[0] and styles[0] is pair[1]
    assert colors.restore_color("style", pair[0], pair[0]) is pair[0]


def test_color_only_is_the_content_with_the_statistics_of_the_style(pair):
    """At the size of the run, without the network, except in the preserved region."""
    content, style = pair[0] * 0.2 + 0.4, pair[1] * 0.3 + 0.3
    framed = np.pad(style, ((2, 2), (2, 2), (0, 0)), constant_values=1)
    options = {"vgg": build_vgg(random_weights("vgg19", 0, (4,) * 5)), "color": "only", "size": 48}
    result = transfer(content, framed, style_crop=2 / max(framed.shape[:2]), **options)
    for found, expected in zip(statistics(result.image), statistics(style), strict=True):
        np.testing.assert_allclose(found, expected, atol=3e-3)
    assert result[1:-1] == (0.0, ({}, {}, 0.0), 0, 0, False)
    # Each pixel keeps its place: the map of the colors is the same everywhere.
    columns = np.c_[content.reshape(-1, 3), np.ones(content.shape[0] * content.shape[1])]
    _, residual, *_ = np.linalg.lstsq(columns, result.image.reshape(-1, 3), rcond=None)
    assert residual.max() < 1e-3


def test_color_only_keeps_gray_gray_and_the_preserved_region(pair):
    content, style = pair
    gray, vgg = np.repeat(content.mean(-1, keepdims=True), 3, -1), build_vgg(random_weights("vgg19", 0, (4,) * 5))
    keep = (np.arange(content.shape[1]) < 10) * np.ones((content.shape[0], 1), bool)
    assert np.ptp(transfer(content, gray, vgg=vgg, color="only", size=48).image, axis=-1).max() < 1e-3
    noisy = gray + np.random.default_rng(0).uniform(-1, 1, gray.shape).astype(np.float32) / 512
    smooth = [transfer(image, style, vgg=vgg, color="only", size=48).image for image in (gray, noisy)]
    np.testing.assert_allclose(*smooth, atol=0.02)
    kept = transfer(content, style, vgg=vgg, color="only", size=48, preserve_mask=keep).image
    np.testing.assert_allclose(kept[:, :10], content[:, :10], atol=1e-6)


@pytest.mark.parametrize(
    ("styles", "options"), [(0, {"style_weight": 0.0}), (2, {}), (1, {"content_masks": np.ones((8, 9))})]
)
def test_color_only_takes_one_style(pair, styles, options):
    vgg = build_vgg(random_weights("vgg19", 0, (4,) * 5))
    with pytest.raises(
        InputError, match="--color only must have one style and no --content-masks or --style-masks, got"
    ):
        transfer(pair[0], [pair[1]] * styles, vgg=vgg, color="only", size=48, **options)
