"""The network and the minimizer that a config asks for."""

from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.models.architecture import Parameters
from stylejax.models.normalize import normalized
from stylejax.models.vgg import VGG, build_vgg
from stylejax.optimizers.adam import adam
from stylejax.optimizers.base import Minimizer
from stylejax.optimizers.lbfgs import lbfgs

NETWORK_FIELDS = ("losses", "pooling", "padding", "remat", "precision")
"""Fields of a config that decide the network, beside its weights."""


def vgg_of(config: TransferConfig, parameters: Parameters) -> VGG:
    """Build the network of a config, normalized unless its losses are caffe's. Raises `InputError` as `check_scale` does."""
    check_scale(config, parameters.normalized)
    parameters = parameters if config.losses == "caffe" else normalized(parameters)
    return build_vgg(parameters, config.pooling, padding=config.padding, remat=config.remat, precision=config.precision)


def check_scale(config: TransferConfig, is_normalized: bool) -> None:
    """Raise `InputError` for a normalized network with losses made for one as published."""
    if config.losses == "caffe" and is_normalized:
        raise InputError(
            "--losses caffe (preset neural-style or gatys2016) must have a network as published, got a normalized one; give "
            "--weights vgg16 or a file of Keras, Caffe or torchvision"
        )


def minimizer_of(config: TransferConfig, steps: int) -> Minimizer:
    """Build the minimizer of a config, with no more memory than `steps` can fill."""
    if config.optimizer == "adam":
        return adam(config.learning_rate, config.average)
    return lbfgs(min(config.history, steps))
