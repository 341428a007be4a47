"""Command line: `stylejax COMMAND …`. Only this package prints, exits and changes global state.

A command is a dataclass: its fields are the options, their docstrings are the help, and calling it does the work. Heavy imports
are deferred until then, so that `stylejax --help` starts without jax.
"""

import functools
import importlib.metadata
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from stylejax.cli import provenance, reconstruct, weights
from stylejax.cli.evaluate import Evaluate
from stylejax.cli.features import Features
from stylejax.cli.files import OutputOptions, RunFiles
from stylejax.cli.parsing import Output, find_preset, parse_command, print_stderr, with_required_args
from stylejax.cli.run import run_transfer, to_argv
from stylejax.cli.runtime import EXIT_INTERRUPTED, EXIT_OK, configure_jax, enable_huge_pages
from stylejax.cli.streams import open_streams
from stylejax.cli.sweep import Sweep
from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.presets import preset

EXIT_USAGE, EXIT_SIGPIPE = 2, 141
"""Exit codes of invalid input and, by the convention of shells, of a closed output pipe."""

COMMAND_GROUPS = {"reconstruct": reconstruct, "weights": weights}
"""Commands with subcommands."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Render the content of the image CONTENT in the style of one or more STYLE images."""

    content: Annotated[Positional[Path], arg(metavar="CONTENT")]
    """Image whose objects and arrangement are kept."""
    style: Annotated[Positional[tuple[Path, ...]], arg(metavar="STYLE [STYLE …]")]
    """One or more images whose colors, strokes and shapes are used."""
    out: Output
    preset: Literal["default", "fast", "quality", "large", "paper", "gatys2016", "neural-style"] = "default"
    """Preset of default values; explicit options override it. `--preset NAME --help` shows its values."""
    config: OmitArgPrefixes[TransferConfig] = TransferConfig()
    output: OmitArgPrefixes[OutputOptions] = OutputOptions()

    def __call__(self) -> int:
        if not self.style:
            raise InputError("no STYLE was given; name at least one image after the content")
        files = RunFiles(content=self.content, styles=self.style, out=self.out, output=self.output)
        return run_transfer(files, self.config)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Render a sample photograph in the style of a generated starry night; no image is downloaded."""

    out: Annotated[Path, arg(aliases=["-o"])] = Path("stylejax-demo")
    """Folder for the photograph, the painting and the result."""
    config: OmitArgPrefixes[TransferConfig] = TransferConfig(size=448, steps=250)
    output: OmitArgPrefixes[OutputOptions] = OutputOptions()

    def __call__(self) -> int:
        """Print the equivalent `transfer` command, then run it."""
        from stylejax.images.samples import write_demo

        content, style = write_demo(self.out)
        out = self.out / "picture.png"
        command = ["stylejax", "transfer", str(content), str(style), "-o", str(out), *to_argv(self.config)]
        print_stderr(f"$ {shlex.join(command)}")
        return run_transfer(RunFiles(content=content, styles=(style,), out=out, output=self.output), self.config)


def main(argv: Sequence[str] | None = None, prepare: Callable[[], None] = lambda: None) -> int:
    """Run one command and return its exit code: 0 for success, 2 for invalid input, 130 for an interrupt.

    `prepare` is called after parsing and before the work, not for `--help` or invalid options.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    note = functools.cache(lambda text: print_stderr(f"note: {text}"))  # Once, also if the rows of a sweep repeat it.
    warnings.showwarning = lambda message, *_: note(str(message))
    if words[:1] == ["--version"]:
        return _print_versions()
    try:
        command = parse(words)
        prepare()
        configure_jax()
        return command()
    except (InputError, FloatingPointError) as error:
        return _refuse(str(error))
    except (MemoryError, RuntimeError) as error:
        # The memory prediction fails if other programs allocate memory meanwhile.
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _refuse("out of memory; take a smaller --size, a smaller --history, or --optimizer adam")
    except KeyboardInterrupt:
        print_stderr("stylejax: interrupted before an image was saved")
        return EXIT_INTERRUPTED


def entry() -> None:
    """Run the console script; exit with 141 if the reader of standard output has closed it, and 2 if it is full."""
    open_streams()
    try:
        code: Any = _main_with_help()
        sys.stdout.flush()
    except BrokenPipeError:
        code = EXIT_SIGPIPE
    except InputError as error:
        code = _refuse(str(error))
    sys.exit(code)


def _main_with_help() -> Any:
    """Return the exit code; `--help` ends with `SystemExit`, and its text is not flushed yet."""
    try:
        return main(prepare=enable_huge_pages)
    except SystemExit as stop:
        return stop.code


def parse(words: Sequence[str]) -> Callable[[], int]:
    """Return the command with its validated options. Raise `InputError` for words that cannot be parsed."""
    if words and words[0] in COMMAND_GROUPS:
        group = COMMAND_GROUPS[words[0]]
        return parse_command(group.COMMANDS, words[1:], f"stylejax {words[0]}", str(group.__doc__))
    commands = {
        "demo": Demo(),
        "transfer": with_required_args(
            Transfer, config=preset(find_preset(words if list(words[:1]) == ["transfer"] else ()))
        ),
        "reconstruct": reconstruct.Reconstruct(),
        "features": with_required_args(Features),
        "evaluate": with_required_args(Evaluate),
        "sweep": with_required_args(Sweep),
        **provenance.COMMANDS,
        "weights": weights.Weights(),
    }
    description = (
        "A Neural Algorithm of Artistic Style (Gatys, Ecker, Bethge 2015) in JAX. --version shows its version."
    )
    return parse_command(commands, words, "stylejax", description)


def _print_versions() -> int:
    print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("stylejax", "jax")))
    return EXIT_OK


def _refuse(reason: str) -> int:
    print_stderr(f"stylejax: error: {reason}")
    return EXIT_USAGE
