"""Compare the two layers of a scene: from polygons to the evidence that figures are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.config import Track, silent
from buildex.geo import published
from buildex.geo.axes import squareness
from buildex.geo.blame import Blame, blame
from buildex.geo.blocks import Blocks, centres
from buildex.geo.boundary_bands import band_ious
from buildex.geo.edges import Edges, edges_of
from buildex.geo.evidence import Evidence, Rules, Scene
from buildex.geo.footprints import Polygons
from buildex.geo.matching import (
    Inside,
    Overlaps,
    Pairing,
    inside,
    overlaps,
    own_overlaps,
    pair,
    pair_overlaps,
)
from buildex.geo.precision import AP_IOUS, Candidates, Detections, Field, found_at
from buildex.geo.shape_measures import (
    centroid_offsets,
    max_tangent_angles,
    outline_distances,
)
from buildex.geo.tile_sums import TileCounts, pixel_sums, tile_counts, tiles_of, within

Floats = NDArray[np.float64]
Index = NDArray[np.int64]
Sums = dict[str, Floats]
LOWEST_IOU = 0.05  # down to which pairs are kept, for curves over the IoU
SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class Comparison:
    """Who is where and who overlaps whom.

    Attributes:
        scene: the layers.
        rules: how they are compared.
        seen: predictions and truth as the area sees them.
        found: which overlap which.
        pairing: one to one, down to `LOWEST_IOU` or the lowest IoU of the rules.
        causes: what could be wrong with each building.
        tiles: pixels of each tile.
        blocks: the tiles as blocks of ground.
        place_p: (P,) block of each prediction.
        place_t: (T,) block of each true building.
    """

    scene: Scene
    rules: Rules
    seen: tuple[Inside, Inside]
    found: Overlaps
    pairing: Pairing
    causes: Blame
    tiles: list[TileCounts]
    blocks: Blocks
    place_p: Index
    place_t: Index

    @property
    def paired(self) -> Pairing:
        """The pairs at the first IoU of the rules."""
        return self.pairing.at(self.rules.ious[0])

    @property
    def areas(self) -> tuple[Floats, Floats]:
        """Area in m2 of predictions (P,) and of true buildings (T,), inside the area."""
        return shapely.area(self.seen[0].polygons), shapely.area(self.seen[1].polygons)

    @cached_property
    def edges(self) -> tuple[Edges, Edges]:
        """Of predictions and truth, uncut."""
        return edges_of(self.scene.predictions), edges_of(self.scene.truth)

    @property
    def tile_places(self) -> Index:
        """The block of each tile."""
        return self.blocks.of(np.array([tile.centre for tile in self.tiles]))


def compared(scene: Scene, rules: Rules, track: Track = silent) -> Comparison:
    """Find out who overlaps whom in a scene, and count its pixels.

    Args:
        scene: the layers.
        rules: how to compare them.
        track: progress over the tiles of pixels.
    """
    seen = inside(scene.predictions, scene.area), inside(scene.truth, scene.area)
    tiles = tiles_of(scene.area, scene.crs, rules.gsd, rules.tile)
    counts = tile_counts(seen, scene.area, tiles, rules.band, track)
    return matched(scene, rules, seen, counts)


def matched(
    scene: Scene, rules: Rules, seen: tuple[Inside, Inside], tiles: list[TileCounts]
) -> Comparison:
    """Find out who overlaps whom, where the pixels are counted.

    Args:
        scene: the layers.
        rules: how to compare them.
        seen: the layers as the area sees them.
        tiles: pixels of each tile.
    """
    found = overlaps(seen[0].polygons, seen[1].polygons)
    pairing = pair(*seen, min(LOWEST_IOU, *rules.ious), found)
    areas = shapely.area(seen[0].polygons), shapely.area(seen[1].polygons)
    places = _places(scene.predictions, seen[0]), _places(scene.truth, seen[1])
    blocks = Blocks.around(rules.gsd * rules.tile, np.array([tile.centre for tile in tiles]))
    return Comparison(
        scene=scene,
        rules=rules,
        seen=seen,
        found=found,
        pairing=pairing,
        causes=blame(found, areas),
        tiles=tiles,
        blocks=blocks,
        place_p=blocks.of(places[0]),
        place_t=blocks.of(places[1]),
    )


def _places(polygons: Polygons, seen: Inside) -> Floats:
    """Where each building (N, 2) is: the middle of what lies inside, else of the whole."""
    return centres(np.where(seen.share > 0, seen.polygons, polygons))


def evidence_of(comparison: Comparison) -> Evidence:
    """The sums over blocks that all figures are made of."""
    bands = band_evidence(comparison)
    sums = pixel_evidence(comparison) | building_evidence(comparison)
    sums |= pair_evidence(comparison, bands) | outline_evidence(comparison)
    sums |= tangent_evidence(comparison)
    ranked = ranked_evidence(comparison, bands)
    if comparison.rules.published:
        more, published_ranks = published_evidence(comparison)
        sums, ranked = sums | more, ranked | {"published": published_ranks}
    return Evidence(sums, ranked)


def band_evidence(c: Comparison) -> Floats:
    """Boundary IoU (K,) of the overlaps; 0 where IoU is too low for it to matter."""
    least = min(c.rules.ious[0], float(AP_IOUS[0]))
    return band_ious(c.seen[0].polygons, c.seen[1].polygons, c.found, c.rules.band, least)


def pixel_evidence(c: Comparison) -> Sums:
    """Pixels of the tiles, and vertices inside the area."""
    own, vertices = c.tile_places, []
    for polygons in (c.scene.predictions, c.scene.truth):
        points = within(edges_of(polygons).start, c.scene.area)
        vertices.append(c.blocks.total(c.blocks.of(points))[own])
    sums = pixel_sums(c.tiles, (vertices[0], vertices[1]))
    return {name: c.blocks.total(own, values) for name, values in sums.items()}


def building_evidence(c: Comparison) -> Sums:
    """Counts of buildings at each IoU, and what is wrong with the predictions alone."""
    total, sums = c.blocks.total, Sums()
    for iou in c.rules.ious:
        at = c.pairing.at(iou)
        sums[f"tp_{iou:g}"] = total(c.place_t[at.truths])
        sums[f"iou_{iou:g}"] = total(c.place_t[at.truths], at.ious)
        sums[f"fp_{iou:g}"] = total(c.place_p[at.false])
        sums[f"fn_{iou:g}"] = total(c.place_t[at.missed])
    own = own_overlaps(c.seen[0].polygons)
    sums["candidates"] = total(c.place_p[candidates(c)])
    sums["overlap"] = total(c.place_p[own.i], own.area)
    sums["invalid"] = total(c.blocks.of(within(c.scene.invalid, c.scene.area)))
    return sums


def candidates(c: Comparison) -> Index:
    """(C,) predictions that found nothing and hardly touch a label: buildings to map, or errors."""
    false = c.paired.false
    return false[c.causes.unlabelled[false]]


def pair_evidence(c: Comparison, bands: Floats) -> Sums:
    """Outlines, uncut, of pairs whose true building the area's edge leaves whole."""
    at = c.paired
    uncut = c.seen[1].whole[at.truths]
    i, j = at.predictions[uncut], at.truths[uncut]
    p, t = c.scene.predictions[i], c.scene.truth[j]
    iou, band_iou = at.ious[uncut].copy(), bands[_rows(c.found, i, j, len(c.scene.truth))]
    cut = ~c.seen[0].whole[i]
    whole = pair_overlaps(p[cut], t[cut])
    iou[cut], band_iou[cut] = whole.iou, band_ious(p[cut], t[cut], whole, c.rules.band)
    edges_p, edges_t = c.edges[0].take(i), c.edges[1].take(j)
    n_p, n_t = (edges.counts.astype(np.float64) for edges in (edges_p, edges_t))
    polis, hausdorff = outline_distances(edges_p, edges_t)
    offset = centroid_offsets(p, t)
    values = {
        "pairs": np.ones(len(i)),
        "polis": polis,
        "hausdorff": hausdorff,
        "c_iou": iou * (1 - np.abs(n_p - n_t) / (n_p + n_t)),
        "band_iou": band_iou,
        "pair_vertices_p": n_p,
        "pair_vertices_t": n_t,
        "vertex_ratios": n_p / n_t,
        "offset": np.hypot(*offset.T),
        "offset_east": offset[:, 0],
        "offset_north": offset[:, 1],
    }
    if c.rules.published:
        values["published_hausdorff"] = shapely.hausdorff_distance(p, t)
    return {name: c.blocks.total(c.place_t[j], v) for name, v in values.items()}


