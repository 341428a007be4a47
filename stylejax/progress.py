"""A run as it is watched: a bar in the terminal, a log of one JSON object a line."""

import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from stylejax.errors import InputError
from stylejax.transfer import Result, Step


@contextmanager
def progress_bar(show: bool = True) -> Iterator[Callable[[Step], None]]:
    """A bar on standard error with step, size, loss, steps a second and time left; gives the function that moves it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[size]}  loss {task.fields[loss]}  {task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not show, refresh_per_second=4) as progress:
        task = progress.add_task("", total=None, size="compiling", loss="–", speed="")

        def move(step: Step) -> None:
            speed = progress.tasks[0].speed
            progress.update(
                task,
                total=step.steps,
                completed=step.step,
                size=f"{step.size[1]}×{step.size[0]}",
                loss=f"{step.loss:.4g}",
                speed=f"{speed:.2f} steps/s" if speed else "",
            )

        yield move


class RunLog:
    """Writes `start`, `step` and `end` events to a JSONL file, each flushed as it happens; without a path, nothing."""

    def __init__(self, path: Path | None):
        self.began = time.perf_counter()
        self.file: IO[str] | None = None
        try:
            self.file = path.open("w", encoding="utf-8") if path else None
        except OSError as error:
            raise InputError(f"can not write the log {path}: {error.strerror}; choose another place") from None

    def write(self, event: str, **fields: Any) -> None:
        """One line: the event, its fields, and the seconds since the start."""
        if self.file:
            line = {"event": event, **fields, "seconds": round(time.perf_counter() - self.began, 3)}
            self.file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self.file.flush()

    def step(self, step: Step) -> None:
        """The losses of one step, by layer, before their weights."""
        self.write(
            "step",
            step=step.step,
            evaluations=step.evaluations,
            loss=step.loss,
            accepted=step.accepted,
            size=list(step.size),
            **step.terms._asdict(),
        )

    def end(self, result: Result) -> None:
        """What came out."""
        h, w = result.image.shape[:2]
        self.write(
            "end",
            steps=result.steps,
            evaluations=result.evaluations,
            loss=result.loss,
            size=[h, w],
            stopped=result.stopped,
            **{name: _plain(term) for name, term in result.terms._asdict().items()},
        )


def environment() -> dict[str, Any]:
    """Versions and device: what else decides the numbers."""
    import jax

    packages = ("stylejax", "jax", "jaxlib", "flax", "optax", "numpy", "pillow")
    device = jax.devices()[0]
    return {
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
        "device": {"backend": jax.default_backend(), "kind": device.device_kind, "count": jax.device_count()},
    }


def _plain(term: Any) -> Any:
    return {name: float(value) for name, value in term.items()} if isinstance(term, dict) else float(term)
