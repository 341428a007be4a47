"""Damaged files, thousands of them: `python tests/fuzz.py KIND FIRST COUNT`, in a process that may be killed.

Each case is a sound file in which bytes were changed, by its number. A case ends well, or in an `InputError`; it takes no more
than 10 seconds of the processor, after which the system kills the process, and 2 GiB of memory beyond what the modules take.
"""

import contextlib
import importlib
import io
import json
import resource
import signal
import struct
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from conftest import NARROW
from PIL import Image as Pillow
from test_convert import LAYOUTS, numbers

from stylejax.config import TransferConfig, input_files
from stylejax.errors import InputError
from stylejax.images.io import read_image, write_image
from stylejax.losses.objective import LossTerms
from stylejax.models.architecture import random_weights
from stylejax.models.convert import convert_weights
from stylejax.models.weights_file import save_weights
from stylejax.optimizers.minimize import LoopState, Progress
from stylejax.parameterization import to_params
from stylejax.runs import manifest as manifests
from stylejax.runs.checkpoint import read_checkpoint, write_checkpoint
from stylejax.runs.provenance import InputPaths, Provenance, make_provenance
from stylejax.synthesis.regions import Masks
from stylejax.synthesis.transfer import Checkpoint, Result, make_minimizer
from stylejax.synthesis.validation import make_plan

SECONDS, MEMORY = 10, 2**31
SHAPE = (32, 32, 3)
CONFIG = TransferConfig(size=32, steps=4, scales="1")
PICTURES = ("png", "jpg", "webp", "tiff", "bmp", "gif")
PROOFS = ("png", "jpg", "webp", "tiff")

Reader = Callable[[Path], object]


def kinds(folder: Path) -> dict[str, tuple[Path, Reader]]:
    """For each kind a way to read it, and where its sound file is to be."""
    found: dict[str, tuple[Path, Reader]] = {f"image-{s}": (folder / f"a.{s}", read_image) for s in PICTURES}
    found |= {"image-deep": (folder / "deep.png", read_image)}
    found |= {f"manifest-{s}": (folder / f"m.{s}", manifests.read) for s in PROOFS}
    found["manifest-json"] = folder / "m.json", lambda p: manifests.decode(p.read_bytes().decode("latin-1"), "m")
    found |= {f"weights-{layout}": (folder / f"{layout}.w", read_weights) for layout in LAYOUTS}
    found |= {f"weights-{own}": (folder / f"{own}.w", read_weights) for own in ("own", "pickle")}
    return found | {
        "run": (folder / "a.run", lambda p: read_checkpoint(p, make_plan(CONFIG, "vgg19", SHAPE, [SHAPE], Masks())))
    }


def read_weights(path: Path) -> None:
    convert_weights(path, preprocessing=None)


def write_sound(kind: str, path: Path) -> None:
    """The file that is damaged later."""
    generator = np.random.default_rng(1)
    pixels = generator.integers(0, 256, SHAPE, np.uint8)
    what, _, layout = kind.partition("-")
    parameters = random_weights("vgg19", 0, NARROW)
    match what, layout:
        case "image", "deep":
            write_image(path, pixels / np.float32(255), bit_depth=16)
        case "image", _:
            Pillow.fromarray(pixels).save(path)
        case "weights", "own":
            save_weights(path, parameters)
        case "weights", "pickle":
            path.write_bytes(importlib.import_module("pickle").dumps({"VGG16_0": {"Conv_0": {"kernel": pixels}}}))
        case "weights", _:
            LAYOUTS[layout][0](path, numbers())
        case _:
            Pillow.fromarray(pixels).save(path.with_name("c.png"))
            inputs = (path.with_name("c.png"), [path.with_name("c.png")])
            write_proof(kind, path, make_provenance(*inputs, CONFIG, parameters))


