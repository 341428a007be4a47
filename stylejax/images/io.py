"""Read and write image files as float32 arrays (h, w, 3) in sRGB, [0, 1]."""

import io
import os
import warnings
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, UInt8, UInt16
from PIL import Image as Pillow

from stylejax.errors import InputError, brief
from stylejax.files import check_writable, kind_of, write_atomically
from stylejax.images.alpha import blend_with_white, fill_hidden, resize_alpha
from stylejax.images.decode import decode, srgb_profile
from stylejax.images.high_bit_depth import FORMATS_16BIT, encode_png16, encode_tiff16
from stylejax.images.metadata import metadata_save_kwargs
from stylejax.images.resize import Alpha, HostImage

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
"""Formats that are written, by suffix."""

MAX_BYTES = 2**30
"""Largest file that is read, far above any image; it ends the reading of /dev/zero."""

Pixels: TypeAlias = UInt8[np.ndarray, "_ _ _"] | UInt16[np.ndarray, "_ _ _"]
"""Image (h, w, c) as stored in a file, with 8 or 16 bits a channel."""


def read_image(path: str | os.PathLike[str]) -> HostImage:
    """Read an image file upright by its EXIF, converted to sRGB by its profile and blended with white.

    All formats of Pillow are supported. An animation gives its first frame and a warning, and so does a very large image, which
    is reduced (`decode`). PNG and TIFF files with 16 bits keep them if they are sRGB. Raises `InputError` if the file is
    missing, damaged, not an image, or would take too much memory.
    """
    return blend_with_white(*read_stored(path))


def read_image_with_alpha(path: str | os.PathLike[str]) -> tuple[HostImage, Alpha | None]:
    """Read the colors and the alpha of an image, as a run takes them; None means that all of it is opaque.

    Below transparent pixels are the colors of the visible ones. Raises `InputError` as `read_image`, and if none is visible.
    """
    image, alpha = read_stored(path)
    if alpha is not None and not alpha.any():
        raise InputError(f"{path} is wholly transparent; give an image with visible pixels")
    return fill_hidden(image, alpha), alpha


def read_stored(path: str | os.PathLike[str], whole: bool = False) -> tuple[HostImage, Alpha | None]:
    """Read the colors of an image as they are stored, hidden ones included, and its alpha; `whole` refuses to reduce it."""
    data = _read_bytes(Path(path))
    # Decoders fail on hostile bytes with many exceptions (OSError, SyntaxError, struct.error, zlib.error, …).
    try:
        array, alpha, notes = decode(data, whole)
    except InputError as error:
        raise InputError(f"{path} {error}") from None
    except Pillow.UnidentifiedImageError:
        raise InputError(f"{path} is not an image file; give a PNG, JPEG, WebP, TIFF, GIF or BMP file") from None
    except Exception as error:
        raise InputError(f"{path} is damaged ({brief(error)}); export or download it again") from None
    for note in notes:
        warnings.warn(f"{path} {note}", stacklevel=3)
    return array, alpha if alpha is not None and (alpha < 1).any() else None


def check_writable_image(path: str | os.PathLike[str], bit_depth: int = 8) -> None:
    """Raise `InputError` unless `path` is writable and its suffix supports the bit depth."""
    target = Path(path)
    kind = FORMATS.get(target.suffix.lower())
    if kind is None:
        raise InputError(f"cannot write {path}: its name should end in one of {' '.join(FORMATS)}")
    if bit_depth == 16 and kind not in FORMATS_16BIT:
        raise InputError(
            f"cannot write {path} with 16 bits; its name should end in .png or .tif, or take --bit-depth 8"
        )
    check_writable(target)


def write_image(
    path: str | os.PathLike[str], image: HostImage, text: str = "", alpha: Alpha | None = None, bit_depth: int = 8
) -> None:
    """Write an image, clipped to [0, 1] and tagged as sRGB, whole or not at all.

    Args:
        path: File name with a suffix of `FORMATS`; JPEG has quality 95 without chroma subsampling.
        image: Image (h, w, 3).
        text: ASCII text that is embedded if the format has a place for it.
        alpha: Opacity, resized to the image; formats without alpha get the image blended with white.
        bit_depth: 8 or 16 bits a channel; 16 only for PNG and TIFF.
    """
    target = Path(path)
    check_writable_image(target, bit_depth)
    kind = FORMATS[target.suffix.lower()]
    image, alpha = flatten_alpha(image, alpha, target)
    channels = image if alpha is None else np.concatenate([image, alpha[..., None]], 2)
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}.get(kind, {})
    try:
        data = _encode(quantize(channels, bit_depth), kind, options | metadata_save_kwargs(kind, text))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {target}: {error}; choose another kind of file or a smaller size") from None
    write_atomically(target, data)


def supports_alpha(path: str | os.PathLike[str]) -> bool:
    """Return whether an image file of this name can be transparent."""
    return FORMATS.get(Path(path).suffix.lower()) in ("PNG", "WEBP", "TIFF")


def flatten_alpha(
    image: HostImage, alpha: Alpha | None, path: str | os.PathLike[str]
) -> tuple[HostImage, Alpha | None]:
    """Return image and resized alpha for a file; without transparency, the image blended with white."""
    if alpha is None or not supports_alpha(path):
        return blend_with_white(image, alpha), None
    return image, resize_alpha(alpha, *image.shape[:2])


def quantize(image: Float[np.ndarray, "h w c"], bit_depth: int = 8) -> Pixels:
    """Clip an image to [0, 1] and round it to 8 or 16 bits."""
    # A float32 product with 65535 is exact to 1/256 of a level.
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    return np.rint(np.clip(np.asarray(image), 0, 1) * (2**bit_depth - 1)).astype(dtype)


def _encode(pixels: Pixels, kind: str, options: dict) -> bytes:
    if pixels.dtype == np.uint16:
        encode = encode_png16 if kind == "PNG" else encode_tiff16
        return encode(pixels, srgb_profile(), options)
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, kind, icc_profile=srgb_profile(), **options)
    return buffer.getvalue()


def _read_bytes(path: Path) -> bytes:
    match kind_of(path):
        case "nothing":
            raise InputError(f"{path} does not exist; check the name of the file")
        case "folder":
            raise InputError(f"{path} is a folder; give an image file in it")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; give another file") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{path} is larger than {MAX_BYTES:,} bytes; give a smaller file")
    if not data:
        raise InputError(f"{path} is empty (zero bytes); export or download it again")
    return data
