"""The environment of a run, which decides the last digits: recorded without paths, set before JAX starts."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from stylejax.cli import runtime
from stylejax.errors import InputError
from stylejax.optimizers.adam import adam
from stylejax.optimizers.base import Minimizer, step
from stylejax.optimizers.lbfgs import lbfgs
from stylejax.runs import environment as machine


def test_the_environment_is_that_of_jax(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false --xla_dump_to=/home/me/dumps")
    now = machine.environment()
    assert now["versions"]["jax"] == jax.__version__ and now["versions"]["python"] in sys.version
    device = jax.devices()[0]
    told = {"backend": "cpu", "kind": device.device_kind, "count": jax.device_count()}
    assert now["device"] | told == now["device"]
    assert now["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert now["xla_flags"] == "--xla_cpu_enable_fast_math=false --xla_dump_to=…"


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "PACKAGES", ("stylejax-is-not-called-so",))
    assert machine.environment()["versions"]["stylejax-is-not-called-so"] == "unknown"


def test_the_precision_is_that_in_force():
    assert machine.environment()["precision"] == "default, 32 bits"
    with jax.default_matmul_precision("highest"), jax.enable_x64(True):
        assert machine.environment()["precision"] == "highest, 64 bits"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("", ""),
        ("  --xla_a=true   --xla_b=-1.5e3 ", "--xla_a=true --xla_b=-1.5e3"),
        ("--xla_dump_to=/home/me/dump", "--xla_dump_to=…"),
        ("--xla_dump_to=dump", "--xla_dump_to=…"),
        ("--xla_gpu_cuda_data_dir=cuda", "--xla_gpu_cuda_data_dir=…"),
        ("--xla_anything=../up", "--xla_anything=…"),
        (r"--xla_anything=C:\me --xla_on", "--xla_anything=… --xla_on"),
        ("--xla_anything=~", "--xla_anything=…"),
        ("/home/me/flags.txt", "…"),
        ("flags.txt", "…"),
        ("--xla_disable_hlo_passes=a,b-c", "--xla_disable_hlo_passes=a,b-c"),
    ],
)
def test_no_flag_tells_a_path(flags: str, told: str):
    assert machine.redact_paths(flags) == told


def test_differences_are_named():
    then, now = machine.environment(), machine.environment()
    assert machine.environment_diff(then, now) == []
    then["versions"] = then["versions"] | {"jax": "0.9.9", "libtpu": "1"}
    then["device"] = then["device"] | {"kind": "NVIDIA H100"}
    assert machine.environment_diff(then, now) == [
        f"jax 0.9.9 → {jax.__version__}",
        "libtpu 1 → none",
        f"device kind NVIDIA H100 → {now['device']['kind']}",
    ]


@pytest.mark.parametrize(
    ("flags", "so"),
    [
        ("", False),
        ("--xla_gpu_deterministic_ops=true", True),
        ("--xla_a=1 --xla_gpu_deterministic_ops", True),
        ("--xla_gpu_deterministic_ops=true --xla_gpu_deterministic_ops=false", False),
        ("--xla_gpu_deterministic_ops=false --xla_gpu_deterministic_ops=true", True),
    ],
)
def test_the_last_flag_decides(flags: str, so: bool):
    assert runtime.is_deterministic(flags) is so


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return subprocess.run([sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True)


STARTED = """
import os, jax
from stylejax.errors import InputError
from stylejax.cli.runtime import enable_determinism
from stylejax.runs.environment import environment
enable_determinism()
enable_determinism()
print(jax.numpy.ones(3).sum(), os.environ["XLA_FLAGS"], environment()["xla_flags"])
enable_determinism()
"""


def test_the_flag_is_set_before_jax_starts_and_jax_knows_it():
    done = python(STARTED)
    flag = "--xla_gpu_deterministic_ops=true"
    assert (done.returncode, done.stdout) == (0, f"3.0 {flag} {flag}\n"), done.stderr
    done = python(STARTED, XLA_FLAGS="--xla_force_host_platform_device_count=2")
    assert done.stdout.count(f"--xla_force_host_platform_device_count=2 {flag}") == 2


def test_jax_would_not_have_started_with_a_flag_that_it_does_not_know():
    done = python(STARTED, XLA_FLAGS="--xla_gpu_deterministic_opps=true")
    assert done.returncode != 0 and "Unknown flag" in done.stderr


def test_it_refuses_when_it_is_too_late(monkeypatch: pytest.MonkeyPatch):
    jax.devices()
    monkeypatch.setenv("XLA_FLAGS", "")
    with pytest.raises(
        InputError, match="must be set before jax starts; set XLA_FLAGS=--xla_gpu_deterministic_ops=true"
    ):
        runtime.enable_determinism()
    assert os.environ["XLA_FLAGS"] == ""
    monkeypatch.setenv("XLA_FLAGS", runtime.DETERMINISTIC_FLAGS)
    runtime.enable_determinism()


def test_it_refuses_where_the_flags_are_in_a_file():
    done = python("from stylejax.cli.runtime import enable_determinism; enable_determinism()", XLA_FLAGS="flags.txt")
    assert "InputError: --deterministic cannot edit the file in XLA_FLAGS; write --xla_gpu" in done.stderr


@pytest.mark.parametrize(
    ("says", "own", "asks"), [("[madvise]", None, 1), ("[always]", None, 0), ("[madvise]", "x=1", 0)]
)
def test_huge_pages_are_asked_for_once_where_that_helps(says, own, asks, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(runtime, "HUGE_PAGES_FILE", tmp_path / "enabled")
    runtime.HUGE_PAGES_FILE.write_text(f"always {says} never")
    monkeypatch.setattr(os, "execve", lambda program, words, names: started.append((words, names["GLIBC_TUNABLES"])))
    monkeypatch.setenv("GLIBC_TUNABLES", own) if own else monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    runtime.enable_huge_pages()
    assert started == [(sys.orig_argv, "glibc.malloc.hugetlb=1")] * asks


def test_without_linux_no_huge_pages_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(runtime, "HUGE_PAGES_FILE", tmp_path / "nowhere")
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("started again"))
    runtime.enable_huge_pages()


def test_jax_has_the_private_name_that_is_used():
    """It has no public way to tell whether a backend was started."""
    from jax._src import xla_bridge

    assert xla_bridge.backends_are_initialized() in (True, False)


def test_help_starts_no_second_process():
    done = python(
        "import os, sys; del os.execve; sys.argv[1:] = ['--help']; from stylejax.cli.main import entry; entry()"
    )
    assert done.returncode == 0 and "transfer" in done.stdout, done.stderr


VERBS = """
from stylejax.cli.main import main
made = "o.png --weights narrow.h5 --size 32 --steps 1 --scales 1"
for words in (
    f"transfer c.png c.png -o {made}",
    f"reconstruct style c.png -o {made}",
    "features c.png -o f.png --weights narrow.h5",
    "sweep -o s --content c.png --style c.png --seed 0,1 --weights narrow.h5 --size 32",
    "weights show narrow.h5",
    "weights normalize narrow.h5 --images . -o n.h5",
):
    print(main(words.split()))
