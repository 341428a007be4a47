"""One run of the command line: files in, one file out, with a bar, a log, and an orderly end when it is interrupted."""

import os
import secrets
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylejax.config import FIRST_IMAGES, TransferConfig, option
from stylejax.errors import InputError

if TYPE_CHECKING:
    from stylejax.images import Picture
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
    content, styles = _read_inputs(files, config)
    if files.keeping.deterministic:
        from stylejax.machine import deterministic

        deterministic()
    start_jax()
    from stylejax.images import resize
    from stylejax.manifest import Manifest, embedded, outcome, recipe, write_beside
    from stylejax.progress import RunLog, progress_bar
    from stylejax.reconstruct import psnr
    from stylejax.run_file import Keeper, read_checkpoint, read_position, run_file
    from stylejax.sources import resolve
    from stylejax.strict_json import plain
    from stylejax.transfer import check_run, transfer
    from stylejax.vgg import build_vgg

    parameters, explanation = resolve(config.weights, config.seed)
    checked = check_run(config, parameters.network, content.shape, [image.shape for image in styles])
    made_of = recipe(files.content, files.styles, config, parameters)
    checkpoint, before = None, 0.0
    if resume:
        before = read_position(resume).seconds
        checkpoint = read_checkpoint(resume, checked, content.shape, [image.shape for image in styles])
    say(explanation)
    vgg = build_vgg(parameters, config.pooling, padding=config.padding, precision=config.precision)
    every = files.keeping.checkpoint_every
    keeper = Keeper(run_file(files.out), made_of, _places(files, config), every, say, before)
    with closing(RunLog(files.keeping.log, before, complain=say)) as run_log:
        start = plain(made_of)
        run_log.write("resume" if resume else "start", **start, **start.pop("environment"))
        with progress_bar() as bar, _graceful_interrupt() as interrupted:

            def watch(step: "Step") -> bool:
                bar(step)
                run_log.step(step)
                return interrupted()

            def keep(checkpoint: "Checkpoint") -> None:
                keeper.keep(checkpoint, now=interrupted())

            result = transfer(content, styles, vgg=vgg, config=config, callback=watch, keep=keep, resume=checkpoint)
        manifest = Manifest(made_of, outcome(result, time.perf_counter() - run_log.began))
        _save(files.out, result.image, embedded(manifest) if files.keeping.metadata else "")
        write_beside(files.out, manifest)
        run_log.end(result)
    if not result.stopped:
        keeper.remove()
    if not styles:
        print(f"PSNR {psnr(result.image, resize(content, *result.image.shape[:2])):.1f} dB")
    return _report(result, files, keeper.path if keeper.written else None)


def _read_inputs(files: Files, config: TransferConfig) -> "tuple[Picture, list[Picture]]":
    """The pictures, after all that can be checked without them."""
    from stylejax.images import check_output, check_writable, read_image
    from stylejax.manifest import beside, check_beside

    log = files.keeping.log
    check_output(files.out)
    check_beside(files.out)
    if log:
        check_writable(log)
        _check_apart(
            log, (files.content, *files.styles, files.out, beside(files.out), Path(config.init), Path(config.weights))
        )
    if config.init not in FIRST_IMAGES:
        read_image(config.init)
    return read_image(files.content), [read_image(path) for path in files.styles]


def _places(files: Files, config: TransferConfig) -> "Places":
    from stylejax.manifest import NETWORKS
    from stylejax.run_file import Places

    def seen(path: str | Path) -> str:
        try:
            return os.path.relpath(path, files.out.parent)
        except ValueError:  # Another drive.
            return os.path.abspath(path)

    init = None if config.init in FIRST_IMAGES else seen(config.init)
    weights = config.weights if config.weights in NETWORKS else seen(config.weights)
    return Places(seen(files.content), tuple(seen(style) for style in files.styles), init, weights)


def _save(out: Path, image: "Picture", text: str) -> None:
    """Writes the picture or, where that has become impossible since it was checked, elsewhere, and tells the place."""
    from stylejax.images import write_image

    try:
        return write_image(out, image, text)
    except InputError as error:
        for folder in (Path.cwd(), Path.home(), Path(tempfile.gettempdir())):
            other = folder / f"{out.stem}-{secrets.token_hex(4)}{out.suffix}"
            if _written(other, image, text):
                raise InputError(f"{error}; the picture was saved as {other}") from None
        raise


def _written(path: Path, image: "Picture", text: str) -> bool:
    from stylejax.images import write_image

    try:
        write_image(path, image, text)
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
def _graceful_interrupt() -> Iterator[Callable[[], bool]]:
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


def _check_apart(log: Path, files: Sequence[Path]) -> None:
    if log.resolve() in [file.resolve() for file in files]:
        raise InputError(f"can not write the log {log}: it is one of the other files; name another one")


def options_of(chosen: Any) -> list[str]:
    """The words that make a group of options out of its default one."""
    default = type(chosen)()
    changed = {f.name: value for f in fields(chosen) if (value := getattr(chosen, f.name)) != getattr(default, f.name)}
    return [word for name, value in changed.items() for word in _option(name, value)]


def _option(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [option(name) if value else option(f"no_{name}")]
    return [option(name), ",".join(value) if isinstance(value, tuple) else str(value)]


def say(line: str) -> None:
    """To standard error; what a program may read goes to standard output."""
    print(line, file=sys.stderr)
