"""Options of `buildex score` that look for a shift between labels and imagery."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from buildex.aligning import AlignConfig, OffsetReport, estimate_offset
from buildex.cli.console import say, track
from buildex.cli.options import collect, config_options

F = TypeVar("F", bound=Callable[..., Any])


def offset_options(command: F) -> F:
    """Decorator: `--estimate-offset`, `--apply-offset`, and the fields of `AlignConfig`."""
    command = config_options(AlignConfig)(command)
    command = click.option(
        "--apply-offset",
        is_flag=True,
        help="Compare with labels moved by the shift that --estimate-offset finds, if it is sure.",
    )(command)
    return click.option(
        "--estimate-offset",
        metavar="MOSAIC",
        help="Find out how far TRUTH lies off the imagery of MOSAIC, and report it.",
    )(command)


def asked_offset(truth: Path, options: Mapping[str, Any]) -> OffsetReport | None:
    """The shift of a file of labels, where the options ask for it.

    Args:
        truth: the labels.
        options: what click passed for `offset_options`, among others.
    """
    mosaic, apply = options["estimate_offset"], options["apply_offset"]
    if mosaic is None:
        if apply:
            raise click.UsageError("--apply-offset needs --estimate-offset MOSAIC")
        return None
    report = estimate_offset(mosaic, truth, collect(AlignConfig, options), track)
    if apply and not report.moves:
        say(f"buildex: labels stay where they are; {report.text().splitlines()[0]}")
    return report
