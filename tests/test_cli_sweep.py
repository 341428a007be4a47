"""`stylejax sweep`: what is in the folder, what is refused, and what is left when it is stopped, killed, or alone."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import noise_image

from stylejax import config as config_module
from stylejax.cli.main import main, parse
from stylejax.cli.sweep import _mesh as every_device
from stylejax.images.io import read_image
from stylejax.runs.manifest import read
from stylejax.sweeps import results
from stylejax.sweeps.report import choose_axes, panels_of, varying_settings

LAYERS = ("--content-layers", "conv2_1", "--style-layers", "conv1_1")
NETWORK = ("--weights", "narrow.h5", *LAYERS, "--parameterization", "pixels")
QUICK = ("--size", "24", "--steps", "3", "--scales", "1", *NETWORK)
GRID = ("--content", "c.png", "--style", "s.png,t.png", "--style-weight", "1,1e3", *QUICK)


@pytest.fixture(autouse=True)
def studio(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One device, as a machine has."""
    for seed, name in enumerate(("s.png", "t.png"), 1):
        noise_image(36, 33, seed).save(desk / name)
    monkeypatch.setattr("stylejax.cli.sweep._mesh", lambda: None)
    return desk


def sweep(*words: str, out: str = "out") -> int:
    return main(["sweep", *GRID, "-o", out, *words])


def files(folder: str) -> dict[str, bytes]:
    """All but the seconds."""
    found = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    found["results.jsonl"] = re.sub(rb', "seconds": [\d.]+', b"", found["results.jsonl"])
    return found


def entries(folder: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, "results.jsonl").read_text().splitlines()]


PICTURES = [f"c_{style}_style-weight-{weight}.png" for style in "st" for weight in (1, 1000)]


def test_a_sweep_is_a_folder(capsys: pytest.CaptureFixture[str]):
    assert sweep() == 0
    assert capsys.readouterr().out == "out: 4 of 4 images\n"
    assert sorted(files("out")) == [*PICTURES, "index.html", "results.jsonl", "sheet.png"]
    for number, (entry, style, weight) in enumerate(zip(entries("out"), "sstt", (1, 1e3, 1, 1e3), strict=True), 1):
        manifest = read(Path("out", entry["picture"]))
        assert entry["row"] == number and entry["picture"] == PICTURES[number - 1]
        assert entry["styles"][0]["name"] == f"{style}.png" and entry["config"]["style_weight"] == weight
        assert entry["sha256"] == manifest.outcome.sha256 and entry["loss"] == manifest.outcome.loss
        assert set(entry["losses"]) == {"content", "style", "tv"} and set(entry["losses"]["style"]) == {"conv1_1"}
        assert entry["seconds"] >= 0 and len(entry["content"]["sha256"]) == 64
    page = Path("out/index.html").read_text()
    assert page.count("<figure>") == 4 and "data:image/png" in page and not re.search(r'(src|href)="(?!data:)', page)
    for text in ("style weight 1000", "style t.png", "seconds"):
        assert (text in page) == (text != "seconds")
    assert max(read_image("out/sheet.png").shape) > 48


def test_a_row_is_the_picture_that_transfer_makes():
    assert sweep() == 0
    words = ["transfer", "c.png", "t.png", "-o", "single.png", "--style-weight", "1e3", *QUICK]
    assert main(words) == 0
    assert Path("single.png").read_bytes() == Path(f"out/{PICTURES[3]}").read_bytes()


@pytest.mark.slow
def test_rows_are_spread_over_all_devices(monkeypatch: pytest.MonkeyPatch):
    """The tests have four devices."""
    assert sweep(out="one") == 0
    monkeypatch.setattr("stylejax.cli.sweep._mesh", every_device)
    mesh = every_device()
    assert (mesh.size, mesh.axis_names, mesh.axis_types) == (4, ("batch",), (jax.sharding.AxisType.Auto,))
    assert sweep() == 0
    losses = [[entry["loss"] for entry in entries(out)] for out in ("out", "one")]
    np.testing.assert_allclose(*losses, rtol=1e-4)


HEAD = 'content = "c.png"\nstyle = "s.png"\nweights = "narrow.h5"\nsize = 24\nsteps = 1\n'
FAULTS = {17: "content = 'gone.png'", 90: "style_weight = nan", 161: "style_layers = [['conv9_1']]"}


