"""A run of `buildex predict`: from a mosaic to a layer, with a journal between them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from buildex.config import Track, silent
from buildex.geo.footprints import Footprints, sound
from buildex.io.crs import eastward, in_degrees, reprojected
from buildex.io.edition import edition
from buildex.io.journal import Journal, SeenRow
from buildex.io.layers import read_table
from buildex.io.output import check_apart, check_file, clear_beside
from buildex.io.portions import check_output, layer_crs, placed, to_batch, write_layer
from buildex.io.raster import small_cache
from buildex.io.sighted import from_table, to_table
from buildex.predicting.drawing import Drawer, Rows, RowSeen
from buildex.predicting.opening import opened
from buildex.predicting.report import PredictReport
from buildex.predicting.seeing import Eye, Watch
from buildex.predicting.settings import PredictConfig, Segmenter
from buildex.predicting.sharing import Crew, Look, everywhere_known, looking
from buildex.predicting.survey import Survey


def predict(
    mosaic_path: str,
    output: Path,
    segmenter: Segmenter,
    config: PredictConfig | None = None,
    *,
    model: tuple[str, str] = ("", ""),
    digest: str = "",
    crew: Crew | None = None,
    track: Track = silent,
    note: Callable[[PredictReport], None] | None = None,
) -> PredictReport:
    """Draw the buildings of a mosaic.

    What is finished is kept in `OUTPUT.journal` until the output is complete; the same call
    goes on from there.

    Args:
        mosaic_path: any raster that GDAL opens.
        output: .gpkg, .geojson, .fgb, .parquet or .shp.
        segmenter: the network.
        config: settings.
        model: name and version to write beside each building.
        digest: what tells this model from others of that name and version.
        crew: workers who look in place of this process; the answer is the same.
        track: progress over tiles.
        note: is told the report before the journal goes; if it fails, the same call goes on.

    Raises:
        BuildexError: for a mosaic, area or output that cannot be used, or a journal of
            another run, or workers that cannot do it; no output is written.
    """
    config = config or PredictConfig()
    started = time.perf_counter()
    going_on = Journal.of(output).is_file() and not config.restart
    check_output(output, config.overwrite or going_on)
    check_apart(output, mosaic_path, config.aoi)
    place = mosaic_path if crew is None else everywhere_known(mosaic_path)
    with small_cache(), opened(place, config, segmenter.gsd) as mosaic:
        survey = Survey.of(
            mosaic.grid,
            segmenter.size,
            config.overlap,
            config.aoi,
            mosaic.ground_map(),
            mosaic.native_gsd,
        )
        eye = Eye(segmenter, survey.cover, config, mosaic.grid.gsd)
        crs = layer_crs(output, mosaic.source_crs)
        plan = {
            "mosaic": mosaic.identity,
            **plan_of(segmenter, config, model, digest),
            "grid": [*mosaic.grid.transform[:6], mosaic.grid.width, mosaic.grid.height],
        }
        with Journal.opened(output, plan, restart=config.restart) as journal:
            run = _Run(journal, survey, Drawer(survey, config, model), crs)
            if not journal.kept(output):
                check_file(output, config.overwrite)  # what belongs to it may be this run's own
                run.go_on()
                look = looking(crew, mosaic, eye, config)
                run.see(look, track)
                run.write(output)
            report = PredictReport(
                mosaic=Path(mosaic_path).name,
                output=str(output),
                model=" ".join(part for part in model if part),
                seconds=time.perf_counter() - started,
                coarseness=mosaic.native_gsd / segmenter.gsd,
                **run.report(),
            )
            if note is not None:
                note(report)
            journal.remove()
    return report


def plan_of(
    segmenter: Segmenter, config: PredictConfig, model: tuple[str, str], digest: str
) -> dict[str, Any]:
    """All on which the buildings of any mosaic depend, as plain values for JSON.

    Raises:
        VectorError: if the area of interest cannot be read.
    """
    threshold = segmenter.threshold if config.threshold is None else config.threshold
    return {
        "buildex": edition(),  # another one stitches otherwise what was seen
        "model": {"name": model[0], "version": model[1], "digest": digest},
        "options": {**config.plan(), "threshold": threshold, "aoi": _area_read(config.aoi)},
    }


class _Run:
    """One run, and how far it has come."""

    def __init__(self, journal: Journal, survey: Survey, drawer: Drawer, crs: str) -> None:
        self._journal, self._survey, self._drawer, self._crs = journal, survey, drawer, crs
        self._watch = Watch()
        self._started = time.perf_counter()
        self._next_row = self._tiles = self._buildings = 0

    def go_on(self) -> None:
        """Take up what an earlier run has finished: its rows are stitched again, not seen."""
        for row in self._journal.rows():
            self._buildings += len(self._drawer.add(row.number, from_table(row.seen)))
            self._next_row = row.number + 1

    def see(self, look: Look, track: Track) -> None:
        """Look at the rows that are left."""
        self._started = time.perf_counter()
        self._watch = Watch(self._survey, track, self._note, self._next_row)
        look(self._survey.blocks(self._next_row), Rows(self._take).add, self._watch)
        last = self._batch(self._drawer.finish())
        self._journal.put_last(self._survey.cover.rows, last)
        self._watch.end()

    def write(self, output: Path) -> None:
        """Put all buildings in their place, at once."""
        clear_beside(output)
        with self._watch.times.spent("writing"), placed(output) as place:
            write_layer(place, self._journal.layer(), self._schema(), self._crs)
            self._journal.promise(place)

    def report(self) -> dict[str, Any]:
        """The figures of a `PredictReport` that the run knows, by name."""
        watch, times = self._watch, self._watch.times
        tiles = sum(self._journal.tiles())
        seconds = max(time.perf_counter() - self._started, 1e-9)
        return {
            **_totals(self._journal.layer()),
            "tiles": tiles,
            "skipped": self._survey.count() - tiles,
            "resumed": tiles - self._tiles,
            "tiles_per_second": self._tiles / seconds,
            "km2_per_hour": watch.km2 / seconds * 3600,
            **{f"seconds_{name}": value for name, value in vars(times).items()},
        }

    def _take(self, row: RowSeen) -> None:
        """Draw what is final with a row, and commit both."""
        times = self._watch.times
        with times.spent("geometry"):
            drawn = self._batch(self._drawer.add(row.number, row.seen))
        with times.spent("writing"):
            self._journal.put(SeenRow(row.number, row.tiles, to_table(row.seen)), drawn)
        self._buildings += len(drawn)
        self._tiles += row.tiles

    def _batch(self, footprints: Footprints) -> pa.RecordBatch:
        return to_batch(to_crs(footprints, self._crs))

    def _schema(self) -> pa.Schema:
        return next(self._journal.layer()).schema

    def _note(self) -> str:
        hours = max(time.perf_counter() - self._started, 1e-9) / 3600
        return f"{self._watch.km2 / hours:.2f} km2/h, {self._buildings} buildings"


def _totals(portions: Iterator[pa.RecordBatch]) -> dict[str, Any]:
    """Sums over all buildings."""
    buildings, joined, area = 0, 0, 0.0
    for portion in portions:
        buildings += portion.num_rows
        area += float(np.sum(portion.column("area_m2").to_numpy(zero_copy_only=False)))
        joined += int(np.sum(portion.column("joined").to_numpy(zero_copy_only=False)))
    return {"buildings": buildings, "area_m2": area, "joined": joined}


def to_crs(footprints: Footprints, crs: str) -> Footprints:
    """The same footprints in another CRS; valid there, too: rounding may cross hair-thin necks.

    In degrees a ring across the 180th meridian leaps from side to side, which is no crossing.
    """
    moved = shapely.transform(
        footprints.polygons, lambda points: reprojected(points, footprints.crs, crs)
    )
    west, _, east, _ = shapely.bounds(moved).reshape(-1, 4).T
    across = (east - west > 180) & in_degrees(crs)
    moved[across] = shapely.transform(moved[across], partial(eastward, west=0))
    moved = sound(moved)
    moved[across] = shapely.transform(moved[across], partial(eastward, west=-180))
    return footprints.moved(moved, crs)


def _area_read(path: Path | None) -> str | None:
    """The polygons that are read of an area, in whatever order, and their CRS, in short."""
    if path is None:
        return None
    area = read_table(str(path), None, attributes=False)
    shapes = shapely.normalize(shapely.force_2d(area.geometry[~shapely.is_missing(area.geometry)]))
    total = hashlib.sha256(str(area.crs).encode())
    for shape in sorted(shapely.to_wkb(shapes).tolist()):
        total.update(shape)
    return total.hexdigest()
