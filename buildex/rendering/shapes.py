"""Buildings: outlines made of convex parts, each with its own roof. All in metres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.footprints import to_rings
from buildex.geo.rings import Ring, Rings, oriented, signed_area

Slope = Literal["flat", "shed", "gable", "hip"]
MaterialKind = Literal["iron", "tile", "concrete", "thatch", "rubble"]
Rect = tuple[float, float, float, float]
Color = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """What a roof is made of.

    Attributes:
        kind: decides the texture.
        color: its colour when new.
        wear: 0 new, 1 rusted through, black with mould, or full of stains.
        patches: share of sheets that were replaced by others.
    """

    kind: MaterialKind
    color: Color
    wear: float
    patches: float


@dataclass(frozen=True)
class Part:
    """A convex piece of a roof.

    Attributes:
        ring: (N, 2), clockwise on screen; edges 0 and 2 carry the slopes of a gable, edge 0 that
            of a shed.
        slope: how the roof falls.
        eave: height of its lower edge.
        pitch: rise per metre.
        material: what covers it.
    """

    ring: Ring
    slope: Slope
    eave: float
    pitch: float
    material: Material


@dataclass(frozen=True)
class Building:
    """A building: its outline as seen from above, and the roof parts that fill it.

    Attributes:
        rings: outline first, then courtyards.
        parts: roof parts; where they overlap the higher one is seen.
        parapet: height and width of a wall along the edge, and between roofs that do not overlap;
            0 where there is none.
        parapet_color: colour of that wall.
    """

    rings: Rings
    parts: tuple[Part, ...]
    parapet: tuple[float, float] = (0.0, 0.0)
    parapet_color: Color = (0.7, 0.68, 0.64)

    @property
    def polygon(self) -> shapely.Polygon:
        """The outline."""
        return shapely.Polygon(self.rings[0], self.rings[1:])

    @property
    def area(self) -> float:
        """Square metres."""
        return float(self.polygon.area)

    def moved(self, matrix: NDArray[np.float64]) -> Building:
        """The building under a 2 x 3 affine matrix."""

        def move(ring: Ring) -> Ring:
            return ring @ matrix[:, :2].T + matrix[:, 2]

        parts = tuple(Part(move(p.ring), p.slope, p.eave, p.pitch, p.material) for p in self.parts)
        rings = tuple(move(ring) for ring in self.rings)
        return Building(rings, parts, self.parapet, self.parapet_color)


def plan_of(width: float, depth: float, rng: np.random.Generator) -> list[Rect]:
    """Rectangles (x0, y0, x1, y1) whose union fills most of a plot, the main house first."""
    w, d = round(width, 2), round(depth, 2)
    small = min(w, d)
    names = ["box", "ell", "tee", "u", "court"]
    chances = np.array([0.6, 0.2, 0.1, 0.06 * (small > 9), 0.06 * (small > 12)])
    name = str(rng.choice(names, p=chances / chances.sum()))
    if small < 5:
        name = "box"
    a = round(small * float(rng.uniform(0.35, 0.5)), 2)
    t = round(min(a, 7.0), 2) if name in ("u", "court") else a
    cut = round(d * float(rng.uniform(0.7, 1.0)), 2)
    middle = round((w - t) * float(rng.uniform(0.25, 0.75)), 2)
    body = round(d * float(rng.uniform(0.55, 0.75)), 2)
    plans: dict[str, list[Rect]] = {
        "box": [(0, 0, w, d)],
        "ell": [(0, 0, w, body), (0, 0, round(w * float(rng.uniform(0.4, 0.6)), 2), d)],
        "tee": [(0, 0, w, body), (middle, round(body / 2, 2), middle + t, d)],
        "u": [(0, 0, w, t), (0, 0, t, d), (w - t, 0, w, cut)],
        "court": [(0, 0, w, t), (0, d - t, w, d), (0, 0, t, d), (w - t, 0, w, d)],
    }
    return plans[name]


@dataclass(frozen=True)
class RoofSpec:
    """How the parts of a building are roofed."""

    slope: Slope
    eave: float
    pitch: float
    material: Material


def assembled(rects: Sequence[Rect], spec: RoofSpec, annexes: Sequence[Rect] = ()) -> Building:
    """A building of axis-parallel rectangles; annexes get sheds that lean on the house."""
    outline = shapely.union_all([shapely.box(*(round(v, 2) for v in r)) for r in rects])
    lean_tos = [shapely.box(*(round(v, 2) for v in r)) for r in annexes]
    whole = shapely.union_all([outline, *lean_tos]).simplify(1e-6)
    parts = [
        Part(_long_edge_first(r), spec.slope, spec.eave, spec.pitch, spec.material) for r in rects
    ]
    lean: Slope = "flat" if spec.slope == "flat" else "shed"
    for rect in annexes:
        ring = _away_from(rect, outline)
        parts.append(Part(ring, lean, max(spec.eave - 0.7, 1.8), 0.12, spec.material))
    return Building(oriented(to_rings(whole)), tuple(parts))


def from_ring(ring: Ring, spec: RoofSpec) -> Building:
    """A building of one convex part."""
    ring = ring if signed_area(ring) > 0 else ring[::-1]
    part = Part(ring, spec.slope, spec.eave, spec.pitch, spec.material)
    return Building((ring,), (part,))


def hut(radius: float, material: Material) -> Building:
    """A round hut under a cone."""
    angle = np.arange(16) * (2 * math.pi / 16)
    ring = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return from_ring(ring, RoofSpec("hip", 1.8, 0.75, material))


def placement(
    center: tuple[float, float], angle: float, shear: float, origin: tuple[float, float]
) -> NDArray[np.float64]:
    """The matrix that moves a point `origin` of a plan to `center`, turned and a bit skewed."""
    c, s = math.cos(angle), math.sin(angle)
    linear = np.array([[c, -s], [s, c]]) @ np.array([[1.0, shear], [0.0, 1.0]])
    offset = np.array(center) - linear @ np.array(origin)
    return np.column_stack([linear, offset])


def _long_edge_first(rect: Rect) -> Ring:
    x0, y0, x1, y1 = rect
    ring = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=float)
    return ring if x1 - x0 >= y1 - y0 else np.roll(ring, -1, axis=0)


def _away_from(rect: Rect, house: shapely.Geometry) -> Ring:
    """The rectangle's ring, starting with the edge farthest from the house."""
    x0, y0, x1, y1 = rect
    ring = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=float)
    middles = (ring + np.roll(ring, -1, axis=0)) / 2
    gaps = shapely.distance(shapely.points(middles), house)
    return np.roll(ring, -int(np.argmax(gaps)), axis=0)
