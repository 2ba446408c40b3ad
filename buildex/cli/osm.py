"""`buildex osm`: ask OpenStreetMap for the buildings of a place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from buildex.cli.console import result, track
from buildex.cli.options import collect, config_options
from buildex.fetching import OsmConfig, fetch


# A box may start with a minus sign, which is no option.
@click.command(
    "osm",
    context_settings={"ignore_unknown_options": True},
    epilog="Example: buildex osm mosaic.tif -o labels.gpkg",
)
@click.argument("place", metavar="MOSAIC|WEST,SOUTH,EAST,NORTH")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Where to write: .gpkg, .geojson, .fgb, .parquet or .shp.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@config_options(OsmConfig)
def command(place: str, output: Path, as_json: bool, **options: Any) -> None:
    """Write the buildings that OpenStreetMap has where a mosaic lies, or in a box of degrees.

    Asks an Overpass server, one query at a time; answers are kept, so that the same question
    needs no network again. The data are © OpenStreetMap contributors, ODbL 1.0; that line
    stands in the file.
    """
    report = fetch(place, output, collect(OsmConfig, options), track)
    result(report.text(), report.as_dict(), as_json)
