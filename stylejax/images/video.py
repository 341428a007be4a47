"""A run as a film: pictures in the order they were made, in one animated WebP or MP4 file."""

import importlib.util
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from stylejax.errors import InputError, brief
from stylejax.files import check_writable, write_atomically
from stylejax.images.io import Pixels, levels
from stylejax.images.resize import Picture, fit, resize

SUFFIXES = (".webp", ".mp4")

FRAMES = 120
"""At most, but for the last: ten seconds."""

LONGEST = 640
"""Longest side: all frames lie in memory until the end."""

PER_SECOND = 12
STILL = 2
"""Seconds for which the last frame stands."""


def check_film(path: Path) -> None:
    """Raises `InputError` unless a film can be written to `path`."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"cannot write the video {path}: its name should end in {' or '.join(SUFFIXES)}")
    if path.suffix.lower() == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise InputError(f"cannot write {path}: MP4 needs pip install 'stylejax[video]'; or name a .webp file")
    check_writable(path)


class Film:
    """Takes a picture every so many of `steps`, so that there are `FRAMES` at most. All are of one size."""

    def __init__(self, steps: int):
        self.every, self.next = max(1, steps // FRAMES), 0
        self.frames: list[Pixels] = []

    def is_due(self, step: int) -> bool:
        """Whether a frame of this step is wanted."""
        return step >= self.next

    def add(self, step: int, image: Picture) -> None:
        """A frame."""
        # The encoders of MP4 want even sides.
        h, w = (max(2, side // 2 * 2) for side in fit(image.shape, min(LONGEST, max(image.shape[:2]))))
        self.frames.append(levels(resize(image, h, w)))
        self.next = step + self.every

    def write(self, path: Path) -> None:
        """Whole or not at all; raises `InputError` if the disk or the encoder does not take it."""
        try:
            data = _webp(self.frames) if path.suffix.lower() == ".webp" else _mp4(self.frames)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"cannot write the video {path}: {brief(error)}") from None
        write_atomically(path, data)


def _webp(frames: list[Pixels]) -> bytes:
    images, buffer = [Pillow.fromarray(frame) for frame in frames], io.BytesIO()
    durations = [round(1000 / PER_SECOND)] * (len(frames) - 1) + [1000 * STILL]
    images[0].save(
        buffer, "WEBP", save_all=True, append_images=images[1:], duration=durations, loop=0, quality=80, method=2
    )
    return buffer.getvalue()


def _mp4(frames: list[Pixels]) -> bytes:
    import imageio_ffmpeg  # type: ignore[import-not-found]

    h, w = frames[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        writer = imageio_ffmpeg.write_frames(str(path), (w, h), fps=PER_SECOND, macro_block_size=2, quality=7)
        writer.send(None)
        for frame in [*frames, *frames[-1:] * (PER_SECOND * STILL)]:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
        return path.read_bytes()
