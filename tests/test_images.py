"""Picture files: whatever kind Pillow reads becomes the right array, whatever is no picture becomes one clear line."""

import io
import os
import re
import stat
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageCms

from stylejax.errors import InputError
from stylejax.images import decode
from stylejax.images import io as images
from stylejax.images.io import FORMATS, check_writable_image, read_image, read_stored, write_image
from stylejax.images.resize import fit_longest_side, resize

PNG = b"\x89PNG\r\n\x1a\n"
LEVEL = 1 / 255
LOSSLESS = sorted(set(FORMATS) - {".jpg", ".jpeg", ".webp"})


def blocks(rows: int = 2, columns: int = 3, side: int = 16) -> np.ndarray:
    """Flat squares, each of its own color, in 8 bits: JPEG keeps them, and any rotation shows."""
    colors = np.random.default_rng(5).integers(0, 256, (rows, columns, 3), np.uint8)
    return colors.repeat(side, 0).repeat(side, 1)


def levels(height: int = 7, width: int = 5, channels: tuple[int, ...] = (3,)) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, *channels), np.uint8)


def encoded(image: Pillow.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, color: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file from its specification. `rows` come with their filter bytes."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return PNG + b"".join(chunk(*part) for part in parts)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def deep_png(values: np.ndarray, color: int) -> bytes:
    """16 bits a sample, big-endian."""
    return png(values.shape[1], values.shape[0], 16, color, rows(values.astype(">u2")))


def rows(values: np.ndarray) -> bytes:
    """The rows of a PNG without a filter."""
    return b"".join(b"\0" + row.tobytes() for row in values)


@pytest.fixture
def put(tmp_path: Path):
    """Writes bytes to a file and gives its path."""

    def write(data: bytes, name: str = "picture.png") -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def gray(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, -1)


def over_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    a = alpha[..., None] / 255
    return (color * a + 255 * (1 - a)) / 255


def assert_close(array: np.ndarray, expected: np.ndarray, levels_off: float) -> None:
    assert array.dtype == np.float32
    assert array.shape == expected.shape
    np.testing.assert_allclose(array, expected, rtol=0, atol=levels_off * LEVEL + 1e-6)


# Images that must work


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
def test_lossless_files_are_read_exactly(put, kind: str):
    pixels = levels()
    assert_close(read_image(put(encoded(Pillow.fromarray(pixels), kind))), pixels / 255, 0)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "MPO"])
def test_lossy_files_are_read_closely(put, kind: str):
    options = {"quality": 100, **({"subsampling": 0} if kind != "WEBP" else {"lossless": True})}
    pixels = blocks()
    assert_close(read_image(put(encoded(Pillow.fromarray(pixels), kind, **options))), pixels / 255, 2)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_gray(put, kind: str):
    pixels = levels(channels=())
    assert_close(read_image(put(encoded(Pillow.fromarray(pixels), kind))), gray(pixels / 255), 0)


def test_one_bit(put):
    bits = levels(channels=()) > 127
    assert_close(read_image(put(encoded(Pillow.fromarray(bits)))), gray(bits.astype(float)), 0)


