"""What a network learns from: samples cut from a dataset's scenes, put together as batches.

`training` hands in opened datasets; this module knows them by the protocols below only.
Pixel coordinates are continuous, (0, 0) the outer corner of the first pixel. Shapes: B
samples of H x W pixels, N buildings in one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from buildex.geo.boxes import PixelBox
from buildex.geo.rings import Rings, area, bounds, clip, fill, transformed
from buildex.nn.augment import Augment, draw_matrix, recolour, warp

Pixels = NDArray[np.uint8]
Flags = NDArray[np.bool_]
SLIVER_SHARE = 0.15  # of a building that the crop's edge left: less of it is no building ...
SLIVER_SIDE = 8.0  # ... where its shorter side is under these pixels
SMALLEST_SIDE = 2.0  # pixels; less is not seen at all


class Tile(Protocol):
    """A tile of a scene; `x`, `y` is its top-left pixel there."""

    @property
    def x(self) -> int: ...  # noqa: D102
    @property
    def y(self) -> int: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def height(self) -> int: ...  # noqa: D102


class Uncut(Protocol):
    """A building in scene pixels that no tile has cut."""

    @property
    def rings(self) -> Rings: ...  # noqa: D102


class Scene(Protocol):
    """One scene of a dataset."""

    name: str
    width: int
    height: int
    gsd: float

    def tiles(self, split: str) -> Sequence[Tile]:
        """Its tiles in a split."""
        ...

    def buildings(self, split: str) -> Sequence[Uncut]:
        """The buildings that touch a tile of the split."""
        ...

    def read(self, box: PixelBox, split: str) -> tuple[Pixels, Flags]:
        """Pixels (h, w, 3) of a box, and where they are valid."""
        ...


class Shape(NamedTuple):
    """A building as a sample shows it."""

    rings: Rings  # in pixels of the sample, outline first
    corners: tuple[Flags, ...]  # for each ring, False where the sample's edge made the point


class Sample(NamedTuple):
    """One image and its truth."""

    image: Pixels  # (H, W, 3) RGB
    valid: Flags  # (H, W)
    shapes: tuple[Shape, ...]


class Batch(NamedTuple):
    """Samples of one size."""

    images: Tensor  # (B, 3, H, W) uint8
    valid: Tensor  # (B, H, W) bool
    boxes: list[Tensor]  # B of (N, 4) float32, around what is visible
    shapes: list[tuple[Shape, ...]]  # B of N


def collate(samples: Sequence[Sample]) -> Batch:
    """Put samples of one size together."""
    images = torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2)
    valid = torch.from_numpy(np.stack([s.valid for s in samples]))
    boxes = [
        torch.tensor([bounds(shape.rings) for shape in s.shapes], dtype=torch.float32).view(-1, 4)
        for s in samples
    ]
    return Batch(images.contiguous(), valid, boxes, [s.shapes for s in samples])


def visible(rings: Rings, width: int, height: int) -> Shape | None:
    """The part of a building inside a sample; None where too little of it is left to see."""
    box = (0.0, 0.0, float(width), float(height))
    parts = [clip(ring, box) for ring in rings]
    if len(parts[0][0]) == 0:
        return None
    kept = [(ring, ~made) for ring, made in parts if len(ring)]
    shown = tuple(ring for ring, _ in kept)
    x0, y0, x1, y1 = bounds(shown)
    side = min(x1 - x0, y1 - y0)
    share = area(shown) / max(area(rings), 1e-9)
    if side < SMALLEST_SIDE or (share < SLIVER_SHARE and side < SLIVER_SIDE):
        return None
    return Shape(shown, tuple(flags for _, flags in kept))


class SceneTruth:
    """The buildings of a scene, ready to be looked up by place."""

    def __init__(self, scene: Scene, split: str) -> None:
        self.rings = [building.rings for building in scene.buildings(split)]
        self.boxes = np.array([bounds(rings) for rings in self.rings]).reshape(-1, 4)

    def shapes(self, box: PixelBox, matrix: NDArray[np.float64], valid: Flags) -> list[Shape]:
        """The buildings of a sample.

        Args:
            box: scene pixels that cover the sample.
            matrix: 2 x 3, scene to sample pixels.
            valid: (H, W) of the sample; a building mostly outside it is left out.
        """
        x0, y0, x1, y1 = self.boxes.T
        near = (x0 < box.x1) & (x1 > box.x0) & (y0 < box.y1) & (y1 > box.y0)
        found = []
        for index in np.flatnonzero(near):
            shape = visible(transformed(self.rings[index], matrix), valid.shape[1], valid.shape[0])
            if shape is not None and mostly_inside(shape.rings, valid):
                found.append(shape)
        return found


def mostly_inside(rings: Rings, valid: Flags) -> bool:
    """Whether at least half of a building's pixels are valid."""
    x0, y0, x1, y1 = bounds(rings)
    left, top = max(int(x0), 0), max(int(y0), 0)
    window = valid[top : int(np.ceil(y1)), left : int(np.ceil(x1))]
    if window.all():
        return True
    inside = fill([ring - (left, top) for ring in rings], *window.shape)
    return bool(window[inside].mean() >= 0.5) if inside.any() else False


