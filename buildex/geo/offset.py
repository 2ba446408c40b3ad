"""The shift that brings outlines onto an image, from edges, with its uncertainty.

Along a wall the colour changes across the wall, by about the same amount and in the same
direction. So outlines are cut into short stretches, and for every shift within reach the
derivative across each stretch is summed along it with its sign: walls add up, texture
cancels. What a stretch says is divided by what it says of most shifts, so a glaring roof
counts no more than a dull one. A shadow's far edge answers to two sides of a building and
its own walls to four, so shadows make a lesser peak beside the right one. Comparing gradients
by direction and not by brightness follows orientation correlation (Fitch et al. 2002).

Each building gives a map of evidence over all shifts; the shift is the peak of their sum.
Buildings are drawn again with replacement (bootstrap, Efron 1979) to see how far the peak
depends on which of them are there: that spread is the uncertainty, and peaks that jump mean
that there is no reliable shift.

Image coordinates are pixels, x right and y down; shifts are metres, east and north.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter

from buildex.geo.rings import Ring

Map = NDArray[np.float32]  # (2 R + 1, 2 R + 1): row 0 is farthest north, column 0 farthest west
Verdict = Literal["shifted", "aligned", "no reliable shift"]

STRETCH = 3.0  # metres of wall whose derivatives are summed with their signs
SHORTEST = 1.0  # metres of wall that tell anything
BLUR = 0.2  # metres
WEIGHT_CAP = 60.0  # metres of outline beyond which a building weighs no more
LEAST_VALID = 0.8  # share of the window around a building
RESAMPLES = 200
AGREEMENT_RADIUS = 1.0  # metres
LEAST_AGREEMENT = 0.9
FEWEST = 10  # buildings
LARGEST_SIGMA = 0.5  # metres
LEAST_SHIFT, LEAST_SIGMAS = 0.3, 3.0  # a lesser shift is none: mappers do not draw better


@dataclass(frozen=True)
class Search:
    """Where a shift is looked for.

    Attributes:
        gsd: side of an image pixel in metres.
        reach: farthest shift east, west, north and south in metres.
    """

    gsd: float
    reach: float = 5.0

    @property
    def radius(self) -> int:
        """The reach in pixels."""
        return max(3, round(self.reach / self.gsd))

    @property
    def blur(self) -> float:
        """Standard deviation of the blur in pixels."""
        return max(0.7, BLUR / self.gsd)

    @property
    def margin(self) -> int:
        """Pixels around a building that its evidence needs."""
        return self.radius + math.ceil(4 * self.blur) + 2


class Evidence(NamedTuple):
    """What one building says of each shift: a map of mean 0, and its weight in metres."""

    map: Map
    weight: float


@dataclass(frozen=True)
class Shift:
    """What has to be added to outlines to bring them onto the image.

    Attributes:
        east: metres.
        north: metres.
        sigma_east: its standard error in metres.
        sigma_north: its standard error in metres.
        buildings: how many told.
        agreement: share of the resamples whose peak lies within 1 m.
        inside: whether the peak lies within the reach, not on its edge.
    """

    east: float
    north: float
    sigma_east: float
    sigma_north: float
    buildings: int
    agreement: float
    inside: bool

    @property
    def length(self) -> float:
        """Metres."""
        return math.hypot(self.east, self.north)

    @property
    def sigma(self) -> float:
        """The larger of the two standard errors."""
        return max(self.sigma_east, self.sigma_north)

    @property
    def doubt(self) -> str:
        """Why the shift is not reliable; empty where it is."""
        if self.buildings < FEWEST:
            return f"{self.buildings} of the {FEWEST} buildings that it takes"
        if not self.inside:
            return "the best shift lies at the edge of the search"
        if self.agreement < LEAST_AGREEMENT:
            return f"only {self.agreement:.0%} of resamples agree on it"
        if self.sigma > LARGEST_SIGMA:
            return f"it is uncertain by {self.sigma:.2f} m"
        return ""

    @property
    def verdict(self) -> Verdict:
        """Whether outlines and image fit, do not, or nothing can be said."""
        if self.doubt:
            return "no reliable shift"
        moved = self.length >= LEAST_SHIFT and self.length >= LEAST_SIGMAS * self.sigma
        return "shifted" if moved else "aligned"


def evidence(
    image: NDArray[np.uint8], valid: NDArray[np.bool_], rings: Sequence[Ring], search: Search
) -> Evidence | None:
    """What one building says of each shift.

    Args:
        image: (h, w, 3), reaching `search.margin` pixels beyond the building on all sides.
        valid: (h, w).
        rings: the building's in pixels of the image.
        search: where to look.

    Returns:
        None where too little of the image is valid or no wall is long enough.
    """
    if valid.mean() < LEAST_VALID:
        return None
    across_x, across_y = _derivatives(image, valid, search.blur)
    side = 2 * search.radius + 1
    total, weight = np.zeros((side, side), dtype=np.float32), 0.0
    for points, normal, length in _stretches(rings, search.gsd):
        answer = _answer(across_x, across_y, points, normal, search.radius)
        usual = float(np.median(answer)) + 2.0 * len(points)  # of 255; keeps flat ground quiet
        total += np.float32(length / usual) * answer
        weight += length
    if weight == 0:
        return None
    total /= np.float32(weight)
    return Evidence(total - total.mean(), min(weight, WEIGHT_CAP))


def found(clues: Sequence[Evidence], search: Search, rng: np.random.Generator) -> Shift:
    """The shift that most buildings agree on.

    Args:
        clues: of one or more buildings; none gives a shift that is not reliable.
        search: where they were looked for.
        rng: draws the resamples.
    """
    if not clues:
        return Shift(0.0, 0.0, math.inf, math.inf, 0, 0.0, False)
    count, side = len(clues), 2 * search.radius + 1
    weights = np.array([clue.weight for clue in clues], dtype=np.float32)
    maps = np.stack([clue.map for clue in clues]).reshape(count, -1)
    col, row = _peak((weights @ maps).reshape(side, side))
    draws = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    sums = (draws.astype(np.float32) * weights) @ maps
    peaks = np.array([_peak(total.reshape(side, side)) for total in sums]) * search.gsd
    best = np.array([col, row]) * search.gsd
    near = np.hypot(*(peaks - best).T) <= AGREEMENT_RADIUS
    spread = peaks[near].std(axis=0) if near.any() else np.full(2, math.inf)
    x, y = (best - search.radius * search.gsd).tolist()
    limit = (search.radius - 2) * search.gsd
    return Shift(
        east=x,
        north=-y,
        sigma_east=float(spread[0]),
        sigma_north=float(spread[1]),
        buildings=count,
        agreement=float(near.mean()),
        inside=max(abs(x), abs(y)) < limit,
    )


def _derivatives(
    image: NDArray[np.uint8], valid: NDArray[np.bool_], blur: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Blurred derivatives (3, h, w) along x and y; 0 near pixels that are not valid."""
    colours = np.moveaxis(image, 2, 0).astype(np.float32)
    x = gaussian_filter(colours, (0, blur, blur), order=(0, 0, 1))
    y = gaussian_filter(colours, (0, blur, blur), order=(0, 1, 0))
    if not valid.all():
        unknown = binary_dilation(~valid, iterations=max(1, round(2 * blur)))
        x[:, unknown] = y[:, unknown] = 0
    return x, y


