"""The paper once more, in float64 NumPy with plain loops: nothing here shares code with the package."""

import numpy as np


def convolve(x, kernel, bias):
    """Zero-padded 3×3 convolution and rectification of x (h, w, i) with a kernel (3, 3, i, o)."""
    h, w, _ = x.shape
    padded = np.zeros((h + 2, w + 2, x.shape[2]))
    padded[1:-1, 1:-1] = x
    out = np.zeros((h, w, kernel.shape[3]))
    for row in range(h):
        for column in range(w):
            window = padded[row : row + 3, column : column + 3]
            for o in range(kernel.shape[3]):
                out[row, column, o] = max(0.0, np.sum(window * kernel[..., o]) + bias[o])
    return out


def pool(x, kind):
    """Average or maximum of 2×2 windows, without a last odd row or column."""
    out = np.zeros((x.shape[0] // 2, x.shape[1] // 2, x.shape[2]))
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            window = x[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(4, -1)
            out[row, column] = window.mean(0) if kind == "avg" else window.max(0)
    return out


def features(image, parameters, pooling="avg"):
    """Every layer's response by name; the names are in the order of the network."""
    x = (np.asarray(image, np.float64) - parameters.mean) / parameters.std
    out, block = {}, "1"
    for name, (kernel, bias) in parameters.layers.items():
        if name[4] != block:
            x, block = pool(x, pooling), name[4]
        x = out[name] = convolve(x, np.asarray(kernel, np.float64), np.asarray(bias, np.float64))
    return out


def gram(f):
    """Equation 3, a sum over positions."""
    h, w, n = f.shape
    flat = f.reshape(h * w, n)
    out = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            out[i, j] = sum(flat[k, i] * flat[k, j] for k in range(h * w))
    return out


def content(f, p):
    """Equation 1, as a mean over channels and positions."""
    return 0.5 * sum((a - b) ** 2 for a, b in zip(f.ravel(), p.ravel(), strict=True)) / f.size


def style(f, a):
    """Equation 4 with the Gram matrix `a` of an image of the same size."""
    n, m = f.shape[2], f.shape[0] * f.shape[1]
    return np.sum((gram(f) - a) ** 2) / (4 * n**2 * m**2)


def variation(x):
    """The mean squares of the differences down and to the right."""
    down = [(x[i + 1, j, c] - x[i, j, c]) ** 2 for i, j, c in np.ndindex(x.shape[0] - 1, x.shape[1], x.shape[2])]
    right = [(x[i, j + 1, c] - x[i, j, c]) ** 2 for i, j, c in np.ndindex(x.shape[0], x.shape[1] - 1, x.shape[2])]
    return np.mean(down) + np.mean(right)


def variation_in_place(x, norm):
    """The mean over all positions and channels of a norm of the two differences; beyond the edge there are none."""
    total = 0.0
    for i, j, c in np.ndindex(x.shape):
        down = x[i + 1, j, c] - x[i, j, c] if i + 1 < x.shape[0] else 0.0
        right = x[i, j + 1, c] - x[i, j, c] if j + 1 < x.shape[1] else 0.0
        total += norm(down, right)
    return total / x.size


def paper_loss(image, p_image, a_image, parameters, content_layers, style_layers, alpha, beta):
    """Equation 7 with w_l = 1/L."""
    f, p, a = (features(x, parameters) for x in (image, p_image, a_image))
    contents = sum(content(f[name], p[name]) for name in content_layers)
    styles = sum(style(f[name], gram(a[name])) / len(style_layers) for name in style_layers)
    return alpha * contents + beta * styles
