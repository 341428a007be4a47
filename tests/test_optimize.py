"""The minimizers on functions whose minima are known, and on those that break others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import plain_targets

import stylejax.optimizers.minimize as optimize
from stylejax.losses.objective import LossTerms, objective
from stylejax.losses.targets import content_targets, style_targets
from stylejax.optimizers.adam import adam
from stylejax.optimizers.base import STALL_STEPS, step
from stylejax.optimizers.lbfgs import INITIAL_STEP_NORM, NONMONOTONE_WINDOW, lbfgs
from stylejax.optimizers.minimize import minimize

STYLE = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
MINIMIZERS = {"lbfgs": lbfgs(10), "adam": adam(0.1)}


def bowl(x, scales):
    """½ Σ s (x - 3)², with its minimum of 0 at 3."""
    value = 0.5 * jnp.sum(scales * (x - 3) ** 2)
    return value, {"distance": jnp.sum((x - 3) ** 2)}


def rosenbrock(x):
    """The banana: minimum 0 at (1, 1)."""
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2, ()


def cliff(x):
    """Not a number left of 0, falling towards it: a full step falls over the edge."""
    return jnp.sum(jnp.where(x > 0, 5 * x - jnp.log(jnp.maximum(x, 1e-30)), jnp.nan)), ()


@pytest.mark.parametrize("name", MINIMIZERS)
def test_the_minimum_of_a_quadratic_is_found(name):
    scales = jnp.asarray([0.5, 1.0, 4.0, 20.0])
    solution = minimize(bowl, MINIMIZERS[name], jnp.zeros(4), (scales,), 400 if name == "adam" else 40)
    np.testing.assert_allclose(solution.params, 3.0, atol=0.02 if name == "adam" else 1e-3)
    np.testing.assert_allclose(solution.value, bowl(solution.params, scales)[0], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(
        solution.aux["distance"], bowl(solution.params, scales)[1]["distance"], rtol=1e-4, atol=1e-9
    )


@pytest.mark.parametrize("name", ["lbfgs"])
def test_lbfgs_follows_a_curved_valley(name):
    solution = minimize(rosenbrock, MINIMIZERS[name], jnp.asarray([-1.2, 1.0]), (), 150)
    np.testing.assert_allclose(solution.params, 1.0, atol=1e-2)


def test_a_step_is_one_evaluation():
    evaluations = []

    def counted(x):
        jax.debug.callback(lambda: evaluations.append(1))
        return rosenbrock(x)

    solution = minimize(counted, lbfgs(5), jnp.asarray([-1.2, 1.0]), (), 17)
    jax.effects_barrier()
    assert solution.evaluations == len(evaluations) == 17


def test_trials_that_are_not_finite_are_shortened():
    values = []
    solution = minimize(cliff, lbfgs(5), jnp.asarray([0.3, 0.9]), (), 60, lambda info: values.append(info.accepted))
    assert not all(values)
    np.testing.assert_allclose(solution.params, 0.2, atol=1e-3)


def test_accepted_values_never_rise_above_the_recent_ones():
    accepted = []

    def watch(info):
        if info.accepted:
            accepted.append(float(info.value))

    minimize(rosenbrock, lbfgs(5), jnp.asarray([-3.0, 7.0]), (), 120, watch)
    before = [2 * accepted[0]] * (NONMONOTONE_WINDOW - 1) + accepted
    for i, value in enumerate(accepted[1:], NONMONOTONE_WINDOW):
        assert value <= max(before[i - NONMONOTONE_WINDOW : i]) * (1 + 1e-5)
    assert min(accepted) < accepted[0] / 1000


def test_a_step_without_memory_is_short_and_is_learned_from():
    """The first gradient has no scale: a step of `INITIAL_STEP_NORM` measures the curvature, the next one uses it."""
    values = []
    minimize(bowl, lbfgs(5), jnp.zeros(1), (jnp.asarray([1000.0]),), 3, lambda info: values.append(float(info.value)))
    distance = 3 - INITIAL_STEP_NORM
    np.testing.assert_allclose(values, [4500, 500 * distance**2, 0], rtol=1e-5, atol=1e-3)


def valley(x):
    """√(1 + x²): from far away its curvature promises a step across the valley and up the other side."""
    return jnp.sum(jnp.sqrt(1 + x**2)), ()


@pytest.mark.parametrize(("start", "taken"), [(1.2, True), (3.0, False)])
def test_an_early_step_may_rise_to_twice_the_first_value(start, taken):
    infos = []
    solution = minimize(valley, lbfgs(5), jnp.asarray([start]), (), 30, infos.append)
    first, _, third = infos[:3]
    assert float(third.value) > float(first.value)
    assert (float(third.value) < 2 * float(first.value)) == taken == bool(third.accepted)
    assert solution.value == pytest.approx(1, abs=1e-4)


def falls_off(x):
    """A slope that ends in a cliff of NaN, beyond which Adam is carried by its momentum."""
    return jnp.sum(jnp.where(x < 1, -x, jnp.nan)), ()


@pytest.mark.parametrize("name", ["adam", "lbfgs"])
def test_a_run_off_the_cliff_restarts_from_its_best_point(name):
    infos = []
    solution = minimize(falls_off, MINIMIZERS[name], jnp.zeros(1), (), 60, infos.append)
    assert not all(info.accepted for info in infos)
    assert name == "lbfgs" or any(info.restarted for info in infos)
    assert -1 <= solution.value < -0.8
    assert sum(bool(info.accepted) for info in infos[30:]) > 5


@pytest.mark.parametrize("name", ["adam", "lbfgs"])
def test_a_run_that_stalls_restarts_from_its_best_point(name):
    """A slope that promises what never comes: after so many steps the next one is taken from where it was best."""
    minimizer, start, slope = MINIMIZERS[name], jnp.asarray([3.0, 4.0]), jnp.asarray([1.0, -2.0])
    state, infos = minimizer.init(start), []
    for _ in range(2 * STALL_STEPS + 1):
        state, info = minimizer.tell(state, jnp.asarray(1.0), (), slope)
        infos.append((bool(info.restarted), minimizer.ask(state)))
    restarted, points = zip(*infos, strict=True)
    for stalled in (STALL_STEPS, 2 * STALL_STEPS):
        assert restarted[stalled]
        np.testing.assert_array_equal(points[stalled], start)
    if name == "adam":
        assert restarted.count(True) == 2
        first, second = (np.linalg.norm(points[k + 1] - points[k]) for k in (0, STALL_STEPS + 1))
        np.testing.assert_allclose(second, first / 2, rtol=1e-3)


def test_a_run_that_gets_on_is_left_alone():
    infos = []
    minimize(rosenbrock, lbfgs(10), jnp.asarray([-1.2, 1.0]), (), 30, infos.append)
    assert not any(info.restarted for info in infos)


def spring(x, stiffness):
    return stiffness * jnp.sum(x**2), ()


def test_a_run_away_is_called_back():
    """A learning rate that is far too large for a stiff spring: the run goes back instead of up."""
    infos = []
    solution = minimize(spring, adam(10.0), jnp.full(2, 0.1), (jnp.float32(1e6),), 20, infos.append)
    assert any(info.restarted for info in infos)
    assert solution.value <= float(infos[0].value)


@pytest.mark.parametrize("rate", [0.5, 10.0, 1e4])
def test_a_learning_rate_that_is_far_too_large_is_reduced_until_steps_improve(rate):
    """The start is near the minimum, so that the first steps are rejected."""
    start = jnp.full(4, 1.01)
    solution = minimize(lambda x: (jnp.sum((x - 1) ** 2), ()), adam(rate), start, (), 40)
    assert solution.value < 0.5 * float(jnp.sum((start - 1) ** 2))


@pytest.mark.parametrize("name", MINIMIZERS)
def test_a_run_that_is_resumed_ends_as_one_that_was_not(name):
    start, whole, runs = jnp.asarray([-1.2, 1.0]), [], []
    straight = minimize(rosenbrock, MINIMIZERS[name], start, (), 20, whole.append)
    minimize(rosenbrock, MINIMIZERS[name], start, (), 8, on_state=lambda run: runs.append(jax.device_get(run)))
    rest = []
    resumed = minimize(rosenbrock, MINIMIZERS[name], start, (), 20, rest.append, resume_from=runs[-1])
    assert [float(i.value) for i in whole[8:]] == [float(i.value) for i in rest]
    assert resumed.evaluations == straight.evaluations
    assert resumed.value == straight.value
    np.testing.assert_array_equal(resumed.params, straight.params)


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_asking_and_telling_is_a_step(name):
    minimizer = MINIMIZERS[name]
    state = other = minimizer.init(jnp.asarray([-1.2, 1.0]))
    for _ in range(12):
        (value, aux), gradient = jax.jit(jax.value_and_grad(rosenbrock, has_aux=True))(minimizer.ask(state))
        state, info = minimizer.tell(state, value, aux, gradient)
        other, info_of_step = step(minimizer, rosenbrock, other)
        np.testing.assert_allclose(info.value, info_of_step.value, rtol=1e-3)


def test_a_start_without_a_finite_loss_is_an_error():
    with pytest.raises(FloatingPointError, match="not finite at any step"):
        minimize(cliff, lbfgs(5), -jnp.ones(2), (), 5)


def test_a_start_at_the_minimum_stays_there():
    solution = minimize(bowl, lbfgs(5), jnp.full(3, 3.0), (jnp.ones(3),), 5)
    assert solution.value == 0
    np.testing.assert_array_equal(solution.params, np.full(3, 3.0))


def test_a_callback_ends_the_run():
    seen = []

    def stop(info):
        seen.append(info)
        return len(seen) == 3

    assert minimize(bowl, lbfgs(5), jnp.zeros(3), (jnp.ones(3),), 50, stop).evaluations == 3


def test_steps_compile_once():
    compiled = []

    def counted(x, scales):
        compiled.append(1)
        return bowl(x, scales)

    for start in (0.0, 1.0):
        minimize(counted, lbfgs(7), jnp.full(4, start), (jnp.ones(4),), 6)
    assert len(compiled) == 1


def test_a_scanned_chunk_gives_the_same_steps(monkeypatch):
    scales, values = jnp.asarray([0.5, 1.0, 4.0]), {}
    for chunk in (1, 4):
        monkeypatch.setattr(optimize, "steps_per_dispatch", lambda chunk=chunk: chunk)
        values[chunk] = []
        minimize(bowl, lbfgs(5), jnp.zeros(3), (scales,), 10, lambda info, c=chunk: values[c].append(float(info.value)))
    assert len(values[4]) == 10
    np.testing.assert_allclose(values[1], values[4], rtol=1e-4, atol=1e-6)


def test_lanes_are_single_runs():
    minimizer, starts = lbfgs(5), jnp.asarray([[-1.2, 1.0], [2.0, 2.0], [0.0, -1.0]])
    one_step = jax.jit(jax.vmap(lambda s: step(minimizer, rosenbrock, s)))
    states = jax.jit(jax.vmap(minimizer.init))(starts)
    for _ in range(30):
        states, _ = one_step(states)
    for lane, start in enumerate(starts):
        alone = minimize(rosenbrock, minimizer, start, (), 30)
        np.testing.assert_allclose(states.best.value[lane], alone.value, rtol=0.05, atol=1e-3)


def style_problem(vgg, photo, artwork, weight):
    photo, artwork = jnp.asarray(photo), jnp.asarray(artwork)
    targets = plain_targets(content_targets(vgg, photo, ("conv4_2",)), style_targets(vgg, artwork, STYLE))
    return (
        vgg,
        targets,
        LossTerms({"conv4_2": jnp.float32(1)}, dict.fromkeys(STYLE, jnp.float32(weight)), jnp.float32(0)),
    )


@pytest.mark.parametrize("weight", [1e3, 1e12])
@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_white_noise_and_absurd_weights_do_not_diverge(name, weight, narrow_vgg, photo, artwork, generator):
    noise = jnp.asarray(generator.standard_normal(photo.shape), jnp.float32)
    values = []
    minimizer = lbfgs(20) if name == "lbfgs" else adam(0.05)
    solution = minimize(
        objective,
        minimizer,
        noise,
        style_problem(narrow_vgg, photo, artwork, weight),
        60,
        lambda i: values.append(i.value),
    )
    assert np.isfinite(solution.params).all()
    assert solution.value < values[0] / 10
    assert name == "adam" or max(values[20:]) < values[0] / 10


def test_an_average_is_the_bias_corrected_mean_of_the_points():
    """Against the sum itself; the first point alone is its own mean."""
    kept, target = 0.8, jnp.asarray([3.0, -2.0])
    minimizer, points = adam(0.3, kept), []
    state = minimizer.init(jnp.zeros(2))
    for _ in range(7):
        points.append(np.asarray(minimizer.ask(state)))
        state, _ = step(minimizer, lambda x, t: (jnp.sum((x - t) ** 2), ()), state, target)
        shares = kept ** np.arange(len(points))[::-1]
        mean = sum(s * p for s, p in zip(shares, points, strict=True)) / shares.sum()
        np.testing.assert_allclose(minimizer.result(state), mean, rtol=1e-5, atol=1e-7)


def test_an_average_leaves_out_what_was_not_taken():
    minimizer = adam(0.3, 0.9)
    state = minimizer.init(jnp.ones(2))
    state, _ = minimizer.tell(state, jnp.asarray(1.0), (), jnp.ones(2))
    state, info = minimizer.tell(state, jnp.asarray(jnp.nan), (), jnp.ones(2))
    assert info.restarted
    np.testing.assert_array_equal(minimizer.result(state), jnp.ones(2))


@pytest.mark.parametrize("name", MINIMIZERS)
def test_steps_that_fail_are_shortened_until_one_improves(name: str):
    """The first one is ten million times too long; an objective may have no second result."""
    solution = minimize(lambda x: (1e12 * jnp.sum(x**2), None), MINIMIZERS[name], jnp.full(3, 1e-10), (), 60)
    np.testing.assert_allclose(solution.first_value, 3e-8, rtol=1e-5)
    assert solution.value < 0.5 * solution.first_value


@pytest.mark.parametrize("name", MINIMIZERS)
def test_without_an_improvement_the_result_is_the_first_point(name: str):
    solution = minimize(rosenbrock, MINIMIZERS[name], jnp.asarray([0.5, 2.0]), (), 1)
    assert solution.value == solution.first_value
    np.testing.assert_array_equal(solution.params, [0.5, 2.0])
