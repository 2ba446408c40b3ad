"""Find how far labels lie off a mosaic: `buildex score --estimate-offset MOSAIC`.

Windows of the mosaic are read building by building, block by block, so memory depends neither
on its size nor on the number of blocks. Where a scene or a block has more buildings than are
needed, some are drawn by lot, the same ones each time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.config import Track, silent
from buildex.errors import ConfigError, VectorError
from buildex.geo.blocks import centres
from buildex.geo.boxes import PixelBox
from buildex.geo.footprints import Footprints, to_rings
from buildex.geo.offset import Evidence, Search, Shift, evidence, found
from buildex.io.crs import reprojected
from buildex.io.raster import Mosaic
from buildex.io.vector import read_footprints

FINEST, COARSEST = 0.10, 0.50  # metres per pixel at which edges are looked for
ENOUGH = 400  # buildings for one estimate
LARGEST = 250.0  # metres: a building that is read as one
SEED = 0


@dataclass(frozen=True, kw_only=True)
class AlignConfig:
    """How to look for a shift between labels and imagery."""

    offset_reach: float = field(
        default=5.0, metadata={"help": "Farthest shift of labels that is looked for, in metres."}
    )
    offset_block: float | None = field(
        default=None,
        metadata={"help": "Estimate the shift in blocks of so many metres, too; else per scene."},
    )

    def __post_init__(self) -> None:
        if not 0.5 <= self.offset_reach <= 30:
            raise ConfigError(
                f"`offset_reach` is {self.offset_reach:g} m", hint="use 0.5 to 30 metres"
            )
        if self.offset_block is not None and not 20 <= self.offset_block < math.inf:
            raise ConfigError(
                f"`offset_block` is {self.offset_block:g} m", hint="use 20 metres or more"
            )


class BlockShift(NamedTuple):
    """The shift of one block: a square of the mosaic's metric CRS, by its south-west corner."""

    x: float
    y: float
    shift: Shift


