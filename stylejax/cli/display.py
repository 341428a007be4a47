"""A picture as it develops: in its own file, in the terminal, and as a film."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from stylejax.cli.files import Files, Inputs, Keeping
from stylejax.cli.parsing import say
from stylejax.errors import InputError

if TYPE_CHECKING:
    from rich.text import Text

    from stylejax.images.resize import Picture
    from stylejax.synthesis.transfer import Checkpoint
    from stylejax.synthesis.validation import Plan

SECONDS = 2.0
"""Between two pictures in the terminal, for each takes a moment."""


def check_watching(keeping: Keeping, shards: int) -> None:
    """Raises `InputError` where a picture is to be watched that is in parts until its end."""
    if shards > 1 and (keeping.save_every or keeping.video or keeping.show):
        raise InputError(
            "--save-every, --video and --show can not be combined with --shard, whose picture is in parts until its end; leave "
            "them out"
        )


class Watcher:
    """Sees each checkpoint of a run, and makes a picture of it where one is wanted. What
    a full disk does not take stops nothing."""

    def __init__(self, files: Files, plan: "Plan", inputs: Inputs):
        from stylejax.images.video import Film
        from stylejax.runs.event_log import shows_colours

        self.out, self.wanted, self.plan, self.inputs = files.out, files.keeping, plan, inputs
        self.film = Film(plan.config.steps)
        self.saved, self.shown = 0, 0.0
        self.picture: Text | None = None
        self.shows = self.wanted.show and shows_colours()
        if self.wanted.show and not self.shows:
            say("note: --show needs a terminal of 256 colours or more (TERM=xterm-256color); nothing is shown")

    def __call__(self, checkpoint: "Checkpoint") -> None:
        """Between two steps."""
        every, step = self.wanted.save_every, checkpoint.steps
        takers: list[Callable[[int, Picture], None]] = []
        if every and step - self.saved >= every and step < self.plan.config.steps:
            takers.append(self._save)
        if self.wanted.video and self.film.is_due(step):
            takers.append(self.film.add)
        if self.shows and time.monotonic() - self.shown >= SECONDS:
            takers.append(self._show)
        if takers:
            from stylejax.synthesis.transfer import picture_of

            image = picture_of(self.plan, self.inputs.content, checkpoint)
            for take in takers:
                take(step, image)

    def end(self, step: int, image: "Picture") -> None:
        """Writes the film, whose last frame is the picture itself."""
        if not self.wanted.video:
            return
        self.film.add(step, image)
        try:
            self.film.write(self.wanted.video)
        except InputError as error:
            say(f"note: there is no video: {error}")

    def _save(self, step: int, image: "Picture") -> None:
        from stylejax.images.io import lay, write_image

        image, alpha = lay(image, self.inputs.alpha, self.out)
        try:
            write_image(self.out, image, alpha=alpha, bits=self.plan.config.bits)
        except InputError as error:
            say(f"note: the picture was not saved at step {step}, and the run goes on: {error}")
        self.saved = step

    def _show(self, step: int, image: "Picture") -> None:
        from stylejax.runs.event_log import half_blocks

        self.picture, self.shown = half_blocks(image), time.monotonic()
