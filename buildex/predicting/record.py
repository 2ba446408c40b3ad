"""The file of a job's folder that knows which of its layers are complete.

`FOLDER/buildex-job.json` holds the model and the options with which they were made, and for each
layer the mosaic and the report. Several jobs may note theirs in it at one time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from buildex.errors import OutputError
from buildex.io.journal import differing
from buildex.io.locks import alone
from buildex.io.output import beside
from buildex.predicting.report import PredictReport

RECORD = "buildex-job.json"


def layer_of(mosaic: str, folder: Path, suffix: str) -> Path:
    """Where a job writes the layer of a mosaic."""
    return folder / f"{Path(mosaic).stem}.{suffix}"


class Record:
    """The file that knows which layers of a folder are complete."""

    def __init__(self, folder: Path, plan: dict[str, Any], restart: bool) -> None:
        """Read what is noted of a folder, which need not be there; `restart` passes it over.

        Raises:
            OutputError: if it is damaged, or of another plan.
        """
        self._path = folder / RECORD
        self._plan = _plain(plan)
        self._anew = restart
        self.look_again()

    def look_again(self) -> None:
        """Take in what other jobs have noted meanwhile."""
        self._layers = {} if self._anew else self._found()

    def kept(self, identity: Any, output: Path) -> PredictReport | None:
        """The report of a mosaic's layer that is complete and in its place, as of the last look."""
        found = self._layers.get(output.name)
        if found is None or not output.exists() or found["mosaic"] != _plain(identity):
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
        entry = {"mosaic": _plain(identity), "report": report.as_dict()}
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


def _plain(value: Any) -> Any:
    """A value as it comes back from JSON."""
    return json.loads(json.dumps(value))
