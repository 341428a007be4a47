"""A picture as it develops: in its own file, in the terminal, and as a film."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stylejax.cli_words import say
from stylejax.config import TransferConfig
from stylejax.errors import InputError

if TYPE_CHECKING:
    from rich.text import Text

    from stylejax.images import Alpha, Picture
    from stylejax.regions import Masks
    from stylejax.transfer import Checkpoint

SECONDS = 2.0
"""Between two pictures in the terminal, for each takes a moment."""


class Wanted(NamedTuple):
    """The file `out` every so many steps, a film, the picture in the terminal."""

    out: Path
    save_every: int
    video: Path | None
    show: bool


class Watcher:
    """Sees each checkpoint of a run on a content, with its alpha and masks, and makes a picture of it where one is wanted. What
    a full disk does not take stops nothing."""

    def __init__(
        self, wanted: Wanted, config: TransferConfig, content: "Picture", alpha: "Alpha | None", masks: "Masks"
    ):
        from stylejax.film import Film
        from stylejax.progress import shows_colours

        self.wanted, self.config, self.content, self.alpha, self.masks = wanted, config, content, alpha, masks
        self.film = Film(config.steps)
        self.saved, self.shown = 0, 0.0
        self.picture: Text | None = None
        self.shows = wanted.show and shows_colours()
        if wanted.show and not self.shows:
            say("note: --show needs a terminal of 24-bit colour (COLORTERM=truecolor); nothing is shown")

    def __call__(self, checkpoint: "Checkpoint") -> None:
        """Between two steps."""
        every, step = self.wanted.save_every, checkpoint.steps
        takers: list[Callable[[int, Picture], None]] = []
        if every and step - self.saved >= every and step < self.config.steps:
            takers.append(self._save)
        if self.wanted.video and self.film.is_due(step):
            takers.append(self.film.add)
        if self.shows and time.monotonic() - self.shown >= SECONDS:
            takers.append(self._show)
        if takers:
            from stylejax.transfer import picture_of

            image = picture_of(self.config, self.content, self.masks, checkpoint)
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
        from stylejax.images import lay, write_image

        image, alpha = lay(image, self.alpha, self.wanted.out)
        try:
            write_image(self.wanted.out, image, alpha=alpha, bits=self.config.bits)
        except InputError as error:
            say(f"note: the picture was not saved at step {step}, and the run goes on: {error}")
        self.saved = step

    def _show(self, step: int, image: "Picture") -> None:
        from stylejax.progress import half_blocks

        self.picture, self.shown = half_blocks(image), time.monotonic()
