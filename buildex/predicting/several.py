"""Several mosaics as one job: a layer for each, in one folder.

`FOLDER/buildex-job.json` tells which of them are complete and with which model and options
they were made, so that the same call goes on where one stopped; other jobs may note theirs in
it meanwhile. Mosaics are done one after the other, each as `predict` does it, and know nothing
of one another: where two overlap, both layers have the buildings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from buildex.config import Note, Track, silent
from buildex.errors import BuildexError, ClusterError, ConfigError, OutputError
from buildex.io.journal import Journal, alone, differing
from buildex.io.output import beside, check_output
from buildex.predicting.model import OpenModel
from buildex.predicting.opening import opened
from buildex.predicting.report import PredictReport
from buildex.predicting.running import plan_of, predict
from buildex.predicting.settings import PredictConfig
from buildex.predicting.sharing import Crew
from buildex.predicting.survey import OutsideError, Survey

T = TypeVar("T")
RASTERS = (".tif", ".tiff", ".vrt", ".jp2", ".img")  # what a folder is searched for
RECORD = "buildex-job.json"
SUMS = ("buildings", "area_m2", "joined", "tiles", "skipped", "resumed", "seconds")


@dataclass(frozen=True)
class JobReport:
    """What came of several mosaics.

    Attributes:
        done: those drawn by this run.
        before: those that an earlier run had drawn.
        outside: those that the area of interest does not touch.
        failed: those that could not be drawn, and why.
    """

    done: tuple[PredictReport, ...]
    before: tuple[PredictReport, ...]
    outside: tuple[str, ...]
    failed: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON; `sum` is over the layers that are complete."""
        layers = [*self.before, *self.done]
        return {
            "mosaics": [report.as_dict() for report in layers],
            "drawn_before": [report.mosaic for report in self.before],
            "outside": list(self.outside),
            "failed": self.failed,
            "sum": {name: sum(getattr(report, name) for report in layers) for name in SUMS},
        }

    def text(self) -> str:
        """The report for a person."""
        total = self.as_dict()["sum"]
        lines = [f"{report.output}: {report.buildings} buildings" for report in self.done]
        lines.append(
            f"{len(self.done)} mosaics drawn, {len(self.before)} were complete, "
            f"{len(self.outside)} outside the area, {len(self.failed)} failed"
        )
        lines.append(
            f"{total['buildings']} buildings, {total['area_m2']:,.0f} m2, in {total['tiles']} tiles"
        )
        return "\n".join(lines)


def mosaics_in(places: Iterable[str]) -> list[str]:
    """Mosaics by path; a folder stands for the rasters in it, by name.

    Raises:
        ConfigError: if a folder has none, or two have one name and so would have one layer.
    """
    found: dict[str, str] = {}
    for place in places:
        files = [place]
        if Path(place).is_dir():
            inside = sorted(f for f in Path(place).iterdir() if f.name[0] != ".")
            files = [str(f) for f in inside if f.suffix.lower() in RASTERS and f.is_file()]
            if not files:
                raise ConfigError(
                    f"folder `{place}` has no mosaic", hint=f"mosaics end in {', '.join(RASTERS)}"
                )
        for file in files:
            other = found.setdefault(Path(file).stem, file)
            if other != file:
                raise ConfigError(
                    f"`{other}` and `{file}` would have one layer, `{Path(file).stem}`",
                    hint="rename one, or draw them into two folders",
                )
    return list(found.values())


def predict_all(
    mosaics: Sequence[str],
    folder: Path,
    model: OpenModel,
    config: PredictConfig | None = None,
    *,
    suffix: str = "gpkg",
    crew: Crew | None = None,
    track: Track = silent,
) -> JobReport:
    """Draw the buildings of several mosaics, a layer `FOLDER/NAME.SUFFIX` for each.

    What is complete is not drawn again. A mosaic that cannot be drawn does not stop the others.

    Args:
        mosaics: any rasters that GDAL opens, of different names; see `mosaics_in`.
        folder: is made if it is not there.
        model: the network.
        config: settings.
        suffix: of the layers' format.
        crew: workers who look in place of this process.
        track: progress over the tiles of all mosaics.

    Raises:
        BuildexError: if the folder cannot be written or is of a job with another model or
            other options, or workers are lost.
    """
    config = config or PredictConfig()
    plan = plan_of(model.segmenter, config, (model.name, model.version), model.identity)
    record = _Record(folder, plan, config.restart)
    job = _Job(model, config, record, crew)
    todo: dict[str, tuple[Path, int]] = {}
    for mosaic in mosaics:
        output = folder / f"{Path(mosaic).stem}.{suffix}"
        tiles = job.tiles_left(mosaic, output)
        if tiles is not None:
            todo[mosaic] = output, tiles
    shared = _Shared(track, sum(tiles for _, tiles in todo.values()))
    for mosaic, (output, tiles) in todo.items():
        shared.expect(tiles)
        job.draw(mosaic, output, shared.track)
    shared.end()
    return JobReport(tuple(job.done), tuple(job.before), tuple(job.outside), job.failed)


