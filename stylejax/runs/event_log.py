"""The log of a run: one JSON object a line."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from stylejax.errors import InputError
from stylejax.runs.schema import plain
from stylejax.synthesis.transfer import Result, Step

if TYPE_CHECKING:
    pass


class RunLog:
    """Writes `start`, `step` and `end` events to a JSONL file, each flushed as it happens; without a path, nothing.

    `seconds` is what a resumed run took before: its log is continued. A disk that is full after the first event ends the log,
    which it says to `complain`, and not the run.
    """

    def __init__(self, path: Path | None, seconds: float = 0.0, complain: Callable[[str], None] | None = None):
        self.began = time.perf_counter() - seconds
        self.complain, self.events = complain, 0
        self.file: IO[str] | None = None
        try:
            # A name of a file that is no text is escaped as JSON does it.
            mode = "a" if seconds else "w"
            self.file = path.open(mode, encoding="utf-8", errors="backslashreplace") if path else None
        except OSError as error:
            raise _refusal(path, error) from None

    def write(self, event: str, **fields: Any) -> None:
        """One line: the event, its fields, and the seconds since the start. Raises `InputError` if not even the first can be
        written."""
        if not self.file:
            return
        line = plain({"event": event, **fields, "seconds": round(time.perf_counter() - self.began, 3)})
        try:
            self.file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
            self.file.flush()
            self.events += 1
        except OSError as error:
            refusal = _refusal(self.file.name, error)
            if not self.events or not self.complain:
                raise refusal from None
            self.complain(f"the log ends here, and the run goes on: {refusal}")
            self.close()
            self.file = None

    def close(self) -> None:
        """After the last event."""
        if self.file:
            # A full disk was reported at the write.
            with suppress(OSError):
                self.file.close()

    def step(self, step: Step) -> None:
        """The losses of one step, by layer, before their weights."""
        self.write(
            "step",
            step=step.step,
            evaluations=step.evaluations,
            loss=step.loss,
            accepted=step.accepted,
            restarted=step.restarted,
            size=list(step.size),
            **step.terms._asdict(),
        )

    def end(self, result: Result) -> None:
        """Write the last event: the result."""
        h, w = result.image.shape[:2]
        self.write(
            "end",
            steps=result.steps,
            evaluations=result.evaluations,
            loss=result.loss,
            size=[h, w],
            stopped=result.stopped,
            **result.terms._asdict(),
        )


def _refusal(path: Any, error: OSError) -> InputError:
    return InputError(f"cannot write the log {path}: {error.strerror}; choose another place")
