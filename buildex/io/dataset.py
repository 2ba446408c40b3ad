"""Dataset folders: where their files lie, and how they are read.

    dataset.json             version, options, scenes, splits, counts, files with their hashes
    annotations/SPLIT.json   COCO: images, annotations, categories
    images/SCENE/...         one RGB image per tile
    valid/SCENE/...png       1-bit, only for tiles with pixels that show no ground
    buildings/SCENE.json     uncut buildings in scene pixels

Paths inside a dataset are relative to its folder and use `/`. A tile's (x, y) is its
top-left pixel in its scene. Training runs on machines without any geographic library, so
this module needs numpy and Pillow alone.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from buildex.errors import DatasetError
from buildex.geo.boxes import PixelBox
from buildex.geo.rings import Rings

VERSION = 1
INDEX = "dataset.json"
CACHED = 64  # decoded tiles that a process keeps, beside those decoded ahead

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def annotations_name(split: str) -> str:
    """Where the COCO file of a split lies in a dataset."""
    return f"annotations/{split}.json"


def buildings_name(scene: str) -> str:
    """Where the uncut buildings of a scene lie in a dataset."""
    return f"buildings/{scene}.json"


def image_name(scene: str, row: int, col: int, suffix: str) -> str:
    """Where the image of a tile lies in a dataset."""
    return f"images/{scene}/{scene}_r{row:04d}_c{col:04d}.{suffix}"


def valid_name(scene: str, row: int, col: int) -> str:
    """Where the mask of a tile lies in a dataset, for a tile that is not valid throughout."""
    return f"valid/{scene}/{scene}_r{row:04d}_c{col:04d}.png"


@dataclass(frozen=True)
class TileRecord:
    """One tile of a dataset; `x`, `y` is its top-left pixel in the scene."""

    id: int
    scene: str
    split: str
    row: int
    col: int
    x: int
    y: int
    width: int
    height: int
    image: Path
    valid: Path | None
    valid_fraction: float
    background: bool

    @property
    def box(self) -> PixelBox:
        """Its pixels in the scene."""
        return PixelBox(self.x, self.y, self.x + self.width, self.y + self.height)


@dataclass(frozen=True)
class Building:
    """A building that no tile has cut, in scene pixels."""

    id: int
    rings: Rings


class _TileCache:
    """The last decoded tiles of a dataset. Pickles empty: every process reads for itself."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._tiles: OrderedDict[Path, tuple[Pixels, Mask | None]] = OrderedDict()
        self._ahead: dict[Path, tuple[Pixels, Mask | None]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"capacity": self.capacity, "_tiles": OrderedDict(), "_ahead": {}}

    def decode(self, tiles: Sequence[TileRecord]) -> None:
        """Decode tiles for good, several at a time."""
        wanted = [tile for tile in tiles if tile.image not in self._ahead]
        with ThreadPoolExecutor() as pool:
            for tile, pixels in zip(wanted, pool.map(_decoded_tile, wanted), strict=True):
                self._ahead[tile.image] = pixels

    def read(self, tile: TileRecord) -> tuple[Pixels, Mask | None]:
        """The pixels of a tile and its mask; None where every pixel is valid."""
        if tile.image in self._ahead:
            return self._ahead[tile.image]
        if tile.image in self._tiles:
            self._tiles.move_to_end(tile.image)
            return self._tiles[tile.image]
        decoded = _decoded_tile(tile)
        self._tiles[tile.image] = decoded
        if len(self._tiles) > self.capacity:
            self._tiles.popitem(last=False)
        return decoded


class SceneTiles:
    """One scene of a dataset: its tiles, its uncut buildings, its pixels.

    Attributes:
        name: the scene's name.
        width: columns of its grid.
        height: rows of its grid.
        gsd: side of a pixel in metres.
        info: its entry in `dataset.json`: mosaic, hashes, CRS, transform, stretch.
    """

    def __init__(
        self, folder: Path, info: Mapping[str, Any], tiles: Sequence[TileRecord], cache: _TileCache
    ) -> None:
        self.info = dict(info)
        self.name = str(info["name"])
        self.width, self.height = int(info["width"]), int(info["height"])
        self.gsd = float(info["gsd"])
        self._folder = folder
        self._cache = cache
        self._tiles: dict[str, list[TileRecord]] = {}
        for tile in tiles:
            self._tiles.setdefault(tile.split, []).append(tile)
        self._boxes = {
            split: np.array([(t.x, t.y, t.x + t.width, t.y + t.height) for t in records])
            for split, records in self._tiles.items()
        }

    def tiles(self, split: str) -> list[TileRecord]:
        """Its tiles in a split, row by row; none where the split has none here."""
        return list(self._tiles.get(split, ()))

    def buildings(self, split: str) -> list[Building]:
        """The buildings that touch a tile of the split."""
        table = _read_json(self._folder / buildings_name(self.name))
        return [
            Building(
                int(entry["id"]), tuple(np.array(ring, dtype=float) for ring in entry["rings"])
            )
            for entry in table["buildings"]
            if entry["split"] == split
        ]

    def read(self, box: PixelBox, split: str) -> tuple[Pixels, Mask]:
        """The pixels of any box of the scene, put together from the tiles of one split.

        Args:
            box: in scene pixels; it may reach beyond the scene.
            split: tiles of other splits are not looked at.

        Returns:
            uint8 (h, w, 3), and bool (h, w), False (and 0) where no tile holds the pixel or
            the pixel shows no ground.
        """
        image = np.zeros((box.height, box.width, 3), dtype=np.uint8)
        valid = np.zeros((box.height, box.width), dtype=bool)
        for tile in self._touching(box, split):
            common = tile.box.intersection(box)
            if common is None:
                continue
            pixels, mask = self._cache.read(tile)
            here = common.shift(-box.x0, -box.y0).slices
            there = common.shift(-tile.x, -tile.y).slices
            image[here] = pixels[there]
            valid[here] = True if mask is None else mask[there]
        return image, valid

    def decode(self, split: str) -> None:
        """Decode the tiles of a split ahead and keep them: processes forked later share them."""
        self._cache.decode(self._tiles.get(split, ()))

    def _touching(self, box: PixelBox, split: str) -> list[TileRecord]:
        if split not in self._boxes:
            return []
        x0, y0, x1, y1 = self._boxes[split].T
        near = (x0 < box.x1) & (x1 > box.x0) & (y0 < box.y1) & (y1 > box.y0)
        return [self._tiles[split][i] for i in np.flatnonzero(near)]


