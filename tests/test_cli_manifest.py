"""`rerun` and `verify`: a picture is made again from itself, bit for bit; and what its manifest says is not believed."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import noise_image
from PIL import Image as Pillow

from stylejax.cli.main import main
from stylejax.images.io import FORMATS
from stylejax.images.metadata import metadata_save_kwargs, read_metadata
from stylejax.models.architecture import random_weights
from stylejax.models.weights_file import save_weights
from stylejax.runs.manifest import decode, read
from stylejax.synthesis.transfer import run_plan

ROOT = Path(__file__).parent.parent
QUICK = ("--size", "32", "--steps", "3", "--content-layers", "conv2_1", "--style-layers", "conv1_1,conv2_1")
PROGRAM = "import sys; from stylejax.cli.main import entry; sys.argv[0] = 'stylejax'; entry()"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A content, two styles, a first image and a narrow network."""
    folder = tmp_path_factory.mktemp("inputs")
    shapes = {"c.png": (40, 48), "s.png": (36, 33), "t.png": (32, 64), "first.png": (20, 24)}
    for seed, (name, shape) in enumerate(shapes.items()):
        noise_image(*shape, seed).save(folder / name)
    for name, box in (("left.png", (0, 0, 24, 40)), ("top.png", (0, 0, 48, 20))):
        mask = Pillow.new("L", (48, 40))
        mask.paste(255, box)
        mask.save(folder / name)
    save_weights(folder / "net.h5", random_weights("vgg19", 0, (4, 4, 4, 4, 4)))
    return folder


@pytest.fixture
def folder(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def known() -> dict[tuple[str, ...], dict[str, bytes]]:
    """Files of earlier runs, so that the same words are not run twice."""
    return {}


@pytest.fixture
def made(folder: Path, known: dict) -> Callable[..., Path]:
    """A picture as `stylejax transfer` makes it."""

    def make(out: str = "out.png", *more: str) -> Path:
        words, path = ("transfer", "c.png", "s.png", "-o", out, "--weights", "net.h5", *QUICK, *more), folder / out
        if words not in known:
            assert main(words) == 0
            known[words] = {name: (folder / name).read_bytes() for name in (out, path.with_suffix(".json").name)}
        for name, data in known[words].items():
            (folder / name).write_bytes(data)
        return path

    return make


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Exit code and standard output of a command."""

    def say(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(list(words))
        return code, capsys.readouterr().out

    return say


@pytest.fixture
def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line with which a command refuses; nothing has changed then."""

    def refuse(*words: str) -> str:
        before = contents(folder)
        capsys.readouterr()
        assert main(list(words)) == 2
        told = capsys.readouterr()
        assert told.out == "" and told.err.count("\n") == 1 and told.err.startswith("stylejax: error: ")
        assert contents(folder) == before
        return told.err

    return refuse


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def pixels(path: Path | str) -> np.ndarray:
    with Pillow.open(path) as image:
        return np.asarray(image.convert("RGB"))


def retold(path: Path, change: Callable[[dict], Any]) -> Path:
    """The same pixels with another manifest."""
    text = read_metadata(path)
    assert text
    tree = json.loads(text)
    change(tree)
    Pillow.fromarray(pixels(path)).save(path, **metadata_save_kwargs(FORMATS[path.suffix], json.dumps(tree)))
    return path


# Files of a run


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_every_picture_says_how_it_was_made(made, folder: Path, suffix: str):
    out = made(f"out{suffix}", "--seed", "7")
    lying = decode((folder / "out.json").read_text("utf-8"), "out.json")
    assert lying.provenance.config.seed == 7 and lying.provenance.content.name == "c.png"
    assert lying.outcome.seconds and (lying.outcome.width, lying.outcome.height) == (32, 27)
    if suffix != ".bmp":
        assert decode(read_metadata(out) or "", "out") == replace(lying, outcome=replace(lying.outcome, seconds=None))
    for path in (folder, Path.home(), Path(sys.prefix)):
        for file in (out, folder / "out.json"):
            assert str(path).encode() not in file.read_bytes()


def test_without_metadata_the_picture_says_nothing_and_the_file_beside_it_all(made, folder: Path, said):
    out = made("out.png", "--no-metadata")
    assert (
        read_metadata(out) is None and b"iTXt" not in out.read_bytes() and read(out).provenance.content.name == "c.png"
    )
    assert said("verify", "out.png") == (0, "out.png: the repeat is the same bit for bit\n")
    (folder / "out.json").unlink()
    assert main(["verify", "out.png"]) == 2


def test_the_same_run_gives_the_same_file(made, folder: Path):
    assert made("a.png").read_bytes() == made("b.png").read_bytes()


def test_a_file_that_is_no_manifest_is_not_replaced(folder: Path, refused, monkeypatch: pytest.MonkeyPatch):
    (folder / "out.json").write_text('{"mine": true}')
    monkeypatch.setattr("stylejax.models.pretrained.load_pretrained", must_not_be_called)
    assert "out.json: something else has that name" in refused("transfer", "c.png", "s.png", "-o", "out.png")


def test_the_log_is_not_the_manifest(refused):
    words = ("transfer", "c.png", "s.png", "-o", "out.png", "--log", "out.json")
    assert "cannot write the log out.json: the run uses this file otherwise" in refused(*words)


def must_not_be_called(*_: Any, **__: Any) -> None:
    raise AssertionError("the work has begun")


# Repeats

RUNS = {
    "plain": (),
    "noise": ("--init", "noise", "--seed", "5", "--scales", "16"),
    "a first image": ("--init", "first.png"),
    "adam": ("--optimizer", "adam", "--pooling", "max", "--padding", "circular"),
    "layers": ("--style-layers", "conv1_1,relu2_1", "--content-layers", "conv3_1", "--tv-weight", "0.5"),
}


@pytest.mark.parametrize(
    "words", [pytest.param(w, id=n, marks=[pytest.mark.slow] * (n in ("noise", "layers"))) for n, w in RUNS.items()]
)
def test_a_rerun_has_the_same_pixels_and_the_same_recipe(made, words: tuple[str, ...]):
    out = made("out.png", *words)
    assert main(["rerun", "out.png"]) == 0
    np.testing.assert_array_equal(pixels("out-rerun.png"), pixels(out))
    first, second = read(out), read(Path("out-rerun.png"))
    assert (first.provenance, first.outcome) == (second.provenance, second.outcome)
    assert main(["rerun", "out-rerun.png", "-o", "third.tif"]) == 0
    np.testing.assert_array_equal(pixels("third.tif"), pixels(out))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".bmp"])
