"""A run as it is watched: a bar in the terminal, a log of one JSON object a line."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from stylejax.errors import InputError
from stylejax.images.io import levels
from stylejax.images.resize import Picture, resize
from stylejax.runs.schema import plain
from stylejax.synthesis.transfer import Result, Step

if TYPE_CHECKING:
    from rich.text import Text


def shows_colours() -> bool:
    """Whether standard error is a terminal of 256 or all colours, so that it can show a picture."""
    from rich.console import Console

    console = Console(stderr=True)
    return console.is_terminal and console.color_system in ("256", "truecolor")


def half_blocks(image: Picture, columns: int = 0, rows: int = 0) -> "Text":
    """A picture of characters: each is the upper half of its cell, over a ground of another colour for the lower half. It fits
    into the terminal, or into so many columns and rows."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    columns, rows = columns or console.width, rows or max(1, console.height - 3)
    h, w = image.shape[:2]
    scale = min(columns / w, 2 * rows / h)
    pixels = levels(resize(image, 2 * max(1, round(h * scale / 2)), max(1, round(w * scale))))
    text = Text(no_wrap=True)
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for a, b in zip(upper, lower, strict=True):
            text.append("▀", f"#{bytes(a).hex()} on #{bytes(b).hex()}")
        text.append("\n")
    return text


@contextmanager
def progress_bar(
    show: bool = True, picture: "Callable[[], Text | None] | None" = None
) -> Iterator[Callable[[Step], None]]:
    """A bar on standard error with step, size, loss, steps a second and time left, below what `picture` gives, if it does;
    gives the function that moves it. The bar is of the work, for the steps of a fine scale take many times as long."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        BarColumn(bar_width=30),
        TextColumn("{task.fields[steps]}", style="progress.download"),
        TextColumn("{task.fields[size]}  loss {task.fields[loss]}  {task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    progress = Progress(*columns, console=console, disable=not show, refresh_per_second=4)
    both = Live(get_renderable=lambda: Group(picture() or "", progress), console=console) if picture else progress
    with both:
        work = progress.add_task("", total=None, steps="", size="compiling", loss="–", speed="")
        steps = progress.add_task("", visible=False)

        def move(step: Step) -> None:
            progress.update(steps, completed=step.step)
            speed = progress.tasks[1].speed
            progress.update(
                work,
                total=1,
                completed=step.done,
                steps=f"{step.step}/{step.steps}",
                size=f"{step.size[1]}×{step.size[0]}",
                loss=f"{step.loss:.4g}",
                speed=f"{speed:.2f} steps/s" if speed else "",
            )

        yield move


@contextmanager
def sweep_bar(rows: int, work: float, show: bool = True) -> Iterator[tuple[Callable[..., None], Callable[..., None]]]:
    """A bar on standard error over the work of all rows, with the rows that are done and the time left; gives the function
    that moves it by a step of some rows and its work, and the one that tells that a row has ended, with a line on it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        BarColumn(bar_width=30),
        TextColumn("{task.fields[done]} of {task.fields[rows]} rows  {task.fields[now]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=Console(stderr=True, highlight=False), disable=not show, refresh_per_second=4
    ) as bar:
        task = bar.add_task("", total=work, done=0, rows=rows, now="compiling")

        def move(numbers: Sequence[int], infos: Sequence[Any], work: float) -> None:
            which = f"row {numbers[0]}" if len(numbers) == 1 else f"rows {numbers[0]} … {numbers[-1]}"
            losses = " ".join(f"{float(info.value):.4g}" for info in infos[:3])
            more = " …" if len(infos) > 3 else ""
            bar.update(task, advance=work, now=f"{which}: loss {losses}{more}")

        def ended(line: str) -> None:
            bar.update(task, done=bar.tasks[0].fields["done"] + 1)
            bar.console.print(line, markup=False, soft_wrap=True)

        yield move, ended


class RunLog:
    """Writes `start`, `step` and `end` events to a JSONL file, each flushed as it happens; without a path, nothing.

    `seconds` is what a resumed run took before: its log is continued. A disk that is full after the first event ends the log,
    which it says to `complain`, and not the run.
    """

    def __init__(self, path: Path | None, seconds: float = 0.0, complain: Callable[[str], None] | None = None):
        self.began = time.perf_counter() - seconds
        self.complain, self.events = complain, 0
        self.file: IO[str] | None = None
        try:
            # A name of a file that is no text is escaped as JSON does it.
            mode = "a" if seconds else "w"
            self.file = path.open(mode, encoding="utf-8", errors="backslashreplace") if path else None
        except OSError as error:
            raise _refusal(path, error) from None

    def write(self, event: str, **fields: Any) -> None:
        """One line: the event, its fields, and the seconds since the start. Raises `InputError` if not even the first can be
        written."""
        if not self.file:
            return
        line = plain({"event": event, **fields, "seconds": round(time.perf_counter() - self.began, 3)})
        try:
            self.file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
            self.file.flush()
            self.events += 1
        except OSError as error:
            refusal = _refusal(self.file.name, error)
            if not self.events or not self.complain:
                raise refusal from None
            self.complain(f"the log ends here, and the run goes on: {refusal}")
            self.close()
            self.file = None

    def close(self) -> None:
        """After the last event."""
        if self.file:
            # What a full disk did not take was complained of when it was written.
            with suppress(OSError):
                self.file.close()

    def step(self, step: Step) -> None:
        """The losses of one step, by layer, before their weights."""
        self.write(
            "step",
            step=step.step,
            evaluations=step.evaluations,
            loss=step.loss,
            accepted=step.accepted,
            restarted=step.restarted,
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
            **result.terms._asdict(),
        )


def _refusal(path: Any, error: OSError) -> InputError:
    return InputError(f"can not write the log {path}: {error.strerror}; choose another place")
