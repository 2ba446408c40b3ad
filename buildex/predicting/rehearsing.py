"""What a run would do, how long it would take, and what it would need: `predict --dry-run`."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildex.errors import BuildexError, ConfigError
from buildex.geo.tiles import TilePlace
from buildex.io.raster import CACHE_MB, Mosaic, small_cache
from buildex.predicting.model import OpenModel
from buildex.predicting.opening import opened
from buildex.predicting.record import Record, layer_of
from buildex.predicting.running import plan_of
from buildex.predicting.seeing import Eye, Watch, see
from buildex.predicting.settings import Pixels, PredictConfig, Segmenter
from buildex.predicting.survey import Block, OutsideError, Survey

PROBED = 6  # batches that are tried


@dataclass(frozen=True)
class Outlook:
    """What a run would do.

    Attributes:
        mosaic: name of the mosaic.
        crs: of the working grid.
        gsd: of the working grid in metres.
        native_gsd: of the mosaic in metres.
        width: of the working grid in pixels.
        height: of the working grid in pixels.
        tiles: to be read.
        skipped: outside the area of interest, or known to show no ground.
        probed: tiles that were tried to tell the time.
        seconds: expected, from some batches that went through the pipeline of a run.
        memory_mib: expected peak.
    """

    mosaic: str
    crs: str
    gsd: float
    native_gsd: float
    width: int
    height: int
    tiles: int
    skipped: int
    probed: int
    seconds: float
    memory_mib: float

    def as_dict(self) -> dict[str, Any]:
        """The outlook as plain values, for JSON."""
        return dataclasses.asdict(self)

    def text(self) -> str:
        """The outlook for a person."""
        return (
            f"{self.mosaic}: {self.native_gsd:.3f} m a pixel, seen as {self.width} x {self.height} "
            f"pixels of {self.gsd:g} m in {self.crs}\n"
            f"{self.tiles} tiles to read, {self.skipped} outside the area or without ground\n"
            f"about {self.seconds:.0f} s, from {self.probed} tiles; about {self.memory_mib:.0f} "
            f"MiB of memory; nothing was written"
        )


@dataclass(frozen=True)
class JobOutlook:
    """What a job of several mosaics would do.

    Attributes:
        mosaics: those that would be drawn.
        outside: those that the area of interest does not touch.
        failed: those that could not be drawn, and why.
        before: those that an earlier run has drawn.
    """

    mosaics: tuple[Outlook, ...]
    outside: tuple[str, ...]
    failed: dict[str, str]
    before: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The outlook as plain values, for JSON; `sum` is over the mosaics that would be drawn."""
        return {**dataclasses.asdict(self), "sum": self._sum()}

    def text(self) -> str:
        """The outlook for a person."""
        total = self._sum()
        return "\n".join(
            [
                *(outlook.text() for outlook in self.mosaics),
                f"{len(self.mosaics)} mosaics to draw, {len(self.before)} are complete, "
                f"{len(self.outside)} outside the area, {len(self.failed)} failed",
                f"{total['tiles']} tiles to read in all, about {total['seconds']:.0f} s",
            ]
        )

    def _sum(self) -> dict[str, float]:
        names = ("tiles", "seconds")
        return {name: sum(getattr(outlook, name) for outlook in self.mosaics) for name in names}


def rehearse_all(
    mosaics: Sequence[str],
    folder: Path | None,
    model: OpenModel,
    config: PredictConfig | None = None,
    *,
    suffix: str = "gpkg",
) -> JobOutlook:
    """Say what `predict_all` would do with the same arguments; writes nothing.

    Without a folder no layer is taken as complete.

    Raises:
        BuildexError: for settings that suit no mosaic, and a folder of another job.
    """
    config = config or PredictConfig()
    plan = plan_of(model.segmenter, config, (model.name, model.version), model.identity)
    record = None if folder is None else Record(folder, plan, config.restart)
    outlooks: list[Outlook] = []
    before: list[str] = []
    outside: list[str] = []
    failed: dict[str, str] = {}
    for mosaic in mosaics:
        try:
            with small_cache(), opened(mosaic, config, model.segmenter.gsd) as shown:
                if folder is not None and record is not None:
                    layer = layer_of(mosaic, folder, suffix)
                    if record.kept(shown.identity, layer) is not None:
                        before.append(Path(mosaic).name)
                        continue
                outlooks.append(_outlook(shown, model.segmenter, config))
        except OutsideError:
            outside.append(Path(mosaic).name)
        except ConfigError:
            raise
        except BuildexError as error:
            failed[mosaic] = str(error)
    return JobOutlook(tuple(outlooks), tuple(outside), failed, tuple(before))


def rehearse(
    mosaic_path: str, segmenter: Segmenter, config: PredictConfig | None = None
) -> Outlook:
    """Say what `predict` would do; writes nothing.

    Raises:
        BuildexError: for a mosaic or area that cannot be used.
    """
    config = config or PredictConfig()
    with small_cache(), opened(mosaic_path, config, segmenter.gsd) as mosaic:
        return _outlook(mosaic, segmenter, config)


def _outlook(mosaic: Mosaic, segmenter: Segmenter, config: PredictConfig) -> Outlook:
    """What a run would do with an open mosaic."""
    grid = mosaic.grid
    survey = Survey.of(grid, segmenter.size, config.overlap, config.aoi, mosaic.ground_map())
    places = [p for row in survey.rows() for p in row if survey.ground(p.box)]
    probed = PROBED * config.batch(segmenter.size)
    step = max(1, len(places) // probed)
    tried = places[::step][:probed]
    seconds = _tried(mosaic, Eye(segmenter, survey.cover, config, grid.gsd), tried)
    return Outlook(
        mosaic=Path(mosaic.path).name,
        crs=grid.crs,
        gsd=grid.gsd,
        native_gsd=mosaic.native_gsd,
        width=grid.width,
        height=grid.height,
        tiles=len(places),
        skipped=len(survey.cover) - len(places),
        probed=len(tried),
        seconds=seconds * len(places),
        memory_mib=_peak_mib() + CACHE_MB,
    )


def _tried(pixels: Pixels, eye: Eye, places: list[TilePlace]) -> float:
    """Seconds for a tile, by the pipeline of a run; the first batch, which warms up, is apart."""
    first, rest = places[: eye.batch_size], places[eye.batch_size :]
    seconds = _timed(pixels, eye, first)
    return _timed(pixels, eye, rest) if rest else seconds


def _timed(pixels: Pixels, eye: Eye, places: list[TilePlace]) -> float:
    started = time.perf_counter()
    block = Block(0, tuple(places), (), True)
    see(pixels, eye, [block], lambda block, seen: None, Watch())
    return (time.perf_counter() - started) / max(1, len(places))


def _peak_mib() -> float:
    """The most memory this process has had; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
