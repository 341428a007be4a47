"""The manifest: it is true, names no folder, is read back whole, and is validated field by field."""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.images.io import write_image
from stylejax.losses.objective import LossTerms
from stylejax.models.architecture import VGGWeights
from stylejax.models.weights_file import weights_hash
from stylejax.runs import manifest as manifests
from stylejax.runs.manifest import Manifest, decode, encode
from stylejax.runs.provenance import FileRef, WeightsRef, file_ref, make_provenance, public_name
from stylejax.runs.schema import parse
from stylejax.synthesis.initialization import noise
from stylejax.synthesis.transfer import Result

CONFIG = TransferConfig(size=32, steps=3, scales="1", style_weight=12.5, content_layers=("conv2_1", "relu3_1"))


@pytest.fixture(scope="module")
def result() -> Result:
    """As a transfer gives it; its values overshoot [0, 1] and are not in the middle of their levels."""
    image = np.random.default_rng(1).uniform(-0.1, 1.1, (32, 24, 3)).astype(np.float32)
    terms = LossTerms({"conv2_1": 0.25, "conv3_1": np.float32(0.1)}, {"conv1_1": 1e-9}, 0.0)
    return Result(image, 0.1 + 0.2, terms, 3, 4, False, 1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that stand for inputs; a manifest asks for nothing but their bytes."""
    folder = tmp_path_factory.mktemp("inputs")
    for name in ("c.png", "s.png", "t.jpg", "first.png", "net.h5", "m.png"):
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture(scope="module")
def made(folder: Path, result: Result, narrow_parameters: VGGWeights) -> Manifest:
    """A manifest with everything in it: two styles, a first image, masks, a weights file."""
    masks = {"content_masks": (str(folder / "m.png"), str(folder / "t.jpg")), "preserve_mask": str(folder / "m.png")}
    config = dataclasses.replace(CONFIG, init=str(folder / "first.png"), weights=str(folder / "net.h5"), **masks)
    styles = (folder / "s.png", folder / "t.jpg")
    made_of = make_provenance(folder / "c.png", styles, config, narrow_parameters)
    return Manifest(made_of, manifests.outcome(result, 1.23456))


# Contents


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_inputs_are_named_with_their_hashes(made: Manifest, narrow_parameters: VGGWeights):
    made_of = made.provenance
    assert made_of.content == FileRef("c.png", sha256(b"c.png"))
    assert made_of.styles == (FileRef("s.png", sha256(b"s.png")), FileRef("t.jpg", sha256(b"t.jpg")))
    first, mask, other = (FileRef(name, sha256(name.encode())) for name in ("first.png", "m.png", "t.jpg"))
    pictures = {"init": (first,), "content_masks": (mask, other), "style_masks": (), "preserve_mask": (mask,)}
    assert made_of.files == pictures
    expected = WeightsRef("vgg19", narrow_parameters.source, weights_hash(narrow_parameters), "net.h5")
    assert made_of.weights == expected
    named = {"init": "first.png", "content_masks": ("m.png", "t.jpg"), "preserve_mask": "m.png"}
    assert made_of.config == dataclasses.replace(CONFIG, weights="net.h5", **named)


def test_words_are_no_files(folder: Path, narrow_parameters: VGGWeights):
    config = dataclasses.replace(CONFIG, init="noise", weights="vgg19")
    made_of = make_provenance(folder / "c.png", (), config, narrow_parameters)
    assert (made_of.weights.file, made_of.config, made_of.styles) == (None, config, ())
    assert not any(made_of.files.values())


def test_a_file_that_is_called_like_a_word_is_a_file(tmp_path: Path, narrow_parameters: VGGWeights):
    (tmp_path / "noise").write_bytes(b"x")
    config = dataclasses.replace(CONFIG, init=str(tmp_path / "noise"))
    made_of = make_provenance(tmp_path / "noise", (), config, narrow_parameters)
    assert made_of.files["init"] == (FileRef("noise", sha256(b"x")),) and made_of.config.init == "noise"


def test_the_outcome_is_that_of_the_result(made: Manifest, result: Result):
    outcome = made.outcome
    assert (outcome.width, outcome.height, outcome.seconds) == (24, 32, 1.235)
    assert (outcome.steps, outcome.evaluations, outcome.interrupted) == (3, 4, False)
    assert outcome.loss == result.loss
    content = {"conv2_1": 0.25, "conv3_1": float(np.float32(0.1))}
    assert outcome.losses == {"content": content, "style": {"conv1_1": 1e-9}, "tv": 0.0}


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_the_hash_is_of_the_pixels_that_are_written(tmp_path: Path, made: Manifest, result: Result, suffix: str):
    write_image(tmp_path / f"a{suffix}", result.image)
    with Pillow.open(tmp_path / f"a{suffix}") as image:
        assert made.outcome.sha256 == sha256(image.convert("RGB").tobytes())


def test_a_loss_that_is_not_finite_is_null(made: Manifest, result: Result):
    terms = result.terms._replace(tv=float("nan"), content={"conv2_1": np.float32("inf")})
    outcome = manifests.outcome(result._replace(loss=float("inf"), terms=terms), 1.0)
    assert (outcome.loss, outcome.losses["tv"], outcome.losses["content"]) == (None, None, {"conv2_1": None})
    again = decode(encode(replace(made, outcome=outcome)), "a.png")
    assert again.outcome == outcome


def test_a_pipe_has_no_hash(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    assert file_ref(tmp_path / "pipe.png") == FileRef("pipe.png", None)


def test_no_path_of_the_machine_is_told(
    tmp_path: Path, result: Result, narrow_parameters: VGGWeights, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XLA_FLAGS", f"--xla_dump_to={tmp_path} --xla_gpu_cuda_data_dir={Path.home()} {Path.cwd()}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    for name in ("c.png", "deep/i.png", "w.h5"):
        (tmp_path / name).write_bytes(b"x")
    parameters = narrow_parameters._replace(source=f"converted from {tmp_path}/w.h5 by hand")
    config = dataclasses.replace(CONFIG, init="deep/../deep/i.png", weights=str(tmp_path / "w.h5"))
    made_of = make_provenance(tmp_path / "deep/../c.png", [Path("./c.png")], config, parameters)
    text = encode(Manifest(made_of, manifests.outcome(result, 1.0)), indent=1)
    for path in (tmp_path, Path.home(), Path.cwd(), Path("/tmp"), Path(manifests.__file__).parent.parent):
        assert len(str(path)) > 1 and str(path) not in text
    assert "/" not in re.sub(r"s/step|N/A", "", text) and "\\\\" not in text
    assert made_of.weights.source == "converted from w.h5 by hand"


# There and back


def test_what_is_encoded_is_decoded(made: Manifest):
    assert decode(encode(made), "a.png") == made == decode(encode(made, indent=2), "a.png")
    assert encode(made).isascii() and json.loads(encode(made))["format"] == "stylejax-manifest 1"


def test_the_text_for_the_picture_lacks_the_seconds_alone(made: Manifest):
    assert decode(manifests.embedded_json(made), "a.png") == replace(made, outcome=replace(made.outcome, seconds=None))


ANY_NAME = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=80)


@given(name=ANY_NAME, text=st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_file_can_be_named(made: Manifest, name: str, text: str):
    plain = public_name(Path("folder") / name)
    other = replace(made.provenance, content=FileRef(plain, None), config=dataclasses.replace(CONFIG, init=text))
    named = replace(made, provenance=other)
    assert decode(encode(named), "a.png") == named
    if not re.search(r"\\|^[A-Za-z]:|^\.*$", name):
        assert plain == name


VALUES = {
    "size": st.integers(1, 10**9),
    "steps": st.integers(1, 10**9),
    "seed": st.integers(0, 2**63 - 1),
    "style_weight": st.floats(0.1, 1e12),
    "tv_weight": st.just(0.0) | st.floats(1e-12, 1e-10),
    "learning_rate": st.floats(1e-12, 1e12),
    "style_scale": st.floats(0.1, 10) | st.lists(st.floats(0.1, 10), min_size=1, max_size=4).map(tuple),
    "style_weights": st.lists(st.floats(0.1, 1e9), max_size=4).map(tuple),
    "color": st.sampled_from(["style", "match", "luminance", "after", "only"]),
    "pooling": st.sampled_from(["avg", "max"]),
    "padding": st.sampled_from(["zeros", "circular", "reflect", "replicate"]),
    "precision": st.sampled_from(["default", "highest", "tf32", "bf16"]),
    "style_layers": st.lists(
        st.text(st.characters(exclude_characters=":"), max_size=20), min_size=1, max_size=16, unique=True
    ).map(tuple),
}


@given(values=st.fixed_dictionaries({}, optional=VALUES))
@settings(max_examples=100, deadline=None)
def test_any_config_comes_back(made: Manifest, values: dict[str, Any]):
    config = TransferConfig(**values)
    other = replace(
        made.provenance,
        config=config,
        files=dict.fromkeys(made.provenance.files, ()),
        weights=replace(made.provenance.weights, file=None),
    )
    taken = replace(made.outcome, steps=config.total_steps, evaluations=config.total_steps)
    assert decode(encode(Manifest(other, taken)), "a.png").provenance.config == config


def test_every_field_of_the_config_has_a_check(made: Manifest):
    assert set(json.loads(encode(made))["provenance"]["config"]) == set(TransferConfig.__dataclass_fields__)


# Manifests from anywhere


def leaves(tree: Any, way: tuple = ()) -> Iterator[tuple]:
    """The way to every value of a JSON tree, containers too."""
    yield way
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield from leaves(value, (*way, key))


def changed(tree: Any, way: tuple, change: Callable[[Any, Any], None]) -> Any:
    """The tree after `change(container, key)` of the value at `way`."""
    tree = inner = deepcopy(tree)
    for key in way[:-1]:
        inner = inner[key]
    change(inner, way[-1])
    return tree


def with_value(made: Manifest, way: str, value: Any) -> str:
    keys = [int(key) if key.isdecimal() else key for key in way.split(".")]
    return json.dumps(changed(json.loads(encode(made)), tuple(keys), lambda inner, key: inner.__setitem__(key, value)))


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        decode(text, "a.png")
    line = str(caught.value)
    assert line.startswith("the manifest of a.png cannot be used: ") and line.isprintable() and len(line) < 600
    return line


NO_NAMES = ["../c.png", "/etc/passwd", "a/b", "a/", "..", ".", "", "a\\b", "C:c.png", "c\0.png", "x" * 256]


@pytest.mark.parametrize("name", NO_NAMES)
@pytest.mark.parametrize("way", ["content.name", "styles.1.name", "files.init.0.name", "weights.file"])
def test_a_name_that_leads_elsewhere_is_refused(made: Manifest, way: str, name: str):
    assert "name: Expected `str`" in refusal(with_value(made, f"provenance.{way}", name)).replace("file:", "name:")


@pytest.mark.parametrize(
    ("way", "value", "reason"),
    [
        ("format", "stylejax-manifest 2", "format must be 'stylejax-manifest 1'"),
        ("provenance", [], "provenance: Expected `object`, got `array`"),
        ("provenance.config", None, "provenance.config: Expected `object`, got `null`"),
        ("provenance.config.steps", "512", "provenance.config.steps: Expected `int`, got `str`"),
        ("provenance.config.steps", 512.0, "provenance.config.steps: Expected `int`, got `float`"),
        ("provenance.config.steps", True, "provenance.config.steps: Expected `int`, got `bool`"),
        ("provenance.config.size", 0, "--size must be a whole number from 1 to 1000000000, got 0"),
        ("provenance.config.steps", 10**30, f"--steps must be a whole number from 1 to 1000000000, got {10**30}"),
        ("provenance.config.steps", 10**10, "--steps must be a whole number from 1 to 1000000000, got 10000000000"),
        ("provenance.config.seed", -1, "--seed must be a whole number from 0 to 2^63 - 1, got -1"),
        ("provenance.config.style_weight", "1", "provenance.config.style_weight: Expected `float`, got `str`"),
        ("provenance.config.style_weight", True, "provenance.config.style_weight: Expected `float`, got `bool`"),
        ("provenance.config.style_weight", 10**400, "provenance.config.style_weight: Number out of range"),
        ("provenance.config.style_weight", -1, "--style-weight must be 0 or from 1e-12 to 1e+12, got -1.0"),
        ("provenance.config.pooling", "mex", "provenance.config.pooling: Invalid enum value 'mex'"),
        ("provenance.config.pooling", 1, "provenance.config.pooling: Expected `str`, got `int`"),
        ("provenance.config.scales", "1," * 100_000, "such as 128,256, got '1,1,"),
        ("provenance.config.style_layers", "conv1_1", "provenance.config.style_layers: Expected `array`, got `str`"),
        ("provenance.config.style_layers", ["a"] * 101, "must be one or more different layers"),
        ("provenance.config.style_layers", [["a"]], "provenance.config.style_layers[0]: Expected `str`, got `array`"),
        (
            "provenance.config.execute",
            "rm",
            "provenance.config has 'execute', which this version of stylejax does not know",
        ),
        ("provenance.out", "elsewhere.png", "provenance has 'out', which this version of stylejax does not know"),
        ("more", 1, "it has 'more', which this version of stylejax does not know"),
        ("provenance.content.sha256", "0" * 63, "provenance.content.sha256: Expected `str` of another form"),
        ("provenance.content.sha256", "0" * 64 + "\n", "provenance.content.sha256: Expected `str` of another form"),
        ("provenance.content.sha256", 0, "provenance.content.sha256: Expected `str | null`, got `int`"),
        (
            "provenance.files.init",
            [],
            "provenance.config.init is 'first.png', and provenance.files does not list it",
        ),
        (
            "provenance.files.content_masks",
            [],
            "provenance.config.content_masks is ('m.png', 't.jpg'), and provenance.files does not list it",
        ),
        (
            "provenance.files.weights",
            [],
            "provenance.files has 'weights', which this version of stylejax does not know",
        ),
        (
            "provenance.weights.file",
            None,
            "provenance.config.weights is 'net.h5', and provenance.weights.file is null",
        ),
        ("provenance.weights.network", "vgg11", "provenance.weights.network: Invalid enum value 'vgg11'"),
        ("provenance.weights.source", "\x1b[2J", "provenance.weights.source: Expected `str` of another form"),
        (
            "provenance.environment.versions",
            {"j\nax": "1"},
            "key in $.provenance.environment.versions: Expected `str` of another form",
        ),
        (
            "provenance.environment.versions.jax",
            [],
            "provenance.environment.versions[...]: Expected `int | str`, got `array`",
        ),
        ("provenance.environment.xla_flags", 3, "provenance.environment.xla_flags: Expected `str`, got `int`"),
        (
            "provenance.environment.device",
            {str(i): 1 for i in range(101)},
            "provenance.environment.device: Expected `object` of length <= 100",
        ),
        ("outcome.interrupted", 0, "outcome.interrupted: Expected `bool`, got `int`"),
        ("outcome.width", 0, "outcome.width: Expected `int` >= 1"),
        ("outcome.seconds", -4.0, "outcome.seconds: Expected `float` >= 0"),
        ("outcome.steps", 10**15, f"outcome.steps is {10**15}, which does not fit the 3 steps of its config"),
        ("outcome.steps", 2, "outcome.steps is 2, which does not fit the 3 steps"),
        ("outcome.evaluations", 2, "outcome.evaluations must be at least 3, got 2"),
        ("outcome.losses.style", {"a": "b"}, "outcome.losses.style[...]: Expected `float | null`, got `str`"),
    ],
)
def test_a_value_that_cannot_be_is_refused(made: Manifest, way: str, value: Any, reason: str):
    assert reason in refusal(with_value(made, way, value))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not JSON (Expecting value"),
        ("{", "it is not JSON"),
        ("[]", "format must be 'stylejax-manifest 1'"),
        ("null", "format must be 'stylejax-manifest 1'"),
        ('{"format": NaN}', "it is not JSON (NaN is not finite)"),
        ('{"format": -Infinity}', "it is not JSON (-Infinity is not finite)"),
        ('{"format": 1, "format": 2}', "it is not JSON (a name occurs twice in one object)"),
        ("[" * 200_000, "it is nested too deeply"),
        ('{"a":' * 100_000, "it is nested too deeply"),
        ("9" * 500_000, "it is not JSON (Exceeds the limit"),
        (" " * 2**20 + "1", "it must have at most 1,048,576 characters, got 1,048,577"),
        ("\ud800", "it is not JSON"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_what_is_no_json_is_refused(text: str, reason: str):
    assert reason in refusal(text)


def test_a_name_twice_is_refused_wherever_it_stands(made: Manifest):
    text = encode(made)
    assert "a name occurs twice" in refusal(text.replace('"size": 32', '"size": 32, "size": 33'))


def test_numbers_that_overflow_are_not_finite(made: Manifest):
    text = encode(made).replace('"style_weight": 12.5', '"style_weight": 1e999')
    assert "it is not JSON (1e999 is not finite)" in refusal(text)


def test_whatever_is_missing_is_missed(made: Manifest):
    tree = json.loads(encode(made))
    free = (
        "versions",
        "device",
        "machine",
        "content",
        "style",
        "styles",
        "content_layers",
        "style_layers",
        "content_masks",
    )
    for way in leaves(tree):
        # Freely named keys may be missing; a field that an older version did not know has its default.
        named = len(way) > 2 and (way[-2] in free and way[1] != "content" or way[1] == "config")
        if way and not named and way[1:2] not in [("styles",), ("files",)]:
            line = refusal(json.dumps(changed(tree, way, lambda inner, key: inner.pop(key))))
            assert f"missing required field `{way[-1]}`" in line or way == ("format",)


def test_a_field_that_an_older_version_did_not_know_has_its_default(made: Manifest):
    tree = json.loads(encode(replace(made, outcome=replace(made.outcome, interrupted=True))))
    for field in dataclasses.fields(TransferConfig):
        # Which files there are must fit the rest.
        if field.name not in ("init", "weights"):
            older = changed(tree, ("provenance", "config", field.name), lambda inner, key: inner.pop(key))
            expected = dataclasses.replace(made.provenance.config, **{field.name: field.default})
            if expected.content_masks == made.provenance.config.content_masks:
                assert decode(json.dumps(older), "a.png").provenance.config == expected


STRANGE = [None, True, 0, -1, 1.5, 2**70, "", "x", "/etc/passwd", "../x", "\ud800", "\x1b[0m", [], {}, [[]], {"a": {}}]


def test_any_other_value_anywhere_is_taken_or_refused_in_one_line(made: Manifest):
    tree, taken, refused = json.loads(encode(made)), 0, 0
    for way in leaves(tree):
        for value in STRANGE:
            text = json.dumps(changed({"": tree}, ("", *way), lambda inner, key: inner.__setitem__(key, value))[""])  # noqa: B023
            try:
                again = decode(text, "a.png")
            except InputError as error:
                refused += 1
                assert str(error).isprintable()
            else:
                taken += 1
                assert decode(encode(again), "a.png") == again
    assert refused > 1000 and taken > 100


@pytest.mark.parametrize("seed", range(4))
def test_damaged_texts_are_taken_or_refused_in_one_line(made: Manifest, seed: int):
    whole, generator = encode(made), np.random.default_rng(seed)
    for _ in range(1000):
        text = list(whole)
        for place in generator.integers(0, len(text), generator.integers(1, 4)):
            text[place] = chr(
                generator.choice([34, 44, 48, 57, 58, 91, 92, 93, 101, 123, 125, int(generator.integers(256))])
            )
        try:
            decode("".join(text), "a.png")
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 11_000


def test_parse_gives_plain_values():
    assert parse('{"a": [1, 2.5, "b", null, true]}') == {"a": [1, 2.5, "b", None, True]}


# Beside the picture


def test_the_file_beside_the_picture(tmp_path: Path, made: Manifest):
    out = tmp_path / "a.b.png"
    manifests.check_sidecar(out)
    manifests.write_sidecar(out, made)
    assert os.listdir(tmp_path) == ["a.b.json"]
    assert decode((tmp_path / "a.b.json").read_text("utf-8"), "a") == made
    manifests.check_sidecar(out)
    manifests.write_sidecar(out, replace(made, outcome=replace(made.outcome, evaluations=9)))
    assert json.loads((tmp_path / "a.b.json").read_text("utf-8"))["outcome"]["evaluations"] == 9


@pytest.mark.parametrize("content", ["{}", "precious", '{"format": "stylejax-vgg 1"}', "[" * 9999, "\xff\xfe", ""])
def test_another_file_of_that_name_is_not_replaced(tmp_path: Path, content: str):
    (tmp_path / "a.json").write_text(content, "latin-1")
    with pytest.raises(
        InputError, match=r"cannot write .*a.json: something else has that name; move it or rename the image"
    ):
        manifests.check_sidecar(tmp_path / "a.png")
    (tmp_path / "b.json").mkdir()
    with pytest.raises(InputError, match="something else has that name"):
        manifests.check_sidecar(tmp_path / "b.png")


def test_of_two_manifests_the_one_in_the_picture_is_read(tmp_path: Path, made: Manifest):
    from stylejax.images.metadata import metadata_save_kwargs

    other = replace(made, outcome=replace(made.outcome, evaluations=99))
    image, path = Pillow.new("RGB", (9, 9)), tmp_path / "a.png"
    image.save(path)
    with pytest.raises(
        InputError, match=r"a.png has no manifest, and there is no a.json beside it: it was not made by"
    ):
        manifests.read(path)
    manifests.write_sidecar(path, other)
    assert manifests.read(path) == other
    image.save(path, **metadata_save_kwargs("PNG", encode(made)))
    assert manifests.read(path) == made
    (tmp_path / "a.json").write_bytes(b"\xff" * 2**21)
    image.save(path)
    with pytest.raises(
        InputError,
        match=r"the manifest of .*a.json cannot be used: it must have at most 1,048,576 characters, got 1,048,577",
    ):
        manifests.read(path)


# The noise


def test_the_noise_is_the_same_on_every_machine():
    """Golden values: a picture of a seed is the same picture for ever. They are those of NumPy 2.0 and 2.4 on x86-64."""
    image = noise(20150826, 5, 7)
    assert image.dtype == np.float32 and image.shape == (5, 7, 3)
    np.testing.assert_allclose(image[0, 0], [0.526327, 0.399536, 0.515693], rtol=0, atol=1e-6)
    np.testing.assert_allclose(image[-1, -1], [0.517345, 0.512067, 0.519196], rtol=0, atol=1e-6)
    expected = "157a42d2510b6e2e566d7e0864e7180ccd06732e25e5d1580be2ffa8410456af"
    assert sha256(image.astype("<f4").tobytes()) == expected
    assert noise(0, 3, 2).tobytes() != noise(1, 3, 2).tobytes()
