"""An oracle in the network's place: true buildings drawn as a perfect network would say them.

What is lost between truth and the polygons that come back is lost by the resolution of the
maps, by grouping and by stitching, never by a network. It is how the geometry is judged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from buildex.geo.footprints import to_rings
from buildex.geo.instances import RoiMaps, Tile, no_instances
from buildex.geo.keypoints import RoiCodec
from buildex.geo.rings import Rings, area, bounds, clip


class Oracle:
    """A segmenter that knows the truth.

    Args:
        truth: buildings in pixels of the mosaic's working grid.
        size: side of a tile in pixels.
        gsd: metres per pixel.
        codec: how buildings become maps.
        smallest: square pixels of a building's part in a tile under which it is not seen.
    """

    def __init__(
        self,
        truth: Sequence[Rings],
        size: int = 512,
        gsd: float = 0.10,
        codec: RoiCodec | None = None,
        smallest: float = 60.0,
    ) -> None:
        self.size, self.gsd = size, gsd
        self.codec = codec or RoiCodec()
        self.smallest = smallest
        self._truth = list(truth)
        self._tree = shapely.STRtree([shapely.box(*bounds(rings)) for rings in truth])

    @classmethod
    def of_polygons(cls, polygons: Sequence[shapely.Polygon], size: int = 512) -> Oracle:
        """An oracle that knows shapely polygons, in pixels of the working grid."""
        return cls([to_rings(polygon) for polygon in polygons], size)

    def __call__(self, tiles: Sequence[Tile]) -> list[RoiMaps]:
        """The true maps of each tile."""
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
            target = self.codec.encode(rings, frame, corners)
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
