"""Many machines: dask's own commands on loopback, a worker killed half-way, the same features.

    python benchmarks/workers.py ../shared/data/train/zanzibar/mosaic.tif
    python benchmarks/workers.py ../shared/data/train/kampala/mosaic.tif --only 2 killed
    python benchmarks/workers.py ../shared/data/train/zanzibar/mosaic.tif --maps 16
    python benchmarks/workers.py ../shared/data/train/banepa-centre/mosaic.tif --client
    python benchmarks/workers.py ../shared/data/unlabelled/banepa-town/mosaic.tif --reading

The mosaic is drawn alone in this process; by one worker; by two; and by two of which one is
killed when half of the tiles are done. Every layer is compared with the first, feature by
feature: all columns, and the outline to the last bit. `--maps N` compares what the network
says of N tiles in batches of 1, 2 and 4, bit by bit, and draws nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely

from buildex.geo.boxes import PixelBox
from buildex.geo.footprints import to_rings
from buildex.geo.grouping import Grouped
from buildex.geo.instances import Tile
from buildex.geo.sightings import Sighting, Sightings, sightings_of
from buildex.geo.tiles import cover
from buildex.io.cluster import Cluster, workers_at
from buildex.io.journal import Journal, SeenRow
from buildex.io.portions import to_batch, write_layer
from buildex.io.raster import Mosaic
from buildex.io.sighted import to_table
from buildex.io.vector import read_footprints
from buildex.predicting import Crew, ModelOpener, OpenModel, PredictConfig, open_model, predict
from buildex.predicting.drawing import Drawer
from buildex.predicting.running import to_crs
from buildex.predicting.survey import Survey

RUNS = ("1", "2", "killed")


def main() -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mosaic", type=Path)
    parser.add_argument("--only", nargs="+", choices=RUNS, default=RUNS)
    parser.add_argument("--maps", type=int, default=0)
    parser.add_argument("--reading", action="store_true")
    parser.add_argument("--client", action="store_true")
    given = parser.parse_args()
    if given.client:
        weigh_client(given.mosaic)
        return
    if given.reading:
        count_reading(given.mosaic)
        return
    opened = open_model(None, "cpu")
    if given.maps:
        compare_maps(given.mosaic, opened, given.maps)
        return
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "alone.gpkg"
        draw(given.mosaic, first, opened, "alone")
        for name in given.only:
            layer = Path(folder) / f"{name}.gpkg"
            with machines(1 if name == "1" else 2) as (address, workers):
                accident = workers[0].kill if name == "killed" else None
                draw(given.mosaic, layer, opened, name, address, workers, accident)
            a, b = features(first), features(layer)
            print(
                f"  {sum(x == y for x, y in zip(a, b, strict=False))} of {len(a)} equal, {len(b)}"
            )
            assert a == b, name


def draw(
    mosaic: Path,
    layer: Path,
    opened: OpenModel,
    name: str,
    address: str = "",
    workers: list[subprocess.Popen[bytes]] = [],  # noqa: B006
    accident: Callable[[], None] | None = None,
) -> None:
    """Draw a mosaic and print what it took."""
    journal = 0

    def watched(items: Any, total: int | None = None, **_: Any) -> Iterator[Any]:
        nonlocal journal
        for k, item in enumerate(items):
            if accident is not None and k == (total or 0) // 2:
                accident()
            yield item
        journal = Journal.of(layer).stat().st_size

    def run(crew: Crew | None) -> Any:
        model = (opened.name, opened.version)
        return predict(
            str(mosaic), layer, opened.segmenter, PredictConfig(), model=model,
            digest=opened.digest, crew=crew, track=watched,
        )  # fmt: skip

    started = time.process_time()
    before = [cpu_seconds(worker) for worker in workers]
    if address:
        with workers_at(address) as cluster:
            weighed = Weighed(cluster)
            report = run(Crew(weighed, ModelOpener.of(None, "cpu", opened)))
        print(f"  {weighed.sent} bytes went to workers, {weighed.got} came back")
    else:
        report = run(None)
    here = time.process_time() - started
    whole = [] if accident else workers
    there = sum(map(cpu_seconds, whole)) - sum(before[: len(whole)])
    read = sum(map(bytes_read, whole))
    print(
        f"{name}: {report.buildings} buildings, {report.tiles} tiles, {report.seconds:.0f} s, "
        f"{report.tiles_per_second:.2f} tiles/s; reading {report.seconds_reading:.1f}, network "
        f"{report.seconds_network:.1f}, geometry {report.seconds_geometry:.1f}, writing "
        f"{report.seconds_writing:.1f} s; journal {journal} bytes, layer "
        f"{layer.stat().st_size} bytes; processor seconds here {here:.1f}, of workers {there:.1f}; "
        f"workers have read {read} bytes",
        flush=True,
    )


class Weighed(Cluster):
    """A cluster that counts the bytes of tasks and of results."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self.sent, self.got = cluster, 0, 0

    def map(self, function: Any, items: Any) -> Iterator[Any]:
        """As the cluster does."""
        for item, answer in self._cluster.map(function, items):
            self.sent += len(pickle.dumps((function, item)))
            self.got += len(pickle.dumps(answer))
            yield item, answer


def features(path: Path) -> list[Any]:
    """Every feature, in order: all its values, and its outline to the last bit."""
    _, _, shapes, columns = pyogrio.raw.read(path)
    return list(zip(shapes.tolist(), *(column.tolist() for column in columns), strict=True))


