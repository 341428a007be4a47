"""16 bits and alpha: what goes in comes out, and other programs read the same."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from conftest import noise_image
from PIL import Image as Pillow

from stylejax.cli.main import main
from stylejax.images.io import quantize, read_image, read_image_with_alpha, read_stored, write_image
from stylejax.images.metadata import read_metadata
from stylejax.images.resize import resize_channel

DEEP = (".png", ".tif", ".tiff")


@pytest.fixture
def image(generator):
    return generator.random((9, 7, 3)).astype(np.float32)


@pytest.fixture
def alpha(generator):
    return generator.random((9, 7)).astype(np.float32)


@pytest.mark.parametrize("suffix", DEEP)
@pytest.mark.parametrize("transparent", [False, True])
def test_sixteen_bits_go_in_and_come_out(tmp_path, image, alpha, suffix, transparent):
    path = tmp_path / f"deep{suffix}"
    write_image(path, image, "a text", alpha if transparent else None, 16)
    colors, found = read_stored(path)
    assert np.array_equal(quantize(colors, 16), np.rint(image.astype(np.float64) * 65535).astype(np.uint16))
    if transparent:
        np.testing.assert_allclose(found, alpha, atol=1 / 65535)
        np.testing.assert_allclose(read_image(path), image * alpha[..., None] + 1 - alpha[..., None], atol=2e-5)
    else:
        assert found is None
    assert read_metadata(path) == "a text"


@pytest.mark.parametrize("suffix", DEEP)
def test_pillow_reads_the_upper_bytes_and_the_profile(tmp_path, image, suffix):
    path, plain = tmp_path / f"deep{suffix}", tmp_path / f"plain{suffix}"
    write_image(path, image, "", None, 16)
    write_image(plain, image)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Pillow.open(path) as deep, Pillow.open(plain) as shallow:
            assert np.array_equal(np.asarray(deep), quantize(image, 16) >> 8)
            assert deep.info["icc_profile"] == shallow.info["icc_profile"]


def test_a_png_of_16_bits_is_decoded_by_the_letter_of_its_standard(tmp_path, image):
    """By hand: chunks with their checksums, filter 2, big-endian numbers."""
    path = tmp_path / "deep.png"
    write_image(path, image, "a text", None, 16)
    data, at, chunks = path.read_bytes(), 8, []
    while at < len(data):
        (length,), name = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(name + body)
        chunks.append((name, body))
        at += 12 + length
    assert [name for name, _ in chunks] == [b"IHDR", b"iCCP", b"iTXt", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBBBBB", chunks[0][1]) == (7, 9, 16, 2, 0, 0, 0)
    rows = np.frombuffer(zlib.decompress(chunks[3][1]), np.uint8).reshape(9, 1 + 7 * 6)
    assert (rows[:, 0] == 2).all()
    pixels = np.cumsum(rows[:, 1:], 0, dtype=np.uint8).reshape(-1).view(">u2").reshape(9, 7, 3)
    assert np.array_equal(pixels, quantize(image, 16))


def test_a_profile_that_is_not_srgb_is_converted_in_8_bits(tmp_path, image):
    from PIL import ImageCms

    write_image(tmp_path / "srgb.png", image, "", None, 16)
    data = (tmp_path / "srgb.png").read_bytes()
    at = data.index(b"iCCP") - 4
    (length,) = struct.unpack(">I", data[at : at + 4])
    other = b"x\0\0" + zlib.compress(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + b"\0" * 4)
    body = b"iCCP" + other
    chunk = struct.pack(">I", len(other)) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "other.png").write_bytes(data[:at] + chunk + data[at + 12 + length :])
    found = read_image(tmp_path / "other.png")
    np.testing.assert_allclose(found, image, atol=2.5 / 255)
    assert np.array_equal(np.rint(found * 255), (found * 255).round(4))


def test_the_same_picture_is_the_same_bytes(tmp_path, image):
    for suffix in DEEP:
        for name in ("a", "b"):
            write_image(tmp_path / f"{name}{suffix}", image, "text", None, 16)
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_alpha_is_kept_where_there_is_room(tmp_path, image, alpha, suffix):
    path = tmp_path / f"alpha{suffix}"
    write_image(path, image, "", alpha)
    np.testing.assert_allclose(read_stored(path)[1], alpha, atol=0.51 / 255)
    if suffix != ".webp":
        assert np.array_equal(quantize(read_stored(path)[0]), quantize(image))


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_alpha_lies_on_white_elsewhere(tmp_path, image, suffix):
    clear, path = np.zeros((9, 7), np.float32), tmp_path / f"opaque{suffix}"
    write_image(path, image, "", clear)
    assert read_stored(path)[1] is None
    np.testing.assert_allclose(read_image(path), 1, atol=1 / 255)


@pytest.fixture
def studio(desk):
    """A content that fades out to the right."""
    noise_image(36, 33, 1).save(desk / "s.png")
    content = noise_image(40, 48, 0).convert("RGBA")
    content.putalpha(Pillow.linear_gradient("L").rotate(90).resize((48, 40)))
    content.save("c.png")
    return desk


@pytest.mark.parametrize(
    ("name", "bit_depth", "kept"),
    [
        ("o.png", 8, True),
        ("o.png", 16, True),
        ("o.tif", 16, True),
        ("o.webp", 8, True),
        ("o.jpg", 8, False),
        ("o.bmp", 8, False),
    ],
)
def test_a_transparent_content_makes_a_transparent_picture_that_is_verified(studio, capsys, name, bit_depth, kept):
    words = ["-o", name, "--weights", "narrow.h5", "--size", "32", "--steps", "2", "--bit-depth", str(bit_depth)]
    assert main(["transfer", "c.png", "s.png", *words]) == 0
    said = capsys.readouterr().err
    assert ("files are opaque: the image is put on white" in said) == (not kept)
    found = read_image_with_alpha(name)[1]
    if kept:
        expected = resize_channel(read_image_with_alpha("c.png")[1], 27, 32)
        np.testing.assert_allclose(found, expected.clip(0, 1), atol=1 / 255)
    else:
        assert found is None
    assert main(["verify", name]) == 0, capsys.readouterr()
    assert "the same bit for bit" in capsys.readouterr().out


def test_a_changed_lower_byte_is_noticed(studio, capsys):
    words = ["-o", "o.png", "--weights", "narrow.h5", "--size", "32", "--steps", "2", "--bit-depth", "16"]
    assert main(["transfer", "c.png", "s.png", *words]) == 0
    colors, alpha = read_stored("o.png")
    pixels = quantize(colors, 16)
    pixels[0, 0, 0] ^= 1
    write_image("o.png", pixels.astype(np.float32) / 65535, read_metadata("o.png"), alpha, 16)
    assert main(["verify", "o.png"]) == 1
    assert "changed since it was made" in capsys.readouterr().out


def test_damaged_files_of_16_bits_are_refused_in_one_line(studio, tmp_path, refusal, image):
    write_image("deep.png", image, "", None, 16)
    data = (studio / "deep.png").read_bytes()
    (studio / "deep.png").write_bytes(data[:-60])
    assert "is damaged" in refusal("transfer", "deep.png", "s.png", "-o", "o.png")
