"""Weights from their publishers: downloaded, verified, converted, and kept in a folder as `vgg19.h5`."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from stylejax.errors import InputError, did_you_mean
from stylejax.models.convert import KNOWN, KnownFile, file_hashes, read_foreign
from stylejax.models.weights_file import save_parameters

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes that are there and, where the server tells it, with the bytes that there will be."""

DOWNLOADS = {network: next(k for k in KNOWN if k.network == network) for network in ("vgg19", "vgg16")}
"""The file of each network that is fetched."""

_CHUNK = 1 << 18
_LARGEST = 1 << 30


def weights_folder() -> Path:
    """`$STYLEJAX_WEIGHTS_DIR`, else `./weights` where it exists, else the user's cache."""
    if named := os.environ.get("STYLEJAX_WEIGHTS_DIR"):
        return Path(named).expanduser()
    if (here := Path("weights")).is_dir():
        return here
    return cache_folder() / "weights"


def cache_folder() -> Path:
    """What can be had again is kept in `$XDG_CACHE_HOME/stylejax`, by default `~/.cache/stylejax`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stylejax"


def fetch(
    network: str,
    folder: str | os.PathLike[str],
    progress: Progress | None = None,
    url: str | None = None,
    known: KnownFile | None = None,
    connect_seconds: float = 10.0,
) -> Path:
    """Download the weights of `network`, verify and convert them: the path of `vgg19.h5` in `folder`.

    An interrupted download goes on where it stopped. `url` is another address of the same file; `known` another file.
    Raises `InputError` without a network, for an answer other than the file, and for a folder that can not be written.
    """
    if known is None and network not in DOWNLOADS:
        raise InputError(f"unknown network {network!r}{did_you_mean(network, DOWNLOADS)}; fetch vgg19 or vgg16")
    known = known or DOWNLOADS[network]
    folder, url = Path(folder), url or known.url or ""
    target, original, part = folder / f"{network}.h5", folder / known.name, folder / f"{known.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _download(url, part, known, progress, connect_seconds)
        _verify(part, known, url)
        os.replace(part, original)
        save_parameters(target, read_foreign(original, network, known.preprocessing))
        original.unlink()
    except OSError as error:
        raise InputError(
            f"can not keep the download in {folder}: {error.strerror or error}; "
            "set STYLEJAX_WEIGHTS_DIR to another folder"
        ) from error
    return target


def _download(url: str, part: Path, known: KnownFile, progress: Progress | None, connect_seconds: float) -> None:
    try:
        import requests
    except ImportError as error:
        raise InputError("downloading needs requests: pip install requests") from error
    try:
        for _ in range(2):
            if _attempt(requests, url, part, known, progress, connect_seconds):
                return
            part.unlink(missing_ok=True)
        raise InputError(f"{url} answers with parts that do not fit together; {by_hand(known)}")
    except (requests.RequestException, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"no download from {url}: {_cause(error)}; {by_hand(known)}") from error


def _attempt(
    requests: Any, url: str, part: Path, known: KnownFile, progress: Progress | None, connect_seconds: float
) -> bool:
    """Get what `part` lacks. False if the server has nothing that continues it, so that it must go."""
    have = part.stat().st_size if part.exists() else 0
    # The hash is of the bytes as published: no compression on the way.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=(connect_seconds, 30)) as answer:
        if have and answer.status_code == 416:
            return known.matches(*file_hashes(part))
        if answer.status_code not in (200, 206):
            raise InputError(f"{url} answered {answer.status_code} {answer.reason}; {by_hand(known)}")
        start, total = _extent(answer, have)
        if start not in (0, have):
            return False
        try:
            _save(answer, part, start, total, progress)
            complete = total is None or part.stat().st_size >= total
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
            complete = False
    if not complete:
        done = f"{part.stat().st_size} of {total or 'unknown'} bytes"
        raise InputError(f"the download from {url} stopped after {done}; run it again to go on from there")
    return True


def _extent(answer: Any, have: int) -> tuple[int, int | None]:
    """The first byte that comes and the length of the whole. A server may ignore the range and send all."""
    if answer.status_code == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have:
            return -1, None
        return have, None if match[2] == "*" else int(match[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _save(answer: Any, part: Path, start: int, total: int | None, progress: Progress | None) -> None:
    done = start
    with part.open("ab" if start else "wb") as file:
        for chunk in answer.iter_content(_CHUNK):
            file.write(chunk)
            done += len(chunk)
            if done > _LARGEST:
                raise InputError(
                    f"{answer.url} sends more than any VGG has; give the address of the weights themselves"
                )
            if progress:
                progress(done, total)
        file.flush()
        os.fsync(file.fileno())


def _verify(part: Path, known: KnownFile, url: str) -> None:
    sha256, md5 = file_hashes(part)
    if not known.matches(sha256, md5):
        part.unlink()
        got, expected = (sha256, known.sha256) if known.sha256 else (md5, " or ".join(known.md5))
        raise InputError(
            f"{url} is not {known.name}: its hash is {got}, expected {expected}; it was deleted, "
            "try again or get the file elsewhere"
        )


def by_hand(known: KnownFile) -> str:
    """What to do where there is no network."""
    folder = weights_folder()
    return (
        f"get {known.url or known.name} on another machine and put it into {folder} under this name, "
        "or pip install 'stylejax[pretrained]'"
    )


def _cause(error: BaseException) -> str:
    """The innermost reason of a chain of exceptions that each repeat the address."""
    text = str(error)
    for hint, short in (("Proxy", "the proxy refused"), ("imed out", "no answer in time"), ("resolve", "no such host")):
        if hint in text or hint in type(error).__name__:
            return short
    found = re.search(r"\[Errno [-\d]+\] ([\w ]+)", text)
    return found[1] if found else type(error).__name__
