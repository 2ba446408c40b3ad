"""What a network learns from: samples cut from a dataset's scenes, put together as batches.

`training` hands in opened datasets; this module knows them by the protocols below only.
Pixel coordinates are continuous, (0, 0) the outer corner of the first pixel. Shapes: B
samples of H x W pixels, N buildings in one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from buildex.geo.boxes import PixelBox
from buildex.geo.rings import Rings, area, bounds, clip, fill, signed_area, transformed
from buildex.nn.augment import draw_matrix, recolour, warp
from buildex.nn.clutter import lay, overgrow, paste, shade
from buildex.nn.device import memory
from buildex.nn.settings import TRAIN, VAL, Feeding

Pixels = NDArray[np.uint8]
Flags = NDArray[np.bool_]
SLIVER_SHARE = 0.15  # of a building that the crop's edge left: less of it is no building ...
SLIVER_SIDE = 8.0  # ... where its shorter side is under these pixels
SMALLEST_SIDE = 2.0  # pixels; less is not seen at all
DECODED = 1 / 8  # of the machine's memory that pixels decoded ahead may take
TRIES = 4  # at a cut that shows enough of a scene ...
GROUND = 0.6  # ... which is this share of its pixels


class Tile(Protocol):
    """A tile of a scene; `x`, `y` is its top-left pixel there, `valid_fraction` its ground."""

    @property
    def x(self) -> int: ...  # noqa: D102
    @property
    def y(self) -> int: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def height(self) -> int: ...  # noqa: D102
    @property
    def valid_fraction(self) -> float: ...  # noqa: D102


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

    def decode(self, split: str) -> None:
        """Decode a split ahead, to be read often."""
        ...


class Shape(NamedTuple):
    """A building as a sample shows it."""

    rings: Rings  # in pixels of the sample, outline first
    corners: tuple[Flags, ...]  # for each ring, False where a point is no corner to be seen


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
    x0, y0, x1, y1 = bounds(rings)
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        whole = tuple(np.ones(len(ring), dtype=bool) for ring in rings)
        return Shape(rings, whole) if min(x1 - x0, y1 - y0) >= SMALLEST_SIDE else None
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


def with_area(rings: Rings) -> Rings:
    """A building without holes that have no area; empty where it has none itself."""
    if signed_area(rings[0]) == 0:
        return ()
    return (rings[0], *(hole for hole in rings[1:] if signed_area(hole) != 0))


class SceneTruth:
    """The buildings of a scene, ready to be looked up by place."""

    def __init__(self, scene: Scene, split: str) -> None:
        self.rings = [
            rings for building in scene.buildings(split) if (rings := with_area(building.rings))
        ]
        self.boxes = np.array([bounds(rings) for rings in self.rings]).reshape(-1, 4)

    def shapes(self, box: PixelBox, matrix: NDArray[np.float64], valid: Flags) -> list[Shape]:
        """The buildings of a sample.

        Args:
            box: scene pixels that cover the sample.
            matrix: 2 x 3, scene to sample pixels.
            valid: (H, W) of the sample; a building mostly outside it is left out, and a
                corner outside it is none.
        """
        x0, y0, x1, y1 = self.boxes.T
        near = (x0 < box.x1) & (x1 > box.x0) & (y0 < box.y1) & (y1 > box.y0)
        found = []
        for index in np.flatnonzero(near):
            shape = visible(transformed(self.rings[index], matrix), valid.shape[1], valid.shape[0])
            if shape is not None and mostly_inside(shape.rings, valid):
                found.append(without_hidden(shape, valid))
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


def without_hidden(shape: Shape, valid: Flags) -> Shape:
    """The same building; what lies on a pixel that is not valid is no corner: nobody sees it."""
    height, width = valid.shape
    corners = []
    for ring, flags in zip(shape.rings, shape.corners, strict=True):
        x, y = ring.astype(np.int64).T
        corners.append(flags & valid[y.clip(0, height - 1), x.clip(0, width - 1)])
    return Shape(shape.rings, tuple(corners))


class _Cut(NamedTuple):
    """Pixels of a scene that a sample is to be made of."""

    pixels: Pixels  # (h, w, 3)
    valid: Flags  # (h, w)
    matrix: NDArray[np.float64]  # (2, 3), scene to sample
    inner: NDArray[np.float64]  # (2, 3), these pixels to sample
    ground: float  # share of the sample that will be valid, about


class Crops(Dataset[Sample]):
    """Training samples: turned, scaled and recoloured cuts of real pixels, without end.

    Sample `index` depends on the seed and on `index` alone. A scene is seen as often as it
    has tiles of ground, times its weight.

    Args:
        scenes: of all datasets; those with tiles of the split `train` are cut.
        feeding: how.
    """

    def __init__(self, scenes: Sequence[Scene], feeding: Feeding) -> None:
        self.feeding = feeding
        self.scenes = [scene for scene in scenes if scene.tiles(TRAIN)]
        self.truths = [SceneTruth(scene, TRAIN) for scene in self.scenes]
        self.tiles = [(i, t) for i, scene in enumerate(self.scenes) for t in scene.tiles(TRAIN)]
        chances = np.array(
            [feeding.weight(self.scenes[i].name) * tile.valid_fraction for i, tile in self.tiles]
        )
        self.chances = chances / chances.sum()

    def decode(self, devices: int = 1) -> None:
        """Decode all tiles that are seen, if memory bears it, for processes forked after it.

        Args:
            devices: that learn on this machine, each with tiles of its own.
        """
        seen = [scene for scene in self.scenes if self.feeding.weight(scene.name) > 0]
        size = sum(_decoded_size(tile) for scene in seen for tile in scene.tiles(TRAIN))
        if size * devices <= DECODED * memory():
            for scene in seen:
                scene.decode(TRAIN)

    def __getitem__(self, index: int) -> Sample:
        """Cut one sample; now and then with buildings of another one."""
        augment = self.feeding.augment
        rng = np.random.default_rng((self.feeding.seed, index))
        sample = self._cut(rng)
        if rng.random() < augment.paste:
            sample = with_buildings(sample, self._cut(rng), rng)
        if rng.random() < augment.lay:
            sample = with_ground(sample, self._cut(rng), rng)
        boxes = [bounds(shape.rings) for shape in sample.shapes]
        image = sample.image
        if rng.random() < augment.overgrow:
            image = overgrow(image, sample.valid, boxes, rng)
        if rng.random() < augment.shade:
            image = shade(image, rng)
        return sample._replace(image=_on_ground(image, sample.valid))

    def _cut(self, rng: np.random.Generator) -> Sample:
        """A cut around some point of a tile; of a few, the first that shows enough ground."""
        size, augment = self.feeding.size, self.feeding.augment
        which, tile = self.tiles[int(rng.choice(len(self.tiles), p=self.chances))]
        cuts: list[_Cut] = []
        for _ in range(TRIES):
            centre = (tile.x + rng.random() * tile.width, tile.y + rng.random() * tile.height)
            matrix = draw_matrix(rng, centre, size, augment)
            cuts.append(self._cut_out(which, matrix))
            if cuts[-1].ground >= GROUND:
                break
        cut = max(cuts, key=lambda one: one.ground)
        pixels, valid = warp(cut.pixels, cut.valid, cut.inner, size)
        matrix = cut.matrix
        shapes = self.truths[which].shapes(covering_box(matrix, size), matrix, valid)
        pixels = recolour(pixels, rng, augment)
        return Sample(_on_ground(pixels, valid), valid, tuple(shapes))

    def _cut_out(self, which: int, matrix: NDArray[np.float64]) -> _Cut:
        """The scene pixels that a matrix needs, and how much of the sample will be ground."""
        box = covering_box(matrix, self.feeding.size)
        pixels, valid = self.scenes[which].read(box, TRAIN)
        inner = matrix.copy()
        inner[:, 2] += matrix[:, :2] @ (box.x0, box.y0)
        points = (_coarse(self.feeding.size) - inner[:, 2]) @ np.linalg.inv(inner[:, :2]).T
        x, y = points.astype(np.int64).T
        return _Cut(pixels, valid, matrix, inner, float(valid[y, x].mean()))


def _on_ground(pixels: Pixels, valid: Flags) -> Pixels:
    """Pixels (H, W, 3), black where they are not valid."""
    return pixels if valid.all() else np.where(valid[..., None], pixels, 0)


def _decoded_size(tile: Tile) -> int:
    """Bytes of a decoded tile: three of each pixel, and one of its mask where there is one."""
    return tile.width * tile.height * (3 + (tile.valid_fraction < 1))


def _coarse(size: int) -> NDArray[np.float64]:
    """Points (256, 2) spread evenly over a sample."""
    steps = (np.arange(16) + 0.5) * size / 16
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


def with_buildings(sample: Sample, donor: Sample, rng: np.random.Generator) -> Sample:
    """A sample with some whole buildings of another one put down where there is room."""
    whole = [shape for shape in donor.shapes if all(flags.all() for flags in shape.corners)]
    boxes = [bounds(shape.rings) for shape in sample.shapes]
    rings = [shape.rings for shape in whole]
    image, placed = paste(sample.image, sample.valid, boxes, donor.image, rings, rng)
    new = [
        Shape(tuple(ring + shift for ring in rings[number]), whole[number].corners)
        for number, shift in placed
    ]
    return Sample(image, sample.valid, (*sample.shapes, *new))


def with_ground(sample: Sample, donor: Sample, rng: np.random.Generator) -> Sample:
    """A sample with pieces of another one's open ground, in the shapes of buildings."""
    outlines = [shape.rings for shape in (*donor.shapes, *sample.shapes)]
    boxes = [bounds(shape.rings) for shape in sample.shapes]
    bare = donor.valid.copy()
    for shape in donor.shapes:
        x0, y0, x1, y1 = bounds(shape.rings)
        bare[max(int(y0), 0) : int(np.ceil(y1)), max(int(x0), 0) : int(np.ceil(x1))] = False
    image = lay(sample.image, sample.valid, boxes, (donor.image, bare), outlines, rng)
    return sample._replace(image=image)


