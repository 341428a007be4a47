"""Store a text in an image file: an iTXt chunk in PNG, EXIF in JPEG and WebP, a tag in TIFF."""

import os
import warnings
from typing import Any

from PIL import Image as Pillow
from PIL import PngImagePlugin

from stylejax.errors import InputError, brief
from stylejax.files import require_file

KEY = "stylejax"
"""Keyword of the PNG chunk; first word of the text in formats without keywords."""

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
"""Formats that stylejax writes."""

MAX_CHARS = 2**20
"""Longest text that is written or read, far above that of any run."""

MAX_EXIF_BYTES = 65533
"""Capacity of a JPEG segment."""

EXIF, USER_COMMENT, IMAGE_DESCRIPTION = 0x8769, 0x9286, 0x010E
ASCII = b"ASCII\0\0\0"
"""Prefix of an ASCII user comment in EXIF."""


def metadata_save_kwargs(kind: str, text: str) -> dict[str, Any]:
    """Return the arguments of Pillow's `save` that embed an ASCII text in a format such as `PNG`.

    The result is empty for an empty text, a format without a place for it, and a text longer than the format holds.
    """
    if not text or len(text) > MAX_CHARS:
        return {}
    match kind:
        case "PNG":
            chunks = PngImagePlugin.PngInfo()
            chunks.add_itxt(KEY, text)
            return {"pnginfo": chunks}
        case "JPEG" | "WEBP":
            tags = Pillow.Exif()
            tags[EXIF] = {USER_COMMENT: ASCII + f"{KEY} {text}".encode("ascii")}
            exif = tags.tobytes()
            return {"exif": exif} if kind == "WEBP" or len(exif) <= MAX_EXIF_BYTES else {}
        case "TIFF":
            return {"tiffinfo": {IMAGE_DESCRIPTION: f"{KEY} {text}"}}
        case _:
            return {}


def read_metadata(path: str | os.PathLike[str]) -> str | None:
    """Return the text that stylejax embedded in an image file, or None.

    Raises `InputError` if the file is missing, damaged or not an image, or if the text exceeds `MAX_CHARS`.
    """
    require_file(path, "give a result of stylejax")
    # Decoders fail on hostile bytes with many exceptions (OSError, SyntaxError, struct.error, KeyError, …).
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Pillow.open(path, formats=FORMATS) as image:
                text = _extract(image)
    except Pillow.UnidentifiedImageError:
        raise InputError(f"{path} is not a PNG, JPEG, WebP, TIFF or BMP image; give a result of stylejax") from None
    except Exception as error:
        raise InputError(f"{path} cannot be read ({brief(error)}); give the file as stylejax wrote it") from None
    if text is not None and len(text) > MAX_CHARS:
        raise InputError(f"{path} has {len(text):,} characters of metadata, more than the {MAX_CHARS:,} of any run")
    return text


def _extract(image: Pillow.Image) -> str | None:
    """Return the embedded text; None for an image without one or with the comment of another program."""
    match image.format:
        case "PNG":
            # Other programs may move the text behind the pixels; Pillow finds it there after decoding them.
            if KEY not in image.info:
                image.load()
            return _as_str(image.info.get(KEY))
        case "TIFF":
            value = image.tag_v2.get(IMAGE_DESCRIPTION)  # type: ignore[attr-defined]
        case _:
            value = image.getexif().get_ifd(EXIF).get(USER_COMMENT)
    text = _as_str(value.removeprefix(ASCII) if isinstance(value, bytes) else value)
    return text[len(KEY) + 1 :] if text and text.startswith(f"{KEY} ") else None


def _as_str(value: object) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return str(value).rstrip("\0") if isinstance(value, str) else None