def test_a_picture_of_any_kind_is_verified(made, folder: Path, said, suffix: str):
    made(f"out{suffix}")
    before = contents(folder)
    assert said("verify", f"out{suffix}") == (0, f"out{suffix}: the repeat is the same bit for bit\n")
    assert contents(folder) == before


def test_several_styles_and_a_reconstruction_are_verified(folder: Path, said):
    net = ("--weights", "net.h5", *QUICK)
    assert main(["transfer", "c.png", "s.png", "t.png", "-o", "a.png", *net]) == 0
    assert main(["reconstruct", "content", "c.png", "--layer", "conv2_1", "-o", "b.png", *net[:6]]) == 0
    for name in ("a.png", "b.png"):
        assert said("verify", name) == (0, f"{name}: the repeat is the same bit for bit\n")


def test_masks_are_inputs_like_any_other(folder: Path, said, refused):
    """They are found by their names, known by their hashes, given by their options, and not written over."""
    words = ("--content-masks", "left.png", "--preserve-mask", "top.png", "--style-layers", "conv1_1,conv2_1")
    mixed = ("--style-weights", "2,1", "--style-scale", "1,0.5", "--color", "match")
    command = ["transfer", "c.png", "s.png", "t.png", "-o", "out.png", "--weights", "net.h5", *QUICK, *words, *mixed]
    assert main([*command, "--log", "run.jsonl"]) == 0
    assert said("verify", "out.png") == (0, "out.png: the repeat is the same bit for bit\n")
    step = json.loads((folder / "run.jsonl").read_text().splitlines()[1])
    assert set(step["style"]) == {"conv1_1/1", "conv1_1/2", "conv2_1/1", "conv2_1/2"}
    assert "the run uses this file otherwise" in refused("rerun", "out.png", "-o", "left.png")
    assert "the run uses this file otherwise" in refused(*command, "--log", "top.png")
    (folder / "left.png").rename(folder / "l.png")
    assert "the content-masks 'left.png' is neither beside" in refused("verify", "out.png")
    assert "1 content masks; --content-masks names 2" in refused("verify", "out.png", "--content-masks", "l.png,l.png")
    assert "top.png is not the content-masks 'left.png'" in refused("verify", "out.png", "--content-masks", "top.png")
    assert main(["rerun", "out.png", "--content-masks", "l.png"]) == 0
    np.testing.assert_array_equal(pixels("out-rerun.png"), pixels("out.png"))


