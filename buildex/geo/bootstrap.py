"""How sure a figure is: the blocks of a scene drawn again and again (Efron 1979).

Neighbouring buildings err alike, so what is drawn is blocks of ground and not buildings
(a block bootstrap: Künsch 1989). Each scene is drawn from by itself, so intervals say how
the figures of these scenes could vary, not how a model does in a town it has never seen. Scenes
of a few blocks hardly vary by themselves, and not at all with one: these are drawn from together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from buildex.geo.evidence import Evidence
from buildex.geo.figures import Figure, values_of

Floats = NDArray[np.float64]
LEVEL = 0.95
LEAST_BLOCKS = 5  # fewer say nothing about how blocks differ
ROUNDING = 1e-6  # of a figure, in its unit
PIECE = 1 << 24  # weights that are held in one go


@dataclass(frozen=True)
class Interval:
    """Between which two values a figure lies with a probability of 95 %; NaN if unknown."""

    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there were blocks enough."""
        return bool(np.isfinite(self.low))


@dataclass(frozen=True)
class Difference:
    """Second less first, of a figure of two predictions of the same scenes.

    Attributes:
        first: the figure of the first.
        second: the figure of the second.
        interval: of the difference.
        chance: probability of a difference at least as large, either way, if there is none.
    """

    first: float
    second: float
    interval: Interval
    chance: float

    @property
    def real(self) -> bool:
        """Whether the difference is larger than chance: its interval leaves out 0.

        What rounding makes, such as coordinates in degrees in one of two files, is no difference.
        """
        return bool(self.interval.low > ROUNDING or self.interval.high < -ROUNDING)


def draws(sizes: Sequence[int], replicates: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Rows of weights (r, B): how often each block is drawn; `replicates` rows in all.

    Args:
        sizes: blocks of each scene; as many are drawn from each, with replacement, but from all
            that have fewer than `LEAST_BLOCKS` together.
        replicates: how many times.
        rng: where chance comes from.
    """
    drawn = _drawn_together(sizes)
    step = max(1, PIECE // max(1, sum(sizes)))
    for low in range(0, replicates, step):
        rows = min(step, replicates - low)
        weights = np.zeros((rows, sum(sizes)))
        for blocks in drawn:
            n = len(blocks)
            weights[:, blocks] = rng.multinomial(n, np.full(n, 1 / n), size=rows)
        yield weights


def _drawn_together(sizes: Sequence[int]) -> list[NDArray[np.int64]]:
    """Which blocks are drawn from together: those of a scene, those of all small scenes."""
    scenes = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    large = [blocks for blocks in scenes if len(blocks) >= LEAST_BLOCKS]
    small = [blocks for blocks in scenes if 0 < len(blocks) < LEAST_BLOCKS]
    return [*large, np.concatenate(small)] if small else large


def intervals(
    figures: Iterable[Figure],
    evidence: Evidence,
    sizes: Sequence[int],
    replicates: int,
    rng: np.random.Generator,
) -> dict[str, Interval]:
    """The 95 % interval of each figure: the middle of its replicates.

    Args:
        figures: what to measure.
        evidence: of all scenes together.
        sizes: blocks of each scene.
        replicates: how many times to draw; 0 for no intervals.
        rng: where chance comes from.
    """
    figures = list(figures)
    if not _enough(sizes, replicates):
        return {f.name: Interval(np.nan, np.nan) for f in figures}
    every = [values_of(figures, evidence, weights) for weights in draws(sizes, replicates, rng)]
    return {f.name: _interval(np.concatenate([v[f.name] for v in every])) for f in figures}


def differences(
    figures: Iterable[Figure],
    pair: tuple[Evidence, Evidence],
    sizes: Sequence[int],
    replicates: int,
    rng: np.random.Generator,
) -> dict[str, Difference]:
    """Differences of two predictions of the same scenes, paired: both see the same draws.

    Args:
        figures: what to measure.
        pair: evidence of the first and of the second, over the same blocks.
        sizes: blocks of each scene.
        replicates: how many times to draw.
        rng: where chance comes from.
    """
    figures = list(figures)
    now = [values_of(figures, evidence) for evidence in pair]
    apart: dict[str, list[Floats]] = {f.name: [] for f in figures}
    for weights in draws(sizes, replicates, rng) if _enough(sizes, replicates) else ():
        first, second = (values_of(figures, evidence, weights) for evidence in pair)
        for name, values in apart.items():
            values.append(second[name] - first[name])
    out = {}
    for name, values in apart.items():
        joined = np.concatenate([np.empty(0), *values])
        one, other = (float(v[name][0]) for v in now)
        out[name] = Difference(one, other, _interval(joined), _chance(joined))
    return out


def _enough(sizes: Sequence[int], replicates: int) -> bool:
    return replicates > 0 and sum(sizes) >= LEAST_BLOCKS


def _interval(replicates: Floats) -> Interval:
    known = replicates[np.isfinite(replicates)]
    if not len(known) or len(known) < len(replicates) / 2:
        return Interval(np.nan, np.nan)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _chance(replicates: Floats) -> float:
    known = replicates[np.isfinite(replicates)]
    if not len(known):
        return float("nan")
    below, above = (known <= 0).sum(), (known >= 0).sum()
    return float(min(1.0, 2 * (min(below, above) + 1) / (len(known) + 1)))
