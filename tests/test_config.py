"""The configuration: defaults, refusals, and the division of the steps over the scales."""

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stylejax import config as config_module
from stylejax.config import TransferConfig, replace_fields
from stylejax.config_validation import flag_name, to_type
from stylejax.errors import InputError, did_you_mean
from stylejax.presets import PRESETS, preset
from stylejax.synthesis.schedule import MIN_SIDE, resolutions, split_steps


@st.composite
def scaled(draw: st.DrawFn) -> dict:
    """Any size and steps, with scales of every kind."""
    size, steps = draw(st.integers(1, 4096)), draw(st.integers(1, 2000))
    sides = draw(st.lists(st.integers(1, size), min_size=1, max_size=12, unique=True))
    scales = draw(st.sampled_from(["auto", "1", ",".join(map(str, sorted(sides)))]))
    return {"size": size, "steps": steps, "scales": scales}


def with_option(name: str, value: Any) -> TransferConfig:
    options: dict[str, Any] = {name: value}
    return TransferConfig(**options)


@given(scaled())
@example({"size": 4096, "steps": 11})
@example({"size": 4096, "steps": 1})
def test_steps_are_shared_out_exactly_and_each_scale_has_one(options: dict):
    config = TransferConfig(**options)
    sides, counts = zip(*split_steps(config), strict=True)
    assert sum(counts) == config.steps
    assert min(counts) >= 1
    assert sides == resolutions(config)[-len(sides) :]
    assert len(sides) == min(config.steps, len(resolutions(config)))


@given(scaled())
def test_the_ladder_rises_to_the_size(options: dict):
    config = TransferConfig(**options)
    ladder = resolutions(config)
    assert ladder[-1] == config.size
    assert all(a < b for a, b in zip(ladder, ladder[1:], strict=False))
    assert ladder[0] >= 1


@given(scaled())
def test_a_scale_gets_fewer_steps_than_the_one_before(options: dict):
    config = TransferConfig(**options)
    counts = [steps for _, steps in split_steps(config)]
    assert all(a + 1 >= b for a, b in zip(counts, counts[1:], strict=False))


@given(st.integers(1, 10**6))
def test_automatic_scales_begin_at_the_coarsest_and_double(size: int):
    ladder = resolutions(TransferConfig(size=size))
    assert ladder[0] == size if size < 2 * MIN_SIDE else MIN_SIDE <= ladder[0] <= 2 * MIN_SIDE
    for a, b in zip(ladder, ladder[1:], strict=False):
        assert b / a == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize(
    ("size", "scales", "ladder"),
    [
        (512, "auto", (128, 256, 512)),
        (384, "auto", (96, 192, 384)),
        (100, "auto", (100,)),
        (128, "auto", (128,)),
        (512, "1", (512,)),
        (512, "128,256", (128, 256, 512)),
        (512, " 128 , 512 ", (128, 512)),
        (1, "1", (1,)),
        (3, "1,2", (1, 2, 3)),
    ],
)
def test_ladders(size: int, scales: str, ladder: tuple[int, ...]):
    assert resolutions(TransferConfig(size=size, scales=scales)) == ladder


@pytest.mark.parametrize(
    "scales",
    ["", ",", "x", "auto,256", "128,,256", "0", "-5", "256,128", "128,128", "1024", "1.5", "9" * 5000, "²", "1e2"],
)
def test_scales_that_make_no_sense_are_refused(scales: str):
    with pytest.raises(
        InputError, match="--scales must be auto, 1, or rising sizes up to the size 512, such as 128,256, got '.*'"
    ):
        TransferConfig(scales=scales)


@pytest.mark.parametrize("name", ["content_weight", "style_weight", "tv_weight"])
@pytest.mark.parametrize(
    "value", [-1.0, -1e-300, float("nan"), float("inf"), -float("inf"), 1e39, 3e38, 1e20, 1e-15, 1e-50]
)
def test_a_weight_is_zero_or_a_number_that_float32_can_square(name: str, value: float):
    with pytest.raises(InputError, match=f"{flag_name(name)} must be 0 or from 1e-12 to 1e.12, got"):
        with_option(name, value)


