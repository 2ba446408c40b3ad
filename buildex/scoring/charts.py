"""Charts as SVG text: no script, no file beside them; colours come from the page's style."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from buildex.geo.bootstrap import Interval

Floats = NDArray[np.float64]
WIDTH, HEIGHT = 360.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 12.0, 10.0, 38.0


class Line(NamedTuple):
    """A line of a chart: what it is called, its class in the style, x (N,) and y (N,)."""

    label: str
    kind: str
    x: Floats
    y: Floats


def line_chart(
    title: str, lines: Sequence[Line], axes: tuple[str, str], span: tuple[float, float] = (0.0, 1.0)
) -> str:
    """Lines over an axis from `span[0]` to `span[1]`; y runs from 0 to 1.

    Args:
        title: what the chart shows, for those who cannot see it.
        lines: what to draw; points that are no number are left out.
        axes: names of the x and of the y axis.
        span: ends of the x axis.
    """
    drawn = [line for line in lines if np.isfinite(line.y).any()]
    parts = [*_grid(span), *_names(axes)]
    parts += [_path(line, span) for line in drawn]
    chart = (
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
    return chart + legend([(line.label, line.kind) for line in drawn])


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Names beside samples of their colours."""
    rows = "".join(
        f'<li><span class="sample {kind}"></span>{escape(label)}</li>' for label, kind in entries
    )
    return f'<ul class="legend">{rows}</ul>'


def whisker(value: float, interval: Interval) -> str:
    """A value between 0 and 1 on a scale, with its interval as a bar."""
    if not np.isfinite(value):
        return ""
    bar = ""
    if interval.known:
        low, high = 100 * interval.low, 100 * interval.high
        wide = max(high - low, 0.6)
        bar = f'<rect class="range" x="{low:.1f}" y="2.5" width="{wide:.1f}" height="7" rx="2"/>'
    return (
        '<svg class="whisker" viewBox="-3 0 106 12" aria-hidden="true">'
        f'<line class="scale" x1="0" x2="100" y1="6" y2="6"/>{bar}'
        f'<line class="dot" x1="{100 * value:.1f}" x2="{100 * value:.1f}" y1="1" y2="11"/></svg>'
    )


def bar(parts: Sequence[tuple[float, str]], whole: float) -> str:
    """A bar of parts, each a number and a class, of a whole."""
    if not whole:
        return '<span class="bar"></span>'
    shown = "".join(
        f'<span class="{kind}" style="width:{100 * part / whole:.2f}%"></span>'
        for part, kind in parts
        if part
    )
    return f'<span class="bar">{shown}</span>'


def _grid(span: tuple[float, float]) -> list[str]:
    """Lines across the chart, with numbers on both axes."""
    out = []
    for tick in np.linspace(0, 1, 6):
        y = _y(tick)
        out.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        out.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{tick:.1f}</text>')
    for tick in np.linspace(*span, 6):
        x = _x(tick, span)
        out.append(
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{tick:.1f}</text>'
        )
    return out


def _names(axes: tuple[str, str]) -> list[str]:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return [
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}"'
        f' text-anchor="middle">{escape(axes[0])}</text>',
        f'<text class="axis" transform="translate(10 {middle}) rotate(-90)"'
        f' text-anchor="middle">{escape(axes[1])}</text>',
    ]


def _path(line: Line, span: tuple[float, float]) -> str:
    points = [
        f"{_x(x, span):.1f} {_y(y):.1f}"
        for x, y in zip(line.x, line.y, strict=True)
        if np.isfinite(y)
    ]
    return f'<path class="line {line.kind}" d="M{"L".join(points)}"/>'


def _x(value: float, span: tuple[float, float]) -> float:
    share = (value - span[0]) / (span[1] - span[0])
    return LEFT + float(share) * (WIDTH - LEFT - RIGHT)


def _y(value: float) -> float:
    return TOP + (1 - float(value)) * (HEIGHT - TOP - BOTTOM)
