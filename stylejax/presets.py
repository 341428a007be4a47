"""Starting points: configs by name, and what each is for. Standard library only."""

from stylejax.config import TransferConfig
from stylejax.errors import InputError, did_you_mean

PRESETS: dict[str, TransferConfig] = {
    "default": TransferConfig(),
    "fast": TransferConfig(size=256, steps=100),
    "quality": TransferConfig(size=640, steps=800),
    "print": TransferConfig(size=2048, steps=600, history=10),
    "paper": TransferConfig(scales="1", init="noise", style_weight=1e3, losses="paper", parameterization="pixels"),
    "gatys2016": TransferConfig(
        scales="1", content_weight=1.0, style_weight=1e3, losses="caffe", pooling="max", parameterization="pixels"
    ),
    "neural-style": TransferConfig(
        steps=1000,
        scales="1",
        init="gray+noise:0.0001",
        content_weight=5.0,
        style_weight=100.0,
        tv_weight=0.255,
        tv="absolute",
        losses="caffe",
        pooling="max",
        parameterization="pixels",
        learning_rate=0.039,
    ),
}
"""Starting points; every option overrides them. `paper` is equations 1 to 7 with α/β = 10⁻³, from white noise at one scale.

`gatys2016` is the authors' own program in PyTorch, at its first size; `neural-style` is Johnson's in its PyTorch port. Their
images go from 0 to 255: the port's weight of total variation, 0.001, becomes 0.255, and its learning rate of 10 a 255th. Their
other weights are for networks of Caffe's scale, which `losses="caffe"` gives to every network as published.
Deviation: the port starts from the mean color of ImageNet, not from gray."""

SAID: dict[str, str] = {
    "default": "one good picture",
    "fast": "a first look, small and soon",
    "quality": "a picture to keep, larger and with more steps",
    "print": "large, with a short memory of steps",
    "paper": "the paper: normalized VGG-19, one scale, from white noise",
    "gatys2016": "the authors' later program; needs a network as published, such as --weights vgg16",
    "neural-style": "Johnson's program and its PyTorch port; needs a network as published, such as --weights vgg16",
}
"""What each preset is for."""


def preset(name: str) -> TransferConfig:
    """The preset of that name. Raises `InputError` if there is none."""
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}{did_you_mean(name, PRESETS)}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
