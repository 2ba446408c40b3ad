"""The figures of a score report: name, label, unit, and how each comes from the evidence.

A figure is a function of sums (R,), one for each of R ways to count the blocks, so the
figure itself and its bootstrap replicates are one calculation. NaN says that there was
nothing to measure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from buildex.geo.evidence import Evidence
from buildex.geo.judging import SIZES
from buildex.geo.precision import AP_IOUS, Summary

Floats = NDArray[np.float64]
Totals = Mapping[str, Floats]
HIGHER, LOWER, NEITHER = 1, -1, 0  # what is better


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: in JSON, CSV and `--fail-under`.
        label: in the table.
        section: of the table.
        better: 1 where more is better, -1 where less is, 0 where neither.
        unit: `count`, `m`, `m2`, `deg` or none.
        of: how it comes from the sums; None where it is of a ranking.
        ranking: which detections it is of, and how it comes from their summary.
        fair: whether it still holds where the truth has holes.
    """

    name: str
    label: str
    section: str
    better: int
    unit: str = ""
    of: Callable[[Totals], Floats] | None = None
    ranking: tuple[str, Callable[[Summary], float]] | None = None
    fair: bool = False


def figures_for(
    ious: Iterable[float], published: bool = False, incomplete: bool = False
) -> tuple[Figure, ...]:
    """All figures of a report.

    Args:
        ious: at which buildings are paired.
        published: with those of published code.
        incomplete: only those that are fair where the truth has holes.
    """
    every = [*_pixels(), *(f for iou in ious for f in _buildings(iou)), *_alone(), *_rankings()]
    every += [*_outlines(), *(_published() if published else ())]
    return tuple(f for f in every if f.fair or not incomplete)


def values_of(
    figures: Iterable[Figure], evidence: Evidence, weights: Floats | None = None
) -> dict[str, Floats]:
    """The value of each figure (R,) for each row of weights (R, B); (1,) without weights."""
    figures = list(figures)
    if weights is None:
        totals = {name: sums.sum(keepdims=True) for name, sums in evidence.sums.items()}
    else:
        totals = {name: weights @ sums for name, sums in evidence.sums.items()}
    values = {f.name: f.of(totals) for f in figures if f.of is not None}
    for key, detections in evidence.detections.items():
        own = [(f.name, f.ranking[1]) for f in figures if f.ranking and f.ranking[0] == key]
        if own:
            every = (
                [detections.summary()] if weights is None else list(detections.summaries(weights))
            )
            values |= {name: np.array([pick(s) for s in every]) for name, pick in own}
    return {f.name: values[f.name] for f in figures}


def ratio(part: Floats, whole: Floats) -> Floats:
    """`part / whole`; NaN where the whole is 0."""
    empty = np.full(np.shape(whole), np.nan)
    return np.asarray(np.divide(part, whole, out=empty, where=np.asarray(whole) != 0))


def _share(part: str, whole: str) -> Callable[[Totals], Floats]:
    return lambda t: ratio(t[part], t[whole])


def _iou(tp: str, fp: str, fn: str) -> Callable[[Totals], Floats]:
    return lambda t: ratio(t[tp], t[tp] + t[fp] + t[fn])


def _f1(tp: str, fp: str, fn: str) -> Callable[[Totals], Floats]:
    return lambda t: ratio(2 * t[tp], 2 * t[tp] + t[fp] + t[fn])


def _of_both(tp: str, other: str) -> Callable[[Totals], Floats]:
    """Precision (other: false positives) or recall (other: false negatives)."""
    return lambda t: ratio(t[tp], t[tp] + t[other])


def _classes(t: Totals) -> Floats:
    """Mean IoU of building and ground; of the one that is there where the other is not."""
    building = ratio(t["px_tp"], t["px_tp"] + t["px_fp"] + t["px_fn"])
    ground = ratio(t["px_tn"], t["px_tn"] + t["px_fp"] + t["px_fn"])
    both = np.where(np.isnan(ground), building, (building + ground) / 2)
    return np.where(np.isnan(building), ground, both)


def _sum(name: str) -> Callable[[Totals], Floats]:
    return lambda t: t[name]


