"""The demo's two pictures: a photograph that an installed package carries, and a painting made here."""

import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from stylejax.errors import InputError
from stylejax.images import samples as demo
from stylejax.images.io import read_image
from stylejax.images.painting import generate_painting
from stylejax.images.samples import photograph, write_demo


def test_the_photograph_is_a_picture_and_its_package_is_not_imported():
    had = "sklearn" in sys.modules
    assert min(read_image(photograph()).shape[:2]) > 400
    assert ("sklearn" in sys.modules) == had


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo, "PHOTOGRAPH", ("no-such-package", "china.jpg"))
    with pytest.raises(InputError, match=r"comes with no-such-package: pip install 'stylejax\[pretrained\]'"):
        photograph()


def test_a_package_without_the_photograph_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo, "PHOTOGRAPH", ("numpy", "numpy/china.jpg"))
    assert metadata.version("numpy")
    with pytest.raises(InputError, match="pip install"):
        photograph()


def test_both_pictures_are_put_into_a_new_folder(tmp_path: Path):
    content, style = write_demo(tmp_path / "a" / "b")
    assert (content.parent, style.parent) == (tmp_path / "a" / "b",) * 2
    np.testing.assert_array_equal(read_image(content), read_image(photograph()))
    np.testing.assert_allclose(read_image(style), generate_painting(), rtol=0, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("name", ["file", "file/below", "/proc/demo", "x" * 300])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    (tmp_path / "file").write_text("a file")
    monkeypatch.setattr("stylejax.images.painting.generate_painting", lambda: pytest.fail("it was painted for nothing"))
    with pytest.raises(InputError, match="cannot make the folder .*; choose another place") as caught:
        write_demo(tmp_path / name)
    assert "\n" not in str(caught.value)
