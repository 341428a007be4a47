"""A picture as it develops: in its own file, in the terminal, and as a film."""

from typing import TYPE_CHECKING, Any

from stylejax.cli_words import say
from stylejax.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.text import Text

    from stylejax.cli_run import Files
    from stylejax.config import TransferConfig
    from stylejax.images import Alpha, Picture
    from stylejax.transfer import Checkpoint

SECONDS = 2.0
"""Between two pictures in the terminal: enlarging one takes a moment, too."""


class Watcher:
    """Sees each checkpoint, and makes a picture of it if somebody wants one. What a full disk does not take stops nothing."""

    def __init__(self, files: "Files", config: "TransferConfig", shape: tuple[int, ...], alpha: "Alpha | None"):
        from stylejax.film import Film
        from stylejax.progress import shows_colours

        self.files, self.config, self.shape, self.alpha = files, config, shape, alpha
        self.film = Film(config.steps) if files.keeping.video else None
        self.saved, self.shown, self.seen = 0, 0.0, None
        self.shows = files.keeping.show and shows_colours()
        if files.keeping.show and not self.shows:
            say("note: --show needs a terminal of 24-bit colour (COLORTERM=truecolor); nothing is shown")

    def __call__(self, checkpoint: "Checkpoint") -> None:
        """Between two steps."""
        import time

        every, step = self.files.keeping.save_every, checkpoint.steps
        wanted: list[Callable[[Picture], Any]] = []
        if every and step - self.saved >= every and step < self.config.steps:
            wanted.append(lambda image: self._save(step, image))
        if self.film and self.film.is_due(step):
            wanted.append(lambda image: self.film.add(step, image))  # type: ignore[union-attr]
        if self.shows and time.monotonic() - self.shown > SECONDS:
            wanted.append(self._show)
        if wanted:
            from stylejax.transfer import picture_of

            image = picture_of(self.config, self.shape, checkpoint)
            for take in wanted:
                take(image)

    def picture(self) -> "Text | None":
        """What the terminal shows."""
        return self.seen

    def end(self, step: int, image: "Picture") -> None:
        """Writes the film, whose last frame is the picture itself."""
        if self.film and self.files.keeping.video:
            self.film.add(step, image)
            try:
                self.film.write(self.files.keeping.video)
            except InputError as error:
                say(f"note: there is no video: {error}")

    def _save(self, step: int, image: "Picture") -> None:
        from stylejax.images import lay, write_image

        image, alpha = lay(image, self.alpha, self.files.out)
        try:
            write_image(self.files.out, image, alpha=alpha, bits=self.config.bits)
        except InputError as error:
            say(f"note: the picture was not saved at step {step}, and the run goes on: {error}")
        self.saved = step

    def _show(self, image: "Picture") -> None:
        import time

        from stylejax.progress import half_blocks

        self.seen, self.shown = half_blocks(image), time.monotonic()
