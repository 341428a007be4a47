"""Interrupted runs: what is kept, what is refused, and that the end is the same, to the bit."""

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from safetensors import safe_open
from safetensors.numpy import save

import stylejax.runs.checkpoint as run_files
from stylejax.cli.main import main
from stylejax.images.io import read_image
from stylejax.models.architecture import random_weights
from stylejax.models.weights_file import save_weights
from stylejax.optimizers.minimize import START, LoopState
from stylejax.runs.checkpoint import CheckpointWriter, checkpoint_path, read_header
from stylejax.synthesis.transfer import Checkpoint

PROGRAM = "import sys; from stylejax.cli.main import entry; sys.argv[0] = 'stylejax'; entry()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A content, a style, a mask, a narrow network, and the picture of a run that was never interrupted."""
    folder = tmp_path_factory.mktemp("runs")
    generator = np.random.default_rng(0)
    for name, shape in (("c.png", (40, 48, 3)), ("s.png", (36, 33, 3))):
        Pillow.fromarray(generator.integers(0, 256, shape, np.uint8)).save(folder / name)
    mask = Pillow.linear_gradient("L").resize((48, 40))
    mask.save(folder / "m.png")
    save_weights(folder / "narrow.h5", random_weights("vgg19", 0, (4, 4, 4, 4, 4)))
    assert ended(process(folder, *words(folder, "whole.png")))[0] == 0
    return folder


def words(folder: Path, out: str, steps: int = 60, *more: str) -> list[str]:
    files = [str(folder / name) for name in ("c.png", "s.png")]
    options = ["--weights", str(folder / "narrow.h5"), "--size", "48", "--scales", "24,32", "--steps", str(steps)]
    options += ["--content-layers", "conv2_1", "--style-layers", "conv1_1,conv2_1"]
    options += ["--content-masks", str(folder / "m.png")]
    return ["transfer", *files, "-o", str(folder / out), *options, *more]


def process(folder: Path, *arguments: str) -> subprocess.Popen:
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "programs")}
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], env=environment, cwd=folder, **streams)


def ended(done: subprocess.Popen) -> tuple[int, str]:
    """Its exit code, and what it said."""
    _, said = done.communicate()
    return done.returncode, said.decode()


