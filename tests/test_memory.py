"""Predicted memory against that of the compiled program, and refusals."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import shapes

from stylejax.errors import InputError
from stylejax.losses.objective import objective
from stylejax.models.architecture import random_weights
from stylejax.models.vgg import VGG, build_vgg
from stylejax.optimizers.batched import _advance as advance_lanes
from stylejax.optimizers.lbfgs import lbfgs
from stylejax.optimizers.minimize import run_chunk as advance_one
from stylejax.parameterization import to_params
from stylejax.partitioning import memory
from stylejax.partitioning.memory import available_bytes, check_memory, max_batch_size, predicted_bytes

CONTENT, STYLE = ("conv4_2",), ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
GIB = 2**30


@pytest.fixture(scope="module")
def full_vgg() -> VGG:
    """VGG-19 in its true width, which the prediction is about."""
    return build_vgg(random_weights("vgg19"), winograd=False)


def compiled_bytes(lowered: jax.stages.Lowered) -> int:
    used: Any = lowered.compile().memory_analysis()
    return used.temp_size_in_bytes + used.argument_size_in_bytes + used.output_size_in_bytes - used.alias_size_in_bytes


def used_by_an_evaluation(vgg: VGG, side: int) -> int:
    image, args = shapes(vgg, side)
    return compiled_bytes(jax.jit(jax.value_and_grad(objective, has_aux=True)).lower(image, *args))


@pytest.mark.parametrize("side", [128, 256])
def test_an_evaluation_takes_what_is_predicted(full_vgg: VGG, side: int):
    predicted = predicted_bytes("vgg19", (*CONTENT, *STYLE), side, side, 0, winograd=False)
    assert predicted == pytest.approx(used_by_an_evaluation(full_vgg, side), rel=0.1)


@pytest.mark.slow
def test_with_winograd_an_evaluation_takes_what_is_predicted():
    vgg = build_vgg(random_weights("vgg19"), winograd=True)
    predicted = predicted_bytes("vgg19", (*CONTENT, *STYLE), 256, 256, 0, winograd=True)
    assert predicted == pytest.approx(used_by_an_evaluation(vgg, 256), rel=0.1)


def test_a_step_with_its_history_takes_what_is_predicted(full_vgg: VGG):
    image, args = shapes(full_vgg, 256)
    state = jax.eval_shape(lbfgs(100).init, image)
    advance: Any = advance_one
    used = compiled_bytes(advance.lower(objective, lbfgs(100), 1, state, args))
    predicted = predicted_bytes("vgg19", (*CONTENT, *STYLE), 256, 256, 100, winograd=False)
    assert predicted == pytest.approx(used, rel=0.1)


@pytest.mark.parametrize("lanes", [2, 5])
def test_lanes_that_share_the_network_take_what_is_predicted(full_vgg: VGG, lanes: int):
    """Within a fifth, which is what is left free where lanes are chosen by it."""
    image, (vgg, *args) = shapes(full_vgg, 128)
    many = jax.tree.map(lambda x: jax.ShapeDtypeStruct((lanes, *x.shape), x.dtype), (image, args))
    state = jax.eval_shape(jax.vmap(lbfgs(50).init), many[0])
    advance: Any = advance_lanes
    used = compiled_bytes(advance.lower(objective, lbfgs(50), 1, None, state, vgg, tuple(many[1])))
    predicted = predicted_bytes("vgg19", (*CONTENT, *STYLE), 128, 128, 50, winograd=False, batch_size=lanes)
    assert predicted == pytest.approx(used, rel=0.2)


@pytest.mark.parametrize(
    ("available", "count", "lanes"), [(100, 20, 5), (100, 8, 4), (100, 3, 3), (15, 9, 1), (0, 4, 1)]
)
def test_as_many_lanes_as_fit_in_batches_of_like_size(available: int, count: int, lanes: int):
    """A lane takes 12 bytes beside 8 that all share, and a fifth is left free: 6 fit into 100."""
    assert max_batch_size(lambda n: 8 + 12 * n, available, count) == lanes


def test_with_responses_computed_again_an_evaluation_takes_what_is_predicted():
    vgg = build_vgg(random_weights("vgg19"), winograd=False, remat=True)
    predicted = predicted_bytes("vgg19", (*CONTENT, *STYLE), 256, 256, 0, winograd=False, remat=True)
    assert predicted == pytest.approx(used_by_an_evaluation(vgg, 256), rel=0.2)


def test_a_step_with_a_pyramid_takes_what_is_predicted(full_vgg: VGG):
    image, args = shapes(full_vgg, 256)
    minimizer = lbfgs(60)
    state = jax.eval_shape(lambda x: minimizer.init(to_params(x, "pyramid")), image)
    advance: Any = advance_one
    used = compiled_bytes(advance.lower(objective, minimizer, 1, state, args))
    predicted = predicted_bytes("vgg19", (*CONTENT, *STYLE), 256, 256, 60, winograd=False, pyramid=True)
    assert predicted == pytest.approx(used, rel=0.2)


def test_devices_lanes_and_tiles_take_their_share():
    def needed(**options: Any) -> int:
        return predicted_bytes("vgg19", STYLE, 4096, 4096, 10, winograd=False, **options)

    network = predicted_bytes("vgg19", STYLE, 0, 0, 10, winograd=False)
    assert needed(shards=4) - network == pytest.approx((needed() - network) / 4, rel=1e-6)
    assert needed(batch_size=3) - network == pytest.approx((needed() - network) * 3, rel=1e-6)
    assert needed(tile=512) < needed(remat=True) < needed()


def test_shallow_layers_need_less():
    assert predicted_bytes("vgg19", ["conv2_1"], 512, 512, 10) < 0.8 * predicted_bytes(
        "vgg19", ["conv5_1"], 512, 512, 10
    )
    assert predicted_bytes("vgg16", ["conv5_1"], 512, 512, 10) < predicted_bytes("vgg19", ["conv5_1"], 512, 512, 10)


def test_each_step_remembered_costs_two_images():
    more, less = (predicted_bytes("vgg19", ["conv1_1"], 100, 50, history) for history in (30, 29))
    assert more - less == 2 * 100 * 50 * 3 * 4


def needed(size: int) -> int:
    return predicted_bytes("vgg19", STYLE, size, size, 100)


@pytest.mark.parametrize("available", [0.3 * GIB, 1.5 * GIB, 8 * GIB])
@pytest.mark.parametrize("size", [1500, 2048, 10_000, 10**9])
def test_what_does_not_fit_is_refused_with_the_size_that_does(available: float, size: int):
    with pytest.raises(InputError, match=rf"--size {size} needs about .* GiB of memory, and .* GiB are free") as caught:
        check_memory(needed, int(available), size)
    named = int(str(caught.value).split("--size ")[2].split()[0])
    check_memory(needed, int(available), named)
    assert needed(int(1.2 * named)) > available
    assert "\n" not in str(caught.value)


def test_where_nothing_fits_no_size_is_named():
    with pytest.raises(InputError, match="0.0 GiB are free; free some memory, or try a smaller --history"):
        check_memory(needed, 1000, 512)


def test_options_that_would_fit_are_named():
    others = {"--remat": lambda size: GIB, "--tile 512": lambda size: 3 * GIB}
    with pytest.raises(InputError, match=r"--size \d+ or --remat would fit, and so may"):
        check_memory(needed, 2 * GIB, 2048, others)


def test_what_fits_passes():
    check_memory(needed, needed(512), 512)


def control_group(
    folder: Path, monkeypatch: pytest.MonkeyPatch, limit: str, current: str, stat: str | None = ""
) -> None:
    files = {"max": limit, "current": current, "stat": stat}
    for name, text in files.items():
        if text is not None:
            (folder / f"memory.{name}").write_text(f"{text}\n")
    monkeypatch.setenv("STYLEJAX_CGROUP", str(folder))


def test_the_container_s_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    control_group(tmp_path, monkeypatch, "1000000", "400000")
    assert available_bytes() == 600_000


def test_files_in_memory_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stat = "anon 5\nactive_file 70000\ninactive_file 100000\nslab 3"
    control_group(tmp_path, monkeypatch, "1000000", "400000", stat)
    assert available_bytes() == 700_000


@pytest.mark.parametrize(("limit", "current", "stat"), [("max", "400000", ""), ("x", "y", ""), ("1000", "10", None)])
def test_without_a_limit_the_machine_s_free_memory_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, current: str, stat: str | None
):
    control_group(tmp_path, monkeypatch, limit, current, stat)
    assert available_bytes() > 10_000_000


def test_an_accelerator_s_own_memory_counts(monkeypatch: pytest.MonkeyPatch):
    class Device:
        platform = "gpu"

        def memory_stats(self) -> dict[str, int]:
            return {"bytes_limit": 1000, "bytes_in_use": 300}

    monkeypatch.setattr(memory.jax, "local_devices", lambda: [Device()])
    assert available_bytes() == 700


def test_the_machine_s_memory_is_not_above_what_it_has(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STYLEJAX_CGROUP", "/nowhere")
    physical = np.prod([int(line.split()[1]) for line in open_lines("/proc/meminfo") if line.startswith("MemTotal")])
    assert 0 < available_bytes() <= 1024 * physical


def open_lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else ["MemTotal: 1000000000000"]
