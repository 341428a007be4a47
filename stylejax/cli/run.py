"""One run of the command line: files in, one file out, with a bar, a log, and an orderly end when it is interrupted."""

import dataclasses
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylejax.cli.files import Files, Inputs, places, read_inputs, write_somewhere
from stylejax.cli.parsing import say
from stylejax.config import TransferConfig, part
from stylejax.config_validation import option

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from stylejax.cli.display import Watcher
    from stylejax.runs.checkpoint import Keeper
    from stylejax.runs.event_log import RunLog
    from stylejax.runs.provenance import Recipe
    from stylejax.synthesis.transfer import Checkpoint, Result, Step

DONE, INTERRUPTED = 0, 130


def run_transfer(files: Files, config: TransferConfig, resume: Path | None = None) -> int:
    """Files in, one file out; `resume` is the file of an interrupted run of the same files and config."""
    inputs = read_inputs(files, config)
    if files.keeping.deterministic:
        from stylejax.runs.environment import deterministic

        deterministic()
    start_jax()
    from stylejax.cli.display import Watcher, check_watching
    from stylejax.models.normalize import check_scale
    from stylejax.models.pretrained import resolve
    from stylejax.runs.checkpoint import Keeper, read_checkpoint, read_position, run_file
    from stylejax.runs.event_log import RunLog
    from stylejax.runs.provenance import recipe
    from stylejax.runs.schema import plain
    from stylejax.synthesis.transfer import vgg_of
    from stylejax.synthesis.validation import check_run

    shapes = inputs.content.shape, [image.shape for image in inputs.styles]
    parameters, explanation = resolve(config.weights, config.seed)
    check_scale(config.losses, parameters.normalized)
    checked = check_run(config, parameters.network, *shapes, inputs.masks)
    # What was decided is part of the recipe, so that another machine makes the same picture.
    config = dataclasses.replace(config, tile=checked.tile, shard=checked.shard)
    check_watching(files.keeping, config)
    made_of = recipe(files.content, files.styles, config, parameters)
    before = read_position(resume).seconds if resume else 0.0
    checkpoint = read_checkpoint(resume, checked, *shapes) if resume else None
    say(explanation)
    every = files.keeping.checkpoint_every
    keeper = Keeper(run_file(files.out), made_of, places(files, config), every, say, before)
    watcher = Watcher(files, config, inputs)
    with closing(RunLog(files.keeping.log, before, complain=say)) as run_log:
        start = plain(made_of)
        run_log.write("resume" if resume else "start", **start, **start.pop("environment"))
        given = {"config": config, "vgg": vgg_of(config, parameters), "mesh": row_mesh(config), "resume": checkpoint}
        result = _watched(inputs, given, run_log, keeper, watcher)
        watcher.end(result.steps, result.image)
        result = _written(files, config, inputs, made_of, result, time.perf_counter() - run_log.began)
        run_log.end(result)
    if not result.stopped:
        keeper.remove()
    return _report(result, files, inputs, keeper.path if keeper.written else None)


def _watched(
    inputs: Inputs, given: dict[str, Any], run_log: "RunLog", keeper: "Keeper", watcher: "Watcher"
) -> "Result":
    """The transfer, with a bar and a log of its steps; its state is kept, and the picture watched, between them."""
    from stylejax.runs.event_log import progress_bar
    from stylejax.synthesis.transfer import transfer

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

        return transfer(inputs.content, inputs.styles, masks=inputs.masks, callback=watch, keep=keep, **given)


def _written(
    files: Files, config: TransferConfig, inputs: Inputs, made_of: "Recipe", result: "Result", seconds: float
) -> "Result":
    """Writes the picture with its manifest in it and beside it; the result as it was written."""
    from stylejax.images.io import lay
    from stylejax.runs.manifest import Manifest, embedded, outcome, write_beside

    image, alpha = lay(result.image, inputs.alpha, files.out)
    result = result._replace(image=image)
    manifest = Manifest(made_of, outcome(result, seconds, config.bits))
    write_somewhere(files.out, image, embedded(manifest) if files.keeping.metadata else "", alpha, config.bits)
    write_beside(files.out, manifest)
    return result


def _report(result: "Result", files: Files, inputs: Inputs, run: Path | None) -> int:
    from stylejax.images.resize import resize
    from stylejax.synthesis.reconstruct import psnr

    h, w = result.image.shape[:2]
    if not inputs.styles:
        print(f"PSNR {psnr(result.image, resize(inputs.content, h, w)):.1f} dB")
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


def start_jax() -> None:
    """Keeps compiled programs in the user's cache, so that the second run of a size starts at once."""
    import jax

    from stylejax.models.download import cache_folder

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def row_mesh(config: TransferConfig) -> "Mesh | None":
    """The devices that share a picture's rows, if they do."""
    import jax

    devices = part("shard", config.shard) or 1
    if devices == 1:
        return None
    kinds, there = (jax.sharding.AxisType.Auto,), jax.local_devices()[:devices]
    return jax.make_mesh((devices,), ("rows",), axis_types=kinds, devices=there)


def options_of(chosen: Any) -> list[str]:
    """The words that make a group of options out of its default one."""
    default = type(chosen)()
    changed = {f.name: value for f in fields(chosen) if (value := getattr(chosen, f.name)) != getattr(default, f.name)}
    return [word for name, value in changed.items() for word in _option(name, value)]


def _option(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [option(name) if value else option(f"no_{name}")]
    return [option(name), ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
