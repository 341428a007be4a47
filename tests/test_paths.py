"""Paths from anywhere: an output is never an input, only regular files are written, and no name ends in a traceback."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import noise_image

from stylejax.cli.main import main
from stylejax.errors import InputError
from stylejax.files import atomic_write, check_writable, kind_of, write_atomically

QUICK = "--weights narrow.h5 --size 32 --steps 2 --scales 1 --content-layers conv1_2 --style-layers conv1_1"


@pytest.fixture
def refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Return the one line with which a command is refused; no byte in the folder may change."""
    for seed, name in enumerate(("s", "m", "i"), 1):
        noise_image(40, 48, seed).convert("L" if name == "m" else "RGB").save(desk / f"{name}.png")

    def contents() -> dict[str, bytes | None]:
        return {p.name: p.read_bytes() if kind_of(p) == "file" else None for p in desk.iterdir() if p.exists()}

    def refuse(words: str) -> str:
        before = contents()
        assert main(words.replace("QUICK", QUICK).split(" ")) == 2
        error = capsys.readouterr().err
        assert error.startswith("stylejax: error: ") and error.count("\n") == 1, error
        assert contents() == before
        return error

    return refuse


def name_as(kind: str, name: str, folder: Path) -> str:
    """Return another name for a file: a link of some kind with the same suffix."""
    link = f"{kind}{Path(name).suffix}"
    match kind:
        case "same":
            return f"./{name}"
        case "hard":
            os.link(folder / name, folder / link)
        case "symbolic":
            os.symlink(name, folder / link)
        case "folder":
            os.symlink(".", folder / "linked")
            return f"linked/{name}"
    return link


TRANSFER = "transfer c.png s.png --init i.png --preserve-mask m.png QUICK"


@pytest.mark.parametrize("kind", ["same", "hard", "symbolic", "folder"])
@pytest.mark.parametrize(
    ("command", "name"),
    [
        *((f"{TRANSFER} -o", name) for name in ("c.png", "s.png", "i.png", "m.png")),
        *((f"{TRANSFER} -o out.png --log", name) for name in ("c.png", "narrow.h5")),
        ("reconstruct style c.png --weights narrow.h5 -o", "c.png"),
        ("features c.png --weights narrow.h5 -o", "c.png"),
        ("features s.npz.png --weights narrow.h5 -o out.png --npz", "s.npz"),
        ("weights convert narrow.h5 -o", "narrow.h5"),
        ("weights normalize narrow.h5 --images pictures -o", "narrow.h5"),
        ("sweep --content c.png --style s.png --seed 0,1 QUICK -o", "folder with an input"),
    ],
)
def test_an_output_is_not_an_input(refused, desk: Path, kind: str, command: str, name: str):
    (desk / "pictures").mkdir()
    noise_image(40, 48, 1).save(desk / "pictures" / "p.png")
    (desk / "s.npz").write_bytes((desk / "s.png").read_bytes())
    (desk / "s.npz.png").symlink_to("s.npz")
    if name == "folder with an input":
        (desk / "out").mkdir()
        (desk / "out" / "results.jsonl").symlink_to("../c.png")
        target = "out"
    else:
        target = name_as(kind, name, desk)
    assert "the run uses this file otherwise; name another one" in refused(f"{command} {target}")


def test_outputs_are_different_files(refused):
    for other in ("out.png", "out.json", "out.png.run"):
        assert "the run uses this file otherwise" in refused(f"{TRANSFER} -o out.png --log {other}")


