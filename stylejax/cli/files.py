"""Files that one run reads and writes, checked before the work starts."""

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stylejax.cli.parsing import print_stderr
from stylejax.config import TransferConfig, input_files
from stylejax.config_validation import require
from stylejax.errors import InputError

if TYPE_CHECKING:
    from stylejax.images.resize import HostImage
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
    save_numbered: bool = False
    """Previews of --save-every in files of their own: OUT_0050.png for step 50 of OUT.png."""
    video: Path | None = None
    """Video file of the image's development: animated .webp, or .mp4 (needs the extra `video`)."""
    show: bool = False
    """Preview of the image in a terminal of 256 or more colors."""
    deterministic: bool = False
    """Bit-for-bit reproducible results on a GPU, at lower speed; results on a CPU always are."""


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """Input images, output image and output options of a run.

    `recorded` are the files from which `rerun` repeats a run; they are inputs too.
    """

    content: Path
    styles: tuple[Path, ...]
    out: Path
    output: OutputOptions = OutputOptions()
    recorded: tuple[Path, ...] = ()


class Inputs(NamedTuple):
    """Images and masks of a run."""

    content: "HostImage"
    styles: "list[HostImage]"
    masks: "Masks"


def read_inputs(files: RunFiles, config: TransferConfig, resume: Path | None) -> Inputs:
    """Read the images of a run after checking its output files. Raise `InputError` for unusable files."""
    from stylejax.images.io import read_image_with_alpha, supports_alpha

    _check_outputs(files, config, resume)
    for path in input_files(config)["init"]:
        read_image_with_alpha(path)
    inputs = load_inputs(files.content, files.styles, config)
    if inputs.masks.content_alpha is not None and not supports_alpha(files.out):
        print_stderr(
            f"note: {files.out.suffix} files are opaque: the image is put on white; PNG, WebP and TIFF keep the alpha"
        )
    return inputs


def load_inputs(content: Path, styles: Sequence[Path], config: TransferConfig) -> Inputs:
    """Read the images and masks of a run."""
    from stylejax.images.io import read_image_with_alpha
    from stylejax.synthesis.regions import read_masks

    (image, *style_images), alpha = zip(*map(read_image_with_alpha, (content, *styles)), strict=True)
    return Inputs(image, style_images, read_masks(config, alpha))


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

    folders: tuple[Callable[[], Any], ...] = (Path.cwd, Path.home, tempfile.gettempdir)
    try:
        return write_image(out, *image)
    except InputError as error:
        for folder in folders:
            # A process may have no home, and its current folder may have been deleted.
            with contextlib.suppress(InputError, OSError, RuntimeError):
                other = Path(folder()) / f"{out.stem[:100]}-{secrets.token_hex(4)}{out.suffix}"
                write_image(other, *image)
                break
        else:
            raise
        raise InputError(f"{error}; the image was saved as {other}") from None


@contextmanager
def after_writing(path: Path) -> Iterator[None]:
    """Let an error of a further file say that `path` was written."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}; {path} was written before") from None


def _check_outputs(files: RunFiles, config: TransferConfig, resume: Path | None) -> None:
    from stylejax.files import check_distinct, check_writable
    from stylejax.images.io import check_writable_image
    from stylejax.images.video import check_video_output
    from stylejax.runs.checkpoint import check_unused, checkpoint_path
    from stylejax.runs.manifest import check_sidecar, sidecar_path
    from stylejax.runs.provenance import config_paths

    options, out = files.output, files.out
    check_writable_image(out, config.bit_depth)
    check_sidecar(out)
    if options.log:
        check_writable(options.log)
    if options.video:
        check_video_output(options.video)
    outputs = {"the image": out, "the manifest": sidecar_path(out), "the checkpoint": checkpoint_path(out)}
    outputs |= {f"the {name}": path for name in ("log", "video") if (path := getattr(options, name))}
    inputs = [*files.recorded, files.content, *files.styles, *config_paths(config)]
    if options.save_numbered:
        # An input with the name of a preview counts as an output, and so is refused.
        numbered = re.compile(rf"{re.escape(out.stem)}_\d+{re.escape(out.suffix)}")
        outputs |= {f"step {path.stem}": path for path in inputs if numbered.fullmatch(path.name)}
    check_distinct(outputs, inputs)
    for name in ("save_every", "checkpoint_every"):
        value = getattr(options, name) or 0
        require(name, value, value >= 0, "a whole number of 0 or more")
    if options.save_numbered and not options.save_every:
        raise InputError("--save-numbered needs --save-every; give the steps between the images")
    if not resume:
        check_unused(checkpoint_path(out))
