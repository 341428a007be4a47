"""One run of the command line: files in, one file out, with a bar, a log, and an orderly end when it is interrupted."""

import dataclasses
import os
import secrets
import shlex
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylejax.cli_words import say
from stylejax.config import TransferConfig, files_of, option, part
from stylejax.errors import InputError

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from stylejax.images import Alpha, Picture
    from stylejax.regions import Masks
    from stylejax.run_file import Places
    from stylejax.transfer import Checkpoint, Result, Step

DONE, INTERRUPTED = 0, 130


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What is kept of a run."""

    log: Path | None = None
    """A file for the losses of every step, one JSON object a line."""
    checkpoint_every: int | None = None
    """Steps between saves of the whole state, from which stylejax resume goes on; 0 for none. Where nothing is said, about
    every 30 seconds."""
    metadata: bool = True
    """Write into the picture how it was made; the file OUT.json beside it says the same in any case."""
    save_every: int = 0
    """Steps between saves of the picture as it develops, in the place of the result; 0 for none."""
    video: Path | None = None
    """A file for the picture's development as a film: an animated .webp, or .mp4 with the extra video."""
    show: bool = False
    """Show the picture as it develops, in a terminal of 24-bit colour."""
    deterministic: bool = False
    """Have a GPU give the same bits in every run, which costs speed; the CPU does so by itself."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """What a run reads and writes."""

    content: Path
    styles: tuple[Path, ...]
    out: Path
    keeping: Keeping = Keeping()


def run_transfer(files: Files, config: TransferConfig, resume: Path | None = None) -> int:
    """Files in, one file out; `resume` is the file of an interrupted run of the same files and config."""
    content, alpha, styles, masks = _read_inputs(files, config)
    if files.keeping.deterministic:
        from stylejax.machine import deterministic

        deterministic()
    start_jax()
    from stylejax.checks import check_run
    from stylejax.cli_watch import Wanted, Watcher
    from stylejax.images import lay, resize
    from stylejax.manifest import Manifest, embedded, outcome, recipe, write_beside
    from stylejax.progress import RunLog, progress_bar
    from stylejax.reconstruct import psnr
    from stylejax.run_file import Keeper, read_checkpoint, read_position, run_file
    from stylejax.sources import resolve
    from stylejax.strict_json import plain
    from stylejax.transfer import transfer, vgg_of

    parameters, explanation = resolve(config.weights, config.seed)
    checked = check_run(config, parameters.network, content.shape, [image.shape for image in styles], masks)
    # What was decided is part of the recipe, so that another machine makes the same picture.
    config = dataclasses.replace(config, tile=checked.tile, shard=checked.shard)
    made_of = recipe(files.content, files.styles, config, parameters)
    checkpoint, before = None, 0.0
    if resume:
        before = read_position(resume).seconds
        checkpoint = read_checkpoint(resume, checked, content.shape, [image.shape for image in styles])
    say(explanation)
    vgg = vgg_of(config, parameters)
    mesh = row_mesh(config)
    kept = files.keeping
    keeper = Keeper(run_file(files.out), made_of, _places(files, config), kept.checkpoint_every, say, before)
    wanted = Wanted(files.out, kept.save_every, kept.video, kept.show)
    if mesh and any(wanted[1:]):
        raise InputError(
            "--save-every, --video and --show can not be combined with --shard, whose picture is in parts until its end; leave "
            "them out"
        )
    watcher = Watcher(wanted, config, content, alpha, masks)
    with closing(RunLog(files.keeping.log, before, complain=say)) as run_log:
        start = plain(made_of)
        run_log.write("resume" if resume else "start", **start, **start.pop("environment"))
        with (
            progress_bar(picture=(lambda: watcher.picture) if watcher.shows else None) as bar,
            graceful_interrupt() as interrupted,
        ):

            def watch(step: "Step") -> bool:
                bar(step)
                run_log.step(step)
                return interrupted()

            def keep(checkpoint: "Checkpoint") -> None:
                keeper.keep(checkpoint, now=interrupted())
                watcher(checkpoint)

            options = {
                "vgg": vgg,
                "config": config,
                "callback": watch,
                "keep": keep,
                "resume": checkpoint,
                "mesh": mesh,
            }
            result = transfer(content, styles, masks=masks, **options)
        watcher.end(result.steps, result.image)
        image, alpha = lay(result.image, alpha, files.out)
        result = result._replace(image=image)
        manifest = Manifest(made_of, outcome(result, time.perf_counter() - run_log.began, config.bits))
        _save(files.out, image, embedded(manifest) if files.keeping.metadata else "", alpha, config.bits)
        write_beside(files.out, manifest)
        run_log.end(result)
    if not result.stopped:
        keeper.remove()
    if not styles:
        print(f"PSNR {psnr(result.image, resize(content, *result.image.shape[:2])):.1f} dB")
    return _report(result, files, keeper.path if keeper.written else None)


def _read_inputs(files: Files, config: TransferConfig) -> "tuple[Picture, Alpha | None, list[Picture], Masks]":
    """The pictures with the content's alpha, and the masks, after all that can be checked without them."""
    from stylejax.film import check_film
    from stylejax.images import check_output, check_writable, keeps_alpha, read_image, read_picture
    from stylejax.manifest import beside, check_beside
    from stylejax.regions import read_masks

    log = files.keeping.log
    check_output(files.out, config.bits)
    check_beside(files.out)
    others = (files.content, *files.styles, files.out, beside(files.out), *config_paths(config))
    if log:
        check_writable(log)
        _check_apart("log", log, others)
    if files.keeping.save_every < 0:
        raise InputError(f"--save-every is {files.keeping.save_every}; it should be a whole number of 0 or more")
    if files.keeping.save_every and files.out.resolve() in [
        path.resolve() for path in (files.content, *files.styles, *config_paths(config))
    ]:
        raise InputError(f"--save-every would write over {files.out} while it is needed; name another picture with -o")
    if files.keeping.video:
        check_film(files.keeping.video)
        _check_apart("video", files.keeping.video, (*others, *([log] if log else [])))
    for path in files_of(config)["init"]:
        read_image(path)
    content, alpha = read_picture(files.content)
    if alpha is not None and not keeps_alpha(files.out):
        say(f"note: {files.out.suffix} files are opaque: the picture lies on white; PNG, WebP and TIFF keep the alpha")
    return content, alpha, [read_image(path) for path in files.styles], read_masks(config)


