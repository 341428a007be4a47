"""Write the frames of a run as an animated WebP or MP4 file."""

import importlib.util
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from stylejax.errors import InputError, brief
from stylejax.files import check_writable, write_atomically
from stylejax.images.io import Pixels, quantize
from stylejax.images.resize import HostImage, fit_longest_side, resize

SUFFIXES = (".webp", ".mp4")

MAX_FRAMES = 120
"""Target number of frames of a long run: ten seconds of video."""

MAX_SIDE = 640
"""Longest side of a frame in pixels, because memory holds all frames until the end."""

FPS = 12
LAST_FRAME_SECONDS = 2


def check_video_output(path: Path) -> None:
    """Raise `InputError` unless a video can be written to `path`."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"cannot write the video {path}: its name should end in {' or '.join(SUFFIXES)}")
    if path.suffix.lower() == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise InputError(f"cannot write {path}: MP4 needs pip install 'stylejax[video]'; or name a .webp file")
    check_writable(path)


class VideoRecorder:
    """Frames of one size, taken at regular intervals of a run of `steps` steps."""

    def __init__(self, steps: int):
        self.interval, self.next_step = -(-steps // MAX_FRAMES), 0
        self.frames: list[Pixels] = []

    def wants_frame(self, step: int) -> bool:
        """Return whether the next frame is due at this step."""
        return step >= self.next_step

    def add(self, step: int, image: HostImage) -> None:
        """Append an image, shrunk to `MAX_SIDE` and to even sides, which MP4 encoders require."""
        side = min(MAX_SIDE, max(image.shape[:2]))
        h, w = (max(2, length // 2 * 2) for length in fit_longest_side(image.shape, side))
        self.frames.append(quantize(resize(image, h, w)))
        self.next_step = step + self.interval

    def write(self, path: Path) -> None:
        """Write the video, whole or not at all. Raises `InputError` if the disk or the encoder fails."""
        try:
            data = _webp(self.frames) if path.suffix.lower() == ".webp" else _mp4(self.frames)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"cannot write the video {path}: {brief(error)}") from None
        write_atomically(path, data)


def _webp(frames: list[Pixels]) -> bytes:
    (first, *others), buffer = [Pillow.fromarray(frame) for frame in frames], io.BytesIO()
    durations = [round(1000 / FPS)] * len(others) + [1000 * LAST_FRAME_SECONDS]
    first.save(buffer, "WEBP", save_all=True, append_images=others, duration=durations, loop=0, quality=80, method=2)
    return buffer.getvalue()


def _mp4(frames: list[Pixels]) -> bytes:
    import imageio_ffmpeg  # type: ignore[import-not-found]

    h, w = frames[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        writer = imageio_ffmpeg.write_frames(str(path), (w, h), fps=FPS, macro_block_size=2, quality=7)
        writer.send(None)
        for frame in [*frames, *frames[-1:] * (FPS * LAST_FRAME_SECONDS)]:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
        return path.read_bytes()