def _rows(found: Overlaps, i: Index, j: Index, truths: int) -> Index:
    """Where the pairs i, j stand among the overlaps, which are in order of i, then j."""
    return np.asarray(np.searchsorted(found.i * truths + found.j, i * truths + j))


def outline_evidence(c: Comparison) -> Sums:
    """Vertices and square edges of whole buildings, paired or not."""
    sums = Sums()
    for name, polygons, counts, seen, places in (
        ("p", c.scene.predictions, c.edges[0].counts, c.seen[0], c.place_p),
        ("t", c.scene.truth, c.edges[1].counts, c.seen[1], c.place_t),
    ):
        whole, place, edges = polygons[seen.whole], places[seen.whole], counts[seen.whole]
        square = np.nan_to_num(squareness(whole)) * edges
        sums[f"whole_{name}"] = c.blocks.total(place)
        sums[f"vertices_{name}"] = c.blocks.total(place, edges)
        sums[f"square_{name}"] = c.blocks.total(place, square)
    return sums


def tangent_evidence(c: Comparison) -> Sums:
    """Tangent angle errors of whole predictions more than half of which is on truth."""
    p = c.scene.predictions
    on_truth = np.bincount(c.found.i, c.found.area, minlength=len(p)) > 0.5 * shapely.area(p)
    chosen = np.flatnonzero(on_truth & c.seen[0].whole)
    mine = np.isin(c.found.i, chosen)
    edges = c.edges[1].take(c.found.j[mine])
    truth = edges.grouped(np.searchsorted(chosen, c.found.i[mine]), len(chosen))
    angles = max_tangent_angles(p[chosen], truth, c.rules.spacing)
    known = np.isfinite(angles)
    place = c.place_p[chosen][known]
    return {"angles": c.blocks.total(place, angles[known]), "angled": c.blocks.total(place)}


