"""Read and write PNG and TIFF files with 16 bits a channel, of which Pillow reads only the upper 8.

No maintained library writes a PNG with 16 bits, a color profile and a text together, so `encode_png16` builds the file itself.
"""

import io
import struct
import zlib

import numpy as np
import tifffile
from jaxtyping import UInt16
from PIL import ImageFile, PngImagePlugin

FORMATS_16BIT = ("PNG", "TIFF")

SWAPPED_ENDIAN = {"16B": "16L", "16L": "16B", "16N": "16B"}
"""Swapped byte orders in Pillow's names: Pillow's upper byte of a sample is then the lower one."""

UInt16Image = UInt16[np.ndarray, "_ _ _"]


def decode_low_bytes(image: ImageFile.ImageFile) -> bool:
    """Make Pillow decode the lower bytes of an unloaded 16-bit RGB(A) image; return False for others."""
    if image.format not in FORMATS_16BIT or not image.tile:
        return False
    args = image.tile[0].args
    mode, *others = [args] if isinstance(args, str) else args or [""]
    channels, _, order = str(mode).partition(";")
    if channels not in ("RGB", "RGBA") or order not in SWAPPED_ENDIAN:
        return False
    swapped = f"{channels};{SWAPPED_ENDIAN[order]}"
    image.tile = [tile._replace(args=(swapped, *others) if others else swapped) for tile in image.tile]
    return True


def encode_png16(levels: UInt16Image, profile: bytes, save_kwargs: dict) -> bytes:
    """Encode (h, w, 3 or 4) as a PNG file with an ICC profile and the text of `metadata_save_kwargs`."""
    h, w, channels = levels.shape
    rows = levels.astype(">u2").view(np.uint8).reshape(h, -1)
    # PNG filter 2, the difference from the row above, compresses better.
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.hstack([np.full((h, 1), 2, np.uint8), rows - above])
    header = struct.pack(">IIBBBBB", w, h, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile))]
    chunks += [chunk[:2] for chunk in save_kwargs.get("pnginfo", PngImagePlugin.PngInfo()).chunks]
    chunks += [(b"IDAT", zlib.compress(filtered.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def encode_tiff16(levels: UInt16Image, profile: bytes, save_kwargs: dict) -> bytes:
    """Encode (h, w, 3 or 4) as a deflated TIFF file of one strip, with arguments as `encode_png16`."""
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        levels,
        photometric="rgb",
        compression="zlib",
        rowsperstrip=levels.shape[0],
        extrasamples=["unassalpha"] * (levels.shape[2] - 3),
        iccprofile=profile,
        description=next(iter(save_kwargs.get("tiffinfo", {}).values()), None),
        metadata=None,
        software=False,
    )
    return buffer.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
