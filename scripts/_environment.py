"""Makes `.venv` beside the repository's files with this package in it: what the two commands of the README need first.

Standard library only: it runs before anything is installed.
"""

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")


def ensure(extras: str, more: Sequence[str] = ()) -> None:
    """Installs this package with `extras`, and `more` requirements, unless that was done since pyproject.toml changed."""
    if sys.version_info < (3, 11):
        sys.exit(f"stylejax needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    stamp = ENVIRONMENT / ".installed"
    wanted = "\n".join([extras, *more, (ROOT / "pyproject.toml").read_text(encoding="utf-8")])
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    print(f"installing into {ENVIRONMENT} …", flush=True)
    if not (BIN / ("python.exe" if os.name == "nt" else "python")).exists():
        _create()
    # What decides the numbers in a test goes first: a plain torch would bring gigabytes of CUDA.
    for requirement in more:
        _pip(requirement)
    _pip("--editable", f"{ROOT}[{extras}]")
    stamp.write_text(wanted, encoding="utf-8")


def run(program: str, *arguments: str, **options: object) -> int:
    """Runs a program of the environment in the repository; returns its exit code."""
    return subprocess.call([str(BIN / program), *arguments], cwd=ROOT, **options)  # type: ignore[arg-type]


def _create() -> None:
    try:
        venv.create(ENVIRONMENT, with_pip=True)
    except (subprocess.CalledProcessError, OSError) as error:
        sys.exit(f"cannot make a virtual environment ({error}); on Debian and Ubuntu: apt install python3-venv")


def _pip(*arguments: str) -> None:
    code = run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)
    if code:
        sys.exit(f"pip could not install {' '.join(arguments)}: see its message above")
