"""Compare predicted buildings with true ones: pixels, instances and shapes.

Everything is measured in ground metres, in the UTM zone of each scene's centre, whatever
the files' own coordinate systems are: web-mercator metres are too long away from the
equator. Pixels are drawn tile by tile, so memory does not depend on the area.
`docs/metrics.md` states every definition; `geo.matching` says which buildings count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from buildex.config import Track, silent
from buildex.errors import ConfigError
from buildex.geo.bootstrap import differences, intervals
from buildex.geo.evidence import Evidence, Scene, together
from buildex.geo.figures import values_of
from buildex.geo.judging import Comparison, candidates, compared, evidence_of
from buildex.geo.matching import Inside
from buildex.io.crs import WGS84, reprojected
from buildex.io.scene_list import SceneFiles, read_scenes
from buildex.io.snapshots import check_mosaics
from buildex.scoring.layers import write_layers
from buildex.scoring.page import write_page
from buildex.scoring.reading import Onto, ReadScene, read_scene
from buildex.scoring.report import (
    POOLED,
    Candidate,
    CompareReport,
    SceneScore,
    ScoreReport,
)
from buildex.scoring.settings import ScoreConfig
from buildex.scoring.wording import Features, doubts_of, told

__all__ = [
    "CompareReport", "Scene", "SceneFiles", "ScoreConfig", "ScoreReport", "compare",
    "compare_scenes", "read_scenes", "score", "score_scenes",
]  # fmt: skip

Sides = tuple[Scene, ...]  # the first and the second predictions of a scene


def score(
    predictions: Path,
    truth: Path,
    config: ScoreConfig,
    aoi: Path | None = None,
    track: Track = silent,
    onto: Onto | None = None,
) -> ScoreReport:
    """Compare a file of predicted buildings with a file of true ones.

    Args:
        predictions: vector file in any CRS.
        truth: vector file in any CRS.
        config: resolution and thresholds.
        aoi: file with the area in which every true building is drawn; without it the area
            is the box around all layers, in which false positives far from truth count.
        track: progress over the blocks of pixels.
        onto: moves the true buildings onto the imagery, where they lie off it.

    Raises:
        VectorError: if a file cannot be used, or no building lies in the area.
    """
    files = SceneFiles(predictions=predictions, truth=truth, aoi=aoi, name=predictions.stem)
    return score_scenes([files], config, track=track, onto=onto)


def score_scenes(
    scenes: Sequence[SceneFiles],
    config: ScoreConfig,
    *,
    page: Path | None = None,
    layers: Path | None = None,
    credit: str = "",
    shift: str = "",
    track: Track = silent,
    onto: Onto | None = None,
    show: Callable[[ScoreReport], None] | None = None,
) -> ScoreReport:
    """Score several scenes, each and together.

    Args:
        scenes: their files.
        config: resolution and thresholds.
        page: where to write an HTML page to look at.
        layers: where to write a GeoPackage of what was found, missed and wrong.
        credit: whose imagery and labels they are, for the page.
        shift: how far the labels lie off the imagery, in words, where that was asked.
        track: progress over the blocks of pixels.
        onto: moves true buildings onto the imagery, where they lie off it.
        show: gets the report before page and layers are written, for which the disk may be full.

    Raises:
        VectorError: if a file cannot be used, or no building lies in an area.
        RasterError: if the page is to show a mosaic that cannot be used.
        OutputError: if the page or the layers cannot be written.
    """
    if page is not None:
        check_mosaics(files.mosaic for files in scenes)
    read = [read_scene(files, config, onto) for files in scenes]
    comparisons = [compared(scene.sides[0], config.rules, track) for scene in read]
    evidence = [evidence_of(comparison) for comparison in comparisons]
    features = [scene.features("labels", "predictions") for scene in read]
    report = _report(comparisons, evidence, config, features)
    report = replace(report, credits=_credits(read), shift=shift)
    if show is not None:
        show(report)
    if layers is not None:
        write_layers(layers, comparisons)
    if page is not None:
        mosaics = [files.mosaic for files in scenes]
        write_page(page, report, comparisons, evidence, mosaics, credit)
    return report


def compare(scene: Scene, config: ScoreConfig, track: Track = silent) -> ScoreReport:
    """Compare two layers in memory.

    Args:
        scene: valid polygons in metres.
        config: resolution and thresholds.
        track: progress over the blocks of pixels.
    """
    comparison = compared(scene, config.rules, track)
    return _report([comparison], [evidence_of(comparison)], config, [{}])


def compare_scenes(
    scenes: Sequence[SceneFiles],
    config: ScoreConfig,
    *,
    shift: str = "",
    track: Track = silent,
    onto: Onto | None = None,
) -> CompareReport:
    """Say which differences of two predictions of the same scenes are larger than chance.

    Args:
        scenes: their files; each has `compare`, the second predictions.
        config: resolution, thresholds and draws.
        shift: how far the labels lie off the imagery, in words, where that was asked.
        track: progress over the blocks of pixels.
        onto: moves true buildings onto the imagery, where they lie off it.

    Raises:
        ConfigError: if a scene has no second predictions; nothing is read then.
        VectorError: if a file cannot be used, or no building lies in an area.
    """
    _check_paired(scenes)
    read = [read_scene(files, config, onto) for files in scenes]
    pairs, unranked = _ranked_alike([scene.sides for scene in read])
    sides: tuple[list[Evidence], list[Evidence]] = ([], [])
    doubts: list[str] = []
    for pair in pairs:
        both = [compared(scene, config.rules, track) for scene in pair]
        doubts += _doubts(both)
        for side, comparison in zip(sides, both, strict=True):
            side.append(evidence_of(comparison))
    sizes = [len(part) for part in sides[0]]
    all_of = together(sides[0]), together(sides[1])
    found = differences(config.figures, all_of, sizes, config.bootstrap, _rng(config))
    names = _called(scenes, "predictions"), _called(scenes, "compare")
    features = [(scene.name, scene.features("labels", "A", "B")) for scene in read]
    notes = (*doubts, *told(features), *unranked)
    thanks = _credits(read)
    return CompareReport(config, names, len(scenes), sum(sizes), found, thanks, notes, shift)


def _check_paired(scenes: Sequence[SceneFiles]) -> None:
    """Make sure that every scene has second predictions."""
    for files in scenes:
        if files.compare is None:
            raise ConfigError(
                f"scene `{files.name or files.predictions.stem}` has no second predictions",
                hint="name them under `compare` for every scene",
            )


def _called(scenes: Sequence[SceneFiles], column: str) -> str:
    """What a side is called: its file where that is every scene's, else its column in a list."""
    paths = {str(getattr(files, column)) for files in scenes}
    return paths.pop() if len(paths) == 1 else column


