"""Segmentations: one picture in flat colors for the content, and one for the style, are the masks of their regions."""

from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from stylejax.cli.main import main
from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.images.io import read_image
from stylejax.synthesis.regions import Masks, check_masks, read_mask
from stylejax.synthesis.transfer import transfer

PALETTE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1], [0.5, 0.5, 0.5]], np.float32)
SHAPE = (40, 48, 3)
SHALLOW = {"style_layers": ("conv1_1",), "content_layers": ("conv1_1",), "parameterization": "pixels"}


def painted(labels: np.ndarray) -> np.ndarray:
    return PALETTE[labels]


def split(content: np.ndarray, style: np.ndarray) -> Masks:
    return check_masks(Masks([content], [style]), TransferConfig(), SHAPE, [SHAPE])


def labels_of(masks: list[np.ndarray]) -> set[bytes]:
    return {np.asarray(mask, bool).tobytes() for mask in masks}


@given(st.integers(0, 2**32 - 1), st.integers(2, 7))
def test_each_color_is_the_mask_of_its_pixels(seed: int, count: int):
    """The pairs of masks are those of the labels, for any colors in any order."""
    generator = np.random.default_rng(seed)
    colors = generator.permutation(7)[:count]
    blocks = (colors[generator.permutation(np.arange(30) % count)].reshape(5, 6) for _ in range(2))
    content, style = (np.kron(block, np.ones((8, 8), int)) for block in blocks)
    masks = split(painted(content), painted(style))
    pairs = {
        (m.astype(bool).tobytes(), s.astype(bool).tobytes()) for m, s in zip(masks.content, masks.style, strict=True)
    }
    assert pairs == {((content == color).tobytes(), (style == color).tobytes()) for color in colors}


def test_compression_and_soft_edges_count_for_the_nearest_color(tmp_path: Path):
    labels = (np.arange(480) // 160)[None] * np.ones((400, 1), int) + 1
    flat = Pillow.fromarray((255 * painted(labels)).astype(np.uint8))
    flat.save(tmp_path / "s.png")
    flat.resize((240, 200), Pillow.Resampling.BICUBIC).save(tmp_path / "c.jpg", quality=75)
    masks = check_masks(
        Masks([read_mask(str(tmp_path / "c.jpg"))], [read_mask(str(tmp_path / "s.png"))]),
        TransferConfig(), (200, 240, 3), [(400, 480, 3)],
    )  # fmt: skip
    assert len(masks.content) == len(masks.style) == 3
    np.testing.assert_array_equal(sum(masks.content), 1)
    for i, mask in enumerate(sorted(masks.content, key=lambda m: m[0].argmax())):
        assert mask[:, 80 * i + 4 : 80 * i + 76].all() and mask.mean() == pytest.approx(1 / 3, abs=0.02)


def test_a_run_takes_them_as_files_as_arrays_and_as_gray_masks(narrow_vgg, photo, tmp_path: Path):
    artwork = photo[::-1]
    labels = np.repeat([[1, 2]], 40, 0).repeat(24, 1)
    segmentation = painted(labels)
    Pillow.fromarray((255 * segmentation).astype(np.uint8)).save(tmp_path / "m.png")
    Pillow.fromarray((255 * segmentation[:, ::-1]).astype(np.uint8)).save(tmp_path / "s.png")
    options = {"vgg": narrow_vgg, "size": 48, "steps": 2, "scales": "1", **SHALLOW}
    left = labels == 1
    gray = transfer(photo, artwork, masks=Masks([left, ~left], [left[:, ::-1], ~left[:, ::-1]]), **options)
    names = {"content_masks": (str(tmp_path / "m.png"),), "style_masks": (str(tmp_path / "s.png"),)}
    for given_as in (
        names,
        {"content_masks": segmentation, "style_masks": segmentation[:, ::-1]},
        {"masks": Masks([segmentation], [tmp_path / "s.png"])},
    ):
        np.testing.assert_array_equal(transfer(photo, artwork, **given_as, **options).image, gray.image)


def test_the_command_line_and_a_sweep_take_them(desk: Path):
    labels = np.repeat([[1, 2]], 40, 0).repeat(24, 1)
    Pillow.fromarray((255 * painted(labels)).astype(np.uint8)).save("m.png")
    words = "--weights narrow.h5 --size 48 --steps 1 --scales 1 --parameterization pixels --style-layers conv1_1"
    words += " --content-layers conv1_1 --content-masks m.png --style-masks m.png"
    assert main(["transfer", "c.png", "c.png", "-o", "o.png", *words.split()]) == 0
    assert main(["verify", "o.png"]) == 0
    assert main(["sweep", "--content", "c.png", "--style", "c.png", "-o", "rows", *words.split()]) == 0
    np.testing.assert_array_equal(read_image("rows/c.png"), read_image("o.png"))


BLUE, RED_GREEN = painted(np.full((40, 48), 3)), painted(np.arange(48)[None].repeat(40, 0) // 24 + 1)
MESSAGES = [
    (
        RED_GREEN,
        BLUE + 0 * RED_GREEN,
        "the style mask is in color and must have 2 to 16 flat colors, .*, got 1; paint it",
    ),
    (
        np.where(np.arange(48)[None, :, None] < 9, BLUE, RED_GREEN),
        RED_GREEN,
        "the style mask must have all colors of the content mask, got #00ff00, #ff0000 without #0000ff; paint a part",
    ),
]


@pytest.mark.parametrize(("content", "style", "message"), MESSAGES)
def test_a_segmentation_that_cannot_be_used_is_refused(content: np.ndarray, style: np.ndarray, message: str):
    with pytest.raises(InputError, match=message):
        split(content, style)


@pytest.mark.parametrize("wrong", [255 * RED_GREEN, (255 * RED_GREEN).astype(np.uint8), RED_GREEN * np.nan])
def test_colors_outside_the_range_are_refused(wrong: np.ndarray):
    with pytest.raises(InputError, match=r"the content mask must be \(h, w, 3\) of floats in \[0, 1\]; divide it"):
        split(wrong, RED_GREEN)


def test_a_photograph_is_no_segmentation():
    noise = picture(np.random.default_rng(0), 40, 48)
    with pytest.raises(InputError, match="the content mask is in color and must have 2 to 16 flat colors, .*, got "):
        split(noise, noise)


@pytest.mark.parametrize(
    ("masks", "styles"),
    [(Masks([RED_GREEN], []), 1), (Masks([], [RED_GREEN]), 1), (Masks([RED_GREEN, RED_GREEN], []), 2),
     (Masks([RED_GREEN], [RED_GREEN, RED_GREEN]), 2), (Masks(preserve=RED_GREEN), 1)],
)  # fmt: skip
def test_elsewhere_a_mask_in_color_is_refused(masks: Masks, styles: int):
    with pytest.raises(InputError, match="mask.* is in color; a mask must be a gray image, white inside the region"):
        check_masks(masks, TransferConfig(), SHAPE, [SHAPE] * styles)
