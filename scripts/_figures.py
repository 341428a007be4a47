"""What the three figures share: their options, pictures that need no download, a bar over all pictures, and the two files."""

import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tyro.conf import arg

import stylejax
from stylejax.cli.parsing import one_line_errors, say
from stylejax.cli.runtime import DONE, INTERRUPTED, start_jax
from stylejax.files import check_writable, make_folder, write_atomically
from stylejax.images.io import check_output
from stylejax.images.resize import Picture, fit, resize
from stylejax.images.samples import photograph
from stylejax.sweeps.contact_sheet import Grid, Labels, contact_sheet
from stylejax.sweeps.html import html_page
from stylejax.synthesis.factories import vgg_of
from stylejax.synthesis.transfer import Result, Step
from stylejax.synthesis.validation import make_plan

LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
LAYER_SETS = tuple(LAYERS[: i + 1] for i in range(len(LAYERS)))
"""The paper's a to e: each adds a deeper layer."""

POOLINGS = {"avg": "average", "max": "maximum"}
CREDIT = "photograph by Daniel Buechele, CC BY 2.0"
LIKENESS = "PSNR, dB"
FAULT = 2
LONGEST = 768
"""Longest side of a painting that is made here."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the pictures of a figure are made."""

    out: Annotated[Path, arg(aliases=["-o"])] = Path("figures")
    """The folder for the figure, as a PNG and as an HTML page with its numbers."""
    size: int = 256
    """Longest side of each picture, in pixels."""
    steps: int = 200
    """Steps of each picture, one evaluation of the network each."""
    seed: int = 0
    """Seed of the noise."""
    weights: str = "auto"
    """The network: auto, vgg19, vgg16, random, or a weights FILE."""
    pooling: Literal["avg", "max"] = "avg"
    """avg as in the paper, or max as in the network's training."""

    @property
    def search(self) -> dict[str, Any]:
        """The options that every picture is made with."""
        return {"size": self.size, "steps": self.steps, "seed": self.seed}


class Source(NamedTuple):
    """A picture that is given, and what the caption calls it."""

    image: Picture
    name: str


class Studio(NamedTuple):
    """The network, built once for all pictures, and the sentences of the caption that say what it is."""

    vgg: stylejax.VGG
    recipe: str


class Task(NamedTuple):
    """A picture to be made by a function of a callback, and what the table says of it. With `reference`, it is compared
    with that picture."""

    facts: Mapping[str, Any]
    make: Callable[..., Result]
    reference: Picture | None = None


class Made(NamedTuple):
    """A picture, and its row in the table."""

    image: Picture
    row: dict[str, Any]


class Figure(NamedTuple):
    """Pictures with their titles, as `stylejax.sweeps.html.html_page` takes them."""

    title: str
    caption: str
    pictures: Grid
    rows: Sequence[str]
    columns: Sequence[str]
    labels: Labels | None


def command(figure: Callable[..., Callable[[], int]], name: str, words: Sequence[str] | None) -> int:
    """Reads the words into `figure` and calls it: 0 done, 2 the input is at fault, which one line says, 130 interrupted."""
    warnings.showwarning = lambda message, *_: say(f"note: {message}")
    try:
        with one_line_errors():
            chosen = tyro.cli(figure, prog=f"{name}.py", args=words)
        return chosen()
    except (stylejax.InputError, FloatingPointError) as error:
        say(f"{name}: error: {' '.join(str(error).splitlines())}")
        return FAULT
    except KeyboardInterrupt:
        say(f"{name}: interrupted before there was a picture")
        return INTERRUPTED


def read(path: Path | None) -> Source:
    """Read a picture; the caption names it by its file. None means the photograph that comes with scikit-learn."""
    name = path.stem if path else f"the Summer Palace ({CREDIT})"
    return Source(stylejax.read_image(path or photograph()), name)


def shown(source: Source, size: int) -> Picture:
    """The picture as large as those that are made."""
    return resize(source.image, *fit(source.image.shape, size)).clip(0, 1)


def painting(like: Picture, seed: int = 7) -> Source:
    """A picture painted here, of the aspect ratio of another."""
    height, width = fit(like.shape, LONGEST)
    return Source(stylejax.paint(width, height, seed), "a generated painting")


