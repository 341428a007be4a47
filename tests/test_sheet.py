"""The sheet: every picture unchanged at its place, text where it belongs, and a page that needs nothing but itself."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from stylejax.errors import InputError
from stylejax.sweeps import contact_sheet as sheet
from stylejax.sweeps.contact_sheet import Panel, cell_size, contact_sheet, enlarge, panels_sheet
from stylejax.sweeps.html import html_page, panels_page
from stylejax.sweeps.text import render_text

VOID = {"meta", "link", "img"}


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """No gray: text is."""
    return np.random.default_rng(seed).uniform(0.2, 0.8, (*shape, 3)).astype(np.float32)


def place(image: np.ndarray, picture: np.ndarray) -> tuple[int, int]:
    """The one corner at which the picture is found in the image, pixel by pixel."""
    h, w = picture.shape[:2]
    corners = np.argwhere((image == picture[0, 0]).all(-1))
    found = [(y, x) for y, x in corners.tolist() if np.array_equal(image[y : y + h, x : x + w], picture)]
    assert len(found) == 1
    return found[0]


def ink(image: np.ndarray) -> bool:
    return bool((image < 0.5).any())


@pytest.fixture
def grid() -> list[list[np.ndarray]]:
    return [[noise(40, 60, seed=3 * i + j) for j in range(3)] for i in range(2)]


TEXT = {
    "rows": ["first", "second"],
    "columns": ["one", "two", "three"],
    "caption": "what it is",
    "labels": [["a"] * 3] * 2,
}


@pytest.mark.parametrize("left_out", [(), ("columns",), ("caption",), ("labels",), ("columns", "caption", "labels")])
def test_every_picture_is_at_its_place_unchanged(grid, left_out):
    image = contact_sheet(grid, **{name: value for name, value in TEXT.items() if name not in left_out})
    places = np.array([[place(image, picture) for picture in line] for line in grid])
    downs, acrosses = places[..., 0], places[..., 1]
    assert (downs == downs[:, :1]).all() and (acrosses == acrosses[:1]).all()
    assert (np.diff(downs, axis=0) > 40).all() and len(set(np.diff(acrosses[0]))) == 1 and np.diff(acrosses[0])[0] > 60
    assert image.shape[0] > downs[-1, 0] + 40 and image.shape[1] > acrosses[0, -1] + 60
    assert image.dtype == np.float32


def test_text_is_where_it_belongs_and_nowhere_else(grid):
    image = contact_sheet(grid, **TEXT)
    (y, x), (last, _) = place(image, grid[0][0]), place(image, grid[1][0])
    right = place(image, grid[0][2])[1] + 60
    for line in (y, last):
        assert ink(image[line : line + 40, :x])
        assert all(ink(image[line + 40 : line + 58, x + k : x + k + 60]) for k in (0, right - x - 60))
    assert ink(image[:y, x : x + 60]) and ink(image[:y, right - 60 : right])
    assert ink(image[last + 60 :])
    assert not ink(image[:y, :x]) and not ink(image[:, right + 3 :]) and not ink(image[y + 58 : last])


@pytest.mark.parametrize("absent", ["columns", "caption", "labels"])
def test_text_that_is_absent_takes_no_room(grid, absent):
    without = contact_sheet(grid, **{name: value for name, value in TEXT.items() if name != absent})
    assert without.shape[0] < contact_sheet(grid, **TEXT).shape[0]


def test_without_titles_there_is_only_a_margin(grid):
    image = contact_sheet(grid, ["", ""])
    assert place(image, grid[0][0]) == (sheet.MIN_CELL, sheet.MIN_CELL)
    y, x = place(image, grid[1][2])
    assert image.shape == (y + 40 + sheet.MIN_CELL, x + 60 + sheet.MIN_CELL, 3)


def test_the_background_is_white_and_an_empty_cell_too(grid):
    grid[0][1] = None
    image = contact_sheet(grid, ["", ""])
    (y, x), (_, other) = place(image, grid[0][0]), place(image, grid[1][1])
    assert (image[y : y + 40, other : other + 60] == 1).all()
    assert (image[:y] == 1).all() and (image[:, :x] == 1).all()


def test_a_smaller_picture_is_enlarged_in_squares(grid):
    small = noise(10, 15, seed=9)
    grid[1][2] = small
    image = contact_sheet(grid, ["", ""])
    enlarged = small.repeat(4, 0).repeat(4, 1)
    assert place(image, enlarged) == (place(image, grid[1][0])[0], place(image, grid[0][2])[1])


def test_a_picture_of_another_shape_is_in_the_middle_of_its_cell(grid):
    tall = noise(40, 20, seed=9)
    grid[0][1] = tall
    image = contact_sheet(grid, ["", ""])
    y, x = place(image, tall)
    assert (y, x) == (place(image, grid[0][0])[0], place(image, grid[1][1])[1] + 20)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 40), st.integers(0, 40))
def test_enlarging_fills_the_cell_and_keeps_the_aspect_ratio(h, w, more_h, more_w):
    height, width = h + more_h, w + more_w
    picture = np.full((h, w, 3), 0.25, np.float32)
    enlarged = enlarge(picture, height, width)
    got_h, got_w = enlarged.shape[:2]
    assert got_h == height or got_w == width
    assert got_h <= height and got_w <= width
    assert abs(got_h / h - got_w / w) <= 0.51 * max(1 / h, 1 / w)
    np.testing.assert_allclose(enlarged, 0.25, atol=1e-6)


def test_the_cell_is_as_high_as_the_highest_and_as_wide_as_the_widest():
    assert cell_size([[noise(3, 9), None], [noise(5, 2), noise(4, 4)]]) == (5, 9)


def test_a_long_caption_is_wrapped_and_no_word_is_lost(grid):
    long = contact_sheet(grid, caption="several words in a long caption " * 8, rows=["", ""])
    short, none = contact_sheet(grid, caption="several", rows=["", ""]), contact_sheet(grid, rows=["", ""])
    assert long.shape[1] == short.shape[1] == none.shape[1]
    heights = [image.shape[0] - none.shape[0] for image in (short, long)]
    assert heights[1] > 3 * heights[0]
    assert ink(long[-2 * sheet.MIN_CELL :])


def test_lines_are_broken_where_the_text_breaks_them(grid):
    broken, whole = (contact_sheet(grid, ["", ""], columns=[text, "b", "c"]) for text in ("a\nb", "a b"))
    assert broken.shape[0] > whole.shape[0] and broken.shape[1] == whole.shape[1]


def test_words_stand_side_by_side_above_small_pictures_too():
    small = [[noise(16, 16)]]
    one, three = (contact_sheet(small, [""], [text]) for text in ("a", "a b c"))
    assert one.shape[0] == three.shape[0]


def test_a_word_wider_than_the_cell_widens_all_columns_alike(grid):
    labels = [["x" * 30, "", ""], ["", "", ""]]
    image = contact_sheet(grid, ["", ""], labels=labels)
    step = np.diff([place(image, picture)[1] for picture in grid[0]])
    assert step[0] == step[1] > 100
    assert not ink(image[:, -sheet.MIN_CELL :])


def test_text_grows_with_the_cells():
    def height(side):
        image = contact_sheet([[noise(side, side)]], [""], ["H"])
        lines = np.flatnonzero((image[: image.shape[0] - side] < 0.5).any((1, 2)))
        return np.ptp(lines[lines < image.shape[0] - side - sheet.MIN_CELL - 5]) + 1

    assert height(512) > 2.5 * height(128)


def test_the_same_sheet_is_the_same_bytes(grid):
    assert contact_sheet(grid, **TEXT).tobytes() == contact_sheet(grid, **TEXT).tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pictures": [[None, None]], "rows": [""]}, "pictures must contain at least one image"),
        ({"pictures": []}, "pictures must contain at least one image"),
        ({"rows": ["a"]}, "rows must have one title for each of the 2 rows, got 1"),
        ({"rows": []}, "rows must have one title for each of the 2 rows, got 0"),
        ({"columns": ["a"]}, "columns must have one title for each of the 3 columns, got 1"),
        ({"labels": [["a", "b", "c"]]}, r"labels must have rows of the lengths \[3, 3\], got \[3"),
        ({"labels": [["a", "b", "c"], ["a"]]}, r"labels must have rows of the lengths \[3, 3\], got \[3"),
        (
            {"pictures": [[noise(4, 4)], []]},
            r"pictures must have rows of one length, got \[1, 0\]; fill up shorter ones with None",
        ),
    ],
)
def test_what_does_not_agree_is_refused_by_both(grid, change, message):
    arguments = {"pictures": grid, **TEXT} | change
    for made in (contact_sheet, lambda **given: html_page(title="t", **given)):
        with pytest.raises(InputError, match=message):
            made(**arguments)


class Page(HTMLParser):
    """The contents of a page: elements with their attributes, and text by the element around it."""

    def __init__(self, page: str):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag: str) -> list[str]:
        return [data for name, data in self.texts if name == tag]


TABLE = [
    {"layer": "conv1_1", "loss": 1.23456789e-5, "steps": 3},
    {"layer": "b", "PSNR": np.float32(2.5), "loss": float("nan")},
]


def page(grid, **change) -> str:
    return html_page(**({"title": "T", "pictures": grid, **TEXT, "table": TABLE} | change))


def test_the_page_holds_the_pictures_at_their_size(grid):
    grid[1][0] = noise(10, 15, seed=8)
    images = [attributes for attributes in Page(page(grid)).all("img") if "src" in attributes]
    for attributes, picture in zip(images, [p for line in grid for p in line], strict=True):
        kind, data = attributes["src"].split(",")
        assert kind == "data:image/png;base64"
        decoded = np.asarray(Pillow.open(io.BytesIO(base64.b64decode(data, validate=True))))
        np.testing.assert_allclose(decoded / 255, picture, rtol=0, atol=0.5 / 255 + 1e-6)
        assert (int(attributes["height"]), int(attributes["width"])) == picture.shape[:2]
    assert [image.get("class") for image in images] == [None, None, None, "small", None, None]
    assert [image["alt"] for image in images][:2] == ["first, one, a", "first, two, a"]


def test_the_page_refers_to_nothing_else(grid):
    text = page(grid)
    for tag, attributes in Page(text).elements:
        for name in ("src", "href", "srcset", "action", "data", "background", "poster"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
    assert not any(word in text for word in ("://", "url(", "@import", "fetch(", "XMLHttp", "import("))
    policy = next(a["content"] for a in Page(text).all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.split(";")[:2] == ["default-src 'none'", " img-src data:"]


def test_every_text_is_escaped(grid):
    evil = "<script>alert('x')</script>&amp;\"'$caption"
    titles = {"title": evil, "caption": evil, "rows": [evil] * 2, "columns": [evil] * 3, "labels": [[evil] * 3] * 2}
    parsed = Page(page(grid, table=[{evil: evil}], **titles))
    assert len(parsed.all("script")) == 1
    assert parsed.text("title") == parsed.text("h1") == parsed.text("p") == parsed.text("td") == [evil]
    assert parsed.text("figcaption") == [evil] * 6
    assert parsed.text("div").count(evil) == 5
    assert evil in parsed.text("button")
    assert parsed.all("img")[0]["alt"] == f"{evil}, {evil}, {evil}"


def test_the_table_has_a_column_for_every_name_and_all_digits(grid):
    parsed = Page(page(grid))
    assert [text for text in parsed.text("button") if text.strip()] == ["layer", "loss", "steps", "PSNR"]
    assert parsed.text("td") == ["conv1_1", "1.235e-05", "3", "b", "nan", "2.5"]
    keys = [attributes.get("data-value") for attributes in parsed.all("td")]
    assert keys == [None, "1.23456789e-05", "3.0", None, None, None, None, "2.5"]


def test_a_page_without_a_table_and_without_titles(grid):
    parsed = Page(page(grid, table=(), columns=(), labels=None, caption=""))
    assert parsed.all("table") == [] and parsed.all("figcaption") == []
    assert len(parsed.all("img")) == 7


def test_an_empty_cell_of_the_page_is_empty(grid):
    grid[0][1] = None
    parsed = Page(page(grid))
    assert len(parsed.all("figure")) == 5
    assert parsed.all("img")[1]["alt"] == "first, three, a"


def test_the_page_is_for_light_and_dark_screens(grid):
    text = page(grid)
    assert "color-scheme: light dark" in text and "prefers-color-scheme: dark" in text


def test_small_multiples_are_sheets_under_each_other(grid):
    """Each under its heading; the caption once, below all."""
    panels = [Panel(grid, ["a", "b"], heading=heading) for heading in ("first", "second")]
    sheet_of_both = panels_sheet(panels, "a caption")
    alone = [
        contact_sheet(grid, ["a", "b"], heading="first"),
        contact_sheet(grid, ["a", "b"], (), "a caption", None, "second"),
    ]
    assert sheet_of_both.shape[0] == sum(image.shape[0] for image in alone)
    np.testing.assert_array_equal(sheet_of_both[: alone[0].shape[0]], alone[0])
    page = panels_page("title", "a caption", panels)
    assert page.count('<div class="grid"') == 2
    assert page.index("<h2>first</h2>") < page.index("<h2>second</h2>") < page.index("a caption")
    assert 'alt="second, b' in page


def test_the_font_has_the_letters_of_mathematics():
    box = render_text("\U0010ffff", 20, 100)
    for letter in "αβ×·≈→⁻⁵":
        drawn = render_text(letter, 20, 100)
        assert drawn.min() < 0.5 and (drawn.shape != box.shape or (drawn != box).any())
