"""The total loss: the paper's value and gradient, and how it composes with JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from conftest import plain_targets, weights_of

from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.losses.objective import LossTerms, objective
from stylejax.losses.targets import blend, content_targets, style_targets
from stylejax.models.architecture import random_weights
from stylejax.models.vgg import build_vgg
from stylejax.presets import preset

CONTENT, STYLE = ("conv4_2",), ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")


def make_targets(vgg, photo, artwork):
    return plain_targets(
        content_targets(vgg, jnp.asarray(photo), CONTENT), style_targets(vgg, jnp.asarray(artwork), STYLE)
    )


def weights(style=1e3):
    return LossTerms({"conv4_2": 1.0}, dict.fromkeys(STYLE, style), 0.1)


@pytest.fixture
def problem(narrow_vgg, photo, artwork):
    return jnp.asarray(photo[::-1].copy()), narrow_vgg, make_targets(narrow_vgg, photo, artwork)


def test_preset_paper_is_equations_1_to_7_in_value_and_gradient(generator):
    parameters = random_weights("vgg19", 2, (2, 3, 2, 3, 2))
    image, photo, artwork = (generator.random((16, 18, 3)) for _ in range(3))
    config = preset("paper")
    alpha, beta = config.content_weight, config.style_weight
    assert alpha / beta == 1e-3
    with jax.enable_x64(True):
        vgg = build_vgg(parameters)
        targets = make_targets(vgg, photo, artwork)
        found, slopes = jax.jit(
            jax.value_and_grad(lambda x: objective(x, vgg, targets, weights_of(config, targets))[0])
        )(jnp.asarray(image))

    def paper(x):
        return oracle.paper_loss(x, photo, artwork, parameters, CONTENT, STYLE, alpha, beta)

    np.testing.assert_allclose(found, paper(image), rtol=1e-5)
    for index in ((0, 0, 0), (7, 9, 1), (15, 17, 2)):
        step = np.zeros(image.shape)
        step[index] = 1e-5
        slope = (paper(image + step) - paper(image - step)) / 2e-5
        np.testing.assert_allclose(slopes[index], slope, rtol=1e-4)


def test_by_default_a_style_weighs_the_same_whatever_its_contrast(problem, photo, artwork):
    """A style with activations ten times as large gets 10⁻⁴ of the weight."""
    _, vgg, targets = problem
    strong = targets._replace(style={name: 100 * gram for name, gram in targets.style.items()})
    usual, less = (weights_of(TransferConfig(), t) for t in (targets, strong))
    for name in STYLE:
        np.testing.assert_allclose(less.style[name], 1e-4 * usual.style[name], rtol=1e-5)
    assert less.content == usual.content


def test_total_is_the_inner_product_of_weights_and_terms(problem):
    total, terms = objective(*problem, weights())
    expected = terms.content["conv4_2"] + 1e3 * sum(terms.style.values()) + 0.1 * terms.tv
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_jit_equals_eager(problem):
    np.testing.assert_allclose(jax.jit(objective)(*problem, weights())[0], objective(*problem, weights())[0], rtol=1e-4)


def test_a_weight_changes_without_a_compilation(problem):
    traces = []

    @jax.jit
    def counted(*args):
        traces.append(1)
        return objective(*args)

    first, second = counted(*problem, weights(1e3))[0], counted(*problem, weights(1e5))[0]
    assert len(traces) == 1
    assert second > 10 * first


def test_vmap_over_weights_equals_a_loop_and_shares_the_network(problem):
    several = jax.tree.map(lambda a, b: jnp.stack([jnp.float32(a), jnp.float32(b)]), weights(1.0), weights(1e3))
    mapped = jax.vmap(objective, (None, None, None, 0))
    np.testing.assert_allclose(mapped(*problem, several)[0][1], objective(*problem, weights(1e3))[0], rtol=1e-4)
    program = str(jax.make_jaxpr(mapped)(*problem, several))
    assert program.count("conv_general_dilated") == 13


def test_vmap_over_images_makes_no_grouped_convolutions(problem):
    image, *rest = problem
    images = jnp.stack([image, 1 - image])
    mapped = jax.vmap(objective, (0, None, None, None))
    np.testing.assert_allclose(
        mapped(images, *rest, weights())[0][1], objective(images[1], *rest, weights())[0], rtol=1e-4
    )
    assert "feature_group_count=2" not in str(jax.make_jaxpr(mapped)(images, *rest, weights()))


def test_rows_of_an_image_can_be_sharded(problem):
    image, vgg, targets = problem
    if len(jax.devices()) < 4:
        pytest.skip("needs 4 devices: run with XLA_FLAGS=--xla_force_host_platform_device_count=4")
    mesh = jax.make_mesh((4,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
    gradient = jax.jit(jax.grad(lambda x: objective(x, vgg, targets, weights())[0]))
    one, four = gradient(image), gradient(jax.device_put(image, rows))
    np.testing.assert_allclose(four, one, atol=1e-5 * float(jnp.abs(one).max()))


@pytest.mark.slow
def test_the_mean_of_styles_has_the_gradient_of_both(narrow_vgg, photo, artwork):
    styles = [style_targets(narrow_vgg, jnp.asarray(x), STYLE) for x in (artwork, 1 - artwork)]
    image = jnp.asarray(photo)

    def gradient(style):
        targets = plain_targets(content_targets(narrow_vgg, image, CONTENT), style)
        return jax.jit(jax.grad(lambda x: objective(x, narrow_vgg, targets, weights())[0]))(image)

    both = (gradient(styles[0]) + gradient(styles[1])) / 2
    np.testing.assert_allclose(gradient(blend(styles)), both, atol=1e-4 * float(jnp.abs(both).max()))


def test_weights_for_other_layers_are_refused(problem):
    wrong = weights()._replace(style={"conv1_1": 1.0})
    expected = (
        r"style weights name \['conv1_1'\] but the targets have \['conv1_1', 'conv2_1', .*one weight for each target"
    )
    with pytest.raises(InputError, match=expected):
        objective(*problem, wrong)


@pytest.mark.parametrize("losses", ["relative", "paper", "caffe"])
def test_a_layer_s_own_weight_multiplies_its_term(losses, problem):
    _, _, targets = problem
    plain = weights_of(TransferConfig(loss_normalization=losses, style_layers=STYLE), targets)
    entries = ("conv1_1:0.5", "conv2_1:2", *STYLE[2:])
    own = weights_of(TransferConfig(loss_normalization=losses, style_layers=entries), targets)
    ratios = [float(own.style[name] / plain.style[name]) for name in STYLE]
    np.testing.assert_allclose(np.asarray(ratios) / ratios[2], [0.5, 2, 1, 1, 1], rtol=1e-5)
    assert own.content == plain.content


def test_equal_weights_of_all_layers_do_not_change_the_whole(problem):
    _, _, targets = problem
    one = weights_of(TransferConfig(style_layers=STYLE), targets)
    three = weights_of(TransferConfig(style_layers=tuple(f"{name}:3" for name in STYLE)), targets)
    for name in STYLE:
        np.testing.assert_allclose(three.style[name], one.style[name], rtol=1e-6)
