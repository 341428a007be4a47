"""Images in a folder."""

import warnings
from pathlib import Path

from PIL import Image as Pillow

from stylejax.files import list_files
from stylejax.images.io import FORMATS


def list_images(folder: Path) -> list[Path]:
    """Return the images in a folder, sorted; a warning names the visible files that are left out.

    A damaged file with the suffix of an image counts as one, so that it is reported where it is read.
    """
    files = list_files(folder)
    images = [path for path in files if path.suffix.lower() in FORMATS or _is_image(path)]
    others = [path.name for path in files if path not in images]
    if others:
        more = f" and {len(others) - 10} more" if len(others) > 10 else ""
        warnings.warn(f"left out of {folder}, as no images: {', '.join(others[:10])}{more}", stacklevel=2)
    return images


def _is_image(path: Path) -> bool:
    """Return whether the header is that of an image; decoders fail on other bytes with many exceptions."""
    try:
        with Pillow.open(path):
            return True
    except Exception:
        return False
