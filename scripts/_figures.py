"""Share the options, inputs, progress bar and output files of the three figure scripts."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tyro.conf import arg

import stylejax
from stylejax.cli.parsing import print_stderr, tyro_errors
from stylejax.cli.runtime import EXIT_INTERRUPTED, EXIT_OK, start_jax
from stylejax.files import check_writable, make_folder, write_atomically
from stylejax.images.io import check_writable_image
from stylejax.images.resize import HostImage, fit_longest_side, resize
from stylejax.images.samples import photograph
from stylejax.sweeps.contact_sheet import ImageGrid, Labels, contact_sheet
from stylejax.sweeps.html import html_page
from stylejax.synthesis.factories import make_vgg
from stylejax.synthesis.transfer import Result, Step
from stylejax.synthesis.validation import make_plan

LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
LAYER_SETS = tuple(LAYERS[: i + 1] for i in range(len(LAYERS)))
"""Style layers of the paper's rows A to E: each adds a deeper layer."""

POOLINGS = {"avg": "average", "max": "maximum"}
CREDIT = "photograph by Daniel Buechele, CC BY 2.0"
PSNR_COLUMN = "PSNR, dB"
EXIT_USAGE = 2
PAINTING_SIDE = 768
"""Longest side of a generated painting in pixels, as by default in `generate_painting`."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of every figure."""

    out: Annotated[Path, arg(aliases=["-o"])] = Path("figures")
    """Folder for the figure, as a PNG file and as an HTML page with its numbers."""
    size: int = 256
    """Longest side of each image, in pixels."""
    steps: int = 200
    """Steps of each image, with one evaluation of the network each."""
    seed: int = 0
    """Seed of the noise."""
    weights: str = "auto"
    """Weights of the network: auto, vgg19, vgg16, random, or a weights FILE."""
    pooling: Literal["avg", "max"] = "avg"
    """Pooling of the network: avg as in the paper, max as it was trained."""

    @property
    def common_options(self) -> dict[str, Any]:
        """Return the options of the functions that make an image."""
        return {"size": self.size, "steps": self.steps, "seed": self.seed}


class Source(NamedTuple):
    """Input image and its name in the caption."""

    image: HostImage
    name: str


class FigureContext(NamedTuple):
    """Name, options and inputs of a figure, and its network with a description for the caption."""

    name: str
    options: Options
    content: Source
    styles: Sequence[Source]
    vgg: stylejax.VGG
    provenance: str


class Task(NamedTuple):
    """Image to make with `make(callback=…)`, its facts for the table, and an image to compare it with."""

    facts: Mapping[str, Any]
    make: Callable[..., Result]
    reference: HostImage | None = None


class FigurePanel(NamedTuple):
    """Finished image and its row in the table."""

    image: HostImage
    row: dict[str, Any]


class Figure(NamedTuple):
    """Grid of images with its titles and labels: the first arguments of `html_page`."""

    title: str
    caption: str
    images: ImageGrid
    rows: Sequence[str]
    columns: Sequence[str]
    labels: Labels | None


def run_cli(figure: Callable[..., Callable[[], int]], name: str, words: Sequence[str] | None = None) -> int:
    """Parse the words into `figure`, call it, and return its exit code; report errors in one line."""
    warnings.showwarning = lambda message, *_: print_stderr(f"note: {message}")
    try:
        with tyro_errors():
            script = tyro.cli(figure, prog=f"{name}.py", args=words)
        return script()
    except (stylejax.InputError, FloatingPointError) as error:
        print_stderr(f"{name}: error: {' '.join(str(error).splitlines())}")
        return EXIT_USAGE
    except KeyboardInterrupt:
        print_stderr(f"{name}: interrupted before the first image")
        return EXIT_INTERRUPTED


def read(path: Path | None) -> Source:
    """Read an image, named by its file; None means the photograph of scikit-learn."""
    name = path.stem if path else f"the Summer Palace ({CREDIT})"
    return Source(stylejax.read_image(path or photograph()), name)


def painting(like: HostImage) -> Source:
    """Generate a painting with the aspect ratio of another image."""
    height, width = fit_longest_side(like.shape, PAINTING_SIDE)
    return Source(stylejax.generate_painting(width, height), "a generated painting")


def fit(source: Source, size: int) -> HostImage:
    """Return the image of a source resized as the results are, to a longest side of `size`."""
    return stylejax.resize_longest_side(source.image, size).clip(0, 1)