@dataclass(frozen=True)
class OffsetReport:
    """How far the labels of a scene lie off its mosaic.

    Attributes:
        mosaic: its path.
        crs: metric CRS; shifts are along its axes.
        shift: of the whole scene.
        side: of a block in metres; None where there are none.
        blocks: those that hold labels, west to east, south to north.
    """

    mosaic: str
    crs: str
    shift: Shift
    side: float | None = None
    blocks: tuple[BlockShift, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether `moved` moves anything."""
        return any(s.verdict == "shifted" for s in (self.shift, *(b.shift for b in self.blocks)))

    def moved(self, labels: Footprints) -> Footprints:
        """The labels on the imagery: each moves with its block, else with the scene.

        Only a shift whose verdict is `shifted` moves anything. A block where there is no
        reliable one takes the scene's.
        """
        ground = _in(labels, self.crs)
        steps = np.array([_step(self.shift)] * len(ground)).reshape(-1, 2)
        for block in self.blocks:
            if block.shift.verdict != "no reliable shift":
                steps[_inside(ground, block, self.side or 0.0)] = _step(block.shift)
        points, index = shapely.get_coordinates(ground, return_index=True)
        shifted = shapely.set_coordinates(ground.copy(), points + steps[index])
        back = shapely.transform(shifted, lambda p: reprojected(p, self.crs, labels.crs))
        return labels.moved(back, labels.crs)

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        blocks = [{"x": b.x, "y": b.y, **_table(b.shift)} for b in self.blocks]
        table = {"mosaic": self.mosaic, "crs": self.crs, **_table(self.shift)}
        return table if self.side is None else {**table, "block_m": self.side, "blocks": blocks}

    def text(self, applied: bool = False) -> str:
        """The report in words; `applied` tells that labels were moved by it."""
        done = "; applied" if applied else ""
        lines = [f"labels on {self.mosaic}: {worded(self.shift)}{done}"]
        for block in self.blocks:
            lines.append(f"  block {block.x:.0f}, {block.y:.0f}: {worded(block.shift)}")
        return "\n".join(lines)


def estimate_offset(
    mosaic: str, labels: Path, config: AlignConfig | None = None, track: Track = silent
) -> OffsetReport:
    """Find the shift that brings a file of labels onto a mosaic.

    Args:
        mosaic: any raster that GDAL opens.
        labels: vector file of buildings in any CRS.
        config: where to look, and whether by block, too.
        track: progress over buildings.

    Raises:
        RasterError: if the mosaic cannot be used.
        VectorError: if the labels cannot, or lie elsewhere.
    """
    with Mosaic.open(mosaic) as image:
        grid = image.grid
    there, _ = read_footprints(labels, target_crs=grid.crs, bbox=grid.bounds)
    if not len(there):
        raise VectorError(
            f"labels `{labels}` do not overlap `{mosaic}`",
            hint="check that both lie in the same place and their CRS is right",
        )
    return offset_of(mosaic, there, config, track)


def offset_of(
    mosaic: str, labels: Footprints, config: AlignConfig | None = None, track: Track = silent
) -> OffsetReport:
    """Find the shift that brings labels in memory onto a mosaic; see `estimate_offset`."""
    config = config or AlignConfig()
    with Mosaic.open(mosaic) as fine:
        gsd = min(max(fine.native_gsd, FINEST), COARSEST)
    with Mosaic.open(mosaic, gsd=gsd) as image:
        crs, search = image.grid.crs, Search(gsd, config.offset_reach)
        polygons = _in(labels, crs)
        groups = _groups(polygons, config.offset_block)
        lots = [_lot(index) for index in groups.values()]
        clues = _clues(image, polygons, [_by_place(polygons, lot) for lot in lots], search, track)
        shift, shifts = _shifts(clues, lots, search)
    side = config.offset_block
    blocks = tuple(BlockShift(*at, one) for at, one in zip(groups, shifts, strict=True))
    return OffsetReport(mosaic, crs, shift, side, () if side is None else blocks)


def _shifts(
    clues: Iterable[dict[int, Evidence]], lots: Sequence[NDArray[np.int64]], search: Search
) -> tuple[Shift, list[Shift]]:
    """The shift of the scene, and that of each block; of one block's clues only a lot is kept.

    Args:
        clues: what buildings say, by number, block by block.
        lots: numbers of the buildings of each block that were looked at.
        search: where they were looked for.
    """
    scene = _lot(np.sort(np.concatenate(lots)))
    kept: dict[int, Evidence] = {}
    shifts = []
    for told, lot in zip(clues, lots, strict=True):
        shifts.append(_found(told, lot, search))
        kept |= {number: told[number] for number in scene.tolist() if number in told}
    return _found(kept, scene, search), shifts


def _found(clues: Mapping[int, Evidence], lot: NDArray[np.int64], search: Search) -> Shift:
    """The shift that the buildings of a lot agree on."""
    told = [clues[number] for number in lot.tolist() if number in clues]
    return found(told, search, np.random.default_rng(SEED))


def worded(shift: Shift) -> str:
    """A shift in words, as what has to be done to the labels."""
    if shift.doubt:
        return f"no reliable shift: {shift.doubt}"
    east = f"{abs(shift.east):.2f} m {'east' if shift.east >= 0 else 'west'}"
    north = f"{abs(shift.north):.2f} m {'north' if shift.north >= 0 else 'south'}"
    sigma = f"sigma {shift.sigma_east:.2f}, {shift.sigma_north:.2f} m"
    known = f"({sigma}; {shift.buildings} buildings)"
    if shift.verdict == "aligned":
        return f"aligned; {east}, {north} {known}"
    return f"to be moved {east}, {north} {known}"


def _step(shift: Shift) -> tuple[float, float]:
    return (shift.east, shift.north) if shift.verdict == "shifted" else (0.0, 0.0)


def _table(shift: Shift) -> dict[str, Any]:
    numbers = {
        "east_m": shift.east,
        "north_m": shift.north,
        "sigma_east_m": shift.sigma_east,
        "sigma_north_m": shift.sigma_north,
    }
    known = {name: round(v, 3) if math.isfinite(v) else None for name, v in numbers.items()}
    return {
        "verdict": shift.verdict,
        **known,
        "buildings": shift.buildings,
        "agreement": round(shift.agreement, 3),
        "doubt": shift.doubt or None,
    }


def _in(labels: Footprints, crs: str) -> NDArray[np.object_]:
    ground: NDArray[np.object_] = shapely.transform(
        labels.polygons, lambda points: reprojected(points, labels.crs, crs)
    )
    return ground


def _inside(polygons: NDArray[np.object_], block: BlockShift, side: float) -> NDArray[np.bool_]:
    x, y = centres(polygons).T
    inside: NDArray[np.bool_] = (
        (x >= block.x) & (x < block.x + side) & (y >= block.y) & (y < block.y + side)
    )
    return inside


def _groups(
    polygons: NDArray[np.object_], side: float | None
) -> dict[tuple[float, float], NDArray[np.int64]]:
    """Buildings by the corner of their block; one block for all where no side is given."""
    if side is None:
        return {(0.0, 0.0): np.arange(len(polygons))}
    cells = np.floor(centres(polygons) / side).astype(int)
    corners, which = np.unique(cells[:, ::-1], axis=0, return_inverse=True)
    return {
        (float(x * side), float(y * side)): np.flatnonzero(which.ravel() == number)
        for number, (y, x) in enumerate(corners.tolist())
    }


def _lot(index: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(index) <= ENOUGH:
        return index
    drawn = np.random.default_rng(SEED).choice(index, ENOUGH, replace=False)
    return np.sort(drawn)


def _by_place(polygons: NDArray[np.object_], chosen: NDArray[np.int64]) -> list[int]:
    """In the order in which a mosaic is best read: in strips of 50 m, north to south."""
    x, y = centres(polygons[chosen]).T
    ordered: list[int] = chosen[np.lexsort((x, -np.floor(y / 50)))].tolist()
    return ordered


def _clues(
    image: Mosaic,
    polygons: NDArray[np.object_],
    blocks: Sequence[Sequence[int]],
    search: Search,
    track: Track,
) -> Iterator[dict[int, Evidence]]:
    """What each building of each block says, where it says anything, block by block."""
    every = [number for block in blocks for number in block]
    ends = set(np.cumsum([len(block) for block in blocks]).tolist())
    told: dict[int, Evidence] = {}
    for done, number in enumerate(track(every, total=len(every), label="offset"), start=1):
        clue = _clue(image, polygons[number], search)
        if clue is not None:
            told[number] = clue
        if done in ends:
            yield told
            told = {}


def _clue(image: Mosaic, polygon: shapely.Polygon, search: Search) -> Evidence | None:
    """What a building says; nothing if it is huge or lies beside the mosaic."""
    rings = [image.grid.to_pixel(ring) for ring in to_rings(polygon)]
    low = np.floor(rings[0].min(axis=0)).astype(int) - search.margin
    high = np.ceil(rings[0].max(axis=0)).astype(int) + search.margin
    box = PixelBox(int(low[0]), int(low[1]), int(high[0]), int(high[1]))
    huge = max(box.width, box.height) > LARGEST / search.gsd
    if huge or box.intersection(image.grid.box) is None:
        return None
    pixels, valid = image.read(box)
    return evidence(pixels, valid, [ring - low for ring in rings], search)