@pytest.mark.parametrize("kind", ["fifo", "socket", "link to a fifo", "link to /dev/null"])
@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("transfer c.png s.png QUICK -o NAME", "x.png"),
        ("transfer c.png s.png QUICK -o x.png", "x.json"),
        ("transfer c.png s.png QUICK -o x.png", "x.png.run"),
        ("transfer c.png s.png QUICK -o out.png --log NAME", "x.jsonl"),
        ("transfer c.png s.png QUICK -o out.png --video NAME", "x.webp"),
        ("features c.png --weights narrow.h5 -o NAME", "x.png"),
        ("features c.png --weights narrow.h5 -o out.png --npz NAME", "x.npz"),
        ("weights convert narrow.h5 -o NAME", "x.h5"),
        ("sweep --content c.png --style s.png --seed 0,1 QUICK -o .", "results.jsonl"),
        ("sweep --content c.png --style s.png --seed 0,1 QUICK -o .", "c_seed-0.png"),
        ("verify NAME", "x.png"),
        ("resume NAME", "x.run"),
        ("weights show NAME", "x.h5"),
        ("sweep NAME -o out", "x.toml"),
    ],
)
def test_only_regular_files_are_read_and_written(refused, desk: Path, kind: str, command: str, name: str):
    """A pipe would wait for ever, and a device would be replaced."""
    special = desk / ("pipe" if "link" in kind else name)
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(name)
    elif "fifo" in kind:
        os.mkfifo(special)
    if "link" in kind:
        (desk / name).symlink_to("/dev/null" if "null" in kind else special)
    refused(command.replace("NAME", name))


NAMES = {"long": "x" * 300 + "{}", "NUL": "a\0b{}", "locked": "locked/x{}", "loop": "loop/x{}", "empty": ""}


@pytest.mark.parametrize("form", NAMES)
@pytest.mark.parametrize(
    ("command", "suffix"),
    [
        ("transfer NAME s.png QUICK -o out.png", ".png"),
        ("transfer c.png NAME QUICK -o out.png", ".png"),
        ("transfer c.png s.png QUICK -o NAME", ".png"),
        ("transfer c.png s.png QUICK -o out.png --init NAME", ".png"),
        ("transfer c.png s.png QUICK -o out.png --preserve-mask NAME", ".png"),
        ("transfer c.png s.png QUICK -o out.png --content-masks NAME", ".png"),
        ("transfer c.png s.png QUICK -o out.png --weights NAME", ".h5"),
        ("transfer c.png s.png QUICK -o out.png --log NAME", ".jsonl"),
        ("transfer c.png s.png QUICK -o out.png --video NAME", ".webp"),
        ("features NAME --weights narrow.h5 -o out.png", ".png"),
        ("features c.png --weights narrow.h5 -o out.png --npz NAME", ".npz"),
        ("rerun NAME", ".png"),
        ("verify NAME", ".png"),
        ("resume NAME", ".png"),
        ("weights convert NAME -o w.h5", ".h5"),
        ("weights convert narrow.h5 -o NAME", ".h5"),
        ("weights normalize narrow.h5 -o w.h5 --images NAME", ""),
        ("weights show NAME", ".h5"),
        ("sweep NAME -o out", ".toml"),
        ("sweep --content NAME --style s.png QUICK -o out", ".png"),
        ("sweep --content c.png --style NAME QUICK -o out", ".png"),
        ("sweep --content c.png --style s.png QUICK -o NAME", ""),
        ("demo -o NAME", ""),
    ],
)
def test_a_name_that_no_file_can_have_is_refused(refused, desk: Path, form: str, command: str, suffix: str):
    (desk / "loop").symlink_to("loop")
    (desk / "locked").mkdir(mode=0)
    if form == "locked" and os.access(desk / "locked", os.X_OK):
        pytest.skip("root may search every folder")
    if form == "empty" and ("--init" in command or "mask" in command):
        pytest.skip("an empty value is the default")
    refused(command.replace("NAME", NAMES[form].format(suffix)))


def test_the_files_beside_a_picture_need_names_too(refused):
    """255 bytes are the limit: OUT.json is longer than OUT.png by one, and OUT.png.run by four."""
    for length in (255, 253):
        assert "File name too long" in refused(f"transfer c.png s.png QUICK -o {'x' * (length - 4)}.png")


