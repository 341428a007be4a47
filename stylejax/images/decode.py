"""Decode the bytes of an image file: upright by its EXIF, in sRGB by its profile, and reduced if it is very large."""

import contextlib
import io
import struct
import warnings
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps

from stylejax.errors import InputError
from stylejax.images.high_bit_depth import decode_low_bytes
from stylejax.images.resize import Alpha, HostImage

MAX_PIXELS = 8192 * 6144
"""Most pixels that become floats: with alpha or 16 bits a channel, they take 1.9 GiB on the way. Larger images are reduced."""

MAX_MEMORY, BYTES_PER_PIXEL = 2**31, 8
"""Most memory of an image of bytes before it is reduced, and what a pixel takes: four bytes, and as many while it is turned."""


PNG = b"\x89PNG\r\n\x1a\n"
"""First bytes of a PNG file."""


def decode(data: bytes, whole: bool = False) -> tuple[HostImage, Alpha | None, list[str]]:
    """Return the colors as they are stored, the alpha (None without one), and notes that continue the name of the file.

    Above `MAX_PIXELS` the image is reduced, in 8 bits, by the least power of two that suffices: for any size of the run and on
    any machine the pixels are the same. Raises `InputError`, whose text continues the name of the file, for an image above
    `MAX_MEMORY` or, with `whole`, above `MAX_PIXELS`; and any exception of a decoder for damaged pixels.
    """
    try:
        return _decode(data, whole)
    except InputError:
        raise
    except Exception:  # Pillow fails on hostile bytes with many exceptions.
        sound = without_damaged_chunks(data)
        if sound == data:
            raise
        array, alpha, notes = _decode(sound, whole)
        return array, alpha, [*notes, "has damaged data beside its pixels; they are left aside"]


def _decode(data: bytes, whole: bool) -> tuple[HostImage, Alpha | None, list[str]]:
    notes: list[str] = []
    with warnings.catch_warnings(), _pillow_without_limit():
        warnings.simplefilter("ignore")
        image = Pillow.open(io.BytesIO(data))
        size, factor = image.size, _reduction(image.size, whole)
        array, alpha = _decode_16bit(data, factor, notes) or _decode_8bit(image, factor, notes)
        # The second image of a phone's MPO file is a gain map or a depth map, not a frame.
        if (frames := 1 if image.format == "MPO" else getattr(image, "n_frames", 1)) > 1:
            notes.append(f"has {frames} frames; the first is taken")
    if factor > 1:
        h, w, _ = array.shape
        notes.append(f"is read with 8 bits at 1/{factor} of its size: {w}×{h} of {size[0]}×{size[1]} pixels")
    return array, alpha, list(dict.fromkeys(notes))


def without_damaged_chunks(data: bytes) -> bytes:
    """Return a PNG file without the damaged chunks that its pixels do not need, and any other file as it is.

    A chunk is damaged if Pillow refuses it, for its length, its checksum or its content.
    """
    header, *chunks = _png_chunks(data) if data.startswith(PNG) else [b""]
    critical = [chunk for chunk in chunks if chunk[4:5].isupper()]

    def is_sound(chunk: bytes) -> bool:
        try:
            Pillow.open(io.BytesIO(b"".join((PNG, header, chunk, *critical))))
        except Exception:
            return False
        return True

    kept = [chunk for chunk in chunks if chunk[4:5].isupper() or is_sound(chunk)]
    return b"".join((PNG, header, *kept)) if chunks else data


def _png_chunks(data: bytes) -> Iterator[bytes]:
    """Yield the chunks of a PNG file, each with its length, name and checksum, up to the first incomplete one."""
    start = len(PNG)
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        yield data[start:end]
        start = end


def srgb_profile() -> bytes:
    """Return the sRGB profile with a fixed creation date, so that equal images are equal files."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]


@contextlib.contextmanager
def _pillow_without_limit() -> Iterator[None]:
    """Lift Pillow's own limit of 179 million pixels, in place of which `_reduction` predicts the memory."""
    limit, Pillow.MAX_IMAGE_PIXELS = Pillow.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Pillow.MAX_IMAGE_PIXELS = limit


