"""All the checks, from a bare clone: `python3 scripts/test.py [--torch] [arguments of pytest]`.

`--torch` installs PyTorch as well and compares with it; without it those tests are skipped.
"""

import sys

from _environment import ensure, run

TORCH = "torch==2.13.0"

if __name__ == "__main__":
    arguments = [word for word in sys.argv[1:] if word != "--torch"]
    ensure("pretrained,vgg16,dev", [TORCH] if "--torch" in sys.argv else [])
    checks = (
        ("ruff", "format", "--check", "--quiet"),
        ("ruff", "check", "--quiet"),
        ("lint-imports", "--no-logo"),
        ("basedpyright",),
        ("pytest", "--numprocesses=auto", "--dist=loadfile", "--no-loadscope-reorder", *arguments),
    )
    codes = []
    for check in checks:
        print("$", *check, flush=True)
        codes.append(run(*check))
    sys.exit(max(codes))
