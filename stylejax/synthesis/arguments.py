"""Arguments of Python callers, brought to the types that a run needs, or refused in one line."""

from os import PathLike
from typing import Any

import jax.numpy as jnp
import numpy as np

from stylejax.errors import InputError, brief
from stylejax.images.resize import HostImage
from stylejax.models.vgg import VGG
from stylejax.synthesis.regions import Masks, read_mask

MASK_OPTIONS = {"content_masks": "content", "style_masks": "style", "preserve_mask": "preserve"}
"""Options that are the files of masks, and the fields of `Masks`."""


def require_kind(name: str, value: Any, kind: Any, description: str) -> None:
    """Raise `InputError` unless the argument is of its kind."""
    if not isinstance(value, kind):
        raise InputError(f"{name} must be {description}, got {_type_name(value)}")


def require_vgg(vgg: Any) -> None:
    require_kind("vgg", vgg, VGG, "a network of stylejax.load_vgg or build_vgg")


def check_image(image: Any, role: str) -> HostImage:
    """Return an image (h, w, 3) as float32; raise `InputError` unless it has finite floats near [0, 1]."""
    if isinstance(image, str | PathLike):
        raise InputError(
            f"the {role} image must be an array, got the path {str(image)!r}; load it with stylejax.read_image"
        )
    array = _as_array(image, f"the {role} image")
    if array.ndim != 3 or array.shape[-1] != 3 or array.dtype.kind not in "fiu":
        raise InputError(f"the {role} image must be (h, w, 3) of numbers, got an array {array.shape} of {array.dtype}")
    if array.dtype.kind in "iu":
        raise InputError(f"the {role} image holds integers; divide it by 255 (or 65535) so that it is in [0, 1]")
    if not np.isfinite(array).all():
        raise InputError(f"the {role} image has values that are not finite; give it numbers in [0, 1] everywhere")
    if array.min() < -0.5 or array.max() > 1.5:
        raise InputError(f"the {role} image has values outside [0, 1]; divide it by its full intensity")
    return array


def pop_arrays(options: dict[str, Any]) -> tuple[HostImage | None, dict[str, Any]]:
    """Remove arrays in place of files from the options; return the initial image, and masks by their fields of `Masks`."""
    initial = check_image(options.pop("init"), "initial") if _has_array(options.get("init")) else None
    return initial, {kind: options.pop(name) for name, kind in MASK_OPTIONS.items() if _has_array(options.get(name))}


def as_arrays(masks: Masks) -> Masks:
    """Return the masks as arrays; each may also be the path of an image, and a single one needs no list."""
    content = [_as_mask(mask, f"content mask {i}") for i, mask in enumerate(_as_list(masks.content), 1)]
    style = [_as_mask(mask, f"style mask {i}") for i, mask in enumerate(_as_list(masks.style), 1)]
    preserve = None if masks.preserve is None else _as_mask(masks.preserve, "the preserve mask")
    return Masks(content, style, preserve, [None if a is None else _as_array(a, "alpha") for a in masks.alpha])


def _as_list(masks: Any) -> Any:
    if masks is None:
        return ()
    is_stack = getattr(masks, "ndim", 0) == 3 and masks.shape[-1] != 3
    return masks if isinstance(masks, (tuple, list)) or is_stack else (masks,)


def _as_mask(mask: Any, name: str) -> Any:
    return read_mask(str(mask)) if isinstance(mask, str | PathLike) else _as_array(mask, name)


def _has_array(value: Any) -> bool:
    return hasattr(value, "ndim") or isinstance(value, (tuple, list)) and any(hasattr(part, "ndim") for part in value)


def _as_array(value: Any, name: str) -> np.ndarray:
    """Return an array, floats of any width as float32; raise `InputError` if it is empty or has no numbers."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be an array of numbers, got {_type_name(value)} ({brief(error)})") from None
    if not array.size:
        raise InputError(f"{name} must have pixels, got an array of the shape {array.shape}")
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False) if jnp.issubdtype(array.dtype, jnp.floating) else array


def _type_name(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a value of type {type(value).__name__}"
