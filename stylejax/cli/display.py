"""Progress bars, and previews of the image in the terminal, in its file and as a video."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylejax.cli.files import Inputs, RunFiles
from stylejax.cli.parsing import print_stderr
from stylejax.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.text import Text

    from stylejax.images.resize import HostImage
    from stylejax.synthesis.transfer import Checkpoint, Step
    from stylejax.synthesis.validation import Plan

SHOW_SECONDS = 2.0
"""Minimum time between two previews in the terminal, because each interrupts the run for a moment."""


class Preview:
    """Renderer of a run's checkpoints; a failure to write one is reported and does not stop the run.

    Raises `InputError` for a sharded run, whose image is gathered only at the end.
    """

    def __init__(self, files: RunFiles, plan: "Plan", inputs: Inputs):
        from stylejax.images.video import VideoRecorder

        self.out, self.options, self.plan, self.inputs = files.out, files.output, plan, inputs
        if plan.partition.shards > 1 and (self.options.save_every or self.options.video or self.options.show):
            raise InputError("--save-every, --video and --show cannot be combined with --shard; leave them out")
        self.video = VideoRecorder(plan.config.steps)
        self.last_shown = 0.0
        self.text: Text | None = None
        self.enabled = self.options.show and supports_color()
        if self.options.show and not self.enabled:
            print_stderr("note: --show needs a terminal of 256 colors or more (TERM=xterm-256color); nothing is shown")

    def __call__(self, checkpoint: "Checkpoint") -> None:
        """Render the checkpoint if a preview is due."""
        every, step = self.options.save_every, checkpoint.steps
        consumers: list[Callable[[int, HostImage], None]] = []
        if every and step % every == 0 and step < self.plan.config.steps:
            consumers.append(self._save)
        if self.options.video and self.video.wants_frame(step):
            consumers.append(self._film)
        if self.enabled and time.monotonic() - self.last_shown >= SHOW_SECONDS:
            consumers.append(self._show)
        if consumers:
            from stylejax.synthesis.transfer import render_checkpoint

            image = render_checkpoint(self.plan, self.inputs.content, checkpoint)
            for consume in consumers:
                consume(step, image)

    def end(self, step: int, image: "HostImage") -> None:
        """Write the video, with the result as its last frame."""
        if not self.options.video:
            return
        self._film(step, image)
        try:
            self.video.write(self.options.video)
        except InputError as error:
            print_stderr(f"note: the video was not written: {error}")

    def _save(self, step: int, image: "HostImage") -> None:
        from stylejax.images.io import flatten_alpha, write_image

        image, alpha = flatten_alpha(image, self.inputs.masks.content_alpha, self.out)
        path = numbered_path(self.out, step, self.plan.config.steps) if self.options.save_numbered else self.out
        try:
            write_image(path, image, alpha=alpha, bit_depth=self.plan.config.bit_depth)
        except InputError as error:
            print_stderr(f"note: the image was not saved at step {step}; the run continues: {error}")

    def _show(self, step: int, image: "HostImage") -> None:
        self.text, self.last_shown = render_half_blocks(self._opaque(image)), time.monotonic()

    def _film(self, step: int, image: "HostImage") -> None:
        self.video.add(step, self._opaque(image))

    def _opaque(self, image: "HostImage") -> "HostImage":
        from stylejax.images.alpha import blend_with_white

        return blend_with_white(image, self.inputs.masks.content_alpha)


def numbered_path(out: Path, step: int, steps: int) -> Path:
    """Return the path of the preview of a step, with at least four digits: out_0050.png."""
    return out.with_name(f"{out.stem}_{step:0{max(4, len(str(steps)))}}{out.suffix}")


def supports_color() -> bool:
    """Return whether standard error is a terminal of at least 256 colors."""
    from rich.console import Console

    console = Console(stderr=True)
    return console.is_terminal and console.color_system in ("256", "truecolor")


def render_half_blocks(image: "HostImage", columns: int = 0, rows: int = 0) -> "Text":
    """Return the image as text in which each character is two pixels, its color above its background.

    By default the text fits into the terminal.
    """
    from rich.console import Console
    from rich.text import Text

    from stylejax.images.io import quantize
    from stylejax.images.resize import resize

    console = Console(stderr=True)
    columns, rows = columns or console.width, rows or max(1, console.height - 3)
    h, w = image.shape[:2]
    scale = min(columns / w, 2 * rows / h)
    pixels = quantize(resize(image, 2 * max(1, round(h * scale / 2)), max(1, round(w * scale))))
    text = Text(no_wrap=True)
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for a, b in zip(upper, lower, strict=True):
            text.append("▀", f"#{bytes(a).hex()} on #{bytes(b).hex()}")
        text.append("\n")
    return text


def _progress(show: bool, *texts: str) -> "Progress":
    """Return a bar on standard error with these columns and the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar, times = BarColumn(bar_width=30), (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    console = Console(stderr=True, highlight=False)
    return Progress(bar, *map(TextColumn, texts), *times, console=console, disable=not show, refresh_per_second=4)


@contextmanager
def progress_bar(
    show: bool = True, preview: "Callable[[], Text | None] | None" = None
) -> "Iterator[Callable[[Step], None]]":
    """Show the progress of a run below the text of `preview`, and yield the function that advances it.

    The bar measures work, because a step of a fine scale takes many times as long as one of a coarse scale.
    """
    from rich.console import Group
    from rich.live import Live

    steps_column = "[progress.download]{task.fields[steps]}"
    progress = _progress(show, steps_column, "{task.fields[size]}  loss {task.fields[loss]}  {task.fields[speed]}")
    live = progress
    if preview:
        live = Live(get_renderable=lambda: Group(preview() or "", progress), console=progress.console)
    with live:
        work = progress.add_task("", total=None, steps="", size="compiling", loss="–", speed="")
        steps = progress.add_task("", visible=False)

        def advance(step: "Step") -> None:
            progress.update(steps, completed=step.step)
            speed = f"{rate:.2f} steps/s" if (rate := progress.tasks[1].speed) else ""
            size, loss, count = f"{step.size[1]}×{step.size[0]}", f"{step.loss:.4g}", f"{step.step}/{step.steps}"
            progress.update(work, total=1, completed=step.done, steps=count, size=size, loss=loss, speed=speed)

        yield advance


@contextmanager
def sweep_bar(rows: int, work: int, show: bool = True) -> Iterator[tuple[Callable[..., None], Callable[..., None]]]:
    """Show the progress of a sweep; yield one function to advance it and one to print a finished row."""
    with _progress(show, "{task.fields[done]} of {task.fields[rows]} rows  {task.fields[now]}") as bar:
        task = bar.add_task("", total=work, done=0, rows=rows, now="compiling")

        def advance(numbers: Sequence[int], infos: Sequence[Any], work: int) -> None:
            name = f"row {numbers[0]}" if len(numbers) == 1 else f"rows {numbers[0]} … {numbers[-1]}"
            losses = " ".join(f"{float(info.value):.4g}" for info in infos[:3])
            more = " …" if len(infos) > 3 else ""
            bar.update(task, advance=work, now=f"{name}: loss {losses}{more}")

        def finish(line: str) -> None:
            bar.update(task, done=bar.tasks[0].fields["done"] + 1)
            bar.console.print(line, markup=False, soft_wrap=True)

        yield advance, finish
