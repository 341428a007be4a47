"""Go on with a run that was interrupted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from stylejax.cli_files import Files, Keeping
from stylejax.cli_manifest import Named, determined
from stylejax.cli_run import run_transfer

if TYPE_CHECKING:
    from stylejax.repeat import Given
    from stylejax.run_file import Places


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Go on with an interrupted run, and end as if it had never stopped. Every input is checked by its hash."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """The file that it left beside its picture, named as the picture with .run behind, or the picture."""
    named: OmitArgPrefixes[Named] = Named()
    keeping: OmitArgPrefixes[Keeping] = Keeping()

    def __call__(self) -> int:
        """The picture goes where the file is, by its name, and a log is continued only if it is named again."""
        from stylejax.repeat import inputs_of
        from stylejax.run_file import SUFFIX, read_position, run_file

        path = self.run if self.run.suffix == SUFFIX else run_file(self.run)
        position = read_position(path)
        determined(position.recipe)
        out = path.with_suffix("")
        inputs = inputs_of(position.recipe, out, _given(path.parent, position.places, self.named))
        files = Files(content=inputs.content, styles=inputs.styles, out=out, keeping=self.keeping)
        return run_transfer(files, inputs.config, resume=path)


def _given(folder: Path, places: "Places", named: Named) -> "Given":
    """The inputs that are named or, where they still are, those that the run began with."""
    from stylejax.recipe import NETWORKS
    from stylejax.repeat import Given

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
