"""Reconstructions: closed forms on a narrow network, the paper's claims on real features (slow)."""

from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import features_of

import stylejax
from stylejax.cli.main import main
from stylejax.errors import InputError
from stylejax.images.io import read_image
from stylejax.images.resize import resize
from stylejax.models.architecture import random_weights
from stylejax.models.vgg import build_vgg
from stylejax.synthesis.initialization import noise
from stylejax.synthesis.reconstruct import psnr, reconstruct_content, reconstruct_style

PAPER = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")


def gram_distance(vgg, image, source, layers=PAPER):
    """Σ_l ‖G - A‖ / ‖A‖ over the layers."""
    found, wanted = (stylejax.style_targets(vgg, jnp.asarray(x), layers) for x in (image, source))
    return sum(float(jnp.linalg.norm(found[n] - wanted[n]) / jnp.linalg.norm(wanted[n])) for n in layers)


def test_psnr_has_closed_forms():
    black, white = np.zeros((4, 5, 3)), np.ones((4, 5, 3))
    assert psnr(black, white) == pytest.approx(0)
    assert psnr(black + 0.1, black) == pytest.approx(20)
    assert psnr(black, black) > 3000


def test_the_first_layer_gives_back_the_pixels(photo):
    """Forty rectified filters are more than the 27 numbers of a pixel's surroundings."""
    vgg = build_vgg(random_weights("vgg16", 0, (40, 2, 2, 2, 2)))
    result = reconstruct_content(photo, "conv1_1", vgg=vgg, size=48, steps=150)
    assert psnr(result.image, photo) > 45
    assert list(result.terms.content) == ["conv1_1"] and not result.terms.style


def test_a_content_reconstruction_is_a_transfer_without_style(narrow_vgg, photo, artwork):
    options = {"vgg": narrow_vgg, "size": 40, "steps": 5, "scales": "1", "init": "noise"}
    alone = reconstruct_content(photo, "conv2_1", vgg=narrow_vgg, size=40, steps=5)
    both = stylejax.transfer(photo, artwork, content_layers=("conv2_1",), style_weight=0.0, **options)
    np.testing.assert_allclose(alone.image, both.image, atol=1e-4)


def test_a_texture_has_the_gram_matrices_of_its_source(narrow_vgg, artwork):
    result = reconstruct_style(artwork, vgg=narrow_vgg, size=36, steps=200)
    first = noise(0, *result.image.shape[:2])
    assert gram_distance(narrow_vgg, result.image, artwork) < 0.2 * gram_distance(narrow_vgg, first, artwork)
    assert not result.terms.content


def test_a_texture_can_have_another_size(narrow_vgg, artwork):
    result = reconstruct_style(artwork, ("conv1_1",), vgg=narrow_vgg, size=72, style_scale=0.5, steps=3)
    assert result.image.shape == (72, 66, 3)


@pytest.mark.slow
def test_a_seamless_texture_does_not_know_where_it_begins():
    """Shifted round by the stride of the deepest layer, its losses stay the same; those of one with edges do not."""
    parameters = random_weights("vgg16", 0, (4, 4, 4, 4, 4))
    generator = np.random.default_rng(3)
    source = resize(generator.random((12, 12, 3)).astype(np.float32), 48, 48).clip(0, 1)
    result = reconstruct_style(source, vgg=build_vgg(parameters, padding="circular"), seamless=True, size=45, steps=30)
    assert result.image.shape == (48, 48, 3)

    def change(padding):
        vgg = build_vgg(parameters, padding=padding)
        grams, moved = (
            stylejax.style_targets(vgg, jnp.asarray(x), PAPER) for x in (result.image, np.roll(result.image, 16, 1))
        )
        return max(float(jnp.abs(grams[n] - moved[n]).max() / jnp.abs(grams[n]).max()) for n in PAPER)

    assert change("circular") < 1e-4 < 1e-2 < change("zeros")


