"""The words that all forms of a report share: lines of doubt, heads, values, CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from buildex.geo.bootstrap import Interval
from buildex.geo.figures import Figure
from buildex.io.vector import RepairCounts
from buildex.scoring.settings import ScoreConfig

OVERVIEW = ("pixel_iou", "f1_{0}", "precision_{0}", "recall_{0}", "polis_m", "vertex_ratio")
Features = Mapping[str, RepairCounts]  # what became of those of each layer


def doubts_of(name: str, predictions: int, truth: int, outside: int) -> list[str]:
    """What makes the figures of a scene look wrong, in one line each.

    Args:
        name: of the scene.
        predictions: how many predicted buildings touch the area.
        truth: how many true ones do.
        outside: how many true ones do not.
    """
    if truth or not outside:
        return []
    judged = ", so all that is predicted there counts as false" if predictions else ""
    return [
        f"{name}: none of {outside} true buildings lies in the area{judged}:"
        " check the files if that is not meant"
    ]


def told(scenes: Sequence[tuple[str, Features]]) -> list[str]:
    """What became of the features of scenes, in one line for each layer that changed.

    Args:
        scenes: the name of each, which is said where there are several, and its layers.
    """
    return [
        f"{f'{name}: ' * (len(scenes) > 1)}{layer}: {counts.text()}"
        for name, features in scenes
        for layer, counts in features.items()
        if counts.text()
    ]


def sections(figures: Sequence[Figure]) -> list[tuple[str, list[Figure]]]:
    """The figures by section, in their order."""
    heads = dict.fromkeys(f.section for f in figures)
    return [(head, [f for f in figures if f.section == head]) for head in heads]


def headed(section: str, config: ScoreConfig) -> str:
    """A section's head, with the sizes that its figures depend on."""
    small, large = config.sizes
    return {
        "pixels": f"pixels of {config.gsd:g} m",
        "average precision (COCO)": f"average precision (COCO); parted at {small:g} and"
        f" {large:g} m2; band {config.band:.2f} m",
    }.get(section, section)


def overview(config: ScoreConfig) -> list[str]:
    """Names of the figures that sum a scene up."""
    names = [name.format(f"{config.iou[0] * 100:g}") for name in OVERVIEW]
    return [name for name in names if name in config.figure_names]


def worded(value: float, unit: str = "", wide: int = 0) -> str:
    """A value with its unit; a dash where there was nothing to measure."""
    if math.isnan(value):
        return f"{'-':>{wide}}"
    if unit == "count":
        return f"{value:{wide},.0f}"
    return f"{value:{wide}.3f} {unit}".rstrip()


def bracketed(interval: Interval, unit: str = "") -> str:
    """An interval in brackets; nothing where it is not known."""
    if not interval.known:
        return ""
    digits = 0 if unit == "count" else 3
    return f"[{interval.low:,.{digits}f}, {interval.high:,.{digits}f}]"


def written(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """CSV with a head; empty where a number is not known."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    for row in rows:
        writer.writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in row])
    return out.getvalue().rstrip("\n")
