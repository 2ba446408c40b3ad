"""Mosaics paired with their labels, brought to one pixel grid, ready to be cut."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.errors import ConfigError, VectorError
from buildex.geo.footprints import Footprints
from buildex.geo.grid import Grid
from buildex.geo.learnable import certain, learnable
from buildex.geo.tiles import TilePlace, cover
from buildex.io.crs import WGS84, reprojected
from buildex.io.cutter import Scene
from buildex.io.layer_names import parted
from buildex.io.raster import Mosaic
from buildex.io.vector import RepairCounts, read_area, read_labels

SHAPEFILE = (".shp", ".shx", ".dbf", ".prj", ".cpg")  # in which its outlines and columns lie


class SceneFiles(NamedTuple):
    """The files of one scene; `name` is None where the mosaic's path gives it."""

    mosaic: str
    labels: str
    aoi: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class TilingGrid:
    """How the grid of every scene is made.

    Attributes:
        gsd: side of a pixel in metres.
        size: side of a tile in pixels.
        overlap: pixels that neighbouring tiles share.
        crs: CRS of mosaics and labels that name none.
    """

    gsd: float
    size: int
    overlap: int
    crs: str | None = None


@dataclass(frozen=True)
class LabelledScene:
    """A scene with what its tiles touch.

    Attributes:
        scene: mosaic, tiles, area and buildings, in pixels.
        info: its entry in `dataset.json`, but for the number of tiles.
        places: the tiles that meet the mosaic inside the area of interest.
        touching: for each of `places` the indices of the buildings that are visible in it.
        keys: for each building what tells it apart from those of other scenes.
        counts: what became of the features of the labels.
        doubtful: how many of those on the mosaic were left to nobody (`geo.learnable`).
    """

    scene: Scene
    info: dict[str, Any]
    places: tuple[TilePlace, ...]
    touching: tuple[tuple[int, ...], ...]
    keys: tuple[str, ...]
    counts: RepairCounts
    doubtful: int = 0


def paired(
    mosaics: Sequence[str], labels: Sequence[str], aoi: Sequence[str], names: Sequence[str]
) -> list[SceneFiles]:
    """Mosaics with their labels: one file for all, or one each; so for areas and names.

    Raises:
        ConfigError: if the numbers do not fit.
    """
    if not mosaics:
        raise ConfigError("no mosaic is given", hint="give a mosaic, or `--stac CATALOGUE`")
    if not labels:
        raise ConfigError("no labels are given", hint="add `--labels FILE`")
    spread: dict[str, list[str | None]] = {}
    for option, values in (("labels", labels), ("aoi", aoi), ("name", names)):
        if len(values) == 1 and option != "name":
            spread[option] = [values[0]] * len(mosaics)
        elif len(values) in (0, len(mosaics)):
            spread[option] = list(values) or [None] * len(mosaics)
        else:
            raise ConfigError(
                f"`--{option}` is given {len(values)} times for {len(mosaics)} mosaics",
                hint="give it once per mosaic",
            )
    rows = zip(mosaics, spread["labels"], spread["aoi"], spread["name"], strict=True)
    return [SceneFiles(mosaic, str(label), area, name) for mosaic, label, area, name in rows]


def read_scenes(
    files: Sequence[SceneFiles], tiling: TilingGrid, sure: float | None = None
) -> list[LabelledScene]:
    """Open all mosaics and read their labels.

    Args:
        files: of each scene.
        tiling: how its grid is made.
        sure: the score from which one of the labels is learnt, where a model drew them; what has
            less leaves the area (`geo.learnable`).

    Raises:
        VectorError: if the labels have no building or lie on none of their mosaics, or an area
            outside its own, or nothing of what a model drew is sure.
    """
    names: list[str] = []
    for file in files:
        names.append(_unique(file.name or _name(file.mosaic), names))
    step = tiling.size - tiling.overlap
    mosaics = [Mosaic.open(f.mosaic, gsd=tiling.gsd, crs=tiling.crs, step=step) for f in files]
    drawn = _drawn(files, mosaics, tiling.crs)
    rows = zip(files, names, mosaics, drawn, strict=True)
    scenes = [_labelled(*row, tiling, sure) for row in rows]
    for labels in {file.labels for file in files}:
        own = [s for f, s in zip(files, scenes, strict=True) if f.labels == labels]
        if not any(scene.keys or scene.doubtful for scene in own):
            raise _missed(labels, [scene.counts for scene in own])
    doubtful = sum(scene.doubtful for scene in scenes)
    if doubtful and not any(scene.keys for scene in scenes):
        raise VectorError(
            f"none of the {doubtful} buildings of the labels has a score of {sure:g} or more"
            " and a building's shape",
            hint="lower `--sure`",
        )
    return scenes


