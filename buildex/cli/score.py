"""`buildex score`: compare predicted buildings with true ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from buildex.cli.console import result, say, track
from buildex.cli.offset import asked_offset, offset_options
from buildex.cli.options import collect, config_options
from buildex.scoring import ScoreConfig, score


@click.command(
    "score",
    epilog="Example: buildex score buildings.gpkg truth.geojson --aoi aoi.geojson"
    " --fail-under f1_50=.6",
)
@click.argument("predictions", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
@click.option(
    "--aoi",
    type=click.Path(path_type=Path),
    help="The area in which every true building is drawn; without it, the box around both layers.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@offset_options
@config_options(ScoreConfig)
def command(
    predictions: Path,
    truth: Path,
    aoi: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare PREDICTIONS with TRUTH: pixels, buildings found, and their outlines.

    Two vector files in any coordinate systems. All lengths are metres on the ground;
    docs/metrics.md defines every figure. Exits with 3 where one is below its --fail-under.
    """
    config = collect(ScoreConfig, options)
    offset = asked_offset(truth, options)
    onto = offset.moved if offset is not None and options["apply_offset"] else None
    report = score(predictions, truth, config, aoi=aoi, track=track, onto=onto)
    text, table = report.text(), report.as_dict()
    if offset is not None:
        applied = onto is not None and offset.moves
        text = f"{offset.text(applied)}\n\n{text}"
        table = {**table, "offset": {**offset.as_dict(), "applied": applied}}
    result(text, table, as_json)
    for line in report.failures:
        say(f"buildex: {line}")
    if report.failures:
        click.get_current_context().exit(3)