class Crops(Dataset[Sample]):
    """Training samples: turned, scaled and recoloured cuts of real pixels, without end.

    Sample `index` depends on the seed and on `index` alone.

    Args:
        scenes: of all datasets.
        split: whose tiles are cut.
        size: side of a sample in pixels.
        augment: how much is changed.
        scene_weights: glob of scene names to a factor; without one a scene counts by its tiles.
        seed: of all chance.
    """

    def __init__(
        self, scenes: Sequence[Scene], split: str, size: int, augment: Augment,
        scene_weights: Mapping[str, float], seed: int,
    ) -> None:  # fmt: skip
        self.split, self.size, self.augment, self.seed = split, size, augment, seed
        self.scenes = [scene for scene in scenes if scene.tiles(split)]
        self.truths = [SceneTruth(scene, split) for scene in self.scenes]
        self.tiles = [(i, t) for i, scene in enumerate(self.scenes) for t in scene.tiles(split)]
        weights = [scene_weight(scene.name, scene_weights) for scene in self.scenes]
        chances = np.array([weights[i] for i, _ in self.tiles])
        self.chances = chances / chances.sum() if chances.sum() > 0 else chances

    def __getitem__(self, index: int) -> Sample:
        """Cut one sample."""
        rng = np.random.default_rng((self.seed, index))
        which, tile = self.tiles[int(rng.choice(len(self.tiles), p=self.chances))]
        scene = self.scenes[which]
        centre = (tile.x + rng.random() * tile.width, tile.y + rng.random() * tile.height)
        matrix = draw_matrix(rng, centre, self.size, self.augment)
        box = covering_box(matrix, self.size)
        pixels, valid = scene.read(box, self.split)
        shift = matrix.copy()
        shift[:, 2] += matrix[:, :2] @ (box.x0, box.y0)
        image, seen = warp(pixels, valid, shift, self.size)
        shapes = self.truths[which].shapes(box, matrix, seen)
        image = recolour(image, rng, self.augment)
        return Sample(np.where(seen[..., None], image, 0), seen, tuple(shapes))


def scene_weight(name: str, weights: Mapping[str, float]) -> float:
    """The factor of a scene: that of the first glob its name fits, else 1."""
    return next((factor for glob, factor in weights.items() if fnmatch(name, glob)), 1.0)


def covering_box(matrix: NDArray[np.float64], size: int) -> PixelBox:
    """The scene pixels that a sample may show, with a margin for interpolation."""
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]], dtype=float)
    points = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    low = np.floor(points.min(axis=0)).astype(int) - 2
    high = np.ceil(points.max(axis=0)).astype(int) + 2
    return PixelBox(int(low[0]), int(low[1]), int(high[0]), int(high[1]))


class WholeTiles(Dataset[Sample]):
    """Validation samples: the tiles of a split as they are."""

    def __init__(self, scenes: Sequence[Scene], split: str) -> None:
        self.split = split
        self.scenes = [scene for scene in scenes if scene.tiles(split)]
        self.truths = [SceneTruth(scene, split) for scene in self.scenes]
        self.tiles = [(i, t) for i, scene in enumerate(self.scenes) for t in scene.tiles(split)]

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.tiles)

    def __getitem__(self, index: int) -> Sample:
        """Read one tile and its truth."""
        which, tile = self.tiles[index]
        box = PixelBox(tile.x, tile.y, tile.x + tile.width, tile.y + tile.height)
        image, valid = self.scenes[which].read(box, self.split)
        matrix = np.array([[1.0, 0.0, -tile.x], [0.0, 1.0, -tile.y]])
        return Sample(image, valid, tuple(self.truths[which].shapes(box, matrix, valid)))


class EpochSampler(Sampler[int]):
    """Numbers of an epoch's samples, never used twice: epoch e counts on from e * samples.

    Lightning calls `set_epoch`. Of several processes each takes its share.
    """

    def __init__(self, samples: int, rank: int = 0, world: int = 1) -> None:
        self.samples, self.rank, self.world = samples, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Numbers of the samples of this process."""
        start = self.epoch * self.samples
        return iter(range(start + self.rank, start + self.samples, self.world))

    def __len__(self) -> int:
        """How many this process takes."""
        return len(range(self.rank, self.samples, self.world))