def test_gray_with_transparency_lies_over_white(put):
    pixels = levels(channels=(2,))
    image = Pillow.fromarray(pixels, "LA")
    expected = over_white(gray(pixels[..., 0].astype(float)), pixels[..., 1])
    assert_close(read_image(put(encoded(image))), expected, 1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_rgba_lies_over_white(put, kind: str):
    pixels = levels(channels=(4,))
    pixels[0, 0, 3], pixels[0, 1, 3] = 0, 255
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    array = read_image(put(encoded(Pillow.fromarray(pixels, "RGBA"), kind, **options)))
    assert_close(array, over_white(pixels[..., :3].astype(float), pixels[..., 3]), 1)
    np.testing.assert_array_equal(array[0, 0], 1)


def palette_image() -> tuple[Pillow.Image, np.ndarray]:
    colors = levels(4, 1)[:, 0]
    index = levels(7, 5, ()) % 4
    image = Pillow.fromarray(index, "P")
    image.putpalette(colors.tobytes())
    return image, colors[index]


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette(put, kind: str):
    image, pixels = palette_image()
    assert_close(read_image(put(encoded(image, kind))), pixels / 255, 0)


def test_palette_with_one_transparent_color(put):
    image, pixels = palette_image()
    clear = np.asarray(image) == 2
    assert_close(read_image(put(encoded(image, transparency=2))), np.where(clear[..., None], 1, pixels / 255), 0)


def test_palette_with_alpha_for_each_color(put):
    image, pixels = palette_image()
    alpha = np.array([0, 100, 255, 7], np.uint8)
    expected = over_white(pixels.astype(float), alpha[np.asarray(image)])
    assert_close(read_image(put(encoded(image, transparency=alpha.tobytes()))), expected, 1)


def test_rgb_with_one_transparent_color(put):
    pixels = levels()
    expected = pixels / 255
    expected[2, 3] = 1
    data = encoded(Pillow.fromarray(pixels), transparency=tuple(map(int, pixels[2, 3])))
    assert_close(read_image(put(data)), expected, 0)


def test_cmyk_jpeg(put):
    cmyk = np.zeros((16, 64, 4), np.uint8)
    for i, ink in enumerate([(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)]):
        cmyk[:, 16 * i : 16 * i + 16] = ink
    expected = np.array([(1, 1, 1), (0, 1, 1), (1, 0, 0), (0, 0, 0)], float)
    array = read_image(put(encoded(Pillow.fromarray(cmyk, "CMYK"), "JPEG", quality=100, subsampling=0)))
    assert_close(array[8, 8::16], expected, 3)


@pytest.mark.parametrize("brightest", [1, 200, 30_000, 65_535])
def test_gray_of_16_bits_is_out_of_65535_however_dark_it_is(put, brightest: int):
    values = np.linspace(0, brightest, 35).reshape(7, 5).astype(np.uint16)
    assert_close(read_image(put(deep_png(values, 0))), gray(values / 65535), 0)


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_tiff_of_16_bits(put, order: str):
    values = np.linspace(0, 65535, 35).reshape(7, 5).astype(order)
    mode = "I;16" if order == "<u2" else "I;16B"
    image = Pillow.frombytes(mode, (5, 7), values.tobytes())
    assert_close(read_image(put(encoded(image, "TIFF"))), gray(values.astype(float) / 65535), 0)


def test_rgb_of_16_bits(put):
    values = np.random.default_rng(2).integers(0, 65536, (7, 5, 3), np.uint16)
    assert_close(read_image(put(deep_png(values, 2))), values / 65535, 1)


def test_rgba_of_16_bits(put):
    values = np.random.default_rng(2).integers(0, 65536, (7, 5, 4), np.uint16)
    expected = over_white(values[..., :3] / 257, values[..., 3] / 257)
    assert_close(read_image(put(deep_png(values, 6))), expected, 2)


@pytest.mark.parametrize("full", [1, 255, 65535])
def test_floating_point_tiff(put, full: int):
    values = np.linspace(0, 1, 35, dtype=np.float32).reshape(7, 5)
    assert_close(read_image(put(encoded(Pillow.fromarray(values * full), "TIFF"))), gray(values), 0.01)


def test_floating_point_that_is_not_finite_is_black(put):
    values = np.array([[0.5, np.nan], [np.inf, -np.inf]], np.float32)
    assert_close(read_image(put(encoded(Pillow.fromarray(values), "TIFF")))[..., 0], np.array([[0.5, 0], [0, 0]]), 0)


UPRIGHT = {
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x.transpose(1, 0, 2), 2),
    8: np.rot90,
}
"""The stored pixels of each EXIF orientation, by its definition."""


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_rotated_jpeg_is_turned_upright(put, orientation: int):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = encoded(Pillow.fromarray(blocks()), "JPEG", quality=100, subsampling=0, exif=exif)
    assert_close(read_image(put(data)), UPRIGHT[orientation](blocks()) / 255, 2)