def prepare(
    options: Options, name: str, content: Source, styles: Sequence[Source], style_weight: float = 1.0
) -> FigureContext:
    """Check everything before the work, and load the network. Raises `InputError`.

    Args:
        options: Options of the figure.
        name: Name of the script, the stem of its two files.
        content: Content image.
        styles: Style images.
        style_weight: Style weight of the script, to be checked.
    """
    config = stylejax.TransferConfig(style_weight=style_weight, pooling=options.pooling, **options.common_options)
    start_jax()
    parameters, explanation = stylejax.load_pretrained(options.weights, options.seed)
    shapes = content.image.shape, [style.image.shape for style in styles]
    make_plan(config, parameters.network, *shapes, stylejax.Masks())
    make_folder(options.out)
    check_writable_image(options.out / f"{name}.png")
    check_writable(options.out / f"{name}.html")
    print_stderr(explanation)
    provenance = (
        f"{parameters.network.upper().replace('VGG', 'VGG-')} of {parameters.source}, "
        f"{POOLINGS[options.pooling]} pooling, {options.steps} steps of L-BFGS at {options.size} pixels."
    )
    return FigureContext(name, options, content, styles, make_vgg(config, parameters), provenance)


def make_panels(tasks: Sequence[Task]) -> list[FigurePanel | None]:
    """Make all images under a progress bar; after Ctrl-C the current and later ones are None."""
    panels: list[FigurePanel | None] = []
    bar = BarColumn(bar_width=30), TextColumn("{task.description}")
    times = TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=True)
    console = Console(stderr=True, highlight=False)
    with Progress(*bar, *times, console=console, refresh_per_second=4) as progress:
        work = progress.add_task("", total=len(tasks))

        def advance(step: Step) -> None:
            progress.update(work, completed=len(panels) + step.step / step.steps)

        try:
            for task in tasks:
                progress.update(work, description=f"{len(panels) + 1} of {len(tasks)} images")
                panel = _make_panel(task, advance)
                panels.append(panel)
                progress.update(work, completed=len(panels))
                console.print(_summary(task, panel), markup=False, soft_wrap=True)
        except KeyboardInterrupt:
            if not panels:
                raise
    return panels + [None] * (len(tasks) - len(panels))


def panel_images(panels: Sequence[FigurePanel | None]) -> list[HostImage | None]:
    """Return the images of the panels, with None for a missing one."""
    return [panel.image if panel else None for panel in panels]


def save_figure(context: FigureContext, figure: Figure, panels: Sequence[FigurePanel | None]) -> int:
    """Write the figure as PNG and HTML, report missing images, and return the exit code."""
    missing = f"{panels.count(None)} of {len(panels)} images are missing" if None in panels else ""
    if missing:
        figure = figure._replace(caption=f"{figure.caption} Interrupted: {missing}.")
    title, caption, images, rows, columns, labels = figure
    sheet, page = (context.options.out / f"{context.name}{suffix}" for suffix in (".png", ".html"))
    stylejax.write_image(sheet, contact_sheet(images, rows, columns, f"{title}. {caption}", labels))
    write_atomically(page, html_page(*figure, [panel.row for panel in panels if panel]).encode())
    print(f"{sheet} {page}")
    if missing:
        print_stderr(f"{context.name}: interrupted: {missing}")
    return EXIT_INTERRUPTED if missing else EXIT_OK


def _make_panel(task: Task, callback: Callable[[Step], None]) -> FigurePanel:
    start = time.perf_counter()
    result = task.make(callback=callback)
    seconds = time.perf_counter() - start
    row = dict(task.facts)
    if task.reference is not None:
        row[PSNR_COLUMN] = stylejax.psnr(result.image, resize(task.reference, *result.image.shape[:2]))
    losses = {f"{kind} {layer}": x for kind in ("content", "style") for layer, x in getattr(result.terms, kind).items()}
    row |= {"loss": result.loss, **losses, "evaluations": result.evaluations, "seconds": seconds}
    return FigurePanel(result.image, {name: x if isinstance(x, (str, int)) else float(x) for name, x in row.items()})


def _summary(task: Task, panel: FigurePanel) -> str:
    """Return one line with the facts, the PSNR, the loss and the time of an image."""
    facts = [x if isinstance(x, str) else f"{name} {x:g}" for name, x in task.facts.items()]
    psnr = [f"{panel.row[PSNR_COLUMN]:.1f} dB"] if PSNR_COLUMN in panel.row else []
    return "  ".join([*facts, *psnr, f"loss {panel.row['loss']:.4g}", f"{panel.row['seconds']:.1f} s"])