def test_random_weights_are_known_by_their_seed(folder: Path, said, monkeypatch: pytest.MonkeyPatch, refused):
    def narrow(network: str, seed: int) -> Any:
        return random_weights(network, seed, (4, 4, 4, 4, 4))

    monkeypatch.setattr("stylejax.models.pretrained.random_weights", narrow)
    assert main(["transfer", "c.png", "s.png", "-o", "out.png", "--weights", "random", "--seed", "3", *QUICK]) == 0
    assert said("verify", "out.png")[0] == 0
    retold(Path("out.png"), lambda tree: tree["provenance"]["config"].update(seed=4))
    assert "the weights random are not the vgg19 that the image was made with" in refused("verify", "out.png")


def test_inputs_are_found_beside_the_picture_or_in_the_current_folder(made, folder: Path, tmp_path_factory, said):
    out = made()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    os.chdir(elsewhere)
    assert said("verify", str(out))[0] == 0
    os.chdir(folder)
    shutil.move(out, elsewhere / "out.png")
    assert said("verify", str(elsewhere / "out.png"))[0] == 0
    # A file of the right name and another content does not hide the right one.
    noise_image(40, 48, 9).save(elsewhere / "c.png")
    assert said("verify", str(elsewhere / "out.png"))[0] == 0


def test_inputs_of_other_names_can_be_given(made, folder: Path, refused, said):
    made("out.png", "--init", "first.png")
    renamed = {"c.png": "content.png", "s.png": "style.png", "first.png": "f.png", "net.h5": "n.h5"}
    for old, new in renamed.items():
        (folder / old).rename(folder / new)
    words = ["rerun", "out.png"]
    for option, what in (("content", "content 'c.png'"), ("style", "style 's.png'"), ("init", "init 'first.png'")):
        line = refused(*words)
        name = {"content": "content.png", "style": "style.png", "init": "f.png"}[option]
        # The weights are looked for before the first image.
        if option == "init":
            assert "the weights file 'net.h5' is neither beside the image nor in the current folder" in line
            words += ["--weights", "n.h5"]
            line = refused(*words)
        assert f"the {what} is neither beside the image nor in the current folder; give the right one with" in line
        words += [f"--{option}", name]
    assert main(words) == 0
    assert said("verify", *words[1:])[0] == 0
    np.testing.assert_array_equal(pixels("out.png"), pixels("out-rerun.png"))


def test_inputs_that_are_others_are_refused(made, folder: Path, refused):
    made("out.png", "--init", "first.png")
    save_weights(folder / "other.h5", random_weights("vgg19", 1, (4, 4, 4, 4, 4)))
    for verb in ("rerun", "verify"):
        assert "t.png is not the content 'c.png' that the image was made from: its hash differs" in refused(
            verb, "out.png", "--content", "t.png"
        )
        assert "c.png is not the style 's.png'" in refused(verb, "out.png", "--style", "c.png")
        assert "was made from 1 styles; --style names 2" in refused(verb, "out.png", "--style", "s.png", "t.png")
        assert "t.png is not the init 'first.png'" in refused(verb, "out.png", "--init", "t.png")
        assert "nothing.png does not exist; give the right one with --content FILE" in refused(
            verb, "out.png", "--content", "nothing.png"
        )
        line = refused(verb, "out.png", "--weights", "other.h5")
        assert "the weights other.h5 are not the vgg19 that the image was made with (random numbers of seed 0)" in line
    shutil.copy(folder / "other.h5", folder / "net.h5")
    assert "net.h5 is not the weights file 'net.h5' that the image was made from" in refused("verify", "out.png")
    (folder / "c.png").write_bytes((folder / "t.png").read_bytes())
    assert "c.png is not the content 'c.png' that the image was made from" in refused("rerun", "out.png")


# Output of a rerun


def test_a_rerun_takes_no_other_file_s_place(made, folder: Path, refused):
    made("out.png", "--init", "first.png")
    for name in ("out.png", "./c.png", "s.png", str(folder / "first.png")):
        line = refused("rerun", "out.png", "-o", name)
        assert f"cannot write the image {Path(name)}: the run uses this file otherwise; name another one" in line
    (folder / "link.png").symlink_to("c.png")
    assert "the run uses this file otherwise" in refused("rerun", "out.png", "-o", "link.png")
    (folder / "out-rerun.png").write_bytes(b"precious")
    assert "out-rerun.png exists; name another file with -o" in refused("rerun", "out.png")
    (folder / "new.json").write_text("precious")
    assert "new.json: something else has that name" in refused("rerun", "out.png", "-o", "new.png")


