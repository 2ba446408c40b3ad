"""From tiles to what they saw: read ahead, segment, decode, in three threads at once.

One thread reads the next tiles, the caller's runs the network, a third decodes what came of
the last batches and hands on whole blocks. Nothing forks, and no more than a few batches are
under way. A batch holds tiles of one block only: what the network says of a tile, to the
last digit, does not depend on where a run began or on who looks at the other blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from buildex.config import Note, Track, silent
from buildex.geo.finishing import Finishing
from buildex.geo.grouping import Grouping, polygons_of
from buildex.geo.instances import RoiMaps, Tile
from buildex.geo.sightings import Sighting, Sightings, sightings_of
from buildex.geo.tiles import Cover, TilePlace
from buildex.predicting.report import Times
from buildex.predicting.settings import Pixels, PredictConfig, Segmenter
from buildex.predicting.survey import Block, Survey

BEHIND = 2  # batches that may wait to be decoded
AHEAD = 2  # batches that are read before they are needed


class BlockSeen(NamedTuple):
    """What the tiles of a block saw.

    Attributes:
        tiles: how many of them had ground.
        seen: their sightings, tile by tile.
    """

    tiles: int
    seen: Sightings


Take = Callable[[Block, BlockSeen], None]


class Watch:
    """What is known of a run while it goes on.

    Attributes:
        times: seconds by stage.
        km2: ground that the tiles passed so far own.
    """

    def __init__(
        self,
        survey: Survey | None = None,
        track: Track = silent,
        note: Note | None = None,
        first: int = 0,
    ) -> None:
        """Watch the tiles of a survey from row `first` on; without one, only the time."""
        self.times = Times()
        self.km2 = 0.0
        self._survey = survey
        total = survey.count(first) if survey is not None else 0
        self._bar = iter(track(range(total), total=total, label="tiles", note=note))

    def passed(self, places: Iterable[TilePlace]) -> None:
        """Some tiles are done."""
        if self._survey is None:
            return
        for place in places:
            self.km2 += self._survey.owned_km2(place)
            next(self._bar, None)

    def end(self) -> None:
        """All tiles are done."""
        next(self._bar, None)


class Eye:
    """A segmenter with all that is needed to make sightings of its answers; `gsd` is the grid's."""

    def __init__(
        self, segmenter: Segmenter, cover: Cover, config: PredictConfig, gsd: float
    ) -> None:
        self.segmenter, self.cover = segmenter, cover
        self.batch_size = config.batch(segmenter.size)
        self.threshold = segmenter.threshold if config.threshold is None else config.threshold
        self._grouping = Grouping(method=config.grouping)
        self._smallest = config.min_area / gsd**2 / 4
        self._smallest_part = Finishing.smallest_part / gsd**2

    def answers(self, batch: list[tuple[TilePlace, Tile]]) -> list[RoiMaps]:
        """What the network says of tiles."""
        return self.segmenter([tile for _, tile in batch], self.threshold) if batch else []

    def sightings(self, place: TilePlace, tile: Tile, maps: RoiMaps) -> Iterator[Sighting]:
        """The polygons of one tile."""
        found = polygons_of(
            maps, self.segmenter.codec, score=self.threshold, grouping=self._grouping
        )
        least = self._smallest, self._smallest_part
        return sightings_of(found, tile.valid, place, self.cover, *least)


def see(pixels: Pixels, eye: Eye, blocks: Iterable[Block], take: Take, watch: Watch) -> None:
    """Look at all tiles of some blocks.

    Args:
        pixels: where tiles come from.
        eye: who looks.
        blocks: where to look.
        take: gets each block with what it saw, in their order, in a thread of its own.
        watch: is told how it goes.
    """
    gathered = _Decoder(eye, take, watch.times)
    with InTurn(BEHIND) as decoder:
        for batch in _batches(pixels, eye.batch_size, blocks, watch):
            with watch.times.spent("network"):
                answers = eye.answers(batch.tiles)
            decoder.do(partial(gathered.add, batch, answers))


class InTurn:
    """A thread that does one thing after the other; after one that failed it does none.

    So no row is kept when one before it could not be.
    """

    def __init__(self, behind: int) -> None:
        """No more than `behind` things wait to be done."""
        self._behind = behind
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._waiting: deque[Future[None]] = deque()
        self._failed = False

    def __enter__(self) -> InTurn:
        return self

    def __exit__(self, *error: object) -> None:
        with self._pool:
            while self._waiting:
                self._waiting.popleft().result()

    def do(self, work: Callable[[], None]) -> None:
        """Hand over some work; the error of what was handed over before is raised here."""
        self._waiting.append(self._pool.submit(self._do, work))
        while len(self._waiting) > self._behind or self._waiting[0].done():
            self._waiting.popleft().result()
            if not self._waiting:
                return

    def _do(self, work: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            work()
        except BaseException:
            self._failed = True
            raise


class _Batch(NamedTuple):
    """Tiles of a block for one step of the network, and whether they are its last ones."""

    block: Block
    tiles: list[tuple[TilePlace, Tile]]
    last: bool


class _Decoder:
    """Gathers the sightings of tiles into blocks."""

    def __init__(self, eye: Eye, take: Take, times: Times) -> None:
        self._eye, self._take, self._times = eye, take, times
        self._seen: list[Sighting] = []
        self._tiles = 0

    def add(self, batch: _Batch, answers: list[RoiMaps]) -> None:
        """Decode a batch; hand on its block if it is whole with it."""
        with self._times.spent("geometry"):
            for (place, tile), maps in zip(batch.tiles, answers, strict=True):
                self._seen.extend(self._eye.sightings(place, tile, maps))
        self._tiles += len(batch.tiles)
        if batch.last:
            done = BlockSeen(self._tiles, Sightings.collect(self._seen))
            self._seen, self._tiles = [], 0
            self._take(batch.block, done)


def _batches(pixels: Pixels, size: int, blocks: Iterable[Block], watch: Watch) -> Iterator[_Batch]:
    """Tiles with ground in them, in batches; the last one of a block may hold none."""
    batch: list[tuple[TilePlace, Tile]] = []
    for block, place, tile in _read_ahead(pixels, blocks, watch.times, AHEAD * size):
        watch.passed(block.bare if place is None else (place,))
        if tile is not None and place is not None:
            if len(batch) == size:
                yield _Batch(block, batch, False)
                batch = []
            batch.append((place, tile))
        if place is None:
            yield _Batch(block, batch, True)
            batch = []


_Read = tuple[Block, TilePlace | None, Tile | None]


def _read_ahead(
    pixels: Pixels, blocks: Iterable[Block], times: Times, ahead: int
) -> Iterator[_Read]:
    """Every tile, None for one without ground; after each block one without a place.

    `ahead` of them are being read in a thread.
    """

    def read(block: Block, place: TilePlace | None) -> _Read:
        if place is None:
            return block, None, None
        with times.spent("reading"):
            image, valid = pixels.read(place.box)
        return block, place, Tile(image, valid, place.box) if valid.any() else None

    coming: deque[Future[_Read]] = deque()
    with ThreadPoolExecutor(max_workers=1) as reader:
        try:
            for block in blocks:
                for place in (*block.places, None):
                    coming.append(reader.submit(read, block, place))
                    if len(coming) > ahead:
                        yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            for job in coming:
                job.cancel()
