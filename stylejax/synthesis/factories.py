"""Constructors of the network and the minimizer of a config."""

from stylejax.config import TransferConfig
from stylejax.errors import InputError
from stylejax.models.architecture import VGGWeights
from stylejax.models.normalize import normalized
from stylejax.models.vgg import VGG, build_vgg
from stylejax.optimizers.adam import adam
from stylejax.optimizers.base import Minimizer
from stylejax.optimizers.lbfgs import lbfgs

NETWORK_FIELDS = ("loss_normalization", "pooling", "padding", "remat", "precision")
"""Fields of a config that determine the network, in addition to its weights."""


def make_vgg(config: TransferConfig, parameters: VGGWeights) -> VGG:
    """Build the network of a config, normalized unless the losses are normalized as in Caffe.

    Raises `InputError` as `require_published_weights` does.
    """
    require_published_weights(config, parameters.normalized)
    parameters = parameters if config.loss_normalization == "caffe" else normalized(parameters)
    return build_vgg(parameters, config.pooling, padding=config.padding, remat=config.remat, precision=config.precision)


def require_published_weights(config: TransferConfig, is_normalized: bool) -> None:
    """Raise `InputError` if the losses of a config require a network as published, and it is normalized."""
    if config.loss_normalization == "caffe" and is_normalized:
        raise InputError(
            "--loss-normalization caffe (preset neural-style or gatys2016) must have a network as published, "
            "got a normalized one; give --weights vgg16 or a file of Keras, Caffe or torchvision"
        )


def make_minimizer(config: TransferConfig, steps: int) -> Minimizer:
    """Build the minimizer of a config; L-BFGS allocates no more memory than `steps` can fill."""
    if config.optimizer == "adam":
        return adam(config.learning_rate, config.ema_decay)
    return lbfgs(min(config.history, steps))