def test_a_manifest_cannot_choose_what_is_written(made, folder: Path, refused):
    out = made()
    (folder / "c.png").rename(folder / "out-rerun.png")
    retold(out, lambda tree: tree["provenance"]["content"].update(name="out-rerun.png"))
    assert "out-rerun.png exists; name another file with -o" in refused("rerun", "out.png")
    assert "the run uses this file otherwise" in refused("rerun", "out.png", "-o", "out-rerun.png")


# Pictures and manifests that were changed


def test_a_changed_pixel_is_noticed_without_a_run(made, said, monkeypatch: pytest.MonkeyPatch):
    text, image = read_metadata(made()) or "", pixels("out.png").copy()
    image[3, 4, 1] ^= 1
    Pillow.fromarray(image).save("out.png", **metadata_save_kwargs("PNG", text))
    monkeypatch.setattr("stylejax.models.pretrained.load_pretrained", must_not_be_called)
    reason = "out.png: changed since it was made; its pixels do not match its manifest\n"
    assert said("verify", "out.png") == (1, reason)
    Pillow.fromarray(image[1:]).save("out.jpg", **metadata_save_kwargs("JPEG", text))
    assert said("verify", "out.jpg") == (1, reason.replace("png", "jpg"))


def test_a_changed_jpeg_is_noticed_by_its_run(made, said):
    text, image = read_metadata(made("out.jpg")) or "", pixels("out.jpg").copy()
    image[:8, :8] = 255 - image[:8, :8]
    Pillow.fromarray(image).save("out.jpg", quality=95, subsampling=0, **metadata_save_kwargs("JPEG", text))
    code, line = said("verify", "out.jpg")
    assert code == 1 and "though its pixels before compression are the same" in line


def test_how_far_a_repeat_is_from_the_picture(made, said):
    out, other = made("out.png", "--init", "noise"), made("other.png", "--init", "noise", "--seed", "9")
    retold(out, lambda tree: tree["provenance"]["config"].update(seed=9))
    apart = np.abs(pixels(out).astype(float) - pixels(other))
    assert apart.max() > 0
    told = f"at most {apart.max():.0f} of 255 levels, {apart.mean():.2g} on average, {(apart > 0).mean():.2%} of the"
    line = f"out.png: the repeat differs: {told} values; nothing that the manifest records is different here\n"
    assert said("verify", "out.png") == (1, line)


def test_what_is_different_here_is_named(made, said):
    def elsewhere(tree: dict) -> None:
        tree["provenance"]["environment"]["versions"]["jax"] = "0.0.1"
        tree["provenance"]["environment"]["device"]["kind"] = "NVIDIA H100"

    retold(made("out.png", "--init", "noise"), elsewhere)
    code, line = said("verify", "out.png")
    assert code == 0
    assert re.fullmatch(r"out.png: .* same bit for bit; here jax 0.0.1 → [\d.]+, device kind NVIDIA H100 → .*\n", line)
    retold(Path("out.png"), lambda tree: tree["provenance"]["config"].update(seed=9))
    code, line = said("verify", "out.png")
    assert code == 1 and re.search(r"on average, [\d.]+% of the values; here jax 0.0.1 → ", line)


def test_a_hash_that_does_not_fit_a_jpeg_is_noticed(made, said):
    out = made("out.jpg")
    out.write_bytes(out.read_bytes().replace(read(out).outcome.sha256.encode(), b"0" * 64))
    code, line = said("verify", "out.jpg")
    assert code == 1 and "not in the file, but in its pixels before compression" in line


def test_an_interrupted_run_is_verified_as_far_as_it_went(made, said, monkeypatch, capsys: pytest.CaptureFixture[str]):
    whole_run, longer = run_plan, ("--init", "noise", "--steps", "5")

    def cut(*images: Any, callback: Callable, **options: Any) -> Any:
        return whole_run(*images, callback=lambda step: callback(step) or step.step >= 2, **options)

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["stylejax.synthesis.transfer"], "run_plan", cut)
        assert main(["transfer", "c.png", "s.png", "-o", "out.png", "--weights", "net.h5", *QUICK, *longer]) == 130
    whole = made("whole.png", *longer)
    assert read(Path("out.png")).outcome.interrupted and read(Path("out.png")).outcome.steps == 2
    assert (pixels(whole) != pixels("out.png")).any()
    assert said("verify", "out.png") == (0, "out.png: the repeat is the same bit for bit\n")
    assert main(["rerun", "out.png"]) == 0
    assert "note: out.png was interrupted after 2 of 5 steps; this run does all of them" in capsys.readouterr().err
    np.testing.assert_array_equal(pixels("out-rerun.png"), pixels(whole))


