"""Sweeps: runs over a grid of settings, on all devices and machines."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from stylejax.cli.files import after_writing
from stylejax.cli.parsing import print_stderr
from stylejax.cli.run import NOT_IMPROVED
from stylejax.cli.runtime import EXIT_INTERRUPTED, EXIT_OK, device_mesh, graceful_interrupt, start_jax
from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.files import kind_of
from stylejax.sweeps.distributed import DistributedOptions, barrier, distributed_context

if TYPE_CHECKING:
    from stylejax.evaluation.alexnet import AlexNet
    from stylejax.models.architecture import VGGWeights
    from stylejax.sweeps.grid import Row, SweepSpec

    ListedConfig = TransferConfig
else:
    # The fields of the config with lists of unparsed values; tyro reads their help from the base class.
    ListedConfig = make_dataclass(
        "Listed",
        [(f.name, tuple[str, ...], field(default=())) for f in fields(TransferConfig)],
        bases=(TransferConfig,),
        namespace={"__post_init__": lambda self: None},
        frozen=True,
        kw_only=True,
    )

EXIT_INCOMPLETE = 1
"""Exit code of a sweep without all of its images."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Make an image for every combination of listed values, as in --scales 1,auto --style-weight 1e2,1e3."""

    grid: Annotated[Positional[Path | None], arg(metavar="[GRID.toml]")] = None
    """File of name = value or name = [value, …] for settings, or a [[row]] for each combination; options override it."""
    out: Annotated[Path, arg(aliases=["-o"])]
    """Folder for a PNG of each row, named after its content, results.jsonl, sheet.png and index.html."""
    content: tuple[Path, ...] = ()
    """Content images A,B,… or A B …, or folders of them; the images are named after them."""
    style: tuple[Path, ...] = ()
    """Style images or folders. A + joins several styles or layers to one value, as in conv1_1,conv1_1+conv2_1."""
    preset: tuple[str, ...] = ()
    """Presets of default values, as in stylejax transfer."""
    batch_size: int | None = None
    """Rows that run at once on each device. By default as many as are predicted to fit into memory; one on a CPU."""
    skip_invalid: bool = False
    """Omission of invalid rows. By default one of them stops the sweep before it starts."""
    resume: bool = False
    """Continuation of the sweep in the folder: rows with an intact image of the same provenance are kept."""
    evaluate: bool = False
    """Measures of every image as by stylejax evaluate, in results.jsonl and on the page."""
    config: OmitArgPrefixes[ListedConfig] = ListedConfig()
    distributed: OmitArgPrefixes[DistributedOptions] = DistributedOptions()

    def __call__(self) -> int:
        options: dict[str, Any] = {name: split_names(getattr(self, name)) for name in ("content", "style")}
        options = {name: values for name, values in (options | {"preset": self.preset}).items() if values}
        options |= {f.name: values for f in fields(self.config) if (values := getattr(self.config, f.name))}
        if not self.grid and not options:
            raise InputError("the sweep has no settings; list some, as in --style-weight 1e2,1e3, or name a TOML file")
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"--batch-size must be a whole number from 1, got {self.batch_size}")
        from stylejax.evaluation.alexnet import load_alexnet
        from stylejax.sweeps.results import check_folder

        with distributed_context(self.distributed) as (process, processes):
            start_jax()
            sweep, network = self._load(options), load_alexnet() if self.evaluate else None
            # No process may write into the folder before all of them have checked it.
            with barrier(processes):
                check_folder(self.out, self.resume, sweep.rows, self.grid)
            return self._run(sweep, network, process, processes)

    def _load(self, options: dict[str, Any]) -> "SweepSpec":
        from stylejax.sweeps.grid import load_sweep

        sweep = load_sweep(self.grid, options)
        if sweep.invalid and not (self.skip_invalid and sweep.rows):
            raise InputError(f"{sweep.error_message()} Correct them, or leave them out with --skip-invalid")
        if sweep.invalid:
            print_stderr(f"left out: {sweep.error_message()}")
        return sweep

    def _run(self, sweep: "SweepSpec", network: "AlexNet | None", process: int, processes: int) -> int:
        from stylejax.sweeps.report import write_report
        from stylejax.sweeps.results import RESULTS_FILE, load_finished, row_provenance, write_results

        networks = {name: parameters for name, (parameters, _) in sweep.networks.items()}
        for line in dict.fromkeys(line for _, line in sweep.networks.values()):
            print_stderr(line)
        provenance = row_provenance(networks)
        todo = [row for row in sweep.rows[process::processes] if not load_finished(self.out, row, provenance(row))]
        if processes > 1:
            hint = "; if process 0 dies, jax ends this one too, and --resume makes the rest" if process else ""
            print_stderr(f"process {process} of {processes}: {len(todo)} of {len(sweep.rows)} rows{hint}")
        interrupted = self._run_rows(todo, networks, RESULTS_FILE if processes == 1 else f"results-{process}.jsonl")
        # An interrupted process does not wait for the others, which may run for hours.
        with barrier(1 if interrupted else processes) as dead:
            if process:
                return self._finish(len(sweep.rows), None, dead, interrupted)
            network = None if interrupted else network
            entries = write_results(self.out, sweep.rows, provenance, lambda row: self._measure(row, network))
            with after_writing(self.out / RESULTS_FILE):
                write_report(self.out, sweep.rows, entries)
            return self._finish(len(sweep.rows), entries, dead, interrupted)

    def _run_rows(self, rows: "Sequence[Row]", networks: "dict[tuple[str, int], VGGWeights]", results: str) -> bool:
        """Run and save the rows, and return whether they were interrupted."""
        from stylejax.cli.display import sweep_bar
        from stylejax.sweeps.results import NON_FINITE, row_picture, row_provenance, save_row
        from stylejax.sweeps.runner import run_rows
        from stylejax.synthesis.schedule import work

        provenance = row_provenance(networks)
        steps = dict.fromkeys((row.number for row in rows), 0)
        total = sum(work(row.plan.schedule, row.config.steps) for row in rows)
        with sweep_bar(len(rows), total) as (advance, finish), graceful_interrupt() as interrupted:

            def watch(batch: "Sequence[Row]", infos: Any) -> bool:
                numbers = [row.number for row in batch]
                before = sum(work(row.plan.schedule, steps[row.number]) for row in batch)
                steps.update((number, steps[number] + 1) for number in numbers)
                advance(numbers, infos, sum(work(row.plan.schedule, steps[row.number]) for row in batch) - before)
                return interrupted()

            for done in run_rows(rows, networks, batch_size=self.batch_size, mesh=_mesh(), watch=watch):
                save_row(self.out, done, provenance(done.row), results)
                loss = f"loss {done.result.loss:.4g}" if done.result else NON_FINITE
                note = "" if not done.result or done.result.improved else f"; note: {NOT_IMPROVED}"
                finish(f"{row_picture(self.out, done.row).name}: {loss}, {done.seconds:.1f} s{note}")
            return interrupted()

    def _measure(self, row: "Row", network: "AlexNet | None") -> dict[str, Any] | None:
        """Return the measures of a row's image; None without a network, and with a note if they cannot be taken."""
        from stylejax.sweeps.results import measures_of

        try:
            return measures_of(self.out, row, network) if network else None
        except InputError as error:
            print_stderr(f"note: row {row.number} is not measured: {error}")
            return None

    def _finish(self, count: int, entries: Any, dead: Sequence[int], interrupted: bool) -> int:
        """Report finished and missing rows, and return the exit code."""
        errors = {}
        if entries is not None:
            errors = {number: entry["error"] for number, entry in entries.items() if "error" in entry}
            print(f"{self.out}: {len(entries) - len(errors)} of {count} images")
        for number, error in errors.items():
            print_stderr(f"stylejax: row {number}: {error}")
        hint = "the same command with --resume makes only the missing images"
        if interrupted:
            print_stderr(f"stylejax: interrupted; finished images were kept, and {hint}")
            return EXIT_INTERRUPTED
        if dead:
            print_stderr(f"stylejax: error: process {', '.join(map(str, dead))} ended before the others; {hint}")
        missing = entries is not None and (len(entries) < count or errors)
        return EXIT_INCOMPLETE if dead or missing else EXIT_OK


def split_names(words: Sequence[Path]) -> list[str]:
    """Return the names in words of the command line: a word is split at commas unless a file has that name."""
    lists = [[str(word)] if kind_of(word) != "nothing" else str(word).split(",") for word in words]
    names = [name for names in lists for name in names if name]
    if grids := [name for name in names if name.endswith(".toml")]:
        raise InputError(f"--content and --style must be images, got {grids[0]}; name the TOML file before them")
    return names


def _mesh() -> Any:
    """Return the mesh of all devices of this process, over which a batch is spread; None for one device."""
    import jax

    return device_mesh("batch", jax.local_device_count())
