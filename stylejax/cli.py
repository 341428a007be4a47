"""The command line: `stylejax VERB …`. The one place that prints, exits, and sets what is global.

A verb is a dataclass: its fields are the options, their docstrings the help, and calling it does the work. Heavy imports wait
until then, so that `stylejax --help` starts without jax.
"""

import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from stylejax import cli_weights
from stylejax.cli_words import asking, comma_separated, one_line_errors, preset_name, union_of
from stylejax.config import TransferConfig, option, preset
from stylejax.errors import InputError

if TYPE_CHECKING:
    from stylejax.transfer import Result, Step
    from stylejax.vgg import Parameters

DONE, FAULT, INTERRUPTED = 0, 2, 130


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Give the picture CONTENT the style of the picture STYLE; of several styles, their mean."""

    content: Annotated[Positional[Path], arg(metavar="CONTENT")]
    """The picture whose objects and arrangement are kept."""
    style: Annotated[Positional[tuple[Path, ...]], arg(metavar="STYLE [STYLE …]")]
    """One or more pictures whose colours, strokes and shapes are taken on."""
    out: Annotated[Path, arg(aliases=["-o"])]
    """The file to write: PNG, JPEG, WebP, TIFF or BMP, by its name."""
    preset: Literal["default", "paper"] = "default"
    """Where the defaults of the other options come from; paper is equations 1 to 7 as printed, from white noise."""
    config: OmitArgPrefixes[TransferConfig] = TransferConfig()
    log: Path | None = None
    """A file for the losses of every step, one JSON object a line."""

    def __call__(self) -> int:
        """Everything that can be checked is checked before the work starts."""
        if not self.style:
            raise InputError("no STYLE was given; name at least one picture after the content")
        return run_transfer(self.content, self.style, self.out, self.config, self.log)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Paint a photograph like a starry night: the main job, on pictures that need no download."""

    out: Annotated[Path, arg(aliases=["-o"])] = Path("stylejax-demo")
    """The folder for the photograph, the painting and the result."""
    config: OmitArgPrefixes[TransferConfig] = TransferConfig(size=448, steps=250)
    log: Path | None = None
    """A file for the losses of every step, one JSON object a line."""

    def __call__(self) -> int:
        """Prints the `transfer` command that it stands for, then does as that command would."""
        from stylejax.demo import write_demo

        content, style = write_demo(self.out)
        out = self.out / "picture.png"
        command = ["stylejax", "transfer", str(content), str(style), "-o", str(out), *_options(self.config)]
        _say(f"$ {shlex.join(command)}")
        return run_transfer(content, (style,), out, self.config, self.log)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 2 the input is at fault, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    warnings.showwarning = lambda message, *_: _say(f"note: {message}")
    try:
        return parse(words)()
    except (InputError, FloatingPointError) as error:
        return _refuse(str(error))
    except (MemoryError, RuntimeError) as error:
        # What was predicted to fit did not: other programs took memory meanwhile.
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _refuse("out of memory; take a smaller --size, a smaller --history, or --optimizer adam")
    except KeyboardInterrupt:
        _say("stylejax: interrupted before there was a picture")
        return INTERRUPTED


