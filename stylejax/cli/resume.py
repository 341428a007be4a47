"""Go on with a run that was interrupted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from stylejax.cli.files import Files, Keeping
from stylejax.cli.provenance import Named, determined
from stylejax.cli.run import run_transfer

if TYPE_CHECKING:
    from stylejax.runs.checkpoint import Places
    from stylejax.runs.rerun import Given


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Go on with an interrupted run, and end as if it had never stopped. Every input is checked by its hash."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """The file that it left beside its picture, named as the picture with .run behind, or the picture."""
    named: OmitArgPrefixes[Named] = Named()
    keeping: OmitArgPrefixes[Keeping] = Keeping()

    def __call__(self) -> int:
        """The picture goes where the file is, by its name, and a log is continued only if it is named again."""
        from stylejax.runs.checkpoint import SUFFIX, read_position, run_file
        from stylejax.runs.rerun import inputs_of

        path = self.run if self.run.suffix == SUFFIX else run_file(self.run)
        position = read_position(path)
        determined(position.recipe)
        out = path.with_suffix("")
        inputs = inputs_of(position.recipe, out, _given(path.parent, position.places, self.named))
        files = Files(content=inputs.content, styles=inputs.styles, out=out, keeping=self.keeping)
        return run_transfer(files, inputs.config, resume=path)


def _given(folder: Path, places: "Places", named: Named) -> "Given":
    """The inputs that are named or, where they still are, those that the run began with."""
    from stylejax.runs.provenance import NETWORKS
    from stylejax.runs.rerun import Given

    def there(place: str | None) -> Path | None:
        return folder / place if place and (folder / place).is_file() else None

    def all_there(names: Sequence[str]) -> tuple[Path, ...]:
        paths = [path for place in names if (path := there(place))]
        return tuple(paths) if len(paths) == len(names) else ()

    files = {name: all_there(names) for name, names in places.files.items()}
    weights = there(places.weights)
    return Given(
        named.content or there(places.content),
        named.style or all_there(places.styles),
        files | {name: paths for name, paths in named.files().items() if paths},
        named.weights or (str(weights) if weights else places.weights if places.weights in NETWORKS else None),
    )