def _pixels() -> list[Figure]:
    at, counts = "pixels", ("px_tp", "px_fp", "px_fn")
    bands = ("band_tp", "band_fp", "band_fn")
    tiles = "tile_weight"
    return [
        Figure("pixel_iou", "IoU, pooled", at, HIGHER, of=_iou(*counts)),
        Figure("pixel_iou_tiles", "IoU, mean over tiles", at, HIGHER, of=_share("tile_iou", tiles)),
        Figure("pixel_iou_classes", "IoU, mean of building and ground", at, HIGHER, of=_classes),
        Figure("pixel_f1", "F1", at, HIGHER, of=_f1(*counts)),
        Figure("pixel_precision", "precision", at, HIGHER, of=_of_both(*counts[:2])),
        Figure("pixel_recall", "recall", at, HIGHER, of=_of_both("px_tp", "px_fn"), fair=True),
        Figure("pixel_boundary_iou", "boundary IoU, pooled", at, HIGHER, of=_iou(*bands)),
        Figure("c_iou_tiles", "C-IoU, mean over tiles", at, HIGHER, of=_share("tile_c_iou", tiles)),
        Figure("ssim", "SSIM, mean over windows", at, HIGHER, of=_share("ssim", "ssim_windows")),
    ]


def _buildings(iou: float) -> list[Figure]:
    at, tag = f"buildings at IoU {iou:g}", f"{iou * 100:g}"
    tp, fp, fn = (f"{name}_{iou:g}" for name in ("tp", "fp", "fn"))
    return [
        Figure(f"f1_{tag}", "F1", at, HIGHER, of=_f1(tp, fp, fn)),
        Figure(f"precision_{tag}", "precision", at, HIGHER, of=_of_both(tp, fp)),
        Figure(f"recall_{tag}", "recall", at, HIGHER, of=_of_both(tp, fn), fair=True),
        Figure(f"tp_{tag}", "true positives", at, HIGHER, "count", of=_sum(tp), fair=True),
        Figure(f"fp_{tag}", "false positives", at, LOWER, "count", of=_sum(fp)),
        Figure(f"fn_{tag}", "false negatives", at, LOWER, "count", of=_sum(fn), fair=True),
        Figure(
            f"matched_iou_{tag}", "mean IoU of pairs", at, HIGHER,
            of=_share(f"iou_{iou:g}", tp), fair=True,
        ),
    ]  # fmt: skip


def _alone() -> list[Figure]:
    at = "predictions alone"
    return [
        Figure(
            "overlap_m2", "predictions' overlap", at, LOWER, "m2", of=_sum("overlap"), fair=True,
        ),
        Figure(
            "invalid", "invalid predictions", at, LOWER, "count", of=_sum("invalid"), fair=True
        ),
        Figure(
            "unlabelled", "predictions without a label", at, NEITHER, "count",
            of=_sum("candidates"), fair=True,
        ),
    ]  # fmt: skip


def _level(iou: float) -> int:
    return int(np.argmin(np.abs(AP_IOUS - iou)))


def _rankings() -> list[Figure]:
    at = "average precision (COCO)"
    names = {"ap": "AP", "boundary_ap": "boundary AP"}
    out = []
    for key, label in names.items():
        levels = [(f"{key}50", _level(0.5)), (f"{key}75", _level(0.75))]
        out.append(Figure(key, f"{label}, IoU .50 to .95", at, HIGHER, ranking=(key, _ap)))
        out += [
            Figure(name, f"{label} at IoU .{name[-2:]}", at, HIGHER, ranking=(key, _ap_at(level)))
            for name, level in levels
        ]
    out += [
        Figure(f"ap_{size}", f"AP, {size} buildings", at, HIGHER, ranking=(f"ap_{size}", _ap))
        for size in SIZES
    ]
    out.append(Figure("ar", "AR, IoU .50 to .95", at, HIGHER, ranking=("ap", _ar), fair=True))
    out += [
        Figure(
            f"ar_{size}", f"AR, {size} buildings", at, HIGHER,
            ranking=(f"ap_{size}", _ar), fair=True,
        )
        for size in SIZES
    ]  # fmt: skip
    return out


