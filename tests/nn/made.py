"""Painted houses: as a dataset folder written with nothing but numpy and Pillow, and in memory."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from buildex.card import PARTS, NetworkSpec
from buildex.geo.boxes import PixelBox
from buildex.geo.rings import Rings, fill

TILE = 128
SMALLEST = "test_efficientnet"  # timm's encoder for tests: 0.3 M parameters

SYSTEMS = tuple(PARTS)
ROI_SYSTEMS = tuple(name for name, parts in PARTS.items() if parts.detector)

HOUSES = (  # pixels of the scene
    [[20, 20], [70, 20], [70, 60], [20, 60]],
    [[90, 30], [160, 40], [152, 96], [82, 86]],
    [[30, 90], [70, 90], [70, 150], [50, 150], [50, 120], [30, 120]],
    [[180, 170], [230, 170], [230, 230], [180, 230]],
    [[100, 180], [150, 180], [150, 210], [100, 210]],
)


def rings_of(points: list[list[float]]) -> Rings:
    return (np.array(points, dtype=float),)


def painted(side: int = 2 * TILE, houses=HOUSES) -> np.ndarray:
    """Bright roofs on dark, grainy ground (side, side, 3)."""
    ground = np.random.default_rng(7).integers(60, 90, (side, side, 3))
    for index, points in enumerate(houses):
        ground[fill(rings_of(points), side, side)] = (200, 150 + 10 * index, 120)
    return ground.astype(np.uint8)


class PaintedScene:
    """A scene in memory: one tile of painted houses; what `hidden` slices say is not valid."""

    gsd = 0.1

    def __init__(self, name="scene", houses=HOUSES, side=2 * TILE, hidden=()) -> None:
        self.name, self.width, self.height, self.houses = name, side, side, houses
        self.valid = np.ones((side, side), dtype=bool)
        for part in hidden:
            self.valid[part] = False
        self.pixels = np.where(self.valid[..., None], painted(side, houses), 0).astype(np.uint8)

    def tiles(self, split):
        whole = {"x": 0, "y": 0, "width": self.width, "height": self.height}
        return [SimpleNamespace(**whole, valid_fraction=float(self.valid.mean()))]

    def buildings(self, split):
        return [SimpleNamespace(rings=rings_of(points)) for points in self.houses]

    def decode(self, split):
        """It is all there."""

    def read(self, box: PixelBox, split):
        image = np.zeros((box.height, box.width, 3), np.uint8)
        valid = np.zeros((box.height, box.width), bool)
        common = box.intersection(PixelBox(0, 0, self.width, self.height))
        if common is not None:
            here = common.shift(-box.x0, -box.y0).slices
            image[here], valid[here] = self.pixels[common.slices], self.valid[common.slices]
        return image, valid


def tiny_spec(cells: int = 16, **changes) -> NetworkSpec:
    """A network with little to compute."""
    usual = {
        "encoder": SMALLEST, "pyramid_channels": 64, "detector_convs": 1,
        "roi_channels": 16, "roi_cells": cells // changes.get("roi_scale", 2),
        "box_channels": 64, "proposals": 64, "decoder_channels": (32, 32, 16, 16, 16),
    }  # fmt: skip
    return NetworkSpec(**usual | changes)


def write_dataset(folder: Path, splits=("train", "val"), gsd: float = 0.1) -> Path:
    """One scene of 2 x 2 tiles per split, all of the same houses."""
    folder.mkdir(parents=True)
    scenes, files = [], []
    for split in splits:
        name = f"scene-{split}"
        records = [_tile(folder, name, split, row, col) for row in (0, 1) for col in (0, 1)]
        _write(folder / "annotations" / f"{split}.json", {"images": records, "annotations": []})
        entries = [{"id": i, "split": split, "rings": [h]} for i, h in enumerate(HOUSES)]
        _write(folder / "buildings" / f"{name}.json", {"buildings": entries})
        scenes.append({"name": name, "width": 2 * TILE, "height": 2 * TILE, "gsd": gsd})
        files += [record["file_name"] for record in records]
    index = {"version": 1, "splits": list(splits), "scenes": scenes, "files": dict.fromkeys(files)}
    _write(folder / "dataset.json", index)
    return folder


def _tile(folder: Path, scene: str, split: str, row: int, col: int) -> dict[str, object]:
    name = f"images/{scene}/{scene}_r{row:04d}_c{col:04d}.png"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    y, x = row * TILE, col * TILE
    Image.fromarray(painted()[y : y + TILE, x : x + TILE]).save(folder / name)
    return {
        "id": 2 * row + col, "scene": scene, "split": split, "row": row, "col": col, "x": x,
        "y": y, "width": TILE, "height": TILE, "file_name": name, "valid": None,
        "valid_fraction": 1.0, "background": False,
    }  # fmt: skip


def _write(path: Path, table: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table), encoding="utf-8")
