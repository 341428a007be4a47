"""Progress bars, and previews of the image: in the terminal, in its file, and as a video."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stylejax.cli.files import Files, Inputs, OutputOptions
from stylejax.cli.parsing import say
from stylejax.errors import InputError

if TYPE_CHECKING:
    from rich.text import Text

    from stylejax.images.resize import Picture
    from stylejax.synthesis.transfer import Checkpoint, Step
    from stylejax.synthesis.validation import Plan

SECONDS = 2.0
"""Between two pictures in the terminal, for each takes a moment."""


def check_watching(output: OutputOptions, shards: int) -> None:
    """Raises `InputError` where a picture is to be watched that is in parts until its end."""
    if shards > 1 and (output.save_every or output.video or output.show):
        raise InputError(
            "--save-every, --video and --show cannot be combined with --shard, whose picture is in parts until its end; leave "
            "them out"
        )


class Watcher:
    """Sees each checkpoint of a run, and makes a picture of it where one is wanted. What
    a full disk does not take stops nothing."""

    def __init__(self, files: Files, plan: "Plan", inputs: Inputs):
        from stylejax.images.video import Film

        self.out, self.wanted, self.plan, self.inputs = files.out, files.output, plan, inputs
        self.film = Film(plan.config.steps)
        self.saved, self.shown = 0, 0.0
        self.picture: Text | None = None
        self.shows = self.wanted.show and shows_colors()
        if self.wanted.show and not self.shows:
            say("note: --show needs a terminal of 256 colors or more (TERM=xterm-256color); nothing is shown")

    def __call__(self, checkpoint: "Checkpoint") -> None:
        """Between two steps."""
        every, step = self.wanted.save_every, checkpoint.steps
        takers: list[Callable[[int, Picture], None]] = []
        if every and step - self.saved >= every and step < self.plan.config.steps:
            takers.append(self._save)
        if self.wanted.video and self.film.is_due(step):
            takers.append(self.film.add)
        if self.shows and time.monotonic() - self.shown >= SECONDS:
            takers.append(self._show)
        if takers:
            from stylejax.synthesis.transfer import picture_of

            image = picture_of(self.plan, self.inputs.content, checkpoint)
            for take in takers:
                take(step, image)

    def end(self, step: int, image: "Picture") -> None:
        """Writes the film, whose last frame is the picture itself."""
        if not self.wanted.video:
            return
        self.film.add(step, image)
        try:
            self.film.write(self.wanted.video)
        except InputError as error:
            say(f"note: there is no video: {error}")

    def _save(self, step: int, image: "Picture") -> None:
        from stylejax.images.io import lay, write_image

        image, alpha = lay(image, self.inputs.alpha, self.out)
        try:
            write_image(self.out, image, alpha=alpha, bits=self.plan.config.bits)
        except InputError as error:
            say(f"note: the picture was not saved at step {step}, and the run goes on: {error}")
        self.saved = step

    def _show(self, step: int, image: "Picture") -> None:
        self.picture, self.shown = half_blocks(image), time.monotonic()


def shows_colors() -> bool:
    """Whether standard error is a terminal of 256 or all colors, so that it can show a picture."""
    from rich.console import Console

    console = Console(stderr=True)
    return console.is_terminal and console.color_system in ("256", "truecolor")


def half_blocks(image: "Picture", columns: int = 0, rows: int = 0) -> "Text":
    """A picture of characters: each is the upper half of its cell, over a ground of another color for the lower half. It fits
    into the terminal, or into so many columns and rows."""
    from rich.console import Console
    from rich.text import Text

    from stylejax.images.io import levels
    from stylejax.images.resize import resize

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
) -> "Iterator[Callable[[Step], None]]":
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

        def move(step: "Step") -> None:
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
