"""What a run did, and at what cost."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

COARSE = 2.5  # times the model's pixels


@dataclass
class Times:
    """Seconds of work by stage; the stages overlap, so they may add up to more than the run.

    Those of workers are summed over all of them.

    Attributes:
        reading: tiles from the mosaic, resampled.
        network: the segmenter.
        geometry: maps to polygons, stitching, finishing.
        writing: journal and output.
    """

    reading: float = 0.0
    network: float = 0.0
    geometry: float = 0.0
    writing: float = 0.0

    @contextmanager
    def spent(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage; a stage belongs to one thread at a time."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - started)

    def add(self, stage: str, seconds: float) -> None:
        """Add seconds to a stage."""
        setattr(self, stage, getattr(self, stage) + seconds)


@dataclass(frozen=True)
class PredictReport:
    """What was drawn, and at what cost.

    Attributes:
        mosaic: name of the mosaic.
        output: path of the layer.
        model: name and version of the model.
        buildings: in the layer.
        area_m2: of all buildings.
        joined: buildings that were put together from parts.
        tiles: tiles with ground.
        skipped: tiles without.
        resumed: of all these tiles, those that an earlier run had done.
        seconds: of this run.
        seconds_reading: see `Times`.
        seconds_network: see `Times`.
        seconds_geometry: see `Times`.
        seconds_writing: see `Times`.
        tiles_per_second: tiles with ground of this run.
        km2_per_hour: ground that the tiles of this run own.
        coarseness: side of the mosaic's pixels, as a multiple of those that the model was
            taught on.
    """

    mosaic: str
    output: str
    model: str
    buildings: int
    area_m2: float
    joined: int
    tiles: int
    skipped: int
    resumed: int
    seconds: float
    seconds_reading: float
    seconds_network: float
    seconds_geometry: float
    seconds_writing: float
    tiles_per_second: float
    km2_per_hour: float
    coarseness: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return dataclasses.asdict(self)

    def text(self) -> str:
        """The report for a person."""
        found = "no buildings found: the layer is empty" if not self.buildings else (
            f"{self.buildings} buildings, {self.area_m2:,.0f} m2, {self.joined} joined across tiles"
        )  # fmt: skip
        before = f", {self.resumed} of them by an earlier run" if self.resumed else ""
        coarse = (
            f"\nthe mosaic's pixels are {self.coarseness:.1f} times as large as those that the "
            "model was taught on: expect little"
        )
        return (
            f"{found}\n"
            f"{self.tiles} tiles{before}, {self.skipped} without ground skipped; "
            f"{self.seconds:.1f} s, {self.tiles_per_second:.1f} tiles/s, "
            f"{self.km2_per_hour:.2f} km2/h\n"
            f"seconds by stage, which overlap: reading {self.seconds_reading:.1f}, "
            f"network {self.seconds_network:.1f}, geometry {self.seconds_geometry:.1f}, "
            f"writing {self.seconds_writing:.1f}\n"
            f"written to {self.output} with {self.model}"
            f"{coarse if self.coarseness > COARSE else ''}"
        )
