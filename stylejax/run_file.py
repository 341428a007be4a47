"""A run that was interrupted, in one file: what it is made of, and the optimizer's whole state.

The file is NumPy's `.npz`, uncompressed: each array with a checksum, nothing that could be executed, readable without this
package. It appears whole or not at all.
"""

import contextlib
import json
import math
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np

from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.images import replace_atomically
from stylejax.objective import Terms
from stylejax.optimize import Run
from stylejax.parameterize import encode
from stylejax.scales import content_size, scales_of
from stylejax.transfer import Checkpoint, minimizer_of

FORMAT = "stylejax run 1"

SECONDS = 30.0
"""Between two saves, where the user says nothing."""

MAX_HEADER = 2**20
"""No description of a run is larger."""


def write_run(path: Path, header: dict[str, Any], checkpoint: Checkpoint) -> None:
    """`header` is plain JSON: whatever is needed to begin the run again. Raises `InputError` if the disk does not take it."""
    run = checkpoint.run
    where = {
        "format": FORMAT,
        "header": header,
        "scale": checkpoint.scale,
        "steps": checkpoint.steps,
        "evaluations": checkpoint.evaluations,
        "value": run.value if math.isfinite(run.value) else None,
        "terms": None if run.aux is None else jax.tree.map(float, run.aux)._asdict(),
        "steps_in_scale": run.steps,
        "evaluations_in_scale": run.evaluations,
    }
    text = np.frombuffer(json.dumps(where).encode(), np.uint8)
    leaves = {f"state{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(run.state))}

    def save(file: IO[bytes]) -> None:
        np.savez(file, allow_pickle=False, run=text, **leaves)

    replace_atomically(path, save)


def read_position(path: Path) -> dict[str, Any]:
    """Where the run stood; what `write_run` was given is its `header`.

    Raises `InputError` for a file that is not one of ours.
    """
    with _opened(path) as archive:
        where = json.loads(bytes(_array(archive, "run", MAX_HEADER)))
        if not isinstance(where, dict) or where.get("format") != FORMAT:
            raise ValueError("another format")
        return where


def read_checkpoint(
    path: Path, config: TransferConfig, content: tuple[int, ...], styles: Sequence[tuple[int, ...]]
) -> Checkpoint:
    """The checkpoint of a run of that config on images of these shapes. Raises `InputError` if the state is of another."""
    where = read_position(path)
    with _opened(path) as archive:
        scale, *counts = (int(where[name]) for name in ("scale", "steps", "evaluations"))
        side, steps = scales_of(config, content, styles)[scale]
        minimizer = minimizer_of(config, steps)
        image = jax.ShapeDtypeStruct((*content_size(config, content, side), 3), np.float32)
        expected, tree = jax.tree.flatten(
            jax.eval_shape(lambda x: minimizer.init(encode(x, config.parameterization)), image)
        )
        leaves = [_array(archive, f"state{i}", leaf.size * leaf.dtype.itemsize) for i, leaf in enumerate(expected)]
        for leaf, like in zip(leaves, expected, strict=True):
            if leaf.shape != like.shape or leaf.dtype != like.dtype:
                raise ValueError("an array of another shape")
        value = float("inf") if where["value"] is None else float(where["value"])
        terms = None if where["terms"] is None else Terms(**where["terms"])
        in_scale = int(where["evaluations_in_scale"]), int(where["steps_in_scale"])
        return Checkpoint(scale, Run(jax.tree.unflatten(tree, leaves), value, terms, *in_scale), *counts)


class _opened:
    """The archive, for as long as it is read; whatever is wrong with it is told in one line."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> zipfile.ZipFile:
        try:
            self.archive = zipfile.ZipFile(self.path)
        except FileNotFoundError:
            raise InputError(f"{self.path} does not exist; give the file that an interrupted run left") from None
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise self._refusal(error) from None
        return self.archive

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        self.archive.close()
        if isinstance(error, Exception) and not isinstance(error, InputError):
            raise self._refusal(error) from None

    def _refusal(self, error: Exception) -> InputError:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return InputError(f"{self.path} is not the file of an interrupted run, or is damaged ({reason})")


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
    return out.with_name(out.name + ".run")


class Keeper:
    """Writes the state of a run every so many steps or, where `every` is None, about every 30 seconds, and less often where
    writing takes long; `keep` decides. A disk that does not take it stops nothing."""

    def __init__(self, path: Path, header: dict[str, Any], every: int | None, complain: Callable[[str], None]):
        self.path, self.header, self.every, self.complain = path, header, every, complain
        self.began = self.saved = time.monotonic()
        self.seconds, self.step, self.written = SECONDS, 0, False

    def keep(self, checkpoint: Checkpoint, now: bool = False) -> None:
        """Writes the checkpoint if it is due or asked for."""
        due = time.monotonic() >= self.saved + self.seconds
        if self.every is not None:
            due = 0 < self.every <= checkpoint.steps - self.step
        if not (due or now):
            return
        began = time.monotonic()
        header = self.header | {"seconds": round(self.header.get("seconds", 0) + began - self.began, 3)}
        try:
            write_run(self.path, header, checkpoint)
            self.written = True
        except InputError as error:
            self.complain(f"the state was not saved, and the run goes on: {error}")
        self.saved, self.step = time.monotonic(), checkpoint.steps
        self.seconds = max(SECONDS, 20 * (self.saved - began))

    def remove(self) -> None:
        """When the run has ended there is nothing to resume."""
        with contextlib.suppress(OSError):
            self.path.unlink()