def write_proof(kind: str, path: Path, recipe: Provenance) -> None:
    """A run file, or a manifest in a picture or by itself."""
    terms = LossTerms({"conv4_2": 1.0}, {"conv1_1": 1.0}, 0.0)
    if kind == "run":
        image = to_params(np.zeros(SHAPE, np.float32), CONFIG.parameterization)
        state = jax.device_get(make_minimizer(CONFIG, CONFIG.steps).init(image))
        state = state._replace(best=state.best._replace(value=np.float32(1)))
        run = LoopState(state, Progress(1.0, terms, 2, 2, 3.0))
        places = InputPaths("c.png", ("c.png",), {name: () for name in input_files(CONFIG)}, "auto")
        return write_checkpoint(path, recipe, places, 1.0, Checkpoint(0, run, 2, 2))
    result = Result(np.zeros(SHAPE, np.float32), 1.0, terms, 4, 4, False, 2.0)
    text = manifests.encode(manifests.Manifest(recipe, manifests.outcome(result, 1.0)))
    if kind == "manifest-json":
        path.write_text(text)
    else:
        write_image(path, np.zeros(SHAPE, np.float32), text=text)


EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WORDS = (b"0", b"9" * 30, b"-1", b"null", b"[]", b"{}", b'"', b"\\u0000", b"../../x", b"1e999", b"true")


def damaged(data: bytes, generator: np.random.Generator) -> bytes:
    """One to eight changes, most of them in the first kilobyte, where the headers are; or an end that is missing."""
    changed = bytearray(data)
    for _ in range(generator.integers(1, 9)):
        place = int(generator.integers(min(len(changed), 1024) if generator.random() < 0.6 else len(changed)) or 0)
        match generator.integers(7):
            case 0 | 1:
                changed[place] ^= 1 << int(generator.integers(8))
            case 2:
                changed[place : place + 4] = struct.pack(
                    generator.choice(["<I", ">I"]), int(generator.choice(EXTREMES))
                )
            case 3:
                changed[place : place + 8] = struct.pack(
                    "<Q", int(generator.integers(2**63)) >> int(generator.integers(63))
                )
            case 4:
                del changed[place : place + int(generator.integers(1, 64))]
            case 5:
                changed[place:place] = changed[place : place + int(generator.integers(1, 256))]
            case _:
                changed[place : place + 1] = generator.choice(WORDS)
        if len(changed) < 16:
            return bytes(changed) or b"x"
    if generator.random() < 0.1:
        del changed[int(generator.integers(1, len(changed))) :]
    return with_checksums(bytes(changed)) if generator.random() < 0.7 else bytes(changed)


def with_checksums(data: bytes) -> bytes:
    """A PNG's chunks with the checksums that they should have: a decoder looks no further where they are wrong."""
    if not data.startswith(b"\x89PNG"):
        return data
    fixed, at = bytearray(data), 8
    while at + 12 <= len(fixed):
        end = at + 8 + int.from_bytes(fixed[at : at + 4], "big")
        if end + 4 <= len(fixed):
            fixed[end : end + 4] = struct.pack(">I", zlib.crc32(fixed[at + 4 : end]))
        at = end + 4
    return bytes(fixed)


def finding(read: Reader, path: Path) -> str | None:
    """Return the fault of a file, if any: whatever is not an `InputError` of one line."""
    try:
        read(path)
    except InputError as error:
        return None if "\n" not in str(error) else f"more than a line: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]
    return None


def most_resident() -> int:
    """Bytes of this process that were in memory at one time, at most."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(kind: str, first: str, count: str) -> None:
    """Prints a line of JSON for each finding, and the number of a case before it begins."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        path, read = kinds(Path(folder))[kind]
        write_sound(kind, path)
        sound = path.read_bytes()
        assert kind == "weights-pickle" or finding(read, path) is None
        # HDF5 asks for the size that a file claims, and does not use what the file has not: what is used is measured.
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + 2 * MEMORY, resource.RLIM_INFINITY))
        resident = most_resident()
        # Time of the processor, which others on the machine do not change; and of the clock, for one that only waits.
        for number in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        for case in range(int(first), int(first) + int(count)):
            print(case, flush=True)
            path.write_bytes(damaged(sound, np.random.default_rng([case, len(kind)])))
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            signal.alarm(10 * SECONDS)
            found = finding(read, path)
            if most_resident() - resident > MEMORY:
                found, resident = f"memory: {found}", most_resident()
            if found:
                print(json.dumps({"kind": kind, "case": case, "found": found}), flush=True)
            signal.alarm(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
