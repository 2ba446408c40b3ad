"""Which tiles train and which judge: by scene or by block of ground, never at random.

Tiles of different splits keep a guard distance, and no building touches both: where they
come too close, the training tile goes. What would leak is dropped, not moved, so that
validation never depends on the guard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.errors import ConfigError

Bounds = tuple[float, float, float, float]
Corners = tuple[tuple[float, float], ...]

EARTH = 6_378_137.0  # metres: radius of the Mercator projection's sphere
NAMES = ("train", "val", "test")


@dataclass(frozen=True)
class SplitRule:
    """How tiles are divided.

    Attributes:
        everything: the split that all tiles go to; None if they are divided.
        share: share of the built-up tiles of each scene whose blocks go to `val`.
        scenes: names of the scenes that go to `val`.
    """

    everything: str | None = None
    share: float = 0.0
    scenes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GroundTile:
    """A tile for the purpose of splitting.

    Attributes:
        scene: name of its scene.
        bounds: min x, min y, max x, max y in metres of the scene's own CRS.
        corners: longitude and latitude of its four corners, which are comparable between scenes.
        buildings: what tells the buildings that touch it apart from all others.
    """

    scene: str
    bounds: Bounds
    corners: Corners
    buildings: frozenset[str] = frozenset()


def parse_split(text: str) -> SplitRule:
    """Read `train`, `val`, `test`, `block:SHARE` or `scene:NAME,NAME`.

    Raises:
        ConfigError: if it is none of these.
    """
    kind, colon, value = text.partition(":")
    if not colon and kind in NAMES:
        return SplitRule(everything=kind)
    if kind == "scene" and value:
        return SplitRule(scenes=tuple(name.strip() for name in value.split(",") if name.strip()))
    try:
        share = float(value)
    except ValueError:
        share = 0.0
    if kind != "block" or not 0 < share < 1:
        raise ConfigError(
            f"split `{text}` is not understood",
            hint="use `train`, `val`, `test`, `block:0.2` or `scene:NAME,NAME`",
        )
    return SplitRule(share=share)


def assign(
    rule: SplitRule, tiles: Sequence[GroundTile], block: float = 100.0, guard: float = 20.0
) -> list[str | None]:
    """The split of every tile; None for tiles that are dropped to keep the splits apart.

    Args:
        rule: how to divide.
        tiles: all tiles of all scenes.
        block: side of a block of ground in metres; a tile belongs to the one of its centre.
        guard: smallest distance between tiles of different splits in metres.

    Raises:
        ConfigError: if the rule names a scene that is not there, or leaves a split empty.
    """
    if rule.everything is not None:
        return [rule.everything] * len(tiles)
    if rule.scenes:
        unknown = sorted(set(rule.scenes) - {tile.scene for tile in tiles})
        if unknown:
            raise ConfigError(
                f"`--split` names scene `{unknown[0]}`, which is not there",
                hint=f"scenes are {', '.join(sorted({tile.scene for tile in tiles}))}",
            )
        judging = np.array([tile.scene in rule.scenes for tile in tiles])
    else:
        judging = _chosen_blocks(tiles, rule.share, block)
    dropped = ~judging & (_near(tiles, judging, guard) | _sharing(tiles, judging))
    if not judging.any() or not (~judging & ~dropped).any():
        raise ConfigError(
            "the split leaves no tile to train on or none to validate on",
            hint="use smaller blocks or another share, or split by scene",
        )
    return [
        None if gone else "val" if judges else "train"
        for gone, judges in zip(dropped, judging, strict=True)
    ]


def _chosen_blocks(tiles: Sequence[GroundTile], share: float, block: float) -> NDArray[np.bool_]:
    """In every scene, whole blocks in one of its corners that hold about the share of its tiles.

    Tiles without a building count only in a scene where no tile has one. A compact corner
    has a short border, so the guard costs few tiles.
    """
    chosen = np.zeros(len(tiles), dtype=bool)
    bounds = np.array([tile.bounds for tile in tiles], dtype=np.float64)
    cells = np.floor((bounds[:, :2] + bounds[:, 2:]) / (2 * block))
    built = np.array([bool(tile.buildings) for tile in tiles])
    for scene in sorted({tile.scene for tile in tiles}):
        own = np.array([tile.scene == scene for tile in tiles])
        counting = built & own if (built & own).any() else own
        blocks, of_tile = np.unique(cells[own], axis=0, return_inverse=True)
        held = np.bincount(of_tile.ravel(), weights=counting[own], minlength=len(blocks))
        corner = blocks[np.argmax(((blocks - cells[own].mean(axis=0)) ** 2).sum(axis=1))]
        order = np.argsort(((blocks - corner) ** 2).sum(axis=1), kind="stable")
        reached = np.concatenate([[0.0], np.cumsum(held[order])])
        count = int(np.argmin(np.abs(reached - share * counting.sum())))
        chosen[own] = np.isin(of_tile.ravel(), order[:count])
    return chosen


def _near(
    tiles: Sequence[GroundTile], judging: NDArray[np.bool_], guard: float
) -> NDArray[np.bool_]:
    """Tiles that come within the guard of a judging tile, or overlap it.

    Compared in Mercator, which knows no zones and is as good as true around a tile, but for its
    scale: by the latitude, and 1 % more, as the Earth is no sphere. It is rolled out once to
    either side, for what lies across the 180th meridian.
    """
    corners = np.radians(np.array([tile.corners for tile in tiles], dtype=float))
    lon, lat = np.unwrap(corners[..., 0], axis=1), corners[..., 1]
    shapes = EARTH * np.stack([lon, np.arcsinh(np.tan(lat))], axis=2)
    # Tiles that only touch lie at a distance of rounding, which is less than any guard.
    reach = max(1.01 * guard, 1e-3) / np.cos(lat).min(axis=1)
    tree = shapely.STRtree(shapely.polygons(shapes[judging]))
    near = np.zeros(len(tiles), dtype=bool)
    for turn in (-1, 0, 1):
        moved = shapely.polygons(shapes + np.array([turn * 2 * np.pi * EARTH, 0.0]))
        near[tree.query(moved, predicate="dwithin", distance=reach)[0]] = True
    return near


def _sharing(tiles: Sequence[GroundTile], judging: NDArray[np.bool_]) -> NDArray[np.bool_]:
    judged: set[str] = set()
    for tile, judges in zip(tiles, judging, strict=True):
        if judges:
            judged |= tile.buildings
    return np.array([not judged.isdisjoint(tile.buildings) for tile in tiles])
