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
UNMIXED = np.eye(3, 4)  # the matrix that leaves colours as they are


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
    tables, mix = _light(pixels, rng, augment.light)
    if rng.random() < augment.haze:
        veil = rng.uniform(0.6, 1.0, 3)
        share = rng.uniform(0.05, 0.35)
        mix = (1 - share) * mix
        mix[:, 3] += 255 * share * veil
    image = Image.fromarray(pixels)
    if augment.light > 0:
        image = image.point(tables)
    if not np.array_equal(mix, UNMIXED):
        image = image.convert("RGB", tuple(mix.ravel()))
    if rng.random() < augment.noise:
        grain = rng.standard_normal(pixels.shape, dtype=np.float32)
        grain *= np.float32(255 * rng.uniform(0.005, 0.03))
        grain += np.array(image)
        grain += np.float32(0.5)
        image = Image.fromarray(grain.clip(0, 255, out=grain).astype(np.uint8))
    if rng.random() < augment.blur:
        image = _soften(image, rng)
    if rng.random() < augment.jpeg:
        image = _through_jpeg(image, int(rng.integers(35, 90)))
    return np.array(image)


def _light(
    pixels: Pixels, rng: np.random.Generator, strength: float
) -> tuple[list[int], NDArray[np.float64]]:
    """Brightness, gamma, white balance, saturation, hue and contrast, as Pillow applies them.

    Returns:
        What works on one channel, three tables of 256 levels in one list; and what mixes them, a
        matrix (3, 4) from levels and 1 to levels.
    """
    if strength <= 0:
        return [], UNMIXED
    brightness, contrast, gamma, saturation = rng.uniform(-1, 1, 4) * strength
    gain = np.exp(0.25 * brightness + rng.uniform(-0.12, 0.12, 3) * strength)
    levels = np.arange(256)[:, None] / 255
    table = (levels * gain).clip(1e-4, 1) ** math.exp(0.25 * gamma) * 255  # (256, 3)
    chroma = math.exp(0.4 * saturation)
    if rng.random() < GREY * strength:
        chroma *= rng.uniform(0, 0.5)
    angle = rng.normal(0, 0.12 * strength)
    if rng.random() < REPAINTED * strength:
        angle = rng.uniform(-math.pi, math.pi)
    turn = math.exp(0.35 * contrast) * _colours(chroma, angle)
    middle = np.mean([table[:, c].take(pixels[::4, ::4, c]).mean() for c in range(3)])
    shift = middle * (1 - turn.sum(axis=0))  # contrast leaves the mean where it is
    tables = (table + 0.5).astype(np.uint8).T.ravel().tolist()
    return tables, np.hstack([turn.T, shift[:, None]])


def _colours(chroma: float, angle: float) -> NDArray[np.float64]:
    """The matrix (3, 3) that turns colours (row vectors) around grey and scales their chroma."""
    axis = np.full(3, 1 / math.sqrt(3))
    grey = np.outer(axis, axis)
    across = np.cross(np.eye(3), axis)
    turned = chroma * (math.cos(angle) * (np.eye(3) - grey) + math.sin(angle) * across)
    return np.asarray(grey + turned)


def _soften(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A soft lens, or a coarser camera brought to the same grid."""
    if rng.random() < 0.5:
        return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.6))))
    factor = rng.uniform(1.3, 3.0)
    small = (max(1, round(image.width / factor)), max(1, round(image.height / factor)))
    coarse = image.resize(small, Image.Resampling.BOX)
    return coarse.resize(image.size, Image.Resampling.BICUBIC)


def _through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    with Image.open(buffer) as traced:
        return traced.convert("RGB")
