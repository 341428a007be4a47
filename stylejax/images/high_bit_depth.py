"""Pictures of 16 bits a channel, which Pillow reads as if they had 8 and does not write: PNG and TIFF, with alpha or without.

Both are written deflated, in one piece, with the color profile and a text where `picture_text` looks for it.
"""

import struct
import zlib

import numpy as np
from jaxtyping import UInt16
from PIL import ImageFile, PngImagePlugin

KINDS = ("PNG", "TIFF")
"""What has room for 16 bits."""

LOW = {"16B": "16L", "16L": "16B", "16N": "16B"}
"""Pillow unpacks the upper byte of each number. In the other order of bytes, the upper one is the lower one."""

Deep = UInt16[np.ndarray, "_ _ _"]


def low_bytes(image: ImageFile.ImageFile) -> bool:
    """Has a picture that is not decoded yet, if it is RGB or RGBA of 16 bits, be decoded into its lower bytes."""
    if image.format not in KINDS or not image.tile:
        return False
    args = image.tile[0].args
    mode, *others = [args] if isinstance(args, str) else args or [""]
    channels, _, order = str(mode).partition(";")
    if channels not in ("RGB", "RGBA") or order not in LOW:
        return False
    lower = f"{channels};{LOW[order]}"
    image.tile = [tile._replace(args=(lower, *others) if others else lower) for tile in image.tile]
    return True


def png(levels: Deep, profile: bytes, text: dict) -> bytes:
    """A PNG file of (h, w, 3 or 4) numbers; `text` are the options that `picture_text.save_options` has for it."""
    h, w, channels = levels.shape
    rows = levels.astype(">u2").view(np.uint8).reshape(h, -1)
    # Each row is written as its difference from the one above, which is filter 2, and compresses better.
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.hstack([np.full((h, 1), 2, np.uint8), rows - above])
    header = struct.pack(">IIBBBBB", w, h, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    info = text.get("pnginfo", PngImagePlugin.PngInfo())
    chunks = [(b"IHDR", header), (b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile))]
    chunks += [(chunk[0], chunk[1]) for chunk in info.chunks]
    chunks += [(b"IDAT", zlib.compress(filtered.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def tiff(levels: Deep, profile: bytes, text: dict) -> bytes:
    """A TIFF file of (h, w, 3 or 4) numbers, in one strip; `text` as in `png`."""
    h, w, channels = levels.shape
    pixels = zlib.compress(levels.astype("<u2").tobytes())
    describes = [(tag, 2, value.encode("ascii") + b"\0") for tag, value in text.get("tiffinfo", {}).items()]
    short, long = (lambda *numbers: struct.pack(f"<{len(numbers)}H", *numbers)), (lambda n: struct.pack("<I", n))
    # Tag, type (2 ASCII, 3 short, 4 long, 7 bytes), value; in the order of their tags, as TIFF 6.0 wants it.
    entries = [
        (256, 4, long(w)),
        (257, 4, long(h)),
        (258, 3, short(*[16] * channels)),
        (259, 3, short(8)),  # Deflated.
        (262, 3, short(2)),  # RGB.
        *describes,
        (273, 4, long(8)),  # The pixels come first, behind the header.
        (277, 3, short(channels)),
        (278, 4, long(h)),
        (279, 4, long(len(pixels))),
        *([(338, 3, short(2))] if channels == 4 else []),  # The fourth is an alpha that colors are not multiplied by.
        (34675, 7, profile),
    ]
    start = 8 + len(pixels) + len(pixels) % 2
    return struct.pack("<2sHI", b"II", 42, start) + pixels + bytes(len(pixels) % 2) + _directory(entries, start)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _directory(entries: list[tuple[int, int, bytes]], start: int) -> bytes:
    """Values of more than four bytes lie behind the directory, each at an even place."""
    size = {2: 1, 3: 2, 4: 4, 7: 1}
    fields, behind = struct.pack("<H", len(entries)), b""
    for tag, kind, value in entries:
        fields += struct.pack("<HHI", tag, kind, len(value) // size[kind])
        if len(value) <= 4:
            fields += value.ljust(4, b"\0")
        else:
            fields += struct.pack("<I", start + 2 + 12 * len(entries) + 4 + len(behind))
            behind += value + bytes(len(value) % 2)
    return fields + bytes(4) + behind
