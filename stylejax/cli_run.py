"""One run of the command line: files in, one file out, with a bar, a log, and an orderly end when it is interrupted."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylejax.config import TransferConfig
from stylejax.errors import InputError

if TYPE_CHECKING:
    from stylejax.images import Picture
    from stylejax.transfer import Result, Step
    from stylejax.vgg import Parameters

DONE, INTERRUPTED = 0, 130


def run_transfer(
    content: Path,
    styles: Sequence[Path],
    out: Path,
    config: TransferConfig,
    log: Path | None,
    note: "Callable[[Result, Picture], str] | None" = None,
) -> int:
    """Files in, one file out. `note` says more of the result, given the content at the result's size."""
    from stylejax.images import check_output, check_writable, read_image, resize, write_image

    check_output(out)
    if log:
        check_writable(log)
        _check_apart(log, (content, *styles, out, Path(config.init), Path(config.weights)))
    content_image, style_images = read_image(content), [read_image(path) for path in styles]
    if config.init not in ("content", "noise", "style"):
        read_image(config.init)
    start_jax()
    from stylejax.progress import RunLog, progress_bar
    from stylejax.sources import resolve
    from stylejax.transfer import check_run, transfer
    from stylejax.vgg import build_vgg

    parameters, explanation = resolve(config.weights, config.seed)
    check_run(config, parameters.network, content_image.shape, [image.shape for image in style_images])
    say(explanation)
    vgg = build_vgg(parameters, config.pooling, padding=config.padding)
    with closing(RunLog(log)) as run_log:
        if log:
            run_log.write("start", **_start(content, styles, config, parameters))
        with progress_bar() as bar, _graceful_interrupt() as interrupted:

            def watch(step: "Step") -> bool:
                bar(step)
                run_log.step(step)
                return interrupted()

            result = transfer(content_image, style_images, vgg=vgg, config=config, callback=watch)
        write_image(out, result.image)
        run_log.end(result)
    if note:
        say(note(result, resize(content_image, *result.image.shape[:2])))
    return _report(result, out)


def start_jax() -> None:
    """Keeps compiled programs in the user's cache, so that the second run of a size starts at once."""
    import jax

    from stylejax.sources import cache_folder

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _start(content: Path, styles: Sequence[Path], config: TransferConfig, parameters: "Parameters") -> dict[str, Any]:
    """What the run is made of: config, inputs, network, versions, device."""
    import hashlib

    from stylejax.checkpoint import parameters_hash
    from stylejax.progress import environment

    inputs = [{"name": p.name, "sha256": hashlib.sha256(p.read_bytes()).hexdigest()} for p in (content, *styles)]
    network = {
        "network": parameters.network,
        "source": parameters.source,
        "sha256": parameters_hash(parameters),
    }
    return {
        "config": asdict(config),
        "content": inputs[0],
        "styles": inputs[1:],
        "weights": network,
        **environment(),
    }


def _report(result: "Result", out: Path) -> int:
    h, w = result.image.shape[:2]
    print(f"{out}: {w}×{h}, loss {result.loss:.4g} after {result.evaluations} evaluations")
    if result.stopped:
        say(f"stylejax: interrupted after {result.steps} steps; the best picture so far was saved")
        return INTERRUPTED
    return DONE


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


def say(line: str) -> None:
    """To standard error; what a program may read goes to standard output."""
    print(line, file=sys.stderr)
