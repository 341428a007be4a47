"""What one run of the command line reads and writes, checked before the work and kept after it."""

import os
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stylejax.cli.parsing import say
from stylejax.config import TransferConfig, files_of
from stylejax.errors import InputError

if TYPE_CHECKING:
    from stylejax.images.resize import Alpha, Picture
    from stylejax.runs.provenance import InputPaths
    from stylejax.synthesis.regions import Masks


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Files besides the image, and previews."""

    log: Path | None = None
    """A file for the losses of every step, one JSON object a line."""
    checkpoint_every: int | None = None
    """Steps between saves of the whole state, from which stylejax resume goes on; 0 for none.
    By default about every 30 seconds."""
    metadata: bool = True
    """Write into the picture how it was made; the file OUT.json beside it says the same in any case."""
    save_every: int = 0
    """Steps between saves of the picture as it develops, in the place of the result; 0 for none."""
    video: Path | None = None
    """A file for the picture's development as a film: an animated .webp, or .mp4 with the extra video."""
    show: bool = False
    """Show the picture as it develops, in a terminal of 256 or, better, all colors."""
    deterministic: bool = False
    """Have a GPU give the same bits in every run, which costs speed; the CPU does so by itself."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """What a run reads and writes."""

    content: Path
    styles: tuple[Path, ...]
    out: Path
    output: OutputOptions = OutputOptions()


class Inputs(NamedTuple):
    """The pictures, the content's alpha, and the masks."""

    content: "Picture"
    alpha: "Alpha | None"
    styles: "list[Picture]"
    masks: "Masks"


def read_inputs(files: Files, config: TransferConfig) -> Inputs:
    """What a run needs of its files, after all that can be checked without them."""
    from stylejax.files import check_writable
    from stylejax.images.io import check_output, keeps_alpha, read_image, read_picture
    from stylejax.images.video import check_film
    from stylejax.runs.manifest import beside, check_beside
    from stylejax.synthesis.regions import read_masks

    log = files.output.log
    check_output(files.out, config.bits)
    check_beside(files.out)
    others = (files.content, *files.styles, files.out, beside(files.out), *config_paths(config))
    if log:
        check_writable(log)
        _check_apart("log", log, others)
    if files.output.save_every < 0:
        raise InputError(f"--save-every is {files.output.save_every}; it should be a whole number of 0 or more")
    if files.output.save_every and files.out.resolve() in [
        path.resolve() for path in (files.content, *files.styles, *config_paths(config))
    ]:
        raise InputError(f"--save-every would write over {files.out} while it is needed; name another picture with -o")
    if files.output.video:
        check_film(files.output.video)
        _check_apart("video", files.output.video, (*others, *([log] if log else [])))
    for path in files_of(config)["init"]:
        read_image(path)
    content, alpha = read_picture(files.content)
    if alpha is not None and not keeps_alpha(files.out):
        say(f"note: {files.out.suffix} files are opaque: the picture lies on white; PNG, WebP and TIFF keep the alpha")
    return Inputs(content, alpha, [read_image(path) for path in files.styles], read_masks(config))


def config_paths(config: TransferConfig) -> list[Path]:
    """The files that a config names."""
    return [Path(path) for paths in files_of(config).values() for path in paths] + [Path(config.weights)]


def places(files: Files, config: TransferConfig) -> "InputPaths":
    """Return the paths of the inputs, seen from the result."""
    from stylejax.runs.provenance import NETWORKS, InputPaths

    def seen(path: str | Path) -> str:
        try:
            return os.path.relpath(path, files.out.parent)
        except ValueError:  # Another drive.
            return os.path.abspath(path)

    pictures = {name: tuple(seen(path) for path in paths) for name, paths in files_of(config).items()}
    weights = config.weights if config.weights in NETWORKS else seen(config.weights)
    return InputPaths(seen(files.content), tuple(seen(style) for style in files.styles), pictures, weights)


def write_somewhere(out: Path, *picture: Any) -> None:
    """Writes the picture or, where that has become impossible since it was checked, elsewhere, and tells the place."""
    from stylejax.images.io import write_image

    try:
        return write_image(out, *picture)
    except InputError as error:
        for folder in (Path.cwd(), Path.home(), Path(tempfile.gettempdir())):
            other = folder / f"{out.stem}-{secrets.token_hex(4)}{out.suffix}"
            if _written(other, *picture):
                raise InputError(f"{error}; the picture was saved as {other}") from None
        raise


def _written(path: Path, *picture: Any) -> bool:
    from stylejax.images.io import write_image

    try:
        write_image(path, *picture)
    except InputError:
        return False
    return True


def _check_apart(what: str, path: Path, files: Sequence[Path]) -> None:
    if path.resolve() in [file.resolve() for file in files]:
        raise InputError(f"cannot write the {what} {path}: it is one of the other files; name another one")
