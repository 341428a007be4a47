"""The command line: what scripts rely on. Names, exit codes, one line for every fault, and nothing written then."""

import contextlib
import hashlib
import io
import json
import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np
import pytest
from conftest import noise_image
from PIL import Image as Pillow

from stylejax import config as config_module
from stylejax.cli import run as cli_run
from stylejax.cli.main import Demo, Transfer, main, parse
from stylejax.cli.parsing import OTHER_NAMES
from stylejax.cli.runtime import graceful_interrupt
from stylejax.config import OPTION_GROUPS, TransferConfig
from stylejax.errors import InputError
from stylejax.images.io import read_image
from stylejax.images.resize import resize
from stylejax.models.architecture import random_weights
from stylejax.models.weights_file import read_weights, save_weights, weights_hash
from stylejax.presets import preset
from stylejax.runs.event_log import RunLog

ROOT = Path(__file__).parent.parent
FEW = ("--content-layers", "conv2_1", "--style-layers", "conv1_1,conv2_1", "--parameterization", "pixels")
"""Layers that compile soon, where others are not the point."""

PAPER = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of the true topology with four channels a layer."""
    path = tmp_path_factory.mktemp("weights") / "narrow.h5"
    save_weights(path, random_weights("vgg19", 0, (4, 4, 4, 4, 4)))
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a content and two styles."""
    for name, image in (("c", noise_image(40, 48, 0)), ("s", noise_image(36, 33, 1)), ("t", noise_image(32, 64, 2))):
        image.save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path, weights: Path) -> Callable[..., int]:
    """Two steps at 32 pixels."""
    quick = ("--weights", str(weights), "--size", "32", "--steps", "2", *FEW)
    return lambda *words: main(["transfer", "c.png", "s.png", "-o", "out.png", *quick, *words])


