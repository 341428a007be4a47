"""Provide two sample images without a download: a photograph of scikit-learn and a painting."""

from pathlib import Path

import numpy as np

from stylejax.errors import InputError
from stylejax.files import installed_file, kind_of, make_folder
from stylejax.images.io import quantize, read_image, write_image

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
    for path, image in ((content, read_image(source)), (style, generate_painting())):
        if kind_of(path) != "nothing" and not np.array_equal(quantize(read_image(path)), quantize(image)):
            raise InputError(f"cannot write {path}: another image has that name; choose another folder with -o")
        write_image(path, image)
    return content, style
