"""Weights from their publishers: downloaded, verified, converted, and kept in a folder as `vgg19.h5`."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import platformdirs

from stylejax.errors import InputError, did_you_mean
from stylejax.models.convert import KNOWN, KnownFile, read_foreign
from stylejax.models.weights_file import save_parameters

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes that are there and, if the server tells it, with the bytes of the whole."""

DOWNLOADS = {network: next(k for k in KNOWN if k.network == network) for network in ("vgg19", "vgg16")}
"""The file of each network that is fetched."""


def weights_folder() -> Path:
    """Return `$STYLEJAX_WEIGHTS_DIR`, else `./weights` if it exists, else a folder of the user's cache."""
    if named := os.environ.get("STYLEJAX_WEIGHTS_DIR"):
        return Path(named).expanduser()
    if (here := Path("weights")).is_dir():
        return here
    return cache_folder() / "weights"


def cache_folder() -> Path:
    """Return the user's folder for what can be had again: by default `~/.cache/stylejax` on Linux."""
    return platformdirs.user_cache_path("stylejax", appauthor=False)


def fetch(
    network: str,
    folder: str | os.PathLike[str],
    progress: Progress | None = None,
    url: str | None = None,
    known: KnownFile | None = None,
    connect_seconds: float = 10.0,
) -> Path:
    """Download the weights of `network`, verify and convert them.

    Args:
        network: vgg19 or vgg16.
        folder: is made if it does not exist.
        progress: sees the bytes that are there.
        url: another address of the same file.
        known: another file.
        connect_seconds: after which a server that does not answer is given up.

    Returns:
        The path of `vgg19.h5` in `folder`.

    Raises:
        InputError: without a network, for an answer other than the file, and for a folder that cannot be written.
    """
    if known is None and network not in DOWNLOADS:
        raise InputError(f"unknown network {network!r}{did_you_mean(network, DOWNLOADS)}; fetch vgg19 or vgg16")
    known = known or DOWNLOADS[network]
    folder, url = Path(folder), url or known.url or ""
    target = folder / f"{network}.h5"
    original = _retrieve(url, known, folder, progress, connect_seconds)
    save_parameters(target, read_foreign(original, network, known.preprocessing))
    original.unlink()
    return target


def _retrieve(url: str, known: KnownFile, folder: Path, progress: Progress | None, connect_seconds: float) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    bar: Any = _Bar(progress) if progress else False
    # The hash is of the bytes as published: no compression on the way.
    headers = {"Accept-Encoding": "identity"}
    download: Any = pooch.HTTPDownloader(bar, chunk_size=1 << 16, timeout=(connect_seconds, 30), headers=headers)
    try:
        return Path(pooch.retrieve(url, f"md5:{known.md5[0]}", known.name, folder, downloader=download))
    except requests.HTTPError as error:
        response: Any = error.response
        raise InputError(f"{url} answered {response.status_code} {response.reason}; {by_hand(known)}") from error
    except requests.RequestException as error:
        raise InputError(f"no download from {url}: {_cause(error)}; {by_hand(known)}") from error
    except ValueError as error:
        hint = "try again or get the file elsewhere" if "hash" in str(error) else by_hand(known)
        raise InputError(f"{url} is not {known.name} with the MD5 {known.md5[0]}; {hint}") from error
    except OSError as error:
        raise InputError(
            f"cannot keep the download in {folder}: {error.strerror or error}; set STYLEJAX_WEIGHTS_DIR to another folder"
        ) from error


class _Bar:
    """A progress bar as pooch moves it."""

    def __init__(self, progress: Progress):
        self.progress, self.done, self.total = progress, 0, 0

    def update(self, count: int) -> None:
        """Add bytes, of which pooch counts whole chunks."""
        self.done = min(self.done + count, self.total or self.done + count)
        self.progress(self.done, self.total or None)

    def reset(self) -> None:
        """Begin anew: pooch does so to fill the bar at the end."""
        self.done = 0

    def close(self) -> None:
        """Do nothing."""


def by_hand(known: KnownFile) -> str:
    """Return what to do without a network."""
    folder = weights_folder()
    return (
        f"get {known.url or known.name} on another machine and put it into {folder} under this name, "
        "or pip install 'stylejax[pretrained]'"
    )


CAUSES = {
    "Proxy": "the proxy refused",
    "imed out": "no answer in time",
    "resolve": "no such host",
    "IncompleteRead": "the connection was lost",
}
"""Words in an exception of requests, and what they mean."""


def _cause(error: BaseException) -> str:
    """Return the innermost reason of a chain of exceptions that each repeat the address."""
    text = f"{type(error).__name__} {error}"
    known = [cause for hint, cause in CAUSES.items() if hint in text]
    found = re.search(r"\[Errno [-\d]+\] ([\w ]+)", text)
    return known[0] if known else found[1] if found else type(error).__name__
