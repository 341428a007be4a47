"""Feature maps, the strongest filters, exciting images; and the command that shows them."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest

from stylejax.cli.main import main
from stylejax.errors import InputError
from stylejax.images.io import read_image
from stylejax.synthesis import feature_visualization as features
from stylejax.synthesis.feature_visualization import (
    extract_features,
    maximize_activation,
    render_feature_map,
    strongest_filters,
)


def test_feature_maps_are_the_network_s_responses(narrow_parameters, narrow_vgg, generator):
    image = generator.random((20, 17, 3)).astype(np.float32)
    expected = oracle.features(image, narrow_parameters)
    found = extract_features(image, ("conv1_2", "relu4_2"), vgg=narrow_vgg)
    assert list(found) == ["conv1_2", "relu4_2"]
    for name, layer in (("conv1_2", "conv1_2"), ("relu4_2", "conv4_2")):
        np.testing.assert_allclose(found[name], expected[layer], atol=1e-5 * np.abs(expected[layer]).max())


def test_the_strongest_come_first():
    features = np.broadcast_to(np.asarray([0.5, 3.0, 0.0, 2.0, 3.0]), (4, 6, 5))
    assert strongest_filters(features, 3) == [1, 4, 3]
    assert strongest_filters(features, 99) == [1, 4, 3, 0, 2]


def test_a_map_is_shown_in_squares():
    picture = render_feature_map(np.asarray([[0.0, 2.0], [1.0, 4.0]]), 4, 6)
    assert picture.shape == (4, 6, 3)
    np.testing.assert_array_equal(picture[:2, :3], 0)
    np.testing.assert_array_equal(picture[2:, 3:], 1)
    np.testing.assert_array_equal(picture[2:, :3], 0.25)
    assert render_feature_map(np.zeros((2, 2)), 4, 4).max() == 0


def test_an_exciting_image_excites_and_is_the_same_again(narrow_vgg):
    number = strongest_filters(
        extract_features(np.full((32, 32, 3), 0.5, np.float32), ("conv2_2",), vgg=narrow_vgg)["conv2_2"], 1
    )[0]
    found, again = (maximize_activation("conv2_2", number, vgg=narrow_vgg, size=32, steps=40) for _ in range(2))
    assert found.activation > 1.5 * found.initial_activation > 0
    assert found.image.min() >= 0 and found.image.max() <= 1
    np.testing.assert_array_equal(found.image, again.image)
    seen = extract_features(found.image, ("conv2_2",), vgg=narrow_vgg)["conv2_2"][..., number].mean()
    assert seen == pytest.approx(found.activation, rel=1e-4)


def test_a_filter_that_is_not_there_or_never_wakes_is_refused(narrow_parameters):
    from stylejax.models.architecture import ConvWeights
    from stylejax.models.vgg import build_vgg

    first = narrow_parameters.layers["conv1_1"]
    dead = ConvWeights(first.kernel, np.full_like(first.bias, -1e6))
    vgg = build_vgg(narrow_parameters._replace(layers=narrow_parameters.layers | {"conv1_1": dead}))
    with pytest.raises(InputError, match="conv1_1 has no filter 4; choose one from 0 to 3"):
        maximize_activation("conv1_1", 4, vgg=vgg, size=16)
    with pytest.raises(InputError, match="filter 2 of conv1_1 is zero on 64 noise images"):
        maximize_activation("conv1_1", 2, vgg=vgg, size=16)


@pytest.fixture
def words(desk: Path) -> Callable[..., list[str]]:
    return lambda *more: ["features", "c.png", "-o", "o.png", "--weights", "narrow.h5", *more]


def test_a_sheet_and_the_raw_arrays(words, capsys: pytest.CaptureFixture[str]):
    assert main(words("--layers", "conv1_1,relu5_1", "--npz", "raw.npz", "--filters", "3")) == 0
    assert "conv1_1 48×40, 4 filters, relu5_1 3×2, 4 filters" in capsys.readouterr().out
    with np.load("raw.npz") as arrays:
        assert {name: array.shape for name, array in arrays.items()} == {"conv1_1": (40, 48, 4), "relu5_1": (2, 3, 4)}
    assert read_image("o.png").std() > 0.1


def test_an_exciting_image_from_the_command_line(words, capsys: pytest.CaptureFixture[str]):
    assert main(words("--layers", "conv1_2", "--maximize", "1", "--size", "32", "--steps", "3")) == 0
    assert "o.png: mean activation " in capsys.readouterr().out
    assert read_image("o.png").shape == (32, 32, 3)
    assert main(words("--layers", "conv1_2", "--maximize", "1", "--size", "32", "--steps", "1")) == 0
    assert "note: no step lowered the loss of the initial noise; take more --steps" in capsys.readouterr().err


def test_an_interrupted_search_keeps_its_best_image(words, monkeypatch: pytest.MonkeyPatch, capsys):
    search = features.maximize_activation

    def interrupted(*args: Any, callback: Callable[[Any], bool], **options: Any) -> Any:
        def watch(info: Any) -> bool:
            signal.raise_signal(signal.SIGINT)
            return callback(info)

        return search(*args, callback=watch, **options)

    monkeypatch.setattr(features, "maximize_activation", interrupted)
    assert main(words("--layers", "conv1_2", "--maximize", "1", "--size", "32", "--steps", "1000")) == 130
    assert "interrupted; the best image so far was saved" in capsys.readouterr().err
    assert read_image("o.png").shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("--layers conv4_3,conv7_1", "unknown layer 'conv7_1'"),
        ("--layers ,", "--layers must be one or more layers, got none"),
        ("--layers conv1_1 --maximize 4", "conv1_1 has no filter 4; choose one from 0 to 3"),
        ("--maximize 0", "--layers must be one layer with --maximize, got 6"),
        ("--filters 0", "--filters must be a whole number from 1, got 0"),
        ("--npz raw.zip", "cannot write raw.zip: its name should end in .npz"),
        ("--npz gone/raw.npz", "the folder gone does not exist"),
        ("--size 15", "too small for layers"),
        ("--weights missing.h5", "missing.h5"),
    ],
)
def test_bad_input_is_refused_in_one_line(words, refusal, said: str, reason: str):
    assert reason in refusal(*words(*said.split()))
