"""Look at what the network sees: feature maps on a sheet, raw arrays, the image that excites one filter."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from stylejax.cli_run import DONE, INTERRUPTED, _graceful_interrupt, say, start_jax
from stylejax.errors import InputError

if TYPE_CHECKING:
    from stylejax.images import Picture
    from stylejax.optimize import Info
    from stylejax.transfer import Step
    from stylejax.vgg import VGG, Parameters

CELL = 128
"""Longest side of a map on the sheet, in pixels."""

LARGEST = 10**9
"""More than any run; Python's whole numbers have no end of their own."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """Show the responses of layers to IMAGE, the strongest filters first; or the image that excites one filter most."""

    image: Annotated[Positional[Path | None], arg(metavar="IMAGE")] = None
    """The picture to look at. --maximize needs none; of one that is given it prints the activation, to compare with."""
    out: Annotated[Path, arg(aliases=["-o"])]
    """The file to write: PNG, JPEG, WebP, TIFF or BMP, by its name."""
    layers: tuple[str, ...] = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv4_2", "conv5_1")
    """Layers to look at; with --maximize one."""
    npz: Path | None = None
    """A file for the raw arrays, height×width×channels, one a layer by its name."""
    filters: int = 16
    """Filters of each layer on the sheet."""
    maximize: int | None = None
    """The number of a filter, from 0: write the image that excites it most, found from noise."""
    size: int | None = None
    """Longest side, in pixels: of the picture as it is looked at, 512 unless it is smaller; 256 of the image of
    --maximize."""
    steps: int = 100
    """Steps of --maximize."""
    seed: int = 0
    """Seed of the noise of --maximize."""
    weights: str = "auto"
    """The network: auto, vgg19, vgg16, random, or a weights FILE."""
    pooling: Literal["avg", "max"] = "avg"
    """avg as in the paper, or max as in the network's training."""

    def __call__(self) -> int:
        """Everything that can be checked is checked before the work starts."""
        self._check_words()
        self._check_files()
        picture = self._picture()
        start_jax()
        from stylejax.sources import resolve
        from stylejax.vgg import build_vgg

        parameters, explanation = resolve(self.weights, self.seed)
        vgg = build_vgg(parameters, self.pooling)
        self._check_network(picture, vgg)
        say(explanation)
        if self.maximize is not None:
            return self._exciting(self.layers[0], self.maximize, picture, vgg)
        assert picture is not None
        return self._sheet(picture, vgg, parameters)

    def _check_words(self) -> None:
        for name, least in (("size", 1), ("steps", 1), ("filters", 1), ("seed", 0), ("maximize", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value <= LARGEST:
                raise InputError(f"--{name} is {value}; it should be a whole number from {least} to {LARGEST}")
        if self.maximize is None and self.image is None:
            raise InputError("no IMAGE was given; name a picture, or a filter with --maximize")
        names = [name.lower().replace("relu", "conv") for name in self.layers]
        if not names or len(set(names)) < len(names):
            raise InputError(f"--layers is {','.join(self.layers)!r}; it should be one or more different layers")
        if self.maximize is not None and len(names) > 1:
            raise InputError(f"--maximize is for one layer, and --layers names {len(names)}; name one")
        if self.maximize is not None and self.npz:
            raise InputError("--npz is for feature maps; leave it or --maximize out")

    def _check_files(self) -> None:
        from stylejax.images import check_output, check_writable

        check_output(self.out)
        if self.npz:
            if self.npz.suffix.lower() != ".npz":
                raise InputError(f"can not write {self.npz}: its name should end in .npz")
            check_writable(self.npz)
        read = [path.resolve() for path in (self.image, Path(self.weights)) if path]
        for path in (self.out, self.npz):
            if path and path.resolve() in read:
                raise InputError(f"can not write {path}: it is one of the other files; name another one")

    def _picture(self) -> "Picture | None":
        """IMAGE at its size; it is never enlarged, which would add nothing to see."""
        from stylejax.images import fit, read_image, resize

        if self.image is None:
            return None
        picture = read_image(self.image)
        return resize(picture, *fit(picture.shape, min(self._side(), max(picture.shape[:2])))).clip(0, 1)

    def _side(self) -> int:
        return self.size or (512 if self.maximize is None else 256)

    def _check_network(self, picture: "Picture | None", vgg: "VGG") -> None:
        """Raises `InputError` for what this network can not do: layers, sizes, filters, more memory than there is."""
        from stylejax.features import HISTORY, check_filter, map_shapes
        from stylejax.memory import available_bytes, predicted_bytes
        from stylejax.vgg import canonical_layer

        side, history = self._side(), HISTORY if self.maximize is not None else 0
        h, w = (side, side) if picture is None else picture.shape[:2]
        map_shapes(h, w, self.layers, vgg=vgg)
        if self.maximize is not None:
            check_filter(self.layers[0], self.maximize, side, vgg=vgg)
            h = w = side
        layers = [canonical_layer(name, vgg.network) for name in self.layers]
        needed, free = predicted_bytes(vgg.network, layers, h, w, history), available_bytes()
        if needed > free:
            raise InputError(
                f"{w}×{h} pixels need about {needed / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free; "
                "take a smaller --size"
            )

    def _sheet(self, picture: "Picture", vgg: "VGG", parameters: "Parameters") -> int:
        import numpy as np

        from stylejax.features import feature_maps
        from stylejax.images import replace_atomically, write_image

        assert self.image is not None
        maps = feature_maps(picture, self.layers, vgg=vgg)
        write_image(self.out, sheet_of(maps, picture, self.filters, self._caption(picture, parameters)))
        if self.npz:
            replace_atomically(self.npz, lambda file: np.savez(file, **maps))  # type: ignore[arg-type]
        h, w = picture.shape[:2]
        print(f"{self.out}: {self.image.name} at {w}×{h}, {', '.join(f'{n} {size_of(f)}' for n, f in maps.items())}")
        return DONE

    def _caption(self, picture: "Picture", parameters: "Parameters") -> str:
        assert self.image is not None
        h, w = picture.shape[:2]
        kind = "average" if self.pooling == "avg" else "max"
        network = parameters.network.upper().replace("VGG", "VGG-")
        return (
            f"The filters that respond most to {' '.join(self.image.name.split())} at {w}×{h}: number of the filter and its "
            f"mean activation, white where it is strongest. {network} with {kind} pooling; weights: {parameters.source}."
        )

    def _exciting(self, layer: str, number: int, picture: "Picture | None", vgg: "VGG") -> int:
        from stylejax.features import feature_maps, maximize
        from stylejax.images import write_image
        from stylejax.progress import progress_bar

        side, count = self._side(), itertools.count(1)
        with progress_bar() as bar, _graceful_interrupt() as interrupted:

            def watch(info: "Info") -> bool:
                bar(_step(info, next(count), self.steps, side))
                return interrupted()

            options = {"size": side, "steps": self.steps, "seed": self.seed}
            found = maximize(layer, number, vgg=vgg, callback=watch, **options)
        write_image(self.out, found.image)
        compared = f"{found.first:.4g} on noise"
        if picture is not None and self.image is not None:
            seen = feature_maps(picture, [layer], vgg=vgg)[layer][..., number].mean()
            compared += f", {seen:.4g} on {self.image.name}"
        print(f"{self.out}: {side}×{side}, mean activation {found.activation:.4g} ({compared})")
        steps = next(count) - 1
        if steps == self.steps:
            return DONE
        say(f"stylejax: interrupted after {steps} steps; the best picture so far was saved")
        return INTERRUPTED


def sheet_of(maps: "dict[str, np.ndarray]", picture: "Picture", count: int, caption: str) -> "Picture":
    """One row a layer, its strongest filters first; above them the picture that they are of."""
    from stylejax.features import map_picture, strongest
    from stylejax.images import fit, resize
    from stylejax.sheet import contact_sheet

    cell = fit(picture.shape, CELL)
    chosen = {name: strongest(f, count) for name, f in maps.items()}
    most = max(len(numbers) for numbers in chosen.values())

    def filled(cells: list, empty: object) -> list:
        return cells + [empty] * (most - len(cells))

    pictures = [filled([map_picture(maps[name][..., i], *cell) for i in chosen[name]], None) for name in maps]
    labels = [filled([f"{i}: {maps[name][..., i].mean():.3g}" for i in chosen[name]], "") for name in maps]
    rows = [f"{name}\n{f.shape[-1]} filters\n{size_of(f)}" for name, f in maps.items()]
    above = filled([resize(picture, *cell).clip(0, 1)], None)
    return contact_sheet([above, *pictures], ["picture", *rows], (), caption, [filled([], ""), *labels])


def size_of(features: "np.ndarray") -> str:
    """Width×height."""
    h, w = features.shape[:2]
    return f"{w}×{h}"


def _step(info: "Info", step: int, steps: int, side: int) -> "Step":
    """What the progress bar shows."""
    from stylejax.objective import Terms
    from stylejax.transfer import Step

    taken = bool(info.accepted), bool(info.restarted)
    return Step(step, steps, (side, side), step, float(info.value), Terms({}, {}, 0.0), *taken)
