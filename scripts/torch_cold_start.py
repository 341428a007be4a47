"""Take one step of style transfer in PyTorch: `python torch_cold_start.py SIDE OUT`.

The program does not import jax. Its kernels are random, which takes the same time.
"""

import sys

import numpy as np
import torch
from PIL import Image

BLOCKS = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256, 256), (256, 512, 512, 512, 512), (512, 512))


def features(image: torch.Tensor, kernels: list[list[torch.Tensor]]) -> list[torch.Tensor]:
    """Return the features (channels, positions) of the first layer of each block."""
    x, outputs = image, []
    for i, block in enumerate(kernels):
        x = torch.nn.functional.avg_pool2d(x, 2) if i else x
        for kernel in block:
            x = torch.relu(torch.nn.functional.conv2d(x, kernel, padding=1))
            if kernel is block[0]:
                outputs.append(x.flatten(2)[0])
    return outputs


def main(side: int, out: str) -> None:
    """Compute one loss with its gradient, take one step and write one file."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kernels = [
        [torch.randn(o, i, 3, 3, device=device) / (3 * i**0.5) for i, o in zip(b[:-1], b[1:], strict=True)]
        for b in BLOCKS
    ]
    x, style = (torch.rand(1, 3, side, side, device=device) for _ in range(2))
    grams = [f @ f.T / f.shape[1] for f in features(style, kernels)]
    x.requires_grad_()
    loss = sum(((f @ f.T / f.shape[1] - a) ** 2).mean() for f, a in zip(features(x, kernels), grams, strict=True))
    loss.backward()  # type: ignore[union-attr]
    assert x.grad is not None
    image = (x - 0.01 * x.grad / x.grad.abs().max()).clamp(0, 1)[0].permute(1, 2, 0).detach().cpu().numpy()
    Image.fromarray((255 * image).astype(np.uint8)).save(out)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
