"""`buildex predict`: draw the buildings of mosaics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from buildex.cli.console import result, say, track
from buildex.cli.options import collect, config_options
from buildex.errors import OutputError, RasterError
from buildex.geo.views import VIEWS
from buildex.io.cluster import own_workers, workers_at
from buildex.io.output import check_apart, check_file
from buildex.predicting import (
    Crew,
    ModelOpener,
    OpenModel,
    PredictConfig,
    PredictReport,
    draw_preview,
    mosaics_in,
    open_model,
    predict,
    predict_all,
    rehearse,
    rehearse_all,
)
from buildex.predicting.model import MULTIPLE, PRECISIONS, RUNTIMES, Precision, Runtime

FORMATS = ("gpkg", "geojson", "fgb", "parquet", "shp")


@click.command(
    "predict",
    epilog="Example: buildex predict mosaic.tif -o buildings.gpkg --preview buildings.png",
)
@click.argument("mosaics", metavar="MOSAIC...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write: .gpkg, .geojson, .fgb, .parquet or .shp; for several mosaics a folder.",
)
@click.option(
    "--format",
    "suffix",
    type=click.Choice(FORMATS),
    default="gpkg",
    show_default=True,
    help="Of the layers of several mosaics.",
)
@click.option("--model", default=None, help="Name of a released model, or a model's folder.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option(
    "--workers", type=click.IntRange(1), help="Share the work among processes of this machine."
)
@click.option(
    "--scheduler", metavar="ADDRESS", help="Share it among dask workers: tcp://HOST:8786."
)
@click.option(
    "--runtime",
    type=click.Choice(RUNTIMES),
    default="auto",
    show_default=True,
    help="What computes: the model's ONNX graphs (CPU), or torch (GPUs).",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="In what: auto is the fastest; fp32 draws the same everywhere, but for rounding.",
)
@click.option(
    "--views",
    type=click.IntRange(1, len(VIEWS)),
    help="How often each tile is looked at: 1, or 2 (coarser and mirrored, too), which takes the "
    "network twice as long and may help where it has learnt little; else as its card says.",
)
@click.option(
    "--tile-size",
    type=click.IntRange(1),
    help=f"Side in pixels of the tiles that the model sees, a multiple of {MULTIPLE}; else of "
    "those that it was taught on. Larger ones take less time; outlines may come out less even.",
)
@click.option(
    "--preview", type=click.Path(path_type=Path), help="Also draw them over the mosaic as a PNG."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@config_options(PredictConfig)
def command(
    mosaics: tuple[str, ...],
    output: Path | None,
    suffix: str,
    model: str | None,
    device: str,
    workers: int | None,
    scheduler: str | None,
    runtime: Runtime,
    precision: Precision,
    views: int | None,
    tile_size: int | None,
    preview: Path | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Draw the buildings of mosaics: any rasters that GDAL opens, of any size.

    The layer is in the mosaic's CRS (GeoJSON in degrees), with score, area_m2, n_vertices, tile,
    joined, model and model_version for each building. Several mosaics, or a folder of them, make
    a folder of layers, one for each.
    """
    if output is None and not dry_run:
        raise click.UsageError("missing option '-o' / '--output'")
    if workers is not None and scheduler is not None:
        raise click.UsageError("give `--workers` or `--scheduler`, not both")
    config = collect(PredictConfig, options)
    if not all(mosaics):
        raise click.UsageError("a mosaic's path is empty")
    several = len(mosaics) > 1 or Path(mosaics[0]).is_dir()
    if several and preview is not None:
        raise click.UsageError("`--preview` draws one mosaic")
    layer = output is not None and output.suffix[1:].lower() in FORMATS and not output.is_dir()
    if several and layer:
        raise click.UsageError("several mosaics make a folder of layers: give `-o FOLDER`")
    paths = mosaics_in(mosaics) if several else list(mosaics)
    opened = open_model(model, device, runtime, precision, views, tile_size=tile_size)
    if output is None or dry_run:
        if several:
            _rehearsed_all(paths, output, opened, config, suffix, as_json)
        else:
            outlook = rehearse(paths[0], opened.segmenter, config)
            result(outlook.text(), outlook.as_dict(), as_json)
        return
    staff = _Staff(workers, scheduler)
    try:
        with staff.crew(model, device, opened) as crew:
            if several:
                _drawn_all(paths, output, opened, config, crew, suffix, as_json)
            else:
                _drawn(paths[0], output, opened, config, crew, preview, as_json)
    except KeyboardInterrupt:
        same = "same command without `--restart`" if config.restart else "same command"
        say(f"buildex: interrupted; the {same} goes on where this one stopped")
        raise click.exceptions.Exit(130) from None


@dataclass(frozen=True)
class _Staff:
    """Who works, by the options."""

    workers: int | None
    scheduler: str | None

    @contextmanager
    def crew(self, model: str | None, device: str, opened: OpenModel) -> Iterator[Crew | None]:
        """Workers with a model; None where this process works alone."""
        if self.workers is None and self.scheduler is None:
            yield None
            return
        opener = ModelOpener.of(model, device, opened)
        if self.scheduler is not None:
            with workers_at(self.scheduler, tell=say) as cluster:
                yield Crew(cluster, opener)
        elif self.workers is not None:
            with own_workers(self.workers) as cluster:
                yield Crew(cluster, opener)


def _rehearsed_all(
    mosaics: list[str],
    folder: Path | None,
    opened: OpenModel,
    config: PredictConfig,
    suffix: str,
    as_json: bool,
) -> None:
    outlook = rehearse_all(mosaics, folder, opened, config, suffix=suffix)
    result(outlook.text(), outlook.as_dict(), as_json)
    _check_none(outlook.failed, len(mosaics))


def _drawn(
    mosaic: str,
    output: Path,
    opened: OpenModel,
    config: PredictConfig,
    crew: Crew | None,
    preview: Path | None,
    as_json: bool,
) -> None:
    if preview is not None:
        if preview.suffix.lower() != ".png":
            raise OutputError(f"preview `{preview}` is a PNG", hint="end its name in .png")
        check_file(preview, config.overwrite)
        check_apart(preview, mosaic, output, config.aoi)

    def show(_: PredictReport) -> None:
        if preview is not None:
            draw_preview(preview, mosaic, output, crs=config.crs)
            say(f"preview written to {preview}")

    report = predict(
        mosaic,
        output,
        opened.segmenter,
        config,
        model=(opened.name, opened.version),
        digest=opened.identity,
        crew=crew,
        track=track,
        note=show,
    )
    result(report.text(), report.as_dict(), as_json)


def _drawn_all(
    mosaics: list[str],
    folder: Path,
    opened: OpenModel,
    config: PredictConfig,
    crew: Crew | None,
    suffix: str,
    as_json: bool,
) -> None:
    report = predict_all(mosaics, folder, opened, config, suffix=suffix, crew=crew, track=track)
    result(report.text(), report.as_dict(), as_json)
    _check_none(report.failed, len(mosaics))


def _check_none(failed: dict[str, str], mosaics: int) -> None:
    """End with an error that names some of the mosaics that failed, if any did."""
    if failed:
        reasons = list(failed.values())
        more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        raise RasterError(
            f"{len(reasons)} of {mosaics} mosaics could not be drawn: "
            f"{'; '.join(reasons[:3])}{more}"
        )
