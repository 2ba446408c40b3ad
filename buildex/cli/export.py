"""`buildex export`: write a model as ONNX graphs."""

from __future__ import annotations

from pathlib import Path

import click

from buildex.cli.console import result
from buildex.exporting import export
from buildex.io.zoo import DEFAULT_MODEL


@click.command("export", epilog="Example: buildex export run/model graphs")
@click.argument("model", default=DEFAULT_MODEL)
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--mosaic", help="Compare on two tiles of this raster, not on made ones.")
@click.option(
    "--int8",
    metavar="MOSAIC",
    multiple=True,
    help="Also write heads in integers, measured on this raster; may be given several times.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Use FOLDER even if it is not empty; drop old heads in integers where none are asked for.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    model: str,
    folder: Path | None,
    mosaic: str | None,
    int8: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write MODEL as ONNX graphs into FOLDER, or into its own folder, and check them.

    With the card beside them the graphs are a model that predicts without torch. Needs torch
    and onnx, `--int8` onnxruntime, too.
    """
    report = export(model, folder, mosaic=mosaic, int8=int8, overwrite=overwrite)
    result(report.text(), report.as_dict(), as_json)