def _stretches(
    rings: Sequence[Ring], gsd: float
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], float]]:
    """Points (K, 2) along each stretch of wall, its unit normal, its length in metres."""
    for ring in rings:
        for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            along = end - start
            length = float(np.hypot(*along)) * gsd
            parts = max(1, round(length / STRETCH))
            if length / parts < SHORTEST:
                continue
            normal = np.array([along[1], -along[0]]) * gsd / length
            each = max(1, round(length / parts / max(gsd, BLUR)))
            t = (np.arange(parts * each) + 0.5) / (parts * each)
            points = start + along * t[:, None]
            for piece in np.split(points, parts):
                yield piece, normal, length / parts


def _answer(
    across_x: NDArray[np.float32],
    across_y: NDArray[np.float32],
    points: NDArray[np.float64],
    normal: NDArray[np.float64],
    radius: int,
) -> Map:
    """The summed derivative across a stretch, root of squares over colours, at each shift."""
    side = 2 * radius + 1
    low = np.floor(points.min(axis=0)).astype(int) - radius
    high = np.floor(points.max(axis=0)).astype(int) + radius + 1
    part = np.s_[:, low[1] : high[1], low[0] : high[0]]
    across = np.float32(normal[0]) * across_x[part] + np.float32(normal[1]) * across_y[part]
    windows = sliding_window_view(across, (side, side), axis=(1, 2))
    total = np.zeros((len(across), side, side), dtype=np.float32)
    for x, y in np.floor(points).astype(int) - radius - low:
        total += windows[:, y, x]
    answer: Map = np.sqrt((total**2).sum(axis=0))
    return answer


def _peak(total: Map) -> tuple[float, float]:
    """Column and row of the largest value, to a part of a pixel by a fitted paraboloid."""
    row, col = (int(v) for v in np.unravel_index(int(total.argmax()), total.shape))
    if not (2 <= row < total.shape[0] - 2 and 2 <= col < total.shape[1] - 2):
        return float(col), float(row)
    y, x = (axis.ravel().astype(np.float64) for axis in np.mgrid[-2:3, -2:3])
    design = np.stack([np.ones(25), x, y, x * x, y * y, x * y], axis=1)
    values = total[row - 2 : row + 3, col - 2 : col + 3].ravel().astype(np.float64)
    _, a, b, c, d, e = np.linalg.lstsq(design, values, rcond=None)[0].tolist()
    fall = 4 * c * d - e * e
    if not (c < 0 and fall > 0):
        return float(col), float(row)
    dx, dy = (e * b - 2 * d * a) / fall, (e * a - 2 * c * b) / fall
    return col + min(max(dx, -1.5), 1.5), row + min(max(dy, -1.5), 1.5)
