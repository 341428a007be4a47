"""Standard streams that are closed, full or without a reader never cost a picture."""

import subprocess
import sys
from pathlib import Path

import pytest

QUICK = "--weights narrow.h5 --size 32 --steps 1 --scales 1 --content-layers conv1_2 --style-layers conv1_1"
TRANSFER = f"transfer c.png c.png -o out.png {QUICK}"


@pytest.mark.parametrize(
    ("command", "redirection", "code"),
    [
        (TRANSFER, ">&- 2>&-", 0),
        (TRANSFER, "2>/dev/full", 0),
        (TRANSFER, ">/dev/full", 2),
        ("--help", ">/dev/full", 2),
        ("--help", ">&-", 0),
        (f"{TRANSFER} --size x", "2>&-", 2),
    ],
)
def test_a_lost_stream_costs_no_picture(desk: Path, command: str, redirection: str, code: int):
    words = f"{sys.executable} -c 'from stylejax.cli.main import entry; entry()' {command} {redirection}"
    done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, timeout=60)
    assert done.returncode == code and "Traceback" not in done.stderr + done.stdout
    assert (desk / "out.png").exists() == (command == TRANSFER)


def test_a_reader_that_has_seen_enough_is_no_fault(desk: Path):
    """Both streams go into a pipe without a reader: the picture is made, and the code is that of a closed pipe."""
    words = (
        f"({sys.executable} -c 'from stylejax.cli.main import entry; entry()' {TRANSFER} 2>&1; echo $? > code) | true"
    )
    subprocess.run(["sh", "-c", words], timeout=60, check=True)
    assert (desk / "code").read_text() == "141\n" and (desk / "out.png").exists()