@pytest.mark.parametrize(("steps", "words"), [("1", ()), ("9", ("--optimizer", "adam", "--learning-rate", "1e12"))])
def test_a_run_without_an_improvement_says_so(
    run, capsys: pytest.CaptureFixture[str], steps: str, words: tuple[str, ...]
):
    assert run("--steps", steps, *words) == 0
    note = "note: at 32×27 no step lowered the loss of the initial image; take more --steps, a smaller --learning-rate"
    assert note in capsys.readouterr().err
    expected = resize(read_image("c.png"), 27, 32).clip(0, 1)
    np.testing.assert_allclose(read_image("out.png"), expected, atol=0.5 / 255 + 1e-6)
    assert run() == 0
    assert "note" not in capsys.readouterr().err


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def refused(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line with which `transfer` refuses its words; later words override earlier ones."""

    def refuse(*words: str, content: str = "c.png", style: str = "s.png", out: str = "out.png") -> str:
        before = contents(folder)
        options = ("--weights", str(weights), "--size", "32", "--steps", "2", *words)
        assert main(["transfer", content, style, "-o", out, *options]) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1
        assert said.err.startswith("stylejax: error: ")
        assert contents(folder) == before
        return said.err

    return refuse


def must_not_be_called(*_: Any, **__: Any) -> None:
    raise AssertionError("the work has begun")


# Pictures that cannot be used


def encoded(image: Pillow.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def png_that_claims(width: int, height: int, data: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def bad_pictures() -> dict[str, tuple[bytes, str]]:
    png, jpeg = encoded(noise_image(60, 60, 3), "PNG"), encoded(noise_image(60, 60, 3), "JPEG")
    return {
        "text.png": (b"This is no picture.\n", "is not an image file; give a PNG"),
        "half.png": (png[: len(png) // 2], "is damaged .*; export or download it again"),
        "half.jpg": (jpeg[: len(jpeg) // 2], "is damaged .*; export or download it again"),
        "empty.png": (b"", r"is empty \(zero bytes\); export"),
        "one.png": (
            encoded(noise_image(1, 1, 0), "PNG"),
            "image is 1×1 pixels, and layer .* at least .* larger image",
        ),
        "line.png": (encoded(noise_image(1, 4000, 0), "PNG"), "image is 4000×1 pixels, and layer .* larger image"),
        "thin.png": (
            encoded(noise_image(20, 2000, 0), "PNG"),
            "at --size 32 the .* image is 32×1 pixels.* larger --size",
        ),
        "bomb.png": (
            png_that_claims(60000, 60000, b""),
            "too large .* would take 26.8 GiB of memory, and the limit is 2.0; shrink it first",
        ),
        "flat.png": (png_that_claims(17000, 17000, bytes(2126 * 17000)), "too large .*; shrink it first"),
    }


@pytest.mark.parametrize("role", ["content", "style"])
@pytest.mark.parametrize("name", bad_pictures())
def test_a_picture_that_cannot_be_used_is_refused(folder: Path, refused, role: str, name: str):
    data, reason = bad_pictures()[name]
    (folder / name).write_bytes(data)
    message = refused(**{role: name})
    assert re.search(reason, message), message


@pytest.mark.parametrize("role", ["content", "style"])
def test_a_missing_picture_is_refused(refused, role: str):
    assert "nothing.png does not exist; check the name" in refused(**{role: "nothing.png"})


@pytest.mark.parametrize("role", ["content", "style"])
def test_a_folder_in_place_of_a_picture_is_refused(folder: Path, refused, role: str):
    (folder / "pictures").mkdir()
    assert "pictures is a folder; give an image file in it" in refused(**{role: "pictures"})


def test_a_first_image_that_is_not_there_is_refused_before_the_work(refused, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stylejax.models.pretrained.load_pretrained", must_not_be_called)
    assert "missing.png does not exist" in refused("--init", "missing.png")


def test_a_line_break_in_a_name_does_not_break_the_line(refused):
    assert "no file.png does not exist" in refused(content="no\nfile.png")


# Options that cannot be


@pytest.mark.parametrize("verb", ["transfer", "sweep", "features", "reconstruct style", "weights normalize", "rerun"])
def test_no_command_has_an_option_of_another_program(verb: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main([*verb.split(), "--help"])
    options = re.findall(r"--([a-z-]+)", capsys.readouterr().out)
    assert "help" in options and "out" in options and not set(OTHER_NAMES) & set(options)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--content-layers conv4_22", "unknown layer 'conv4_22' (did you mean 'conv4_2'?)"),
        ("--style-layers conv1_1,conf2_1", "unknown layer 'conf2_1' (did you mean 'conv2_1'?)"),
        ("--style-layers ,", "--style-layers must be one or more different layers, got ()"),
        ("--size 15", "needs at least 16 pixels a side; use a larger --size or shallower layers"),
        ("--size 0", "--size must be a whole number from 1 to 1000000000, got 0"),
        ("--size -5", "--size must be a whole number from 1 to 1000000000, got -5"),
        (f"--size {10**30}", "must be a whole number from 1 to 1000000000"),
        ("--style-weight -1", "--style-weight must be 0 or from 1e-12 to 1e+12, got -1.0"),
        ("--content-weight nan", "--content-weight must be 0 or from 1e-12 to 1e+12, got nan"),
        ("--tv-weight inf", "--tv-weight must be 0 or from 1e-12 to 1e+12, got inf"),
        ("--style-weight=-inf", "--style-weight must be 0 or from 1e-12 to 1e+12, got -inf"),
        ("--content-weight 0 --style-weight 0", "style_weight and tv_weight must not all be 0"),
        ("--steps 0", "--steps must be a whole number from 1 to 1000000000, got 0"),
        (f"--steps {10**30}", "must be a whole number from 1"),
        ("--history 0", "--history must be a whole number from 1 to 1000000000, got 0"),
        ("--seed -1", "--seed must be a whole number from 0 to 2^63 - 1, got -1"),
        (f"--seed {2**64}", "must be a whole number from 0"),
        ("--style-weights 1,2", "--style-weights has 2 numbers for 1 styles; give one for each"),
        ("--style-weights 1,x", "Error parsing --style-weights: could not convert string to float: 'x'"),
        ("--style-scale 1,2", "--style-scale has 2 numbers for 1 styles; give one for each, or one for all"),
        ("--style-scale ,", "--style-scale must be a number above 0, or one for each style, got ()"),
        ("--style-scale -1", "--style-scale must be a number above 0, or one for each style, got -1.0"),
        (
            "--style-weights 1 --style-schedule coarse-to-fine",
            "--style-weights needs --style-schedule blend, got coarse-to-fine; leave one out",
        ),
        ("--color lum", "invalid choice 'lum' for argument '--color'"),
        ("--content-masks m.png,c.png", "m.png does not exist; check the name of the file"),
        ("--style-masks c.png", "style mask 1 is in color; a mask must be a gray image"),
        ("--preserve-mask .", ". is a folder; give an image file in it"),
        ("--learning-rate 0", "--learning-rate must be from 1e-12 to 1e+12, got 0.0"),
        (
            "--scales coarse",
            "--scales must be auto, 1, or rising sizes up to the size 32, such as 128,256, got 'coarse'",
        ),
        ("--scales 64,16", "rising sizes up to the size 32, such as 128,256, got '64,16'"),
        ("--scales 64", "rising sizes up to the size 32, such as 128,256, got '64'"),
        ("--preset papre", "unknown preset 'papre' (did you mean 'paper'?): choose one of default, fast,"),
        ("--preset", "unknown preset ''"),
        ("--size abc", "Error parsing --size: invalid literal"),
        ("--size 3.5", "Error parsing --size: invalid literal"),
        ("--pooling mex", "invalid choice 'mex' for argument '--pooling'. Expected one of ('avg', 'max')"),
        ("--iterations 3", "error: --iterations is --steps here; Unrecognized options: --iterations, 3"),
        ("-image_size=3", "error: -image_size is --size here; Unrecognized options: -image_size=3"),
        ("--Original-colors 1", "--Original-colors is --color match, luminance or after here; Unrecognized"),
        ("--size x --lr 1 --lr 2", "error: --lr is --learning-rate here; "),
        ("--styl-weight 3", "Unrecognized options: --styl-weight, 3; Perhaps you meant: --style-weight FLOAT"),
        ("--log", "Missing value for argument '--log'"),
    ],
)
def test_options_that_cannot_be_are_refused(refused, words: str, reason: str):
    assert reason in refused(*words.split())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("transfer c.png s.png", "Missing from stylejax transfer: -o PATH"),
        ("transfer c.png -o out.png", "no STYLE was given"),
        ("transfer -o out.png", "Missing from stylejax transfer: CONTENT"),
        ("transform c.png s.png", "Available subcommands: demo, transfer, reconstruct, features, "),
        ("demo --preset paper", "--preset"),
        ("weights convert a.h5", "Missing from stylejax weights convert: -o PATH"),
        ("weights lost", "Available subcommands: list, fetch, convert, normalize, show"),
        ("weights fetch vgg11", "invalid choice 'vgg11'"),
    ],
)
def test_words_that_make_no_sense_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], words: str, reason: str
):
    before = contents(folder)
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("stylejax: error: ") and said.count("\n") == 1 and reason in said
    assert "--help" in said or "STYLE" in said
    assert contents(folder) == before


def test_colors_and_narrow_terminals_do_not_break_the_line(capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.setattr("tyro._fmtlib._FORCE_ANSI", True)
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["transfer", "c", "s", "-o", "o.png", "--pooling", "mex"]) == 2
    said = capsys.readouterr().err
    assert "invalid choice 'mex' for argument '--pooling'. Expected one of ('avg', 'max')" in said
    assert said.count("\n") == 1 and "\x1b" not in said


def test_the_versions(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"stylejax \d\S*, jax \d\S*\n", capsys.readouterr().out)


# Outputs that cannot be written


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("missing/out.png", "the folder missing does not exist; create it first"),
        ("c.png/out.png", "the folder c.png does not exist"),
        ("/proc/out.png", "choose another place"),
        ("out.gif", "its name should end in one of .png"),
        ("out", "its name should end in one of .png"),
        ("/dev/full", "its name should end in one of .png"),
        ("results.png", "it is a folder; name a file in it"),
        ("x" * 300 + ".png", "File name too long; choose another name or place"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    folder: Path, refused, monkeypatch: pytest.MonkeyPatch, out: str, reason: str
):
    (folder / "results.png").mkdir()
    monkeypatch.setattr("stylejax.models.pretrained.load_pretrained", must_not_be_called)
    monkeypatch.setattr("stylejax.images.io.read_image", must_not_be_called)
    message = refused(out=out)
    assert (f"cannot write {out}: " in message or f"{out} cannot be used" in message) and reason in message


@pytest.mark.parametrize("log", ["missing/run.jsonl", "c.png/run.jsonl", "/proc/run.jsonl", "."])
def test_a_log_that_cannot_be_written_is_refused_before_the_work(refused, monkeypatch: pytest.MonkeyPatch, log: str):
    monkeypatch.setattr("stylejax.models.pretrained.load_pretrained", must_not_be_called)
    assert "cannot write " in refused("--log", log)


@pytest.mark.parametrize("log", ["c.png", "./s.png", "out.png", "t.png"])
def test_a_log_does_not_overwrite_a_picture(refused, log: str):
    assert "the run uses this file otherwise; name another one" in refused("--log", log, "--init", "t.png")


def test_a_full_disk_is_one_line():
    reason = "cannot write the log /dev/full: No space left on device; choose"
    with contextlib.closing(RunLog(Path("/dev/full"))) as log, pytest.raises(InputError, match=reason):
        log.write("start")


# Weights that cannot be used


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace(path: Path, dataset: str, array: np.ndarray) -> None:
    with h5py.File(path, "r+") as file:
        del file[dataset]
        file[dataset] = array


def of_something_else(path: Path) -> None:
    path.unlink()
    with h5py.File(path, "w") as file:
        file["temperatures"] = np.arange(3.0)


def of_another_network(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["network"] = "resnet50"


BAD_WEIGHTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda p: p.unlink(), "no weights file"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "is a folder"),
    "empty": (lambda p: p.write_bytes(b""), "w.h5"),
    "text": (lambda p: p.write_text("not weights"), "w.h5"),
    "a picture": (lambda p: p.write_bytes(encoded(noise_image(9, 9, 0), "PNG")), "w.h5"),
    "truncated": (truncate, "w.h5 cannot be read"),
    "something else": (of_something_else, "w.h5"),
    "another network": (of_another_network, "resnet50"),
    "a wrong shape": (
        lambda p: replace(p, "conv3_1/kernel", np.zeros((3, 3, 9, 4), np.float32)),
        "conv3_1/kernel has the",
    ),
    "not finite": (lambda p: replace(p, "conv3_1/bias", np.full(4, np.nan, np.float32)), "not finite"),
    "changed": (lambda p: replace(p, "conv3_1/bias", np.ones(4, np.float32)), "hash"),
}


@pytest.mark.parametrize("what", BAD_WEIGHTS)
def test_weights_that_cannot_be_used_are_refused(folder: Path, refused, weights: Path, what: str):
    damage, reason = BAD_WEIGHTS[what]
    (folder / "w.h5").write_bytes(weights.read_bytes())
    damage(folder / "w.h5")
    assert reason in refused("--weights", "w.h5")


def test_a_misspelt_network_gets_a_hint(refused):
    assert "did you mean 'vgg19'?" in refused("--weights", "vgg91")


# Memory, and numbers that overflow


def test_out_of_memory_names_a_size_that_then_fits(run, refused, monkeypatch: pytest.MonkeyPatch):
    # By its name in the table of modules: the package's `transfer` is the function.
    monkeypatch.setattr(sys.modules["stylejax.synthesis.planning"], "available_bytes", lambda: 300 * 2**20)
    message = refused("--size", "512", "--scales", "1")
    assert "an image of --size 512 needs about " in message and "GiB are free; --size " in message
    fits = message.split("free; --size ")[1].split()[0]
    assert run("--size", fits, "--scales", "1", "--steps", "1") == 0
    assert max(read_image("out.png").shape) == int(fits)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")])
def test_memory_that_runs_out_is_one_line(refused, monkeypatch: pytest.MonkeyPatch, error: Exception):
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("stylejax.models.pretrained.load_pretrained", fail)
    assert "out of memory; take a smaller --size" in refused()


def test_a_bug_is_not_taken_for_a_fault_of_the_input(run, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("stylejax.models.pretrained.load_pretrained", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        run()


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_losses_that_overflow_are_the_input_s_fault(
    run, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(config_module, "MAX_WEIGHT", 1e300)
    assert run("--style-weight", "1e300", "--log", "run.jsonl") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == "stylejax: error: the loss was not finite at any step: lower the weights"
    assert not (folder / "out.png").exists()
    assert {line["loss"] for line in log_lines(folder / "run.jsonl") if line["event"] == "step"} == {None}


# Runs


def log_lines(path: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text("utf-8").splitlines()]


def test_a_picture_is_made_and_said_so(run, folder: Path, capsys: pytest.CaptureFixture[str]):
    assert run() == 0
    assert read_image("out.png").shape == (27, 32, 3)
    assert capsys.readouterr().out.startswith("out.png: 32×27, loss ")
    assert sorted(path.name for path in folder.iterdir()) == ["c.png", "out.json", "out.png", "s.png", "t.png"]


def test_the_log_says_what_was_run(run, folder: Path, weights: Path):
    assert run("--log", "run.jsonl", "--seed", "5") == 0
    start = log_lines(folder / "run.jsonl")[0]
    assert start["event"] == "start"
    assert start["config"]["seed"] == 5 and start["config"]["size"] == 32
    assert set(start["config"]) == set(TransferConfig.__dataclass_fields__)
    assert start["content"] == {"name": "c.png", "sha256": hashlib.sha256(Path("c.png").read_bytes()).hexdigest()}
    assert start["styles"] == [{"name": "s.png", "sha256": hashlib.sha256(Path("s.png").read_bytes()).hexdigest()}]
    assert start["weights"]["sha256"] == weights_hash(read_weights(weights))
    assert start["weights"]["network"] == "vgg19"
    assert start["versions"]["jax"] == jax.__version__ and {"python", "stylejax", "numpy"} <= set(start["versions"])
    assert start["device"]["backend"] == jax.default_backend()


def test_the_log_has_the_losses_of_every_step_and_an_end(run, folder: Path):
    assert run("--log", "run.jsonl", "--steps", "3", "--style-layers", "conv1_1,relu2_1") == 0
    first, *steps, end = log_lines(folder / "run.jsonl")
    assert [line["step"] for line in steps] == [1, 2, 3]
    for line in steps:
        assert line["event"] == "step" and line["evaluations"] == line["step"]
        assert set(line["content"]) == {"conv2_1"} and set(line["style"]) == {"conv1_1", "conv2_1"}
        assert all(isinstance(line[name], float) for name in ("loss", "tv", "seconds"))
    seconds = [line["seconds"] for line in (first, *steps, end)]
    assert seconds == sorted(seconds)
    assert end["event"] == "end" and end["steps"] == 3 and end["size"] == [27, 32] and end["interrupted"] is False
    assert end["loss"] == min(line["loss"] for line in steps)


def test_the_log_is_of_one_run(run, folder: Path):
    for _ in range(2):
        assert run("--log", "run.jsonl") == 0
    assert [line["event"] for line in log_lines(folder / "run.jsonl")] == ["start", "step", "step", "end"]


def test_the_same_run_gives_the_same_bytes(run, folder: Path):
    pictures = []
    for _ in range(2):
        assert run("--init", "noise", "--seed", "3") == 0
        pictures.append((folder / "out.png").read_bytes())
    assert run("--init", "noise", "--seed", "4") == 0
    assert pictures[0] == pictures[1] != (folder / "out.png").read_bytes()


def test_several_styles(folder: Path, weights: Path):
    quick = ["--weights", str(weights), "--size", "32", "--steps", "2", "--log", "run.jsonl", *FEW]
    assert main(["transfer", "c.png", "s.png", "t.png", "-o", "out.png", *quick]) == 0
    assert [style["name"] for style in log_lines(folder / "run.jsonl")[0]["styles"]] == ["s.png", "t.png"]


@pytest.mark.filterwarnings("ignore:.*its middle is taken")
@pytest.mark.parametrize("init", ["noise", "style", "t.png"])
def test_any_first_image_is_brought_to_size(run, init: str):
    assert run("--init", init) == 0
    assert read_image("out.png").shape == (27, 32, 3)


@pytest.mark.parametrize("words", ["--optimizer adam", "--pooling max", "--preset paper"])
def test_every_way_makes_a_picture(run, words: str):
    assert run(*words.split()) == 0
    assert read_image("out.png").shape == (27, 32, 3)


def test_names_with_spaces_letters_of_the_world_and_line_breaks(folder: Path, weights: Path):
    content, out = folder / "meine Straße\n星.png", folder / "Bild no. 1 – ü.jpg"
    (folder / "c.png").rename(content)
    quick = ["--weights", str(weights), "--size", "32", "--steps", "2", "--log", "läuft.jsonl", *FEW]
    assert main(["transfer", str(content), "s.png", "-o", str(out), *quick]) == 0
    assert read_image(out).shape == (27, 32, 3)
    assert log_lines(folder / "läuft.jsonl")[0]["content"]["name"] == content.name


@pytest.mark.filterwarnings("always")
def test_an_animation_is_taken_with_a_note(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]):
    frames = [noise_image(40, 40, seed) for seed in range(3)]
    frames[0].save(folder / "s.gif", save_all=True, append_images=frames[1:])
    words = [
        "transfer",
        "c.png",
        "s.gif",
        "-o",
        "out.png",
        "--weights",
        str(weights),
        "--size",
        "32",
        "--steps",
        "2",
        *FEW,
    ]
    assert main(words) == 0
    assert "note: s.gif has 3 frames; the first is taken\n" in capsys.readouterr().err


def test_an_old_picture_is_replaced_and_a_failed_run_leaves_it(run, refused, folder: Path):
    (folder / "out.png").write_bytes(b"old")
    refused("--size", "3")
    assert (folder / "out.png").read_bytes() == b"old"
    assert run() == 0
    assert read_image("out.png").shape == (27, 32, 3)


def test_ctrl_c_before_the_first_step(run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stylejax.models.pretrained.load_pretrained", interrupt)
    assert run() == 130
    assert capsys.readouterr().err == "stylejax: interrupted before an image was saved\n"


def test_signal_handlers_are_put_back(run):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert run() == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_programs_are_kept_in_the_user_s_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        cli_run.start_jax()
        assert getattr(jax.config, names[0]) == str(tmp_path / "stylejax" / "programs")
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


# Words to a config


def transfer_of(*words: str) -> Transfer:
    verb = parse(["transfer", *words])
    assert isinstance(verb, Transfer)
    return verb


def test_defaults_are_those_of_python():
    verb = transfer_of("c.png", "s.png", "-o", "o.png")
    assert verb.config == TransferConfig()
    assert (verb.content, verb.style, verb.out, verb.output.log) == (
        Path("c.png"),
        (Path("s.png"),),
        Path("o.png"),
        None,
    )


@pytest.mark.parametrize(
    "words",
    [
        "c.png s.png -o o.png --preset paper --size 64",
        "c.png s.png -o o.png --size 64 --preset paper",
        "c.png s.png --size=64 --preset=paper --out=o.png",
        "--preset paper --size 64 -o o.png c.png s.png",
    ],
)
def test_a_preset_sets_the_defaults_wherever_it_stands(words: str):
    config = transfer_of(*words.split()).config
    assert config.size == 64
    assert (config.scales, config.init, config.loss_normalization) == ("1", "noise", "paper")
    assert config.style_weight == preset("paper").style_weight


def test_options_override_a_preset():
    config = transfer_of(
        "--init", "content", "c", "s", "-o", "o.png", "--preset", "paper", "--style-weight", "7"
    ).config
    assert (config.init, config.style_weight, config.scales) == ("content", 7, "1")


def test_of_two_presets_the_last_counts():
    config = transfer_of("c", "s", "-o", "o.png", "--preset", "paper", "--preset", "default").config
    assert config == TransferConfig()


@pytest.mark.parametrize("words", [("--style-layers", "conv1_1,relu2_1"), ("--style-layers=conv1_1, relu2_1,",)])
def test_layers_are_separated_by_commas(words: tuple[str, ...]):
    assert transfer_of("c", "s", "-o", "o.png", *words).config.style_layers == ("conv1_1", "relu2_1")


CONFIGS = [
    TransferConfig(),
    TransferConfig(size=448, steps=300),
    TransferConfig(style_weight=1e-7, content_weight=0.1 + 0.2, tv_weight=12345678.9, learning_rate=1e11),
    TransferConfig(content_layers=("conv1_1", "relu5_1"), style_layers=("conv3_1",), scales="16,32", size=64),
    TransferConfig(seed=2**62, init="my picture's name.png", weights="a b.h5", pooling="max", optimizer="adam"),
    TransferConfig(style_scale=(0.5, 1e-7), style_weights=(2.0, 0.1 + 0.2), color="match", preserve_mask="k k.png"),
    TransferConfig(style_schedule="coarse-to-fine", content_masks=("a.png", "b c.png"), style_masks=("d.png",)),
    preset("paper"),
    preset("neural-style"),
    TransferConfig(
        style_layers=("conv1_1:0.5", "conv2_1"), style_representation="wasserstein", tv_norm="isotropic", bit_depth=16
    ),
    TransferConfig(optimizer="adam", ema_decay=0.99, init="content+noise:0.3", parameterization="dct"),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_as_options_is_read_back(config: TransferConfig):
    assert transfer_of("c", "s", "-o", "o.png", *cli_run.to_argv(config)).config == config


# The demo


@pytest.fixture
def small_painting(monkeypatch: pytest.MonkeyPatch) -> None:
    canvas = np.random.default_rng(0).random((40, 50, 3)).astype(np.float32)
    monkeypatch.setattr("stylejax.images.painting.generate_painting", lambda *_, **__: canvas)


def test_the_demo_prints_the_command_it_stands_for(
    small_painting, folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["demo", "-o", "my demo", "--weights", str(weights), "--size", "32", "--steps", "2", *FEW]
    assert main(words) == 0
    first = (folder / "my demo" / "picture.png").read_bytes()
    printed = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("$ stylejax transfer "))
    command = shlex.split(printed[2:])[1:]
    demo, same = parse(words), parse(command)
    assert isinstance(demo, Demo) and isinstance(same, Transfer)
    assert same.config == demo.config
    assert main(command) == 0
    assert (folder / "my demo" / "picture.png").read_bytes() == first
    assert sorted(os.listdir("my demo")) == ["painting.png", "photograph.png", "picture.json", "picture.png"]


def test_the_demo_does_not_write_into_a_file(small_painting, folder: Path, capsys: pytest.CaptureFixture[str]):
    before = contents(folder)
    assert main(["demo", "-o", "c.png"]) == 2
    assert "cannot make the folder c.png: File exists; choose" in capsys.readouterr().err
    assert contents(folder) == before


# As a process


def process(*words: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stylejax", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def finished(done: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = done.communicate(timeout=120)
    finally:
        done.kill()
    return done.returncode, out, err


def test_a_process_without_a_terminal_makes_a_picture(folder: Path, weights: Path):
    words = [
        "transfer",
        "c.png",
        "s.png",
        "-o",
        "out.png",
        "--weights",
        str(weights),
        "--size",
        "32",
        "--steps",
        "2",
        *FEW,
    ]
    code, out, err = finished(process(*words, cwd=folder, TERM="dumb"))
    assert (code, out.count("\n")) == (0, 1)
    assert "2/2" in err and "Traceback" not in err
    assert read_image(folder / "out.png").shape == (27, 32, 3)


def test_a_process_that_is_refused_exits_with_2(folder: Path):
    code, out, err = finished(process("transfer", "c.png", "nothing.png", "-o", "out.png", cwd=folder))
    assert (code, out) == (2, "")
    assert err == "stylejax: error: nothing.png does not exist; check the name of the file\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_picture_is_written_costs_nothing(
    run, folder: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
):
    from stylejax.images import io as images

    write = images.write_image
    monkeypatch.setattr(images, "write_image", lambda *args: signal.raise_signal(number) or write(*args))
    assert run() == 0
    assert (folder / "out.png").exists() and (folder / "out.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_process_saves_the_best_picture_and_exits_with_130(folder: Path, weights: Path, number: int):
    words = ["transfer", "c.png", "s.png", "-o", "out.png", "--weights", str(weights), "--size", "32", *FEW]
    done = process(*words, "--steps", "100000000", "--log", "run.jsonl", cwd=folder)
    deadline, log = time.monotonic() + 90, folder / "run.jsonl"
    while done.poll() is None and (not log.exists() or log.read_text().count("\n") < 4):
        if time.monotonic() > deadline:
            done.kill()
        time.sleep(0.05)
    done.send_signal(number)
    code, _, err = finished(done)
    assert code == 130
    assert "interrupted after" in err and "the best image so far was saved" in err and "Traceback" not in err
    assert read_image(folder / "out.png").shape == (27, 32, 3)
    assert log_lines(log)[-1]["event"] == "end" and log_lines(log)[-1]["interrupted"] is True


def test_a_signal_that_is_ignored_stays_ignored():
    """By nohup: the terminal may be closed."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with graceful_interrupt() as interrupted:
            signal.raise_signal(signal.SIGHUP)
            assert not interrupted()
    finally:
        signal.signal(signal.SIGHUP, before)


HEAVY = {"jax", "jaxlib", "flax", "h5py", "optax", "scipy", "numpy", "PIL", "rich", "requests", "torch"}


@pytest.mark.parametrize(
    "words", ["", "--help", "transfer --help", "evaluate --help", "weights", "weights convert --help"]
)
def test_help_imports_nothing_heavy(tmp_path: Path, words: str):
    code = (
        "import atexit, sys; atexit.register(lambda: print(*{m.split('.')[0] for m in sys.modules}, file=sys.stderr));"
        "from stylejax.cli.main import entry; entry()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0
    assert "usage: stylejax" in done.stdout
    assert not HEAVY & set(done.stderr.split())


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "stylejax", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=write,
        stderr=subprocess.PIPE,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def help_of(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("tyro._fmtlib._FORCE_UTF8_BOXES", True)
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_option_groups_contain_each_field_of_the_config_once():
    names = [name for group in OPTION_GROUPS.values() for name in group]
    assert sorted(names) == sorted(TransferConfig.__dataclass_fields__)


def test_help_shows_every_option_under_its_heading_with_its_default(capsys, monkeypatch):
    text = help_of("transfer", capsys, monkeypatch)
    headings = re.findall("╭─ (.+?) ─", text)
    assert headings == ["positional arguments", "options", *(f"{heading} options" for heading in OPTION_GROUPS)]
    for heading, names in OPTION_GROUPS.items():
        group = text.split(f"─ {heading} options ─")[1].split("╰")[0]
        options = re.findall("^│ --([a-z-]+)", group, re.MULTILINE)
        assert options[: len(names)] == [name.replace("_", "-") for name in names]
    assert "CONTENT STYLE [STYLE …]" in text and "(default: conv4_2)" in " ".join(text.replace("│", "").split())


@pytest.mark.parametrize(
    "command",
    ["transfer", "demo", "features", "evaluate", "resume", "verify", "reconstruct content", "weights normalize"],
)
def test_help_of_an_option_has_at_most_two_rows(command: str, capsys, monkeypatch):
    text = help_of(command, capsys, monkeypatch)
    for option in re.split(r"^│ (?=\S)", text, flags=re.MULTILINE)[1:]:
        rows = [row for row in option.splitlines() if re.search(r"^│ {10,}\S|^\S.*? {2,}\S.*│$", row)]
        assert len(rows) <= 2, option


# Weights


def test_weights_list_says_what_is_here(folder: Path, weights: Path, monkeypatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("STYLEJAX_WEIGHTS_DIR", str(folder))
    assert main(["weights", "list"]) == 0
    assert "vgg19  not downloaded; stylejax weights fetch vgg19" in capsys.readouterr().out
    (folder / "vgg19.h5").write_bytes(weights.read_bytes())
    assert main(["weights", "list"]) == 0
    assert "vgg19  downloaded" in capsys.readouterr().out


def test_weights_show(weights: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["weights", "show", str(weights)]) == 0
    said = capsys.readouterr().out
    parameters = read_weights(weights)
    assert weights_hash(parameters) in said and parameters.source in said
    assert "conv5_4  3×3×4×4" in said and "0.450000 0.450000 0.450000" in said
    assert all(f"  {layer}  " in said.split("fingerprint")[1] for layer in PAPER)


def test_weights_convert(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]):
    from safetensors.numpy import save_file

    parameters, arrays = random_weights("vgg16"), {}
    numbers = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    for number, (kernel, bias) in zip(numbers, parameters.layers.values(), strict=True):
        arrays[f"features.{number}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        arrays[f"features.{number}.bias"] = bias
    save_file(arrays, folder / "v.safetensors")
    words = ["weights", "convert", "v.safetensors", "-o", "v.h5"]
    assert main(words) == 2
    assert "convert it with --preprocessing torch, caffe-bgr or caffe-rgb" in capsys.readouterr().err
    assert main([*words, "--preprocessing", "torch"]) == 0
    assert "v.h5: vgg16 from" in capsys.readouterr().out
    converted = read_weights(folder / "v.h5")
    np.testing.assert_array_equal(converted.layers["conv3_3"].kernel, parameters.layers["conv3_3"].kernel)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("convert missing.pth -o v.h5", "missing.pth"),
        ("convert c.png -o v.h5", "c.png"),
        ("convert c.png -o missing/v.h5", "the folder missing does not exist"),
        ("normalize WEIGHTS --images missing -o v.h5", "--images must be a folder of images, got missing"),
        ("normalize WEIGHTS --images empty -o v.h5", "--images must be a folder of images, got empty"),
        ("normalize WEIGHTS --images good -o missing/v.h5", "the folder missing does not exist"),
        ("normalize WEIGHTS --images good -o v.h5 --size 0", "--size must be a whole number from 1, got 0"),
        ("normalize WEIGHTS --images good -o v.h5 --size 8", "pixels"),
        ("normalize nothing.h5 --images good -o v.h5", "nothing.h5"),
        ("show nothing.h5", "nothing.h5"),
        ("show c.png", "c.png"),
    ],
)
def test_weights_verbs_refuse_in_one_line(
    folder: Path, weights: Path, capsys: pytest.CaptureFixture[str], words: str, reason: str
):
    for name in ("empty", "texts", "good"):
        (folder / name).mkdir()
    (folder / "texts" / "note.txt").write_text("no picture")
    noise_image(40, 40, 0).save(folder / "good" / "a.png")
    before = contents(folder)
    assert main(["weights", *words.replace("WEIGHTS", str(weights)).split()]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("stylejax: error: ") and said.err.count("\n") == 1 and said.out == ""
    assert reason in said.err
    assert contents(folder) == before


def test_weights_normalize(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "pictures").mkdir()
    for seed in range(3):
        noise_image(40, 48, seed).save(folder / "pictures" / f"{seed}.png")
    words = ["weights", "normalize", str(weights), "--images", "pictures", "-o", "n.h5", "--size", "32"]
    assert main(words) == 0
    assert "n.h5: vgg19, mean activations over 3 images set to 1" in capsys.readouterr().out
    assert weights_hash(read_weights(folder / "n.h5")) != weights_hash(read_weights(weights))


# The log by itself


def test_without_a_path_nothing_is_logged():
    log = RunLog(None)
    log.write("start", anything=1)
    log.close()


def test_numbers_that_are_not_finite_are_null(tmp_path: Path):
    log = RunLog(tmp_path / "a.jsonl")
    log.write("step", loss=float("nan"), style={"conv1_1": np.float32("inf")}, size=(1, 2), name="ä\udcff")
    log.close()
    # A resumption continues it, even within the first millisecond.
    RunLog(tmp_path / "a.jsonl", 0.0, resumed=True).close()
    (line,) = log_lines(tmp_path / "a.jsonl")
    assert line["loss"] is None and line["style"] == {"conv1_1": None}
    assert line["size"] == [1, 2] and line["name"] == "ä\udcff"
