"""`buildex predict`: draw the buildings of a mosaic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from buildex.cli.console import result, say, track
from buildex.cli.options import collect, config_options
from buildex.predicting import PredictConfig, draw_preview, open_model, predict, rehearse
from buildex.predicting.model import RUNTIMES, Runtime


@click.command(
    "predict",
    epilog="Example: buildex predict mosaic.tif -o buildings.gpkg --preview buildings.png",
)
@click.argument("mosaic")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write: .gpkg, .geojson, .fgb, .parquet or .shp.",
)
@click.option("--model", default=None, help="Name of a released model, or a model's folder.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option(
    "--runtime",
    type=click.Choice(RUNTIMES),
    default="auto",
    show_default=True,
    help="What computes: the model's ONNX graphs (CPU), or torch (GPUs).",
)
@click.option(
    "--preview", type=click.Path(path_type=Path), help="Also draw them over the mosaic as a PNG."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@config_options(PredictConfig)
def command(
    mosaic: str,
    output: Path | None,
    model: str | None,
    device: str,
    runtime: Runtime,
    preview: Path | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Draw the buildings of a mosaic: any raster that GDAL opens, of any size.

    The layer is in the mosaic's CRS, with score, area_m2, n_vertices, tile, joined, model
    and model_version for each building.
    """
    if output is None and not dry_run:
        raise click.UsageError("missing option '-o' / '--output'")
    config = collect(PredictConfig, options)
    opened = open_model(model, device, runtime)
    if output is None or dry_run:
        outlook = rehearse(mosaic, opened.segmenter, config)
        result(outlook.text(), outlook.as_dict(), as_json)
        return
    try:
        report = predict(
            mosaic,
            output,
            opened.segmenter,
            config,
            model=(opened.name, opened.version),
            digest=opened.digest,
            track=track,
        )
    except KeyboardInterrupt:
        say("buildex: interrupted; the same command goes on where this one stopped")
        raise click.exceptions.Exit(130) from None
    if preview is not None:
        draw_preview(preview, mosaic, output, crs=config.crs)
        say(f"preview written to {preview}")
    result(report.text(), report.as_dict(), as_json)