@pytest.mark.parametrize("name", ["content_weight", "style_weight"])
def test_one_weight_may_be_zero(name: str):
    assert getattr(with_option(name, 0.0), name) == 0


def test_all_weights_zero_are_refused():
    with pytest.raises(InputError, match="content_weight, style_weight and tv_weight must not all be 0"):
        TransferConfig(content_weight=0.0, style_weight=0.0, tv_weight=0.0)


@pytest.mark.parametrize("name", ["size", "steps", "history"])
@pytest.mark.parametrize("value", [0, -1, 10**10, 10**400])
def test_a_count_is_one_or_more_and_has_an_end(name: str, value: int):
    with pytest.raises(InputError, match=f"--{name} must be a whole number from 1 to 1000000000, got .*"):
        with_option(name, value)


@pytest.mark.parametrize("value", [-1, 2**63, 10**400])
def test_a_seed_is_zero_or_more_and_has_an_end(value: int):
    with pytest.raises(InputError, match="--seed must be a whole number from 0 to 2\\^63 - 1, got .*"):
        TransferConfig(seed=value)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e39, 1e-50])
def test_a_learning_rate_is_above_zero(value: float):
    with pytest.raises(InputError, match="--learning-rate must be from 1e-12 to 1e.12, got .*"):
        TransferConfig(learning_rate=value)


@pytest.mark.parametrize("name", ["content_layers", "style_layers"])
@pytest.mark.parametrize("weight", ["1e39", "1e308", "1e-50", "nan", "-1"])
def test_the_weight_of_a_layer_is_a_weight(name: str, weight: str):
    with pytest.raises(InputError, match=f"{flag_name(name)} must be names, each with :WEIGHT or without, 0 or from"):
        with_option(name, ("conv1_1", f"conv2_1:{weight}"))


@pytest.mark.parametrize("name", ["content_layers", "style_layers"])
@pytest.mark.parametrize("layers", [(), ("conv1_1", "conv1_1")])
def test_layers_are_one_or_more_and_different(name: str, layers: tuple[str, ...]):
    with pytest.raises(InputError, match=f"{flag_name(name)} must be one or more different layers"):
        with_option(name, layers)


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("pooling", "mex", "max"),
        ("loss_normalization", "papr", "paper"),
        ("precision", "bf61", "bf16"),
        ("optimizer", "lbgfs", "lbfgs"),
    ],
)
def test_a_choice_unknown_is_refused_with_the_known_ones(name: str, wrong: str, right: str):
    config = TransferConfig()
    object.__setattr__(config, name, wrong)  # The tests' type checker would refuse it earlier.
    with pytest.raises(
        InputError, match=rf"{flag_name(name)} must be one of .*, got '{wrong}'.*did you mean '{right}'"
    ):
        config.__post_init__()


def test_every_message_is_one_line():
    with pytest.raises(InputError) as caught:
        TransferConfig(scales="1\n2")
    assert "\n" not in str(caught.value)


def test_the_default_is_the_paper_where_pictures_do_not_suffer():
    config = TransferConfig()
    assert config.content_layers == ("conv4_2",)
    assert config.style_layers == ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    assert (config.pooling, config.optimizer, config.tv_weight) == ("avg", "lbfgs", 0)


def test_the_paper_preset_is_one_scale_from_noise_with_the_papers_ratio():
    config = preset("paper")
    assert (config.scales, config.init, config.loss_normalization, config.pooling) == ("1", "noise", "paper", "avg")
    assert config.content_weight / config.style_weight == 1e-3
    assert resolutions(config) == (config.size,)