def rows(count: int, faults: dict[int, str]) -> str:
    return HEAD + "".join(f"[[row]]\nseed = {n}\n{faults.get(n, '')}\n" for n in range(1, count + 1))


def test_bad_rows_are_named_before_anything_starts(studio: Path, refusal: Callable[..., str]):
    (studio / "grid.toml").write_text(rows(200, FAULTS))
    said = refusal("sweep", "grid.toml", "-o", "out")
    assert "3 of 200 rows cannot be run." in said
    for text in (
        "Row 17: gone.png does not exist",
        "Row 90: --style-weight must be 0 or from 1e-12 to 1e+12, got nan",
        "Row 161: unknown layer 'conv9_1'",
    ):
        assert text in said
    assert said.endswith("Correct them, or leave them out with --skip-invalid\n")


def test_photos_in_pictures_out(studio: Path, capsys: pytest.CaptureFixture[str]):
    """The words of a shell's photos/*.png, a comma in a name, and the same names again."""
    (studio / "photos").mkdir()
    for seed, name in enumerate(("b.png", "a, with c.png")):
        noise_image(40, 48, seed).save(studio / "photos" / name)
    words = ["--style", "s.png", "--weights", "narrow.h5", *QUICK, "-o", "out"]
    assert main(["sweep", "--content", *map(str, sorted((studio / "photos").iterdir())), *words]) == 0
    assert [entry["picture"] for entry in entries("out")] == ["a, with c.png", "b.png"]
    before = files("out")
    assert main(["sweep", "--content", "photos", *words, "--resume"]) == 0
    assert files("out") == before
    assert main(["sweep", "--content", "photos", *words[:-1], "photos"]) == 2
    assert "photos/a, with c.png: the run uses this file otherwise" in capsys.readouterr().err
    assert main(["sweep", "--content", "c.png", "grid.toml", *words]) == 2
    assert "must be images, got grid.toml; name the TOML file before them" in capsys.readouterr().err


def test_skip_bad_leaves_them_out(studio: Path, capsys: pytest.CaptureFixture[str]):
    (studio / "grid.toml").write_text(rows(4, {2: FAULTS[17], 4: FAULTS[90]}))
    assert main(["sweep", "grid.toml", "-o", "out", "--skip-invalid", *QUICK]) == 0
    said = capsys.readouterr()
    assert said.out == "out: 2 of 2 images\n"
    assert "left out: 2 of 4 rows cannot be run. Row 2: gone.png" in said.err
    assert [entry["picture"] for entry in entries("out")] == ["c_seed-1.png", "c_seed-3.png"]


def test_presets_are_varied_like_any_other_setting():
    command: Any = parse(["sweep", "--content", "c.png", "--style", "s.png", "--preset", "paper,fast", "-o", "out"])
    assert command.preset == ("paper", "fast")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("sweep", "-o", "out"),
            "the sweep has no settings; list some, as in --style-weight 1e2,1e3, or name a TOML file",
        ),
        (
            ("sweep", "-o", "out", "--seed", "x", *GRID),
            "4 of 4 rows cannot be run. Rows 1, 2, 3, 4: --seed must be a whole number, got 'x'",
        ),
        (("sweep", "-o", "out", *GRID, "--batch-size", "0"), "--batch-size must be a whole number from 1, got 0"),
        (("sweep", "-o", "c.png", *GRID), "cannot make the folder c.png: File exists"),
        (("sweep", *GRID), "out"),
        (
            ("sweep", "-o", "out", *GRID, "--processes", "2"),
            "--coordinator, --processes and --process must come together, and with",
        ),
    ],
)
def test_what_cannot_work_is_refused(words: tuple[str, ...], message: str, refusal: Callable[..., str]):
    assert message in refusal(*words)


def test_another_sweep_is_not_overwritten(studio: Path, capsys: pytest.CaptureFixture[str]):
    (studio / "out").mkdir()
    noise_image(8, 8, 0).save(studio / "out" / PICTURES[0])
    assert sweep() == 2
    reason = f"out/{PICTURES[0]} exists; continue its sweep with --resume, or name another folder"
    assert reason in capsys.readouterr().err