DAMAGED_EXIF = {
    "no end": encoded(Pillow.fromarray(levels()), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"),
    "no TIFF": encoded(Pillow.fromarray(levels()), exif=b"Exif\0\0garbage that is no TIFF"),
    "WebP": encoded(Pillow.fromarray(levels()), "WEBP", lossless=True, exif=b"garbage that is no TIFF"),
    "no hex": png(5, 7, 8, 2, rows(levels()), (b"tEXt", b"Raw profile type exif\0\nexif\n 4\nxyz!")),
    "16 bits": png(5, 7, 16, 2, rows(levels().astype(">u2") * 257), (b"eXIf", b"garbage that is no TIFF")),
}


DAMAGED_CHUNKS = {
    "a short size": (b"pHYs", b"\0\1", True),
    "a wrong checksum": (b"tEXt", b"a\0b", False),
    "a short transparency": (b"tRNS", b"\0", True),
    "a short gamma": (b"gAMA", b"\0", True),
    "a profile without a name": (b"iCCP", b"", True),
    "a text that fills the memory": (b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000)), True),
    "a short animation": (b"acTL", b"\0", True),
}


@pytest.mark.parametrize("kind", DAMAGED_CHUNKS)
def test_a_sound_png_with_damaged_chunks_is_read_with_the_others(put, kind: str):
    """Its orientation is that of the sound EXIF data beside the damage; damaged pixels are refused."""
    exif = Pillow.Exif()
    exif[0x0112] = 6
    data = encoded(Pillow.fromarray(levels(20, 24)), exif=exif)
    expected = read_image(put(data))
    name, content, right = DAMAGED_CHUNKS[kind]
    damage = chunk(name, content) if right else chunk(name, content)[:-4] + bytes(4)
    with pytest.warns(UserWarning, match="picture.png has damaged data beside its pixels; they are left aside"):
        found = read_image(put(data[:33] + damage + data[33:]))
    np.testing.assert_array_equal(found, expected)
    assert found.shape == (24, 20, 3)
    pixels = bytearray(data)
    pixels[data.index(b"IDAT") + 9] ^= 255
    with pytest.raises(InputError, match="picture.png is damaged"):
        read_image(put(bytes(pixels)))


def test_a_profile_that_cannot_be_decompressed_is_noted(put):
    data = encoded(Pillow.fromarray(levels(20, 24)))
    with pytest.warns(UserWarning, match="picture.png has a color profile that cannot be used; it is left aside"):
        read_image(put(data[:33] + chunk(b"iCCP", b"x\0\0garbage") + data[33:]))


@pytest.mark.parametrize("kind", DAMAGED_EXIF)
def test_damaged_exif_is_left_aside_and_it_says_so(put, kind: str):
    path = put(DAMAGED_EXIF[kind])
    with pytest.warns(UserWarning, match="picture.png has EXIF data that cannot be read; they are left aside") as notes:
        array = read_image(path)
    assert len(notes) == 1
    assert_close(array, levels() / 255, 0)


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile_with_red_and_green_exchanged() -> bytes:
    """sRGB, whose table of tags is edited: what it calls red is green."""
    profile = srgb_profile()
    table = profile[128:].replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ", 1).replace(b"????", b"gXYZ", 1)
    return profile[:128] + table


