"""Files that one run reads and writes, checked before the work starts."""

import os
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stylejax.cli.parsing import print_stderr
from stylejax.config import TransferConfig, input_files
from stylejax.errors import InputError

if TYPE_CHECKING:
    from stylejax.images.resize import Alpha, HostImage
    from stylejax.runs.provenance import InputPaths
    from stylejax.synthesis.regions import Masks


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Files besides the image, and previews."""

    log: Path | None = None
    """Log file of the losses of every step, one JSON object per line."""
    checkpoint_every: int | None = None
    """Steps between checkpoints for stylejax resume; 0 writes none. By default about every 30 seconds."""
    metadata: bool = True
    """Embedding of the run's provenance in the image; OUT.json beside it always holds the same."""
    save_every: int = 0
    """Steps between previews saved in place of the result; 0 saves none."""
    video: Path | None = None
    """Video file of the image's development: animated .webp, or .mp4 (needs the extra `video`)."""
    show: bool = False
    """Preview of the image in a terminal of 256 or more colors."""
    deterministic: bool = False
    """Bit-for-bit reproducible results on a GPU, at lower speed; results on a CPU always are."""


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """Input images, output image and output options of a run."""

    content: Path
    styles: tuple[Path, ...]
    out: Path
    output: OutputOptions = OutputOptions()


class Inputs(NamedTuple):
    """Images, alpha of the content, and masks of a run."""

    content: "HostImage"
    alpha: "Alpha | None"
    styles: "list[HostImage]"
    masks: "Masks"


def read_inputs(files: RunFiles, config: TransferConfig) -> Inputs:
    """Read the images of a run after checking its output files. Raise `InputError` for unusable files."""
    from stylejax.images.io import read_image, read_image_with_alpha, supports_alpha
    from stylejax.synthesis.regions import read_masks

    _check_outputs(files, config)
    for path in input_files(config)["init"]:
        read_image(path)
    content, alpha = read_image_with_alpha(files.content)
    if alpha is not None and not supports_alpha(files.out):
        print_stderr(
            f"note: {files.out.suffix} files are opaque: the image is put on white; PNG, WebP and TIFF keep the alpha"
        )
    return Inputs(content, alpha, [read_image(path) for path in files.styles], read_masks(config))


def config_paths(config: TransferConfig) -> list[Path]:
    """Return the files that a config names."""
    return [Path(path) for paths in input_files(config).values() for path in paths] + [Path(config.weights)]


def input_paths(files: RunFiles, config: TransferConfig) -> "InputPaths":
    """Return the paths of the inputs relative to the folder of the result."""
    from stylejax.runs.provenance import NETWORKS, InputPaths

    def relative(path: str | Path) -> str:
        try:
            return os.path.relpath(path, files.out.parent)
        except ValueError:  # Another drive.
            return os.path.abspath(path)

    images = {name: tuple(relative(path) for path in paths) for name, paths in input_files(config).items()}
    weights = config.weights if config.weights in NETWORKS else relative(config.weights)
    return InputPaths(relative(files.content), tuple(relative(style) for style in files.styles), images, weights)


def write_with_fallback(out: Path, *image: Any) -> None:
    """Write the image, or save it in another folder and raise `InputError` if `out` has become unwritable."""
    from stylejax.images.io import write_image

    try:
        return write_image(out, *image)
    except InputError as error:
        for folder in (Path.cwd(), Path.home(), Path(tempfile.gettempdir())):
            other = folder / f"{out.stem}-{secrets.token_hex(4)}{out.suffix}"
            try:
                write_image(other, *image)
            except InputError:
                continue
            raise InputError(f"{error}; the image was saved as {other}") from None
        raise


def _check_outputs(files: RunFiles, config: TransferConfig) -> None:
    from stylejax.files import check_writable
    from stylejax.images.io import check_writable_image
    from stylejax.images.video import check_video_output
    from stylejax.runs.manifest import check_sidecar, sidecar_path

    log, video, save_every = files.output.log, files.output.video, files.output.save_every
    check_writable_image(files.out, config.bit_depth)
    check_sidecar(files.out)
    inputs = [files.content, *files.styles, *config_paths(config)]
    others = [*inputs, files.out, sidecar_path(files.out)]
    if log:
        check_writable(log)
        _check_distinct("log", log, others)
    if save_every < 0:
        raise InputError(f"--save-every must be a whole number of 0 or more, got {save_every}")
    if save_every and files.out.resolve() in [path.resolve() for path in inputs]:
        raise InputError(f"--save-every would overwrite {files.out} while it is needed; name another image with -o")
    if video:
        check_video_output(video)
        _check_distinct("video", video, [*others, *([log] if log else [])])


def _check_distinct(kind: str, path: Path, files: Sequence[Path]) -> None:
    if path.resolve() in [file.resolve() for file in files]:
        raise InputError(f"cannot write the {kind} {path}: it is one of the other files; name another one")
