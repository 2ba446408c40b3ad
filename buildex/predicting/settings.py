"""What prediction needs: a segmenter, pixels, and settings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from buildex.errors import ConfigError
from buildex.geo.boxes import PixelBox
from buildex.geo.finishing import Finishing
from buildex.geo.grid import Grid
from buildex.geo.grouping import GroupingMethod
from buildex.geo.instances import RoiMaps, Tile
from buildex.geo.keypoints import RoiCodec
from buildex.geo.regularize import Method, Regularizing
from buildex.geo.walls import Walls

STEP = 5.0  # pixels that the model sees under which steps of an outline vanish ...
OWN_STEP = 3.5  # ... and the mosaic's own, which are larger where it is coarse
OWN_SHARE = 0.55  # of the side of the mosaic's own pixels that the model is shown at least ...
COARSEST = 2.0  # ... but no more than so many times those that it was taught on
AT_ONCE = 2**20  # pixels per step of the network at most, where the user says no number of tiles
LEAST_OVERLAP = 8  # pixels; what both tiles see of it tells the parts of one building
FREE = ("aoi", "batch_size", "overwrite", "restart")  # options an interrupted run may change


class Segmenter(Protocol):
    """What stands between tiles and polygons: a network, or an oracle in its place.

    Attributes:
        size: side of its input in pixels.
        gsd: metres per pixel that it expects.
        codec: how its maps are drawn.
        threshold: score from which its answers are buildings, where the user names none.
    """

    size: int
    gsd: float
    codec: RoiCodec
    threshold: float

    def __call__(self, tiles: Sequence[Tile], score: float = 0.0) -> list[RoiMaps]:
        """Say what is in each tile; what scores lower may be left out, which saves its time."""
        ...


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """How to draw the buildings of a mosaic."""

    aoi: Path | None = field(
        default=None, metadata={"help": "Draw only buildings whose centre is in this area."}
    )
    gsd: float | None = field(
        default=None,
        metadata={
            "help": "Metres of a pixel that the model is shown; else those that it was taught "
            f"on, or {OWN_SHARE} of the mosaic's own if that is longer, up to {COARSEST:g} times."
        },
    )
    overlap: int | None = field(
        default=None,
        metadata={
            "help": f"Pixels that neighbouring tiles share, {LEAST_OVERLAP} to half a tile; else "
            "128, or half a tile if less."
        },
    )
    threshold: float | None = field(
        default=None,
        metadata={
            "help": "Score from which a building is drawn, above 0, up to 1; else the model's own."
        },
    )
    grouping: GroupingMethod = field(
        default="contour",
        metadata={"help": "How corners become polygons: along the mask, as in the paper, or none."},
    )
    min_area: float = field(default=1.5, metadata={"help": "Smallest building in square metres."})
    regularize: Method = field(
        default="right-angles",
        metadata={"help": "How outlines are squared up; none leaves them as they were seen."},
    )
    tolerance: float | None = field(
        default=None,
        metadata={
            "help": "Metres that squaring may move an outline, at most; else 12 pixels, and "
            "one where 70 % of its corners were surely seen."
        },
    )
    step: float | None = field(
        default=None,
        metadata={
            "help": "Metres under which steps of an outline vanish; else 5 pixels, or "
            "3.5 of the mosaic's own if those are longer."
        },
    )
    gap: float = field(
        default=0.1, metadata={"help": "Metres across which neighbours come to share a wall."}
    )
    batch_size: int | None = field(
        default=None,
        metadata={"help": "Tiles per step of the network; else 4, of over 512 pixels fewer."},
    )
    crs: str | None = field(
        default=None, metadata={"help": "CRS of a mosaic that has none, e.g. EPSG:32737."}
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace the output if it exists."})
    restart: bool = field(
        default=False, metadata={"help": "Begin anew, whatever an interrupted run has left."}
    )

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise ConfigError(f"threshold is {self.threshold}", hint="use more than 0, up to 1")
        if self.batch_size is not None and self.batch_size < 1:
            raise ConfigError(f"batch size is {self.batch_size}", hint="use 1 or more")
        if self.overlap is not None and self.overlap < LEAST_OVERLAP:
            raise ConfigError(
                f"overlap is {self.overlap} pixels", hint=f"use {LEAST_OVERLAP} or more"
            )
        for name in ("gap", "min_area"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConfigError(f"{name} is {value}", hint="use a number of 0 or more")
        for name, instead in (
            ("tolerance", "or `--regularize none`"),
            ("step", "or `--regularize none`"),
            ("gsd", "or leave it to the model and the mosaic"),
        ):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} is {value}", hint=f"use more than 0, {instead}")

    def finishing(self, gsd: float, native_gsd: float = 0.0) -> Finishing:
        """How outlines become footprints.

        Args:
            gsd: metres per pixel that the model saw.
            native_gsd: metres per pixel of the mosaic itself: what is finer nobody saw.
        """
        tolerance = 12 * gsd if self.tolerance is None else self.tolerance
        step = max(STEP * gsd, OWN_STEP * native_gsd) if self.step is None else self.step
        return Finishing(
            Regularizing(method=self.regularize, tolerance=tolerance, step=step),
            surest=gsd,
            walls=Walls(gap=self.gap, shift=max(Walls.shift, self.gap), smallest=self.min_area),
        )

    def batch(self, size: int) -> int:
        """Tiles of a side per step of the network."""
        return self.batch_size or min(4, max(1, AT_ONCE // size**2))

    def plan(self) -> dict[str, Any]:
        """The options on which the buildings depend, as plain values; the area by itself."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in FREE}


class Pixels(Protocol):
    """Where tiles come from: a mosaic on its working grid."""

    @property
    def grid(self) -> Grid:
        """The working grid: metric, north-up."""
        ...

    @property
    def native_gsd(self) -> float:
        """Side of the mosaic's own pixels in ground metres."""
        ...

    def read(self, box: PixelBox) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """RGB (h, w, 3) and validity (h, w) of a box, which may reach beyond the grid."""
        ...