def _ap(summary: Summary) -> float:
    return summary.ap


def _ar(summary: Summary) -> float:
    return summary.ar


def _ap_at(level: int) -> Callable[[Summary], float]:
    return lambda summary: summary.ap_at(level)


def _outlines() -> list[Figure]:
    def figure(name: str, label: str, better: int, part: str, whole: str, unit: str = "") -> Figure:
        return Figure(name, label, "shapes", better, unit, of=_share(part, whole), fair=True)

    def mean(name: str, label: str, better: int, part: str, unit: str = "") -> Figure:
        return figure(name, label, better, part, "pairs", unit)

    tiles = Figure(
        "n_ratio_tiles", "vertices of all, predicted / true, mean over tiles", "shapes", NEITHER,
        of=_share("tile_n_ratio", "tile_truth_weight"),
    )  # fmt: skip
    n_ratio = Figure(
        "n_ratio", "vertices of all, predicted / true", "shapes", NEITHER,
        of=_share("vertices_p", "vertices_t"),
    )  # fmt: skip
    return [
        mean("polis_m", "PoLiS of pairs", LOWER, "polis", "m"),
        mean("hausdorff_m", "Hausdorff distance of pairs", LOWER, "hausdorff", "m"),
        mean("boundary_iou", "boundary IoU of pairs", HIGHER, "band_iou"),
        mean("c_iou", "C-IoU of pairs", HIGHER, "c_iou"),
        figure("mta_deg", "max tangent angle error", LOWER, "angles", "angled", "deg"),
        mean("offset_m", "offset of centroids of pairs, mean length", LOWER, "offset", "m"),
        mean("offset_east_m", "offset of centroids of pairs, east", NEITHER, "offset_east", "m"),
        mean("offset_north_m", "offset of centroids of pairs, north", NEITHER, "offset_north", "m"),
        figure("vertex_ratio", "vertices of pairs, predicted / true, pooled", NEITHER,
               "pair_vertices_p", "pair_vertices_t"),
        mean("vertex_ratio_mean", "vertices of pairs, predicted / true, mean", NEITHER,
             "vertex_ratios"),
        n_ratio,
        tiles,
        figure("vertices_predicted", "vertices of a predicted building", NEITHER,
               "vertices_p", "whole_p"),
        figure("vertices_true", "vertices of a true building", NEITHER, "vertices_t", "whole_t"),
        figure("square_predicted", "square edges, predicted", NEITHER, "square_p", "vertices_p"),
        figure("square_true", "square edges, true", NEITHER, "square_t", "vertices_t"),
    ]  # fmt: skip


def _published() -> list[Figure]:
    at = "as published code has it"

    def figure(name: str, label: str, better: int, part: str, whole: str, unit: str = "") -> Figure:
        return Figure(f"{name}_published{'_m' if unit else ''}", label, at, better, unit,
                      of=_share(f"published_{part}", whole))  # fmt: skip

    ranked = [
        Figure("ap_published", "AP of cut buildings, best 100 of a tile", at, HIGHER,
               ranking=("published", _ap)),
        Figure("ar_published", "AR of the same", at, HIGHER, ranking=("published", _ar)),
    ]  # fmt: skip
    polis = Figure(
        "polis_published_m", "PoLiS (FFL, HiSup)", at, LOWER, "m",
        of=_share("published_polis", "published_polis_images"),
    )  # fmt: skip
    return [
        polis,
        figure("hausdorff", "Hausdorff distance, vertices only", LOWER, "hausdorff", "pairs", "m"),
        figure("c_iou", "C-IoU, empty tiles count 1 (HiSup)", HIGHER, "c_iou", "published_images"),
        figure("pixel_iou", "IoU, mean over tiles with truth", HIGHER, "pixel_iou",
               "published_with_truth"),
        figure("precision", "box precision (DeepForest)", HIGHER, "precision",
               "published_with_predictions"),
        figure("recall", "box recall (DeepForest)", HIGHER, "recall", "published_with_truth"),
        *ranked,
    ]  # fmt: skip
