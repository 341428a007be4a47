"""The rows of a sweep: which there are, and what is said of those that cannot be run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import noise_image

from stylejax.errors import InputError
from stylejax.sweeps import grid
from stylejax.sweeps.grid import SweepSpec, load_sweep

FILES = {"content": ("c.png",), "style": ("s.png",), "weights": ("narrow.h5",), "size": ("32",)}


@pytest.fixture(autouse=True)
def studio(desk: Path) -> Path:
    for seed, name in enumerate(("s.png", "t.png"), 1):
        noise_image(36, 33, seed).save(desk / name)
    return desk


def read(**options: tuple[str, ...]) -> SweepSpec:
    return load_sweep(None, FILES | options)


def toml(text: str, **options: tuple[str, ...]) -> SweepSpec:
    Path("grid.toml").write_text(text, encoding="utf-8")
    return load_sweep(Path("grid.toml"), options)


HEAD = 'content = "c.png"\nstyle = "s.png"\nweights = "narrow.h5"\nsize = 32\n'


def test_a_grid_is_the_product_of_what_is_listed():
    found = read(style_weight=("1e2", "1e3"), seed=("0", "1", "2"), style=("s.png", "t.png"))
    settings = [(str(row.styles[0]), row.config.style_weight, row.config.seed) for row in found.rows]
    assert settings == [(s, w, n) for s in ("s.png", "t.png") for w in (100.0, 1000.0) for n in (0, 1, 2)]
    assert [row.number for row in found.rows] == list(range(1, 13))
    assert found.invalid == []


def test_a_plus_joins_the_layers_the_scales_and_the_styles_of_one_row():
    found = read(style_layers=("conv1_1", "conv1_1+relu2_1"), style=("s.png+t.png",), scales=("16+24", "1"))
    assert [row.config.style_layers for row in found.rows[::2]] == [("conv1_1",), ("conv1_1", "conv2_1")]
    assert [row.config.scales for row in found.rows[:2]] == ["16,24", "1"]
    assert found.rows[0].styles == (Path("s.png"), Path("t.png"))
    assert found.rows[0].plan.workload.content == (40, 48, 3) and len(found.rows[0].plan.schedule[-1].style_sizes) == 2


def test_a_name_with_a_plus_is_a_file_if_it_is_there(studio: Path):
    (studio / "s.png").rename(studio / "a+b.png")
    assert read(style=("a+b.png",)).rows[0].styles == (Path("a+b.png"),)


def test_a_folder_stands_for_its_pictures(studio: Path):
    (studio / "photos").mkdir()
    names = ["a.png", "b.jpg", "d.gif", "e.ppm", "f,g.tga"]
    for name in names:
        noise_image(32, 32, 0).save(studio / "photos" / name)
    (studio / "photos" / "notes.txt").write_text("no picture")
    with pytest.warns(UserWarning, match="left out of photos, as no images: notes.txt"):
        rows = read(content=("photos", "c.png")).rows
    assert [row.content.name for row in rows] == [*names, "c.png"]
    assert [row.name for row in rows] == ["a", "b", "d", "e", "f,g", "c"]
    (studio / "none").mkdir()
    with pytest.raises(
        InputError, match="content must be an image or a folder with images, got the folder none without images"
    ):
        read(content=("none",))


def test_names_tell_what_varies():
    assert [row.name for row in read(style=("s.png", "t.png")).rows] == ["c_s", "c_t"]
    assert [row.name for row in read(style=("s.png", "s.png+t.png")).rows] == ["c_s", "c_s+t"]
    several = read(style_layers=("conv1_1", "conv1_1+conv2_1"), seed=("0", "7")).rows
    assert [row.name for row in several][::3] == [
        "c_style-layers-conv1_1_seed-0",
        "c_style-layers-conv1_1+conv2_1_seed-7",
    ]
    assert read().rows[0].name == "c"


@pytest.mark.parametrize(
    "names", [["a.png", "a.jpg", "A.bmp"], ["x" * 200 + f"{i}.png" for i in range(3)], ["sheet.png"]]
)
def test_names_differ_even_where_letters_are_one(studio: Path, names: list[str]):
    for name in names:
        noise_image(32, 32, 0).save(studio / name)
    found = [row.name for row in read(content=tuple(names)).rows]
    assert len({name.casefold() for name in found} | {"sheet"}) == len(names) + 1
    assert all(len(f"{name}.png".encode()) < 128 for name in found)


def test_a_file_is_a_product_or_rows():
    product = toml(HEAD + "style_weight = [1, 1e3]\nseed = [0, 1]")
    assert [(r.config.style_weight, r.config.seed) for r in product.rows] == [(1, 0), (1, 1), (1000, 0), (1000, 1)]
    rows = toml(HEAD + "tv_weight = 0.5\n[[row]]\nseed = 3\n[[row]]\nseed = [4, 5]\nstyle = [['s.png', 't.png']]")
    assert [(r.config.tv_weight, r.config.seed, len(r.styles)) for r in rows.rows] == [
        (0.5, 3, 1),
        (0.5, 4, 2),
        (0.5, 5, 2),
    ]


def test_the_command_line_takes_the_place_of_the_file():
    found = toml(HEAD + "seed = [0, 1]\n[[row]]\nseed = 7", size=("24",), seed=("8", "9"))
    assert [(row.config.size, row.config.seed) for row in found.rows] == [(24, 8), (24, 9)]


def test_a_file_names_pictures_from_its_own_folder(studio: Path, monkeypatch: pytest.MonkeyPatch):
    (studio / "grid.toml").write_text(HEAD + 'init = ["c.png", "noise"]')
    (studio / "elsewhere").mkdir()
    monkeypatch.chdir(studio / "elsewhere")
    found = load_sweep(Path("../grid.toml"), {})
    assert [row.config.init for row in found.rows] == ["../c.png", "noise"]
    assert found.invalid == []


def test_a_preset_gives_the_other_settings():
    found = read(preset=("default", "paper"), style_weight=("5",))
    assert [(r.config.scales, r.config.init, r.config.style_weight) for r in found.rows] == [
        ("auto", "content", 5.0),
        ("1", "noise", 5.0),
    ]


def test_bad_rows_are_all_named_and_the_others_kept():
    """200 rows, of which one has no file, one no number, and one no layer."""
    bad = {17: "content = 'gone.png'", 90: "style_weight = nan", 161: "style_layers = [['conv9_1']]"}
    found = toml(HEAD + "".join(f"[[row]]\nseed = {n}\n{bad.get(n, '')}\n" for n in range(1, 201)))
    assert [row.number for row in found.rows] == [n for n in range(1, 201) if n not in bad]
    said = found.error_message()
    assert said.startswith("3 of 200 rows cannot be run. Row 17: gone.png does not exist; check the name of the file.")
    assert "Row 90: --style-weight must be 0 or from 1e-12 to 1e+12, got nan." in said
    assert "Row 161: unknown layer 'conv9_1'" in said and said.count("Row") == 3


def test_rows_with_the_same_fault_are_named_together():
    found = read(seed=("0", "1", "-1"), style=("s.png", "gone.png"))
    assert found.error_message().startswith(
        "4 of 6 rows cannot be run. Rows 3, 6: --seed must be a whole number from 0 to 2^63 - 1, got -1"
    )
    assert "Rows 4, 5: gone.png does not exist" in found.error_message()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"seed": ("x",)}, "--seed must be a whole number, got 'x'"),
        ({"size": ("1.5",)}, "--size must be a whole number or 'content', got '1.5'"),
        ({"style_weight": ("many",)}, "--style-weight must be a number, got 'many'"),
        ({"style_weight": ("-1",)}, "--style-weight must be 0 or from 1e-12 to 1e+12, got -1.0"),
        ({"optimizer": ("sgd",)}, "--optimizer must be one of lbfgs, adam, got 'sgd'"),
        ({"weights": ("gone.h5",)}, "no weights file 'gone.h5'"),
        ({"init": ("gone.png",)}, "gone.png does not exist"),
        ({"preset": ("papre",)}, r"unknown preset 'papre' (did you mean 'paper'?)"),
        ({"size": ("12",)}, "layer conv5_1 needs at least 16 pixels a side"),
        ({"content": ("c.png+s.png",)}, "c.png+s.png does not exist"),
    ],
)
def test_what_is_wrong_with_a_row_is_told(options: dict, reason: str):
    found = read(**options)
    assert found.rows == [] and reason in found.invalid[0].reason


def test_a_row_needs_a_content_and_a_style():
    assert "content must be one image" in toml("size = 32").invalid[0].reason
    assert "no style image was given" in toml('content = "c.png"\nweights = "narrow.h5"\nsize = 32').invalid[0].reason
    assert toml('content = "c.png"\nweights = "narrow.h5"\nsize = 32\nstyle_weight = 0').invalid == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed = 1", r"unknown setting 'sed' \(did you mean 'seed'\?\); see stylejax sweep --help"),
        ("seed = ", "grid.toml is not TOML"),
        ("seed = " + "[" * 2000, r"grid.toml is not TOML \(maximum recursion depth exceeded"),
        ("row = 3", r"a row must be a table, with \[\[row\]\] above it"),
        ("seed = []", "seed must list one or more values, got none"),
        ("content = 3", "content must be the name of an image or of a folder, got 3"),
        ("[content]\na = 1", "content must be the name of an image or of a folder, got .*"),
    ],
)
def test_a_file_that_is_no_grid_is_refused(text: str, message: str):
    with pytest.raises(InputError, match=message) as caught:
        toml(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="gone.toml does not exist; give a TOML file with settings"):
        load_sweep(Path("gone.toml"), {})


def test_a_product_beyond_all_bounds_is_refused_before_it_is_made():
    many = tuple(map(str, range(1000)))
    with pytest.raises(InputError, match="a sweep must have at most 100,000 rows, got 1,000,000,000 or more; list"):
        read(seed=many, steps=many, history=many)


def test_a_picture_is_read_once_even_where_it_is_missing(monkeypatch: pytest.MonkeyPatch):
    seen: list[str] = []

    def look(path: Path) -> tuple[np.ndarray, None]:
        seen.append(path.name)
        return original(path)

    original: Callable = grid.read_image_with_alpha
    monkeypatch.setattr(grid, "read_image_with_alpha", look)
    found = read(seed=("0", "1", "2"), style=("s.png", "gone.png"))
    assert sorted(seen) == ["c.png", "gone.png", "s.png"]
    assert len(found.rows) == 3


def test_random_networks_are_those_of_their_seeds():
    found = read(weights=("random",), seed=("0", "1"))
    assert [row.network for row in found.rows] == [("random", 0), ("random", 1)]
    a, b = (found.networks[row.network][0].layers["conv1_1"].kernel for row in found.rows)
    assert not np.array_equal(a, b)
