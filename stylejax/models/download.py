"""Download of published weights, which are verified, converted and saved as `vgg19.h5`."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import platformdirs

from stylejax.errors import InputError, brief, did_you_mean
from stylejax.files import kind_of
from stylejax.models.convert import REGISTRY, PublishedFile, convert_weights
from stylejax.models.weights_file import save_weights

Progress: TypeAlias = Callable[[int, int | None], None]
"""Callback with the bytes downloaded and the total, which is None if the server does not send it."""

DEFAULT_FILES = {network: next(k for k in REGISTRY if k.network == network) for network in ("vgg19", "vgg16")}
"""The file to download for each network."""


def weights_folder() -> Path:
    """Return `$STYLEJAX_WEIGHTS_DIR`, else `./weights` if it exists, else a folder of the user's cache."""
    if named := os.environ.get("STYLEJAX_WEIGHTS_DIR"):
        try:
            return Path(named).expanduser()
        except RuntimeError as error:
            raise InputError(f"STYLEJAX_WEIGHTS_DIR must be a folder, got {named!r}: {brief(error)}") from None
    local, cache = Path("weights"), cache_folder()
    return local if kind_of(local) == "folder" or cache is None else cache / "weights"


def cache_folder() -> Path | None:
    """Return the user's cache folder, `~/.cache/stylejax` by default on Linux; None for a user without a home."""
    try:
        return platformdirs.user_cache_path("stylejax", appauthor=False)
    except RuntimeError:
        return None


def download_weights(
    network: str,
    folder: str | os.PathLike[str],
    progress: Progress | None = None,
    url: str | None = None,
    known: PublishedFile | None = None,
    connect_seconds: float = 10.0,
) -> Path:
    """Download the weights of a network, verify and convert them.

    Args:
        network: vgg19 or vgg16.
        folder: created if it does not exist.
        progress: called for each chunk.
        url: address of the file. None means the publisher's.
        known: file to download. None means that of `DEFAULT_FILES`.
        connect_seconds: time limit of the connection.

    Returns:
        The path of the canonical file in `folder`, such as `vgg19.h5`.

    Raises:
        InputError: the network is unknown, the download fails or has another hash, or the folder cannot be written.
    """
    if known is None and network not in DEFAULT_FILES:
        raise InputError(f"unknown network {network!r}{did_you_mean(network, DEFAULT_FILES)}; fetch vgg19 or vgg16")
    known = known or DEFAULT_FILES[network]
    folder, url = Path(folder), url or known.url or ""
    target = folder / f"{network}.h5"
    original = _retrieve(url, known, folder, progress, connect_seconds)
    save_weights(target, convert_weights(original, network, known.preprocessing))
    original.unlink()
    return target


def _retrieve(url: str, known: PublishedFile, folder: Path, progress: Progress | None, connect_seconds: float) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    bar: Any = _Bar(progress) if progress else False
    # A compressed transfer would have another hash.
    headers = {"Accept-Encoding": "identity"}
    download: Any = pooch.HTTPDownloader(bar, chunk_size=1 << 16, timeout=(connect_seconds, 30), headers=headers)
    try:
        return Path(pooch.retrieve(url, f"md5:{known.md5[0]}", known.name, folder, downloader=download))
    except requests.RequestException as error:
        raise InputError(f"cannot download {url}: {_cause(error)}; {manual_instructions(known)}") from error
    except ValueError as error:
        hint = "try again or get the file elsewhere" if "hash" in str(error) else manual_instructions(known)
        raise InputError(f"{url} is not {known.name} with the MD5 {known.md5[0]}; {hint}") from error
    except OSError as error:
        raise InputError(
            f"cannot save the download in {folder}: {error.strerror or error}; set STYLEJAX_WEIGHTS_DIR to another folder"
        ) from error


class _Bar:
    """Progress bar with the interface that pooch expects."""

    def __init__(self, progress: Progress):
        self.progress, self.done, self.total = progress, 0, 0

    def update(self, count: int) -> None:
        """Add bytes. Pooch counts the last chunk as a whole one, so the sum is clipped."""
        self.done = min(self.done + count, self.total or self.done + count)
        self.progress(self.done, self.total or None)

    def reset(self) -> None:
        """Restart from 0, as pooch does before it fills the bar at the end."""
        self.done = 0

    def close(self) -> None:
        """Do nothing."""


def manual_instructions(known: PublishedFile) -> str:
    """Return how to install a file without downloading it here."""
    return (
        f"get {known.url or known.name} on another machine and put it into {weights_folder()} under this name, "
        "or pip install 'stylejax[pretrained]'"
    )


CAUSES = {
    "Proxy": "the proxy refused",
    "imed out": "no answer in time",
    "resolve": "no such host",
    "IncompleteRead": "the connection was lost",
}
"""Words in an exception of requests, and the reason to report."""


def _cause(error: Any) -> str:
    """Return the reason of an exception of requests, whose text nests those of its causes."""
    if error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    text = f"{type(error).__name__} {error}"
    if cause := next((reason for words, reason in CAUSES.items() if words in text), None):
        return cause
    match = re.search(r"\[Errno [-\d]+\] ([\w ]+)", text)
    return match[1] if match else type(error).__name__
