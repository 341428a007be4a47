"""Picture files to arrays and back. An array is float32 (h, w, 3), sRGB in [0, 1]."""

import io
import os
import struct
import warnings
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, UInt8, UInt16
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps

from stylejax.errors import InputError, brief
from stylejax.files import check_writable, write_atomically
from stylejax.images import high_bit_depth
from stylejax.images.metadata import save_options
from stylejax.images.resize import Alpha, Picture, resize_map

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
"""The kinds of files that are written, by suffix."""

MAX_PIXELS = 8192 * 6144
"""Larger pictures are refused before they are decoded: with alpha, or 16 bits a channel, these take 1.9 GiB on the way."""

MAX_BYTES = 2**30
"""Larger files are no pictures: nobody waits until /dev/zero is read."""

Pixels: TypeAlias = UInt8[np.ndarray, "_ _ _"] | UInt16[np.ndarray, "_ _ _"]
"""An image as a file has it: channels in 8 or 16 bits."""


def read_image(path: str | os.PathLike[str]) -> Picture:
    """Reads any picture that Pillow knows: upright by its EXIF, converted to sRGB by its profile, flattened onto white.

    Of an animation it takes the first frame, with a warning. PNG and TIFF of 16 bits keep them if their colors are sRGB.
    Raises `InputError` when the file is missing, not a picture, damaged, or larger than `MAX_PIXELS`.
    """
    return read_picture(path)[0]


def read_picture(path: str | os.PathLike[str], flatten: bool = True) -> tuple[Picture, Alpha | None]:
    """What `read_image` reads, and how opaque each pixel is, from 0 to 1; None where the picture knows only opaque ones. With
    `flatten` off, the colors are those that the file has below its alpha."""
    data = _read_bytes(Path(path))
    # Decoders meet hostile bytes in many ways (OSError, SyntaxError, struct.error, zlib.error, …); all mean the same.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Pillow.open(io.BytesIO(data))
            _check_pixels(path, image.size)
            image.load()
            # Phones hide a second picture (a gain map, a depth map) behind a JPEG: that is no animation.
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            picture, deep = _to_srgb(ImageOps.exif_transpose(image)), _deep(data)
            alpha = _alpha(picture) if deep is None else deep[..., 3] if deep.shape[2] == 4 else None
            array = _to_array(picture, flatten) if deep is None else _flat(deep, flatten)
    except InputError:
        raise
    except Pillow.DecompressionBombError:
        raise InputError(_too_large(path)) from None
    except Pillow.UnidentifiedImageError:
        raise InputError(
            f"{path} is not a picture that can be read; give a PNG, JPEG, WebP, TIFF, GIF or BMP file"
        ) from None
    except Exception as error:
        raise InputError(f"{path} is damaged ({brief(error)}); export or download it again") from None
    if frames > 1:
        warnings.warn(f"{path} has {frames} frames; the first is taken", stacklevel=3)
    return array, alpha


def check_output(path: str | os.PathLike[str], bits: int = 8) -> None:
    """Raises `InputError` unless a picture can be written to `path`: a known suffix, of a kind that has so many `bits`, in a
    folder that takes files."""
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise InputError(f"cannot write {path}: its name should end in one of {' '.join(FORMATS)}")
    if bits == 16 and FORMATS[target.suffix.lower()] not in high_bit_depth.KINDS:
        raise InputError(f"cannot write {path} with 16 bits; its name should end in .png or .tif, or take --bits 8")
    check_writable(target)


def write_image(
    path: str | os.PathLike[str], image: Picture, text: str = "", alpha: Alpha | None = None, bits: int = 8
) -> None:
    """Writes an image, clipped to [0, 1] and rounded to 8 or 16 bits, tagged as sRGB; JPEG at quality 95 without subsampling.
    The file carries `text`, which is ASCII, where its kind has a place for it; and `alpha`, or lies on white (`lay`).

    The file appears whole or not at all.
    """
    target = Path(path)
    check_output(target, bits)
    kind = FORMATS[target.suffix.lower()]
    image, alpha = lay(image, alpha, target)
    layers = image if alpha is None else np.concatenate([image, alpha[..., None]], 2)
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}.get(kind, {})
    try:
        data = _encoded(levels(layers, bits), kind, options | save_options(kind, text))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {target}: {error}; choose another kind of file or a smaller size") from None
    write_atomically(target, data)


def keeps_alpha(path: str | os.PathLike[str]) -> bool:
    """Whether a file of this name can be transparent: PNG, WebP and TIFF can."""
    return FORMATS.get(Path(path).suffix.lower()) in ("PNG", "WEBP", "TIFF")


