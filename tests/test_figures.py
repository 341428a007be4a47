"""The scripts of the paper's figures: which picture is made how, and at which place it is; files, captions, exit codes."""

import base64
import importlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image as Pillow

import stylejax
from stylejax import LossTerms
from stylejax.synthesis.transfer import Result

LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
NAMES = ("figure1", "figure2", "figure3")


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of the true topology with four channels a layer."""
    path = tmp_path_factory.mktemp("weights") / "narrow.h5"
    stylejax.save_weights(path, stylejax.random_weights("vgg19", 0, (4, 4, 4, 4, 4)))
    return path


@pytest.fixture(autouse=True)
def no_traces_at_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path_factory.getbasetemp() / name))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """The scripts as modules; what they paint themselves is small."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "scripts"))
    monkeypatch.setattr(importlib.import_module("_figures"), "PAINTING_SIDE", 96)
    return importlib.import_module


@pytest.fixture
def run(script: Callable, weights: Path, tmp_path: Path) -> Callable[..., int]:
    """A figure at 32 pixels and two steps."""
    quick = ("--weights", str(weights), "--size", "32", "--steps", "2", "-o", str(tmp_path / "out"))
    return lambda name, *words: script(name).main([*quick, *map(str, words)])


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    generator = np.random.default_rng(0)
    paths = {name: tmp_path / f"{name}.png" for name in ("photo", "tall", "small")}
    for path, (h, w) in zip(paths.values(), [(40, 60), (64, 48), (8, 8)], strict=True):
        stylejax.write_image(path, generator.random((h, w, 3)).astype(np.float32))
    return paths


