"""`buildex demo`: the main job from start to finish on a rendered town."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from buildex.cli.console import result, say, track
from buildex.cli.options import collect, config_options
from buildex.io.output import beside, check_file
from buildex.predicting import OpenModel, PredictConfig, draw_preview, open_model, predict
from buildex.rendering import RenderConfig, RenderedTown, make_folder, render_town, write_town
from buildex.scoring import ScoreConfig, score

FILES = ("buildings.gpkg", "preview.png", "score.txt")  # what comes beside those of the town


@click.command(
    "demo",
    epilog="Example: buildex demo town --seed 7",
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--model", default=None, help="Name of a released model, or a model's folder.")
@click.option("--render-only", is_flag=True, help="Draw the town, and leave it at that.")
@click.option("--overwrite", is_flag=True, help="Replace files that are there already.")
@config_options(RenderConfig)
def command(
    folder: Path, model: str | None, render_only: bool, overwrite: bool, **options: Any
) -> None:
    """Render a town into DIR, draw its buildings, and score them against the truth.

    DIR gets mosaic.tif, the exact footprints (buildings.geojson) and the area they fill
    (aoi.geojson); then what the model drew: buildings.gpkg, preview.png, score.txt.
    """
    config = collect(RenderConfig, options)
    opened = None if render_only else open_model(model)
    make_folder(folder, overwrite=overwrite)
    if opened is not None:
        for name in FILES:
            check_file(folder / name, overwrite)
    say("rendering a town ...")
    town = render_town(config)
    write_town(folder, town, overwrite=overwrite)
    if opened is None:
        result(_described(folder, town), {}, as_json=False)
        return
    table = _drawn(folder, opened, overwrite)
    result(f"{table}\n\n{_where(folder, town)}", {}, as_json=False)


def _drawn(folder: Path, opened: OpenModel, overwrite: bool) -> str:
    """Draw the buildings of the town and score them; the table."""
    mosaic, found = folder / "mosaic.tif", folder / "buildings.gpkg"
    report = predict(
        str(mosaic),
        found,
        opened.segmenter,
        PredictConfig(overwrite=overwrite, restart=True),  # rows kept are of another mosaic
        model=(opened.name, opened.version),
        track=track,
    )
    say(report.text())
    draw_preview(folder / "preview.png", str(mosaic), found)
    table = score(
        found, folder / "buildings.geojson", ScoreConfig(), folder / "aoi.geojson", track
    ).text()
    with beside(folder / "score.txt") as place:
        place.write_text(table + "\n", encoding="utf-8")
    return table


def _described(folder: Path, town: RenderedTown) -> str:
    height, width, _ = town.image.shape
    return f"{folder}: {width} x {height} pixels, {len(town.polygons)} buildings"


def _where(folder: Path, town: RenderedTown) -> str:
    """Where everything is, and what to do next."""
    return (
        f"{_described(folder, town)}\n"
        f"  {folder / 'mosaic.tif'}         the rendered mosaic\n"
        f"  {folder / 'buildings.geojson'}  its true footprints\n"
        f"  {folder / 'buildings.gpkg'}     the footprints that buildex drew\n"
        f"  {folder / 'preview.png'}        them, over the mosaic\n"
        f"  {folder / 'score.txt'}          the table above\n\n"
        "your own mosaic:\n"
        "  buildex predict mosaic.tif -o buildings.gpkg --preview buildings.png"
    )
