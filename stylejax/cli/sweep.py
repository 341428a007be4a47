"""Many runs at once: a grid of settings, on every device and machine there is."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from stylejax.cli.parsing import say
from stylejax.cli.runtime import DONE, INTERRUPTED, graceful_interrupt, start_jax
from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.sweeps.distributed import Machines, joined, meeting

if TYPE_CHECKING:
    from stylejax.models.architecture import Parameters
    from stylejax.sweeps.grid import Grid, Row

    Listed = TransferConfig
else:
    # The fields of the config, each for a list of values as they are typed. The help is read from the class they come from.
    Listed = make_dataclass(
        "Listed",
        [(f.name, tuple[str, ...], field(default=())) for f in fields(TransferConfig)],
        bases=(TransferConfig,),
        namespace={"__post_init__": lambda self: None},
        frozen=True,
        kw_only=True,
    )

INCOMPLETE = 1


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Make a picture for every combination of the values that are listed, as in --seed 0,1,2 --style-weight 1e2,1e3. Several
    layers or styles at once are joined by +, as in --style-layers conv1_1,conv1_1+conv2_1."""

    grid: Annotated[Positional[Path | None], arg(metavar="[GRID.toml]")] = None
    """A file with name = value or name = [value, …] for the same settings, or a [[row]] for each combination.
    The options below take the place of what it says."""
    out: Annotated[Path, arg(aliases=["-o"])]
    """The folder for a PNG of each row, results.jsonl, sheet.png and index.html."""
    content: tuple[str, ...] = ()
    """Pictures whose objects and arrangement are kept, or a folder of them."""
    style: tuple[str, ...] = ()
    """Pictures whose style is taken on, or a folder of them."""
    preset: tuple[str, ...] = ()
    """Where the other settings come from, as of stylejax transfer."""
    lanes: int | None = None
    """Rows that run at once on each device; by default as many as memory is predicted to hold, on the CPU one,
    which takes as long and less memory."""
    skip_bad: bool = False
    """Leave out the rows that cannot be run; else one of them stops all before they start."""
    resume: bool = False
    """Go on with the sweep in the folder: rows whose picture is there, sound, and made of the same are left as they are."""
    settings: OmitArgPrefixes[Listed] = Listed()
    machines: OmitArgPrefixes[Machines] = Machines()

    def __call__(self) -> int:
        """Every row is checked before the first one starts."""
        options = {name: getattr(self, name) for name in ("content", "style", "preset") if getattr(self, name)}
        options |= {f.name: values for f in fields(self.settings) if (values := getattr(self.settings, f.name))}
        if not self.grid and not options:
            raise InputError("a sweep of nothing; list settings, as in --style-weight 1e2,1e3, or name a TOML file")
        if self.lanes is not None and self.lanes < 1:
            raise InputError(f"--lanes is {self.lanes}; it should be a whole number from 1")
        from stylejax.sweeps.results import check_folder

        with joined(self.machines) as (process, processes):
            start_jax()
            grid = self._checked(options)
            # No process writes into the folder before all have looked at it.
            with meeting(processes):
                check_folder(self.out, self.resume)
            return self._run(grid, process, processes)

    def _checked(self, options: dict[str, Any]) -> "Grid":
        from stylejax.sweeps.grid import read_grid

        grid = read_grid(self.grid, options)
        if grid.bad and not (self.skip_bad and grid.rows):
            raise InputError(f"{grid.refusal()} Mend them, or leave them out with --skip-bad")
        if grid.bad:
            say(f"left out: {grid.refusal()}")
        return grid

    def _run(self, grid: "Grid", process: int, processes: int) -> int:
        from stylejax.sweeps.report import write_report
        from stylejax.sweeps.results import LINES, finished, gather, recipes

        networks = {name: parameters for name, (parameters, _) in grid.networks.items()}
        for line in dict.fromkeys(line for _, line in grid.networks.values()):
            say(line)
        made_of = recipes(networks)
        todo = [row for row in grid.rows[process::processes] if not finished(self.out, row, made_of(row))]
        if processes > 1:
            fate = "; if process 0 dies, jax ends this one too, and --resume does what is missing" if process else ""
            say(f"process {process} of {processes}: {len(todo)} of {len(grid.rows)} rows{fate}")
        interrupted = self._paint(todo, networks, LINES if processes == 1 else f"results-{process}.jsonl")
        # Who was interrupted does not wait for the others, which may go on for hours.
        with meeting(1 if interrupted else processes) as dead:
            if process:
                return self._end(len(grid.rows), None, dead, interrupted)
            entries = gather(self.out, grid.rows, made_of)
            write_report(self.out, grid.rows, entries)
            return self._end(len(grid.rows), entries, dead, interrupted)

    def _paint(self, rows: "Sequence[Row]", networks: "dict[tuple[str, int], Parameters]", lines: str) -> bool:
        """Whether it was interrupted."""
        from stylejax.cli.display import sweep_bar
        from stylejax.sweeps.results import BROKEN, keep, picture_of, recipes
        from stylejax.sweeps.runner import paint
        from stylejax.synthesis.schedule import step_costs

        made_of = recipes(networks)
        work = {row.number: step_costs(row.plan.schedule) for row in rows}
        ahead = {number: iter(steps) for number, steps in work.items()}
        total = float(sum(steps.sum() for steps in work.values()))
        with sweep_bar(len(rows), total) as (move, ended), graceful_interrupt() as interrupted:

            def watch(batch: "Sequence[Row]", infos: Any) -> bool:
                numbers = [row.number for row in batch]
                move(numbers, infos, sum(next(ahead[number], 0.0) for number in numbers))
                return interrupted()

            for painted in paint(rows, networks, lanes=self.lanes, mesh=_mesh(), watch=watch):
                keep(self.out, painted, made_of(painted.row), lines)
                loss = f"loss {painted.result.loss:.4g}" if painted.result else BROKEN
                ended(f"{picture_of(self.out, painted.row).name}: {loss}, {painted.seconds:.1f} s")
            return interrupted()

    def _end(self, count: int, entries: Any, dead: Sequence[int], interrupted: bool) -> int:
        """What there is, and what there is not, in one line each."""
        if entries is not None:
            made = sum("error" not in entry for entry in entries.values())
            print(f"{self.out}: {made} of {count} pictures")
            for entry in entries.values():
                if "error" in entry:
                    say(f"stylejax: row {entry['row']}: {entry['error']}")
        again = "the same command with --resume does only what is missing"
        if interrupted:
            say(f"stylejax: interrupted; what is finished was kept, and {again}")
            return INTERRUPTED
        if dead:
            say(f"stylejax: error: process {', '.join(map(str, dead))} ended before the others; {again}")
        broken = entries is not None and (len(entries) < count or any("error" in entry for entry in entries.values()))
        return INCOMPLETE if dead or broken else DONE


def _mesh() -> Any:
    """All devices of this process, for lanes to be spread over; None where there is only one."""
    import jax

    devices = jax.local_devices()
    if len(devices) == 1:
        return None
    return jax.make_mesh((len(devices),), ("lanes",), axis_types=(jax.sharding.AxisType.Auto,), devices=devices)
