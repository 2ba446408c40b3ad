"""Write what was cut as a dataset: annotations, buildings, index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import buildex
from buildex.geo.footprints import to_rings
from buildex.io import coco
from buildex.io import dataset as layout
from buildex.io.cutter import Job
from buildex.io.partial import Partial, to_json
from buildex.io.scenes import LabelledScene


class CutTile(NamedTuple):
    """A tile that is kept: its place, its split, the buildings it touches, its record."""

    job: Job
    split: str
    touching: tuple[int, ...]
    record: Mapping[str, Any]


def write_dataset(
    partial: Partial,
    scenes: Sequence[LabelledScene],
    tiles: Sequence[CutTile],
    options: Mapping[str, Any],
) -> list[str]:
    """Write all files of a dataset but the images, which are there.

    Args:
        partial: the folder.
        scenes: all scenes.
        tiles: the tiles to keep, scene by scene, row by row.
        options: how they were cut.

    Returns:
        The names of all files of the dataset.
    """
    files = {name: sha for tile in tiles for name, sha in tile.record["files"].items()}
    splits: dict[str, dict[str, int]] = {}
    first = 1
    for split in sorted({tile.split for tile in tiles}):
        own = [tile for tile in tiles if tile.split == split]
        table = _annotations(scenes, own, first)
        first += len(table["annotations"])
        name = layout.annotations_name(split)
        files[name] = partial.write(name, to_json(table))
        splits[split] = {
            "tiles": len(own),
            "background": sum(not tile.touching for tile in own),
            "annotations": len(table["annotations"]),
            "buildings": len({(t.job.scene, index) for t in own for index in t.touching}),
        }
    for index, scene in enumerate(scenes):
        name = layout.buildings_name(scene.scene.name)
        own = [tile for tile in tiles if tile.job.scene == index]
        files[name] = partial.write(name, to_json({"buildings": _buildings(scene, own)}))
    table = {
        "version": layout.VERSION,
        "made_by": f"buildex {buildex.__version__}",
        "options": dict(options),
        "splits": splits,
        "scenes": [
            {**scene.info, "tiles": sum(tile.job.scene == index for tile in tiles)}
            for index, scene in enumerate(scenes)
        ],
        "files": dict(sorted(files.items())),
    }
    partial.write(layout.INDEX, to_json(table))
    return [layout.INDEX, *files]


def _annotations(
    scenes: Sequence[LabelledScene], tiles: Sequence[CutTile], first: int
) -> dict[str, Any]:
    """The COCO file of a split; `first` is the id of its first annotation."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for tile in tiles:
        images.append(_image(scenes[tile.job.scene], tile))
        for entry in tile.record["annotations"]:
            number = first + len(annotations)
            annotations.append({"id": number, "image_id": images[-1]["id"], **entry})
    return {
        "info": {"description": "buildings, cut by buildex", "version": str(layout.VERSION)},
        "licenses": [],
        "categories": [coco.CATEGORY],
        "images": images,
        "annotations": annotations,
    }


def _image(scene: LabelledScene, tile: CutTile) -> dict[str, Any]:
    box = scene.scene.cover.box(tile.job.row, tile.job.col)
    grid = scene.scene.mosaic.grid.crop(box)
    t = grid.transform
    return {
        "id": _image_id(tile.job),
        "file_name": tile.record["image"],
        "width": box.width,
        "height": box.height,
        "scene": scene.scene.name,
        "split": tile.split,
        "row": tile.job.row,
        "col": tile.job.col,
        "x": box.x0,
        "y": box.y0,
        "transform": [t.a, t.b, t.c, t.d, t.e, t.f],
        "crs": grid.crs,
        "valid": tile.record["valid"],
        "valid_fraction": tile.record["valid_fraction"],
        "background": not tile.touching,
    }


def _image_id(job: Job) -> int:
    """Unique in the dataset and the same however many tiles are kept."""
    return ((job.scene + 1) * 100_000 + job.row) * 100_000 + job.col


def _buildings(scene: LabelledScene, tiles: Sequence[CutTile]) -> list[dict[str, Any]]:
    """The uncut buildings that a tile touches, each in the split of that tile."""
    splits = {index: tile.split for tile in tiles for index in tile.touching}
    return [
        {
            "id": index + 1,
            "split": splits[index],
            "rings": [
                np.round(ring, coco.DIGITS).tolist()
                for ring in to_rings(scene.scene.buildings[index])
            ],
        }
        for index in sorted(splits)
    ]