def test_unknown_layers_are_refused(narrow_vgg, photo):
    with pytest.raises(InputError, match="unknown layer 'conv6_1'"):
        reconstruct_content(photo, "conv6_1", vgg=narrow_vgg)


# The command line


@pytest.fixture
def words(desk: Path) -> Callable[..., list[str]]:
    quick = ["-o", "o.png", "--weights", "narrow.h5", "--size", "32", "--steps", "3"]
    return lambda *more: ["reconstruct", *more, *quick]


def test_content_says_how_near_it_came(words, capsys: pytest.CaptureFixture[str]):
    assert main(words("content", "c.png", "--layer", "relu1_2")) == 0
    said = capsys.readouterr().out
    assert said.startswith("PSNR ") and said.splitlines()[0].endswith(" dB")
    assert read_image("o.png").shape == (27, 32, 3)


def test_style_makes_seamless_textures(words):
    assert main(words("style", "c.png", "--layers", "conv1_1,conv3_1", "--seamless")) == 0
    assert read_image("o.png").shape == (28, 32, 3)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("content c.png --layer conv9_9", "unknown layer 'conv9_9'"),
        ("content c.png --layer conv5_4 --init missing.png", "missing.png does not exist"),
        ("content missing.png --layer conv1_1", "missing.png does not exist"),
        ("content c.png", "Missing from stylejax reconstruct content: --layer"),
        ("content c.png --layer conv1_1 --init style", "--init is 'style', and no style image was given; begin with"),
        ("style c.png --layers ,", "--style-layers must be one or more different layers, got ()"),
        ("style c.png --style-scale 0", "--style-scale must be a number above 0, or one for each style, got 0.0"),
        ("style c.png --style-scale 0.2", "pixels"),
        ("texture c.png", "Available subcommands: content, style"),
    ],
)
def test_bad_input_is_refused_in_one_line(words, refusal, said: str, reason: str):
    assert reason in refusal(*words(*said.split()))


# Real features


@pytest.fixture(scope="module")
def real() -> tuple[stylejax.VGG, np.ndarray]:
    pytest.importorskip("sklearn", reason="the photograph comes with scikit-learn")
    from stylejax.images.samples import photograph

    return stylejax.build_vgg(stylejax.load_pretrained("vgg19")[0]), resize(read_image(photograph()), 96, 96)


@pytest.mark.slow
def test_the_deeper_the_layer_the_less_of_the_pixels_it_keeps(real):
    vgg, image = real
    found = [psnr(reconstruct_content(image, n, vgg=vgg, size=96, steps=150).image, image) for n in PAPER]
    assert found == sorted(found, reverse=True)
    assert found[0] > 40 and found[1] > 27 and found[2] > 17 and found[-1] < 15


def style_distance(vgg: stylejax.VGG, image: np.ndarray, source: np.ndarray) -> float:
    """Equation 5 with w_l = 1/5: the mean over the layers of 1/(4N²) Σ (G - A)², in float64."""

    def grams(x: np.ndarray) -> list[np.ndarray]:
        responses = (
            np.asarray(f, np.float64).reshape(-1, f.shape[-1]) for f in features_of(vgg, jnp.asarray(x), PAPER).values()
        )
        return [flat.T @ flat / len(flat) for flat in responses]

    return float(np.mean([np.mean((g - a) ** 2) / 4 for g, a in zip(grams(image), grams(source), strict=True)]))


@pytest.mark.slow
def test_a_real_texture_is_within_two_per_cent_of_noise(real):
    """A painting gave 0.4 %; the photograph, whose deepest layer has 48 positions, 3 % at this size."""
    vgg, _ = real
    source = resize(stylejax.generate_painting(), 100, 128).clip(0, 1)
    result = reconstruct_style(source, vgg=vgg, size=128, steps=300)
    assert style_distance(vgg, result.image, source) < 0.02 * style_distance(vgg, noise(0, 100, 128), source)