@contextmanager
def machines(count: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and some workers of one thread each, by dask's commands."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    scheduler = dask("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    while not listens(port):
        time.sleep(0.1)
    workers = [
        dask("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        for _ in range(count)
    ]
    try:
        yield address, workers
    finally:
        for process in [*workers, scheduler]:
            process.kill()
            process.wait()


def listens(port: int) -> bool:
    """Whether somebody answers at a port of this machine."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def dask(*command: str) -> subprocess.Popen[bytes]:
    """A command of dask as a process."""
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-m", "dask", *command], **silent)


def bytes_read(process: subprocess.Popen[bytes]) -> int:
    """Bytes that a process has asked files and sockets for, its own modules among them."""
    lines = Path(f"/proc/{process.pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def count_reading(path: Path) -> None:
    """Print pixels asked of a file, for every pixel that it has."""

    class Counted(Mosaic):
        """Counts what it would read, and reads nothing."""

        asked = 0

        def _values(self, box: PixelBox) -> Any:
            Counted.asked += box.width * box.height
            shape = box.height, box.width
            return np.zeros((3, *shape), np.float32), np.zeros(shape, bool)

    for name, apart in (("one worker", False), ("blocks far apart", True)):
        Counted.asked = 0
        with Counted.open(path, gsd=0.1) as mosaic:
            own = mosaic._source.grid
            blocks = list(Survey.of(mosaic.grid, 512, 128).blocks())
            for block in blocks:
                if apart:
                    mosaic.close()  # and forget what was read
                for place in block.places:
                    mosaic.read(place.box)
        print(
            f"{name}: {len(blocks)} blocks, {sum(len(b.places) for b in blocks)} tiles, "
            f"{Counted.asked / (own.width * own.height):.2f} pixels asked for each of the file"
        )


def weigh_client(path: Path) -> None:
    """Print what the machine that asks has to do for a building: labels as if workers saw them."""
    with Mosaic.open(path, gsd=0.1) as mosaic, tempfile.TemporaryDirectory() as folder:
        survey = Survey.of(mosaic.grid, 512, 128)
        labels, _ = read_footprints(path.with_name("buildings.geojson"), target_crs=mosaic.grid.crs)
        rows = _rows_of(shapely.transform(labels.polygons, mosaic.grid.to_pixel), survey)
        task = pickle.dumps((mosaic, survey.cover, PredictConfig(), next(survey.blocks())))
        answers = sum(len(pickle.dumps(to_table(seen))) for seen in rows.values())
        seen = sum(map(len, rows.values()))
        output, started = Path(folder) / "out.gpkg", time.process_time()
        drawer = Drawer(survey, PredictConfig(), ("m", "1"))
        crs = mosaic.source_crs
        with Journal.opened(output, {}) as journal:
            for number, sightings in rows.items():
                drawn = to_batch(to_crs(drawer.add(number, sightings), crs))
                journal.put(SeenRow(number, 1, to_table(sightings)), drawn)
            last = to_batch(to_crs(drawer.finish(), crs))
            journal.put_last(survey.cover.rows, last)
            write_layer(output, journal.layer(), last.schema, crs)
            spent = time.process_time() - started
            kept = Journal.of(output).stat().st_size
        count = len(features(output))
        print(
            f"{count} buildings, seen {seen} times: {1000 * spent / count:.2f} ms of processor "
            f"time each; {answers / seen:.0f} bytes of answer and {kept / count:.0f} of journal "
            f"each, {output.stat().st_size / count:.0f} of layer; a task is {len(task)} bytes"
        )


def _rows_of(polygons: Any, survey: Survey) -> dict[int, Sightings]:
    """Polygons in pixels as what each row of tiles sees of them, by the rules of `seeing`."""
    tree = shapely.STRtree(polygons)
    ground = np.ones((512, 512), bool)
    rows: dict[int, list[Sighting]] = {}
    for place in survey.cover:
        box = place.box
        found = [
            Grouped(tuple(ring - (box.x0, box.y0) for ring in to_rings(polygons[k])), 0.9, 1.0)
            for k in tree.query(shapely.box(box.x0, box.y0, box.x1, box.y1)).tolist()
        ]
        rows.setdefault(place.row, []).extend(
            sightings_of(found, ground, place, survey.cover, 37.5)
        )
    return {row: Sightings.collect(seen) for row, seen in rows.items()}


def compare_maps(path: Path, opened: OpenModel, count: int) -> None:
    """Print a hash of what the network says of some tiles, for batches of 1, 2 and 4."""
    segmenter = opened.segmenter
    with Mosaic.open(path, gsd=segmenter.gsd) as mosaic:
        places = list(cover(mosaic.grid, segmenter.size, 128))
        places = places[len(places) // 3 :][:count]
        tiles = [Tile(*mosaic.read(place.box), place.box) for place in places]
    for size in (1, 2, 4):
        total, started = hashlib.sha256(), time.process_time()
        found = 0
        for start in range(0, len(tiles), size):
            for maps in segmenter(tiles[start : start + size], segmenter.threshold):
                found += len(maps.scores)
                for array in maps:
                    total.update(np.ascontiguousarray(array).tobytes())
        seconds = time.process_time() - started
        print(
            f"batches of {size}: {found} instances in {len(tiles)} tiles, {seconds:.1f} "
            f"processor seconds, SHA-256 {total.hexdigest()[:16]}",
            flush=True,
        )


if __name__ == "__main__":
    main()