def page_pictures(page: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [np.asarray(Pillow.open(io.BytesIO(base64.b64decode(data)))) / 255 for data in found]


def shades(pictures: list[np.ndarray]) -> list[int]:
    """Which call made each: its number is its red."""
    return [round(float(picture[0, 0, 0]) * 255) for picture in pictures]


class Calls:
    """Stands for a function that makes pictures: notes what it is asked for, returns a picture of the call's number."""

    def __init__(self, fail_at: int = 10**9):
        self.calls, self.fail_at = [], fail_at

    def __call__(self, *arrays: Any, vgg: Any, callback: Any, **options: Any) -> Result:
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append((arrays, options))
        image = np.full((20, 32, 3), len(self.calls) / 255, np.float32)
        terms = LossTerms({"conv4_2": jnp.float32(1)}, {"conv1_1": jnp.float32(2)}, jnp.float32(0))
        return Result(image, 3.0, terms, 2, 2, False, 4.0)


@pytest.mark.parametrize(
    ("name", "made", "cells"),
    [
        pytest.param("figure1", 4, 6, marks=pytest.mark.slow),
        ("figure2", 3, 4),
        pytest.param("figure3", 8, 8, marks=pytest.mark.slow),
    ],
)
def test_a_figure_is_made_of_real_pictures(name, made, cells, run, script, tmp_path, files, monkeypatch, capsys):
    """Two layers stand for five where every set of layers is another program to compile."""
    if name != "figure2":
        monkeypatch.setattr(script(name), "LAYER_SETS", (LAYERS[:1], LAYERS[:2]))
        monkeypatch.setattr(script(name), "LAYERS", LAYERS[:2], raising=False)
    assert run(name, files["photo"]) == 0
    folder = tmp_path / "out"
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.html", f"{name}.png"]
    page = (folder / f"{name}.html").read_text("utf-8")
    pictures = page_pictures(page)
    assert len(pictures) == cells
    assert all(picture.shape == (21, 32, 3) and picture.std() > 0.01 for picture in pictures)
    assert page.count("<tr>") == 1 + made
    caption = re.search("<p>(.*)</p>", page)[1]
    assert "photo" in caption and "VGG-19 of random" in caption
    assert "average pooling, 2 steps of L-BFGS at 32 pixels." in caption
    height, width = stylejax.read_image(folder / f"{name}.png").shape[:2]
    assert height > 21 * 2 and width > 32 * 2
    said = capsys.readouterr()
    assert said.out == f"{folder / name}.png {folder / name}.html\n"
    assert f"{made} of {made} images" in said.err


def test_without_pictures_there_are_some(run, tmp_path):
    assert run("figure2") == 0
    page = (tmp_path / "out" / "figure2.html").read_text("utf-8")
    assert "the Summer Palace" in page and "Daniel Buechele, CC BY 2.0" in page and "stained glass" in page
    assert len(page_pictures(page)) == 4


def test_figure_1_has_styles_above_and_contents_below(run, tmp_path, files, monkeypatch):
    style, content = Calls(), Calls()
    monkeypatch.setattr(stylejax, "reconstruct_style", style)
    monkeypatch.setattr(stylejax, "reconstruct_content", content)
    assert run("figure1", files["photo"], "--style", files["tall"]) == 0
    assert [arrays[1] for arrays, _ in style.calls] == [LAYERS[: i + 1] for i in range(5)]
    assert [arrays[1] for arrays, _ in content.calls] == list(LAYERS)
    assert all(np.array_equal(arrays[0], stylejax.read_image(files["tall"])) for arrays, _ in style.calls)
    assert all(np.array_equal(arrays[0], stylejax.read_image(files["photo"])) for arrays, _ in content.calls)
    assert all(options == {"size": 32, "steps": 2, "seed": 0} for _, options in style.calls + content.calls)
    pictures = page_pictures((tmp_path / "out" / "figure1.html").read_text("utf-8"))
    assert shades(pictures)[1:6] == shades(pictures)[7:] == [1, 2, 3, 4, 5]
    assert pictures[0].shape == (32, 24, 3) and pictures[6].shape == (21, 32, 3)


def test_figure_1_says_how_like_the_photograph_each_content_is(run, tmp_path, files, monkeypatch):
    flat = np.full((20, 32, 3), 0.5, np.float32)
    stylejax.write_image(files["photo"], flat)
    monkeypatch.setattr(stylejax, "reconstruct_content", Calls())
    monkeypatch.setattr(stylejax, "reconstruct_style", Calls())
    run("figure1", files["photo"], "--style", files["photo"])
    page = (tmp_path / "out" / "figure1.html").read_text("utf-8")
    expected = [-20 * np.log10(128 / 255 - (i + 1) / 255) for i in range(5)]
    assert re.findall(r"<figcaption>(conv\d_1: .*) dB", page) == [
        f"{layer}: {value:.1f}" for layer, value in zip(LAYERS, expected, strict=True)
    ]


def test_figure_2_has_a_letter_and_an_inset_for_each_style(run, tmp_path, files, monkeypatch):
    calls = Calls()
    monkeypatch.setattr(stylejax, "transfer", calls)
    assert run("figure2", files["photo"], files["tall"], files["photo"], "--style-weight", "7") == 0
    assert all(
        options == {"style_weight": 7.0, "loss_normalization": "paper", "size": 32, "steps": 2, "seed": 0}
        for _, options in calls.calls
    )
    assert [arrays[1].shape[:2] for arrays, _ in calls.calls] == [(64, 48), (40, 60)]
    page = (tmp_path / "out" / "figure2.html").read_text("utf-8")
    assert re.findall("<figcaption>(.*)</figcaption>", page) == ["A", "B: tall", "C: photo"]
    _, b, _ = page_pictures(page)
    inset = (8 + 2, 6 + 2)
    assert shades([b]) == [1] and (b[: -inset[0]] == b[0, 0]).all() and (b[:, inset[1] :] == b[0, 0]).all()
    assert (b[-inset[0], : inset[1]] == 1).all() and (b[-1, : inset[1]] == 1).all()
    assert np.ptp(b[-inset[0] + 1 : -1, 1 : inset[1] - 1]) > 0.1
    assert "B to C" in page and "α/β = 1/7" in page


def test_many_styles_are_three_a_row(run, tmp_path, files, monkeypatch):
    monkeypatch.setattr(stylejax, "transfer", Calls())
    assert run("figure2", files["photo"], *[files["tall"]] * 7) == 0
    page = (tmp_path / "out" / "figure2.html").read_text("utf-8")
    assert "--count: 3;" in page and page.count('class="row"') == 3 and len(page_pictures(page)) == 8


def test_figure_3_has_a_row_for_each_set_of_layers_and_a_column_for_each_ratio(run, tmp_path, files, monkeypatch):
    calls = Calls()
    monkeypatch.setattr(stylejax, "transfer", calls)
    assert run("figure3", files["photo"], files["tall"]) == 0
    asked = [(options["style_layers"], 1 / options["style_weight"]) for _, options in calls.calls]
    assert asked == [(LAYERS[: i + 1], pytest.approx(ratio)) for i in range(5) for ratio in (1e-5, 1e-4, 1e-3, 1e-2)]
    assert all(options["preset"] == "paper" for _, options in calls.calls)
    page = (tmp_path / "out" / "figure3.html").read_text("utf-8")
    assert shades(page_pictures(page)) == list(range(1, 21))
    assert re.findall(r'<div class="column">(.*)</div>', page) == ["10⁻⁵", "10⁻⁴", "10⁻³", "10⁻²"]
    rows = re.findall(r'<div class="row">([^<]*)</div>', page)
    assert [row.split() for row in rows][1] == ["B:", "conv1_1", "+", "conv2_1"]
    assert re.findall(r"<td[^>]*>(.*?)</td>", page)[:3] == ["conv1_1", "1e-05", "3"]
    assert '<button type="button">α/β</button>' in page


def test_the_table_has_the_losses_by_layer(run, tmp_path, files, monkeypatch):
    monkeypatch.setattr(stylejax, "transfer", Calls())
    run("figure2", files["photo"], files["tall"])
    page = (tmp_path / "out" / "figure2.html").read_text("utf-8")
    heads = re.findall(r'<th scope="col"><button type="button">(.*?)</button>', page)
    assert heads == ["panel", "style", "loss", "content conv4_2", "style conv1_1", "evaluations", "seconds"]
    assert re.findall(r"<td[^>]*>(.*?)</td>", page)[:6] == ["B", "tall", "3", "1", "2", "2"]


def test_ctrl_c_keeps_what_is_done(run, tmp_path, files, monkeypatch, capsys):
    monkeypatch.setattr(stylejax, "transfer", Calls(fail_at=6))
    assert run("figure3", files["photo"]) == 130
    page = (tmp_path / "out" / "figure3.html").read_text("utf-8")
    assert shades(page_pictures(page)) == [1, 2, 3, 4, 5, 6]
    assert "Interrupted: 14 of 20 images are missing." in page
    assert (tmp_path / "out" / "figure3.png").is_file()
    assert "figure3: interrupted: 14 of 20 images are missing" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["figure1", "figure2"])
