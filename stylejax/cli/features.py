"""Visualization of the network's features: feature maps, raw arrays, and maximized activations."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from stylejax.cli.files import after_writing
from stylejax.cli.parsing import Output, Pooling, Weights, print_stderr
from stylejax.cli.runtime import EXIT_INTERRUPTED, EXIT_OK, graceful_interrupt, start_jax
from stylejax.errors import InputError

if TYPE_CHECKING:
    from stylejax.images.resize import HostImage
    from stylejax.models.architecture import VGGWeights
    from stylejax.models.vgg import VGG
    from stylejax.optimizers.base import Info

CELL = 112
"""Longest side in pixels of a feature map on the sheet; 12 maps make a row of about 1400 pixels."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """Show the features of IMAGE, strongest filters first, or the image that maximizes one filter."""

    image: Annotated[Positional[Path], arg(metavar="IMAGE")]
    """Image to examine; with --maximize it only limits the size."""
    out: Output
    layers: tuple[str, ...] = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv4_2", "conv5_1")
    """Layers to examine; exactly one with --maximize."""
    npz: Path | None = None
    """NumPy archive to write: one array (height, width, channels) per layer."""
    filters: int = 12
    """Number of filters of each layer on the sheet."""
    maximize: int | None = None
    """Index of a filter, from 0, whose activation is maximized from noise."""
    size: int = 256
    """Longest side in pixels to which the image is shrunk."""
    steps: int = 100
    """Number of optimizer steps of --maximize."""
    seed: int = 0
    """Seed of the noise of --maximize."""
    weights: Weights = "auto"
    pooling: Pooling = "avg"

    def __call__(self) -> int:
        image = self._read_image()
        start_jax()
        from stylejax.models.normalize import normalized
        from stylejax.models.pretrained import load_pretrained
        from stylejax.models.vgg import build_vgg, require_min_size

        parameters, explanation = load_pretrained(self.weights, self.seed)
        layers = self._canonical_layers(parameters)
        if self.maximize is None:
            require_min_size(image.shape, layers)
        print_stderr(explanation)
        vgg = build_vgg(normalized(parameters), self.pooling)
        if self.maximize is None:
            return self._write_sheet(image, vgg, parameters)
        return self._write_maximized(self.layers[0], self.maximize, max(image.shape), vgg)

    def _canonical_layers(self, parameters: "VGGWeights") -> list[str]:
        from stylejax.models.architecture import canonical_layer_name

        layers = [canonical_layer_name(name, parameters.network) for name in self.layers]
        filters = parameters.layers[layers[0]].bias.size
        if self.maximize is not None and not 0 <= self.maximize < filters:
            raise InputError(f"{self.layers[0]} has no filter {self.maximize}; choose one from 0 to {filters - 1}")
        return layers

    def _read_image(self) -> "HostImage":
        from stylejax.files import check_distinct, check_writable
        from stylejax.images.io import check_writable_image, read_image
        from stylejax.images.resize import fit_longest_side, resize
        from stylejax.runs.provenance import weights_paths

        for name, minimum in (("size", 1), ("steps", 1), ("filters", 1), ("seed", 0)):
            if not minimum <= getattr(self, name) < 10**9:
                raise InputError(f"--{name} must be a whole number from {minimum}, got {getattr(self, name)}")
        if not self.layers:
            raise InputError("--layers must be one or more layers, got none; for example conv1_1,conv4_2")
        if self.maximize is not None and len(self.layers) > 1:
            raise InputError(f"--layers must be one layer with --maximize, got {len(self.layers)}")
        check_writable_image(self.out)
        if self.npz:
            if self.npz.suffix != ".npz":
                raise InputError(f"cannot write {self.npz}: its name should end in .npz")
            check_writable(self.npz)
        outputs = {"the image": self.out} | ({"the arrays": self.npz} if self.npz else {})
        check_distinct(outputs, [self.image, *weights_paths(self.weights)])
        image = read_image(self.image)
        return resize(image, *fit_longest_side(image.shape, min(self.size, max(image.shape[:2])))).clip(0, 1)

    def _write_sheet(self, image: "HostImage", vgg: "VGG", parameters: "VGGWeights") -> int:
        import numpy as np

        from stylejax.files import write_atomically
        from stylejax.images.io import write_image
        from stylejax.images.resize import fit_longest_side
        from stylejax.sweeps.contact_sheet import contact_sheet
        from stylejax.synthesis.feature_visualization import extract_features, render_feature_map, strongest_filters

        maps = extract_features(image, self.layers, vgg=vgg)
        cell = fit_longest_side(image.shape, CELL)
        chosen = {name: strongest_filters(f, self.filters) for name, f in maps.items()}
        columns = max(map(len, chosen.values()))
        blanks = {name: columns - len(filters) for name, filters in chosen.items()}
        cells = [
            [render_feature_map(maps[n][..., i], *cell) for i in chosen[n]] + [None] * blanks[n] for n in self.layers
        ]
        labels = [[f"{i}: {maps[n][..., i].mean():.3g}" for i in chosen[n]] + [""] * blanks[n] for n in self.layers]
        rows = [f"{n} {f.shape[1]}×{f.shape[0]}, {f.shape[2]} filters" for n, f in maps.items()]
        caption = (
            f"The filters that respond most to {self.image.name}, with their numbers and mean activations; white is each "
            f"filter's strongest response. {parameters.network}, {self.pooling} pooling, {parameters.source}."
        )
        write_image(self.out, contact_sheet(cells, rows, (), caption, labels))
        if self.npz:
            buffer = io.BytesIO()
            np.savez(buffer, allow_pickle=False, **maps)
            with after_writing(self.out):
                write_atomically(self.npz, buffer.getvalue())
        print(f"{self.out}: {', '.join(rows)}")
        return EXIT_OK

    def _write_maximized(self, layer: str, index: int, size: int, vgg: "VGG") -> int:
        from rich.console import Console
        from rich.progress import Progress

        from stylejax.images.io import write_image
        from stylejax.synthesis.feature_visualization import maximize_activation

        with Progress(console=Console(stderr=True)) as progress, graceful_interrupt() as interrupted:
            task = progress.add_task(f"{layer} filter {index}", total=self.steps)

            def watch(_: "Info") -> bool:
                progress.advance(task)
                return interrupted()

            result = maximize_activation(
                layer, index, vgg=vgg, callback=watch, size=size, steps=self.steps, seed=self.seed
            )
            stopped = interrupted()
        write_image(self.out, result.image)
        print(f"{self.out}: mean activation {result.activation:.4g}, initially {result.initial_activation:.4g}")
        if stopped:
            print_stderr("stylejax: interrupted; the best image so far was saved")
        elif not result.improved:
            print_stderr("note: no step lowered the loss of the initial noise; take more --steps")
        return EXIT_INTERRUPTED if stopped else EXIT_OK
