"""What the user sees: progress on stderr, results on stdout, one line for an error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, TypeVar

import click

from buildex.errors import BuildexError

T = TypeVar("T")


def track(
    items: Iterable[T],
    *,
    total: int | None = None,
    label: str = "",
    note: Callable[[], str] | None = None,
) -> Iterator[T]:
    """Progress bar on stderr: done, rate, time left, a note. Satisfies `config.Track`."""
    from tqdm import tqdm

    if total is None and isinstance(items, Sized):
        total = len(items)
    with tqdm(items, total=total, desc=label, file=sys.stderr, mininterval=0.5) as bar:
        for item in bar:
            yield item
            if note is not None:
                bar.set_postfix_str(note(), refresh=False)


def say(text: str) -> None:
    """A line for the person who waits, on stderr."""
    click.echo(text, err=True)


def result(text: str, data: Mapping[str, Any], as_json: bool) -> None:
    """A tool's report on stdout: its text, or the same as JSON."""
    click.echo(json.dumps(data, indent=2, sort_keys=False) if as_json else text)


def word(error: BuildexError) -> str:
    """An error as one line: what is wrong, what to do."""
    message = " ".join(error.message.split())
    hint = " ".join(error.hint.split())
    return f"buildex: {message}; {hint}" if hint else f"buildex: {message}"
