"""Gray in, gray out: by the parameters, so under every evaluation, and in sweeps and repeats as in single runs."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import NO_MASKS, picture
from jax.sharding import AxisType
from PIL import Image as Pillow

from stylejax.cli.main import main
from stylejax.config import TransferConfig
from stylejax.images.color import is_gray, stays_gray
from stylejax.images.io import write_image
from stylejax.models.vgg import VGG
from stylejax.synthesis.factories import make_minimizer
from stylejax.synthesis.problem import state_shape
from stylejax.synthesis.transfer import Checkpoint, transfer
from stylejax.synthesis.validation import plan_images

QUICK = {"size": 48, "steps": 2, "scales": "1", "content_layers": ("conv2_1",), "style_layers": ("conv1_1",)}


def grayed(image: np.ndarray) -> np.ndarray:
    return np.repeat(image[..., :1], 3, -1)


@pytest.mark.parametrize(
    "options",
    [
        {"init": "noise", "scales": "32", "parameterization": "pixels"},
        {"optimizer": "adam", "parameterization": "sigmoid", "style_representation": "wasserstein"},
        {"init": "content+noise:0.3", "parameterization": "dct", "color": "match"},
        {"init": "colored.png", "parameterization": "pixels"},
        {"init": "noise", "style_weight": 0.0},
    ],
)
def test_a_gray_content_in_a_gray_style_stays_gray(
    narrow_vgg: VGG, photo: Any, artwork: Any, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also in a colored style that is matched to the content, from a colored file, and without a style."""
    monkeypatch.chdir(tmp_path)
    write_image("colored.png", photo)
    style = artwork if options.get("color") == "match" else grayed(artwork)
    result = transfer(
        grayed(photo), style if "style_weight" not in options else (), vgg=narrow_vgg, **(QUICK | options)
    )
    assert (result.image == result.image[..., :1]).all()
    assert np.ptp(result.image) > 0.1


def test_tiles_and_shards_compute_the_same_gray(narrow_vgg: VGG):
    content, style = (grayed(picture(np.random.default_rng(i), 64, 64)) for i in (1, 2))
    options = QUICK | {"size": 64, "vgg": narrow_vgg, "optimizer": "adam", "steps": 1}
    whole = transfer(content, style, **options).image
    assert (whole == whole[..., :1]).all()
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,))
    for how in ({"tile": "32"}, {"shard": "2", "mesh": mesh}):
        np.testing.assert_allclose(transfer(content, style, **options, **how).image, whole, atol=2e-4)


def test_a_gray_run_is_resumed_with_the_state_that_its_plan_expects(narrow_vgg: VGG, photo: Any, artwork: Any):
    content, style, saved = grayed(photo), grayed(artwork), []

    def keep(checkpoint: Checkpoint) -> None:
        saved.append(jax.tree.map(lambda leaf: np.array(leaf) if isinstance(leaf, jax.Array) else leaf, checkpoint))

    whole = transfer(content, style, vgg=narrow_vgg, on_checkpoint=keep, **QUICK)
    assert (transfer(content, style, vgg=narrow_vgg, resume_from=saved[0], **QUICK).image == whole.image).all()
    plan = plan_images(TransferConfig(**QUICK), "vgg19", content, [style], NO_MASKS)
    expected = state_shape(plan, plan.schedule[0], make_minimizer(plan.config, QUICK["steps"]))
    found = saved[0].loop_state.state
    assert jax.tree.map(np.shape, found) == jax.tree.map(lambda leaf: leaf.shape, expected)


def test_rows_of_gray_and_of_color_are_what_transfer_makes(desk: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("c", "s"):
        Pillow.open("c.png").convert("L").rotate(90 * (name == "s"), expand=True).save(f"g{name}.png")
    run = ["--weights", "narrow.h5", "--size", "32", "--steps", "3", "--scales", "1", "--content-layers", "conv2_1"]
    run += ["--style-layers", "conv1_1", "--init", "noise", "--optimizer", "adam", "--parameterization", "pixels"]
    assert main(["sweep", "--content", "c.png,gc.png", "--style", "gs.png", "-o", "rows", *run]) == 0
    for content in ("c.png", "gc.png"):
        assert main(["transfer", content, "gs.png", "-o", "o.png", *run]) == 0
        pixels = np.asarray(Pillow.open("o.png"))
        np.testing.assert_array_equal(np.asarray(Pillow.open(f"rows/{content}")), pixels)
        assert (np.ptp(pixels, axis=-1).max() == 0) == (content == "gc.png")
        assert main(["verify", "o.png"]) == 0
    assert capsys.readouterr().out.count("the same bit for bit") == 2


def test_gray_is_what_has_no_color_but_that_of_rounding(photo: np.ndarray):
    image = np.rint(255 * grayed(photo)) / np.float32(255)
    assert is_gray(image) and not is_gray(photo)
    for levels in (2, 3):
        other = image.copy()
        other[5, 7] = np.float32([100, 100 + levels, 100]) / 255
        assert is_gray(other) == (levels == 2)
    assert stays_gray("match", True, [False]) and stays_gray("style", True, [True])
    assert not stays_gray("style", True, [True, False]) and not stays_gray("match", False, [True])