def test_an_unknown_preset_is_refused_with_a_hint():
    with pytest.raises(
        InputError, match=r"unknown preset 'papr' \(did you mean 'paper'\?\): choose one of default, fast"
    ):
        preset("papr")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_valid_and_can_be_changed(name: str):
    assert dataclasses.replace(preset(name), size=100).size == 100


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("steps", 2.5, "--steps must be a whole number, got 2.5"),
        ("steps", True, "--steps must be a whole number, got True"),
        ("size", "40", "--size must be a whole number or 'content', got '40'"),
        ("style_weight", "3", "--style-weight must be a number, got '3'"),
        ("style_weight", None, "--style-weight must be a number, got None"),
        ("remat", 1, "--remat must be True or False, got 1"),
        ("tile", 16, "--tile must be text, got 16"),
        ("style_layers", {"conv1_1": 1.0}, "--style-layers must be a tuple, each text, got {'conv1_1': 1.0}"),
        ("style_weight", 10**400, "--style-weight must be a number, got 100000000000000000...0000000000000000000"),
        ("style_weight", np.ones(2), "--style-weight must be a number, got array([1., 1.])"),
        (
            "pooling",
            np.array(["avg"]),
            "--pooling must be one of avg, max, got array(['avg'], dtype='<U3') (did you mean 'avg'?)",
        ),
        ("preserve_mask", np.ones((3, 2)), "--preserve-mask must be text, got array([[1., 1.], [1., 1.], [1., 1.]])"),
        ("style_scale", "1", "--style-scale must be a number or a tuple, each a number, got '1'"),
        ("style_weights", (1, "2"), "--style-weights must be a tuple, each a number, got (1, '2')"),
        ("pooling", 3, "--pooling must be one of avg, max, got 3"),
        ("init", np.zeros((9, 9, 3)), "--init must be text, got array([[[0., ...0., 0., 0.]]])"),
        ("size", "x" * 100, f"--size must be a whole number or 'content', got {'x' * 100!r}"),
    ],
)
def test_python_is_told_what_kind_of_value_a_setting_has(name: str, value: Any, said: str):
    """The tests' own checker of types is before `TransferConfig` and says it in its way."""
    with pytest.raises(InputError) as refused:
        to_type(TransferConfig.__dataclass_fields__[name], value)
    assert str(refused.value) == said


def test_a_config_looks_at_the_kinds_of_its_values():
    code = "import stylejax.config as c\ntry: c.TransferConfig(tile=16)\nexcept c.InputError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "--tile must be text, got 16\n"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("steps", np.int64(3), 3),
        ("steps", jnp.int32(3), 3),
        ("style_weight", np.float32(7), 7.0),
        ("content_weight", jnp.float32(2), 2.0),
        ("style_scale", 1, 1.0),
        ("style_scale", np.array(1.0), 1.0),
        ("style_scale", (1, np.float64(2)), (1.0, 2.0)),
        ("style_scale", np.ones(2), (1.0, 1.0)),
        ("style_scale", [1], (1.0,)),
        ("style_weights", [1, 2], (1.0, 2.0)),
        ("style_layers", "conv1_1", ("conv1_1",)),
        ("style_layers", np.array(["conv1_1"]), ("conv1_1",)),
        ("init", Path("a.png"), "a.png"),
        ("content_masks", [Path("a.png")], ("a.png",)),
        ("content_masks", Path("a.png"), ("a.png",)),
    ],
)
def test_a_setting_is_a_plain_value_of_its_type(name: str, value: Any, expected: Any):
    """Numbers of any library, arrays, lists and paths are converted."""
    converted = to_type(TransferConfig.__dataclass_fields__[name], value)
    assert converted == expected and type(converted) is type(expected)


def test_an_unknown_setting_is_told_the_nearest():
    with pytest.raises(InputError, match=r"unknown option 'stile_weight' \(did you mean 'style_weight'\?\); see"):
        replace_fields(TransferConfig(), {"stile_weight": 3})


def test_a_config_is_a_value():
    assert TransferConfig() == TransferConfig() and hash(TransferConfig()) == hash(preset("default"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        TransferConfig().size = 3  # type: ignore[misc]


def test_each_option_has_its_sentence():
    source = inspect.getsource(config_module)
    for field in dataclasses.fields(TransferConfig):
        assert f"    {field.name}: " in source
        declaration = source.split(f"    {field.name}: ", 1)[1]
        assert declaration.split("\n")[1].startswith('    """'), field.name


def test_nothing_near_gives_no_hint():
    assert did_you_mean("zzz", ["conv1_1"]) == ""
    assert did_you_mean("conv1_l", ["conv1_1", "conv5_1"]) == " (did you mean 'conv1_1'?)"


def test_the_standard_library_is_all_that_a_config_needs():
    code = (
        "import sys, stylejax.config; print({m.split('.')[0] for m in sys.modules} & {'numpy', 'jax', 'PIL', 'tyro'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
