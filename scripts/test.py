"""Run all checks from a bare clone: `python3 scripts/test.py [--torch] [arguments of pytest]`.

`--torch` also installs PyTorch, for the tests that compare with it; otherwise they are skipped.
"""

import sys

from _environment import ensure, run

TORCH = "torch==2.13.0"

if __name__ == "__main__":
    arguments = [word for word in sys.argv[1:] if word != "--torch"]
    ensure("pretrained,vgg16,evaluation,dev", [TORCH] if "--torch" in sys.argv else [])
    checks = (
        ("ruff", "format", "--check", "--quiet"),
        ("ruff", "check", "--quiet"),
        ("codespell",),
        ("python", "scripts/check_prose.py"),
        ("lint-imports", "--no-logo"),
        ("basedpyright",),
        ("pytest", "--numprocesses=auto", "--dist=loadfile", "--no-loadscope-reorder", *arguments),
    )
    codes = []
    for check in checks:
        print("$", *check, flush=True)
        codes.append(run(*check))
    sys.exit(max(codes))
