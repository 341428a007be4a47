"""Transparency: hidden colors are never seen, alpha is a mask, and nothing gets a white rim."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import noise_image, picture, targets_at
from PIL import Image as Pillow

from stylejax.cli.main import main
from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.images.alpha import fill_hidden
from stylejax.images.color import match_color, match_luma
from stylejax.images.io import read_image, read_image_with_alpha, read_stored, write_image
from stylejax.synthesis.regions import Masks, read_mask
from stylejax.synthesis.transfer import transfer

QUICK = {"content_layers": ("conv2_1",), "style_layers": ("conv1_1", "conv2_1"), "scales": "1", "steps": 2}


@pytest.fixture
def soft() -> np.ndarray:
    """Alpha of all levels that is 0 at the left and 1 at the right."""
    return np.tile(np.linspace(-0.5, 1.5, 48, dtype=np.float32).clip(0, 1), (40, 1))


def with_hidden(image: np.ndarray, alpha: np.ndarray, seed: int) -> np.ndarray:
    """The image with random colors where it is wholly transparent."""
    noise = np.random.default_rng(seed).random(image.shape, np.float32)
    return np.where(alpha[..., None] > 0, image, noise)


def save(path: Path, kind: str, seed: int, gray: bool = False) -> None:
    """A picture whose left part is transparent over colors that the seed determines."""
    levels = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    levels[:, :20] = np.random.default_rng(seed).integers(0, 256, (40, 20, 3), np.uint8)
    levels = levels[..., :1].repeat(3, 2) if gray else levels
    alpha = np.tile(np.repeat(np.uint8([0, 90, 255]), [20, 14, 14]), (40, 1))
    if kind == "P":
        index = np.where(alpha > 0, levels[..., 0] % 250, 250 + np.arange(48) % 6)
        image = Pillow.fromarray(index.astype(np.uint8), "P")
        image.putpalette([*np.arange(250).repeat(3), *levels[0, :6].ravel()])
        image.save(path, transparency=bytes([255] * 250 + [0] * 6))
    elif kind == "16":
        write_image(path, levels.astype(np.float32) / 255, "", alpha.astype(np.float32) / 255, 16)
    else:
        image = Pillow.fromarray(np.dstack([levels, alpha]), "RGBA")
        image.convert(kind).save(path)


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "16"])
def test_hidden_colors_are_never_seen(tmp_path: Path, kind: str):
    found = []
    for seed in (1, 2):
        save(tmp_path / "p.png", kind, seed, gray=True)
        stored, alpha = read_stored(tmp_path / "p.png")
        image, _ = read_image_with_alpha(tmp_path / "p.png")
        assert (image[alpha > 0] == stored[alpha > 0]).all() and (alpha == 0).sum() == 800
        found.append((stored, image, read_image(tmp_path / "p.png"), read_mask(str(tmp_path / "p.png"))))
    (stored, *first), (other, *second) = found
    assert (stored != other).any()
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_hidden_pixels_continue_the_colors_beside_them(soft: np.ndarray):
    color = np.float32([0.2, 0.9, 0.4])
    flat = with_hidden(np.tile(color, (40, 48, 1)), soft, 1)
    np.testing.assert_allclose(fill_hidden(flat, soft), np.tile(color, (40, 48, 1)), atol=1e-6)
    single, image = np.zeros((300, 500), np.float32), np.random.default_rng(0).random((300, 500, 3), np.float32)
    single[7, 481] = 1 / 65535
    np.testing.assert_allclose(fill_hidden(image, single), np.broadcast_to(image[7, 481], image.shape), atol=1e-5)


@pytest.fixture
def studio(desk: Path) -> Path:
    noise_image(36, 33, 1).save(desk / "opaque.png")
    return desk


def words(out: str, *more: str) -> list[str]:
    layers = ["--content-layers", "conv2_1", "--style-layers", "conv2_1"]
    return ["-o", out, "--weights", "narrow.h5", "--size", "32", "--steps", "3", "--scales", "1", *layers, *more]


@pytest.mark.parametrize("color", ["style", "match", "luminance"])
def test_hidden_colors_of_all_inputs_change_no_byte_of_a_run(studio: Path, color: str, capsys: Any):
    """Also as a row of a sweep, which is verified too, and in the frames of the video, which are opaque."""
    found = []
    for seed in (1, 2):
        for name in ("content", "style", "init"):
            save(studio / f"{name}.png", "RGBA", seed)
        for name in ("content-masks", "style-masks", "preserve-mask"):
            save(studio / f"{name}.png", "LA", seed, gray=True)
        masks = [word for n in ("content-masks", "style-masks", "preserve-mask") for word in (f"--{n}", f"{n}.png")]
        run = words("o.png", "--init", "init.png", "--color", color, *masks)
        assert main(["transfer", "content.png", "style.png", *run, "--video", "o.webp"]) == 0
        found.append(np.asarray(Pillow.open("o.png")))
    assert found[0].shape == (27, 32, 4)
    np.testing.assert_array_equal(*found)
    assert np.asarray(Pillow.open("o.webp").convert("RGB"))[:, :8].min() > 245
    run[1] = f"rows-{color}"
    assert main(["sweep", "--content", "content.png", "--style", "style.png", *run]) == 0
    np.testing.assert_array_equal(np.asarray(Pillow.open(f"rows-{color}/content.png")), found[1])
    assert main(["rerun", "o.png"]) == 0
    np.testing.assert_array_equal(np.asarray(Pillow.open("o-rerun.png")), found[1])
    assert main(["verify", "o.png"]) == 0
    assert "the same bit for bit" in capsys.readouterr().out


@pytest.mark.parametrize("out", ["o.png", "o.bmp"])
def test_a_soft_edge_keeps_its_own_colors(studio: Path, out: str):
    """They come out as they went in, and lie on white once where the file is opaque."""
    levels = np.full((27, 32, 4), (20, 60, 20, 13), np.uint8)
    levels[:, 16:, 3], levels[:, :8, 3] = 255, 0
    Pillow.fromarray(levels, "RGBA").save("c.png")
    assert main(["transfer", "c.png", "opaque.png", *words(out, "--style-weight", "0")]) == 0
    found = np.asarray(Pillow.open(out))
    if out == "o.png":
        np.testing.assert_array_equal(found[..., 3], levels[..., 3])
        np.testing.assert_allclose(found[:, 8:, :3], levels[:, 8:, :3].astype(int), atol=1)
    else:
        np.testing.assert_allclose(found, 255 * read_image("c.png"), atol=1)


def test_the_alpha_of_a_style_is_its_mask(narrow_vgg: Any, photo: np.ndarray, soft: np.ndarray):
    style, part = picture(np.random.default_rng(3), 40, 48), np.zeros((40, 48), np.float32)
    part[:20] = 1

    def grams(*styles: np.ndarray, **masks: Any) -> list[np.ndarray]:
        found = targets_at(photo, list(styles), narrow_vgg, TransferConfig(size=48, **QUICK), 48, Masks(**masks)).style
        return [np.asarray(found[layer]) for layer in QUICK["style_layers"]]

    alpha = [None, soft]
    np.testing.assert_array_equal(grams(style, alpha=alpha)[1], grams(style, style=[soft])[1])
    np.testing.assert_array_equal(grams(style, style=[part], alpha=alpha)[1], grams(style, style=[part * soft])[1])
    two = grams(style, style[::-1], alpha=[*alpha, None])
    np.testing.assert_allclose(two[1], (grams(style, style=[soft])[1] + grams(style[::-1])[1]) / 2, rtol=1e-5)
    assert np.abs(grams(style, alpha=alpha)[1] - grams(style)[1]).max() > 1e-3


def test_a_mask_on_transparent_is_that_on_black(tmp_path: Path, soft: np.ndarray):
    ones = np.ones((40, 48, 3), np.float32)
    write_image(tmp_path / "clear.png", ones, alpha=soft)
    write_image(tmp_path / "black.png", ones * soft[..., None])
    np.testing.assert_allclose(*(read_mask(str(tmp_path / f"{n}.png")) for n in ("clear", "black")), atol=1e-6)
    write_image(tmp_path / "clear.png", with_hidden(ones, soft, 0), alpha=soft)
    np.testing.assert_allclose(read_mask(str(tmp_path / "clear.png")), soft, atol=1 / 255)


def test_only_visible_pixels_count_for_the_colors(soft: np.ndarray):
    style, content = (picture(np.random.default_rng(i), 40, 48) for i in (1, 2))
    hard, right = (soft > 0.5).astype(np.float32), np.s_[:, (soft > 0.5)[0]]
    found = match_color(style, content, hard, hard)[right]
    np.testing.assert_allclose(found, match_color(style[right], content[right]), atol=1e-5)
    tones = style[..., 0], content[..., 0]
    found = match_luma(*tones, hard, hard)[right]
    np.testing.assert_allclose(found, match_luma(*(tone[right] for tone in tones)), atol=1e-5)


@pytest.mark.parametrize("role", ["content", "style", "--init"])
def test_an_image_with_nothing_visible_is_refused(studio: Path, refusal: Any, role: str):
    Pillow.new("RGBA", (48, 40)).save("clear.png")
    images = [("clear.png" if role == name else "c.png") for name in ("content", "style")]
    init = ["--init", "clear.png"] if role == "--init" else []
    assert "clear.png is wholly transparent; give an image" in refusal("transfer", *images, *words("o.png", *init))


def test_alpha_that_does_not_fit_is_refused(narrow_vgg: Any, photo: np.ndarray, soft: np.ndarray):
    dot = np.zeros_like(soft)
    dot[20, 20] = 1
    for alpha, reason in (
        ([soft], r"alpha must be that of the content and of each style \(2\), got 1"),
        ([None, soft[:10]], "the alpha of style 1 is 48×10 pixels, and its style 1 48×40"),
        ([None, dot], "the visible part of style 1 covers less than one position of layer conv2_1"),
    ):
        with pytest.raises(InputError, match=reason):
            transfer(photo, photo, masks=Masks(alpha=alpha), vgg=narrow_vgg, size=48, **QUICK)
