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
from buildex.io.raster import CACHE_MB, small_cache
from buildex.predicting.opening import opened
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
    """

    mosaics: tuple[Outlook, ...]
    outside: tuple[str, ...]
    failed: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The outlook as plain values, for JSON."""
        return dataclasses.asdict(self)

    def text(self) -> str:
        """The outlook for a person."""
        total = (
            f"{len(self.mosaics)} mosaics to draw, {len(self.outside)} outside the area, "
            f"{len(self.failed)} failed"
        )
        return "\n".join([*(outlook.text() for outlook in self.mosaics), total])


def rehearse_all(
    mosaics: Sequence[str], segmenter: Segmenter, config: PredictConfig | None = None
) -> JobOutlook:
    """Say what `predict_all` would do; writes nothing.

    Raises:
        ConfigError: for settings that suit no mosaic.
    """
    outlooks: list[Outlook] = []
    outside: list[str] = []
    failed: dict[str, str] = {}
    for mosaic in mosaics:
        try:
            outlooks.append(rehearse(mosaic, segmenter, config))
        except OutsideError:
            outside.append(Path(mosaic).name)
        except ConfigError:
            raise
        except BuildexError as error:
            failed[mosaic] = str(error)
    return JobOutlook(tuple(outlooks), tuple(outside), failed)


def rehearse(
    mosaic_path: str, segmenter: Segmenter, config: PredictConfig | None = None
) -> Outlook:
    """Say what `predict` would do; writes nothing.

    Raises:
        BuildexError: for a mosaic or area that cannot be used.
    """
    config = config or PredictConfig()
    with small_cache(), opened(mosaic_path, config, segmenter.gsd) as mosaic:
        survey = Survey.of(
            mosaic.grid, segmenter.size, config.overlap, config.aoi, mosaic.ground_map()
        )
        places = [p for row in survey.rows() for p in row if survey.ground(p.box)]
        step = max(1, len(places) // (PROBED * config.batch_size))
        tried = places[::step][: PROBED * config.batch_size]
        seconds = _tried(mosaic, Eye(segmenter, survey.cover, config, mosaic.grid.gsd), tried)
        grid = mosaic.grid
        return Outlook(
            mosaic=Path(mosaic_path).name,
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
