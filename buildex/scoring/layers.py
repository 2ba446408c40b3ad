"""What was found, missed and wrong, as layers to look at in QGIS.

Every false prediction and every missed building stands in its layer with its cause, so the
layers add up to the counts of the table. `split` and `merged` show the same mistakes from
the other side: the true building in parts, the prediction over several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.blame import merged_predictions, split_buildings
from buildex.geo.footprints import Footprints, Polygons
from buildex.geo.judging import Comparison, candidates
from buildex.geo.shape_measures import polis_distances
from buildex.io.crs import WGS84, reprojected
from buildex.io.styled import Colour, StyledLayer, write_styled

Columns = dict[str, NDArray[Any]]
Part = tuple[Polygons, Columns]

GREEN, BLUE, RED = (27, 158, 119), (31, 90, 200), (215, 48, 39)
VIOLET, ORANGE, GREY = (136, 65, 157), (230, 120, 20), (110, 110, 110)


def write_layers(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Write a GeoPackage of `false`, `missed`, `merged`, `split`, `candidates`, `matched`, `truth`.

    In the UTM zone of the scenes where they share one, else in EPSG:4326.

    Args:
        path: where to write.
        comparisons: the scenes.
    """
    systems = {c.scene.crs for c in comparisons}
    crs = systems.pop() if len(systems) == 1 else WGS84
    kinds: tuple[tuple[str, Callable[[Comparison], Part], Colour, bool, str], ...] = (
        ("false", _false, RED, False, "predictions that found no true building, and why"),
        ("missed", _missed, BLUE, True, "true buildings that no prediction found, and why"),
        ("merged", _merged, ORANGE, False, "predictions that lie over several true buildings"),
        ("split", _split, VIOLET, True, "true buildings that several predictions share"),
        ("candidates", _candidates, ORANGE, True, "predictions without a label: to map, or errors"),
        ("matched", _matched, GREEN, False, "predictions that found a true building"),
        ("truth", _truth, GREY, True, "all true buildings"),
    )
    layers = [
        StyledLayer(name, _joined([(c, part(c)) for c in comparisons], crs), colour, dashed, about)
        for name, part, colour, dashed, about in kinds
    ]
    write_styled(path, layers)


def _joined(parts: Sequence[tuple[Comparison, Part]], crs: str) -> Footprints:
    """One layer of all scenes, with the scene of each building."""
    moved = [
        shapely.transform(polygons, lambda points, c=c: reprojected(points, c.scene.crs, crs))
        for c, (polygons, _) in parts
    ]
    names = [np.full(len(polygons), c.scene.name, dtype=object) for c, (polygons, _) in parts]
    columns = {
        name: np.concatenate([columns[name] for _, (_, columns) in parts])
        for name in parts[0][1][1]
    }
    return Footprints(np.concatenate(moved), crs, {"scene": np.concatenate(names), **columns})


def _false(c: Comparison) -> Part:
    index = c.paired.false
    causes = {"cause": c.causes.cause_p[index].astype(object), "best_iou": c.causes.best_p[index]}
    return c.scene.predictions[index], {**causes, **_predicted(c, index)}


def _missed(c: Comparison) -> Part:
    index = c.paired.missed
    polygons = c.scene.truth[index]
    causes = {"cause": c.causes.cause_t[index].astype(object), "best_iou": c.causes.best_t[index]}
    return polygons, {**causes, "area_m2": shapely.area(polygons)}


def _merged(c: Comparison) -> Part:
    index = merged_predictions(c.causes, c.paired)
    return c.scene.predictions[index], {
        "buildings": c.causes.welded[index],
        **_predicted(c, index),
    }


def _split(c: Comparison) -> Part:
    index = split_buildings(c.causes, c.paired)
    polygons = c.scene.truth[index]
    return polygons, {"parts": c.causes.parts[index], "area_m2": shapely.area(polygons)}


def _candidates(c: Comparison) -> Part:
    index = candidates(c)
    return c.scene.predictions[index], _predicted(c, index)


def _matched(c: Comparison) -> Part:
    at = c.paired
    polygons = c.scene.predictions[at.predictions]
    polis = polis_distances(polygons, c.scene.truth[at.truths])
    return polygons, {"iou": at.ious, "polis_m": polis, **_predicted(c, at.predictions)}


def _truth(c: Comparison) -> Part:
    inside = np.flatnonzero(c.seen[1].share > 0)
    polygons = c.scene.truth[inside]
    return polygons, {"counts": c.pairing.counted[inside], "area_m2": shapely.area(polygons)}


def _predicted(c: Comparison, index: NDArray[np.int64]) -> Columns:
    """What every predicted building carries."""
    return {"score": c.scene.scores_of(index), "area_m2": shapely.area(c.scene.predictions[index])}
