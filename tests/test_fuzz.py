"""Hostile files of every kind: never a traceback, a hang, a crash, or more memory than there should be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import kinds

TESTS = Path(__file__).parent
KINDS = sorted(kinds(TESTS))


def findings(kind: str, first: int, count: int) -> list[str]:
    """What `fuzz.py` found, and the case at which the process ended if it did not get to the end."""
    command = [sys.executable, "fuzz.py", kind, str(first), str(count)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    done = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True)
    lines = done.stdout.split("\n")[:-1]
    found = [line for line in lines if line.startswith("{")]
    if done.returncode:
        found.append(f"ended with {done.returncode} at case {lines[-1:]}: {done.stderr[-1000:]}")
    assert found or lines == [str(case) for case in range(first, first + count)]
    return found


@pytest.mark.parametrize("kind", ["image-png", "manifest-png", "run", "weights-keras", "weights-adain"])
def test_a_few_damaged_files_end_in_one_line(kind: str):
    assert findings(kind, 0, 60) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_damaged_files_end_in_one_line(kind: str):
    """All kinds together are more than 20,000."""
    assert findings(kind, 0, 1000) == []
