"""Commands on recorded runs: resume an interrupted run, repeat a run, verify a result."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from stylejax.cli.files import OutputOptions, RunFiles, load_inputs
from stylejax.cli.parsing import print_stderr, with_required_args
from stylejax.cli.run import run_transfer
from stylejax.cli.runtime import EXIT_OK, device_mesh, enable_determinism, is_deterministic, start_jax
from stylejax.errors import InputError
from stylejax.files import kind_of

if TYPE_CHECKING:
    from stylejax.images.resize import Alpha, HostImage
    from stylejax.runs.manifest import Manifest
    from stylejax.runs.provenance import InputPaths, Provenance
    from stylejax.runs.rerun import Difference, Inputs

EXIT_DIFFERENT = 1
"""Exit code of `verify` for a result that is not reproduced."""


@dataclass(frozen=True, kw_only=True)
class InputOverrides:
    """Paths of inputs that are neither beside the image nor in the current folder by their names."""

    content: Path | None = None
    """Content image."""
    style: tuple[Path, ...] = ()
    """All style images, in their order."""
    init: Path | None = None
    """Initial image, if it was a file."""
    content_masks: tuple[str, ...] = ()
    """All masks of the result, in their order."""
    style_masks: tuple[str, ...] = ()
    """All masks of the style images, in their order."""
    preserve_mask: Path | None = None
    """Mask of the preserved pixels."""
    weights: str | None = None
    """Weights of the network: auto, vgg19, vgg16, random, or a weights FILE."""

    def paths(self) -> "InputPaths":
        """Return the paths, empty where none is named."""
        from stylejax.runs.provenance import InputPaths

        singles = {"init": self.init, "preserve_mask": self.preserve_mask}
        files = {name: (str(path),) if path else () for name, path in singles.items()}
        files |= {"content_masks": self.content_masks, "style_masks": self.style_masks}
        styles = tuple(map(str, self.style))
        return InputPaths(str(self.content or ""), styles, files, self.weights or "")


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """Repeat the run recorded in the image OUT. Every input is checked by its hash."""

    image: Annotated[Positional[Path], arg(metavar="OUT")]
    """Image that stylejax made."""
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Image file to write. By default OUT-rerun with the same suffix, if it does not exist."""
    input: OmitArgPrefixes[InputOverrides] = InputOverrides()
    output: OmitArgPrefixes[OutputOptions] = OutputOptions()

    def __call__(self) -> int:
        from stylejax.runs.manifest import read, sidecar_path
        from stylejax.runs.rerun import find_inputs

        manifest = read(self.image)
        _restore_determinism(manifest.provenance)
        inputs = find_inputs(manifest.provenance, self.image, self.input.paths())
        out = self.out or self.image.with_name(f"{self.image.stem}-rerun{self.image.suffix}")
        if self.out is None and kind_of(out) != "nothing":
            raise InputError(f"{out} exists; name another file with -o")
        if manifest.outcome.interrupted:
            done, steps = manifest.outcome.steps, manifest.provenance.config.total_steps
            print_stderr(f"note: {self.image} was interrupted after {done} of {steps} steps; this run does all of them")
        recorded = (self.image, sidecar_path(self.image))
        files = RunFiles(content=inputs.content, styles=inputs.styles, out=out, output=self.output, recorded=recorded)
        return run_transfer(files, inputs.config)


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Continue an interrupted run to its regular result. Every input is checked by its hash."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Checkpoint beside the image of the run, named as the image with the suffix .run added; or the image."""
    input: OmitArgPrefixes[InputOverrides] = InputOverrides()
    output: OmitArgPrefixes[OutputOptions] = OutputOptions()

    def __call__(self) -> int:
        """Write the image beside the checkpoint; a log continues only if `--log` names it again."""
        from stylejax.runs.checkpoint import SUFFIX, checkpoint_path, read_header
        from stylejax.runs.rerun import find_inputs

        path = self.run if self.run.suffix == SUFFIX or not self.run.name else checkpoint_path(self.run)
        header = read_header(path)
        _restore_determinism(header.provenance)
        out = path.with_suffix("")
        overrides = _fill_overrides(self.input.paths(), path.parent, header.input_paths)
        inputs = find_inputs(header.provenance, out, overrides)
        files = RunFiles(content=inputs.content, styles=inputs.styles, out=out, output=self.output)
        return run_transfer(files, inputs.config, resume=path)


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Repeat the run of the image OUT and compare: exit code 0 if all bits are equal, else 1."""

    image: Annotated[Positional[Path], arg(metavar="OUT")]
    """Image that stylejax made."""
    input: OmitArgPrefixes[InputOverrides] = InputOverrides()

    def __call__(self) -> int:
        from stylejax.images.io import quantize, read_stored
        from stylejax.runs.manifest import read
        from stylejax.runs.rerun import find_inputs, is_lossless, matches_manifest

        manifest = read(self.image)
        pixels = quantize(read_stored(self.image, whole=True)[0], manifest.provenance.config.bit_depth)
        if not matches_manifest(pixels, manifest, is_lossless(self.image)):
            print(f"{self.image}: changed since it was made; its pixels do not match its manifest")
            return EXIT_DIFFERENT
        _restore_determinism(manifest.provenance)
        start_jax()
        inputs = find_inputs(manifest.provenance, self.image, self.input.paths())
        return _compare(self.image, pixels, *_repeat(manifest, inputs, self.image), manifest)


def _restore_determinism(provenance: "Provenance") -> None:
    """Enable determinism if the recorded run used it."""
    if is_deterministic(provenance.environment["xla_flags"]):
        enable_determinism()


def _repeat(manifest: "Manifest", inputs: "Inputs", path: Path) -> "tuple[HostImage, Alpha | None]":
    """Repeat the run of `path` in memory, an interrupted one up to the same step; return the image and alpha to write."""
    from stylejax.cli.display import progress_bar
    from stylejax.images.io import flatten_alpha
    from stylejax.models.pretrained import load_pretrained
    from stylejax.synthesis.factories import make_vgg
    from stylejax.synthesis.schedule import describe_cost
    from stylejax.synthesis.transfer import run_plan
    from stylejax.synthesis.validation import plan_images

    config = inputs.config
    content, styles, masks = load_inputs(inputs.content, inputs.styles, config)
    parameters, _ = load_pretrained(config.weights, config.seed)
    plan = plan_images(config, parameters.network, content, styles, masks)
    print_stderr(f"the recorded run takes {describe_cost(plan.schedule, manifest.outcome.steps)}")
    with progress_bar() as bar:

        def watch(step: Any) -> bool:
            bar(step)
            return step.step >= manifest.outcome.steps

        vgg, mesh = make_vgg(config, parameters), device_mesh("rows", plan.partition.shards)
        result = run_plan(plan, content, styles, vgg, callback=watch, on_checkpoint=None, resume_from=None, mesh=mesh)
    return flatten_alpha(result.image, masks.content_alpha, path)


def _compare(path: Path, pixels: Any, image: "HostImage", alpha: "Alpha | None", manifest: "Manifest") -> int:
    """Compare the pixels of a file with the repeated image after it is written in the same format."""
    from stylejax.images.io import quantize, read_stored, write_image
    from stylejax.runs.environment import environment, environment_diff
    from stylejax.runs.manifest import pixels_hash
    from stylejax.runs.rerun import difference

    bit_depth = manifest.provenance.config.bit_depth
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"repeat{path.suffix}"
        write_image(copy, image, alpha=alpha, bit_depth=bit_depth)
        repeated = quantize(read_stored(copy, whole=True)[0], bit_depth)
    changes = ", ".join(environment_diff(dict(manifest.provenance.environment), environment()))
    same_pixels = pixels_hash(quantize(image, bit_depth)) == manifest.outcome.sha256
    distance = difference(pixels, repeated) if repeated.shape == pixels.shape else None
    if distance and distance.most == 0 and same_pixels:
        print(f"{path}: the repeat is the same bit for bit{f'; here {changes}' if changes else ''}")
        return EXIT_OK
    reason = f"here {changes}" if changes else "nothing that the manifest records is different here"
    print(f"{path}: the repeat differs: {_describe(distance, same_pixels, 2**bit_depth - 1)}; {reason}")
    return EXIT_DIFFERENT


def _describe(distance: "Difference | None", same_pixels: bool, levels: int) -> str:
    if distance is None:
        return "it has another size"
    text = f"at most {distance.most} of {levels} levels, {distance.mean:.2g} on average, {distance.share:.2%} of the values"
    if same_pixels:
        return f"{text}, though its pixels before compression are the same"
    return text if distance.most else "not in the file, but in its pixels before compression"


def _fill_overrides(overrides: "InputPaths", folder: Path, recorded: "InputPaths") -> "InputPaths":
    """Complete the overrides with the recorded paths, relative to the folder, of files that still exist."""
    from stylejax.runs.provenance import NETWORKS, InputPaths

    def existing(names: Sequence[str]) -> tuple[str, ...]:
        paths = [folder / name for name in names]
        return tuple(map(str, paths)) if all(kind_of(path) == "file" for path in paths) else ()

    content, weights = existing([recorded.content]), existing([recorded.weights])
    files = {name: paths or existing(recorded.files.get(name, ())) for name, paths in overrides.files.items()}
    return InputPaths(
        overrides.content or "".join(content),
        overrides.styles or existing(recorded.styles),
        files,
        overrides.weights or "".join(weights) or (recorded.weights if recorded.weights in NETWORKS else ""),
    )


COMMANDS: dict[str, Any] = {
    "resume": with_required_args(Resume),
    "rerun": with_required_args(Rerun),
    "verify": with_required_args(Verify),
}