def _missed(labels: str, counts: Sequence[RepairCounts]) -> VectorError:
    """The error for labels of which none lies on a mosaic."""
    read = sum(count.read for count in counts)
    other = sum(count.no_building for count in counts)
    if read > other and read - other == sum(count.dropped for count in counts):
        return VectorError(
            f"labels `{labels}` have no polygons on the mosaic",
            hint="give a layer of building polygons",
        )
    if read and read == other:
        return VectorError(
            f"labels `{labels}` have no building on the mosaic: their columns call all there"
            " something else",
            hint="of OpenStreetMap's layers only what has a tag `building` counts; keep its column",
        )
    return VectorError(
        f"labels `{labels}` do not overlap the mosaic",
        hint="check that it has buildings, that both lie in the same place, and their CRS",
    )


def _drawn(
    files: Sequence[SceneFiles], mosaics: Sequence[Mosaic], crs: str | None
) -> list[tuple[Footprints, RepairCounts]]:
    """The labels of each mosaic; those of several in one file are read together."""
    found: dict[int, tuple[Footprints, RepairCounts]] = {}
    for labels in dict.fromkeys(file.labels for file in files):
        own = [index for index, file in enumerate(files) if file.labels == labels]
        windows = [(mosaics[index].grid.crs, mosaics[index].grid.bounds) for index in own]
        found |= zip(own, read_labels(labels, windows, crs), strict=True)
    return [found[index] for index in range(len(files))]


def _labelled(
    files: SceneFiles,
    name: str,
    mosaic: Mosaic,
    drawn: tuple[Footprints, RepairCounts],
    tiling: TilingGrid,
    sure: float | None,
) -> LabelledScene:
    grid = mosaic.grid
    area = _area(files, mosaic, tiling.crs)
    footprints, counts = drawn
    buildings = np.array([_in_pixels(p, grid) for p in footprints.polygons], dtype=object)
    visible = shapely.intersects(buildings, _outline(mosaic)).astype(bool)
    footprints, buildings = footprints.take(visible), buildings[visible]
    good = np.ones(len(footprints), dtype=bool)
    if sure is not None and len(footprints):
        good = learnable(buildings, _scores(footprints, files.labels), sure)
        area = certain(area, buildings[good], buildings[~good], 1 / grid.gsd)
        footprints, buildings = footprints.take(good), buildings[good]
    scene = Scene(name, mosaic, cover(grid, tiling.size, tiling.overlap), area, buildings)
    places = tuple(_places(scene))
    return LabelledScene(
        scene=scene,
        info=_info(files, scene),
        places=places,
        touching=_touching(places, buildings, area),
        keys=tuple(_keys(footprints)),
        counts=counts,
        doubtful=int((~good).sum()),
    )


def _scores(drawn: Footprints, labels: str) -> NDArray[np.float64]:
    """What the model gave the buildings (N,) that it drew."""
    try:
        return drawn.numbers("score")
    except (KeyError, ValueError):
        raise VectorError(
            f"labels `{labels}` have no numbers in a column `score`",
            hint="`--sure` is for what `buildex predict` drew; tile what mappers drew without it",
        ) from None


def _outline(mosaic: Mosaic) -> shapely.Polygon:
    """The ground of a mosaic in scene pixels."""
    return shapely.Polygon(mosaic.grid.to_pixel(mosaic.outline))


