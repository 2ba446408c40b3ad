"""`buildex demo`: a rendered town to try buildex on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from buildex.cli.console import result
from buildex.cli.options import collect, config_options
from buildex.rendering import RenderConfig, render_town, write_town


@click.command("demo", epilog="Example: buildex demo town --seed 7")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace files that are there already.")
@config_options(RenderConfig)
def command(folder: Path, overwrite: bool, **options: Any) -> None:
    """Render a town into DIR: its mosaic, the true outlines of its roofs, the area of both."""
    town = render_town(collect(RenderConfig, options))
    write_town(folder, town, overwrite=overwrite)
    height, width, _ = town.image.shape
    text = f"{folder}: {width} x {height} pixels, {len(town.polygons)} buildings"
    data = {
        "folder": str(folder),
        "width": width,
        "height": height,
        "buildings": len(town.polygons),
    }
    result(text, data, as_json=False)
