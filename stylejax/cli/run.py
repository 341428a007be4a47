"""One run of the command line: files in, one file out, with a bar, a log, and an orderly end when it is interrupted."""

import dataclasses
import functools
import shlex
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylejax.cli.files import Files, Inputs, places, read_inputs, write_somewhere
from stylejax.cli.parsing import say
from stylejax.cli.runtime import DONE, INTERRUPTED, deterministic, graceful_interrupt, row_mesh, start_jax
from stylejax.config import TransferConfig
from stylejax.config_validation import option

if TYPE_CHECKING:
    from stylejax.cli.display import Watcher
    from stylejax.runs.checkpoint import Keeper
    from stylejax.runs.event_log import RunLog
    from stylejax.runs.provenance import Recipe
    from stylejax.synthesis.transfer import Checkpoint, Result, Step


def run_transfer(files: Files, config: TransferConfig, resume: Path | None = None) -> int:
    """Files in, one file out; `resume` is the file of an interrupted run of the same files and config."""
    inputs = read_inputs(files, config)
    if files.output.deterministic:
        deterministic()
    start_jax()
    from stylejax.cli.display import Watcher, check_watching
    from stylejax.models.pretrained import resolve
    from stylejax.runs.checkpoint import Keeper, read_checkpoint, read_position, run_file
    from stylejax.runs.event_log import RunLog
    from stylejax.runs.provenance import recipe
    from stylejax.runs.schema import plain
    from stylejax.synthesis.factories import check_scale, vgg_of
    from stylejax.synthesis.transfer import run_plan
    from stylejax.synthesis.validation import make_plan

    shapes = inputs.content.shape, [image.shape for image in inputs.styles]
    parameters, explanation = resolve(config.weights, config.seed)
    check_scale(config, parameters.normalized)
    plan = make_plan(config, parameters.network, *shapes, inputs.masks)
    # The decided tile and shard are recorded, so that another machine makes the same image.
    config = dataclasses.replace(config, tile=plan.config.tile, shard=plan.config.shard)
    check_watching(files.output, plan.partition.shards)
    made_of = recipe(files.content, files.styles, config, parameters)
    before = read_position(resume).seconds if resume else 0.0
    checkpoint = read_checkpoint(resume, plan) if resume else None
    say(explanation)
    every = files.output.checkpoint_every
    keeper = Keeper(run_file(files.out), made_of, places(files, config), every, say, before)
    watcher = Watcher(files, plan, inputs)
    with closing(RunLog(files.output.log, before, complain=say)) as run_log:
        start = plain(made_of)
        run_log.write("resume" if resume else "start", **start, **start.pop("environment"))
        run = functools.partial(run_plan, plan, inputs.content, inputs.styles, vgg_of(config, parameters))
        result = _watched(functools.partial(run, resume=checkpoint, mesh=row_mesh(plan)), run_log, keeper, watcher)
        watcher.end(result.steps, result.image)
        result = _written(files, config, inputs, made_of, result, time.perf_counter() - run_log.began)
        run_log.end(result)
    if not result.stopped:
        keeper.remove()
    return _report(result, files, inputs, keeper.path if keeper.written else None)


def _watched(run: "Callable[..., Result]", run_log: "RunLog", keeper: "Keeper", watcher: "Watcher") -> "Result":
    """Run with a bar and a log of the steps; the state is saved, and the image watched, between them."""
    from stylejax.cli.display import progress_bar

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

        return run(callback=watch, keep=keep)


def _written(
    files: Files, config: TransferConfig, inputs: Inputs, made_of: "Recipe", result: "Result", seconds: float
) -> "Result":
    """Writes the picture with its manifest in it and beside it; the result as it was written."""
    from stylejax.images.io import lay
    from stylejax.runs.manifest import Manifest, embedded, outcome, write_beside

    image, alpha = lay(result.image, inputs.alpha, files.out)
    result = result._replace(image=image)
    manifest = Manifest(made_of, outcome(result, seconds, config.bits))
    write_somewhere(files.out, image, embedded(manifest) if files.output.metadata else "", alpha, config.bits)
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
    how = f"; to go on: {shlex.join(['stylejax', 'resume', str(run), *options_of(files.output)])}" if run else ""
    say(f"stylejax: interrupted after {result.steps} steps; the best picture so far was saved{how}")
    return INTERRUPTED


def options_of(chosen: Any) -> list[str]:
    """The words that make a group of options out of its default one."""
    default = type(chosen)()
    changed = {f.name: value for f in fields(chosen) if (value := getattr(chosen, f.name)) != getattr(default, f.name)}
    return [word for name, value in changed.items() for word in _option(name, value)]


def _option(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [option(name) if value else option(f"no_{name}")]
    return [option(name), ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
