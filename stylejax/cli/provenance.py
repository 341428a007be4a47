"""Commands on recorded runs: resume an interrupted one, run one again, verify a result."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from stylejax.cli.files import Files, OutputOptions, config_paths
from stylejax.cli.parsing import asking, say
from stylejax.cli.run import run_transfer
from stylejax.cli.runtime import DONE, deterministic, is_deterministic, row_mesh, start_jax
from stylejax.errors import InputError

if TYPE_CHECKING:
    from stylejax.images.resize import Alpha, Picture
    from stylejax.runs.manifest import Manifest
    from stylejax.runs.provenance import InputPaths, Recipe
    from stylejax.runs.rerun import Inputs

DIFFERENT = 1


@dataclass(frozen=True, kw_only=True)
class Named:
    """The inputs of the run, where they are not found by their names beside the picture or in the current folder."""

    content: Path | None = None
    """The content."""
    style: tuple[Path, ...] = ()
    """All styles, in their order."""
    init: Path | None = None
    """The first image, if it was a file."""
    content_masks: tuple[str, ...] = ()
    """All masks of the picture's regions, in their order."""
    style_masks: tuple[str, ...] = ()
    """All masks of the styles, in their order."""
    keep_mask: Path | None = None
    """The mask of what is kept."""
    weights: str | None = None
    """The network: auto, vgg19, vgg16, random, or a weights FILE."""

    def paths(self) -> "InputPaths":
        """Return them as paths, empty where none is named."""
        from stylejax.runs.provenance import InputPaths

        singles = {"init": self.init, "keep_mask": self.keep_mask}
        files = {name: (str(path),) if path else () for name, path in singles.items()}
        files |= {"content_masks": self.content_masks, "style_masks": self.style_masks}
        styles = tuple(map(str, self.style))
        return InputPaths(str(self.content or ""), styles, files, self.weights or "")


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """Make the picture OUT again, from what it says of itself. Every input is checked by its hash."""

    picture: Annotated[Positional[Path], arg(metavar="OUT")]
    """A picture that stylejax made."""
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    """The file to write; by default OUT-rerun, of the same kind, if there is none yet."""
    named: OmitArgPrefixes[Named] = Named()
    output: OmitArgPrefixes[OutputOptions] = OutputOptions()

    def __call__(self) -> int:
        """Nothing that the manifest names is written: not even where OUT-rerun is one of its inputs."""
        from stylejax.runs.manifest import read

        manifest = read(self.picture)
        determined(manifest.recipe)
        inputs = _inputs(manifest, self.picture, self.named)
        out = _apart(self.picture, self.out, inputs)
        if manifest.outcome.stopped:
            made, all_ = manifest.outcome.steps, manifest.recipe.config.steps
            say(f"note: {self.picture} was interrupted after {made} of {all_} steps; this run goes on to the end")
        files = Files(content=inputs.content, styles=inputs.styles, out=out, output=self.output)
        return run_transfer(files, inputs.config)


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Go on with an interrupted run, and end as if it had never stopped. Every input is checked by its hash."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """The file that it left beside its picture, named as the picture with .run behind, or the picture."""
    named: OmitArgPrefixes[Named] = Named()
    output: OmitArgPrefixes[OutputOptions] = OutputOptions()

    def __call__(self) -> int:
        """The picture goes where the file is, by its name, and a log is continued only if it is named again."""
        from stylejax.runs.checkpoint import SUFFIX, read_position, run_file
        from stylejax.runs.rerun import inputs_of

        path = self.run if self.run.suffix == SUFFIX else run_file(self.run)
        position = read_position(path)
        determined(position.recipe)
        out = path.with_suffix("")
        inputs = inputs_of(position.recipe, out, _given(path.parent, position.places, self.named.paths()))
        files = Files(content=inputs.content, styles=inputs.styles, out=out, output=self.output)
        return run_transfer(files, inputs.config, resume=path)


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Repeat the run of the picture OUT, and say whether the result is the same bit for bit (exit code 0) or how far
    from it, and what is different here (1). Nothing is written."""

    picture: Annotated[Positional[Path], arg(metavar="OUT")]
    """A picture that stylejax made."""
    named: OmitArgPrefixes[Named] = Named()

    def __call__(self) -> int:
        """One line, on standard output."""
        from stylejax.images.io import lay, levels, read_picture
        from stylejax.runs.manifest import read
        from stylejax.runs.rerun import is_as_made, is_lossless

        manifest = read(self.picture)
        pixels = levels(read_picture(self.picture, flatten=False)[0], manifest.recipe.config.bits)
        if not is_as_made(pixels, manifest, is_lossless(self.picture)):
            print(f"{self.picture}: changed since it was made; its pixels are not those that its manifest tells of")
            return DIFFERENT
        determined(manifest.recipe)
        start_jax()
        inputs = _inputs(manifest, self.picture, self.named)
        image, alpha = lay(_repeat(manifest, inputs), read_picture(inputs.content)[1], self.picture)
        return _compare(self.picture, pixels, image, alpha, manifest)