def test_a_message_is_one_printable_line(refused):
    line = refused("transfer a\x1b[31mb\nc.png s.png QUICK -o out.png")
    assert "a\\x1b[31mb c.png does not exist" in line
    assert len(refused(f"transfer {'d/' * 2500}c.png s.png QUICK -o out.png")) < 700


def test_a_foreign_checkpoint_is_neither_replaced_nor_removed(refused, desk: Path):
    (desk / "out.png.run").write_text("precious")
    assert "something else has that name" in refused("transfer c.png s.png QUICK -o out.png")


def test_the_manifest_of_another_picture_stays(refused, capsys: pytest.CaptureFixture[str]):
    assert main(f"transfer c.png s.png {QUICK} -o keep.bmp".split()) == 0
    capsys.readouterr()
    assert "it may be the only manifest of keep.bmp" in refused("transfer c.png s.png QUICK -o keep.png")
    assert main(f"transfer c.png s.png {QUICK} -o keep.bmp".split()) == 0


def test_the_demo_writes_over_no_picture_of_another_kind(refused, desk: Path):
    (desk / "c.png").rename(desk / "photograph.png")
    assert "another image has that name; choose another folder with -o" in refused("demo -o .")


def test_an_error_names_what_was_written_before(desk: Path, monkeypatch, capsys):
    def fail(*_):
        raise InputError("cannot write out.json: No space left on device; choose another place")

    noise_image(40, 48, 1).save(desk / "s.png")
    monkeypatch.setattr("stylejax.runs.manifest.write_sidecar", fail)
    assert main(f"transfer c.png s.png {QUICK} -o out.png".split()) == 2
    assert capsys.readouterr().err.endswith("choose another place; out.png was written before\n")
    assert (desk / "out.png").exists()


def test_a_picture_is_saved_elsewhere_without_a_current_folder(tmp_path: Path, monkeypatch):
    from stylejax.cli.files import write_with_fallback

    def missing() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "cwd", lambda: Path("/gone"))
    monkeypatch.setattr(Path, "home", missing)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    with pytest.raises(InputError, match=f"the image was saved as {tmp_path}/out-"):
        write_with_fallback(tmp_path / "missing" / "out.png", pixels(), "", None, 8)


def pixels():
    return np.zeros((4, 4, 3), np.float32)


def test_temporary_files_of_killed_runs_are_removed(tmp_path: Path):
    """Those that a process holds, and names that are only similar, stay."""
    (tmp_path / ".stylejax-0123456789abcdef").touch()
    for name in (".stylejax-notours", ".stylejax-0123456789abcdef0"):
        (tmp_path / name).touch()
    (tmp_path / ".stylejax-aaaaaaaaaaaaaaaa").symlink_to(".stylejax-notours")
    os.mkfifo(tmp_path / ".stylejax-bbbbbbbbbbbbbbbb")
    kept = sorted({path.name for path in tmp_path.iterdir()} - {".stylejax-0123456789abcdef"})
    held: list[str] = []

    def write(path: Path) -> None:
        check_writable(tmp_path / "a")
        held.append(path.name)
        path.write_bytes(b"data")

    atomic_write(tmp_path / "b", write)
    assert len(held) == 1 and (tmp_path / "b").read_bytes() == b"data"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "b"])


def test_a_killed_writer_leaves_nothing_for_ever(tmp_path: Path):
    code = (
        "import pathlib, stylejax.files as f\n"
        f"f.atomic_write(pathlib.Path({str(tmp_path / 'a')!r}), lambda path: (print(path, flush=True), input()))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        temporary = Path(process.stdout.readline().decode().strip())  # type: ignore[union-attr]
        check_writable(tmp_path / "b")
        assert temporary.exists()
        process.send_signal(signal.SIGKILL)
    assert temporary.exists()
    write_atomically(tmp_path / "b", b"")
    check_writable(tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
