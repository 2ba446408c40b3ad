"""The sun, what it leaves in shadow, and the camera that sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from buildex.rendering.noise import Field, NoiseBank

SHADOW_REACH = 9  # doublings: shadows up to 2 ** 9 canvas pixels long

# Luminance quantisation of JPEG (ITU-T T.81, table K.1).
JPEG_TABLE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)
YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)


@dataclass(frozen=True)
class Sun:
    """Where the light comes from.

    Attributes:
        east: x part of the unit vector to the sun.
        south: y part of it; image rows run south.
        up: upward part of it.
        direct: share of the light that is the sun's own, the rest being the sky's.
    """

    east: float
    south: float
    up: float
    direct: float

    def shade(self, slope_x: Field, slope_y: Field) -> Field:
        """Brightness of a surface that rises by the slopes given, flat ground being 1."""
        facing = self.up - slope_x * self.east - slope_y * self.south
        cosine = np.maximum(facing, 0) / np.sqrt(1 + slope_x**2 + slope_y**2)
        light = 1 - self.direct + self.direct * cosine / self.up
        return np.asarray(light, dtype=np.float32)


def draw_sun(rng: np.random.Generator) -> Sun:
    """A sun of a tropical day, under anything from clear to overcast skies."""
    azimuth = rng.uniform(0, 2 * math.pi)
    elevation = math.radians(rng.uniform(42, 75))
    direct = float(rng.choice([rng.uniform(0.2, 0.4), rng.uniform(0.45, 0.72)], p=[0.3, 0.7]))
    flat = math.cos(elevation)
    return Sun(flat * math.sin(azimuth), -flat * math.cos(azimuth), math.sin(elevation), direct)


def shadows(height: Field, sun: Sun, scale: float) -> Field:
    """How much of the sun each pixel (H, W) loses to what stands in its way, 0..1.

    The height that a ray must clear is the largest of the heights towards the sun, each
    lowered by what the ray rises on the way; the reach doubles with every pass.
    """
    longest = max(abs(sun.east), abs(sun.south), 1e-6)
    step = np.array([sun.south, sun.east]) / longest
    rise = sun.up / longest / scale
    horizon = height.copy()
    reach = int(np.ceil(np.log2(max(height.max() / rise, 2))))
    for doubling in range(min(reach, SHADOW_REACH)):
        distance = 2**doubling
        dy, dx = (round(float(s)) for s in step * distance)
        into, source = _shifted(height.shape, dy, dx)
        horizon[into] = np.maximum(horizon[into], horizon[source] - rise * distance)
    hidden = np.clip((horizon - height) / 0.25, 0, 1)
    soft: Field = ndimage.gaussian_filter(hidden, 1.2).astype(np.float32)
    return soft


def lit(color: Field, hidden: Field, sun: Sun) -> Field:
    """Colours (H, W, 3) after the shadows: darker, and bluer as only the sky lights them."""
    left = [1 - np.float32(sun.direct * share) * hidden for share in (1.0, 0.96, 0.88)]
    return color * np.stack(left, axis=-1)


@dataclass(frozen=True)
class Camera:
    """What lens, air and file format do to the picture.

    Attributes:
        haze: share of white light added.
        gain: exposure of red, green and blue.
        gamma: below 1 lifts the dark parts.
        saturation: 1 leaves colours as they are.
        blur: sigma in mosaic pixels.
        sharpening: strength of the unsharp mask.
        noise: sigma of the sensor's noise.
        quality: JPEG quality, 1..100.
    """

    haze: float
    gain: tuple[float, float, float]
    gamma: float
    saturation: float
    blur: float
    sharpening: float
    noise: float
    quality: float


def draw_camera(rng: np.random.Generator) -> Camera:
    """A camera and its weather."""
    exposure = rng.uniform(0.88, 1.18)
    red, blue = rng.uniform(0.95, 1.06, size=2)
    return Camera(
        haze=float(rng.beta(1.2, 6) * 0.35),
        gain=(float(exposure * red), float(exposure), float(exposure * blue)),
        gamma=float(rng.uniform(0.85, 1.15)),
        saturation=float(rng.uniform(0.6, 1.05)),
        blur=float(rng.uniform(0.25, 1.0)),
        sharpening=float(rng.choice([0.0, rng.uniform(0.3, 1.0)])),
        noise=float(rng.uniform(0.002, 0.015)),
        quality=float(rng.uniform(55, 95)),
    )


def photographed(
    color: Field, camera: Camera, bank: NoiseBank, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The mosaic (H, W, 3) as the camera writes it."""
    h, w, _ = color.shape
    drift = bank.take("cloud", (h, w), rng, zoom=4.0)[..., None]
    image = color * np.asarray(camera.gain, np.float32) * (0.95 + 0.1 * drift)
    image = np.clip(image, 0, 1) ** camera.gamma
    grey = (image @ YCC[0])[..., None]
    image = grey + (image - grey) * camera.saturation
    image = image * (1 - camera.haze) + camera.haze * np.array([0.85, 0.88, 0.9], np.float32)
    image = ndimage.gaussian_filter(image, (camera.blur, camera.blur, 0))
    if camera.sharpening:
        image += camera.sharpening * (image - ndimage.gaussian_filter(image, (1.2, 1.2, 0)))
    image += camera.noise * rng.standard_normal(image.shape, dtype=np.float32)
    return jpeg_like(np.clip(image, 0, 1) * 255, camera.quality)


def jpeg_like(image: Field, quality: float) -> NDArray[np.uint8]:
    """An image (H, W, 3), 0..255, with the losses of JPEG at a quality of 1..100."""
    h, w, _ = image.shape
    factor = (50 / quality if quality < 50 else 2 - quality / 50) + 0.02
    padded = np.pad(image, ((0, -h % 8), (0, -w % 8), (0, 0)), mode="edge") @ YCC.T
    blocks = padded.reshape(padded.shape[0] // 8, 8, padded.shape[1] // 8, 8, 3)
    table = (JPEG_TABLE * factor)[None, :, None, :, None] * np.array([1, 1.6, 1.6], np.float32)
    coefficients = fft.dctn(blocks, axes=(1, 3), norm="ortho")
    rounded = np.round(coefficients / table) * table
    back = fft.idctn(rounded, axes=(1, 3), norm="ortho").reshape(padded.shape)
    out = back @ np.linalg.inv(YCC).T.astype(np.float32)
    return np.asarray(np.clip(np.round(out[:h, :w]), 0, 255), dtype=np.uint8)


def _shifted(
    shape: tuple[int, ...], dy: int, dx: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    h, w = shape
    dy, dx = max(min(dy, h), -h), max(min(dx, w), -w)
    into = slice(max(-dy, 0), h - max(dy, 0)), slice(max(-dx, 0), w - max(dx, 0))
    source = slice(max(dy, 0), h - max(-dy, 0)), slice(max(dx, 0), w - max(-dx, 0))
    return into, source
