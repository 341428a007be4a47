"""Settings that cannot do all that they say: each says so in a note."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import NO_MASKS
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from stylejax.cli.main import main
from stylejax.config import TransferConfig
from stylejax.images.io import write_image
from stylejax.images.resize import resize
from stylejax.presets import PRESETS
from stylejax.synthesis.initialization import initial_image
from stylejax.synthesis.validation import make_plan


@given(
    st.integers(16, 300), st.integers(16, 300), st.integers(64, 200), st.sampled_from([0.6, 0.8, 1.25, 1.5, 2.0, 4.0])
)
def test_a_style_scale_changes_the_size_of_the_style_or_it_says_so(height: int, width: int, size: int, scale: float):
    def sizes(scale: Any) -> tuple[Any, list[str]]:
        config = TransferConfig(
            size=size, style_scale=scale, style_crop=0.0, content_layers=("conv1_1",), style_layers=("conv1_1",)
        )
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always")
            plan = make_plan(config, "vgg19", (64, 64, 3), [(height, width, 3)], NO_MASKS)
        return plan.schedule[-1].style_sizes, [str(note.message) for note in notes]

    plain, no_notes = sizes(1.0)
    scaled, notes = sizes((scale,))
    assert no_notes == [] and (scaled != plain or notes)
    assert not notes or f"style 1 is {width}×{height}: it is not enlarged; give a larger image" in notes[0]


NO_EFFECT = [
    ({"learning_rate": 0.2}, "--learning-rate 0.2 has no effect; it needs --optimizer adam"),
    ({"history": 7, "optimizer": "adam"}, "--history 7 has no effect; it needs --optimizer lbfgs"),
    ({"seed": 3}, "--seed 3 has no effect; it needs an --init with noise, or --weights random"),
    (
        {"style_crop": 0.1, "padding": "circular"},
        "--style-crop 0.1 has no effect; it needs another --padding than circular",
    ),
    ({"tv_norm": "isotropic"}, "--tv-norm isotropic has no effect; it needs a --tv-weight above 0"),
    ({"style_weights": (2.0,)}, "--style-weights 2.0 has no effect; it needs several styles or style masks"),
    ({"style_schedule": "coarse-to-fine"}, "--style-schedule coarse-to-fine has no effect; it needs several styles"),
    ({"content_weight": 0.0, "content_layers": ("conv1_2",)}, "--content-layers conv1_2 has no effect; it needs a"),
    ({"style_weight": 0.0, "style_layers": ("conv1_2",)}, "--style-layers conv1_2 has no effect; it needs a"),
    ({"color": "only", "seed": 3, "init": "noise"}, "--seed 3 has no effect; it needs another --color than only"),
]


def notes_of(config: TransferConfig, styles: int = 1) -> list[str]:
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        make_plan(config, "vgg19", (64, 64, 3), [(64, 64, 3)] * styles, NO_MASKS)
    return [str(note.message) for note in notes]


@pytest.mark.parametrize(("options", "note"), NO_EFFECT)
def test_a_setting_without_effect_says_so(options: dict[str, Any], note: str):
    (found,) = notes_of(TransferConfig(size=64, **options))
    assert found.startswith(note)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam", "learning_rate": 0.2},
        {"history": 7},
        {"seed": 3, "init": "content+noise:0.1"},
        {"seed": 3, "weights": "random"},
        {"tv_norm": "isotropic", "tv_weight": 1.0},
        *({"optimizer": optimizer} for optimizer in ("lbfgs", "adam")),
    ],
)
def test_a_setting_with_an_effect_says_nothing(options: dict[str, Any]):
    assert notes_of(TransferConfig(size=64, **options)) == []


@pytest.mark.parametrize("name", PRESETS)
def test_presets_say_nothing(name: str):
    assert notes_of(dataclasses.replace(PRESETS[name], size=64)) == []


@pytest.mark.filterwarnings("default:.*it is not enlarged")
def test_a_sweep_notes_it_once(desk: Path, capsys: pytest.CaptureFixture[str]):
    run = ["--size", "48", "--steps", "1", "--weights", "narrow.h5", "--style-scale", "2", "--seed", "0,1"]
    run += ["--parameterization", "pixels", "--style-layers", "conv1_1", "--content-layers", "conv1_1", "--scales", "1"]
    assert main(["sweep", "--content", "c.png", "--style", "c.png", "-o", "rows", *run]) == 0
    note = "note: --style-scale 2 at --size 48 needs 96 pixels, and style 1 is 48×40: it is not enlarged"
    assert capsys.readouterr().err.count(note) == 1


@pytest.mark.parametrize("size", [(40, 48), (48, 40), (20, 96)])
@pytest.mark.parametrize("init", ["FILE", "array", "style"])
def test_an_initial_image_of_another_shape_is_not_squashed(tmp_path: Path, init: str, size: tuple[int, int]):
    """A disc in its middle stays round."""
    y, x = np.mgrid[:480, :120] + 0.5
    image = np.repeat((np.hypot(y - 240, x - 60) < 8)[..., None], 3, -1).astype(np.float32)
    path = tmp_path / "tall.png"
    write_image(path, image)
    config = TransferConfig(init=init if init == "style" else str(path))
    initial = {"FILE": {}, "array": image, "style": {"style": 1.0}}[init]
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        found = initial_image(config, np.zeros((*size, 3), np.float32), [image], size, initial)
    said = " is 120×480 pixels, of another aspect ratio than the result; its middle is taken"
    assert [str(note.message).endswith(said) for note in notes] == ([] if init == "style" else [True])
    rows, columns = (np.count_nonzero((found[..., 0] > 0.5).any(axis)) for axis in (1, 0))
    assert found.shape == (*size, 3) and (rows, columns) == pytest.approx([16 * size[1] / 120] * 2, abs=1)


def test_an_initial_image_of_the_same_shape_is_only_resized(tmp_path: Path, photo: np.ndarray):
    """Up to the rounding of its sides."""
    Pillow.fromarray(np.rint(255 * photo[:, :47]).astype(np.uint8)).save(tmp_path / "i.png")
    found = initial_image(TransferConfig(init=str(tmp_path / "i.png")), photo, [], (27, 32), {})
    np.testing.assert_array_equal(found, resize(np.rint(255 * photo[:, :47]) / np.float32(255), 27, 32))
