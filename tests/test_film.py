"""Watching a run: the picture in its place, in the terminal, and as a film."""

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import noise_image
from PIL import Image as Pillow
from PIL import ImageSequence

from stylejax.cli.display import Preview, render_half_blocks, supports_color
from stylejax.cli.main import main
from stylejax.errors import InputError
from stylejax.images import video as film_module
from stylejax.images.io import read_image
from stylejax.images.video import FPS, LAST_FRAME_SECONDS, MAX_FRAMES, VideoRecorder, check_video_output

RUN = ["transfer", "c.png", "s.png", "-o", "out.png", "--weights", "narrow.h5"]
RUN += ["--size", "48", "--scales", "32", "--steps", "8", "--parameterization", "pixels"]
RUN += ["--content-layers", "conv2_1", "--style-layers", "conv1_1,conv2_1"]


@pytest.fixture
def studio(desk):
    noise_image(36, 33, 1).save(desk / "s.png")
    return desk


def test_a_film_has_all_steps_in_one_size_and_ends_with_the_picture(studio):
    assert main([*RUN, "--video", "film.webp"]) == 0
    with Pillow.open("film.webp") as film:
        assert film.size == (48, 40)
        seconds, last = [], np.zeros(())
        for frame in ImageSequence.Iterator(film):
            last = np.asarray(frame.convert("L"), np.float32) / 255
            seconds.append(frame.info["duration"] / 1000)
    # Frames that look the same are one, which stands longer.
    assert len(seconds) > 1 and abs(sum(seconds) - (8 / FPS + LAST_FRAME_SECONDS)) < 0.01
    with Pillow.open("out.png") as picture:
        assert np.abs(last - np.asarray(picture.convert("L"), np.float32) / 255).mean() < 0.05


@pytest.mark.parametrize("steps", [1, 119, 120, 121, 239, 5000])
def test_a_run_of_any_length_has_at_most_the_largest_number_of_frames(steps: int):
    recorder, image = VideoRecorder(steps), np.zeros((2, 2, 3), np.float32)
    for step in range(1, steps + 1):
        if recorder.wants_frame(step):
            recorder.add(step, image)
    assert min(steps, MAX_FRAMES // 2) <= len(recorder.frames) <= MAX_FRAMES


def test_a_film_in_mp4_goes_through_the_encoder_with_even_sides(tmp_path, monkeypatch):
    sent = []

    def write_frames(path, size, **options):
        sent.append((size, options))
        while True:
            frame = yield
            if frame is None:
                break
            sent.append(frame.shape)
            with open(path, "ab") as file:
                file.write(b"x")

    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", SimpleNamespace(write_frames=write_frames))
    film = VideoRecorder(1)
    film.add(0, np.zeros((9, 13, 3), np.float32))
    film.write(tmp_path / "film.mp4")
    assert sent[0][0] == (12, 8) and set(sent[1:]) == {(8, 12, 3)}
    assert (tmp_path / "film.mp4").read_bytes() == b"x" * 25


def test_without_an_encoder_mp4_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(film_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"MP4 needs pip install 'stylejax\[video\]'; or name a .webp file"):
        check_video_output(tmp_path / "film.mp4")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--video film.gif", "cannot write the video film.gif: its name should end in .webp or .mp4"),
        ("--video missing/film.webp", "the folder missing does not exist; create it first"),
        ("--save-numbered", "--save-numbered needs --save-every; give the steps between the images"),
        ("--save-every 2 --save-numbered --init out_0002.png", "the run uses this file otherwise"),
        ("--save-every -1", "--save-every must be a whole number of 0 or more, got -1"),
        ("--save-every 2 -o c.png", "the run uses this file otherwise; name another one"),
        ("--bit-depth 12", "--bit-depth must be 8 or 16, got 12"),
        ("--bit-depth 16 -o out.jpg", "cannot write out.jpg with 16 bits; its name should end in .png or .tif"),
        ("--ema-decay 0.9", "--ema-decay needs --optimizer adam, got lbfgs; leave one out"),
        ("--ema-decay 1 --optimizer adam", "--ema-decay must be a number from 0 to below 1, such as 0.99, got 1.0"),
        (
            "--init content+noise:2",
            "--init must be different initial images with shares that sum to 1, such as content+noise:0.3, got",
        ),
        ("--init noise:0.5", "must be different initial images with shares that sum to 1"),
        (
            "--style-layers conv1_1:x",
            "must be names, each with :WEIGHT or without, 0 or from 1e-12 to 1e+12, not all 0",
        ),
        ("--style-layers conv1_1:-1,conv2_1", "0 or from 1e-12 to 1e+12, not all 0"),
        ("--style-layers conv1_1:0", "not all 0"),
        ("--style-layers conv1_1:1,conv1_1:2", "one or more different layers"),
        ("--content-layers conv4_22:2", "unknown layer 'conv4_22' (did you mean 'conv4_2'?)"),
        ("--tv-norm square", "invalid choice 'square' for argument '--tv-norm'"),
        ("--style-representation grem", "invalid choice 'grem' for argument '--style-representation'"),
    ],
)
def test_what_cannot_be_is_refused(studio, refusal, words, reason):
    assert reason in refusal(*RUN, *words.split())


