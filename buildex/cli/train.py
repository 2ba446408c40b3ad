"""`buildex train`: train a model on datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from buildex.cli.console import result, say, track
from buildex.cli.options import collect, config_options
from buildex.config import read_toml
from buildex.nn.presets import PRESETS
from buildex.nn.recipe import TrainConfig
from buildex.training import SETTINGS, first_process, train


@click.command(
    "train",
    epilog="Example: buildex train DATASET -o RUN --encoder efficientnet_lite2 --steps 20000",
)
@click.argument("datasets", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The run folder."
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="TOML file with any of these options; options given here count more.",
)
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    help="Settings by name, under those of --config and of the options: the paper's, or to go on "
    "from the shipped model with some buildings of a town.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@config_options(TrainConfig)
def command(
    datasets: tuple[Path, ...],
    output: Path,
    config_file: Path | None,
    preset: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model on dataset folders that `buildex tile` made.

    Learns from the split `train`, chooses the best network on the split `val`, and writes
    it to RUN/model. Ctrl-C leaves a checkpoint; `--resume` goes on from it, with the run's
    own settings unless others are given.
    """
    base = dict(PRESETS[preset]) if preset else {}
    asked = read_toml(config_file) if config_file is not None else {}
    if (options["resume"] or asked.get("resume")) and (output / SETTINGS).is_file():
        base = {**read_toml(output / SETTINGS), **base}
    given = {**options, "datasets": datasets, "output": output}
    config = collect(TrainConfig, given, config_file, base)
    if not config.datasets:
        raise click.UsageError("name at least one dataset folder")
    report = train(config, track=track, tell=say)
    if first_process(config.devices):
        result(report.text(), report.as_dict(), as_json)