def entry() -> None:
    """The console script. File names that are no text must not spoil the last line."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main())


def parse(words: Sequence[str]) -> Callable[[], int]:
    """The verb that the words ask for, with its values checked. Raises `InputError` for words that make no sense."""
    words = list(words)
    registry = tyro.constructors.ConstructorRegistry()
    registry.primitive_rule(comma_separated)
    if words[:1] == ["weights"]:
        prog, description, words = "stylejax weights", cli_weights.__doc__, words[1:]
        verbs = cli_weights.VERBS
    else:
        prog, description = "stylejax", "A Neural Algorithm of Artistic Style (Gatys, Ecker, Bethge 2015) in JAX."
        base = asking(Transfer, config=preset(preset_name(words)))
        verbs = {"demo": Demo(), "transfer": base, "weights": cli_weights.Weights()}
    union: Any = tyro.conf.OmitSubcommandPrefixes[union_of(verbs)]
    with one_line_errors():
        return tyro.cli(union, prog=prog, description=description, args=words or ["--help"], registry=registry)


def run_transfer(content: Path, styles: Sequence[Path], out: Path, config: TransferConfig, log: Path | None) -> int:
    """Files in, one file out."""
    from stylejax.images import check_output, check_writable, read_image, write_image

    check_output(out)
    if log:
        check_writable(log)
        _check_apart(log, (content, *styles, out, Path(config.init), Path(config.weights)))
    content_image, style_images = read_image(content), [read_image(path) for path in styles]
    if config.init not in ("content", "noise", "style"):
        read_image(config.init)
    start_jax()
    from stylejax.progress import RunLog, progress_bar
    from stylejax.sources import resolve
    from stylejax.transfer import check_run, transfer
    from stylejax.vgg import build_vgg

    parameters, explanation = resolve(config.weights, config.seed)
    check_run(config, parameters.network, content_image.shape, [image.shape for image in style_images])
    _say(explanation)
    vgg = build_vgg(parameters, config.pooling)
    with closing(RunLog(log)) as run_log:
        if log:
            run_log.write("start", **_start(content, styles, config, parameters))
        with progress_bar() as bar, _graceful_interrupt() as interrupted:

            def watch(step: "Step") -> bool:
                bar(step)
                run_log.step(step)
                return interrupted()

            result = transfer(content_image, style_images, vgg=vgg, config=config, callback=watch)
        write_image(out, result.image)
        run_log.end(result)
    return _report(result, out)


def start_jax() -> None:
    """Keeps compiled programs in the user's cache, so that the second run of a size starts at once."""
    import jax

    from stylejax.sources import cache_folder

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _start(content: Path, styles: Sequence[Path], config: TransferConfig, parameters: "Parameters") -> dict[str, Any]:
    """What the run is made of: config, inputs, network, versions, device."""
    import hashlib

    from stylejax.checkpoint import parameters_hash
    from stylejax.progress import environment

    inputs = [{"name": p.name, "sha256": hashlib.sha256(p.read_bytes()).hexdigest()} for p in (content, *styles)]
    network = {
        "network": parameters.network,
        "source": parameters.source,
        "sha256": parameters_hash(parameters),
    }
    return {
        "config": asdict(config),
        "content": inputs[0],
        "styles": inputs[1:],
        "weights": network,
        **environment(),
    }


def _report(result: "Result", out: Path) -> int:
    h, w = result.image.shape[:2]
    print(f"{out}: {w}×{h}, loss {result.loss:.4g} after {result.evaluations} evaluations")
    if result.stopped:
        _say(f"stylejax: interrupted after {result.steps} steps; the best picture so far was saved")
        return INTERRUPTED
    return DONE


@contextmanager
def _graceful_interrupt() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C or SIGTERM into a flag that ends the run after its step; a second one ends it at once."""
    asked: list[int] = []

    def ask(number: int, _: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _options(config: TransferConfig) -> list[str]:
    """The options that make a config out of the default one."""
    default = TransferConfig()
    changed = [(f.name, getattr(config, f.name)) for f in fields(config)]
    changed = [(name, value) for name, value in changed if value != getattr(default, name)]
    return [
        w for name, value in changed for w in (option(name), ",".join(value) if type(value) is tuple else str(value))
    ]


def _check_apart(log: Path, files: Sequence[Path]) -> None:
    if log.resolve() in [file.resolve() for file in files]:
        raise InputError(f"can not write the log {log}: it is one of the other files; name another one")


def _refuse(reason: str) -> int:
    _say(f"stylejax: error: {' '.join(reason.splitlines())}")
    return FAULT


def _say(line: str) -> None:
    print(line, file=sys.stderr)