def config_paths(config: TransferConfig) -> list[Path]:
    """The files that a config names."""
    return [Path(path) for paths in files_of(config).values() for path in paths] + [Path(config.weights)]


def _places(files: Files, config: TransferConfig) -> "Places":
    from stylejax.manifest import NETWORKS
    from stylejax.run_file import Places

    def seen(path: str | Path) -> str:
        try:
            return os.path.relpath(path, files.out.parent)
        except ValueError:  # Another drive.
            return os.path.abspath(path)

    pictures = {name: tuple(seen(path) for path in paths) for name, paths in files_of(config).items()}
    weights = config.weights if config.weights in NETWORKS else seen(config.weights)
    return Places(seen(files.content), tuple(seen(style) for style in files.styles), pictures, weights)


def row_mesh(config: TransferConfig) -> "Mesh | None":
    """The devices that share a picture's rows, if they do."""
    import jax

    devices = part("shard", config.shard) or 1
    if devices == 1:
        return None
    kinds, there = (jax.sharding.AxisType.Auto,), jax.local_devices()[:devices]
    return jax.make_mesh((devices,), ("rows",), axis_types=kinds, devices=there)


def _save(out: Path, *picture: Any) -> None:
    """Writes the picture or, where that has become impossible since it was checked, elsewhere, and tells the place."""
    from stylejax.images import write_image

    try:
        return write_image(out, *picture)
    except InputError as error:
        for folder in (Path.cwd(), Path.home(), Path(tempfile.gettempdir())):
            other = folder / f"{out.stem}-{secrets.token_hex(4)}{out.suffix}"
            if _written(other, *picture):
                raise InputError(f"{error}; the picture was saved as {other}") from None
        raise


def _written(path: Path, *picture: Any) -> bool:
    from stylejax.images import write_image

    try:
        write_image(path, *picture)
    except InputError:
        return False
    return True


def start_jax() -> None:
    """Keeps compiled programs in the user's cache, so that the second run of a size starts at once."""
    import jax

    from stylejax.sources import cache_folder

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _report(result: "Result", files: Files, run: Path | None) -> int:
    h, w = result.image.shape[:2]
    print(f"{files.out}: {w}×{h}, loss {result.loss:.4g} after {result.evaluations} evaluations")
    if not result.stopped:
        return DONE
    how = f"; to go on: {shlex.join(['stylejax', 'resume', str(run), *options_of(files.keeping)])}" if run else ""
    say(f"stylejax: interrupted after {result.steps} steps; the best picture so far was saved{how}")
    return INTERRUPTED


@contextmanager
def graceful_interrupt() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C or SIGTERM into a flag that ends the run after its step; a second one ends it at once."""
    asked: list[int] = []

    def ask(number: int, _: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_apart(what: str, path: Path, files: Sequence[Path]) -> None:
    if path.resolve() in [file.resolve() for file in files]:
        raise InputError(f"can not write the {what} {path}: it is one of the other files; name another one")


def options_of(chosen: Any) -> list[str]:
    """The words that make a group of options out of its default one."""
    default = type(chosen)()
    changed = {f.name: value for f in fields(chosen) if (value := getattr(chosen, f.name)) != getattr(default, f.name)}
    return [word for name, value in changed.items() for word in _option(name, value)]


def _option(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [option(name) if value else option(f"no_{name}")]
    return [option(name), ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
