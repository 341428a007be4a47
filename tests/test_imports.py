"""The map of the package: who may import whom, and what importing costs."""

import ast
import subprocess
import sys
from pathlib import Path

import stylejax

PACKAGE = Path(stylejax.__file__).parent
LEVELS = (
    ("types", "errors", "settings", "config", "presets"),
    (
        "files",
        "resizing",
        "images",
        "installed",
        "torch_file",
        "colours",
        "deep_colour",
        "film",
        "winograd",
        "network",
        "vgg",
        "windows",
        "losses",
        "gaussian",
        "memory",
        "curvature",
        "minimizer",
        "lbfgs",
        "adam",
        "optimize",
        "lanes",
        "parameterize",
        "picture_text",
        "strict_json",
        "lettering",
        "sheet",
        "page",
        "painting",
    ),
    ("checkpoint", "normalize", "layouts", "convert", "download", "sources", "objective", "regions", "tiles", "shards"),
    (
        "scales",
        "balance",
        "engine",
        "plan",
        "checks",
        "transfer",
        "reconstruct",
        "features",
        "run_file",
        "machine",
        "recipe",
        "manifest",
        "repeat",
        "demo",
        "progress",
        "grid",
        "sweep",
        "rows",
        "results",
        "report",
    ),
    (
        "cli_words",
        "cli_files",
        "cli_watch",
        "cli_run",
        "cli_features",
        "cli_resume",
        "cli_manifest",
        "cli_reconstruct",
        "cli_machines",
        "cli_sweep",
        "cli_weights",
        "cli",
        "__main__",
    ),
)
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}


def imports(path):
    """The modules of the package that a file imports, at the top or within a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stylejax."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.ImportFrom) and node.module == "stylejax":
            yield from (alias.name for alias in node.names)


def modules():
    return [path for path in PACKAGE.glob("*.py") if path.stem != "__init__"]


def test_every_module_has_a_level():
    assert {path.stem for path in modules()} == set(LEVEL)


def test_imports_point_down_the_levels():
    upward = [f"{path.stem} → {name}" for path in modules() for name in imports(path) if LEVEL[name] > LEVEL[path.stem]]
    assert upward == []


def test_imports_make_no_circle():
    graph = {path.stem: set(imports(path)) for path in modules()}
    while leaves := {name for name, needs in graph.items() if not needs}:
        graph = {name: needs - leaves for name, needs in graph.items() if name not in leaves}
    assert graph == {}


def test_the_mathematics_knows_no_configuration():
    for name in ("losses", "vgg", "objective", "minimizer", "lbfgs", "optimize", "curvature"):
        assert "config" not in set(imports(PACKAGE / f"{name}.py"))


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_loads_nothing_heavy():
    heavy = "{'jax', 'flax', 'optax', 'h5py', 'torch', 'requests', 'numpy'}"
    assert run(f"import stylejax, sys; print(sorted({heavy} & set(sys.modules)))") == "[]"
    assert run(f"import stylejax.cli, sys; print(sorted({heavy} & set(sys.modules)))") == "[]"


def test_importing_everything_starts_no_backend():
    code = "import stylejax; [getattr(stylejax, name) for name in stylejax.__all__]\n"
    code += "from jax._src import xla_bridge; print(xla_bridge.backends_are_initialized())"
    assert run(code) == "False"


def test_functions_are_not_hidden_by_modules_of_their_name():
    code = "import stylejax.transfer, stylejax.objective\n"
    code += "print(callable(stylejax.transfer), callable(stylejax.objective))"
    assert run(code) == "True True"
