"""The log of a run: one JSON object per line."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from stylejax.errors import InputError
from stylejax.runs.schema import plain
from stylejax.synthesis.transfer import Result, Step


class RunLog:
    """Writer of `start`, `step` and `end` events to a JSONL file, each flushed; inactive without a path.

    A resumed run appends to the log; `seconds` is the time before. If a write fails after the first event, `warn` is called and
    the log ends, but not the run.
    """

    def __init__(
        self,
        path: Path | None,
        seconds: float = 0.0,
        warn: Callable[[str], None] | None = None,
        *,
        resumed: bool = False,
    ):
        self.start_time = time.perf_counter() - seconds
        self.warn, self.events = warn, 0
        self.file: IO[str] | None = None
        try:
            # File names that are not Unicode contain lone surrogates; backslashreplace escapes them as JSON does.
            mode = "a" if resumed else "w"
            self.file = path.open(mode, encoding="utf-8", errors="backslashreplace") if path else None
        except OSError as error:
            raise _write_error(path, error) from None

    def write(self, event: str, **fields: Any) -> None:
        """Write an event and the seconds since the start; raise `InputError` if even the first fails."""
        if not self.file:
            return
        line = plain({"event": event, **fields, "seconds": round(time.perf_counter() - self.start_time, 3)})
        try:
            self.file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
            self.file.flush()
            self.events += 1
        except OSError as error:
            failure = _write_error(self.file.name, error)
            if not self.events or not self.warn:
                raise failure from None
            self.warn(f"the log ends here, and the run continues: {failure}")
            self.close()
            self.file = None

    def close(self) -> None:
        if self.file:
            # `write` has already reported a full disk.
            with suppress(OSError):
                self.file.close()

    def step(self, step: Step) -> None:
        """Write the unweighted losses of a step, by layer."""
        names = ("step", "evaluations", "loss", "accepted", "restarted", "size")
        self.write("step", **{name: getattr(step, name) for name in names}, **step.terms._asdict())

    def end(self, result: Result) -> None:
        """Write the result, as the last event."""
        size = result.image.shape[:2]
        facts = {name: getattr(result, name) for name in ("steps", "evaluations", "loss")}
        self.write("end", **facts, size=size, interrupted=result.interrupted, **result.terms._asdict())


def _write_error(path: Any, error: OSError) -> InputError:
    return InputError(f"cannot write the log {path}: {error.strerror}; choose another place")
