"""A run that was interrupted, in one file: what it is made of, and the optimizer's whole state.

The file is NumPy's `.npz`, uncompressed: each array with a checksum, nothing that could be executed, readable without this
package. It appears whole or not at all, and what is read from it is checked field by field.
"""

import contextlib
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

import jax
import numpy as np

from stylejax.errors import InputError, brief
from stylejax.files import replace_atomically
from stylejax.losses.objective import Terms
from stylejax.optimizers.minimize import Progress, Run
from stylejax.runs import schema
from stylejax.runs.manifest import LossesByLayer
from stylejax.runs.provenance import InputPaths, Recipe
from stylejax.runs.schema import Count
from stylejax.synthesis.factories import minimizer_of
from stylejax.synthesis.problem import state_shape
from stylejax.synthesis.transfer import Checkpoint
from stylejax.synthesis.validation import Plan

SUFFIX = ".run"
"""Behind the name of the picture."""

SECONDS = 30.0
"""Between two saves, where the user says nothing."""

MAX_HEADER = 2**20
"""No description of a run is larger."""


@dataclass(frozen=True)
class Position:
    """The recipe of an interrupted run, and where it stopped.

    `places` are seen from the folder of the run file, so that all can be moved together. `value` and `terms` are the least loss
    at the scale, None before there was a finite one.
    """

    format: Literal["stylejax run 1"]
    recipe: Recipe
    places: InputPaths
    seconds: float
    scale: Count
    steps: Count
    evaluations: Count
    steps_in_scale: Count
    evaluations_in_scale: Count
    value: float | None
    terms: LossesByLayer | None


def write_run(path: Path, recipe: Recipe, places: InputPaths, seconds: float, checkpoint: Checkpoint) -> None:
    """Raises `InputError` if the disk does not take it."""
    scale, run, steps, evaluations = checkpoint
    value, terms, in_scale, steps_in_scale = run.progress
    counts = (scale, steps, evaluations, steps_in_scale, in_scale)
    position = Position("stylejax run 1", recipe, places, round(seconds, 3), *counts, value, terms)
    text = np.frombuffer(json.dumps(schema.plain(position)).encode(), np.uint8)
    leaves = {f"state{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(run.state))}

    def save(file: IO[bytes]) -> None:
        np.savez(file, allow_pickle=False, run=text, **leaves)

    replace_atomically(path, save)


def read_position(path: Path) -> Position:
    """Raises `InputError` for a file that is not one of ours."""
    with _opened(path) as archive:
        return schema.convert(schema.parse(bytes(_array(archive, "run", MAX_HEADER)).decode()), Position)


def read_checkpoint(path: Path, plan: Plan) -> Checkpoint:
    """Return the checkpoint of a run of that plan. Raises `InputError` if the state is of another."""
    position = read_position(path)
    with _opened(path) as archive:
        scale = plan.schedule[position.scale]
        shapes = state_shape(plan, scale, minimizer_of(plan.config, scale.steps))
        expected, tree = jax.tree.flatten(shapes)
        leaves = [_array(archive, f"state{i}", leaf.size * leaf.dtype.itemsize) for i, leaf in enumerate(expected)]
        for leaf, like in zip(leaves, expected, strict=True):
            if leaf.shape != like.shape or leaf.dtype != like.dtype:
                raise ValueError("an array of another shape")
        value = float("inf") if position.value is None else position.value
        terms = Terms(**cast(dict[str, Any], position.terms)) if position.terms else None
        progress = Progress(value, terms, position.evaluations_in_scale, position.steps_in_scale)
        run = Run(jax.tree.unflatten(tree, leaves), progress)
        return Checkpoint(position.scale, run, position.steps, position.evaluations)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, for as long as it is read; whatever is wrong with it is told in one line."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the file that an interrupted run left") from None
    except Exception as error:
        raise InputError(f"{path} is not the file of an interrupted run, or is damaged ({brief(error)})") from None


def _array(archive: zipfile.ZipFile, name: str, most: int) -> np.ndarray:
    """A member, whose checksum is looked at, and whose size before it is read: it is stored as it is, not compressed."""
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > most + 1024:
        raise ValueError(f"{name} is larger than it can be")
    with archive.open(member) as file:
        array = np.lib.format.read_array(file, allow_pickle=False, max_header_size=1024)
        if file.read(1):
            raise ValueError(f"{name} goes on after its end")
    return array


def run_file(out: Path) -> Path:
    """Where the run that makes `out` keeps its state."""
    return out.with_name(out.name + SUFFIX)


class Keeper:
    """Writes the state of a run every so many steps or, where `every` is None, about every 30 seconds, and less often where
    writing takes long; `keep` decides. A disk that does not take it stops nothing. `seconds` is what a resumed run took
    before."""

    def __init__(
        self,
        path: Path,
        recipe: Recipe,
        places: InputPaths,
        every: int | None,
        complain: Callable[[str], None],
        seconds: float = 0.0,
    ):
        self.path, self.recipe, self.places, self.every, self.complain = path, recipe, places, every, complain
        self.saved = time.monotonic()
        self.began, self.pause = self.saved - seconds, SECONDS
        self.step, self.written = 0, False

    def keep(self, checkpoint: Checkpoint, now: bool = False) -> None:
        """Writes the checkpoint if it is due or asked for."""
        began = time.monotonic()
        due = began >= self.saved + self.pause if self.every is None else 0 < self.every <= checkpoint.steps - self.step
        if not (due or now):
            return
        try:
            write_run(self.path, self.recipe, self.places, began - self.began, checkpoint)
            self.written = True
        except InputError as error:
            self.complain(f"the state was not saved, and the run goes on: {error}")
        self.saved, self.step = time.monotonic(), checkpoint.steps
        self.pause = max(SECONDS, 20 * (self.saved - began))

    def remove(self) -> None:
        """When the run has ended there is nothing to resume."""
        with contextlib.suppress(OSError):
            self.path.unlink()