def _inputs(manifest: "Manifest", picture: Path, named: Named) -> "Inputs":
    from stylejax.runs.rerun import inputs_of

    return inputs_of(manifest.recipe, picture, named.paths())


def _apart(picture: Path, out: Path | None, inputs: "Inputs") -> Path:
    """Where to write. A name that nobody typed takes no other file's place, and no name that of what is read."""
    target = out or picture.with_name(f"{picture.stem}-rerun{picture.suffix}")
    if out is None and target.exists():
        raise InputError(f"{target} exists; name another file with -o")
    read = (picture, inputs.content, *inputs.styles, *config_paths(inputs.config))
    if target.resolve() in [path.resolve() for path in read]:
        raise InputError(f"cannot write {target}: the run is made from it; name another file with -o")
    return target


def determined(recipe: "Recipe") -> None:
    """What was made with `--deterministic` is repeated so."""
    if is_deterministic(recipe.environment["xla_flags"]):
        deterministic()


def _repeat(manifest: "Manifest", inputs: "Inputs") -> "Picture":
    """The same run, in memory. One that was interrupted is repeated as far as it went."""
    from stylejax.cli.display import progress_bar
    from stylejax.images.io import read_image
    from stylejax.models.pretrained import resolve
    from stylejax.synthesis.factories import vgg_of
    from stylejax.synthesis.regions import read_masks
    from stylejax.synthesis.transfer import run_plan
    from stylejax.synthesis.validation import make_plan

    config = inputs.config
    content, styles = read_image(inputs.content), [read_image(path) for path in inputs.styles]
    parameters, _ = resolve(config.weights, config.seed)
    shapes = content.shape, [style.shape for style in styles]
    plan = make_plan(config, parameters.network, *shapes, read_masks(config))
    with progress_bar() as bar:

        def watch(step: Any) -> bool:
            bar(step)
            return step.step >= manifest.outcome.steps

        vgg, mesh = vgg_of(config, parameters), row_mesh(plan)
        return run_plan(plan, content, styles, vgg, callback=watch, keep=None, resume=None, mesh=mesh).image


def _compare(picture: Path, pixels: Any, image: "Picture", alpha: "Alpha | None", manifest: "Manifest") -> int:
    """The pixels of the picture with those of the repeat, both as a file of that kind keeps them."""
    from stylejax.images.io import levels, read_picture, write_image
    from stylejax.runs.environment import differences, environment
    from stylejax.runs.manifest import pixels_hash
    from stylejax.runs.rerun import difference

    bits = manifest.recipe.config.bits
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / f"repeat{picture.suffix}"
        write_image(again, image, alpha=alpha, bits=bits)
        repeated = levels(read_picture(again, flatten=False)[0], bits)
    changed = differences(dict(manifest.recipe.environment), environment())
    here = f"here {', '.join(changed)}" if changed else "nothing that the manifest records is different here"
    proven = pixels_hash(levels(image, bits)) == manifest.outcome.sha256
    apart = difference(pixels, repeated) if repeated.shape == pixels.shape else None
    if apart and apart.most == 0 and proven:
        print(f"{picture}: the repeat is the same bit for bit{f'; {here}' if changed else ''}")
        return DONE
    print(f"{picture}: the repeat differs: {_how_far(apart, proven, 2**bits - 1)}; {here}")
    return DIFFERENT


def _how_far(apart: Any, proven: bool, most: int) -> str:
    if apart is None:
        return "it has another size"
    far = f"at most {apart.most} of {most} levels, {apart.mean:.2g} on average, {apart.share:.2%} of the values"
    if proven:
        return f"{far}, though its pixels before they were compressed are the same"
    return far if apart.most else "not in the file, but in its pixels before they were compressed"


def _given(folder: Path, places: "InputPaths", named: "InputPaths") -> "InputPaths":
    """Return the inputs that are named or, if they are still there, those that the run began with."""
    from stylejax.runs.provenance import NETWORKS, InputPaths

    def there(names: Sequence[str]) -> tuple[str, ...]:
        paths = [folder / name for name in names]
        return tuple(map(str, paths)) if all(path.is_file() for path in paths) else ()

    content, weights = there([places.content]), there([places.weights])
    files = {name: named.files[name] or there(names) for name, names in places.files.items()}
    return InputPaths(
        named.content or "".join(content),
        named.styles or there(places.styles),
        files,
        named.weights or "".join(weights) or (places.weights if places.weights in NETWORKS else ""),
    )


VERBS: dict[str, Any] = {"resume": asking(Resume), "rerun": asking(Rerun), "verify": asking(Verify)}
