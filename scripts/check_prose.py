"""Find sentences with a forbidden opening or phrase in code and documents; CONTRIBUTING.md has the rules."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPENINGS = re.compile(
    r"(?:^|[.:;!?] |\"\"\"|\"|# |\| )((?:Of|What|Where|Whoever|How far|As much|As many) \w+)", re.MULTILINE
)
PHRASES = re.compile(r"\b(can not|where nothing is said|anew|colour\w*|grey\w*|nobody|whoever)\b", re.IGNORECASE)


def faults(path: Path) -> list[str]:
    """Return `file:line: words` for each forbidden opening or phrase of a file."""
    text = path.read_text(encoding="utf-8")
    matches = sorted([*OPENINGS.finditer(text), *PHRASES.finditer(text)], key=lambda match: match.start(1))
    name = path.relative_to(ROOT)
    return [f"{name}:{text.count(chr(10), 0, match.start(1)) + 1}: {match[1]}" for match in matches]


if __name__ == "__main__":
    files = [p for folder in ("stylejax", "scripts", "tests", "docs", "weights") for p in ROOT.glob(f"{folder}/**/*")]
    files += ROOT.glob("*.md")
    found = [
        fault
        for p in sorted(files)
        if p.suffix in (".py", ".pyi", ".md", ".html") and p != Path(__file__).resolve()
        for fault in faults(p)
    ]
    sys.exit("\n".join(found) or 0)