"""


def test_every_verb_is_refused_in_one_line_without_a_device(desk):
    done = python(VERBS, JAX_PLATFORMS="nonsense")
    assert done.stdout == "2\n" * 6, done.stderr
    assert set(done.stderr.splitlines()) == {
        "stylejax: error: jax cannot start with JAX_PLATFORMS=nonsense: Unable to initialize backend 'nonsense': Backend "
        "'nonsense' is not in the list of known backends: ['cpu', 'tpu'].; correct or unset it"
    }


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("JAX_PLATFORMS", "cuda", "jax cannot start with JAX_PLATFORMS=cuda: "),
        ("XLA_FLAGS", "--xla_nonsense=1", "XLA_FLAGS must be flags of this jaxlib, got: Unknown flag"),
        ("XLA_FLAGS", "--xla_force_host_platform_device_count=a", "got: Couldn't interpret value a for flag xla_force"),
        ("JAX_ENABLE_X64", "banana", "jax does not accept the environment: invalid truth value 'banana'"),
        ("JAX_NUMPY_DTYPE_PROMOTION", "x", 'Invalid value "x" for JAX flag jax_numpy_dtype_promotion; correct'),
    ],
)
def test_an_environment_that_jax_refuses_is_refused_in_one_line(desk, name: str, value: str, reason: str):
    done = python("from stylejax.cli.main import main; print(main(['weights', 'show', 'narrow.h5']))", **{name: value})
    assert (done.stdout, done.stderr.count("\n")) == ("2\n", 1) and reason in done.stderr


STRICT = {name: "1" for name in ("JAX_ENABLE_X64", "JAX_DEBUG_NANS", "JAX_DEBUG_INFS", "JAX_CHECK_TRACER_LEAKS")}
STRICT |= {"JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_TRANSFER_GUARD": "disallow"}

HOMELESS = """
import os, pwd
def unknown(uid): raise KeyError(uid)
pwd.getpwuid = unknown
for name in ("HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"): os.environ.pop(name, None)
"""

TRANSFER = "transfer c.png c.png -o o.png --size 32 --steps 1 --scales 1 --weights narrow.h5"
TRANSFER += " --content-layers conv1_1 --style-layers conv1_1 --style-crop 0"
FEATURES = "features c.png -o f.png --weights narrow.h5 --layers conv1_1"


@pytest.mark.parametrize(
    ("before", "environment", "words"),
    [
        (HOMELESS, STRICT, TRANSFER),
        (HOMELESS, {}, "weights list"),
        ("", {"XDG_CACHE_HOME": "/tmp/\udcff", "JAX_COMPILATION_CACHE_DIR": ""}, FEATURES),
        ("", {"JAX_COMPILATION_CACHE_DIR": "/tmp/\udcff"}, FEATURES),
    ],
    ids=["strict without a home", "without a home", "cache folder", "program folder"],
)
def test_other_environments_change_nothing(desk, before: str, environment: dict[str, str], words: str):
    run = words.split()
    fast = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    done = python(f"{before}\nfrom stylejax.cli.main import main\nprint(main({run}))", **environment, **fast)
    assert done.stdout.endswith("\n0\n") and "note" not in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["jax_enable_x64", "jax_numpy_dtype_promotion"])
@pytest.mark.parametrize("minimizer", [lbfgs(3), adam(0.1, 0.9)], ids=["lbfgs", "adam"])
def test_minimizers_keep_the_type_of_their_parameters(name: str, minimizer: Minimizer):
    """Also in a Python program with float64 by default, or without implicit promotion."""
    before = getattr(jax.config, name)
    try:
        jax.config.update(name, True if name.endswith("64") else "strict")
        state = jax.eval_shape(minimizer.init, jnp.ones(4, jnp.float32))
        again, _ = jax.eval_shape(functools.partial(step, minimizer, lambda x: (jnp.vdot(x, x), None)), state)
    finally:
        jax.config.update(name, before)
    types = [(x.dtype, y.dtype) for x, y in zip(jax.tree.leaves(state), jax.tree.leaves(again), strict=True)]
    assert all(x == y != jnp.float64 for x, y in types)
