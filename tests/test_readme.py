"""The commands, options, links and code blocks of the README and of the pages of docs/ are right, and the site is whole."""

import importlib.util
import inspect
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import jax
import numpy as np
import pytest
import tyro

import stylejax
from stylejax.cli.main import parse
from stylejax.cli.parsing import OTHER_NAMES
from stylejax.models.weights_file import save_weights

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SMALL = "size=32, steps=3, scales='1', weights='narrow.h5', content_layers=('conv2_1',), style_layers=('conv1_1', 'conv2_1')"
README, *DOCS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z_-]+")
FOREIGN = re.compile(r"^\| (?=`-[a-z]|\| )(.*)\|([^|\n]*)\|$", re.MULTILINE)
"""A row of the table of other programs: their options, and ours."""

every_page = pytest.mark.parametrize("page", [README, *DOCS], ids=lambda page: page.name)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def run_blocks(page: Path) -> dict[str, Any]:
    """Run the Python blocks of a page in turn, small and shallow; nothing else is changed. Return what they define."""
    names: dict[str, Any] = {}
    for block in blocks(page, "python"):
        exec(compile(block.replace("size=512", SMALL), page.name, "exec"), names)
    return names


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, narrow_parameters: Any, photo: Any, artwork: Any) -> None:
    """A folder with the files that the blocks read, and stand-ins for the trackers, which are not installed."""
    for tracker in ("tensorboardX", "wandb"):
        monkeypatch.setitem(sys.modules, tracker, MagicMock())
    monkeypatch.chdir(tmp_path)
    stylejax.write_image("photo.jpg", photo)
    stylejax.write_image("painting.jpg", artwork)
    save_weights("narrow.h5", narrow_parameters)


def test_the_python_of_the_readme_runs(files: None, capsys: pytest.CaptureFixture[str]):
    names = run_blocks(README)
    assert stylejax.read_image("picture.png").shape == (27, 32, 3)
    assert np.isfinite(names["result"].loss)


def test_the_python_of_the_pages_runs(files: None, capsys: pytest.CaptureFixture[str]):
    pages = {page.stem: run_blocks(page) for page in DOCS if blocks(page, "python")}
    assert pages["paper"]["A"].shape == (8, 8)
    names = pages["python"]
    assert len(names["losses"]) == 3 and names["result"].image.shape == (27, 32, 3)
    assert isinstance(names["solution"].params, jax.Array) and np.isfinite(names["solution"].value)
    assert names["swept"].images.shape == (3, 64, 64, 3)
    assert np.isfinite(names["swept"].losses).all()
    assert (np.diff(names["values"]) > 0).all()
    names = pages["trackers"]
    assert [call.kwargs.get("step") for call in names["run"].log.call_args_list] == [1, 2, 3, None]
    assert names["board"].add_scalar.call_count == 3 * 3 and names["board"].add_image.call_count == 1
    whole = stylejax.minimize(*names["problem"], steps=6)
    np.testing.assert_array_equal(names["resumed"].params, whole.params)
    assert names["value"] == stylejax.objective(names["photo"], *names["problem"][3])[0]


@every_page
def test_the_commands_are_right(page: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    extras = PROJECT["optional-dependencies"]
    for line in (line for block in blocks(page, "sh") for line in block.splitlines()):
        match shlex.split(line, comments=True):
            case ["stylejax", *words]:
                assert callable(parse(words))
            case ["pip", "install", target]:
                assert target[0] == "." and set(target[2:-1].split(",")) <= set(extras)
            case ["python" | "python3", script, *words]:
                check_script(ROOT / script, words)
            case other:
                pytest.fail(f"unknown command {other}")


def check_script(script: Path, words: Sequence[str]) -> None:
    """Parse the words with the parser of a script, if they are any."""
    assert script.is_file()
    parsers: list[Any] = []
    if words:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedError):
            patch.setattr(tyro, "cli", lambda command, **_: parsers.append(command) or interrupt())
            runpy.run_path(str(script), run_name="__main__")
        assert tyro.extras.get_parser(parsers[0]).parse_args(words)


def interrupt() -> None:
    raise InterruptedError


@pytest.mark.parametrize("script", ["scripts/demo.py", "scripts/test.py"])
def test_the_two_commands_are_there(script: str):
    assert f"python3 {script}" in README.read_text(encoding="utf-8")
    compile((ROOT / script).read_text(encoding="utf-8"), script, "exec")


@every_page
def test_the_files_it_links_to_exist(page: Path):
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.fixture(scope="session")
def options() -> set[str]:
    """The options of all commands and scripts."""
    groups = ("reconstruct content", "reconstruct style", "weights convert", "weights normalize")
    pages = [find_help(verb) for verb in ("transfer", "sweep", "features", *groups)]
    scripts = [path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("*.py")]
    fields = re.findall(r"^    (\w+): |[(, ](\w+): \w", "\n".join(scripts), re.MULTILINE)
    return {"-o", *OPTION.findall("\n".join(pages)), *(f"--{''.join(name).replace('_', '-')}" for name in fields)}


def find_help(verb: str) -> str:
    written: list[str] = []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(sys.stdout, "write", written.append)
        parse([*verb.split(), "--help"])
    return "".join(written)


@every_page
def test_the_options_it_names_exist(page: Path, options: set[str]):
    own = FOREIGN.sub(r"\2", page.read_text(encoding="utf-8"))
    assert {name for name in OPTION.findall(own) if name.startswith("--")} <= options


def foreign_options() -> Iterator[tuple[str, str]]:
    """Yield each option of another program in the README's table, with the last cell of its row."""
    for theirs, ours in FOREIGN.findall(README.read_text(encoding="utf-8")):
        yield from ((option, ours) for option in OPTION.findall(theirs))


def test_the_options_of_other_programs_have_the_names_that_the_command_line_answers():
    pairs = list(foreign_options())
    assert len(pairs) > 30
    for option, ours in pairs:
        name = option.lstrip("-").replace("_", "-")
        assert OTHER_NAMES.get(name, f"--{name}").split()[0] in ours, option


def test_the_citation_and_the_changelog_are_of_this_version():
    assert f"\nversion: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {PROJECT['version']} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_page_is_in_the_contents_of_the_site():
    (contents,) = re.findall(
        r"```{toctree}(.*?)```", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert sorted([*contents.split()[1:], "index"]) == sorted(page.stem for page in DOCS)


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: Path):
    if not all(importlib.util.find_spec(name) for name in ("sphinx", "myst_parser", "furo")):
        pytest.skip("Sphinx is not installed: pip install '.[docs]'")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(ROOT / "docs"), str(tmp_path)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "index.html").is_file()


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
