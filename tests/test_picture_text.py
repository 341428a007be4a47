"""A text in real picture files: what goes in comes out, the pixels stay, and files from anywhere do no harm."""

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageCms, PngImagePlugin

from stylejax.errors import InputError
from stylejax.images.io import FORMATS
from stylejax.images.metadata import MAX_CHARS, metadata_save_kwargs, read_metadata

TEXT = '{"name": "\\u00dc \\ud83d", "loss": 0.25, "quotes": "\'<&>\\\\"}'
SUFFIXES = [suffix for suffix, kind in FORMATS.items() if kind != "BMP"]
LOSSY = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}


@pytest.fixture
def pixels(generator: np.random.Generator) -> np.ndarray:
    return generator.integers(0, 256, (21, 34, 3), np.uint8)


def save(path: Path, pixels: np.ndarray, text: str) -> Path:
    """As `write_image` saves."""
    kind = FORMATS[path.suffix]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options = LOSSY.get(kind, {}) | metadata_save_kwargs(kind, text)
    Pillow.fromarray(pixels).save(path, kind, icc_profile=profile, **options)
    return path


def decoded(path: Path) -> np.ndarray:
    with Pillow.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("text", [TEXT, "x", "y" * 60_000], ids=["json", "short", "long"])
def test_a_text_goes_in_and_comes_out(tmp_path: Path, pixels: np.ndarray, suffix: str, text: str):
    assert read_metadata(save(tmp_path / f"a{suffix}", pixels, text)) == text


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_pixels_and_their_profile_are_those_without_a_text(tmp_path: Path, pixels: np.ndarray, suffix: str):
    plain, told = save(tmp_path / f"a{suffix}", pixels, ""), save(tmp_path / f"b{suffix}", pixels, TEXT)
    np.testing.assert_array_equal(decoded(plain), decoded(told))
    assert plain.read_bytes() != told.read_bytes() and read_metadata(plain) is None
    with Pillow.open(told) as image:
        assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"])))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_the_same_text_is_the_same_bytes_at_any_time(pixels: np.ndarray, kind: str):
    written = []
    for second in range(2):
        time.sleep(1.1 * second)
        buffer = io.BytesIO()
        Pillow.fromarray(pixels).save(buffer, kind, **metadata_save_kwargs(kind, TEXT))
        written.append(buffer.getvalue())
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("kind", "most"), [("PNG", MAX_CHARS), ("JPEG", 65_000), ("WEBP", MAX_CHARS), ("TIFF", MAX_CHARS), ("BMP", 0)]
)
def test_what_does_not_fit_is_left_out(tmp_path: Path, pixels: np.ndarray, kind: str, most: int):
    suffix = next(s for s, k in FORMATS.items() if k == kind)
    fits, does_not = "z" * most, "z" * (max(most, 65_000) + 1000)
    if kind in ("PNG", "WEBP", "TIFF"):
        does_not = "z" * (MAX_CHARS + 1)
    assert metadata_save_kwargs(kind, does_not) == {} == metadata_save_kwargs(kind, "")
    if most:
        assert read_metadata(save(tmp_path / f"a{suffix}", pixels, fits)) == fits
    assert read_metadata(save(tmp_path / f"b{suffix}", pixels, does_not)) is None


def test_png_has_an_international_text_chunk_with_our_keyword(tmp_path: Path, pixels: np.ndarray):
    data = save(tmp_path / "a.png", pixels, TEXT).read_bytes()
    chunk = b"iTXtstylejax\0\0\0\0\0" + TEXT.encode()
    assert chunk in data and data.index(chunk) < data.index(b"IDAT")


def test_other_programs_may_move_the_chunk_to_the_end(tmp_path: Path, pixels: np.ndarray):
    data = save(tmp_path / "a.png", pixels, TEXT).read_bytes()
    start = data.index(b"iTXt") - 4
    end = start + 12 + struct.unpack(">I", data[start : start + 4])[0]
    chunk, rest = data[start:end], data[:start] + data[end:]
    (tmp_path / "b.png").write_bytes(rest[:-12] + chunk + rest[-12:])
    assert read_metadata(tmp_path / "b.png") == TEXT


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif"])
def test_the_comment_of_a_camera_is_none_of_ours(tmp_path: Path, pixels: np.ndarray, suffix: str):
    exif, path = Pillow.Exif(), tmp_path / f"a{suffix}"
    exif[0x8769] = {0x9286: b"ASCII\0\0\0on holiday with stylejax {}"}
    told = {"tiffinfo": {270: "on holiday"}} if suffix == ".tif" else {"exif": exif.tobytes()}
    Pillow.fromarray(pixels).save(path, **told)
    assert read_metadata(path) is None


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "WEBP", "PNG"])
def test_a_picture_without_a_text_has_none(tmp_path: Path, pixels: np.ndarray, kind: str):
    Pillow.fromarray(pixels).save(tmp_path / "a", kind)
    assert read_metadata(tmp_path / "a") is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing.png", "nothing.png does not exist; give a result"),
        ("folder.png", "folder.png is a folder; give a result"),
        ("note.png", "note.png is not a PNG, JPEG, WebP, TIFF or BMP image; give a result of stylejax"),
        ("empty.png", "empty.png is not a PNG"),
        ("text.png", r"text.png has 1,048,577 characters of metadata, more than the 1,048,576 of any run"),
        ("bomb.png", "bomb.png cannot be read"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, pixels: np.ndarray, name: str, reason: str):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "note.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("stylejax", "x" * (MAX_CHARS + 1))
    Pillow.fromarray(pixels).save(tmp_path / "text.png", pnginfo=chunks)
    # A chunk of some kilobytes that says many megabytes.
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"zTXt", b"stylejax\0\0" + zlib.compress(bytes(2**24), 9))
    Pillow.fromarray(pixels).save(tmp_path / "bomb.png", pnginfo=chunks)
    with pytest.raises(InputError, match=reason) as caught:
        read_metadata(tmp_path / name)
    assert "\n" not in str(caught.value)


def put_right_checksums(data: bytearray) -> None:
    """So that a damaged PNG is read on."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + struct.unpack(">I", data[at : at + 4])[0]
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end])) if end + 4 <= len(data) else b""
        at = end + 4


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_pictures_give_a_text_or_one_line(tmp_path: Path, pixels: np.ndarray, suffix: str):
    whole = save(tmp_path / f"a{suffix}", pixels, TEXT).read_bytes()
    generator, path, read = np.random.default_rng(3), tmp_path / f"b{suffix}", 0
    for _ in range(300):
        data = bytearray(whole)
        # Most of what matters lies where the text is.
        middle = whole.index(b"stylejax")
        for place in generator.integers(max(0, middle - 200), middle + 60, generator.integers(1, 5)):
            data[place] = generator.integers(256)
        if suffix == ".png":
            put_right_checksums(data)
        path.write_bytes(bytes(data[: generator.integers(len(data))] if generator.random() < 0.2 else data))
        try:
            text = read_metadata(path)
            read += text is not None
        except InputError as error:
            assert "\n" not in str(error)
    assert 0 < read < 300
