"""Arguments of Python callers: other kinds of arrays and paths simply work, and all else is refused in one line.

The tests' own checker of types is before `transfer`, and says it in its way: the calls are made in another process.
"""

import os
import subprocess
import sys
from pathlib import Path

START = """
import jax.numpy as jnp, numpy as np, stylejax
from pathlib import Path
from stylejax import InputError, Masks, transfer
vgg = stylejax.build_vgg(stylejax.random_weights("vgg19", 0, (4, 4, 4, 4, 4)))
content, style = (np.random.default_rng(0).random((size, 40, 3)).astype(np.float32).round(2) for size in (36, 44))
mask = np.linspace(0, 1, 40 * 36, dtype=np.float32).reshape(36, 40).round()
stylejax.write_image("c.png", content)
stylejax.write_image("m.png", np.repeat(mask[..., None], 3, -1))
FEW = {"content_layers": ("conv1_1",), "style_layers": ("conv1_1",), "parameterization": "pixels"}
FEW |= {"size": 32, "steps": 1, "scales": "1"}
def run(a=content, b=style, **options):
    return transfer(a, b, **({"vgg": vgg} | FEW | options))
"""

REFUSED = """
for call in (
    lambda: run(np.zeros((0, 5, 3), np.float32)),
    lambda: run(np.zeros((5, 0, 3), np.float32)),
    lambda: run(content, np.zeros((0, 0, 3), np.float32)),
    lambda: run([[1.0], [1.0, 2.0]]),
    lambda: run(None),
    lambda: run("c.png"),
    lambda: run(content, Path("c.png")),
    lambda: run(content, {"a": style}),
    lambda: run(content.astype(complex)),
    lambda: run(np.full((9, 9, 3), 1e300)),
    lambda: run(style_scale=[1.0, 2.0]),
    lambda: run(style_weight=np.ones(2)),
    lambda: run(style_weight=10**400),
    lambda: run(masks=mask),
    lambda: run(masks={"preserve": mask}),
    lambda: run(masks=[mask]),
    lambda: run(masks=False),
    lambda: run(masks=Masks(content=5)),
    lambda: run(masks=Masks(preserve=[[1.0], [1.0, 2.0]])),
    lambda: run(masks=Masks(preserve=np.zeros((0, 4)))),
    lambda: run(masks=Masks(preserve="nothing.png")),
    lambda: run(init=np.zeros((3, 3))),
    lambda: run(init=[1, 2]),
    lambda: run(preserve_mask=np.zeros((36, 40, 7))),
    lambda: run(vgg="vgg19"),
    lambda: run(vgg=stylejax.random_weights("vgg19", 0, (4, 4, 4, 4, 4))),
    lambda: stylejax.maximize_activation("conv1_1", 0, vgg="vgg19"),
    lambda: stylejax.extract_features(content, ["conv1_1"], vgg=5),
    lambda: run(config={}),
    lambda: run(config={"size": 32}),
    lambda: run(config=stylejax.TransferConfig),
    lambda: run(callback=5),
    lambda: run(on_checkpoint="x"),
    lambda: run(resume_from={}),
    lambda: run(resume_from=()),
    lambda: run(mesh=5),
    lambda: run(preset=5),
    lambda: run(preset=["fast"]),
):
    try:
        call()
        print("it was taken")
    except InputError as error:
        print(error)
"""

TAKEN = """
def bits(**options):
    result = run(**options)
    return result.loss, result.image.tobytes()

rounded = lambda array: np.asarray(jnp.asarray(array, jnp.bfloat16), np.float32)
half = Masks(preserve=mask)
plain = bits()
read = stylejax.read_image("c.png")
for name, one, other in (
    ("bfloat16", bits(a=jnp.asarray(content, jnp.bfloat16)), bits(a=rounded(content))),
    ("float64", bits(a=content.astype(np.float64), b=[style.astype(">f4")]), plain),
    ("lists", bits(a=content.tolist()), plain),
    ("scale", bits(style_scale=[1.0]), plain),
    ("scale array", bits(style_scale=jnp.ones(1)), plain),
    ("config", bits(config=stylejax.TransferConfig(seed=np.int64(0))), plain),
    ("init path", bits(init=Path("c.png")), bits(init="c.png")),
    ("init array", bits(init=read), bits(init="c.png")),
    ("init bfloat16", bits(init=jnp.asarray(read, jnp.bfloat16)), bits(init=rounded(read))),
    ("mask path", bits(masks=Masks(preserve=Path("m.png"))), bits(masks=half)),
    ("mask text", bits(preserve_mask="m.png"), bits(masks=half)),
    ("mask option", bits(preserve_mask=Path("m.png")), bits(masks=half)),
    ("mask array", bits(preserve_mask=mask), bits(masks=half)),
    ("mask bfloat16", bits(masks=Masks(preserve=jnp.asarray(mask, jnp.bfloat16))), bits(masks=half)),
    ("mask without a list", bits(masks=Masks(content=mask)), bits(masks=Masks(content=[mask]))),
    ("masks as paths", bits(content_masks=Path("m.png")), bits(content_masks=("m.png",))),
    ("masks as arrays", bits(content_masks=[mask]), bits(masks=Masks(content=[mask]))),
    ("no masks", bits(masks=Masks(content=None, style=None)), plain),
    ("layer", bits(style_layers="relu1_1"), plain),
):
    print(name, one == other)
"""


def lines(code: str, folder: Path) -> list[str]:
    environment = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", START + code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_no_run_can_take_is_refused_in_one_line(tmp_path: Path):
    said = lines(REFUSED, tmp_path)
    assert len(said) == REFUSED.count("lambda:") and "it was taken" not in said
    assert said[0] == "the content image must have pixels, got an array of the shape (0, 5, 3)"
    assert said[13] == "masks must be stylejax.Masks(content=[…], style=[…], preserve=…), got a value of type ndarray"
    assert "vgg must be a network of stylejax.load_vgg or build_vgg, got a value of type str" in said
    assert "config must be a stylejax.TransferConfig, got the class TransferConfig" in said


def test_other_kinds_of_arrays_and_paths_simply_work(tmp_path: Path):
    said = lines(TAKEN, tmp_path)
    assert len(said) == TAKEN.count('    ("') and all(line.endswith(" True") for line in said), said
