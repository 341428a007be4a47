"""Implement the paper in one file: `paper.py CONTENT STYLE OUT.png [SIZE STEPS WEIGHTS]`.

L-BFGS minimizes `α · L_content + β · L_style` (equation 7) from white noise, on the authors' normalized VGG-19 with average
pooling. `stylejax transfer --preset paper` does the same, and can be interrupted, resumed and verified.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import stylejax

CONTENT_LAYERS = ["conv4_2"]
STYLE_LAYERS = ["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"]
ALPHA, BETA = 1.0, 1e3
"""α/β = 10⁻³, as in Figure 2."""


def style_transfer(
    content: Float[Array, "h w 3"], style: Float[Array, "_ _ 3"], vgg: stylejax.VGG, steps: int
) -> Float[Array, "h w 3"]:
    """Return an image (h, w, 3) with the content of one image and the style of another."""
    targets = stylejax.make_targets(vgg, content, style, CONTENT_LAYERS, STYLE_LAYERS)
    weights = stylejax.LossTerms(
        content=dict.fromkeys(CONTENT_LAYERS, ALPHA),
        style=dict.fromkeys(STYLE_LAYERS, BETA / len(STYLE_LAYERS)),
        tv=0.0,
    )
    noise = 0.5 + 0.05 * jax.random.normal(jax.random.key(0), content.shape)
    args = (vgg, targets, weights)
    return stylejax.minimize(stylejax.objective, stylejax.lbfgs(), noise, args, steps, print_loss).params


def print_loss(info: stylejax.Info) -> None:
    """Print the loss of one step."""
    print(f"loss {float(info.value):.4g}")


def main(content: str, style: str, out: str, size: str = "256", steps: str = "300", weights: str = "auto") -> None:
    """Read two images and write the result."""
    photograph, painting = (
        jnp.asarray(stylejax.resize_longest_side(stylejax.read_image(path), int(size))) for path in (content, style)
    )
    image = style_transfer(photograph, painting, stylejax.load_vgg(weights), int(steps))
    stylejax.write_image(out, np.asarray(image))


if __name__ == "__main__":
    main(*sys.argv[1:])
