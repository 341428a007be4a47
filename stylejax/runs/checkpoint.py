"""Checkpoints of an interrupted run: its provenance, its position, and the optimizer state.

A checkpoint is a safetensors file: a JSON header and plain arrays, without executable content. It is written atomically,
contains a SHA-256 of its arrays, and every field is validated when it is read.
"""

import contextlib
import hashlib
import json
import math
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from stylejax.errors import InputError, brief
from stylejax.files import atomic_write, kind_of, require_file
from stylejax.losses.objective import LossTerms
from stylejax.losses.targets import parse_style_key
from stylejax.optimizers.minimize import LoopState, Progress
from stylejax.runs.manifest import LossesByLayer
from stylejax.runs.provenance import InputPaths, Provenance
from stylejax.runs.schema import Count, Seconds, convert, parse, plain
from stylejax.synthesis.factories import make_minimizer
from stylejax.synthesis.problem import state_shape
from stylejax.synthesis.transfer import Checkpoint
from stylejax.synthesis.validation import Plan

SUFFIX = ".run"
"""Suffix of a checkpoint, after the full name of the image."""

FileIdentity: TypeAlias = tuple[int, int, int]
"""Device, inode and time of modification of a file."""

SAVE_SECONDS = 30.0
"""Default time between two saves: an interruption loses at most about half a minute of work."""


@dataclass(frozen=True)
class CheckpointHeader:
    """Provenance and position of an interrupted run.

    `input_paths` are relative to the folder of the checkpoint, so that all files can be moved together. `value` and `terms` are
    the minimum loss at the scale, and `first_value` is its first loss; None before the first finite one.
    """

    format: Literal["stylejax run 3"]
    provenance: Provenance
    input_paths: InputPaths
    seconds: Seconds
    scale: Count
    steps: Count
    evaluations: Count
    steps_in_scale: Count
    evaluations_in_scale: Count
    value: float | None
    terms: LossesByLayer | None
    first_value: float | None


