"""An oracle in the network's place: true buildings drawn as a perfect network would say them.

What is lost between truth and the polygons that come back is lost by the resolution of the
maps, by grouping and by stitching, never by a network. It is how the geometry is judged.
With `Noise` the oracle errs as networks do, by a stated amount.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from buildex.geo.footprints import to_rings
from buildex.geo.instances import RoiMaps, Tile, no_instances
from buildex.geo.keypoints import RoiCodec, RoiTarget
from buildex.geo.rings import Rings, area, bounds, clip

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How an oracle errs; lengths in cells.

    Attributes:
        blur: standard deviation of the blur of heatmaps; peaks keep their height.
        dropped: chance that a corner is not seen.
        extra: false corners per true one, of random strength, anywhere in the frame.
        bleed: standard deviation of how far a whole mask is eroded or bleeds.
        ripple: standard deviation of the same along the outline, smooth over 4 cells.
    """

    blur: float = 0.0
    dropped: float = 0.0
    extra: float = 0.0
    bleed: float = 0.0
    ripple: float = 0.0

    @classmethod
    def of(cls, level: float) -> Noise:
        """All kinds at once: 0 is none, 1 is a fair network, 2 a poor one."""
        return cls(
            blur=0.8 * level,
            dropped=min(1.0, 0.15 * level),
            extra=0.15 * level,
            bleed=0.7 * level,
            ripple=0.7 * level,
        )


class Oracle:
    """A segmenter that knows the truth.

    Args:
        truth: buildings in pixels of the mosaic's working grid.
        size: side of a tile in pixels.
        gsd: metres per pixel.
        codec: how buildings become maps.
        smallest: square pixels of a building's part in a tile under which it is not seen.
        noise: how it errs; not at all by default.
        seed: of the noise.
    """

    def __init__(
        self,
        truth: Sequence[Rings],
        size: int = 512,
        gsd: float = 0.10,
        codec: RoiCodec | None = None,
        smallest: float = 60.0,
        noise: Noise | None = None,
        seed: int = 0,
    ) -> None:
        self.size, self.gsd = size, gsd
        self.threshold = 0.5
        self.codec = codec or RoiCodec()
        self.smallest = smallest
        self.noise = noise
        self._rng = np.random.default_rng(seed)
        self._truth = list(truth)
        self._tree = shapely.STRtree([shapely.box(*bounds(rings)) for rings in truth])

    @classmethod
    def of_polygons(
        cls,
        polygons: Sequence[shapely.Polygon],
        codec: RoiCodec | None = None,
        noise: Noise | None = None,
    ) -> Oracle:
        """An oracle that knows shapely polygons, in pixels of the working grid."""
        return cls([to_rings(polygon) for polygon in polygons], codec=codec, noise=noise)

    def __call__(self, tiles: Sequence[Tile], score: float = 0.0) -> list[RoiMaps]:
        """The true maps of each tile; their score is 1, which is never too low."""
        return [self._maps(tile) for tile in tiles]

    def _maps(self, tile: Tile) -> RoiMaps:
        box = tile.box
        hits = np.sort(self._tree.query(shapely.box(box.x0, box.y0, box.x1, box.y1)))
        origin = np.array([box.x0, box.y0], dtype=np.float64)
        frames, masks, heatmaps, offsets = [], [], [], []
        for index in hits.tolist():
            clipped = [
                clip(ring - origin, (0.0, 0.0, box.width, box.height))
                for ring in self._truth[index]
            ]
            rings = tuple(ring for ring, _ in clipped if len(ring))
            if not len(clipped[0][0]) or area(rings) < self.smallest:
                continue
            corners = [~made for ring, made in clipped if len(ring)]
            frame = self.codec.frames(np.array([bounds(rings)]))[0]
            target = self._drawn(rings, frame, corners)
            frames.append(frame)
            masks.append(target.mask)
            heatmaps.append(target.heatmap)
            offsets.append(target.offset)
        if not frames:
            return no_instances(self.codec.cells)
        return RoiMaps(
            np.array(frames, np.float32),
            np.ones(len(frames), np.float32),
            np.array(masks),
            np.array(heatmaps),
            np.array(offsets),
        )

    def _drawn(
        self, rings: Rings, frame: NDArray[np.float64], corners: list[NDArray[np.bool_]]
    ) -> RoiTarget:
        noise = self.noise
        if noise is None:
            return self.codec.encode(rings, frame, corners)
        seen = [flags & (self._rng.random(len(flags)) >= noise.dropped) for flags in corners]
        target = self.codec.encode(rings, frame, seen)
        heatmap = self._blurred(target.heatmap, noise.blur)
        false = self._rng.poisson(noise.extra * sum(int(flags.sum()) for flags in corners))
        for row, col in self._rng.integers(0, self.codec.cells, (false, 2)):
            heatmap[row, col] = max(float(heatmap[row, col]), self._rng.uniform(0.3, 0.9))
        return target._replace(heatmap=heatmap, mask=self._shaken(target.mask, noise))

    def _blurred(self, heatmap: Floats, blur: float) -> Floats:
        if blur == 0 or heatmap.max() == 0:
            return heatmap.copy()
        blurred = gaussian_filter(heatmap, blur)
        result: Floats = blurred * (heatmap.max() / blurred.max())
        return result

    def _shaken(self, mask: Floats, noise: Noise) -> Floats:
        """The mask with its outline moved in and out."""
        inside = mask >= 0.5
        if not inside.any() or noise.bleed == noise.ripple == 0:
            return mask
        depth = distance_transform_edt(inside) - distance_transform_edt(~inside)
        depth += (mask - 0.5) * (np.abs(depth) <= 1)  # the outline's place within its cell
        field = gaussian_filter(self._rng.standard_normal(mask.shape), 4.0)
        depth += noise.bleed * self._rng.standard_normal()
        depth += noise.ripple * field / max(float(field.std()), 1e-9)
        result: Floats = (1 / (1 + np.exp(-2 * np.clip(depth, -20, 20)))).astype(np.float32)
        return result