def covering_box(matrix: NDArray[np.float64], size: int) -> PixelBox:
    """The scene pixels that a sample may show, with a margin for interpolation."""
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]], dtype=float)
    points = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    low = np.floor(points.min(axis=0)).astype(int) - 2
    high = np.ceil(points.max(axis=0)).astype(int) + 2
    return PixelBox(int(low[0]), int(low[1]), int(high[0]), int(high[1]))


class WholeTiles(Dataset[Sample]):
    """Validation samples: the tiles of the split `val` as they are."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.scenes = [scene for scene in scenes if scene.tiles(VAL)]
        self.truths = [SceneTruth(scene, VAL) for scene in self.scenes]
        self.tiles = [(i, t) for i, scene in enumerate(self.scenes) for t in scene.tiles(VAL)]

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.tiles)

    def __getitem__(self, index: int) -> Sample:
        """Read one tile and its truth."""
        which, tile = self.tiles[index]
        box = PixelBox(tile.x, tile.y, tile.x + tile.width, tile.y + tile.height)
        image, valid = self.scenes[which].read(box, VAL)
        matrix = np.array([[1.0, 0.0, -tile.x], [0.0, 1.0, -tile.y]])
        return Sample(image, valid, tuple(self.truths[which].shapes(box, matrix, valid)))


class ShareSampler(Sampler[int]):
    """Numbers of samples, 0, 1, ...; of several processes each takes its share."""

    def __init__(self, samples: int, rank: int = 0, world: int = 1) -> None:
        self.samples, self.rank, self.world = samples, rank, world
        self.start = 0

    def __iter__(self) -> Iterator[int]:
        """Numbers of the samples of this process."""
        return iter(range(self.start + self.rank, self.start + self.samples, self.world))

    def __len__(self) -> int:
        """How many this process takes."""
        return len(range(self.rank, self.samples, self.world))


class EpochSampler(ShareSampler):
    """Numbers that are never used twice: each epoch counts on from where the one before ended."""

    def __init__(self, samples: int, rank: int = 0, world: int = 1) -> None:
        super().__init__(samples, rank, world)
        self._begun, self._used = 0, 0

    def go_on(self, epoch: int, number: int) -> None:
        """Say that `number` samples were used when a run goes on in an epoch.

        Workers begin before Lightning says which epoch it is.
        """
        self._begun, self._used = epoch, number
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; Lightning does."""
        whole = self._used - self._used % self.samples + (epoch - self._begun) * self.samples
        self.start = max(whole, self._used)  # in the middle of an epoch the rest of it comes first