class Dataset:
    """A dataset folder, opened for reading.

    Attributes:
        path: the folder.
        info: the content of `dataset.json`.
        splits: names of its splits.
        scenes: its scenes.
        fingerprint: SHA-256 of `dataset.json`, which holds the hash of every other file.
    """

    def __init__(
        self, path: Path, info: dict[str, Any], fingerprint: str, tiles: Sequence[TileRecord]
    ) -> None:
        self.path = path
        self.info = info
        self.fingerprint = fingerprint
        self.splits = tuple(str(name) for name in info["splits"])
        self._tiles = tuple(tiles)
        cache = _TileCache(capacity=CACHED)
        self.scenes = tuple(
            SceneTiles(path, scene, [t for t in tiles if t.scene == scene["name"]], cache)
            for scene in info["scenes"]
        )

    @classmethod
    def open(cls, path: str | Path) -> Dataset:
        """Open a dataset folder and check that its files are there.

        Raises:
            DatasetError: if the folder or one of its files is missing, or was written by
                another version.
        """
        folder = Path(path)
        if not (folder / INDEX).is_file():
            raise DatasetError(
                f"`{folder}` is no dataset: it has no `{INDEX}`",
                hint="make one with `buildex tile MOSAIC --labels FILE -o DATASET`",
            )
        info = _read_json(folder / INDEX)
        if info.get("version") != VERSION:
            raise DatasetError(
                f"dataset `{folder}` has version {info.get('version')}, this is for {VERSION}",
                hint="make it again with `buildex tile`",
            )
        _check_complete(folder, info)
        fingerprint = hashlib.sha256((folder / INDEX).read_bytes()).hexdigest()
        tiles = [record for split in info["splits"] for record in _records(folder, split)]
        return cls(folder, info, fingerprint, tiles)

    def tiles(self, split: str) -> list[TileRecord]:
        """The tiles of a split, scene by scene, row by row.

        Raises:
            DatasetError: if the dataset has no such split.
        """
        if split not in self.splits:
            raise DatasetError(
                f"dataset `{self.path}` has no split `{split}`",
                hint=f"it has {', '.join(f'`{name}`' for name in self.splits)}",
            )
        return [tile for tile in self._tiles if tile.split == split]


def _records(folder: Path, split: str) -> list[TileRecord]:
    entries = _read_json(folder / annotations_name(split))["images"]
    same = ("id", "scene", "split", "row", "col", "x", "y", "width", "height")
    return [
        TileRecord(
            **{name: entry[name] for name in same},
            image=folder / entry["file_name"],
            valid=folder / entry["valid"] if entry["valid"] else None,
            valid_fraction=float(entry["valid_fraction"]),
            background=bool(entry["background"]),
        )
        for entry in entries
    ]


def _check_complete(folder: Path, info: Mapping[str, Any]) -> None:
    """Every file that the index names must be there; folders are listed once each."""
    listed: dict[Path, set[str]] = {}
    for name in info.get("files", {}):
        parent = (folder / name).parent
        if parent not in listed:
            listed[parent] = {p.name for p in parent.iterdir()} if parent.is_dir() else set()
        if Path(name).name not in listed[parent]:
            raise DatasetError(
                f"dataset `{folder}` is incomplete: `{name}` is missing",
                hint="copy the folder again, or make it again with `buildex tile`",
            )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"`{path}` cannot be read: {error}", hint="make the dataset again"
        ) from None
    if not isinstance(table, dict):
        raise DatasetError(f"`{path}` is not a table", hint="make the dataset again")
    return table


def _decoded_tile(tile: TileRecord) -> tuple[Pixels, Mask | None]:
    """The pixels of a tile and its mask; None where every pixel is valid."""
    mask = None if tile.valid is None else _decoded(tile.valid, "1").astype(bool)
    return _decoded(tile.image, "RGB"), mask


def _decoded(path: Path, mode: str) -> NDArray[Any]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode))
    except (OSError, SyntaxError) as error:
        raise DatasetError(
            f"`{path}` cannot be read: {error}", hint="make the dataset again"
        ) from None
