"""The cost of importing. The order of the folders is a contract of import-linter in pyproject.toml."""

import subprocess
import sys

HEAVY = "{'jax', 'flax', 'optax', 'h5py', 'torch', 'requests', 'numpy'}"


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_loads_nothing_heavy():
    for module in ("stylejax", "stylejax.cli.main"):
        assert run(f"import {module}, sys; print(sorted({HEAVY} & set(sys.modules)))") == "[]"


def test_images_are_read_and_written_without_jax():
    code = "from stylejax.images import color, io, metadata, painting, resize, samples, video\n"
    assert run(f"{code}import sys; print('jax' in sys.modules)") == "False"


def test_importing_everything_starts_no_backend():
    code = "import stylejax; [getattr(stylejax, name) for name in stylejax.__all__]\n"
    code += "from jax._src import xla_bridge; print(xla_bridge.backends_are_initialized())"
    assert run(code) == "False"
