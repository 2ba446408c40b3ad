"""`buildex tile`: cut mosaics and their labels into a training dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from buildex.cli.console import result, track
from buildex.cli.options import collect, config_options
from buildex.tiling import TileConfig, tile


@click.command(
    "tile",
    epilog="Example: buildex tile mosaic.tif --labels buildings.geojson --aoi aoi.geojson"
    " -o dataset",
)
@click.argument("mosaics", nargs=-1)
@click.option(
    "--labels",
    multiple=True,
    metavar="FILE",
    help="Vector file of building polygons: one for all mosaics, or one per mosaic, in order.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The dataset folder to write.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@config_options(TileConfig)
def command(
    mosaics: tuple[str, ...],
    labels: tuple[str, ...],
    output: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Cut MOSAICS and the buildings drawn on them into a dataset for `buildex train`.

    Mosaics are any rasters that GDAL opens, labels any vector files, each in its own
    coordinate system. A run that was stopped goes on where it was, if it is given the same
    inputs and options.
    """
    config = collect(TileConfig, options)
    report = tile(mosaics, labels, output, config, track)
    result(report.text(), report.as_dict(), as_json)