def wait_for(done: subprocess.Popen, reached, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while done.poll() is None and not reached():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize(
    "stop_after", [pytest.param(3, marks=pytest.mark.slow), 25, pytest.param(45, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_is_resumed_to_the_same_bytes(folder: Path, stop_after: int):
    """At the first, the second and the last scale."""
    log = folder / f"{stop_after}.jsonl"
    out = folder / f"{stop_after}.png"
    options = ["--log", str(log), "--checkpoint-every", "1000"]
    interrupted = process(folder, *words(folder, out.name, 60, *options))
    wait_for(interrupted, lambda: log.exists() and log.read_text().count("\n") > stop_after)
    interrupted.send_signal(signal.SIGINT)
    code, said = ended(interrupted)
    assert code == 130, said
    assert read_image(out).shape == (40, 48, 3)
    told = re.search(r"to continue: stylejax (resume .*)$", said, re.MULTILINE)
    assert told and set(options) < set(shlex.split(told[1]))
    code, said = ended(process(folder, *shlex.split(told[1])))
    assert code == 0, said
    assert out.read_bytes() == (folder / "whole.png").read_bytes()
    assert not checkpoint_path(out).exists()
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [e["step"] for e in events if e["event"] == "step"] == list(range(1, 61))
    assert [e["event"] for e in events if e["event"] != "step"] == ["start", "end", "resume", "end"]
    before, after = (events[i]["seconds"] for i in (stop_after, -1))
    assert 0 < before < after


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_killed_run_loses_no_more_than_one_interval(folder: Path, seed: int):
    """SIGKILL at a random moment, the moment of writing among them: a state is saved after every step."""
    out, log = folder / f"killed{seed}.png", folder / f"killed{seed}.jsonl"
    moment = random.Random(seed)
    killed = process(folder, *words(folder, out.name, 60, "--checkpoint-every", "1", "--log", str(log)))
    wait_for(killed, lambda: checkpoint_path(out).exists())
    time.sleep(moment.uniform(0, 0.5))
    killed.kill()
    ended(killed)
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines() if '"step"' in line and line[-1] == "}"]
    if not checkpoint_path(out).exists():
        assert out.read_bytes() == (folder / "whole.png").read_bytes()
        return
    assert read_header(checkpoint_path(out)).steps >= len(steps) - 1
    code, said = ended(process(folder, "resume", str(out)))
    assert code == 0, said
    assert out.read_bytes() == (folder / "whole.png").read_bytes()


@pytest.fixture(scope="module")
def stopped(folder: Path) -> bytes:
    """The file of a run that stopped after some steps."""
    interrupted = process(folder, *words(folder, "stopped.png", 3000, "--checkpoint-every", "2"))
    wait_for(interrupted, checkpoint_path(folder / "stopped.png").exists)
    interrupted.send_signal(signal.SIGTERM)
    assert ended(interrupted)[0] == 130
    return checkpoint_path(folder / "stopped.png").read_bytes()


@pytest.fixture
def refused(folder: Path, stopped: bytes, capsys: pytest.CaptureFixture[str]):
    def refuse(data: bytes) -> str:
        path = folder / "broken.png.run"
        path.write_bytes(data)
        assert main(["resume", str(path)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("stylejax: error: ") and error.count("\n") == 1
        assert not (folder / "broken.png").exists()
        return error

    return refuse


def test_files_that_are_no_runs_are_refused(refused, stopped: bytes, folder: Path):
    assert "is not a checkpoint, or is damaged" in refused(b"")
    assert "is not a checkpoint, or is damaged" in refused(stopped[: len(stopped) // 2])
    assert "is not a checkpoint, or is damaged" in refused((folder / "c.png").read_bytes())


def test_a_flipped_bit_is_noticed(refused, stopped: bytes):
    middle = len(stopped) // 2
    damaged = stopped[:middle] + bytes([stopped[middle] ^ 1]) + stopped[middle + 1 :]
    assert "the SHA-256 of its arrays differs" in refused(damaged)


def with_changes(
    path: Path, stopped: bytes, header: dict[str, Any], arrays: dict[str, np.ndarray] | None = None
) -> bytes:
    """The file with other fields in its header, or with other arrays, in the same format."""
    path.write_bytes(stopped)
    with safe_open(path, framework="numpy") as file:
        metadata, stored = file.metadata(), dict(zip(names := file.keys(), map(file.get_tensor, names), strict=True))
    metadata["run"] = json.dumps(json.loads(metadata["run"]) | header)
    return save(stored | (arrays or {}), metadata)


def test_a_state_of_another_run_is_refused(refused, stopped: bytes, tmp_path: Path):
    other = with_changes(tmp_path / "a.run", stopped, {}, {"state0": np.zeros(3, np.float32)})
    assert "an array has another shape" in refused(other)


def test_changed_inputs_are_not_resumed(folder: Path, stopped: bytes, capsys: pytest.CaptureFixture[str]):
    before = (folder / "s.png").read_bytes()
    try:
        (folder / "s.png").write_bytes((folder / "c.png").read_bytes())
        assert main(["resume", str(folder / "stopped.png")]) == 2
        assert "is not the style 's.png' that the image was made from: its hash differs" in capsys.readouterr().err
    finally:
        (folder / "s.png").write_bytes(before)


def test_what_is_missing_is_said(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["resume", str(folder / "nothing.png")]) == 2
    assert "nothing.png.run does not exist; give the checkpoint of an interrupted run" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_saved_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """The folder is taken away while the run goes on."""
    from stylejax.images import io as images

    gone, elsewhere = folder / "gone", folder / "elsewhere"
    gone.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    write = images.write_image

    def taken_away(path, *picture):
        if gone.exists():
            gone.rmdir()
        write(path, *picture)

    monkeypatch.setattr(images, "write_image", taken_away)
    assert main(words(folder, "gone/out.png", 2, "--checkpoint-every", "0")) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    (saved,) = elsewhere.iterdir()
    assert error.endswith(f"the image was saved as {saved}")
    assert read_image(saved).shape == (40, 48, 3)


def test_a_full_disk_ends_the_log_and_not_the_run(tmp_path: Path):
    from stylejax.runs.event_log import RunLog

    said: list[str] = []
    log = RunLog(tmp_path / "a.jsonl", warn=said.append)
    log.write("start")
    assert log.file is not None
    log.file.close()
    log.file = open("/dev/full", "w")  # noqa: SIM115
    for _ in range(3):
        log.write("step")
    log.close()
    assert len(said) == 1 and "the log ends here, and the run continues" in said[0]


@pytest.fixture
def keeper(stopped: bytes, folder: Path):
    """Keeps a state of three numbers, of a run as it was described by another."""
    position = read_header(checkpoint_path(folder / "stopped.png"))

    def make(path: Path, every: int | None, warn=print) -> CheckpointWriter:
        return CheckpointWriter(path, position.provenance, position.input_paths, every, warn)

    return make


def state(step: int) -> Checkpoint:
    return Checkpoint(0, LoopState(np.zeros(3), START), step, step)


def test_a_state_that_cannot_be_saved_stops_nothing(keeper, tmp_path: Path):
    said: list[str] = []
    missing = keeper(tmp_path / "missing" / "a.run", 1, said.append)
    missing.save(state(1))
    assert len(said) == 1 and "the checkpoint was not saved, and the run continues" in said[0]
    assert not missing.owned


def test_two_runs_leave_each_other_their_states(keeper, tmp_path: Path):
    said: list[str] = []
    path = tmp_path / "a.run"
    first, second = keeper(path, 1), keeper(path, 1, said.append)
    first.save(state(1))
    before = path.read_bytes()
    second.save(state(2))
    second.remove()
    assert path.read_bytes() == before and len(said) == 1 and "is another file now" in said[0]
    first.save(state(2))
    assert path.read_bytes() != before
    first.remove()
    assert not path.exists()


def test_states_are_saved_every_so_many_steps_or_never(keeper, tmp_path: Path):
    for every, expected in ((3, [3, 6, 9]), (0, []), (None, [])):
        here, found = keeper(tmp_path / "a.run", every), []
        for step in range(1, 11):
            here.remove()
            here.save(state(step))
            if here.path.exists():
                found.append(step)
        assert found == expected


def test_by_default_states_are_saved_by_the_clock(keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """After 30 seconds; after a write of 5 seconds not before 100 have passed."""
    clock = {"now": 0.0}
    monkeypatch.setattr(run_files.time, "monotonic", lambda: clock["now"])
    slow = run_files.write_checkpoint

    def write(*arguments):
        slow(*arguments)
        clock["now"] += 5

    monkeypatch.setattr(run_files, "write_checkpoint", write)
    here, found = keeper(tmp_path / "a.run", None), []
    for now in range(10, 300, 10):
        clock["now"] = max(clock["now"], float(now))
        here.remove()
        here.save(state(now))
        if here.path.exists():
            found.append(now)
    assert found == [30, 140, 250]


def test_a_header_is_validated_field_by_field(refused, stopped: bytes, tmp_path: Path):
    """Paths and numbers of another type, and unknown fields."""
    path = tmp_path / "a.run"
    path.write_bytes(stopped)
    with safe_open(path, framework="numpy") as file:
        sound = json.loads(file.metadata()["run"])
    for change, reason in (
        ({"steps": -1}, "steps: Expected `int` >= 0"),
        ({"input_paths": sound["input_paths"] | {"content": 7}}, "input_paths.content: Expected `str`, got `int`"),
        ({"provenance": sound["provenance"] | {"config": None}}, "provenance.config: Expected `object`, got `null`"),
        ({"do": "harm"}, "it has 'do', which this version of stylejax does not know"),
        ({"format": "stylejax run 9"}, "format: Invalid enum value 'stylejax run 9'"),
        ({"scale": 99}, "its scale must be below 3, got 99"),
        ({"seconds": -5.0}, "seconds: Expected `float` >= 0"),
        ({"seconds": 1e300}, "seconds: Expected `float` <= 10000000000.0"),
    ):
        assert reason in refused(with_changes(path, stopped, change))


STEPS, LOSS = "its numbers of steps do not fit its schedule", "its loss is not that of its arrays"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"steps": 10**15}, STEPS),
        ({"steps": 10**15, "steps_in_scale": 10**15}, STEPS),
        (dict.fromkeys(("steps", "evaluations", "steps_in_scale", "evaluations_in_scale"), 10**15), STEPS),
        (dict.fromkeys(("steps", "evaluations", "steps_in_scale", "evaluations_in_scale"), 0), STEPS),
        ({"evaluations": 7000}, STEPS),
        ({"evaluations_in_scale": 7000}, STEPS),
        ({"scale": 1}, "an array has another shape"),
        ({"value": -1.0}, LOSS),
        ({"value": None}, LOSS),
        ({"terms": None}, LOSS),
        ({"first_value": -1.0}, "its first loss is below its minimum"),
        ({"first_value": None}, "its first loss is below its minimum"),
        ({"terms": {"content": {"conv9_9": 1.0}, "style": {}, "tv": 0.0}}, "loss terms have other layers"),
        ({"terms": {"content": {"conv2_1": None}, "style": {}, "tv": 0.0}}, "loss terms have other layers"),
    ],
)
def test_a_position_that_contradicts_itself_is_refused(
    refused, stopped: bytes, tmp_path: Path, change: dict[str, Any], reason: str
):
    assert reason in refused(with_changes(tmp_path / "a.run", stopped, change))


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [("f", np.nan, "values that are not numbers"), ("i", -1, "a count in its arrays"), ("i", 10**9, "a count in its")],
)
def test_arrays_of_no_run_are_refused(refused, stopped: bytes, tmp_path: Path, kind: str, value: float, reason: str):
    """Their hash is right: the file was written so."""
    path = tmp_path / "a.run"
    path.write_bytes(stopped)
    with safe_open(path, framework="numpy") as file:
        names = file.keys()
        arrays = {n: file.get_tensor(n) for n in sorted(names, key=lambda n: int(n.removeprefix("state")))}
        metadata = file.metadata()
    arrays = {n: np.full_like(a, value) if a.dtype.kind == kind else a for n, a in arrays.items()}
    metadata["sha256"] = run_files._arrays_hash(arrays)
    assert reason in refused(save(arrays, metadata))