@pytest.mark.parametrize("verb", ["rerun", "verify"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tree: tree["provenance"]["content"].update(name="../c.png"), "Expected `str` of another form"),
        (lambda tree: tree["provenance"]["weights"].update(file="/etc/passwd"), "Expected `str` of another form"),
        (
            lambda tree: tree["provenance"].update(init={"name": "c.png", "sha256": None}),
            "provenance has 'init', which this",
        ),
        (
            lambda tree: tree["provenance"]["files"].update(init=[{"name": "/dev/zero", "sha256": None}]),
            "Expected `str` of",
        ),
        (
            lambda tree: tree["provenance"]["config"].update(init="/dev/zero"),
            "provenance.files does not list it",
        ),
        (lambda tree: tree["provenance"]["config"].update(weights="../net.h5"), None),
        (lambda tree: tree["provenance"]["config"].update(size=10**9), "predict|memory"),
        (lambda tree: tree["provenance"]["config"].update(style_layers=["conv9_9"]), "unknown layer 'conv9_9'"),
        (
            lambda tree: tree["provenance"].update(out="/tmp/x"),
            "provenance has 'out', which this version of stylejax does not",
        ),
        (lambda tree: tree["provenance"]["content"].update(sha256=None), "was not read from a regular file"),
        (lambda tree: tree.update(format="other"), "format must be 'stylejax-manifest 1'"),
    ],
)
def test_a_hostile_manifest_is_refused_in_one_line(made, refused, said, folder: Path, verb: str, change, reason):
    retold(made(), change)
    if reason is None:
        # The name in the config is not looked at where a file is named.
        assert main([verb, "out.png"]) == 0
    else:
        assert re.search(reason, refused(verb, "out.png"))


def test_flags_of_a_manifest_are_not_set(made, said, monkeypatch: pytest.MonkeyPatch):
    retold(made(), lambda tree: tree["provenance"]["environment"].update(xla_flags="--xla_dump_to=. --xla_unknown"))
    before = dict(os.environ)
    code, line = said("verify", "out.png")
    assert code == 0 and "here xla flags --xla_dump_to=. --xla_unknown → " in line
    assert dict(os.environ) == before


@pytest.mark.parametrize("verb", ["rerun", "verify"])
def test_a_picture_without_a_manifest_is_refused(folder: Path, refused, verb: str):
    line = refused(verb, "c.png")
    assert "c.png has no manifest, and there is no c.json beside it: it was not made by stylejax" in line
    assert "nothing.png does not exist" in refused(verb, "nothing.png")
    assert "net.h5 is not a PNG" in refused(verb, "net.h5")


def test_a_name_without_a_suffix_is_refused(made, folder: Path, refused):
    made().rename(folder / "out")
    assert "the name of out should end in one of .png" in refused("verify", "out")


# As processes


def process(folder: Path, *words: str) -> tuple[int, str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(
        command, cwd=folder, env=kept | {"PYTHONPATH": str(ROOT)}, capture_output=True, encoding="utf-8"
    )
    return done.returncode, done.stdout, done.stderr


def test_two_processes_make_the_same_pixels(folder: Path, refused):
    words = ("transfer", "c.png", "s.png", "-o", "out.png", "--weights", "net.h5", *QUICK)
    assert process(folder, *words, "--deterministic")[0] == 0
    assert read(folder / "out.png").provenance.environment["xla_flags"] == "--xla_gpu_deterministic_ops=true"
    # A deterministic run is repeated deterministically without being told.
    assert process(folder, "verify", "out.png")[:2] == (0, "out.png: the repeat is the same bit for bit\n")
    assert "--deterministic must be set before jax starts" in refused("rerun", "out.png")


def test_it_is_too_late_where_jax_has_started(refused):
    import jax

    jax.devices()
    line = refused("transfer", "c.png", "s.png", "-o", "out.png", "--weights", "net.h5", *QUICK, "--deterministic")
    assert "--deterministic must be set before jax starts" in line
