"""Two pictures that need no download: a photograph that an installed package carries, and a painting made here."""

from pathlib import Path

from stylejax.errors import InputError
from stylejax.files import installed_file, make_folder
from stylejax.images.io import read_image, write_image

PHOTOGRAPH = ("scikit-learn", "sklearn/datasets/images/china.jpg")
"""The Summer Palace in Beijing, by Daniel Buechele, Creative Commons Attribution 2.0."""


def photograph() -> Path:
    """The picture file in the installed package, which is not imported. Raises `InputError` if it is not there."""
    path = installed_file(*PHOTOGRAPH)
    if path is None:
        raise InputError(f"the demo's photograph comes with {PHOTOGRAPH[0]}: pip install 'stylejax[pretrained]'")
    return path


def write_demo(folder: Path) -> tuple[Path, Path]:
    """Puts the photograph and the painting into a folder; returns their paths."""
    from stylejax.images.painting import paint

    source = photograph()
    make_folder(folder)
    content, style = folder / "photograph.png", folder / "painting.png"
    write_image(content, read_image(source))
    write_image(style, paint())
    return content, style