def test_resume_makes_what_is_missing_damaged_or_of_other_settings(studio: Path, monkeypatch: pytest.MonkeyPatch):
    assert sweep() == 0
    before = files("out")
    noise_image(20, 24, 0).save(studio / "out" / PICTURES[1])
    (studio / "out" / PICTURES[2]).unlink()
    (studio / "out" / PICTURES[3]).write_bytes(before[PICTURES[0]])
    with (studio / "out" / "results.jsonl").open("a") as file:
        file.write('{"row": 2, "pict')
    made: list[int] = []
    original = results.save_row
    monkeypatch.setattr(
        results,
        "save_row",
        lambda out, painted, *rest: (made.append(painted.row.number), original(out, painted, *rest)),
    )
    assert sweep("--resume") == 0
    assert made == [2, 3, 4]
    assert files("out") == before
    assert sweep("--resume") == 0
    assert made == [2, 3, 4]


def test_a_broken_row_is_told_and_the_others_kept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(config_module, "MAX_WEIGHT", 1e300)
    assert sweep("--style-weight", "1,1e38", "--content-weight", "1e38,1", "--batch-size", "4") == 1
    said = capsys.readouterr()
    broken = [entry["row"] for entry in entries("out") if "error" in entry]
    assert broken and said.out == f"out: {8 - len(broken)} of 8 images\n"
    assert f"row {broken[0]}: the loss was not finite at any step: lower the weights" in said.err
    assert "Rows without a finite loss: " in Path("out/index.html").read_text()