def ranked_evidence(c: Comparison, bands: Floats) -> dict[str, Detections]:
    """What average precision needs: of all buildings, by size, and with boundary IoU."""
    i, j, _, iou = c.found
    areas, scores = c.areas, c.scene.scores
    if scores is None:  # one rank for all; the better find goes first
        scores = c.causes.best_p
    field = Field(scores, areas[0], ~c.pairing.judged, areas[1], ~c.pairing.counted)
    pairs, bounded = Candidates(i, j, iou), Candidates(i, j, np.minimum(iou, bands))
    out = {"ap": _detections(c, field, pairs), "boundary_ap": _detections(c, field, bounded)}
    limits = (0.0, *c.rules.sizes, np.inf)
    for name, low, high in zip(SIZES, limits[:-1], limits[1:], strict=True):
        out[f"ap_{name}"] = _detections(c, field.of_size(low, high), pairs)
    return out


def _detections(c: Comparison, field: Field, pairs: Candidates) -> Detections:
    found, counted = found_at(field, pairs)
    used = counted.any(axis=0)
    return Detections(
        found=found[:, used],
        counted=counted[:, used],
        score=field.score[used],
        block=c.place_p[used],
        truths=c.blocks.total(c.place_t[~field.ignored]),
        ranked=c.scene.scores is not None,
    )


def published_evidence(c: Comparison) -> tuple[Sums, Detections]:
    """The figures that published code would give, each block of ground being an image."""
    scores = np.zeros(len(c.place_p)) if c.scene.scores is None else c.scene.scores
    found = published.pieces(c.seen[0].polygons, scores, c.blocks)
    real = published.pieces(c.seen[1].polygons, np.zeros(len(c.place_t)), c.blocks)
    ious = np.full(len(c.blocks), np.nan)
    ious[c.tile_places] = [tile.pixels.iou for tile in c.tiles]
    sums = published.published_sums(found, real, ious)
    ranked = c.scene.scores is not None
    return dict(sums), published.published_detections(found, real, len(c.blocks), ranked)
