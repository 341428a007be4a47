"""Runs from the command line, with progress bar, log, checkpoints and graceful interrupts."""

import dataclasses
import functools
import shlex
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylejax.cli.files import Inputs, RunFiles, after_writing, input_paths, read_inputs, write_with_fallback
from stylejax.cli.parsing import print_stderr
from stylejax.cli.runtime import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    device_mesh,
    enable_determinism,
    graceful_interrupt,
    start_jax,
)
from stylejax.config import TransferConfig
from stylejax.config_validation import flag_name

if TYPE_CHECKING:
    from stylejax.cli.display import Preview
    from stylejax.runs.checkpoint import CheckpointWriter
    from stylejax.runs.event_log import RunLog
    from stylejax.runs.provenance import Provenance
    from stylejax.synthesis.transfer import Checkpoint, Result, Step

NOT_IMPROVED = (
    "no step lowered the loss of the initial image; take more --steps, a smaller --learning-rate or smaller weights"
)


def run_transfer(files: RunFiles, config: TransferConfig, resume: Path | None = None) -> int:
    """Run style transfer from files, or from the checkpoint `resume`, and return the exit code."""
    inputs = read_inputs(files, config, resume)
    if files.output.deterministic:
        enable_determinism()
    start_jax()
    from stylejax.cli.display import Preview
    from stylejax.models.pretrained import load_pretrained
    from stylejax.runs.checkpoint import (
        CheckpointWriter,
        checkpoint_path,
        file_identity,
        read_checkpoint,
        read_header,
    )
    from stylejax.runs.event_log import RunLog
    from stylejax.runs.provenance import make_provenance
    from stylejax.runs.schema import plain
    from stylejax.synthesis.factories import make_vgg, require_published_weights
    from stylejax.synthesis.schedule import describe_cost
    from stylejax.synthesis.transfer import run_plan
    from stylejax.synthesis.validation import RESOLVED, plan_images

    parameters, explanation = load_pretrained(config.weights, config.seed)
    require_published_weights(config, parameters.normalized)
    plan = plan_images(config, parameters.network, *inputs)
    config = dataclasses.replace(config, **{name: getattr(plan.config, name) for name in RESOLVED})
    preview = Preview(files, plan, inputs)
    provenance = make_provenance(files.content, files.styles, config, parameters)
    elapsed = read_header(resume).seconds if resume else 0.0
    checkpoint = read_checkpoint(resume, plan) if resume else None
    print_stderr(explanation)
    if resume or files.recorded:
        print_stderr(f"the recorded run takes {describe_cost(plan.schedule, plan.config.total_steps)}")
    every, path = files.output.checkpoint_every, checkpoint_path(files.out)
    owned = file_identity(resume) if resume else None
    writer = CheckpointWriter(path, provenance, input_paths(files, config), every, print_stderr, elapsed, owned)
    with (
        closing(RunLog(files.output.log, elapsed, print_stderr, resumed=bool(resume))) as run_log,
        graceful_interrupt() as interrupted,
    ):
        start = plain(provenance)
        run_log.write("resume" if resume else "start", **start, **start.pop("environment"))
        run = functools.partial(run_plan, plan, inputs.content, inputs.styles, make_vgg(config, parameters))
        run = functools.partial(run, resume_from=checkpoint, mesh=device_mesh("rows", plan.partition.shards))
        result = _run_watched(run, run_log, writer, preview, interrupted)
        preview.end(result.steps, result.image)
        result = _write_result(files, config, inputs, provenance, result, time.perf_counter() - run_log.start_time)
        run_log.end(result)
    if not result.interrupted:
        writer.remove()
    return _report(result, files, inputs, writer.path if writer.owned else None)


def _run_watched(
    run: "Callable[..., Result]",
    run_log: "RunLog",
    writer: "CheckpointWriter",
    preview: "Preview",
    interrupted: Callable[[], bool],
) -> "Result":
    """Run with a progress bar, a log, checkpoints and previews."""
    from stylejax.cli.display import progress_bar

    with progress_bar(preview=(lambda: preview.text) if preview.enabled else None) as bar:

        def watch(step: "Step") -> bool:
            bar(step)
            run_log.step(step)
            return interrupted()

        def keep(checkpoint: "Checkpoint") -> None:
            writer.save(checkpoint, now=interrupted())
            preview(checkpoint)

        return run(callback=watch, on_checkpoint=keep)


def _write_result(
    files: RunFiles, config: TransferConfig, inputs: Inputs, provenance: "Provenance", result: "Result", seconds: float
) -> "Result":
    """Write the image with its manifest inside and beside it, and return the result as written."""
    from stylejax.images.io import flatten_alpha
    from stylejax.runs.manifest import Manifest, embedded_json, outcome, write_sidecar

    image, alpha = flatten_alpha(result.image, inputs.masks.content_alpha, files.out)
    result = result._replace(image=image)
    manifest = Manifest(provenance, outcome(result, seconds, config.bit_depth))
    embedded = embedded_json(manifest) if files.output.metadata else ""
    write_with_fallback(files.out, image, embedded, alpha, config.bit_depth)
    with after_writing(files.out):
        write_sidecar(files.out, manifest)
    return result


def _report(result: "Result", files: RunFiles, inputs: Inputs, checkpoint: Path | None) -> int:
    from stylejax.images.io import flatten_alpha
    from stylejax.images.resize import resize
    from stylejax.synthesis.reconstruct import psnr

    h, w = result.image.shape[:2]
    if not inputs.styles:
        content, _ = flatten_alpha(resize(inputs.content, h, w), inputs.masks.content_alpha, files.out)
        print(f"PSNR {psnr(result.image, content):.1f} dB")
    loss = f", loss {result.loss:.4g} after {result.evaluations} evaluations" if result.evaluations else ""
    print(f"{files.out}: {w}×{h}{loss}")
    if not result.interrupted:
        if not result.improved:
            print_stderr(f"note: at {w}×{h} {NOT_IMPROVED}")
        return EXIT_OK
    command = ["stylejax", "resume", str(checkpoint), *to_argv(files.output)]
    hint = f"; to continue: {shlex.join(command)}" if checkpoint else ""
    print_stderr(f"stylejax: interrupted after {result.steps} steps; the best image so far was saved{hint}")
    return EXIT_INTERRUPTED


def to_argv(options: Any) -> list[str]:
    """Return the command-line words that turn the default options into these."""
    default, words = type(options)(), []
    for name in (field.name for field in fields(options)):
        value = getattr(options, name)
        if value == getattr(default, name):
            continue
        if isinstance(value, bool):
            words.append(flag_name(name if value else f"no_{name}"))
        else:
            words += [flag_name(name), ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return words
