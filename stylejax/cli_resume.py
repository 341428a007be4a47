"""Go on with a run that was interrupted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from stylejax.cli_run import Files, Keeping, run_transfer
from stylejax.config import TransferConfig
from stylejax.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Go on with an interrupted run, and end as if it had never stopped."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """The file that it left beside its picture, named as the picture with .run behind, or the picture."""

    def __call__(self) -> int:
        """The pictures are looked for where they were as seen from the file."""
        from stylejax.run_file import read_position, run_file

        path = self.run if self.run.suffix == ".run" else run_file(self.run)
        files, config = _read(path, read_position(path)["header"])
        return run_transfer(files, config, resume=path)


def _read(path: Path, header: Any) -> tuple[Files, TransferConfig]:
    """A file is not trusted to be whole: what is missing in it, or of another type, is said in one line."""
    folder = path.parent
    try:
        files, values = header["files"], header["start"]["config"].items()
        config: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values}
        if (folder / files["weights"]).is_file():
            config["weights"] = str(folder / files["weights"])
        log = files["log"] and folder / files["log"]
        keeping = Keeping(log=log, checkpoint_every=files["checkpoint_every"], metadata=bool(files["metadata"]))
        styles = tuple(folder / name for name in files["styles"])
        # The picture goes where the file is, and nowhere else, whatever is written in it.
        out = folder / Path(files["out"]).name
        return Files(content=folder / files["content"], styles=styles, out=out, keeping=keeping), TransferConfig(
            **config
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} does not describe a run ({type(error).__name__}: {error})") from None
