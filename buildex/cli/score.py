"""`buildex score`: compare predicted buildings with true ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from buildex.aligning import OffsetReport
from buildex.cli.console import result, say, track
from buildex.cli.offset import asked_offset, offset_options
from buildex.cli.options import collect, config_options
from buildex.io.output import check_apart, check_file
from buildex.io.styled import check_layers
from buildex.scoring import (
    CompareReport,
    SceneFiles,
    ScoreConfig,
    ScoreReport,
    compare_scenes,
    read_scenes,
    score_scenes,
)

FILE = click.Path(path_type=Path)


@click.command(
    "score",
    epilog="Example: buildex score buildings.gpkg truth.geojson --aoi aoi.geojson"
    " --fail-under f1_50=.6",
)
@click.argument("files", metavar="[PREDICTIONS] [TRUTH]", type=FILE, nargs=-1)
@click.option(
    "--aoi",
    type=FILE,
    help="The area in which every true building is drawn; without it, the box around all layers.",
)
@click.option(
    "--scenes",
    type=FILE,
    help="Several scenes at once, instead of PREDICTIONS and TRUTH: a CSV with columns scene,"
    " predictions, truth, aoi, mosaic, compare, or a TOML table for each.",
)
@click.option(
    "--compare",
    "pair",
    type=FILE,
    nargs=2,
    metavar="A B",
    help="Two files of predictions in place of PREDICTIONS: say whether they differ by more than"
    " chance. With --scenes, give the column `compare` instead.",
)
@click.option("--mosaic", type=FILE, help="The imagery, for the pictures of the report.")
@click.option("--credit", default="", help="Whose imagery and labels they are, for the report.")
@click.option("--report", type=FILE, help="Write one HTML page to look at.")
@click.option(
    "--layers", type=FILE, help="Write what was matched, missed, false, split and merged (.gpkg)."
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there already.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the report as CSV.")
@offset_options
@config_options(ScoreConfig)
def command(
    files: tuple[Path, ...],
    aoi: Path | None,
    scenes: Path | None,
    pair: tuple[Path, Path] | None,
    mosaic: Path | None,
    credit: str,
    report: Path | None,
    layers: Path | None,
    overwrite: bool,
    as_json: bool,
    as_csv: bool,
    **options: Any,
) -> None:
    """Compare PREDICTIONS with TRUTH: pixels, buildings found, and their outlines.

    Vector files in any coordinate systems. All lengths are metres on the ground;
    docs/metrics.md defines every figure. Exits with 3 where one is below its --fail-under.
    """
    config = collect(ScoreConfig, options)
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are two forms of one report: choose one")
    if mosaic and not report:
        raise click.UsageError("--mosaic is for the pictures of --report")
    chosen = _scenes(files, scenes, pair, aoi, mosaic)
    comparing = pair is not None or any(scene.compare for scene in chosen)
    if comparing and (report or layers or config.fail_under):
        raise click.UsageError("--compare goes with neither --report, --layers nor --fail-under")
    read = [path for scene in chosen for path in scene.paths]
    for path, check in ((report, check_file), (layers, check_layers)):
        if path is not None:
            check(path, overwrite)
            check_apart(path, scenes, options["estimate_offset"], *read)
    if report is not None:
        check_apart(report, layers)
    offset = _offset(chosen, options)
    applied = offset is not None and options["apply_offset"] and offset.moves
    shift = "" if offset is None else offset.text(applied)
    onto = offset.moved if offset is not None and applied else None
    more = {} if offset is None else {"offset": {**offset.as_dict(), "applied": applied}}
    show = partial(_show, as_json=as_json, as_csv=as_csv, more=more)
    if comparing:
        show(compare_scenes(chosen, config, shift=shift, track=track, onto=onto))
        return
    found = score_scenes(
        chosen, config, page=report, layers=layers, credit=credit, shift=shift, track=track,
        onto=onto, show=show,
    )  # fmt: skip
    for line in found.failures:
        say(f"buildex: {line}")
    if found.failures:
        click.get_current_context().exit(3)


def _scenes(
    files: tuple[Path, ...],
    scenes: Path | None,
    pair: tuple[Path, Path] | None,
    aoi: Path | None,
    mosaic: Path | None,
) -> tuple[SceneFiles, ...]:
    """The scenes that the arguments mean."""
    if scenes is not None:
        if files or pair or aoi or mosaic:
            raise click.UsageError("--scenes names all files itself: give no others")
        return read_scenes(scenes)
    if pair is not None:
        if len(files) != 1:
            raise click.UsageError(
                "--compare A B goes with one file, the truth: --compare A B TRUTH"
            )
        first, second = pair
        truth = files[0]
    else:
        if len(files) != 2:
            raise click.UsageError("give PREDICTIONS and TRUTH, or --scenes FILE")
        (first, truth), second = files, None
    return (
        SceneFiles(
            predictions=first, truth=truth, aoi=aoi, mosaic=mosaic, compare=second, name=first.stem
        ),
    )


def _offset(scenes: tuple[SceneFiles, ...], options: dict[str, Any]) -> OffsetReport | None:
    """How far the labels of the scene lie off its imagery, where that is asked for."""
    if len(scenes) > 1 and options["estimate_offset"] is not None:
        raise click.UsageError("--estimate-offset looks at one scene: score the scenes one by one")
    return asked_offset(scenes[0].truth, options)


def _show(
    report: ScoreReport | CompareReport, as_json: bool, as_csv: bool, more: Mapping[str, Any]
) -> None:
    """A report on stdout, in the form that was asked for; `more` goes into its JSON."""
    if as_csv:
        for line in report.asides:
            say(f"buildex: {line}")
        result(report.csv(), {}, as_json=False)
        return
    result(report.text(), {**report.as_dict(), **more}, as_json)