def _area(files: SceneFiles, mosaic: Mosaic, crs: str | None) -> shapely.Geometry:
    """The part of the mosaic that is of interest, in scene pixels."""
    seen = _outline(mosaic)
    if files.aoi is None:
        return seen
    grid = mosaic.grid
    around = shapely.box(*grid.bounds).buffer(grid.gsd * max(grid.width, grid.height) / 8).bounds
    area = _in_pixels(read_area(files.aoi, grid.crs, crs, around), grid).intersection(seen)
    if area.area == 0:
        raise VectorError(
            f"area `{files.aoi}` does not overlap `{files.mosaic}`",
            hint="check that both lie in the same place and their CRS is right",
        )
    return area


def _places(scene: Scene) -> list[TilePlace]:
    shapely.prepare(scene.area)
    return [place for place in scene.cover if shapely.box(*_corners(place)).intersects(scene.area)]


def _touching(
    places: Sequence[TilePlace], buildings: NDArray[np.object_], area: shapely.Geometry
) -> tuple[tuple[int, ...], ...]:
    tree = shapely.STRtree(shapely.intersection(buildings, area))
    return tuple(
        tuple(sorted(tree.query(shapely.box(*_corners(place)), predicate="intersects").tolist()))
        for place in places
    )


def _corners(place: TilePlace) -> tuple[int, int, int, int]:
    return place.box.x0, place.box.y0, place.box.x1, place.box.y1


def _keys(footprints: Footprints) -> list[str]:
    """What tells buildings apart in any CRS: their middles in degrees, to a decimetre."""
    middles = shapely.get_coordinates(shapely.centroid(footprints.polygons))
    degrees = reprojected(middles, footprints.crs, WGS84)
    return [f"{lon:.6f} {lat:.6f}" for lon, lat in degrees.tolist()]


def _in_pixels(geometry: shapely.Geometry, grid: Grid) -> shapely.Geometry:
    moved: shapely.Geometry = shapely.transform(geometry, grid.to_pixel)
    return moved


def _info(files: SceneFiles, scene: Scene) -> dict[str, Any]:
    mosaic, grid = scene.mosaic, scene.mosaic.grid
    t = grid.transform
    return {
        "name": scene.name,
        "mosaic": Path(files.mosaic).name,
        "mosaic_sha256": _sha256(files.mosaic),
        "labels": Path(files.labels).name,
        "labels_sha256": _sha256(files.labels),
        "aoi": None if files.aoi is None else Path(files.aoi).name,
        "aoi_sha256": None if files.aoi is None else _sha256(files.aoi),
        "source_crs": mosaic.source_crs,
        "source_gsd": round(mosaic.native_gsd, 6),
        "crs": grid.crs,
        "gsd": grid.gsd,
        "transform": [t.a, t.b, t.c, t.d, t.e, t.f],
        "width": grid.width,
        "height": grid.height,
        "stretch": mosaic.stretch.to_dict(),
    }


def _sha256(path: str) -> str | None:
    """The hash of a local file; of several, as a Shapefile's or a folder's, of all their hashes.

    None for what lies elsewhere.
    """
    place = Path(parted(path)[0])
    if place.is_dir():
        files = sorted(file for file in place.rglob("*") if file.is_file())
    elif place.suffix.lower() == ".shp":
        files = [file for part in SHAPEFILE if (file := place.with_suffix(part)).is_file()]
    else:
        files = [place] if place.is_file() else []
    states = [(file, file.stat()) for file in files]
    hashes = [_hashed(file, state.st_size, state.st_mtime_ns) for file, state in states]
    if len(hashes) < 2:
        return next(iter(hashes), None)
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


@lru_cache
def _hashed(file: Path, _size: int, _changed: int) -> str:
    """The hash of a file as it is: labels of many mosaics are read through once."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_name(name: str) -> bool:
    """Whether files and folders can be named after a scene of that name."""
    return bool(name) and not name.startswith(".") and not set("/\\") & set(name)


def named(text: str) -> str:
    """A name for a scene from any text."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "scene"


def _name(mosaic: str) -> str:
    """A scene's name: of the folder if the file is called `mosaic`, else of the file."""
    path = Path(mosaic.partition("?")[0])
    return named(path.absolute().parent.name if path.stem == "mosaic" else path.stem)


def _unique(name: str, taken: Sequence[str]) -> str:
    candidates = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))]
    return next(candidate for candidate in candidates if candidate not in taken)