def _reduction(size: tuple[int, int], whole: bool) -> int:
    """Return the factor by which an image of this size is reduced, or raise `InputError`."""
    w, h = size
    needed = BYTES_PER_PIXEL * w * h
    if needed > MAX_MEMORY:
        reason = f"it would take {needed / 2**30:.1f} GiB of memory, and the limit is {MAX_MEMORY / 2**30:.1f}"
        raise InputError(f"is too large ({w}×{h} pixels) to be decoded safely: {reason}; shrink it first")
    factor = next(k for k in (1, 2, 4, 8, 16) if -(-w // k) * -(-h // k) <= MAX_PIXELS)
    if whole and factor > 1:
        raise InputError(
            f"is too large ({w}×{h} pixels) to be compared: the limit is {MAX_PIXELS:,} pixels; repeat it smaller"
        )
    return factor


def _decode_16bit(data: bytes, factor: int, notes: list[str]) -> tuple[HostImage, Alpha | None] | None:
    """Decode 16-bit sRGB with or without alpha; None for other images, which are read with 8 bits."""
    upper, lower = (Pillow.open(io.BytesIO(data)) for _ in range(2))
    profile = srgb_profile()
    if factor > 1 or not decode_low_bytes(lower) or upper.info.get("icc_profile", profile) != profile:
        return None
    channels = np.array(_upright(upper, notes), np.float32)
    channels *= 256
    channels += np.asarray(_upright(lower, notes))
    channels /= 65535
    return channels[..., :3], channels[..., 3] if channels.shape[2] == 4 else None


def _decode_8bit(image: Pillow.Image, factor: int, notes: list[str]) -> tuple[HostImage, Alpha | None]:
    """Convert an image of any mode; gray with more than 8 bits keeps them."""
    image, alpha = _to_srgb(_reduced(image, factor, notes), notes), None
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"), np.float32) / 255
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _from_deep_gray(np.asarray(image, np.float32), image.mode), alpha
    array = np.array(image.convert("RGB"), np.float32)
    # In place, to avoid a second array of a large image.
    array /= 255
    return array, alpha


def _reduced(image: Pillow.Image, factor: int, notes: list[str]) -> Pillow.Image:
    """Return the upright image, reduced while it is decoded (JPEG), or else as bytes."""
    side = min(image.size)
    if factor > 1:
        image.draft(None, (image.width // factor, image.height // factor))
    left = factor // round(side / min(image.size))
    image = _upright(image, notes)
    if left == 1:
        return image
    if image.has_transparency_data:
        image = image.convert("RGBA")
    modes = {"1": "L", "P": "RGB"} | dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), "I")
    return image.convert(modes.get(image.mode, image.mode)).reduce(left)


def _upright(image: Pillow.Image, notes: list[str]) -> Pillow.Image:
    """Return the image turned in place by its EXIF; note EXIF that cannot be read."""
    image.load()
    try:
        with warnings.catch_warnings(record=True) as damage:
            warnings.simplefilter("always", UserWarning)
            ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:  # Pillow fails on hostile bytes with many exceptions.
        damage = [error]
    if damage:
        notes.append("has EXIF data that cannot be read; they are left aside")
    return image


def _to_srgb(image: Pillow.Image, notes: list[str]) -> Pillow.Image:
    """Convert colors by the embedded profile; note one that is damaged or of another color mode."""
    profile = image.info.get("icc_profile", b"")
    if profile == b"":
        return image
    if image.mode in ("P", "PA", "LA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    # Pillow reads a profile that it cannot decompress as None.
    if profile and image.mode in ("RGB", "RGBA", "CMYK", "L", "LAB"):
        target, mode = ImageCms.createProfile("sRGB"), "RGBA" if image.mode == "RGBA" else "RGB"
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(image, source, target, outputMode=mode) or image
    notes.append("has a color profile that cannot be used; it is left aside")
    return image


def _from_deep_gray(gray: Float[np.ndarray, "h w"], mode: str) -> HostImage:
    """Divide integers by 65535, and floats by 1, 255 or 65535, the first that covers the maximum."""
    gray = np.nan_to_num(gray, nan=0.0, posinf=0.0, neginf=0.0)
    maximum = gray.max()
    full = 65535 if mode != "F" or maximum > 255 else 255 if maximum > 1 else 1
    return np.repeat(np.clip(gray / full, 0, 1)[..., None], 3, -1)
