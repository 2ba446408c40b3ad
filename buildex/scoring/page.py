"""A report to look at: one HTML file that holds all it needs.

No script, no font, no picture from elsewhere. It reads at the width of a phone and of a
desk, in the light and in the dark (`page.css`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

import buildex
from buildex.geo.blame import ALONE, MERGED, SHAPE, SPLIT
from buildex.geo.bootstrap import Interval
from buildex.geo.evidence import Evidence, together
from buildex.geo.figures import Figure
from buildex.geo.judging import LOWEST_IOU, Comparison
from buildex.geo.precision import AP_IOUS, RECALLS
from buildex.io.output import beside
from buildex.scoring.charts import Line, bar, legend, line_chart, whisker
from buildex.scoring.pictures import picture, worst_tiles
from buildex.scoring.report import ScoreReport
from buildex.scoring.wording import bracketed, headed, overview, sections, worded

Floats = NDArray[np.float64]
CARDS = ("f1_{0}", "precision_{0}", "recall_{0}", "pixel_iou", "ap", "boundary_iou", "polis_m",
         "hausdorff_m", "offset_m", "vertex_ratio")  # fmt: skip
SIZE_EDGES = (0.0, 10.0, 25.0, 50.0, 100.0, 200.0, 400.0, np.inf)  # m2
CURVE_IOUS = np.round(np.arange(LOWEST_IOU, 0.951, 0.05), 2)
CAUSES = {
    ALONE: ("nothing there", "no prediction over it, or no label under it"),
    SHAPE: ("badly drawn", "they overlap, but not enough"),
    MERGED: ("welded", "one prediction over several buildings"),
    SPLIT: ("in parts", "several predictions on one building"),
}


@dataclass(frozen=True)
class _Page:
    """What the page is made of."""

    report: ScoreReport
    comparisons: Sequence[Comparison]
    evidence: Evidence
    mosaics: Sequence[Path | None]
    credit: str

    @property
    def fair(self) -> bool:
        """Whether a prediction without a label is an error."""
        return not self.report.config.incomplete_truth


def write_page(
    path: Path,
    report: ScoreReport,
    comparisons: Sequence[Comparison],
    evidence: Sequence[Evidence],
    mosaics: Sequence[Path | None],
    credit: str = "",
) -> None:
    """Write the report as a page.

    Args:
        path: where to; an older file is replaced.
        report: the figures.
        comparisons: each scene, compared.
        evidence: of each scene.
        mosaics: imagery of each scene, where there is any.
        credit: whose imagery and labels they are.
    """
    page = _Page(report, comparisons, together(evidence), mosaics, credit)
    parts = (_head, _cards, _scenes, _curves, _sizes, _causes, _worst, _table, _foot)
    body = "\n".join(part(page) for part in parts)
    style = files("buildex.scoring").joinpath("page.css").read_text(encoding="utf-8")
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(_title(page))}</title>\n<style>\n{style}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )
    with beside(path) as place:
        place.write_text(text, encoding="utf-8")


def _title(page: _Page) -> str:
    scenes = page.report.scenes
    return scenes[0].name if len(scenes) == 1 else f"{len(scenes)} scenes"


def _head(page: _Page) -> str:
    pooled, config = page.report.pooled, page.report.config
    words = [
        f"<b>{pooled.predictions:,}</b> predicted and <b>{pooled.truth:,}</b> true buildings"
        f" in {pooled.area / 1e4:,.1f} ha.",
        f"Buildings pair one to one from an IoU of {config.iou[0]:g}.",
    ]
    if any(interval.known for interval in pooled.intervals.values()):
        words.append("Brackets and bars are 95 % intervals, from drawing blocks of ground anew.")
    if not page.fair:
        words.append("The truth has holes: a prediction without a label is no error here.")
    words += [escape(f"{line[:1].upper()}{line[1:]}.") for line in page.report.asides]
    title = f"<p>building score</p><h1>{escape(_title(page))}</h1>"
    return f"<header>{title}<p>{' '.join(words)}</p></header>"


def _cards(page: _Page) -> str:
    """The figures that matter most, each with its interval."""
    config = page.report.config
    names = [name.format(f"{config.iou[0] * 100:g}") for name in CARDS]
    known = {f.name: f for f in config.figures}
    cards = "".join(_card(page, known[name]) for name in names if name in known)
    return f'<section class="cards">{cards}</section>'


def _card(page: _Page, figure: Figure) -> str:
    value, interval = page.report.figures[figure.name], page.report.intervals[figure.name]
    share = not figure.unit and figure.better and 0 <= value <= 1
    label = figure.label if figure.section != "pixels" else f"pixel {figure.label}"
    return (
        f'<div class="card"><h3>{escape(label)}</h3><p class="value">{_value(value, figure)}</p>'
        f'<p class="interval">{_interval(interval, figure)}</p>'
        f"{whisker(value, interval) if share else ''}</div>"
    )


def _scenes(page: _Page) -> str:
    """Each scene in a line, where there are several."""
    report = page.report
    if len(report.scenes) < 2:
        return ""
    names = overview(report.config)
    labels = {f.name: f.label for f in report.config.figures}
    heads = "".join(f"<th>{escape(labels[name])}</th>" for name in names)
    rows = "".join(
        f"<tr><th>{escape(s.name)}</th><td>{s.truth:,}</td><td>{s.predictions:,}</td>"
        + "".join(f"<td>{worded(s.figures[name])}</td>" for name in names)
        + "</tr>"
        for s in (*report.scenes, report.pooled)
    )
    return (
        "<section><h2>Each scene</h2><div class='wide'><table><thead><tr><th></th><th>true</th>"
        f"<th>predicted</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _curves(page: _Page) -> str:
    """Precision over recall, and counts over the IoU that is asked for."""
    lines, charts = [], []
    detections = page.evidence.detections["ap"]
    if page.fair and detections.truths.sum() and detections.ranked:
        for iou, kind in ((0.5, "first"), (0.75, "second"), (0.9, "third")):
            level = int(np.argmin(np.abs(AP_IOUS - iou)))
            precision = detections.curve(level)
            reached = np.where(precision > 0, precision, np.nan)
            lines.append(Line(f"IoU {iou:g}", kind, RECALLS, reached))
        chart = line_chart("Precision over recall", lines, ("recall", "precision"))
        charts.append(f"<div><h3>Precision and recall, best score first</h3>{chart}</div>")
    counts = [_counts_at(page.comparisons, float(iou)) for iou in CURVE_IOUS]
    tp, fp, fn = np.array(counts, dtype=np.float64).T
    with np.errstate(invalid="ignore"):
        over = [Line("recall", "second", CURVE_IOUS, tp / (tp + fn))]
        if page.fair:
            over.insert(0, Line("F1", "first", CURVE_IOUS, 2 * tp / (2 * tp + fp + fn)))
            over.append(Line("precision", "third", CURVE_IOUS, tp / (tp + fp)))
    chart = line_chart("Figures over IoU", over, ("IoU from which buildings pair", ""))
    charts.append(f"<div><h3>How exact they are</h3>{chart}</div>")
    return f'<section><h2>Curves</h2><div class="charts">{"".join(charts)}</div></section>'


def _counts_at(comparisons: Sequence[Comparison], iou: float) -> tuple[int, int, int]:
    found = [c.pairing.at(iou).counts for c in comparisons]
    return sum(f.tp for f in found), sum(f.fp for f in found), sum(f.fn for f in found)


def _sizes(page: _Page) -> str:
    """What was found and missed of each size, and what was false."""
    truth, false = [], []
    for c in page.comparisons:
        at, areas = c.paired, (shapely.area(c.scene.predictions), shapely.area(c.scene.truth))
        truth += [
            (areas[1][at.truths], at.ious),
            (areas[1][at.missed], np.full(len(at.missed), np.nan)),
        ]
        false.append(areas[0][at.false])
    sizes, ious = (np.concatenate(v) for v in zip(*truth, strict=True))
    rows = [
        _size_row(low, high, ious[(sizes >= low) & (sizes < high)], np.concatenate(false))
        for low, high in itertools.pairwise(SIZE_EDGES)
    ]
    heads = "<tr><th>area</th><th>found / missed</th><th>recall</th><th>IoU of pairs</th>"
    wrong = "<th>false</th>" if page.fair else "<th>without a pair</th>"
    return (
        '<section><h2>Errors by size of building</h2><div class="wide"><table class="sizes">'
        f"<thead>{heads}{wrong}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        f"{legend([('found', 'found'), ('missed', 'missed')])}</section>"
    )


def _size_row(low: float, high: float, ious: Floats, false: Floats) -> str:
    wrong = int(((false >= low) & (false < high)).sum())
    if not len(ious) and not wrong:
        return ""
    found = int(np.isfinite(ious).sum())
    missed = len(ious) - found
    name = f"{low:g} to {high:g} m²" if np.isfinite(high) else f"over {low:g} m²"
    recall = f"{found / len(ious):.2f}" if len(ious) else "-"
    mean = f"{np.nanmean(ious):.2f}" if found else "-"
    shown = bar([(found, "found"), (missed, "missed")], len(ious))
    return (
        f'<tr><th>{name}</th><td class="long">{shown}<small>{found} / {missed}</small></td>'
        f"<td>{recall}</td><td>{mean}</td><td>{wrong}</td></tr>"
    )


def _causes(page: _Page) -> str:
    """Why buildings were missed and predictions false."""
    missed = np.concatenate([c.causes.cause_t[c.paired.missed] for c in page.comparisons])
    false = np.concatenate([c.causes.cause_p[c.paired.false] for c in page.comparisons])
    most = max([1, *(int((kind == cause).sum()) for kind in (missed, false) for cause in CAUSES)])
    rows = "".join(
        f"<tr><th>{head}<small>{about}</small></th>"
        + "".join(
            f'<td class="long">{bar([(n, kind)], most)}<small>{n}</small></td>'
            for n, kind in (
                (int((missed == cause).sum()), "missed"),
                (int((false == cause).sum()), "false"),
            )
        )
        + "</tr>"
        for cause, (head, about) in CAUSES.items()
    )
    wrong = "false predictions" if page.fair else "predictions without a pair"
    return (
        '<section><h2>Why</h2><div class="wide"><table class="causes"><thead><tr><th></th>'
        f"<th>missed buildings ({len(missed)})</th><th>{wrong} ({len(false)})</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _worst(page: _Page) -> str:
    """The tiles with most area wrong."""
    tiles = worst_tiles(page.comparisons, page.mosaics, page.fair)
    if not tiles:
        return "<section><h2>Worst tiles</h2><p>No tile has a wrong pixel.</p></section>"
    side = page.report.config.block
    shown = "".join(picture(tile, number) for number, tile in enumerate(tiles))
    names = {
        "found": "found", "false": "false", "missed": "missed", "truth of what was found": "thin",
        "truth": "truth", "prediction": "predicted",
    }  # fmt: skip
    return (
        f"<section><h2>Worst tiles</h2><p>The {side:g} m squares with most area wrong.</p>"
        f'{legend(list(names.items()))}<div class="tiles">{shown}</div></section>'
    )


def _table(page: _Page) -> str:
    """Every figure."""
    report = page.report
    out = []
    for head, section in sections(report.config.figures):
        rows = "".join(
            f"<tr><th>{escape(f.label)}<code>{f.name}</code></th>"
            f"<td>{_value(report.figures[f.name], f)}</td>"
            f"<td>{_interval(report.intervals[f.name], f)}</td></tr>"
            for f in section
        )
        name = escape(headed(head, report.config).replace("m2", "m²"))
        out.append(f"<div><h3>{name}</h3><table class='figures'>{rows}</table></div>")
    return f'<section><h2>Every figure</h2><div class="columns">{"".join(out)}</div></section>'


def _foot(page: _Page) -> str:
    c = page.report.config
    told = [page.credit] if page.credit else []
    told += [f"labels: {line}" for line in page.report.credits if line not in page.credit]
    credit = "".join(f"<p>{escape(line)}</p>" for line in told)
    return (
        f"<footer>{credit}<p>Measured in ground metres ({escape(page.report.pooled.crs)});"
        f" pixels of {c.gsd:g} m, tiles of {c.block:g} m. buildex {buildex.__version__};"
        " its docs/metrics.md defines every figure.</p></footer>"
    )


def _value(value: float, figure: Figure) -> str:
    return escape(worded(value, figure.unit).replace("m2", "m²").replace(" deg", "°"))


def _interval(interval: Interval, figure: Figure) -> str:
    return escape(bracketed(interval, figure.unit))
