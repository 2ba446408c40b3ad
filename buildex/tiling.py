"""Cut mosaics and their labels into a dataset: `buildex tile`.

Plan, cut, write. The plan reads the labels and lays tiles over a grid that is snapped to
the CRS; each tile is cut by itself, in as many processes as wanted; what is written
depends on the inputs and the options alone.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from buildex.config import Track, silent
from buildex.errors import ConfigError, OutputError, RasterError
from buildex.geo.splits import GroundTile, assign, parse_split
from buildex.io.crs import WGS84, reprojected
from buildex.io.cutter import CutRules, Cutter, Job, cut_all
from buildex.io.dataset import INDEX
from buildex.io.edition import edition
from buildex.io.output import check_output
from buildex.io.partial import Partial
from buildex.io.scenes import (
    LabelledScene,
    SceneFiles,
    TilingGrid,
    is_name,
    named,
    paired,
    read_scenes,
)
from buildex.io.stac import read_catalog
from buildex.io.vector import RepairCounts
from buildex.io.warp import border
from buildex.io.writer import CutTile, write_dataset

Labels = str | Path | Sequence[str | Path] | None


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(frozen=True, kw_only=True)
class TileConfig:
    """How to cut mosaics into a dataset."""

    size: int = field(default=512, metadata=_help("Tile side in pixels."))
    gsd: float = field(default=0.10, metadata=_help("Ground sample distance in metres."))
    overlap: int = field(default=64, metadata=_help("Pixels that neighbouring tiles share."))
    split: str = field(
        default="train",
        metadata=_help(
            "`train`, `val` or `test` for all tiles; `block:0.2` for that share of ground "
            "blocks to `val`; `scene:NAME,NAME` for those scenes to `val`."
        ),
    )
    block: float = field(
        default=100.0, metadata=_help("Side of a ground block in metres, for `--split block`.")
    )
    guard: float = field(
        default=20.0,
        metadata=_help("Least distance in metres between tiles of different splits."),
    )
    negatives: float = field(
        default=0.2,
        metadata=_help("Largest share of kept tiles that show no building; 1 keeps all."),
    )
    min_kept: float = field(
        default=0.2,
        metadata=_help(
            "Smallest share of a building inside a tile that is annotated; parts larger "
            "than 1/64 of the tile always are."
        ),
    )
    min_valid: float = field(
        default=0.02, metadata=_help("Smallest share of valid pixels of a tile.")
    )
    aoi: tuple[Path, ...] = field(
        default=(),
        metadata=_help("Area in which every building is drawn: one file, or one per mosaic."),
    )
    name: tuple[str, ...] = field(
        default=(), metadata=_help("Scene name, one per mosaic; else from the file's name.")
    )
    sure: float | None = field(
        default=None,
        metadata=_help(
            "Labels are what a model drew: those with this much in their column `score`, or with"
            " nothing there, are learnt; the others neither as buildings nor as ground."
        ),
    )
    crs: str | None = field(
        default=None, metadata=_help("CRS of mosaics and labels that name none.")
    )
    stac: Path | None = field(
        default=None, metadata=_help("STAC catalogue with mosaics and their labels.")
    )
    format: Literal["png", "jpg", "tif"] = field(
        default="png", metadata=_help("File format of the images.")
    )
    quality: int = field(
        default=95, metadata=_help("Of JPEG images: 85 makes half the bytes of 95.")
    )
    workers: int | None = field(
        default=None, metadata=_help("Processes; else one per processor core.")
    )
    overwrite: bool = field(default=False, metadata=_help("Replace an older dataset."))

    def __post_init__(self) -> None:
        parse_split(self.split)
        checks = {
            "size": 32 <= self.size <= 8192,
            "gsd": 0 < self.gsd < math.inf,
            "overlap": 0 <= self.overlap < self.size,
            "block": 0 < self.block < math.inf,
            "guard": 0 <= self.guard < math.inf,
            "name": all(is_name(name) for name in self.name),
            "negatives": 0 <= self.negatives <= 1,
            "sure": self.sure is None or 0 < self.sure <= 1,
            "min-kept": 0 <= self.min_kept <= 1,
            "min-valid": 0 <= self.min_valid <= 1,
            "quality": 1 <= self.quality <= 100,
            "workers": self.workers is None or self.workers >= 1,
        }
        for name, good in checks.items():
            if not good:
                value = getattr(self, name.replace("-", "_"))
                raise ConfigError(f"`--{name}` is {value}", hint="see `buildex tile --help`")


@dataclass(frozen=True)
class TileReport:
    """What became of the mosaics.

    Attributes:
        path: the dataset.
        scenes: number of scenes.
        tiles: split to number of tiles.
        background: split to number of tiles among them that show no building.
        skipped: reason to number of tiles: `nodata`, `guard`, `surplus_background`.
        buildings: buildings that touch a tile.
        annotations: parts of buildings that are annotated in a tile.
        labels: what became of the features of the labels: the fields of
            `io.vector.RepairCounts`.
        unlabelled: names of scenes on which no label lies, nor anything doubtful.
        doubtful: buildings of a model's drawing that nobody learns, see `TileConfig.sure`.
    """

    path: str
    scenes: int
    tiles: dict[str, int]
    background: dict[str, int]
    skipped: dict[str, int]
    buildings: int
    annotations: int
    labels: dict[str, int]
    unlabelled: tuple[str, ...]
    doubtful: int

    def as_dict(self) -> dict[str, Any]:
        """The report as a table."""
        return asdict(self)

    def text(self) -> str:
        """The report in words."""
        kept = ", ".join(
            f"{count} tiles in `{split}` ({self.background[split]} background)"
            for split, count in self.tiles.items()
        )
        left = ", ".join(f"{n} {why.replace('_', ' ')}" for why, n in self.skipped.items() if n)
        labels = RepairCounts(**self.labels)
        lines = [
            f"{self.path}: {kept}",
            f"{self.buildings} buildings in {self.annotations} parts, {self.scenes} scenes",
            f"labels: {labels.text() or f'{labels.read} features'}",
        ]
        if self.doubtful:
            lines.append(f"doubtful buildings that nobody learns: {self.doubtful}")
        if left:
            lines.append(f"tiles left out: {left}")
        if self.unlabelled:
            lines.append(
                f"no label lies on {', '.join(self.unlabelled)}: all there is taken as ground"
                " without buildings; leave out what nobody has drawn"
            )
        return "\n".join(lines)


def tile(
    mosaics: Sequence[str | Path],
    labels: Labels,
    out: str | Path,
    config: TileConfig,
    track: Track = silent,
) -> TileReport:
    """Cut mosaics and their labels into a dataset folder.

    A run that was interrupted is taken up again if inputs, options and buildex are the
    same; else what it left goes.

    Args:
        mosaics: files or URLs.
        labels: one vector file for all mosaics, or one for each.
        out: the dataset folder to write.
        config: how to cut.
        track: shows progress.

    Raises:
        BuildexError: of the kind that says what is wrong; what is done so far waits in
            `NAME.partial` for the same command, and where that is nothing, nothing is left.
    """
    _check_output(Path(out), config.overwrite)
    partial = Partial(Path(out))
    with partial.held():
        files = _files(mosaics, labels, config)
        return _report(str(out), *_made(files, partial, config, track))


def _made(
    files: Sequence[SceneFiles], partial: Partial, config: TileConfig, track: Track
) -> tuple[list[LabelledScene], list[CutTile], dict[str, int]]:
    """Make the dataset: its scenes, its tiles, and how many were left out and why."""
    tiling = TilingGrid(config.gsd, config.size, config.overlap, config.crs)
    scenes = read_scenes(files, tiling, config.sure)
    places = _placed(scenes, config)
    infos = [scene.info for scene in scenes]
    partial.start({"buildex": edition(), "options": _options(config), "scenes": infos})
    rules = CutRules(config.min_kept, config.min_valid, config.format, config.quality)
    cutter = Cutter([scene.scene for scene in scenes], partial, rules)
    tiles, skipped = _cut(cutter, places, config, track)
    if not tiles:
        partial.discard()
        raise RasterError(
            "no tile has a building and enough valid pixels",
            hint="check labels and area, or lower `--min-valid`",
        )
    partial.finish(write_dataset(partial, scenes, tiles, _options(config)))
    return scenes, tiles, skipped


class _Place(NamedTuple):
    """A tile that could be cut; `split` is None where the guard forbids it."""

    job: Job
    split: str | None
    touching: tuple[int, ...]


def _check_output(out: Path, overwrite: bool) -> None:
    """Only a dataset is ever replaced by one."""
    check_output(out, overwrite)
    if out.exists() and not (out / INDEX).is_file():
        raise OutputError(f"`{out}` exists and is no dataset", hint="write elsewhere")


def _files(mosaics: Sequence[str | Path], labels: Labels, config: TileConfig) -> list[SceneFiles]:
    catalog = [] if config.stac is None else read_catalog(config.stac)
    if labels is None:
        labels = ()
    elif isinstance(labels, str | Path):
        labels = (labels,)
    if catalog and (mosaics or labels or config.name):
        raise ConfigError(
            "`--stac` brings its own mosaics, labels and names", hint="give one or the other"
        )
    return paired(
        [scene.mosaic for scene in catalog] or [str(path) for path in mosaics],
        [scene.labels for scene in catalog] or [str(path) for path in labels],
        [str(path) for path in config.aoi],
        [named(scene.name) for scene in catalog] or config.name,
    )


def _options(config: TileConfig) -> dict[str, Any]:
    """The options that the dataset depends on; files are told by their names and hashes."""
    table = asdict(config)
    for name in ("workers", "overwrite", "aoi", "name", "stac"):
        del table[name]
    if config.sure is None:  # datasets of before it was there are what they were
        del table["sure"]
    return table


def _placed(scenes: Sequence[LabelledScene], config: TileConfig) -> list[_Place]:
    """All tiles of all scenes with their splits."""
    jobs, touching, ground = [], [], []
    for index, scene in enumerate(scenes):
        grid = scene.scene.mosaic.grid
        for place, indices in zip(scene.places, scene.touching, strict=True):
            jobs.append(Job(index, place.row, place.col))
            touching.append(indices)
            keys = frozenset(scene.keys[i] for i in indices)
            own = grid.crop(place.box)
            corners = reprojected(own.to_ground(border(own.box, 1)), grid.crs, WGS84)
            around = tuple((lon, lat) for lon, lat in corners.tolist())
            ground.append(GroundTile(scene.scene.name, own.bounds, around, keys))
    splits = assign(parse_split(config.split), ground, config.block, config.guard)
    return [_Place(*row) for row in zip(jobs, splits, touching, strict=True)]


def _cut(
    cutter: Cutter, places: Sequence[_Place], config: TileConfig, track: Track
) -> tuple[list[CutTile], dict[str, int]]:
    """The tiles to keep, in the order of their places, and how many were left out and why."""
    allowed = [place for place in places if place.split is not None]
    workers = config.workers or os.cpu_count() or 1
    touched = [place for place in allowed if place.touching]
    kept, nodata = _cut_some(cutter, touched, workers, track)
    surplus = 0
    for split in sorted({str(place.split) for place in allowed}):
        empty = [place for place in allowed if place.split == split and not place.touching]
        empty.sort(key=lambda place: _draw(cutter, place.job))
        wanted = _quota(sum(tile.split == split for tile in kept), config.negatives, len(empty))
        while wanted and empty:
            batch, empty = empty[:wanted], empty[wanted:]
            found, blank = _cut_some(cutter, sorted(batch), workers, track)
            kept += found
            nodata += blank
            wanted -= len(found)
        surplus += len(empty)
    skipped = {"nodata": nodata, "guard": len(places) - len(allowed), "surplus_background": surplus}
    return sorted(kept, key=lambda tile: tile.job), skipped


def _cut_some(
    cutter: Cutter, places: Sequence[_Place], workers: int, track: Track
) -> tuple[list[CutTile], int]:
    """The tiles that show ground, and the number of those that do not."""
    records = cut_all(cutter, [place.job for place in places], workers)
    label = "tiles" if places and places[0].touching else "background"
    kept = [
        CutTile(place.job, str(place.split), place.touching, record)
        for place, record in zip(
            places, track(records, total=len(places), label=label), strict=True
        )
        if record["image"] is not None
    ]
    return kept, len(places) - len(kept)


def _quota(others: int, share: float, available: int) -> int:
    """How many background tiles make up a share of all, beside so many others."""
    if share >= 1:
        return available
    return min(available, math.floor(others * share / (1 - share) + 1e-9))


def _draw(cutter: Cutter, job: Job) -> bytes:
    """A place in a lottery that depends on the tile's name alone."""
    name = f"{cutter.scenes[job.scene].name} {job.row} {job.col}"
    return hashlib.sha256(name.encode()).digest()


def _report(
    out: str, scenes: Sequence[LabelledScene], tiles: Sequence[CutTile], skipped: dict[str, int]
) -> TileReport:
    splits = sorted({tile.split for tile in tiles})
    counts = [asdict(scene.counts) for scene in scenes]
    return TileReport(
        path=out,
        scenes=len(scenes),
        tiles={split: sum(tile.split == split for tile in tiles) for split in splits},
        background={
            split: sum(tile.split == split and not tile.touching for tile in tiles)
            for split in splits
        },
        skipped=skipped,
        buildings=len({(tile.job.scene, index) for tile in tiles for index in tile.touching}),
        annotations=sum(len(tile.record["annotations"]) for tile in tiles),
        labels={name: sum(count[name] for count in counts) for name in counts[0]},
        unlabelled=tuple(s.scene.name for s in scenes if not s.keys and not s.doubtful),
        doubtful=sum(scene.doubtful for scene in scenes),
    )