def _ranked_alike(pairs: Sequence[Sides]) -> tuple[list[Sides], list[str]]:
    """The pairs with scores on both sides or on none, and a line where some were left out.

    Average precision of a ranking and of a single point do not compare.
    """
    lacking = [
        side
        for side, layers in zip("AB", zip(*pairs, strict=True), strict=True)
        if any(len(scene.predictions) and scene.scores is None for scene in layers)
    ]
    if len(lacking) != 1:
        return list(pairs), []
    bare = [tuple(scene._replace(scores=None) for scene in pair) for pair in pairs]
    return bare, [f"{lacking[0]} lacks scores: for AP, all predictions of A and of B have one rank"]


def _doubts(sides: Sequence[Comparison]) -> list[str]:
    """What makes the figures of a scene look wrong, whichever side was predicted there."""
    predictions = sum(_touching(c.seen[0]) for c in sides)
    _, truth = sides[0].seen
    touching = _touching(truth)
    return doubts_of(sides[0].scene.name, predictions, touching, len(truth.share) - touching)


def _touching(layer: Inside) -> int:
    """How many buildings of a layer touch the area."""
    return int(np.count_nonzero(layer.share))


def _credits(scenes: Sequence[ReadScene]) -> tuple[str, ...]:
    """Whom to thank for the labels of all scenes, each once."""
    return tuple(dict.fromkeys(line for scene in scenes for line in scene.credit))


def _report(
    comparisons: Sequence[Comparison],
    evidence: Sequence[Evidence],
    config: ScoreConfig,
    features: Sequence[Features],
) -> ScoreReport:
    scenes = tuple(
        replace(_scene_score(c.scene.name, [c], [e], config), features=f)
        for c, e, f in zip(comparisons, evidence, features, strict=True)
    )
    pooled = scenes[0]
    if len(scenes) > 1:
        pooled = _scene_score(POOLED, comparisons, evidence, config)
    listed = [c for comparison in comparisons for c in _candidates(comparison)]
    listed.sort(key=lambda c: -(c.score or 0.0))
    return ScoreReport(config, scenes, pooled, tuple(listed))


def _scene_score(
    name: str, comparisons: Sequence[Comparison], evidence: Sequence[Evidence], config: ScoreConfig
) -> SceneScore:
    joined = together(evidence)
    figures = {k: float(v[0]) for k, v in values_of(config.figures, joined).items()}
    sizes = [len(part) for part in evidence]
    seen = [c.seen for c in comparisons]
    return SceneScore(
        name=name,
        predictions=sum(_touching(p) for p, _ in seen),
        truth=sum(_touching(t) for _, t in seen),
        outside=sum(len(t.share) - _touching(t) for _, t in seen),
        area=sum(float(c.scene.area.area) for c in comparisons),
        crs=", ".join(dict.fromkeys(c.scene.crs for c in comparisons)),
        figures=figures,
        intervals=intervals(config.figures, joined, sizes, config.bootstrap, _rng(config)),
    )


def _candidates(comparison: Comparison) -> list[Candidate]:
    """Predictions of a scene that no label touches."""
    index = candidates(comparison)
    scene = comparison.scene
    polygons = scene.predictions[index]
    middles = np.array([[p.x, p.y] for p in (q.representative_point() for q in polygons)])
    places = reprojected(middles.reshape(-1, 2), scene.crs, WGS84)
    scores = [None if np.isnan(one) else float(one) for one in scene.scores_of(index)]
    return [
        Candidate(scene.name, round(float(x), 7), round(float(y), 7), float(polygon.area), value)
        for (x, y), polygon, value in zip(places, polygons, scores, strict=True)
    ]


def _rng(config: ScoreConfig) -> np.random.Generator:
    return np.random.default_rng(config.seed)
