"""Several mosaics as one job: a layer for each, in one folder.

The folder's record tells which of them are complete, so that the same call goes on where one
stopped, and that jobs with the same mosaics share the work: none draws what another has drawn
or is drawing. Mosaics are done one after the other, each as `predict` does it, and know nothing
of one another: where two overlap, both layers have the buildings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from buildex.config import Note, Track, silent
from buildex.errors import BuildexError, ClusterError, ConfigError
from buildex.io.journal import Journal
from buildex.io.locks import InUseError
from buildex.io.output import check_output
from buildex.predicting.model import OpenModel
from buildex.predicting.opening import opened
from buildex.predicting.record import Record, layer_of
from buildex.predicting.report import PredictReport
from buildex.predicting.running import plan_of, predict
from buildex.predicting.settings import PredictConfig
from buildex.predicting.sharing import Crew
from buildex.predicting.survey import OutsideError, Survey

T = TypeVar("T")
RASTERS = (".tif", ".tiff", ".vrt", ".jp2", ".img")  # what a folder is searched for
SUMS = ("buildings", "area_m2", "joined", "tiles", "skipped", "resumed", "seconds")


@dataclass(frozen=True)
class JobReport:
    """What came of several mosaics.

    Attributes:
        done: those drawn by this run.
        before: those that another run had drawn.
        outside: those that the area of interest does not touch.
        failed: those that could not be drawn, and why.
        elsewhere: those that another run is drawing.
    """

    done: tuple[PredictReport, ...]
    before: tuple[PredictReport, ...]
    outside: tuple[str, ...]
    failed: dict[str, str]
    elsewhere: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON; `sum` is over the layers that are complete."""
        layers = [*self.before, *self.done]
        return {
            "mosaics": [report.as_dict() for report in layers],
            "drawn_before": [report.mosaic for report in self.before],
            "outside": list(self.outside),
            "failed": self.failed,
            "elsewhere": list(self.elsewhere),
            "sum": {name: sum(getattr(report, name) for report in layers) for name in SUMS},
        }

    def text(self) -> str:
        """The report for a person."""
        total = self.as_dict()["sum"]
        lines = [f"{report.output}: {report.buildings} buildings" for report in self.done]
        lines.append(
            f"{len(self.done)} mosaics drawn, {len(self.before)} were complete, "
            f"{len(self.outside)} outside the area, {len(self.failed)} failed"
            + (f", {len(self.elsewhere)} being drawn by another run" if self.elsewhere else "")
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
    if not folder.is_dir():
        check_output(folder)
        folder.mkdir(exist_ok=True)  # another job may have begun, too
    record = Record(folder, plan, config.restart)
    job = _Job(model, config, record, crew)
    todo: dict[str, tuple[Path, int]] = {}
    for mosaic in mosaics:
        output = layer_of(mosaic, folder, suffix)
        tiles = job.tiles_left(mosaic, output)
        if tiles is not None:
            todo[mosaic] = output, tiles
    shared = _Shared(track, sum(tiles for _, tiles in todo.values()))
    for mosaic, (output, tiles) in todo.items():
        shared.expect(tiles)
        job.draw(mosaic, output, shared.track)
        shared.done()
    shared.end()
    return job.report()


class _Job:
    """One call of `predict_all`, and how far it has come."""

    def __init__(
        self, model: OpenModel, config: PredictConfig, record: Record, crew: Crew | None
    ) -> None:
        self._model, self._config, self._record, self._crew = model, config, record, crew
        self.done: list[PredictReport] = []
        self.before: list[PredictReport] = []
        self.outside: list[str] = []
        self.failed: dict[str, str] = {}
        self.elsewhere: list[str] = []
        self._identities: dict[str, Any] = {}

    def tiles_left(self, mosaic: str, output: Path) -> int | None:
        """How many tiles a mosaic has; None where there is nothing to do."""
        segmenter, config = self._model.segmenter, self._config
        try:
            with opened(mosaic, config, segmenter.gsd) as shown:
                self._identities[mosaic] = shown.identity
                kept = self._record.kept(shown.identity, output)
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
        """Draw one mosaic, and note it, unless another job has done so or is about it."""
        if self._drawn_meanwhile(mosaic, output):
            return
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
        except InUseError:
            self.elsewhere.append(Path(mosaic).name)
        except BuildexError as error:
            if not self._drawn_meanwhile(mosaic, output):
                self.failed[mosaic] = str(error)
        else:
            self.done.append(report)

    def report(self) -> JobReport:
        """What came of it."""
        drawn = tuple(self.done), tuple(self.before)
        return JobReport(*drawn, tuple(self.outside), self.failed, tuple(self.elsewhere))

    def _drawn_meanwhile(self, mosaic: str, output: Path) -> bool:
        """Whether another job has drawn a mosaic since this one began; then it is reported."""
        self._record.look_again()
        kept = self._record.kept(self._identities[mosaic], output)
        if kept is not None:
            self.before.append(kept)
        return kept is not None


class _Shared:
    """One progress over the tiles of several mosaics."""

    def __init__(self, track: Track, total: int) -> None:
        self._note: Note | None = None
        self._bar = iter(track(range(total), total=total, label="tiles", note=self._said))
        self._left = 0  # tiles of the mosaic that was begun

    def expect(self, tiles: int) -> None:
        """Another mosaic begins, with so many tiles."""
        self._left = tiles

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
        self._pass(self._left - (total or 0))
        for item in items:
            yield item
            self._pass(1)

    def done(self) -> None:
        """A mosaic is done with: tiles of it that were not looked at are passed."""
        self._pass(self._left)

    def end(self) -> None:
        """All mosaics are done."""
        next(self._bar, None)

    def _pass(self, tiles: int) -> None:
        for _ in range(tiles):
            next(self._bar, None)
        self._left -= max(tiles, 0)

    def _said(self) -> str:
        return self._note() if self._note is not None else ""
