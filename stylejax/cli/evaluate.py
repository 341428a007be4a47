"""Measures of a result against its content and style."""

import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from stylejax.cli.runtime import EXIT_OK, start_jax
from stylejax.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stylejax.evaluation.evaluate import Evaluation


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure the image RESULT: its distances to the content and to the style, and its faults."""

    result: Annotated[Positional[Path], arg(metavar="RESULT")]
    """Image to measure, of at least 64 pixels a side."""
    content: Path | None = None
    """Content image. By default that in the manifest of RESULT, beside it or in the current folder."""
    style: Path | None = None
    """Style image. By default that in the manifest of RESULT, beside it or in the current folder."""
    json: bool = False
    """One JSON object on standard output in place of the line."""

    def __call__(self) -> int:
        """Print each measure with its values for the content, and for a part of the style, in place of the result."""
        from stylejax.evaluation.alexnet import load_alexnet
        from stylejax.evaluation.evaluate import evaluate, evaluate_references
        from stylejax.images.io import read_image

        result, content, style = (read_image(path) for path in (self.result, *self._references()))
        start_jax()
        network = load_alexnet()
        measures = evaluate(result, content, style, network)
        references = evaluate_references(result, content, style, network)
        if self.json:
            plain = {name: values._asdict() for name, values in references.items()}
            print(json_module.dumps({**measures._asdict(), "references": plain}, allow_nan=False))
        else:
            print(f"{self.result}: {describe(measures, references)}")
        return EXIT_OK

    def _references(self) -> tuple[Path, Path]:
        """Return the paths of content and style, those not named from the manifest."""
        from stylejax.runs.manifest import read
        from stylejax.runs.provenance import InputPaths
        from stylejax.runs.rerun import find_images

        if self.content and self.style:
            return self.content, self.style
        provenance = read(self.result).provenance
        if len(provenance.styles) != 1:
            raise InputError(
                f"{self.result} was made from {len(provenance.styles)} styles; name --content and one --style"
            )
        styles = (str(self.style),) if self.style else ()
        paths = InputPaths(str(self.content or ""), styles, {}, "")
        content, found = find_images(provenance, self.result, paths)
        return content, found[0]


def describe(measures: "Evaluation", references: "Mapping[str, Evaluation]") -> str:
    """Return each measure with its values for the references in parentheses."""
    parts = []
    for name, value in measures._asdict().items():
        if name != "style_distance_by_layer":
            ends = [f"{getattr(other, name):.3g}" for other in references.values()]
            titles = list(references) if not parts else [""] * len(ends)
            listed = ", ".join(f"{title} {end}".strip() for title, end in zip(titles, ends, strict=True))
            parts.append(f"{name.replace('_', ' ')} {value:.3g} ({listed})")
    return ", ".join(parts)
