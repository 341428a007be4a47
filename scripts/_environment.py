"""Create `.venv` in the repository and install this package into it, for `demo.py` and `test.py`.

This module uses the standard library only, because it runs before anything is installed.
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


def ensure(extras: str, requirements: Sequence[str] = ()) -> None:
    """Install this package with `extras` and other `requirements`, once for each pyproject.toml."""
    if sys.version_info < (3, 11):
        sys.exit(f"stylejax needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    stamp = ENVIRONMENT / ".installed"
    state = "\n".join([extras, *requirements, (ROOT / "pyproject.toml").read_text(encoding="utf-8")])
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == state:
        return
    print(f"installing into {ENVIRONMENT} …", flush=True)
    if not (BIN / ("python.exe" if os.name == "nt" else "python")).exists():
        _create()
    # First, so that the extras do not bring another version.
    for requirement in requirements:
        _pip(requirement)
    _pip("--editable", f"{ROOT}[{extras}]")
    stamp.write_text(state, encoding="utf-8")


def run(program: str, *arguments: str) -> int:
    """Run a program of the environment in the repository and return its exit code."""
    return subprocess.call([str(BIN / program), *arguments], cwd=ROOT)


def _create() -> None:
    try:
        venv.create(ENVIRONMENT, with_pip=True)
    except (subprocess.CalledProcessError, OSError) as error:
        sys.exit(f"cannot make a virtual environment ({error}); on Debian and Ubuntu: apt install python3-venv")


def _pip(*arguments: str) -> None:
    code = run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)
    if code:
        sys.exit(f"pip could not install {' '.join(arguments)}: see its message above")
