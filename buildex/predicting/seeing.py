"""From tiles to what they saw: read ahead, segment, decode, in three threads at once.

One thread reads the next tiles, the caller's runs the network, a third decodes what came of
the last batches and hands on whole rows. Nothing forks, and no more than a few batches are
under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from buildex.config import Note, Track, silent
from buildex.geo.grouping import Grouping, polygons_of
from buildex.geo.instances import RoiMaps, Tile
from buildex.geo.sightings import Sighting, Sightings, sightings_of
from buildex.geo.tiles import TilePlace
from buildex.predicting.report import Times
from buildex.predicting.settings import Pixels, PredictConfig, Segmenter
from buildex.predicting.survey import Survey

BEHIND = 2  # batches that may wait to be decoded


class RowSeen(NamedTuple):
    """What a whole row of tiles saw.

    Attributes:
        number: which row.
        tiles: how many of its tiles had ground.
        seen: their sightings, tile by tile.
    """

    number: int
    tiles: int
    seen: Sightings


@dataclass
class Watch:
    """What is known of a run while it goes on.

    Attributes:
        track: shows progress over tiles.
        note: what to tell beside it.
        times: seconds by stage.
        km2: ground that the tiles passed so far own.
    """

    track: Track = silent
    note: Note | None = None
    times: Times = field(default_factory=Times)
    km2: float = 0.0


class _Batch(NamedTuple):
    """Tiles for one step of the network; every tile of a row before `upto` is in or was before."""

    tiles: list[tuple[TilePlace, Tile]]
    upto: int


class Eye:
    """A segmenter with all that is needed to make sightings of its answers."""

    def __init__(self, segmenter: Segmenter, survey: Survey, config: PredictConfig) -> None:
        self.segmenter, self.survey = segmenter, survey
        self.batch_size = config.batch_size
        self.threshold = segmenter.threshold if config.threshold is None else config.threshold
        self._grouping = Grouping(method=config.grouping)
        self._smallest = config.min_area / segmenter.gsd**2 / 4

    def answers(self, batch: list[tuple[TilePlace, Tile]]) -> list[RoiMaps]:
        """What the network says of tiles."""
        return self.segmenter([tile for _, tile in batch], self.threshold) if batch else []

    def sightings(self, place: TilePlace, tile: Tile, maps: RoiMaps) -> Iterator[Sighting]:
        """The polygons of one tile."""
        found = polygons_of(
            maps, self.segmenter.codec, score=self.threshold, grouping=self._grouping
        )
        return sightings_of(found, tile.valid, place, self.survey.cover, self._smallest)


def see(
    pixels: Pixels, eye: Eye, watch: Watch, take: Callable[[RowSeen], None], first: int = 0
) -> None:
    """Look at all tiles from row `first` on.

    Args:
        pixels: where tiles come from.
        eye: who looks.
        watch: is told how it goes.
        take: gets each row that has tiles, from north to south, in a thread of its own.
        first: the row to begin with.
    """
    rows = _Rows(eye, watch, take, first)
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(max_workers=1) as decoder:
        try:
            for batch in _batches(pixels, eye, watch, first):
                with watch.times.spent("network"):
                    answers = eye.answers(batch.tiles)
                waiting.append(decoder.submit(rows.add, batch, answers))
                while len(waiting) > BEHIND:
                    waiting.popleft().result()
        finally:
            for job in waiting:
                job.result()


class _Rows:
    """Gathers the sightings of tiles into rows."""

    def __init__(self, eye: Eye, watch: Watch, take: Callable[[RowSeen], None], first: int) -> None:
        self._eye, self._watch, self._take = eye, watch, take
        self._numbers = deque(places[0].row for places in eye.survey.rows(first))
        self._seen: dict[int, list[Sighting]] = {}
        self._tiles: dict[int, int] = {}

    def add(self, batch: _Batch, answers: list[RoiMaps]) -> None:
        """Decode a batch; hand on the rows that are whole with it."""
        with self._watch.times.spent("geometry"):
            for (place, tile), maps in zip(batch.tiles, answers, strict=True):
                self._seen.setdefault(place.row, []).extend(self._eye.sightings(place, tile, maps))
                self._tiles[place.row] = self._tiles.get(place.row, 0) + 1
        while self._numbers and self._numbers[0] < batch.upto:
            number = self._numbers.popleft()
            seen = Sightings.collect(self._seen.pop(number, []))
            self._take(RowSeen(number, self._tiles.pop(number, 0), seen))


def _batches(pixels: Pixels, eye: Eye, watch: Watch, first: int) -> Iterator[_Batch]:
    """Tiles with ground in them, in batches; the next ones are read while one is in use.

    A batch may be empty where rows without ground end.
    """
    survey, size = eye.survey, eye.batch_size
    batch: list[tuple[TilePlace, Tile]] = []
    row = first
    tiles = _read_ahead(pixels, survey, watch.times, 2 * size, first)
    for place, tile in watch.track(
        tiles, total=survey.count(first), label="tiles", note=watch.note
    ):
        if place.row > row and not batch:
            yield _Batch([], place.row)
        row = place.row
        watch.km2 += survey.owned_km2(place)
        if tile is not None:
            batch.append((place, tile))
        if len(batch) == size:
            yield _Batch(batch, row)
            batch = []
    yield _Batch(batch, survey.cover.rows)


def _read_ahead(
    pixels: Pixels, survey: Survey, times: Times, ahead: int, first: int
) -> Iterator[tuple[TilePlace, Tile | None]]:
    """Every tile, None for one without ground; `ahead` of them are being read in a thread."""

    def read(place: TilePlace) -> Tile | None:
        if not survey.ground(place.box):
            return None
        with times.spent("reading"):
            image, valid = pixels.read(place.box)
        return Tile(image, valid, place.box) if valid.any() else None

    coming: deque[tuple[TilePlace, Future[Tile | None]]] = deque()
    with ThreadPoolExecutor(max_workers=1) as reader:
        try:
            for places in survey.rows(first):
                for place in places:
                    coming.append((place, reader.submit(read, place)))
                    if len(coming) > ahead:
                        done, tile = coming.popleft()
                        yield done, tile.result()
            while coming:
                done, tile = coming.popleft()
                yield done, tile.result()
        finally:
            for _, job in coming:
                job.cancel()
