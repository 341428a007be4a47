"""Look at what the network sees: feature maps on a sheet, raw arrays, the image that excites one filter."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from stylejax.cli.parsing import Output, Pooling, Weights, say
from stylejax.cli.runtime import DONE, INTERRUPTED, graceful_interrupt, start_jax
from stylejax.errors import InputError

if TYPE_CHECKING:
    from stylejax.images.resize import Picture
    from stylejax.models.architecture import Parameters
    from stylejax.models.vgg import VGG
    from stylejax.optimizers.base import Info

CELL = 112
"""Longest side of a map on the sheet, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """Show the responses of layers to IMAGE, the strongest filters first; or the image that excites one filter most."""

    image: Annotated[Positional[Path], arg(metavar="IMAGE")]
    """The picture to look at; with --maximize it only gives the size, at most."""
    out: Output
    layers: tuple[str, ...] = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv4_2", "conv5_1")
    """Layers to look at; with --maximize one."""
    npz: Path | None = None
    """A file for the raw arrays, height×width×channels, one a layer by its name."""
    filters: int = 12
    """Filters of each layer on the sheet."""
    maximize: int | None = None
    """The number of a filter, from 0: write the image that excites it most, found from noise."""
    size: int = 256
    """Longest side at which the picture is looked at, in pixels; it is not enlarged."""
    steps: int = 100
    """Steps of --maximize."""
    seed: int = 0
    """Seed of the noise of --maximize."""
    weights: Weights = "auto"
    pooling: Pooling = "avg"

    def __call__(self) -> int:
        """Everything that can be checked is checked before the work starts."""
        image = self._checked()
        start_jax()
        from stylejax.models.normalize import normalized
        from stylejax.models.pretrained import resolve
        from stylejax.models.vgg import build_vgg, check_size

        parameters, explanation = resolve(self.weights, self.seed)
        layers = self._known_layers(parameters)
        if self.maximize is None:
            check_size(image.shape, layers)
        say(explanation)
        vgg = build_vgg(normalized(parameters), self.pooling)
        return self._sheet(image, vgg, parameters) if self.maximize is None else self._exciting(max(image.shape), vgg)

    def _known_layers(self, parameters: "Parameters") -> list[str]:
        from stylejax.models.architecture import canonical_layer

        layers = [canonical_layer(name, parameters.network) for name in self.layers]
        filters = parameters.layers[layers[0]].bias.size
        if self.maximize is not None and not 0 <= self.maximize < filters:
            raise InputError(f"{self.layers[0]} has no filter {self.maximize}; choose one from 0 to {filters - 1}")
        return layers

    def _checked(self) -> "Picture":
        from stylejax.files import check_writable
        from stylejax.images.io import check_output, read_image
        from stylejax.images.resize import fit, resize

        for name, least in (("size", 1), ("steps", 1), ("filters", 1), ("seed", 0)):
            if not least <= getattr(self, name) < 10**9:
                raise InputError(f"--{name} is {getattr(self, name)}; it should be a whole number from {least}")
        if not self.layers:
            raise InputError("--layers names no layer; name one or more, such as conv1_1,conv4_2")
        if self.maximize is not None and len(self.layers) > 1:
            raise InputError(f"--maximize is for one layer, and --layers names {len(self.layers)}; name one")
        check_output(self.out)
        if self.npz:
            if self.npz.suffix != ".npz" or self.npz.resolve() == self.image.resolve():
                raise InputError(f"cannot write {self.npz}: its name should end in .npz")
            check_writable(self.npz)
        image = read_image(self.image)
        return resize(image, *fit(image.shape, min(self.size, max(image.shape[:2])))).clip(0, 1)

    def _sheet(self, image: "Picture", vgg: "VGG", parameters: "Parameters") -> int:
        import numpy as np

        from stylejax.files import write_atomically
        from stylejax.images.io import write_image
        from stylejax.images.resize import fit
        from stylejax.sweeps.contact_sheet import contact_sheet
        from stylejax.synthesis.feature_visualization import feature_maps, map_picture, strongest

        maps = feature_maps(image, self.layers, vgg=vgg)
        cell = fit(image.shape, CELL)
        chosen = {name: strongest(f, self.filters) for name, f in maps.items()}
        most = max(len(numbers) for numbers in chosen.values())
        blanks = {name: most - len(numbers) for name, numbers in chosen.items()}
        pictures = [[map_picture(maps[n][..., i], *cell) for i in chosen[n]] + [None] * blanks[n] for n in self.layers]
        labels = [[f"{i}: {maps[n][..., i].mean():.3g}" for i in chosen[n]] + [""] * blanks[n] for n in self.layers]
        rows = [f"{n} {f.shape[1]}×{f.shape[0]}, {f.shape[2]} filters" for n, f in maps.items()]
        caption = (
            f"The filters that respond most to {self.image.name}, with their numbers and mean activations; white is each "
            f"filter's strongest response. {parameters.network}, {self.pooling} pooling, {parameters.source}."
        )
        write_image(self.out, contact_sheet(pictures, rows, (), caption, labels))
        if self.npz:
            buffer = io.BytesIO()
            np.savez(buffer, allow_pickle=False, **maps)
            write_atomically(self.npz, buffer.getvalue())
        print(f"{self.out}: {', '.join(rows)}")
        return DONE

    def _exciting(self, size: int, vgg: "VGG") -> int:
        from rich.console import Console
        from rich.progress import Progress

        from stylejax.images.io import write_image
        from stylejax.synthesis.feature_visualization import maximize

        (layer,), number = self.layers, self.maximize
        assert number is not None
        with Progress(console=Console(stderr=True)) as progress, graceful_interrupt() as interrupted:
            task = progress.add_task(f"{layer} filter {number}", total=self.steps)

            def watch(_: "Info") -> bool:
                progress.advance(task)
                return interrupted()

            found = maximize(layer, number, vgg=vgg, callback=watch, size=size, steps=self.steps, seed=self.seed)
            stopped = interrupted()
        write_image(self.out, found.image)
        print(f"{self.out}: mean activation {found.activation:.4g}, {found.first:.4g} on the first noise")
        if stopped:
            say("stylejax: interrupted; the best image so far was saved")
        return INTERRUPTED if stopped else DONE
