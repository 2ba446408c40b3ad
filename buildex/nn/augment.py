"""How a training sample differs from its scene: place, angle, scale, mirror, light, blur.

Geometry is one 2 x 3 matrix (scene to sample) that moves pixels and polygons alike. Pixel
coordinates are continuous, (0, 0) the outer corner of the first pixel; Pillow's AFFINE
transform evaluates at pixel centres x + 0.5 and so means the same.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]
Matrix = NDArray[np.float64]
GREY = 0.1  # chance of faded colours, as strong as `light`
REPAINTED = 0.12  # chance of any other hue: roofs elsewhere have other paint


@dataclass(frozen=True)
class Augment:
    """How much samples are changed; each chance is 0..1.

    Attributes:
        scale_low: least zoom.
        scale_high: greatest zoom; zooms are drawn log-uniformly.
        turn: any rotation and mirror, else neither.
        light: strength of brightness, contrast, gamma, white balance, saturation and hue changes.
        haze: chance of haze.
        blur: chance of blur or a coarser resolution.
        noise: chance of sensor noise.
        jpeg: chance of JPEG traces.
        shade: chance of shadows.
        overgrow: chance of patches of ground over everything, as trees stand over roofs.
        paste: chance that buildings of another sample are put down.
        lay: chance that straight-edged pieces of another sample's ground are put down.
    """

    scale_low: float = 0.7
    scale_high: float = 1.4
    turn: bool = True
    light: float = 1.0
    haze: float = 0.15
    blur: float = 0.3
    noise: float = 0.2
    jpeg: float = 0.3
    shade: float = 0.2
    overgrow: float = 0.2
    paste: float = 0.3
    lay: float = 0.3


NO_AUGMENT = Augment(1.0, 1.0, False, *[0.0] * 9)


def draw_matrix(
    rng: np.random.Generator, centre: tuple[float, float], size: int, augment: Augment
) -> Matrix:
    """A random matrix (2, 3), scene to sample, that brings `centre` to the sample's middle."""
    scale = math.exp(rng.uniform(math.log(augment.scale_low), math.log(augment.scale_high)))
    angle = rng.uniform(0, 2 * math.pi) if augment.turn else 0.0
    mirror = -1.0 if augment.turn and rng.random() < 0.5 else 1.0
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cos * mirror, -sin], [sin * mirror, cos]])
    shift = np.array([size / 2, size / 2]) - linear @ np.array(centre)
    return np.hstack([linear, shift[:, None]])


def warp(
    pixels: Pixels, valid: NDArray[np.bool_], matrix: Matrix, size: int
) -> tuple[Pixels, NDArray[np.bool_]]:
    """Pixels (h, w, 3) and their validity under a matrix, as a square sample.

    Args:
        pixels: RGB.
        valid: (h, w).
        matrix: (2, 3), from these pixels to the sample's.
        size: side of the sample.

    Returns:
        (size, size, 3) and (size, size); what comes from outside is black and not valid.
    """
    inverse = np.linalg.inv(matrix[:, :2])
    shift = -inverse @ matrix[:, 2]
    data = (inverse[0, 0], inverse[0, 1], shift[0], inverse[1, 0], inverse[1, 1], shift[1])
    affine = Image.Transform.AFFINE
    image = Image.fromarray(pixels).transform(
        (size, size), affine, data, resample=Image.Resampling.BILINEAR
    )
    if valid.all() and _covers(valid.shape, inverse, shift, size):
        return np.array(image), np.ones((size, size), dtype=bool)
    mask = Image.fromarray(valid.astype(np.uint8)).transform(
        (size, size), affine, data, resample=Image.Resampling.NEAREST
    )
    return np.array(image), np.array(mask).astype(bool)


def _covers(shape: tuple[int, ...], inverse: NDArray[Any], shift: NDArray[Any], size: int) -> bool:
    """Whether a sample's pixels all come from within an image of `shape`."""
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]]) @ inverse.T + shift
    inside = (corners >= 0) & (corners <= np.array([shape[1], shape[0]]))
    return bool(inside.all())


def recolour(pixels: Pixels, rng: np.random.Generator, augment: Augment) -> Pixels:
    """The sample under another light, through another lens; same shape."""
    values = _relit(pixels, rng, augment.light)
    if rng.random() < augment.haze:
        veil = rng.uniform(0.6, 1.0, 3).astype(np.float32)
        values += (veil - values) * np.float32(rng.uniform(0.05, 0.35))
    if rng.random() < augment.noise:
        grain = rng.standard_normal(values.shape, dtype=np.float32)
        values += grain * np.float32(rng.uniform(0.005, 0.03))
    values *= np.float32(255)
    values += np.float32(0.5)
    out = values.clip(0, 255, out=values).astype(np.uint8)
    if rng.random() < augment.blur:
        out = _soften(out, rng)
    if rng.random() < augment.jpeg:
        out = _through_jpeg(out, int(rng.integers(35, 90)))
    return out


def _relit(pixels: Pixels, rng: np.random.Generator, strength: float) -> NDArray[np.float32]:
    """Brightness, gamma, white balance, saturation, hue and contrast; values 0..1.

    What works on one channel is a table of 256 values, what mixes channels a 3 x 3 matrix.
    """
    levels = np.arange(256, dtype=np.float32)[:, None] / np.float32(255)
    if strength <= 0:
        return np.asarray(levels[:, 0].take(pixels))
    brightness, contrast, gamma, saturation = rng.uniform(-1, 1, 4) * strength
    gain = np.exp(0.25 * brightness + rng.uniform(-0.12, 0.12, 3) * strength)
    table = ((levels * gain).clip(1e-4, 1) ** math.exp(0.25 * gamma)).astype(np.float32)
    values = np.stack([table[:, c].take(pixels[..., c]) for c in range(3)], axis=2)
    chroma = math.exp(0.4 * saturation)
    if rng.random() < GREY * strength:
        chroma *= rng.uniform(0, 0.5)
    angle = rng.normal(0, 0.12 * strength)
    if rng.random() < REPAINTED * strength:
        angle = rng.uniform(-math.pi, math.pi)
    spread = np.float32(math.exp(0.35 * contrast))
    middle = np.float32(values[::4, ::4].mean())
    values = (values - middle) @ (spread * _colours(chroma, angle))
    values += middle
    return np.asarray(values)


def _colours(chroma: float, angle: float) -> NDArray[np.float32]:
    """The matrix (3, 3) that turns colours (row vectors) around grey and scales their chroma."""
    axis = np.full(3, 1 / math.sqrt(3))
    grey = np.outer(axis, axis)
    across = np.cross(np.eye(3), axis)
    turned = chroma * (math.cos(angle) * (np.eye(3) - grey) + math.sin(angle) * across)
    return np.asarray(grey + turned, dtype=np.float32)


def _soften(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A soft lens, or a coarser camera brought to the same grid."""
    image = Image.fromarray(pixels)
    if rng.random() < 0.5:
        return np.array(image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.6)))))
    factor = rng.uniform(1.3, 3.0)
    small = (max(1, round(image.width / factor)), max(1, round(image.height / factor)))
    coarse = image.resize(small, Image.Resampling.BOX)
    return np.array(coarse.resize(image.size, Image.Resampling.BICUBIC))


def _through_jpeg(pixels: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    with Image.open(buffer) as image:
        return np.array(image.convert("RGB"))