def gray_profile() -> bytes:
    """Gray of gamma 1.75, byte by byte from the specification."""
    white, gamma = struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D), struct.pack(">IH", 1, 0x1C0)
    tags = {b"wtpt": b"XYZ \0\0\0\0" + white, b"kTRC": b"curv\0\0\0\0" + gamma + b"\0\0"}
    offset, table, data = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        table += name + struct.pack(">II", offset + len(data), len(tag))
        data += tag
    head = struct.pack(">I4sI4s4s4s", offset + len(data), b"none", 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + white
    return head.ljust(128, b"\0") + table + data


def test_a_profile_is_converted_to_srgb(put):
    pixels = levels()
    data = encoded(Pillow.fromarray(pixels), icc_profile=profile_with_red_and_green_exchanged())
    assert_close(read_image(put(data)), pixels[..., [1, 0, 2]] / 255, 2)


def test_the_profile_of_srgb_changes_nothing(put):
    pixels = levels()
    assert_close(read_image(put(encoded(Pillow.fromarray(pixels), icc_profile=srgb_profile()))), pixels / 255, 1)


def test_a_gray_profile_is_converted_to_srgb(put):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    linear = (values / 255) ** 1.75
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    data = encoded(Pillow.fromarray(values), icc_profile=gray_profile())
    assert_close(read_image(put(data)), gray(expected), 2)


def test_a_profile_counts_for_palettes_and_transparent_pictures(put):
    image, pixels = palette_image()
    profile = profile_with_red_and_green_exchanged()
    assert_close(read_image(put(encoded(image, icc_profile=profile))), pixels[..., [1, 0, 2]] / 255, 2)
    pixels = levels(channels=(4,))
    expected = over_white(pixels[..., [1, 0, 2]].astype(float), pixels[..., 3])
    assert_close(read_image(put(encoded(Pillow.fromarray(pixels), icc_profile=profile))), expected, 2)


@pytest.mark.parametrize("profile", [b"no profile at all", srgb_profile()[:200], gray_profile()])
def test_a_profile_that_is_damaged_or_of_another_kind_is_left_aside(put, profile: bytes):
    pixels = levels()
    with pytest.warns(UserWarning, match="has a color profile that cannot be used; it is left aside"):
        array = read_image(put(encoded(Pillow.fromarray(pixels), icc_profile=profile)))
    assert_close(array, pixels / 255, 0)


def test_a_profile_on_deep_gray_is_left_aside(put):
    values = np.linspace(0, 65535, 35).reshape(7, 5).astype(np.uint16)
    image = Pillow.fromarray(values)
    with pytest.warns(UserWarning, match="has a color profile that cannot be used; it is left aside"):
        array = read_image(put(encoded(image, icc_profile=gray_profile())))
    assert_close(array, gray(values / 65535), 0)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken_and_it_says_so(put, kind: str):
    frames = [Pillow.new("RGB", (20, 10), color) for color in ("red", "lime", "blue")]
    path = put(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    with pytest.warns(UserWarning, match="picture.png has 3 frames; the first is taken"):
        array = read_image(path)
    assert_close(array, np.broadcast_to(np.array([1.0, 0, 0]), (10, 20, 3)), 4)


def test_the_second_picture_of_a_phone_is_no_animation(put):
    photo, gain_map = Pillow.fromarray(blocks()), Pillow.new("RGB", (8, 8), "red")
    data = encoded(photo, "MPO", save_all=True, append_images=[gain_map], quality=100, subsampling=0)
    assert_close(read_image(put(data)), blocks() / 255, 2)


def test_bytes_after_the_end_of_a_jpeg_are_ignored(put):
    data = encoded(Pillow.fromarray(blocks()), "JPEG", quality=100, subsampling=0)
    assert_close(read_image(put(data + b"a thousand more bytes" * 50)), blocks() / 255, 2)


@pytest.mark.parametrize("name", ["with spaces.png", "Grüße — 星月夜.png", "no suffix", "wrong.jpg", "-dash.png"])
def test_the_name_of_a_file_does_not_matter(put, name: str):
    pixels = levels()
    assert_close(read_image(put(encoded(Pillow.fromarray(pixels)), name)), pixels / 255, 0)
    assert_close(read_image(str(put(encoded(Pillow.fromarray(pixels)), name))), pixels / 255, 0)


LARGE = {
    "RGB.png": {},
    "L.png": {},
    "1.png": {},
    "P.png": {},
    "RGBA.png": {},
    "I;16.png": {},
    "RGB.tif": {},
    "CMYK.tif": {},
    "RGB.webp": {"lossless": True},
    "RGB.jpg": {"quality": 100, "subsampling": 0},
    "L.jpg": {"quality": 100, "progressive": True},
    "CMYK.jpg": {"quality": 100, "subsampling": 0},
    "RGB.mpo": {"quality": 100, "subsampling": 0},
}
"""Modes and formats, and how to keep the pixels."""


@pytest.mark.parametrize("name", LARGE)
def test_a_very_large_picture_is_read_at_the_mean_of_its_pixels(put, monkeypatch: pytest.MonkeyPatch, name: str):
    """Upright too, and exactly where the result of a run is compared."""
    mode, exif = name.partition(".")[0], Pillow.Exif()
    exif[0x0112] = 6
    image = Pillow.fromarray(blocks(3, 4, 16))
    image = Pillow.fromarray(levels(48, 64, ()).astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    path = put(b"", name)
    image.save(path, **LARGE[name], **({} if mode == "I;16" else {"exif": exif}))
    full, alpha = read_stored(path)
    monkeypatch.setattr(decode, "MAX_PIXELS", full.shape[0] * full.shape[1] // 3)
    with pytest.warns(UserWarning, match=r"is read with 8 bits at 1/2 of its size: \d+×\d+ of \d+×\d+ pixels"):
        half, half_alpha = read_stored(path)
    h, w, _ = half.shape
    assert (2 * h, 2 * w) == full.shape[:2]
    assert_close(half, full.reshape(h, 2, w, 2, 3).mean((1, 3)), 4)
    assert (alpha is None) == (half_alpha is None)
    with pytest.raises(InputError, match="is too large .* to be compared: the limit is 1,024 pixels"):
        read_stored(path, whole=True)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_photograph_of_102_megapixels_is_read(put, suffix: str):
    path = put(b"", f"large.{suffix}")
    Pillow.new("L", (11_648, 8736), 77).save(path)
    with pytest.warns(
        UserWarning, match=f"large.{suffix} is read with 8 bits at 1/2 of its size: 5824×4368 of 11648×8736 pixels"
    ):
        array = read_image(path)
    assert array.shape == (4368, 5824, 3) and array.min() == array.max() == np.float32(77) / np.float32(255)


def test_one_pixel_is_a_picture(put):
    assert read_image(put(encoded(Pillow.new("RGB", (1, 1))))).shape == (1, 1, 3)


# Refusals


def refusal(path: str | Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(InputError) as caught:
        read_image(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message and ";" in message
    return message


def test_a_missing_file_is_refused(tmp_path: Path):
    assert "does not exist" in refusal(tmp_path / "nothing.png")


def test_a_folder_is_refused(tmp_path: Path):
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["x" * 300, "file/below"])
def test_an_impossible_name_is_refused(put, tmp_path: Path, name: str):
    put(b"a file", "file")
    assert re.search("cannot be used|does not exist", refusal(tmp_path / name))


def test_an_empty_file_is_refused(put):
    assert "zero bytes" in refusal(put(b""))


def test_text_is_refused(put):
    assert "is not an image file" in refusal(put(b"This is not a picture."))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(put, kind: str, share: float):
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    data = encoded(Pillow.fromarray(noise), kind)
    assert "damaged" in (message := refusal(put(data[: int(share * len(data))]))) or "not an image file" in message


def test_a_png_with_a_wrong_checksum_is_refused(put):
    data = bytearray(encoded(Pillow.fromarray(levels(60, 60))))
    data[data.index(b"IDAT") + 40] ^= 0xFF
    assert "damaged" in refusal(put(bytes(data)))


def test_a_header_that_claims_too_much_is_refused(put):
    assert "too large" in refusal(put(png(60000, 60000, 8, 2, b"\0" * 100)))


@pytest.mark.parametrize("side", [16400, 50_000])
def test_a_small_file_of_a_huge_flat_picture_is_refused(put, side: int):
    rows = b"\0" * ((side // 8 + 1) * side)
    data = png(side, side, 1, 0, rows)
    assert len(data) < 1_000_000
    assert f"would take {8 * side**2 / 2**30:.1f} GiB of memory, and the limit is 2.0" in refusal(put(data))


def test_a_file_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch, put):
    monkeypatch.setattr(images, "MAX_BYTES", 1000)
    assert "larger than 1,000 bytes" in refusal("/dev/zero")
    assert_close(read_image(put(encoded(Pillow.new("RGB", (2, 2))))), np.zeros((2, 2, 3)), 0)


def tiny(kind: str) -> bytes:
    image = Pillow.fromarray(levels(9, 12))
    exif = Pillow.Exif()
    exif[0x0112] = 6
    options = {"exif": exif.tobytes(), "icc_profile": srgb_profile()} if kind in ("PNG", "JPEG", "WEBP") else {}
    return encoded(image.convert("P") if kind == "GIF" else image, kind, **options)


def mutated(data: bytes, generator: np.random.Generator) -> bytes:
    """Some bytes changed, mostly near the beginning where the headers are; or cut; or with bytes in the middle."""
    changed = bytearray(data)
    for _ in range(generator.integers(1, 8)):
        end = len(changed) if generator.random() < 0.5 else min(64, len(changed))
        changed[generator.integers(end)] = generator.choice([0, 1, 127, 128, 255, int(generator.integers(256))])
    cut = generator.integers(1, len(changed))
    return bytes((changed, changed[:cut], changed[:cut] + generator.bytes(9) + changed[cut:])[generator.integers(3)])


def with_right_checksums(data: bytes) -> bytes:
    """A PNG decoder looks no further than a wrong checksum."""
    parts, at = [], len(PNG)
    while at + 8 < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        parts.append(chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return data[: len(PNG)] + b"".join(parts)


@pytest.mark.filterwarnings("ignore:.*(frames; the first|left aside|of its size)")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_damaged_bytes_are_read_or_refused(monkeypatch: pytest.MonkeyPatch, put, kind: str):
    monkeypatch.setattr(decode, "MAX_MEMORY", 2**23)
    generator, data, refused = np.random.default_rng(8), tiny(kind), 0
    for _ in range(150):
        damaged = mutated(data, generator)
        path = put(with_right_checksums(damaged) if kind == "PNG" else damaged)
        try:
            array = read_image(path)
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert array.dtype == np.float32 and array.ndim == 3 and array.shape[-1] == 3
            assert array.size == 0 or (array.min() >= 0 and array.max() <= 1)
    assert 0 < refused < 150


# Writing


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_what_is_written_without_loss_is_read(tmp_path: Path, suffix: str):
    pixels = levels()
    write_image(tmp_path / f"a{suffix}", pixels.astype(np.float32) / 255)
    assert_close(read_image(tmp_path / f"a{suffix}"), pixels / 255, 0)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp", ".JPG", ".PNG"])
def test_what_is_written_with_loss_is_nearly_read(tmp_path: Path, suffix: str):
    write_image(tmp_path / f"a{suffix}", blocks().astype(np.float32) / 255)
    assert_close(read_image(tmp_path / f"a{suffix}")[8::16, 8::16], blocks()[8::16, 8::16] / 255, 8)


def stored(path: Path) -> np.ndarray:
    with Pillow.open(path) as image:
        return np.asarray(image)


def test_values_are_rounded_and_clipped(tmp_path: Path):
    values = np.array([-3, -0.001, 0.49 / 255, 0.51 / 255, 99.6 / 255, 254.6 / 255, 1.2, 7], np.float32)
    write_image(tmp_path / "a.png", np.repeat(values[None, :, None], 3, -1))
    assert stored(tmp_path / "a.png")[0, :, 0].tolist() == [0, 0, 0, 1, 100, 255, 255, 255]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_what_is_written_is_tagged_as_srgb(tmp_path: Path, suffix: str):
    write_image(tmp_path / f"a{suffix}", np.zeros((4, 4, 3), np.float32))
    with Pillow.open(tmp_path / f"a{suffix}") as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)


def test_jpeg_keeps_the_colors_of_every_pixel(tmp_path: Path):
    write_image(tmp_path / "a.jpg", np.zeros((16, 16, 3), np.float32))
    with Pillow.open(tmp_path / "a.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


def test_the_same_image_is_written_as_the_same_bytes_at_any_time(tmp_path: Path):
    written = []
    for second in range(2):
        time.sleep(second)
        for suffix in FORMATS:
            write_image(tmp_path / f"a{suffix}", blocks().astype(np.float32) / 255)
        written.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert written[0] == written[1]


@pytest.mark.parametrize("broken", ["os.replace", "os.fsync"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str):
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.png"
    path.write_bytes(b"the old picture")
    monkeypatch.setattr(f"stylejax.files.{broken}", fail)
    with pytest.raises(InputError, match="cannot write .*a.png: No space left on device; choose"):
        write_image(path, np.zeros((4, 4, 3), np.float32))
    assert path.read_bytes() == b"the old picture"
    assert os.listdir(tmp_path) == ["a.png"]


def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "a.png"
    path.write_bytes(b"the old picture")
    monkeypatch.setattr("stylejax.files.os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_image(path, np.zeros((4, 4, 3), np.float32))
    assert path.read_bytes() == b"the old picture"
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, umask: int, mode: int):
    before = os.umask(umask)
    try:
        write_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.float32))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == mode


def test_a_name_as_long_as_names_can_be(tmp_path: Path):
    name = "x" * 251 + ".png"
    write_image(tmp_path / name, np.zeros((4, 4, 3), np.float32))
    assert os.listdir(tmp_path) == [name]


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="cannot write .*a.webp"):
        write_image(tmp_path / "a.webp", np.zeros((1, 17000, 3), np.float32))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a", "its name should end in one of .png .jpg"),
        ("a.xyz", "its name should end in one of"),
        ("a.gif", "its name should end in one of"),
        ("", "its name should end in one of"),
        ("folder.png", "it is a folder"),
        ("missing/a.png", "the folder .*missing does not exist; create it first"),
        ("file/a.png", "the folder .*file does not exist"),
        ("/proc/a.png", "choose another place"),
        ("x" * 300 + ".png", "File name too long; choose another name or place"),
        ("x" * 300 + "/a.png", "File name too long"),
    ],
)
def test_an_output_that_cannot_be_is_refused(tmp_path: Path, name: str, reason: str):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"cannot (write|be used).*{reason}") as caught:
        check_writable_image(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


def test_the_check_leaves_an_old_file_as_it_is(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"old")
    check_writable_image(tmp_path / "a.png")
    check_writable_image(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


# Sizes


@pytest.mark.parametrize(("height", "width"), [(3, 5), (20, 10), (41, 64)])
def test_a_constant_stays_constant(height: int, width: int):
    image = np.broadcast_to(np.array([0.2, 0.5, 0.9], np.float32), (17, 23, 3))
    resized = resize(image, height, width)
    assert resized.shape == (height, width, 3) and resized.dtype == np.float32
    np.testing.assert_allclose(resized, np.broadcast_to(image[0, 0], resized.shape), atol=1e-6)


def test_the_same_size_is_the_same_image():
    image = (levels() / 255).astype(np.float32)
    np.testing.assert_array_equal(resize(image, 7, 5), image)


@pytest.mark.parametrize("size", [(10, 12), (40, 48), (13, 7)])
def test_channels_and_axes_do_not_mix(size: tuple[int, int]):
    image = np.zeros((20, 24, 3), np.float32)
    image[..., 0], image[..., 1] = np.linspace(0, 1, 20)[:, None], np.linspace(0, 1, 24)
    resized = resize(image, *size)
    assert (resized[..., 2] == 0).all()
    assert np.ptp(resized[..., 0], axis=1).max() < 1e-5 and (np.diff(resized[:, 0, 0]) > 0).all()
    assert np.ptp(resized[..., 1], axis=0).max() < 1e-5 and (np.diff(resized[0, :, 1]) > 0).all()


def test_shrinking_averages():
    smooth = np.stack(np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 48)), -1).sum(-1) / 2
    noise = np.random.default_rng(0).random((48, 64, 3)) - 0.5
    mean = resize((smooth[..., None] + 0 * noise).astype(np.float32), 6, 8)
    blocks = smooth.reshape(6, 8, 8, 8).mean((1, 3))
    np.testing.assert_allclose(mean[1:-1, 1:-1], gray(blocks)[1:-1, 1:-1], atol=5e-3)
    # Noise of the size of a pixel averages out; sampling would keep it: a standard deviation of 0.29.
    assert resize(noise.astype(np.float32), 6, 8).std() < 0.06


def test_values_beyond_the_range_are_kept():
    image = np.zeros((16, 16, 3), np.float32)
    image[:, 8:] = 1
    larger = resize(image, 64, 64)
    assert larger.min() < -0.01 and larger.max() > 1.01


@pytest.mark.parametrize(
    ("shape", "longest", "expected"),
    [
        ((480, 640, 3), 512, (384, 512)),
        ((640, 480, 3), 512, (512, 384)),
        ((333, 500), 101, (67, 101)),
        ((1, 4000, 3), 512, (1, 512)),
        ((7, 7), 3, (3, 3)),
        ((10, 20), 640, (320, 640)),
    ],
)
def test_the_aspect_ratio_is_kept(shape: tuple[int, ...], longest: int, expected: tuple[int, int]):
    assert fit_longest_side(shape, longest) == expected


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 5000))
def test_the_longest_side_is_exact_and_the_other_within_a_half(height: int, width: int, longest: int):
    h, w = fit_longest_side((height, width), longest)
    assert max(h, w) == longest and min(h, w) >= 1
    assert abs(min(h, w) - max(1, longest * min(height, width) / max(height, width))) <= 0.5