def write_checkpoint(
    path: Path, provenance: Provenance, input_paths: InputPaths, seconds: float, checkpoint: Checkpoint
) -> None:
    """Write a checkpoint.

    Args:
        path: file to write.
        provenance: provenance of the run.
        input_paths: paths of the inputs, relative to the folder of `path`.
        seconds: time that the run has taken.
        checkpoint: position and optimizer state.

    Raises:
        InputError: the file cannot be written.
    """
    scale, (state, progress), steps, evaluations = checkpoint
    value, terms, evaluations_in_scale, steps_in_scale, first_value = progress
    counts = (scale, steps, evaluations, steps_in_scale, evaluations_in_scale)
    losses = value, plain(terms), first_value
    header = CheckpointHeader("stylejax run 3", provenance, input_paths, round(seconds, 3), *counts, *losses)
    arrays = {f"state{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    metadata = {"run": json.dumps(plain(header)), "sha256": _arrays_hash(arrays)}

    def save(temporary: Path) -> None:
        try:
            save_file(arrays, temporary, metadata)
        except SafetensorError as error:
            raise OSError(0, brief(error)) from None

    atomic_write(path, save)


def read_header(path: Path) -> CheckpointHeader:
    """Return the header of a checkpoint; raise `InputError` if the file is not one."""
    with _open(path) as file:
        return _header(file)


def read_checkpoint(path: Path, plan: Plan) -> Checkpoint:
    """Return the checkpoint of a run; raise `InputError` if it is damaged or has another plan."""
    with _open(path) as file:
        header = _header(file)
        if header.scale >= len(plan.schedule):
            raise ValueError(f"its scale must be below {len(plan.schedule)}, got {header.scale}")
        scale = plan.schedule[header.scale]
        shapes, tree = jax.tree.flatten(state_shape(plan, scale, make_minimizer(plan.config, scale.steps)))
        arrays = {f"state{i}": file.get_tensor(f"state{i}") for i in range(len(shapes))}
        for array, expected in zip(arrays.values(), shapes, strict=True):
            if array.shape != expected.shape or array.dtype != expected.dtype:
                raise ValueError("an array has another shape")
        if _arrays_hash(arrays) != file.metadata()["sha256"]:
            raise ValueError("the SHA-256 of its arrays differs")
        state = jax.tree.unflatten(tree, list(arrays.values()))
        _check_consistency(header, plan, state)
    value, first_value = (math.inf if loss is None else loss for loss in (header.value, header.first_value))
    terms = LossTerms(**cast(dict[str, Any], header.terms)) if header.terms else None
    progress = Progress(value, terms, header.evaluations_in_scale, header.steps_in_scale, first_value)
    return Checkpoint(header.scale, LoopState(state, progress), header.steps, header.evaluations)


def _check_consistency(header: CheckpointHeader, plan: Plan, state: Any) -> None:
    """Raise `ValueError` for steps, losses or arrays that no run with this plan can have."""
    steps, leaves = header.steps_in_scale, jax.tree.leaves(state)
    before = sum(scale.steps for scale in plan.schedule[: header.scale])
    # A step is one evaluation.
    counts = (header.steps, header.evaluations, header.evaluations_in_scale)
    if not 1 <= steps <= plan.schedule[header.scale].steps or counts != (before + steps, before + steps, steps):
        raise ValueError("its numbers of steps do not fit its schedule")
    if any(leaf.min() < 0 or leaf.max() > steps for leaf in leaves if leaf.dtype.kind == "i"):
        raise ValueError("a count in its arrays does not fit its steps")
    if any(np.isnan(leaf).any() for leaf in leaves if leaf.dtype.kind == "f"):
        raise ValueError("its arrays have values that are not numbers")
    if plain(state.best.value) != header.value or (header.terms is None) != (header.value is None):
        raise ValueError("its loss is not that of its arrays")
    if (header.first_value is None) != (header.value is None) or (header.first_value or 0) < (header.value or 0):
        raise ValueError("its first loss is below its minimum")
    if header.terms and not _fits(header.terms, plan):
        raise ValueError("its loss terms have other layers than the run")


def _fits(terms: LossesByLayer, plan: Plan) -> bool:
    """Return whether the terms are finite and have layers of the plan."""
    style = {parse_style_key(key)[0] for key in terms["style"]}
    values = (*terms["content"].values(), *terms["style"].values(), terms["tv"])
    return (
        terms["content"].keys() == plan.content_layers.keys()
        and style <= plan.style_layers.keys()
        and None not in values
    )


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a checkpoint; any error while it is read becomes an `InputError`."""
    require_file(path, "give the checkpoint of an interrupted run")
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except Exception as error:
        raise InputError(f"{path} is not a checkpoint, or is damaged ({brief(error)})") from None


def _header(file: Any) -> CheckpointHeader:
    return convert(parse(file.metadata()["run"]), CheckpointHeader)


def _arrays_hash(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def checkpoint_path(out: Path) -> Path:
    """Return the path of the checkpoint of the run that makes `out`."""
    return out.with_name(out.name + SUFFIX)


def file_identity(path: Path) -> FileIdentity | None:
    """Return what distinguishes the file at `path` from one that replaces it; None if there is none."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def check_unused(path: Path) -> None:
    """Raise `InputError` if there is a file at `path`, where a new run would write its checkpoint."""
    if kind_of(path) == "nothing" and not path.is_symlink():
        return
    try:
        read_header(path)
    except InputError:
        raise InputError(f"cannot write {path}: something else has that name; move it or rename the image") from None
    command = shlex.join(["stylejax", "resume", str(path)])
    raise InputError(f"{path} is the checkpoint of an interrupted run; continue it with {command}, or remove it")


@dataclass
class CheckpointWriter:
    """Writer of the checkpoints of a run.

    It saves once in `every` steps; 0 means never. None means once in 30 seconds, or in 20 times the duration of the last save
    if that is longer. If a save fails, `warn` is called and the run continues. `seconds` is the time before a resumption, and
    `owned` the checkpoint that was resumed. A file of another run is neither replaced nor removed.
    """

    path: Path
    provenance: Provenance
    input_paths: InputPaths
    every: int | None
    warn: Callable[[str], None]
    seconds: float = 0.0
    owned: FileIdentity | None = None

    def __post_init__(self) -> None:
        self.last_save = time.monotonic()
        self.start_time, self.interval, self.step = self.last_save - self.seconds, SAVE_SECONDS, 0

    def save(self, checkpoint: Checkpoint, now: bool = False) -> None:
        """Write the checkpoint if it is due, or unconditionally with `now`."""
        began = time.monotonic()
        if self.every == 0 or not (now or self._is_due(checkpoint.steps, began)):
            return
        try:
            if file_identity(self.path) not in (None, self.owned):
                raise InputError(f"{self.path} is another file now")
            write_checkpoint(self.path, self.provenance, self.input_paths, began - self.start_time, checkpoint)
            self.owned = file_identity(self.path)
        except InputError as error:
            self.warn(f"the checkpoint was not saved, and the run continues: {error}")
        self.last_save, self.step = time.monotonic(), checkpoint.steps
        self.interval = max(SAVE_SECONDS, 20 * (self.last_save - began))

    def remove(self) -> None:
        """Remove the checkpoint that this run wrote or resumed."""
        with contextlib.suppress(OSError):
            if self.owned and file_identity(self.path) == self.owned:
                self.path.unlink()

    def _is_due(self, steps: int, now: float) -> bool:
        if self.every is None:
            return now >= self.last_save + self.interval
        return self.every <= steps - self.step