class _Job:
    """One call of `predict_all`, and how far it has come."""

    def __init__(
        self, model: OpenModel, config: PredictConfig, record: _Record, crew: Crew | None
    ) -> None:
        self._model, self._config, self._record, self._crew = model, config, record, crew
        self.done: list[PredictReport] = []
        self.before: list[PredictReport] = []
        self.outside: list[str] = []
        self.failed: dict[str, str] = {}
        self._identities: dict[str, Any] = {}

    def tiles_left(self, mosaic: str, output: Path) -> int | None:
        """How many tiles a mosaic has; None where there is nothing to do."""
        segmenter, config = self._model.segmenter, self._config
        try:
            with opened(mosaic, config, segmenter.gsd) as shown:
                identity = json.loads(json.dumps(shown.identity))
                self._identities[mosaic] = identity
                kept = self._record.kept(identity, output)
                if kept is None:
                    tiles = Survey.of(shown.grid, segmenter.size, config.overlap, config.aoi)
                    return tiles.count()
                Journal.of(output).unlink(missing_ok=True)  # of a run that ended while noting
                self.before.append(kept)
        except OutsideError:
            self.outside.append(Path(mosaic).name)
        except ConfigError:
            raise
        except BuildexError as error:
            self.failed[mosaic] = str(error)
        return None

    def draw(self, mosaic: str, output: Path, track: Track) -> None:
        """Draw one mosaic, and note it."""
        model = self._model
        try:
            if self._config.overwrite or not output.exists():
                self._record.begin()
            report = predict(
                mosaic,
                output,
                model.segmenter,
                self._config,
                model=(model.name, model.version),
                digest=model.identity,
                crew=self._crew,
                track=track,
                note=lambda report: self._record.add(report, self._identities[mosaic]),
            )
        except (ConfigError, ClusterError):
            raise
        except BuildexError as error:
            self.failed[mosaic] = str(error)
            return
        self.done.append(report)


class _Record:
    """The file that knows which layers of a folder are complete."""

    def __init__(self, folder: Path, plan: dict[str, Any], restart: bool) -> None:
        self._path = folder / RECORD
        if not folder.is_dir():
            check_output(folder)
            folder.mkdir()
        self._plan = json.loads(json.dumps(plan))
        self._anew = restart
        self._layers = {} if restart else self._found()

    def kept(self, identity: Any, output: Path) -> PredictReport | None:
        """The report of a layer that is complete and in its place."""
        found = self._layers.get(output.name)
        if found is None or not output.exists() or found["mosaic"] != identity:
            return None
        return PredictReport(**found["report"])

    def begin(self) -> None:
        """A layer is about to be drawn: a job that begins anew forgets now what was complete."""
        if self._anew:
            with alone(self._path):
                self._write({})
            self._anew = False

    def add(self, report: PredictReport, identity: Any) -> None:
        """Note a layer that is complete, beside those that other jobs have noted meanwhile."""
        entry = {"mosaic": identity, "report": report.as_dict()}
        with alone(self._path):
            self._write({**self._found(), Path(report.output).name: entry})

    def _write(self, layers: dict[str, Any]) -> None:
        table = {"plan": self._plan, "layers": layers}
        with beside(self._path) as place:
            place.write_text(json.dumps(table, indent=1), encoding="utf-8")

    def _found(self) -> dict[str, Any]:
        """What is noted of each layer by its name, by whichever job."""
        if not self._path.exists():
            return {}
        found = self._read()
        if found["plan"] != self._plan:
            raise OutputError(
                f"`{self._path.parent}` holds layers of another "
                f"{differing(found['plan'], self._plan)}",
                hint="write elsewhere, or draw all anew with `--restart --overwrite`",
            )
        layers: dict[str, Any] = found["layers"]
        return layers

    def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
            for entry in found["layers"].values():
                PredictReport(**entry["report"])
            return {"plan": found["plan"], "layers": found["layers"]}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            raise OutputError(
                f"`{self._path}` is damaged", hint="begin anew with `--restart`"
            ) from None


class _Shared:
    """One progress over the tiles of several mosaics."""

    def __init__(self, track: Track, total: int) -> None:
        self._note: Note | None = None
        self._bar = iter(track(range(total), total=total, label="tiles", note=self._said))
        self._expected = 0

    def expect(self, tiles: int) -> None:
        """Another mosaic begins, with so many tiles."""
        self._expected = tiles

    def track(
        self,
        items: Iterable[T],
        *,
        total: int | None = None,
        label: str = "",
        note: Note | None = None,
    ) -> Iterator[T]:
        """The progress of one mosaic; tiles that an earlier run had seen are passed at once."""
        self._note = note
        self._pass(self._expected - (total or 0))
        for item in items:
            yield item
            self._pass(1)

    def end(self) -> None:
        """All mosaics are done."""
        next(self._bar, None)

    def _pass(self, tiles: int) -> None:
        for _ in range(tiles):
            next(self._bar, None)

    def _said(self) -> str:
        return self._note() if self._note is not None else ""
