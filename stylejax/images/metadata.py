"""A text inside a picture file: PNG's own text chunk, EXIF in JPEG and WebP, a tag in TIFF. A BMP has room for none."""

import os
import warnings
from typing import Any

from PIL import Image as Pillow
from PIL import PngImagePlugin

from stylejax.errors import InputError, brief

KEY = "stylejax"
"""What the text goes by: the keyword of PNG's chunk, and the first word of the text where there are no keywords."""

KINDS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
"""What pictures are written as, and read."""

LARGEST = 2**20
"""Characters. A longer text is neither written nor read."""

LARGEST_EXIF = 65533
"""Bytes that a segment of JPEG can hold."""

EXIF, USER_COMMENT, IMAGE_DESCRIPTION = 0x8769, 0x9286, 0x010E
ASCII = b"ASCII\0\0\0"
"""How a user comment begins that is ASCII."""


def save_options(kind: str, text: str) -> dict[str, Any]:
    """What Pillow's `save` has to be told so that a picture of that kind (`PNG`, `JPEG`, …) carries `text`, which is ASCII.

    Nothing for an empty text, for a kind that has no place for one, and for more than it can hold. The same text gives the
    same bytes.
    """
    if not text or len(text) > LARGEST:
        return {}
    match kind:
        case "PNG":
            chunks = PngImagePlugin.PngInfo()
            chunks.add_itxt(KEY, text)
            return {"pnginfo": chunks}
        case "JPEG" | "WEBP":
            exif = _exif(f"{KEY} {text}")
            return {"exif": exif} if kind == "WEBP" or len(exif) <= LARGEST_EXIF else {}
        case "TIFF":
            return {"tiffinfo": {IMAGE_DESCRIPTION: f"{KEY} {text}"}}
        case _:
            return {}


def read_text(path: str | os.PathLike[str]) -> str | None:
    """The text that a picture carries, None if it carries none of ours.

    Raises `InputError` for a file that is missing, no picture, or damaged, and for a text that is too long.
    """
    # Decoders meet hostile bytes in many ways (OSError, SyntaxError, struct.error, KeyError, …); all mean the same.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Pillow.open(path, formats=KINDS) as image:
                text = _find(image)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the name of the picture") from None
    except Pillow.UnidentifiedImageError:
        raise InputError(f"{path} is no picture of a kind that stylejax writes; give one that it made") from None
    except Exception as error:
        raise InputError(f"{path} cannot be read ({brief(error)}); give the picture as stylejax made it") from None
    if text is not None and len(text) > LARGEST:
        raise InputError(f"{path} carries a text of {len(text):,} characters, more than the {LARGEST:,} of any run")
    return text


def _exif(text: str) -> bytes:
    exif = Pillow.Exif()
    exif[EXIF] = {USER_COMMENT: ASCII + text.encode("ascii")}
    return exif.tobytes()


def _find(image: Pillow.Image) -> str | None:
    match image.format:
        case "PNG":
            # Other programs may move the text behind the pixels, where it is found once these were read.
            if KEY not in image.info:
                image.load()
            return _text(image.info.get(KEY))
        case "JPEG" | "MPO" | "WEBP":
            comment = image.getexif().get_ifd(EXIF).get(USER_COMMENT)
            return _ours(_text(comment.removeprefix(ASCII) if isinstance(comment, bytes) else comment))
        case "TIFF":
            return _ours(_text(image.tag_v2.get(IMAGE_DESCRIPTION)))  # type: ignore[attr-defined]
        case _:
            return None


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return str(value).rstrip("\0") if isinstance(value, str) else None


def _ours(text: str | None) -> str | None:
    """What follows the key; the comment of a camera is none of ours."""
    return text[len(KEY) + 1 :] if text and text.startswith(f"{KEY} ") else None
