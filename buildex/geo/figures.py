"""The figures of a score report, with the labels that they carry in its table.

Each is a float; NaN says that there was nothing to measure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from buildex.geo import measures
from buildex.geo.footprints import Polygons, to_rings
from buildex.geo.matching import Inside, Pairing
from buildex.geo.measures import vertex_count


def figure(label: str, unit: str = "", at_iou: bool = False) -> Any:
    """A field with its label, its unit (`count`, `m`, `m2`, none), and whether IoU names it."""
    return field(metadata={"label": label, "unit": unit, "at_iou": at_iou})


@dataclass(frozen=True)
class PixelFigures:
    """Pixels of the two layers, drawn at the scoring GSD inside the area."""

    pixel_iou: float = figure("IoU, pooled")
    pixel_iou_tiles: float = figure("IoU, mean over tiles")
    pixel_iou_classes: float = figure("IoU, mean of building and ground")
    pixel_f1: float = figure("F1")
    pixel_precision: float = figure("precision")
    pixel_recall: float = figure("recall")
    ssim: float = figure("SSIM, mean over tiles")


@dataclass(frozen=True)
class BuildingFigures:
    """Buildings, paired one to one."""

    f1: float = figure("F1", at_iou=True)
    precision: float = figure("precision", at_iou=True)
    recall: float = figure("recall", at_iou=True)
    tp: float = figure("true positives", "count", at_iou=True)
    fp: float = figure("false positives", "count", at_iou=True)
    fn: float = figure("false negatives", "count", at_iou=True)
    matched_iou: float = figure("mean IoU of pairs", at_iou=True)
    overlap_m2: float = figure("predictions' overlap", "m2")
    invalid: float = figure("invalid predictions", "count")


@dataclass(frozen=True)
class ShapeFigures:
    """Outlines of the buildings that the area's edge does not cut."""

    polis_m: float = figure("PoLiS of pairs", "m")
    polis_published_m: float = figure("PoLiS as published code has it", "m")
    c_iou: float = figure("C-IoU of pairs")
    vertex_ratio: float = figure("vertices of pairs, predicted / true, pooled")
    vertex_ratio_mean: float = figure("vertices of pairs, predicted / true, mean")
    vertices_predicted: float = figure("vertices of a predicted building")
    vertices_true: float = figure("vertices of a true building")
    square_predicted: float = figure("square edges, predicted")
    square_true: float = figure("square edges, true")


def building_figures(pairing: Pairing, overlap: float, invalid: int) -> BuildingFigures:
    """Figures of a pairing.

    Args:
        pairing: who found whom.
        overlap: area that predictions share with one another, in m2.
        invalid: how many predictions had to be repaired.
    """
    counts = pairing.counts
    return BuildingFigures(
        f1=counts.f1,
        precision=counts.precision,
        recall=counts.recall,
        tp=counts.tp,
        fp=counts.fp,
        fn=counts.fn,
        matched_iou=counts.mean_iou,
        overlap_m2=overlap,
        invalid=invalid,
    )


def shape_figures(
    predictions: Polygons, truth: Polygons, seen: tuple[Inside, Inside], pairing: Pairing
) -> ShapeFigures:
    """Figures of whole outlines: only of buildings that the area's edge leaves whole.

    Args:
        predictions: (P,) predicted polygons, not clipped.
        truth: (T,) true polygons, not clipped.
        seen: both layers as the area sees them.
        pairing: who found whom.
    """
    uncut = seen[1].whole[pairing.truths]
    p = [to_rings(polygon) for polygon in predictions[pairing.predictions[uncut]]]
    t = [to_rings(polygon) for polygon in truth[pairing.truths[uncut]]]
    counts = [(vertex_count(a), vertex_count(b)) for a, b in zip(p, t, strict=True)]
    ious = pairing.ious[uncut].tolist()
    ratios = measures.vertex_ratio([a for a, _ in counts], [b for _, b in counts])
    all_p = [to_rings(polygon) for polygon in predictions[seen[0].whole]]
    all_t = [to_rings(polygon) for polygon in truth[seen[1].whole]]
    pairs = list(zip(p, t, strict=True))
    return ShapeFigures(
        polis_m=measures.mean(measures.polis(a, b) for a, b in pairs),
        polis_published_m=measures.mean(measures.polis_as_published(a, b) for a, b in pairs),
        c_iou=measures.mean(
            measures.complexity_iou(iou, *n) for iou, n in zip(ious, counts, strict=True)
        ),
        vertex_ratio=ratios.pooled,
        vertex_ratio_mean=ratios.mean,
        vertices_predicted=measures.mean(float(vertex_count(rings)) for rings in all_p),
        vertices_true=measures.mean(float(vertex_count(rings)) for rings in all_t),
        square_predicted=measures.squareness(all_p),
        square_true=measures.squareness(all_t),
    )