def test_an_interrupt_keeps_what_is_finished(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    original = results.save_row

    def keep(*args: Any) -> None:
        original(*args)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(results, "save_row", keep)
    assert sweep() == 130
    said = capsys.readouterr()
    assert said.out == "out: 1 of 4 images\n"
    assert (
        "interrupted; finished images were kept, and the same command with --resume makes only the missing images"
        in said.err
    )
    assert "3 of 4 rows are missing" in Path("out/index.html").read_text()
    monkeypatch.setattr(results, "save_row", original)
    assert sweep("--resume") == 0
    assert sweep(out="whole") == 0
    assert files("out") == files("whole")


KILLED = """
import os, signal, sys
from stylejax.sweeps import distributed
from stylejax.sweeps import results
from stylejax.cli.main import main
distributed.HEARTBEAT_SECONDS = 5
rows, save_row = int(sys.argv[1]), results.save_row
def save_or_die(*args):
    global rows
    save_row(*args)
    rows -= 1
    if not rows:
        os.kill(os.getpid(), signal.SIGKILL)
results.save_row = save_or_die
sys.exit(main(sys.argv[2:]))
"""


def start(rows_to_live: int, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", KILLED, str(rows_to_live), "sweep", *GRID, "-o", "out", *words]
    env = os.environ | {"XLA_FLAGS": ""}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def ended(rows_to_live: int, *words: str) -> tuple[int, str]:
    process = start(rows_to_live, *words)
    said, _ = process.communicate(timeout=200)
    return process.returncode, said


@pytest.mark.slow
def test_a_sweep_that_was_killed_resumes_to_the_same_bytes():
    assert ended(2) == (-signal.SIGKILL, "")
    assert [path.name for path in sorted(Path("out").glob("c_*"))] == PICTURES[:2]
    assert len(entries("out")) == 2 and not Path("out/index.html").exists()
    kept = Path("out", PICTURES[0]).stat().st_mtime_ns
    assert ended(99, "--resume") == (0, "out: 4 of 4 images\n")
    assert Path("out", PICTURES[0]).stat().st_mtime_ns == kept
    Path("out").rename("killed")
    assert ended(99)[0] == 0
    assert files("killed") == files("out")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def two_processes(rows_to_live: tuple[int, int], *words: str) -> list[tuple[int, str, str]]:
    shared = ("--distributed", "--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2")
    both = [start(n, *words, *shared, "--process", str(i)) for i, n in enumerate(rows_to_live)]
    said = [process.communicate(timeout=200) for process in both]
    return [(process.returncode, *texts) for process, texts in zip(both, said, strict=True)]


def test_two_processes_share_the_rows_and_one_that_dies_does_not_stop_the_other():
    (first, dead) = two_processes((99, 1))
    assert dead[0] == -signal.SIGKILL
    assert first[0] == 1 and first[1] == "out: 3 of 4 images\n", first
    message = "error: process 1 ended before the others; the same command with --resume makes only the missing images"
    assert message in first[2] and "process 0 of 2: 2 of 4 rows" in first[2]
    kept = {path.name: path.stat().st_mtime_ns for path in Path("out").glob("c_*")}
    assert sorted(kept) == PICTURES[:3]

    both = two_processes((99, 99), "--resume")
    assert [code for code, _, _ in both] == [0, 0], both
    assert both[0][1] == "out: 4 of 4 images\n" and both[1][1] == ""
    assert kept == {path.name: path.stat().st_mtime_ns for path in Path("out").glob("c_*") if path.name in kept}
    assert sorted(path.name for path in Path("out").glob("*.jsonl")) == ["results.jsonl"]
    assert [entry["row"] for entry in entries("out")] == [1, 2, 3, 4]
    assert all(entry["seconds"] is not None for entry in entries("out"))


def some_rows(**settings: tuple[str, ...]) -> tuple[list, dict[int, np.ndarray], dict[int, dict[str, Any]]]:
    from stylejax.sweeps.grid import load_sweep

    given = {"content": ("c.png",), "style": ("s.png",), "weights": ("narrow.h5",), "size": ("24",)}
    found = load_sweep(None, given | settings).rows
    pictures = {row.number: np.full((8, 8, 3), 0.5, np.float32) for row in found}
    return found, pictures, {row.number: {"loss": float(row.number)} for row in found}


def test_two_settings_are_axes_and_more_are_small_multiples():
    found, *rest = some_rows(style=("s.png", "t.png"), seed=("0", "1"), style_weight=("1", "2", "3"))
    assert choose_axes(varying_settings(found)) == ["style weight", "style"]
    first, second = panels_of(found, *rest)
    assert (first.heading, second.heading) == ("seed 0", "seed 1")
    assert first.columns == ["style weight 1", "style weight 2", "style weight 3"]
    assert first.rows == ["style s.png", "style t.png"]
    assert second.labels == [["loss 4", "loss 5", "loss 6"], ["loss 10", "loss 11", "loss 12"]]


def test_one_setting_is_a_row_and_many_values_are_lines():
    (one,) = panels_of(*some_rows(seed=("0", "1", "2")))
    assert (one.rows, one.columns) == ([""], ["seed 0", "seed 1", "seed 2"])
    (lines,) = panels_of(*some_rows(seed=tuple(map(str, range(8)))))
    assert [len(line) for line in lines.pictures] == [6, 6] and lines.pictures[1][2:] == [None] * 4
    assert lines.labels[1][:2] == ["seed 6, loss 7", "seed 7, loss 8"]


def test_rows_that_fill_no_grid_follow_each_other():
    found, pictures, losses = some_rows(seed=("0", "1", "2"), style_weight=("1", "2", "3"))
    diagonal = found[::4]
    (panel,) = panels_of(diagonal, {row.number: pictures[row.number] for row in diagonal}, losses)
    assert panel.labels == [
        ["seed 0, style weight 1, loss 1", "seed 1, style weight 2, loss 5", "seed 2, style weight 3, loss 9"]
    ]


def test_the_help_has_every_setting_with_its_sentence(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        parse(["sweep", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for text in ("--style-weight A,B", "Seed of the initial noise", "--skip-invalid", "--coordinator", "--resume"):
        assert text in said


def test_the_bar_moves_by_the_pixels_of_each_scale_and_comes_to_its_end(monkeypatch: pytest.MonkeyPatch):
    totals, moved = [], []

    @contextmanager
    def bar(rows: int, work: float) -> Iterator[tuple[Callable, Callable]]:
        totals.append((rows, work))
        yield lambda numbers, infos, work: moved.append(work), lambda line: None

    monkeypatch.setattr("stylejax.cli.display.sweep_bar", bar)
    words = ("--content", "c.png", "--style", "s.png", "--size", "24,40", "--scales", "20", "--steps", "3", *NETWORK)
    assert main(["sweep", *words, "-o", "out"]) == 0
    assert moved == [20**2, 20**2, 24**2, 20**2, 20**2, 40**2]
    assert totals == [(2, sum(moved))]


def test_a_row_without_an_improvement_is_told_as_such(capsys: pytest.CaptureFixture[str]):
    assert sweep("--style", "s.png", "--steps", "1,2", "--optimizer", "adam") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("c_")]
    assert len(lines) == 4 and {"steps-1" in line for line in lines if "no step lowered" in line} == {True}
    assert all("steps-2" in line for line in lines if "no step lowered" not in line)
