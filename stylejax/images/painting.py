"""Generate a painting: an original night landscape in thick strokes, a style image that needs no file.

A scene gives every point of the canvas a palette, a tone and a brush direction. Brushes from broad to fine paint curved strokes
along these directions; light from the upper left then falls on the relief. Points and directions are complex numbers, x to the
right and y downwards; a factor 1j turns a direction by 90°.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Complex, Float, Int
from PIL import Image as Pillow

from stylejax.errors import InputError

Array: TypeAlias = np.ndarray
Generator: TypeAlias = np.random.Generator

SKY, LIGHT, FAR_HILLS, NEAR_HILLS, WHEAT, CYPRESS = range(6)
# Pigments of each palette from dark to light; LIGHT goes from the rim of a halo to its core.
PALETTES = (
    "080c30 0f1a5a 15308e 1e4db4 347ac9 66addb a9d3dc e3ecd0 f8efbe",
    "1b4aa6 3f8fc8 86c5c0 d5e4b8 f6ea94 fbd43c f39a18 fbc52e fff6c8",
    "0a1036 18265e 294a90 376a9e 5690b4 93bdbc",
    "08202c 0d4440 187656 45984f 8db14e d9d062",
    "3a2012 83481a c27c1c e5a924 f6cf4c faeab0",
    "04080b 081816 10302a 1d4a34 47602c 7d451e",
)
ACCENTED = 0.025  # Share of the strokes in an accent color
ACCENTS = ("e8871e 2fb39a f4e7a1 6a5acb", "22a06b f08a1c", "8fd0d0 5b55b0", "f2d14e 1d3f8a", "d8331e e0452a", "b8341f")

# Width and length of a stroke in pixels of a 768×600 canvas, area of all strokes over the canvas, variation of their tone
BRUSHES = ((15, 70, 2.2, 0.06), (7, 55, 1.5, 0.11), (4.5, 42, 1.4, 0.13), (2.8, 30, 1.0, 0.17))

# Center in percent of width and height, radius in percent of the root of the area; a negative radius spins the other way.
VORTICES = "68 38 17.5   12 46 -11.5   43 55 -7.5"
MOON_AND_STARS = (
    "38 24 15.0    4 22 4.0   12  9 5.2   16 28 4.2   25  5 3.6   57  5 3.8   63 16 4.5   74  5 5.5 "
    "85 19  3.4   95 10 6.0   31 55 5.0   97 42 4.5    3 62 3.4   81 57 4.0   26 44 3.0"
)
CYPRESSES = ((0.90, 0.14, 0.055), (0.84, 0.42, 0.04), (0.945, 0.36, 0.035), (0.79, 0.68, 0.03))  # Foot, top, breadth
# Level, tilt and swing of the ridge
HILLS = ((FAR_HILLS, 0.63, 0.04, 0.030), (NEAR_HILLS, 0.75, -0.05, 0.025), (WHEAT, 0.86, 0.09, 0.020))
HORIZON = 0.68
RING = 0.024  # Breadth of a ring of light
INWARD = 0.28  # Tangent of the pitch of a spiral
REFERENCE_AREA, SMALLEST_SCALE = 768 * 600, 0.6  # Strokes shrink with the canvas, down to a size that pixels can show.
SUPERSAMPLING, SPACING = 2, 0.8  # Samples of a stroke farther apart than 1 would let the ground show through.
BATCH = 3_000_000  # Samples painted at a time, to bound the memory


class Scene(NamedTuple):
    """Palette, tone in [0, 1] and brush direction, squared in composition as a brush goes both ways."""

    palette: Int[np.ndarray, "h w"]
    tone: Float[np.ndarray, "h w"]
    flow: Complex[np.ndarray, "h w"]


def generate_painting(width: int = 768, height: int = 600, seed: int = 7) -> Float[np.ndarray, "h w 3"]:
    """Paint a night of swirling strokes, in [0, 1]; the same size and seed give the same painting."""
    if min(width, height) < 2:
        raise InputError(f"a canvas must be at least 2 pixels a side, got {width}×{height}; give a larger size")
    generator = Generator(np.random.Philox(seed))
    scene = _compose(generator, width, height)
    ground = _pigments(generator, PALETTES, scene.palette.ravel(), 0.8 * scene.tone.ravel() - 0.08)
    color = ground.reshape(height, width, 3).repeat(SUPERSAMPLING, 0).repeat(SUPERSAMPLING, 1)
    relief = np.zeros(color.shape[:2], np.float32)
    for brush in BRUSHES:
        _cover(generator, scene, brush, color, relief)
    lit = _impasto(color, relief).reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, 3)
    return lit.mean((1, 3)).clip(0, 1).astype(np.float32)


def _compose(generator: Generator, width: int, height: int) -> Scene:
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    waves = y + 0.07 * _noise(generator, 4, y) + 0.02 * _noise(generator, 9, y)
    slope_y, slope_x = np.gradient(height * waves)
    flow = slope_y + 0.2 - 1j * slope_x
    tone = 0.30 + 0.15 * np.sin(44 * waves) + 0.08 * _noise(generator, 12, y)
    milky_way = np.exp(-(((waves + 0.35 * (x - 0.5) - 0.50) / 0.05) ** 2))
    scene = Scene(np.full(y.shape, SKY), tone + 0.45 * milky_way, (flow / np.abs(flow)) ** 2)
    stretch = np.sqrt(width / height)  # Keeps discs round, with the same area on tall and wide canvases.
    for draw, discs in ((_swirl, VORTICES), (_shine, MOON_AND_STARS)):
        for across, down, radius in np.array(discs.split(), float).reshape(-1, 3) / 100:
            across, down = generator.normal((across, down), 0.015)
            draw(scene, (x - across) * stretch + 1j * (y - down) / stretch, radius)
    _land(generator, scene, x, y)
    _cypresses(generator, scene, x, y)
    return scene._replace(flow=np.sqrt(scene.flow / np.abs(scene.flow)).astype(np.complex64))


def _noise(generator: Generator, cells: int, like: Array) -> Array:
    """Return smooth noise of the shape of `like`, with `cells` hills or valleys along each side."""
    coarse = Pillow.fromarray(generator.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize(like.shape[::-1], Pillow.Resampling.BICUBIC), np.float64)


def _swirl(scene: Scene, z: Array, radius: float) -> None:
    r, spin = np.abs(z) + 1e-6, np.sign(radius)
    weight = np.exp(-((r / radius) ** 4))
    scene.flow[:] += 6 * weight * (z / r * (1j * spin - INWARD)) ** 2
    arms = 0.50 + 0.32 * np.cos(2 * (np.angle(z) * spin + np.log(r / abs(radius)) / INWARD))
    scene.tone[:] += weight * (arms - scene.tone)


def _shine(scene: Scene, z: Array, halo: float) -> None:
    r = np.abs(z) + 1e-6
    scene.flow[:] += 40 * np.exp(-((r / (1.15 * halo)) ** 6)) * (1j * z / r) ** 2
    glow = scene.tone + 0.25 * np.exp(-((r / (1.5 * halo)) ** 4))
    scene.palette[r < halo] = LIGHT
    scene.tone[:] = np.where(r < halo, 1.02 - r / halo + 0.12 * np.sin(2 * np.pi * r / RING), glow)


def _land(generator: Generator, scene: Scene, x: Array, y: Array) -> None:
    for palette, level, tilt, swing in HILLS:
        ridge = level + tilt * (x - 0.5) + swing * _noise(generator, 5, y)[:1]
        depth, rough = y - ridge, _noise(generator, 9, y)
        flow = 1 + 1j * (np.gradient(len(y) * ridge, axis=1) * np.exp(-depth.clip(0) / 0.15) + 0.25 * rough)
        tone = 0.5 + 0.25 * np.sin(90 * depth + 2 * rough) + 0.08 * _noise(generator, 16, y)
        if palette == WHEAT:
            furrows = x - 0.30 + 1j * (y - HORIZON)
            flow = furrows / np.abs(furrows) * np.exp(0.35j * rough)
            tone = 0.56 + 0.30 * np.sin(22 * np.angle(furrows) + 1.5 * rough)
        below = depth > 0
        tone -= 0.6 * np.exp(-((depth / 0.007) ** 2))
        scene.palette[below], scene.tone[below], scene.flow[below] = palette, tone[below], flow[below] ** 2


def _cypresses(generator: Generator, scene: Scene, x: Array, y: Array) -> None:
    for foot, top, breadth in CYPRESSES:
        t, phase = ((y - top) / (1 - top)).clip(0, 1), generator.uniform(0, 2 * np.pi)
        side = (x - foot - 0.012 * np.sin(9 * t + phase)) / breadth
        inside = np.abs(side) < t**0.75 * (1 + 0.22 * np.sin(17 * t + phase + np.sign(side)))
        flame = 0.45 * np.sin(14 * t + 2.5 * side + phase) - 0.25 * side - 1j
        tone = 0.35 + 0.3 * np.sin(7 * side + 8 * t + phase)
        scene.palette[inside], scene.tone[inside], scene.flow[inside] = CYPRESS, tone[inside], flame[inside] ** 2


def _cover(generator: Generator, scene: Scene, brush: tuple, color: Array, relief: Array) -> None:
    """Paint one layer of strokes, first the sky, then the hills, then the cypresses."""
    width, length, coverage, variation = brush
    h, w = scene.tone.shape
    scale = max((h * w / REFERENCE_AREA) ** 0.5, SMALLEST_SCALE)
    width, length = width * scale, length * scale
    count = int(coverage * (w + length / 2) * h / (width * length)) + 1
    starts = generator.uniform(-length / 2, w, count) + 1j * generator.uniform(0, h, count)
    starts = starts[np.argsort(scene.palette[_pixel(starts, h, w)], kind="stable")]
    latest = np.empty(relief.size, np.int32)
    for batch in np.array_split(starts, int(coverage * relief.size / SPACING**2 / BATCH) + 1):
        path, wet = _trace(generator, scene, batch, width, length)
        pixel, load = _bristles(generator, path, wet, width, relief.shape)
        palette, tone = scene.palette[_pixel(batch, h, w)], scene.tone[_pixel(batch, h, w)]
        paints = [_pigments(generator, PALETTES, palette, generator.normal(tone, variation)) for _ in range(2)]
        accented = generator.uniform(size=len(batch)) < ACCENTED
        paints[0][accented] = _pigments(generator, ACCENTS, palette[accented], generator.uniform(size=accented.sum()))
        samples = np.flatnonzero(pixel >= 0).astype(np.int32)
        target = pixel.ravel()[samples]
        latest[target] = samples  # The last of equal targets stays: the stroke that was painted last.
        top = latest[target] == samples
        _lay(color, relief, target[top], np.unravel_index(samples[top], pixel.shape), len(wet), load, paints)


def _pixel(points: Array, h: int, w: int) -> tuple[Array, Array]:
    return np.imag(points).astype(int).clip(0, h - 1), np.real(points).astype(int).clip(0, w - 1)


def _trace(generator: Generator, scene: Scene, points: Array, width: float, length: float) -> tuple[Array, Array]:
    """Return points and directions of strokes along the flow, and whether each point is painted."""
    steps = int(length * SUPERSAMPLING / SPACING) + 2
    path, wet = np.empty((2, steps, len(points)), np.complex64), np.empty((steps, len(points)), bool)
    ground = np.maximum(scene.palette, LIGHT)  # Strokes may go from the sky into a halo and back.
    start_ground = ground[_pixel(points, *ground.shape)]
    turn = np.exp(1j * generator.normal(0, 0.12, len(points)))
    overshoot, strayed = generator.uniform(0, 0.6 * width, len(points)), np.zeros(len(points))
    direction = np.ones(len(points), complex)
    for i in range(steps):
        pixel = _pixel(points, *ground.shape)
        flow = scene.flow[pixel] * turn
        direction = np.where(np.real(flow * direction.conj()) < 0, -flow, flow)
        strayed += (ground[pixel] != start_ground) * length / steps
        path[:, i], wet[i] = (points, direction), strayed <= overshoot
        points = points + direction * length / steps
    return path, wet


def _bristles(generator: Generator, path: Array, wet: Array, width: float, shape: tuple) -> tuple[Array, Array]:
    """Return the pixel under each bristle at each step, -1 for no paint, and the paint on each bristle."""
    steps, count = wet.shape
    across = int(width * SUPERSAMPLING / SPACING) + 3
    raw = generator.uniform(size=(count, across + 2)).astype(np.float32)
    load = (raw[:, :-2] + 2 * raw[:, 1:-1] + raw[:, 2:]) / 4
    v, u = np.linspace(-1, 1, across, dtype=np.float32), np.linspace(0, 1, steps, dtype=np.float32)[:, None, None]
    half = width / 2 * generator.uniform(0.65, 1.15, (count, 1)).astype(np.float32)
    reach = generator.uniform(0.6, 1, (count, 1)).astype(np.float32)
    point = (path[0][..., None] + 1j * path[1][..., None] * (half * v)) * SUPERSAMPLING
    x, y = np.floor(point.real).astype(np.int32), np.floor(point.imag).astype(np.int32)
    marks = (u > 0.1 * v**2 + 0.05 * load) & (u < reach * (1 - 0.25 * v**2 - 0.35 * load)) & wet[..., None]
    marks &= (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
    return np.where(marks, y * shape[1] + x, -1), load


def _lay(color: Array, relief: Array, target: Array, sample: tuple, steps: int, load: Array, paints: list) -> None:
    """Paint two half-mixed pigments in streaks, thicker at the edges of a stroke and at its beginning."""
    u, stroke, v = sample
    across = load.shape[1]
    t = (u / steps).astype(np.float32)
    hair = load[stroke, v] * (1 - t) + load[stroke, (v + across // 2) % across] * t
    mix = (1.65 * hair - 0.45).clip(0, 0.75)[:, None]
    streak = 0.24 * (load[stroke, (2 * v + 1) % across] - 0.5)[:, None]
    mixed = paints[0][stroke] * (1 - mix) + paints[1][stroke] * mix
    color.reshape(-1, 3)[target] = mixed * (1 + 1.2 * streak) + 0.4 * streak
    edge = np.abs(2 * v / (across - 1) - 1)
    body = (0.5 + 0.9 * hair + 0.4 * edge**3 - 0.9 * edge**8) * (1 - 0.5 * t)
    relief.reshape(-1)[target] = 0.3 * relief.reshape(-1)[target] + body


def _pigments(generator: Generator, palettes: tuple[str, ...], palette: Array, tone: Array) -> Array:
    """Return a color for each tone, drawn towards the nearest pigment of its palette."""
    colors = np.empty((len(palette), 3))
    for i, names in enumerate(palettes):
        pigments = np.array([list(bytes.fromhex(name)) for name in names.split()]) / 255
        index = (tone[palette == i] * (len(pigments) - 1)).clip(0, len(pigments) - 1)
        index += 0.6 * (index.round() - index)
        colors[palette == i] = np.stack([np.interp(index, np.arange(len(pigments)), c) for c in pigments.T], -1)
    return generator.normal(colors, 0.03).clip(0, 1).astype(np.float32)


def _impasto(color: Array, relief: Array) -> Array:
    """Light the slopes of the paint that face the upper left and shade the others."""
    rise = np.zeros_like(relief)
    rise[1:-1] += relief[2:] - relief[:-2]
    rise[:, 1:-1] += relief[:, 2:] - relief[:, :-2]
    light, shadow = (0.8 * rise).clip(0, 1)[..., None], (-0.8 * rise).clip(0, 1)[..., None]
    return color * (1 - 0.55 * shadow) + (0.06 + 0.22 * color) * light