def test_the_picture_is_saved_as_it_develops(studio, monkeypatch):
    sizes = []
    from stylejax.images import io as images

    write = images.write_image
    monkeypatch.setattr(
        images, "write_image", lambda path, image, *a, **k: sizes.append(image.shape) or write(path, image, *a, **k)
    )
    assert main([*RUN, "--save-every", "3"]) == 0
    assert sizes == [(40, 48, 3)] * 3


def test_previews_are_numbered(studio):
    assert main([*RUN, "--save-every", "3", "--save-numbered"]) == 0
    shapes = {path.name: read_image(path).shape for path in studio.glob("out*.png")}
    assert sorted(shapes) == ["out.png", "out_0003.png", "out_0006.png"] and set(shapes.values()) == {(40, 48, 3)}


def test_a_full_disk_stops_no_run(studio, monkeypatch, capsys):
    def full(*_, **__):
        raise InputError("cannot write out.png: No space left on device; choose another place")

    monkeypatch.setattr("stylejax.images.video.write_atomically", full)
    assert main([*RUN, "--video", "film.webp"]) == 0
    assert "note: the video was not written: cannot write out.png" in capsys.readouterr().err


def test_characters_show_a_picture(generator):
    image = np.zeros((4, 6, 3), np.float32)
    image[:2] = 1
    text = render_half_blocks(image, columns=6, rows=2)
    assert text.plain == ("▀" * 6 + "\n") * 2
    assert {str(span.style) for span in text.spans} == {"#ffffff on #ffffff", "#000000 on #000000"}
    wide = render_half_blocks(generator.random((100, 400, 3)).astype(np.float32), columns=20, rows=20).plain.split("\n")
    assert max(map(len, wide)) == 20 and len(wide) == 3


def test_without_a_terminal_nothing_is_shown_and_said_so(studio, capsys):
    assert main([*RUN, "--show"]) == 0
    said = capsys.readouterr().err
    assert said.count("--show needs a terminal of 256 colors") == 1 and "▀" not in said


def test_a_terminal_shows_pictures_in_256_colors_or_more(monkeypatch):
    for name in ("COLORTERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    for term, shown in (("xterm-256color", True), ("xterm", False), ("dumb", False)):
        monkeypatch.setenv("TERM", term)
        assert supports_color() is shown
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm")
    assert supports_color()


def test_a_terminal_shows_the_picture(studio, monkeypatch, capsys):
    monkeypatch.setattr("stylejax.cli.display.supports_color", lambda: True)
    monkeypatch.setattr("stylejax.cli.display.SHOW_SECONDS", 0.0)
    shown = []
    show = Preview._show
    monkeypatch.setattr(Preview, "_show", lambda self, step, image: (show(self, step, image), shown.append(self.text)))
    assert main([*RUN, "--show"]) == 0
    assert len(shown) == 8 and all(re.search("▀", text.plain) for text in shown)
