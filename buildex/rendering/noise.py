"""Noise that repeats: a few periodic fields made once, from which every texture takes a piece."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

Field = NDArray[np.float32]
Kind = Literal["cloud", "patch", "clump", "grain", "white"]

SIDE = 1024
# Slope of the amplitude spectrum and the shortest wave that is left, in texels.
SPECTRA: dict[str, tuple[float, float]] = {
    "cloud": (1.9, 16.0),
    "patch": (1.3, 4.0),
    "clump": (0.4, 7.0),
    "grain": (0.5, 1.0),
    "white": (0.0, 1.0),
}


class NoiseBank:
    """Periodic fields (SIDE, SIDE) whose values are spread evenly over 0..1.

    `cloud` is smooth and large, `patch` has detail at every size, `clump` is blobs of
    about ten texels, `grain` is fine, `white` has no structure at all.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        frequency = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
        radius = np.hypot(*frequency).astype(np.float32)
        radius[0, 0] = 1.0
        self._fields = {kind: _field(rng, radius, *spec) for kind, spec in SPECTRA.items()}

    def sample(self, kind: Kind, a: NDArray[np.floating], b: NDArray[np.floating]) -> Field:
        """Values at texel coordinates (a, b), which broadcast together; wraps around."""
        field = self._fields[kind]
        row = np.floor(a).astype(np.int32) % SIDE
        column = np.floor(b).astype(np.int32) % SIDE
        values: Field = field[row, column]
        return values

    def take(
        self, kind: Kind, shape: tuple[int, int], rng: np.random.Generator, zoom: float = 1.0
    ) -> Field:
        """A piece of a field at a random place, enlarged by `zoom`; below 1 it skips texels."""
        field = self._fields[kind]
        stride, zoom = max(1, round(1 / zoom)), max(1.0, zoom)
        height, width = (max(2, int(np.ceil(n / zoom)) + 2) for n in shape)
        row, column = rng.integers(SIDE, size=2)
        rows = (row + stride * np.arange(height)) % SIDE
        columns = (column + stride * np.arange(width)) % SIDE
        piece = field[np.ix_(rows, columns)]
        return piece[: shape[0], : shape[1]] if zoom == 1 else resized(piece, shape, zoom)


def resized(piece: Field, shape: tuple[int, int], zoom: float) -> Field:
    """A field enlarged by `zoom`, linearly between its values, and cut to `shape`."""
    matrix = np.array([1 / zoom, 1 / zoom])
    out: Field = ndimage.affine_transform(
        piece, matrix, output_shape=shape, order=1, mode="nearest"
    ).astype(np.float32)
    return out


def smoothstep(low: float, high: float, values: Field) -> Field:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def _field(rng: np.random.Generator, radius: Field, slope: float, shortest: float) -> Field:
    spectrum = np.fft.rfft2(rng.standard_normal((SIDE, SIDE)).astype(np.float32))
    spectrum *= radius**-slope * np.exp(-((radius * shortest) ** 2) / 2)
    spectrum[0, 0] = 0
    values = np.fft.irfft2(spectrum, s=(SIDE, SIDE))
    even: Field = special.ndtr(values / values.std()).astype(np.float32)
    return even
