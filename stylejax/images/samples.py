"""Provide two sample images without a download: a photograph of scikit-learn and a painting."""

from pathlib import Path

from stylejax.errors import InputError
from stylejax.files import installed_file, make_folder
from stylejax.images.io import read_image, write_image

PHOTOGRAPH = ("scikit-learn", "sklearn/datasets/images/china.jpg")
"""Package and file of the Summer Palace in Beijing by Daniel Buechele, CC BY 2.0."""


def photograph() -> Path:
    """Return the path of the photograph. Raises `InputError` if its package is not installed."""
    path = installed_file(*PHOTOGRAPH)
    if path is None:
        raise InputError(f"the demo's photograph comes with {PHOTOGRAPH[0]}: pip install 'stylejax[pretrained]'")
    return path


def write_demo(folder: Path) -> tuple[Path, Path]:
    """Write photograph.png and painting.png to a folder and return their paths."""
    from stylejax.images.painting import generate_painting

    source = photograph()
    make_folder(folder)
    content, style = folder / "photograph.png", folder / "painting.png"
    write_image(content, read_image(source))
    write_image(style, generate_painting())
    return content, style