def lay(image: Picture, alpha: Alpha | None, path: str | os.PathLike[str]) -> tuple[Picture, Alpha | None]:
    """A picture and its alpha, brought to the picture's size, as a file of this name has them: where it keeps no alpha, the
    picture lies on white."""
    if alpha is None:
        return image, None
    alpha = np.clip(resize_map(alpha, *image.shape[:2]), 0, 1)
    return (image, alpha) if keeps_alpha(path) else (_flat(np.concatenate([image, alpha[..., None]], 2)), None)


def levels(image: Float[np.ndarray, "h w c"], bits: int = 8) -> Pixels:
    """An image as it is written: clipped to [0, 1] and rounded to 8 bits, or to 16."""
    # In float32 a product with 65535 is exact to a 256th of a level.
    return np.rint(np.clip(np.asarray(image), 0, 1) * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


def _encoded(pixels: np.ndarray, kind: str, options: dict) -> bytes:
    if pixels.dtype == np.uint16:
        return {"PNG": high_bit_depth.png, "TIFF": high_bit_depth.tiff}[kind](pixels, _srgb_profile(), options)
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, kind, icc_profile=_srgb_profile(), **options)
    return buffer.getvalue()


def _read_bytes(path: Path) -> bytes:
    if os.path.isdir(path):
        raise InputError(f"{path} is a folder; give a picture in it")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the name of the picture") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; give another picture") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{path} is larger than {MAX_BYTES:,} bytes; give a smaller picture")
    if not data:
        raise InputError(f"{path} is empty (zero bytes); export or download it again")
    return data


def _check_pixels(path: str | os.PathLike[str], size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise InputError(_too_large(path, f" ({size[0]}×{size[1]} pixels)"))


def _too_large(path: str | os.PathLike[str], size: str = "") -> str:
    return f"{path} is too large{size} to be decoded safely: the limit is {MAX_PIXELS:,} pixels; shrink it first"


def _srgb_profile() -> bytes:
    """Made with the time of its making, which is taken out: the same picture is the same bytes."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]


def _to_srgb(image: Pillow.Image) -> Pillow.Image:
    """Colors by the embedded profile; a profile that is damaged, or of another kind of image, is left aside."""
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("P", "PA", "LA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK", "L", "LAB"):
        return image
    target = ImageCms.createProfile("sRGB")
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, target, outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    return image if converted is None else converted


def _deep(data: bytes) -> Float[np.ndarray, "h w c"] | None:
    """RGB or RGBA of 16 bits, upright, in [0, 1]; None for other pictures, and where a profile says that it is not sRGB, for
    only 8 bits can be converted."""
    upper, lower = (Pillow.open(io.BytesIO(data)) for _ in range(2))
    profile = _srgb_profile()
    if not high_bit_depth.low_bytes(lower) or upper.info.get("icc_profile", profile) != profile:
        return None
    both = np.array(ImageOps.exif_transpose(upper), np.float32)
    both *= 256
    both += np.asarray(ImageOps.exif_transpose(lower))
    both /= 65535
    return both


def _flat(layers: Float[np.ndarray, "h w c"], flatten: bool = True) -> Picture:
    """RGB, or RGBA on white."""
    if layers.shape[2] == 3 or not flatten:
        return layers[..., :3]
    return layers[..., :3] * layers[..., 3:] + (1 - layers[..., 3:])


def _alpha(image: Pillow.Image) -> Alpha | None:
    if not image.has_transparency_data:
        return None
    return np.asarray(image.convert("RGBA").getchannel("A"), np.float32) / 255


def _to_array(image: Pillow.Image, flatten: bool = True) -> Picture:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _from_deep_gray(np.asarray(image, np.float32), image.mode)
    if image.has_transparency_data and flatten:
        image = image.convert("RGBA")
        white = Pillow.new("RGBA", image.size, "white")
        image = Pillow.alpha_composite(white, image)
    array = np.array(image.convert("RGB"), np.float32)
    # In place: of a large picture no second array is made.
    array /= 255
    return array


def _from_deep_gray(gray: Float[np.ndarray, "h w"], mode: str) -> Picture:
    """Gray that Pillow does not scale: integers are out of 65535; floating point is in [0, 1], else out of 255 or 65535."""
    gray = np.nan_to_num(gray, nan=0.0, posinf=0.0, neginf=0.0)
    brightest = gray.max()
    full = 65535 if mode != "F" or brightest > 255 else 255 if brightest > 1 else 1
    return np.repeat(np.clip(gray / full, 0, 1)[..., None], 3, -1)
