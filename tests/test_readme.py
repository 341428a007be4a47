"""The README's commands and code blocks run."""

import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import stylejax
from stylejax.cli.main import parse
from stylejax.models.weights_file import save_weights

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_blocks_run(tmp_path, monkeypatch, narrow_parameters, photo, artwork, capsys):
    """With a narrow network and few steps in place of the real ones; nothing else is changed."""
    monkeypatch.chdir(tmp_path)
    stylejax.write_image("photo.jpg", photo)
    stylejax.write_image("painting.jpg", artwork)
    save_weights("narrow.h5", narrow_parameters)
    first, second, third = blocks("python")
    short = first.replace("size=512", "size=32, steps=3, weights='narrow.h5'")
    assert short != first
    exec(compile(short, "README", "exec"), {})
    assert stylejax.read_image("picture.png").shape == (27, 32, 3)
    names = {}
    exec(compile(second, "README", "exec"), names)
    assert np.isfinite(names["solution"].value)
    assert isinstance(names["solution"].params, jax.Array)
    exec(compile(third, "README", "exec"), names)
    assert names["swept"].images.shape == (3, 64, 64, 3)
    assert np.isfinite(names["swept"].losses).all()


def test_the_commands_parse():
    commands = [line.split("#")[0] for block in blocks("sh") for line in block.splitlines()]
    verbs = [shlex.split(line)[1:] for line in commands if line.startswith("stylejax")]
    assert verbs
    for words in verbs:
        assert callable(parse(words))


@pytest.mark.parametrize("script", ["scripts/demo.py", "scripts/test.py"])
def test_the_two_commands_are_there(script):
    assert f"python3 {script}" in README
    compile((ROOT / script).read_text(encoding="utf-8"), script, "exec")


def test_the_files_it_links_to_exist():
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_options_it_names_exist(capsys):
    for verb in ("transfer", "sweep"):
        with pytest.raises(SystemExit):
            parse([verb, "--help"])
    text = capsys.readouterr().out
    for option in set(re.findall(r"`(--[a-z-]+)", README)):
        assert option in text, option


def test_the_paper_in_one_file_lowers_the_loss(tmp_path, monkeypatch, narrow_parameters, photo, artwork, capsys):
    monkeypatch.chdir(tmp_path)
    stylejax.write_image("photo.png", photo)
    stylejax.write_image("painting.png", artwork)
    save_weights("narrow.h5", narrow_parameters._replace(normalized=True))
    source = (ROOT / "scripts" / "paper.py").read_text(encoding="utf-8")
    assert source.count("\n") <= 60
    names: dict[str, Any] = {"__name__": "paper"}
    exec(compile(source, "paper.py", "exec"), names)
    names["main"]("photo.png", "painting.png", "out.png", "48", "8", "narrow.h5")
    losses = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 8 and losses[-1] < losses[0] / 2
    assert stylejax.read_image("out.png").shape == (40, 48, 3)


def test_every_public_name_is_listed_by_the_first_line_of_its_docstring():
    lines = [
        line for line in (ROOT / "docs" / "api.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    ]
    first = {name: (inspect.getdoc(getattr(stylejax, name)) or "").splitlines()[0] for name in dir(stylejax)}
    assert sorted(lines) == sorted(f"| `{name}` | {line.replace('|', chr(92) + '|')} |" for name, line in first.items())
