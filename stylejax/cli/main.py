"""The command line: `stylejax VERB …`. The one place that prints, exits, and sets what is global.

A verb is a dataclass: its fields are the options, their docstrings the help, and calling it does the work. Heavy imports wait
until then, so that `stylejax --help` starts without jax.
"""

import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from stylejax.cli import provenance, reconstruct, weights
from stylejax.cli.features import Features
from stylejax.cli.files import Files, OutputOptions
from stylejax.cli.parsing import Output, asking, comma_separated, one_line_errors, preset_name, say, union_of
from stylejax.cli.run import options_of, run_transfer
from stylejax.cli.runtime import INTERRUPTED, ask_for_huge_pages
from stylejax.cli.sweep import Sweep
from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.presets import PRESETS, SAID, preset

FAULT, CLOSED = 2, 141
"""The input is at fault; nobody reads the output any more, as a shell says it."""

GROUPS = {"reconstruct": reconstruct, "weights": weights}
"""Verbs with verbs of their own."""


def _presets() -> str:
    """The help on presets: what each is for, and which options it stands for."""
    sets = {
        name: f" ({shlex.join(options_of(config))})" if options_of(config) else "" for name, config in PRESETS.items()
    }
    lines = [f"{name}: {SAID[name]}{sets[name]}." for name in PRESETS]
    return " ".join(["Where the defaults of the other options come from.", *lines])


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Give the picture CONTENT the style of the picture STYLE; of several styles, their mean."""

    content: Annotated[Positional[Path], arg(metavar="CONTENT")]
    """The picture whose objects and arrangement are kept."""
    style: Annotated[Positional[tuple[Path, ...]], arg(metavar="STYLE [STYLE …]")]
    """One or more pictures whose colors, strokes and shapes are taken on."""
    out: Output
    preset: Annotated[
        Literal["default", "fast", "quality", "print", "paper", "gatys2016", "neural-style"], arg(help=_presets())
    ] = "default"
    config: OmitArgPrefixes[TransferConfig] = TransferConfig()
    output: OmitArgPrefixes[OutputOptions] = OutputOptions()

    def __call__(self) -> int:
        """Everything that can be checked is checked before the work starts."""
        if not self.style:
            raise InputError("no STYLE was given; name at least one picture after the content")
        return run_transfer(
            Files(content=self.content, styles=self.style, out=self.out, output=self.output), self.config
        )


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Paint a photograph like a starry night: the main job, on pictures that need no download."""

    out: Annotated[Path, arg(aliases=["-o"])] = Path("stylejax-demo")
    """The folder for the photograph, the painting and the result."""
    config: OmitArgPrefixes[TransferConfig] = TransferConfig(size=448, steps=250)
    output: OmitArgPrefixes[OutputOptions] = OutputOptions()

    def __call__(self) -> int:
        """Prints the `transfer` command that it stands for, then does as that command would."""
        from stylejax.images.samples import write_demo

        content, style = write_demo(self.out)
        out = self.out / "picture.png"
        command = ["stylejax", "transfer", str(content), str(style), "-o", str(out), *options_of(self.config)]
        say(f"$ {shlex.join(command)}")
        return run_transfer(Files(content=content, styles=(style,), out=out, output=self.output), self.config)


def main(argv: Sequence[str] | None = None, prepare: Callable[[], None] = lambda: None) -> int:
    """Run one command and return its exit code: 0 done, 2 the input is at fault, 130 interrupted.

    `prepare` is called before the work, and not for `--help` or words that make no sense.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    warnings.showwarning = lambda message, *_: say(f"note: {message}")
    try:
        command = parse(words)
        prepare()
        return command()
    except (InputError, FloatingPointError) as error:
        return _refuse(str(error))
    except (MemoryError, RuntimeError) as error:
        # What was predicted to fit did not: other programs took memory meanwhile.
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _refuse("out of memory; take a smaller --size, a smaller --history, or --optimizer adam")
    except KeyboardInterrupt:
        say("stylejax: interrupted before there was a picture")
        return INTERRUPTED


def entry() -> None:
    """The console script. File names that are no text must not spoil the last line, nor a reader that has seen enough."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        try:
            sys.exit(main(prepare=ask_for_huge_pages))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # What is left would be written when Python ends, and complained of then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(CLOSED)


def parse(words: Sequence[str]) -> Callable[[], int]:
    """The verb that the words ask for, with its values checked. Raises `InputError` for words that make no sense."""
    words = list(words)
    registry = tyro.constructors.ConstructorRegistry()
    registry.primitive_rule(comma_separated)
    if words and words[0] in GROUPS:
        group = GROUPS[words[0]]
        prog, description, verbs, words = f"stylejax {words[0]}", group.__doc__, group.VERBS, words[1:]
    else:
        prog, description = "stylejax", "A Neural Algorithm of Artistic Style (Gatys, Ecker, Bethge 2015) in JAX."
        verbs = {
            "demo": Demo(),
            "transfer": asking(Transfer, config=preset(preset_name(words))),
            "reconstruct": reconstruct.Reconstruct(),
            "features": asking(Features),
            "sweep": asking(Sweep),
            **provenance.VERBS,
            "weights": weights.Weights(),
        }
    union: Any = tyro.conf.OmitSubcommandPrefixes[union_of(verbs)]
    with one_line_errors():
        return tyro.cli(union, prog=prog, description=description, args=words or ["--help"], registry=registry)


def _refuse(reason: str) -> int:
    say(f"stylejax: error: {' '.join(reason.splitlines())}")
    return FAULT