def prepare(options: Options, name: str, content: Source, styles: Sequence[Source], *weights: float) -> Studio:
    """Everything that can be checked is checked before the work, the `weights` of the style too. Raises `InputError`."""
    configs = [stylejax.TransferConfig(style_weight=weight, **options.search) for weight in weights or (1.0,)]
    start_jax()
    parameters, explanation = stylejax.resolve(options.weights, options.seed)
    shapes = content.image.shape, [style.image.shape for style in styles]
    make_plan(configs[0], parameters.network, *shapes, stylejax.Masks())
    _check_folder(options.out, name)
    say(explanation)
    config = dataclasses.replace(configs[0], pooling=options.pooling)
    network = f"{parameters.network.upper().replace('VGG', 'VGG-')} of {parameters.source}"
    recipe = (
        f"{network}, {POOLINGS[options.pooling]} pooling, {options.steps} steps of L-BFGS at {options.size} pixels."
    )
    return Studio(vgg_of(config, parameters), recipe)


def make(tasks: Sequence[Task]) -> list[Made | None]:
    """All pictures, with a bar over them. Ctrl-C leaves out the picture that is being made and those after it."""
    made: list[Made | None] = []
    with _bar(len(tasks)) as bar:
        try:
            for task in tasks:
                one = _make(task, lambda step: bar(len(made) + step.step / step.steps))
                made.append(one)
                bar(len(made), _line(task, one))
        except KeyboardInterrupt:
            if not made:
                raise
    return made + [None] * (len(tasks) - len(made))


def images(made: Sequence[Made | None]) -> list[Picture | None]:
    """None for a picture that was not made."""
    return [one.image if one else None for one in made]


def total(layers: Sequence[str]) -> str:
    """`conv1_1 + conv2_1`."""
    return " + ".join(layers)


def publish(figure: Figure, name: str, folder: Path, made: list[Made | None]) -> int:
    """Writes the sheet and the page, and says where they are and what is missing."""
    missing = made.count(None)
    if missing:
        figure = figure._replace(
            caption=f"{figure.caption} Interrupted: {missing} of {len(made)} pictures are missing."
        )
    sheet, page = folder / f"{name}.png", folder / f"{name}.html"
    caption = f"{figure.title}. {figure.caption}"
    stylejax.write_image(sheet, contact_sheet(figure.pictures, figure.rows, figure.columns, caption, figure.labels))
    write_atomically(page, html_page(*figure, [one.row for one in made if one]).encode())
    print(f"{sheet} {page}")
    if missing:
        say(f"{name}: interrupted: {missing} of {len(made)} pictures are missing")
    return INTERRUPTED if missing else DONE


def _check_folder(folder: Path, name: str) -> None:
    make_folder(folder)
    check_output(folder / f"{name}.png")
    check_writable(folder / f"{name}.html")


def _make(task: Task, callback: Callable[[Step], None]) -> Made:
    began = time.perf_counter()
    result = task.make(callback=callback)
    seconds = time.perf_counter() - began
    row = dict(task.facts)
    if task.reference is not None:
        row[LIKENESS] = stylejax.psnr(result.image, resize(task.reference, *result.image.shape[:2]))
    losses = {f"{kind} {layer}": x for kind in ("content", "style") for layer, x in getattr(result.terms, kind).items()}
    row |= {"loss": result.loss, **losses, "evaluations": result.evaluations, "seconds": seconds}
    return Made(result.image, {name: x if isinstance(x, (str, int)) else float(x) for name, x in row.items()})


@contextmanager
def _bar(count: int) -> Iterator[Callable[..., None]]:
    """A bar on standard error; gives the function that takes how many pictures are done, and a line on the last."""
    columns = (
        BarColumn(bar_width=30),
        TextColumn("{task.fields[now]} of {task.total} pictures"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True, highlight=False), refresh_per_second=4) as progress:
        task = progress.add_task("", total=count, now=1)

        def move(done: float, line: str = "") -> None:
            progress.update(task, completed=done, now=min(int(done) + 1, count))
            if line:
                progress.console.print(line, markup=False, soft_wrap=True)

        yield move


def _line(task: Task, made: Made) -> str:
    """The facts, the likeness and the time of a picture."""
    facts = [x if isinstance(x, str) else f"{name} {x:g}" for name, x in task.facts.items()]
    likeness = [f"{made.row[LIKENESS]:.1f} dB"] if LIKENESS in made.row else []
    return "  ".join([*facts, *likeness, f"loss {made.row['loss']:.4g}", f"{made.row['seconds']:.1f} s"])
