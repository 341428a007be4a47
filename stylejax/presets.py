"""Named configs from which a run can start. Standard library only."""

from stylejax.config import TransferConfig
from stylejax.errors import InputError, did_you_mean

PRESETS: dict[str, TransferConfig] = {
    "default": TransferConfig(),
    "fast": TransferConfig(size=256, steps=100),
    "quality": TransferConfig(size=640, steps=800),
    "large": TransferConfig(size=2048, steps=600, history=10),
    "paper": TransferConfig(
        scales="1", style_crop=0.0, init="noise", loss_normalization="paper", parameterization="pixels"
    ),
    "gatys2016": TransferConfig(
        scales="1", style_crop=0.0, loss_normalization="caffe", pooling="max", parameterization="pixels"
    ),
    "neural-style": TransferConfig(
        steps=1000,
        scales="1",
        style_crop=0.0,
        init="gray+noise:0.0001",
        content_weight=5.0,
        style_weight=100.0,
        tv_weight=0.255,
        tv_norm="l1",
        loss_normalization="caffe",
        pooling="max",
        parameterization="pixels",
        learning_rate=0.039,
    ),
}
"""Values that replace the defaults; explicit options override them.

`paper` is equations 1 to 7 with the default α/β = 10⁻³, from white noise at one scale. `gatys2016` is the authors' later
program in PyTorch at its first size. `neural-style` is Johnson's program in its PyTorch port, whose images range over [0, 255]:
its total variation weight of 0.001 becomes 0.255, and its learning rate of 10 becomes 10/255. The last two need weights as
published, whose features `loss_normalization="caffe"` rescales to Caffe's range.
Deviation: the port starts from the mean color of ImageNet, not from gray.
"""


def preset(name: str) -> TransferConfig:
    """Return the preset of that name. Raise `InputError` if there is none."""
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(
            f"unknown preset {name!r}{did_you_mean(str(name), PRESETS)}: choose one of {', '.join(PRESETS)}"
        )
    return PRESETS[name]
