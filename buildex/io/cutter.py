"""Cut one tile: read it, mask it, annotate it, write it, record it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image

from buildex.geo import cutting
from buildex.geo.boxes import PixelBox
from buildex.geo.rings import fill
from buildex.geo.tiles import Cover
from buildex.io import coco
from buildex.io import dataset as layout
from buildex.io.partial import Partial
from buildex.io.raster import Mosaic, Pixels, encoded, small_cache

FINE_COLOURS = 90  # JPEG quality from which colours have all their pixels
LARGE = 8  # a part larger than a square of size / LARGE is annotated whatever its share

QUICK = 2  # zlib's level: a quarter of the default's time, 6 % more bytes


class Job(NamedTuple):
    """One tile to cut: the scene's index, the tile's row and column."""

    scene: int
    row: int
    col: int


@dataclass(frozen=True)
class Scene:
    """A mosaic with its labels, as the tiles see it.

    Attributes:
        name: unique in the dataset.
        mosaic: where its pixels come from.
        cover: its tiles.
        area: in scene pixels: the mosaic, inside the area of interest.
        buildings: (N,) uncut polygons in scene pixels; building i has the id i + 1.
    """

    name: str
    mosaic: Mosaic
    cover: Cover
    area: shapely.Geometry
    buildings: NDArray[np.object_]


@dataclass(frozen=True)
class CutRules:
    """What a tile keeps.

    Attributes:
        min_kept: smallest share of a building in a tile that is annotated.
        min_valid: smallest share of valid pixels of a tile that is kept.
        suffix: file format of the images: `png`, `jpg` or `tif`.
        quality: of `jpg`, 1 to 100; from 90 colours are kept as fine as brightness.
    """

    min_kept: float
    min_valid: float
    suffix: str
    quality: int = 95


class Cutter:
    """Cuts tiles of some scenes into a folder in the making. Can be sent to a process.

    Only the scene of the last tile is held open, so memory does not grow with their number.
    """

    def __init__(self, scenes: Sequence[Scene], partial: Partial, rules: CutRules) -> None:
        self.scenes = tuple(scenes)
        self.partial = partial
        self.rules = rules
        self._last: tuple[Scene, shapely.STRtree] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def __call__(self, job: Job) -> dict[str, Any]:
        """Cut a tile, unless it is there already.

        Returns:
            Its record: `image` and `valid` (file names; `image` is None for a tile with too
            few valid pixels), `valid_fraction`, `annotations`, `files` (name to SHA-256).
        """
        scene = self.scenes[job.scene]
        key = f"{scene.name}/{job.row}_{job.col}"
        known = self.partial.record(key)
        if known is not None:
            return known
        with small_cache():
            record = self._cut(scene, job)
        self.partial.put(key, record)
        return record

    def _cut(self, scene: Scene, job: Job) -> dict[str, Any]:
        tree = self._buildings(scene)
        box = scene.cover.box(job.row, job.col)
        image, valid = scene.mosaic.read(box)
        valid = valid & cutting.mask(scene.area, box)
        image = image * valid[..., None]
        record: dict[str, Any] = {
            "image": None,
            "valid": None,
            "valid_fraction": round(float(valid.mean()), 6),
            "annotations": [],
            "files": {},
        }
        if valid.mean() < self.rules.min_valid or not valid.any():
            return record
        record["annotations"] = self._annotations(scene, tree, box, valid)
        record["image"] = layout.image_name(scene.name, job.row, job.col, self.rules.suffix)
        files = {record["image"]: self._encoded(image, scene, box)}
        if not valid.all():
            record["valid"] = layout.valid_name(scene.name, job.row, job.col)
            files[record["valid"]] = _picture(Image.fromarray(valid), "PNG")
        record["files"] = {name: self.partial.write(name, data) for name, data in files.items()}
        return record

    def _buildings(self, scene: Scene) -> shapely.STRtree:
        """Where a scene's buildings are; another scene that was cut before is closed."""
        if self._last is None or self._last[0] is not scene:
            if self._last is not None:
                self._last[0].mosaic.close()
            self._last = scene, shapely.STRtree(scene.buildings)
        return self._last[1]

    def _annotations(
        self, scene: Scene, tree: shapely.STRtree, box: PixelBox, valid: NDArray[np.bool_]
    ) -> list[dict[str, Any]]:
        """Every part of a building that is large enough, in the order of the buildings."""
        frame = shapely.box(box.x0, box.y0, box.x1, box.y1)
        large = (scene.cover.size / LARGE) ** 2
        found = []
        for index in sorted(tree.query(frame, predicate="intersects").tolist()):
            building = scene.buildings[index]
            for part in cutting.parts(building, box, scene.area):
                inside = fill(part.rings, box.height, box.width)
                seen = part.seen(float(valid[inside].mean()) if inside.any() else 0.0)
                visible = seen.kept * building.area
                if visible < cutting.SMALLEST_PART:
                    continue
                if seen.kept >= self.rules.min_kept or visible >= large:
                    found.append(coco.annotation(seen, index + 1, box.height, box.width))
        return found

    def _encoded(self, image: Pixels, scene: Scene, box: PixelBox) -> bytes:
        if self.rules.suffix == "tif":
            return encoded(image, scene.mosaic.grid.crop(box))
        picture = Image.fromarray(image)
        if self.rules.suffix == "jpg":
            quality = self.rules.quality
            return _picture(
                picture, "JPEG", quality=quality, subsampling=0 if quality >= FINE_COLOURS else 2
            )
        return _picture(picture, "PNG", compress_level=QUICK)


def cut_all(cutter: Cutter, jobs: Sequence[Job], workers: int) -> Iterator[dict[str, Any]]:
    """The records of all jobs, in their order, whatever the number of processes.

    Args:
        cutter: what cuts.
        jobs: neighbours should follow one another, they share source pixels.
        workers: processes; 1 stays in this one.
    """
    if workers <= 1 or len(jobs) < 2 * workers:
        yield from map(cutter, jobs)
        return
    chunk = max(1, min(16, len(jobs) // (4 * workers)))
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_equip, initargs=(cutter,)
    ) as pool:
        try:
            yield from pool.map(_cut_one, jobs, chunksize=chunk)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_equipment: list[Cutter] = []  # of a worker process: the cutter it was started with


def _equip(cutter: Cutter) -> None:
    _equipment[:] = [cutter]


def _cut_one(job: Job) -> dict[str, Any]:
    return _equipment[0](job)


def _picture(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
