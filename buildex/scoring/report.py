"""What a comparison found, as values; their text, their JSON and their CSV come from here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from buildex.geo.bootstrap import Difference, Interval
from buildex.geo.figures import HIGHER, Figure
from buildex.scoring.settings import ScoreConfig
from buildex.scoring.wording import (
    Features,
    bracketed,
    doubts_of,
    headed,
    overview,
    sections,
    told,
    worded,
    written,
)

LISTED = 10  # candidates to map that the text names
POOLED = "all scenes"


class Candidate(NamedTuple):
    """A prediction without a label: a building to map, or an error."""

    scene: str
    longitude: float
    latitude: float
    area_m2: float
    score: float | None


@dataclass(frozen=True)
class SceneScore:
    """What one scene gave.

    Attributes:
        name: of the scene.
        predictions: how many predicted buildings touch the area.
        truth: how many true ones do.
        outside: how many true ones do not.
        area: size of the area in m2.
        crs: the metric system in which it was measured.
        figures: every figure by name; NaN where there was nothing to measure.
        intervals: the 95 % interval of each.
        features: what became of those of its files, by layer; nothing where no files were read.
    """

    name: str
    predictions: int
    truth: int
    outside: int
    area: float
    crs: str
    figures: Mapping[str, float]
    intervals: Mapping[str, Interval]
    features: Features = field(default_factory=dict)

    def head(self) -> str:
        """One line: how many buildings, where."""
        return (
            f"{self.predictions} predicted and {self.truth} true buildings"
            f" in {self.area:,.0f} m2 ({self.crs})"
        )

    def doubts(self) -> list[str]:
        """What makes its figures look wrong, in one line each."""
        return doubts_of(self.name, self.predictions, self.truth, self.outside)

    def as_dict(self) -> dict[str, Any]:
        """The scene for JSON; None where there was nothing to measure."""
        return {
            "crs": self.crs,
            "area_m2": self.area,
            "predicted_buildings": self.predictions,
            "true_buildings": self.truth,
            "true_buildings_outside": self.outside,
            "figures": {name: _known(value) for name, value in self.figures.items()},
            "intervals": {
                name: [interval.low, interval.high] if interval.known else None
                for name, interval in self.intervals.items()
            },
            **{layer: asdict(counts) for layer, counts in self.features.items()},
        }


@dataclass(frozen=True)
class ScoreReport:
    """The figures of one scene, or of several and of all together.

    Attributes:
        config: how it was measured.
        scenes: each scene by itself.
        pooled: all of them as one; the scene itself where there is one.
        candidates: predictions without a label, best first.
        credits: whom to thank for the labels, as their files word it.
        shift: how far the true buildings lie off the imagery, in words; empty if nobody asked.
    """

    config: ScoreConfig
    scenes: tuple[SceneScore, ...]
    pooled: SceneScore
    candidates: tuple[Candidate, ...] = ()
    credits: tuple[str, ...] = ()
    shift: str = ""

    @property
    def figures(self) -> Mapping[str, float]:
        """Every figure of all scenes together, by name."""
        return self.pooled.figures

    @property
    def intervals(self) -> Mapping[str, Interval]:
        """The 95 % interval of every figure."""
        return self.pooled.intervals

    @property
    def failures(self) -> list[str]:
        """One line for each figure that does not reach `fail_under`; NaN reaches nothing."""
        return [
            f"{name} is {self.figures[name]:.4g}, below {limit:g}"
            for name, limit in self.config.fail_under.items()
            if not self.figures[name] >= limit
        ]

    @property
    def notes(self) -> list[str]:
        """What else has to be known, in one line each."""
        doubts = [doubt for scene in self.scenes for doubt in scene.doubts()]
        return [*doubts, *told([(scene.name, scene.features) for scene in self.scenes])]

    @property
    def asides(self) -> list[str]:
        """What a table of figures has no room for, in one line each; no blocks of the shift."""
        return [*self.shift.splitlines()[:1], *self.notes]

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        c = self.config
        table: dict[str, Any] = {
            "gsd_m": c.gsd,
            "iou": list(c.iou),
            "tile_m": c.block,
            "boundary_m": c.band,
            "sizes_m2": list(c.sizes),
            "bootstrap": c.bootstrap,
            "incomplete_truth": c.incomplete_truth,
            **self.pooled.as_dict(),
        }
        if self.credits:
            table["labels_credit"] = list(self.credits)
        if len(self.scenes) > 1:
            table["scenes"] = {scene.name: scene.as_dict() for scene in self.scenes}
        if c.incomplete_truth:
            table["candidates"] = [candidate._asdict() for candidate in self.candidates]
        return table

    def csv(self) -> str:
        """The report as CSV: a line for each scene and figure."""
        scenes = (*self.scenes, self.pooled) if len(self.scenes) > 1 else self.scenes
        rows = [
            (s.name, f.name, f.unit, s.figures[f.name], s.intervals[f.name].low,
             s.intervals[f.name].high)
            for s in scenes for f in self.config.figures
        ]  # fmt: skip
        return written(("scene", "figure", "unit", "value", "low", "high"), rows)

    def text(self) -> str:
        """The report as a table."""
        lines = [*([self.shift, ""] if self.shift else []), self.pooled.head()]
        lines += [*(f"labels: {line}" for line in self.credits), *self.notes]
        if any(interval.known for interval in self.intervals.values()):
            lines.append("in brackets: 95 % intervals, drawn from blocks of ground")
        if self.config.incomplete_truth:
            lines.append("the truth has holes: figures that would punish finding them are left out")
        for head, section in sections(self.config.figures):
            lines += ["", headed(head, self.config)]
            lines += [f"  {f.label:<50}{self._cell(f)}" for f in section]
        lines += [*self._each_scene(), *self._candidates()]
        return "\n".join(lines)

    def _cell(self, figure: Figure) -> str:
        value = worded(self.figures[figure.name], figure.unit, wide=8)
        interval = self.intervals[figure.name]
        return f"{value:<13}{bracketed(interval, figure.unit)}".rstrip()

    def _each_scene(self) -> Iterator[str]:
        if len(self.scenes) < 2:
            return
        names = overview(self.config)
        yield "\neach scene"
        yield f"  {'':<24}{'true':>7}{'predicted':>11}" + "".join(f"{name:>14}" for name in names)
        for scene in (*self.scenes, self.pooled):
            cells = "".join(f"{worded(scene.figures[name]):>14}" for name in names)
            yield f"  {scene.name[:23]:<24}{scene.truth:>7}{scene.predictions:>11}{cells}"

    def _candidates(self) -> Iterator[str]:
        if not self.config.incomplete_truth:
            return
        yield f"\n{len(self.candidates)} predictions without a label: candidates to map"
        for c in self.candidates[:LISTED]:
            score = "" if c.score is None else f"  score {c.score:.2f}"
            yield f"  {c.latitude:.6f}, {c.longitude:.6f}  {c.area_m2:6.0f} m2{score}  {c.scene}"
        if len(self.candidates) > LISTED:
            yield f"  ... and {len(self.candidates) - LISTED} more: `--json` or `--layers FILE`"


@dataclass(frozen=True)
class CompareReport:
    """Two predictions of the same scenes, and which of their differences are real.

    Attributes:
        config: how it was measured.
        names: of the two: files that all scenes share, else `predictions` and `compare`.
        scenes: how many scenes there were.
        blocks: of ground, over which they were paired.
        differences: of each figure by name, second less first.
        credits: whom to thank for the labels, as their files word it.
        notes: what else has to be known, in one line each.
        shift: how far the true buildings lie off the imagery, in words; empty if nobody asked.
    """

    config: ScoreConfig
    names: tuple[str, str]
    scenes: int
    blocks: int
    differences: Mapping[str, Difference]
    credits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    shift: str = ""

    @property
    def asides(self) -> list[str]:
        """What a table of figures has no room for, in one line each; no blocks of the shift."""
        return [*self.shift.splitlines()[:1], *self.notes]

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        return {
            "first": self.names[0],
            "second": self.names[1],
            "blocks": self.blocks,
            **({"labels_credit": list(self.credits)} if self.credits else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            "differences": {
                f.name: {
                    "first": _known(d.first),
                    "second": _known(d.second),
                    "difference": _known(d.second - d.first),
                    "interval": [d.interval.low, d.interval.high] if d.interval.known else None,
                    "p": _known(d.chance),
                    "larger_than_chance": d.real,
                    "verdict": self.verdict(f),
                }
                for f, d in self._rows()
            },
        }

    def csv(self) -> str:
        """The report as CSV: a line for each figure."""
        rows = [
            (f.name, f.unit, d.first, d.second, d.interval.low, d.interval.high, d.chance,
             self.verdict(f))
            for f, d in self._rows()
        ]  # fmt: skip
        heads = ("figure", "unit", "first", "second", "low", "high", "p", "verdict")
        return written(heads, rows)

    def text(self) -> str:
        """The report as a table."""
        a, b = self.names
        lines = [
            *([self.shift, ""] if self.shift else []),
            f"A: {a}", f"B: {b}",
            f"B - A with its 95 % interval, paired over {self.blocks} blocks of ground"
            f" of {self.scenes} scene{'s' * (self.scenes > 1)}",
            *(f"labels: {line}" for line in self.credits),
            *self.notes,
        ]  # fmt: skip
        lines += ["", f"{'':<52}{'A':>9}{'B':>10}{'B - A':>10}"]
        for head, section in sections(self.config.figures):
            lines += [headed(head, self.config), *(self._line(f) for f in section), ""]
        found = [f.name for f, d in self._rows() if d.real]
        return "\n".join([*lines, f"larger than chance: {', '.join(found) or 'nothing'}"])

    def _line(self, figure: Figure) -> str:
        """A figure of both, their difference, and what to think of it."""
        d = self.differences[figure.name]
        unit = figure.unit if figure.unit == "count" else ""
        name = f"{figure.label} ({figure.unit})" if figure.unit and not unit else figure.label
        first, second, gap = (worded(v, unit) for v in (d.first, d.second, d.second - d.first))
        sign = "+" if d.second > d.first else ""
        between = f"  {bracketed(d.interval, unit):<20}  "
        return f"  {name:<50}{first:>9}{second:>10}{sign + gap:>10}{between}{self.verdict(figure)}"

    def verdict(self, figure: Figure) -> str:
        """`A better`, `B better`, `differs`, or `within chance`."""
        d = self.differences[figure.name]
        if not d.interval.known:
            return "cannot tell"
        if not d.real:
            return "within chance"
        if not figure.better:
            return "differs"
        return "B better" if (d.second > d.first) == (figure.better == HIGHER) else "A better"

    def _rows(self) -> list[tuple[Figure, Difference]]:
        return [(f, self.differences[f.name]) for f in self.config.figures]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
