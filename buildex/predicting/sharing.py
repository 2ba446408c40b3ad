"""Many who look: blocks of tiles go to workers, what they saw comes back in order.

A worker opens the mosaic and the segmenter for itself, from a description that travels with
every block, and keeps both; so a worker that joins late, or comes in a dead one's place, needs
nothing that another one has. What a block saw comes back as an Arrow table, exact to the
last bit, and goes the way it goes in one process.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Protocol

import pyarrow as pa

from buildex.errors import RasterError
from buildex.geo.tiles import Cover
from buildex.io.cluster import Cluster
from buildex.io.raster import Mosaic, small_cache
from buildex.io.sighted import from_table, to_table
from buildex.predicting.report import Times
from buildex.predicting.seeing import BlockSeen, Eye, InTurn, Take, Watch, see
from buildex.predicting.settings import PredictConfig, Segmenter
from buildex.predicting.survey import Block

WAITING = 64  # blocks that may wait to be put together
KEPT_BENCHES, KEPT_SEGMENTERS = 8, 2  # of other runs, on a worker

Look = Callable[[Iterable[Block], Take, Watch], None]


class Opener(Hashable, Protocol):
    """Opens the same segmenter on any machine: small, pickled, equal for equal segmenters."""

    def __call__(self) -> Segmenter:
        """The segmenter; an error where it is not there, or is another one."""
        ...


@dataclass(frozen=True)
class Crew:
    """Workers, and what opens the segmenter on each.

    Attributes:
        cluster: the workers.
        opener: what each of them opens; the segmenter that `predict` is given is its like.
    """

    cluster: Cluster
    opener: Opener


def everywhere_known(path: str) -> str:
    """The path of a mosaic as workers in other folders know it: absolute where it is a file."""
    return os.path.abspath(path) if os.path.exists(path) else path


def looking(crew: Crew | None, mosaic: Mosaic, eye: Eye, config: PredictConfig) -> Look:
    """Who looks at the blocks of a mosaic: a crew, or this process."""
    if crew is None:
        return partial(see, mosaic, eye)
    job = _Job(
        name=uuid.uuid4().hex,
        opener=crew.opener,
        mosaic=mosaic,
        size=_size(mosaic.path),
        cover=eye.cover,
        config=replace(config, aoi=None),
    )
    return partial(_see_with, crew.cluster, job)


class _Job(NamedTuple):
    """All that a worker needs to know of a run; `size` is that of the mosaic's file."""

    name: str
    opener: Opener
    mosaic: Mosaic
    size: int | None
    cover: Cover
    config: PredictConfig


class _Answer(NamedTuple):
    """What a worker says of a block."""

    tiles: int
    seen: pa.RecordBatch
    times: Times


def _see_with(
    cluster: Cluster, job: _Job, blocks: Iterable[Block], take: Take, watch: Watch
) -> None:
    """As `see`, with workers; what they saw is put together in a thread of its own."""

    def handed(block: Block, answer: _Answer) -> None:
        for stage, seconds in vars(answer.times).items():
            watch.times.add(stage, seconds)
        take(block, BlockSeen(answer.tiles, from_table(answer.seen)))

    with InTurn(WAITING) as hands:
        for block, answer in cluster.map(partial(_look, job), blocks):
            hands.do(partial(handed, block, answer))
            watch.passed(block.places + block.bare)


def _look(job: _Job, block: Block) -> _Answer:
    """What a worker does."""
    answers: list[BlockSeen] = []
    watch = Watch()
    with small_cache():
        bench = _bench(job)
        try:
            see(bench.mosaic, bench.eye, [block], lambda _, seen: answers.append(seen), watch)
        except BaseException:
            bench.mosaic.close()
            raise
        _give_back(bench)
    return _Answer(answers[0].tiles, to_table(answers[0].seen), watch.times)


class _Bench(NamedTuple):
    """What a worker has open for one run; used by one thread at a time."""

    job: str
    mosaic: Mosaic
    eye: Eye


# What this process has open as a worker: it lives longer than its tasks, which share nothing
# else. The last ones used are at the end.
_LOCK = threading.Lock()
_BENCHES: list[_Bench] = []
_SEGMENTERS: dict[Opener, Segmenter] = {}


def _bench(job: _Job) -> _Bench:
    with _LOCK:
        for bench in reversed(_BENCHES):
            if bench.job == job.name:
                _BENCHES.remove(bench)
                return bench
        segmenter = _SEGMENTERS.pop(job.opener, None) or job.opener()
        _SEGMENTERS[job.opener] = segmenter
        while len(_SEGMENTERS) > KEPT_SEGMENTERS:
            del _SEGMENTERS[next(iter(_SEGMENTERS))]
    path = job.mosaic.path
    if job.size is not None and _size(path) not in (None, job.size):
        raise RasterError(
            f"`{path}` is another file here", hint="workers must see the same mosaics"
        )
    return _Bench(job.name, job.mosaic, Eye(segmenter, job.cover, job.config, job.mosaic.grid.gsd))


def _give_back(bench: _Bench) -> None:
    with _LOCK:
        _BENCHES.append(bench)
        while len(_BENCHES) > KEPT_BENCHES:
            _BENCHES.pop(0).mosaic.close()


def _size(path: str) -> int | None:
    return os.path.getsize(path) if os.path.isfile(path) else None