def test_the_other_figures_may_be_incomplete_too(name, run, tmp_path, files, monkeypatch):
    for function in ("transfer", "reconstruct_style", "reconstruct_content"):
        monkeypatch.setattr(stylejax, function, Calls(fail_at=1))
    assert run(name, files["photo"], *([files["tall"]] * 2 if name == "figure2" else [])) == 130
    assert "images are missing" in (tmp_path / "out" / f"{name}.html").read_text("utf-8")


def test_ctrl_c_before_the_first_picture_leaves_nothing(run, tmp_path, files, monkeypatch, capsys):
    monkeypatch.setattr(stylejax, "transfer", Calls(fail_at=0))
    assert run("figure2", files["photo"]) == 130
    assert list((tmp_path / "out").iterdir()) == []
    assert "figure2: interrupted before the first image" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.png"], "missing.png does not exist"),
        (["--size", "0"], "--size must be a whole number from 1 to 1000000000, got 0"),
        (["--size", "15"], "use a larger --size"),
        (["--steps", "many"], "many"),
        (["--weights", "vgg17"], "no weights file 'vgg17'"),
        (["--color", "red"], "--color"),
        (["-o", "/dev/null/figures"], "cannot make the folder"),
        (["--seed", "-1"], "--seed must be a whole number from 0 to 2^63 - 1, got -1"),
    ],
)
def test_bad_input_is_refused_in_one_line_before_the_work(name, words, message, run, tmp_path, monkeypatch, capsys):
    for function in ("transfer", "reconstruct_style", "reconstruct_content"):
        monkeypatch.setattr(stylejax, function, lambda *_, **__: pytest.fail("it was begun"))
    assert run(name, *words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    line = said.err.strip().splitlines()
    assert len(line) == 1 and line[0].startswith(f"{name}: error: ") and message in line[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("figure2", ["--style-weight", "-1"], "--style-weight must be 0 or from 1e-12 to 1e+12, got -1.0"),
        ("figure2", ["{photo}", *["{tall}"] * 26], "styles must be at most 25, one a letter, got 26; give fewer"),
        ("figure2", ["{photo}", "{small}"], "give a larger image"),
        ("figure1", ["{photo}", "--style", "{small}"], "the style image is 8×8 pixels"),
    ],
)
def test_bad_options_of_one_figure(name, words, message, run, files, tmp_path, capsys):
    assert run(name, *[word.format(**files) for word in words]) == 2
    line = capsys.readouterr().err.strip().splitlines()
    assert len(line) == 1 and message in line[0]
    assert not (tmp_path / "out").exists()


def test_the_artworks_are_pictures_of_the_asked_shape_and_unlike(script):
    night, glass, ink = (work.image for work in script("figure2").artworks(np.zeros((30, 60, 3), np.float32)))
    for image in (night, glass, ink):
        assert image.shape == (48, 96, 3) and image.dtype == np.float32
        assert image.min() >= 0 and image.max() <= 1 and image.std() > 0.1
    assert np.ptp(ink, -1).max() < 0.2 < np.ptp(night, -1).mean()
    assert abs(np.corrcoef(glass.mean(-1).ravel(), night.mean(-1).ravel())[0, 1]) < 0.8
    again = script("figure2").stained_glass(night)
    assert np.array_equal(again, glass)
