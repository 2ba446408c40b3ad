"""Whoever looks at the tiles, the features are the same, in the same order, to the last digit."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from buildex.cli.main import main
from buildex.errors import ClusterError, ModelError, RasterError
from buildex.io.cluster import own_workers, workers_at
from buildex.io.journal import Journal
from buildex.predicting import Crew, PredictConfig, predict, survey
from tests.killed import Slow, SlowOpener
from tests.test_resume import features, interrupted, run, write

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey, "BLOCK", 3)
        yield


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory):
    path = tmp_path_factory.mktemp("mosaic") / "mosaic.tif"
    write(path, 120)
    return path


@pytest.fixture(scope="module")
def alone(mosaic, tmp_path_factory):
    """The features of an undisturbed run in one process."""
    out = tmp_path_factory.mktemp("whole") / "out.gpkg"
    run(mosaic, out)
    return features(out)


@pytest.fixture(scope="module")
def two(small_blocks):
    with own_workers(2) as cluster:
        yield cluster


def shared(mosaic, out, cluster, opener=None, **options):
    """A whole run with workers."""
    config = PredictConfig(overlap=48, **options)
    crew = Crew(cluster, opener or SlowOpener())
    return predict(str(mosaic), out, Slow(0.0), config, model=("slow", "1"), crew=crew)


def test_two_workers_draw_what_one_process_draws(mosaic, alone, two, tmp_path):
    report = shared(mosaic, tmp_path / "out.gpkg", two)
    assert features(tmp_path / "out.gpkg") == alone
    assert report.tiles == 49
    assert report.seconds_network > 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.gpkg"]


def test_another_batch_size_with_workers_changes_nothing(mosaic, alone, two, tmp_path):
    shared(mosaic, tmp_path / "out.gpkg", two, batch_size=3)
    assert features(tmp_path / "out.gpkg") == alone


def test_a_worker_that_dies_loses_no_building(mosaic, alone, two, tmp_path):
    flag = tmp_path / "died"
    shared(mosaic, tmp_path / "out.gpkg", two, SlowOpener(0.05, str(flag)))
    assert flag.exists()
    assert features(tmp_path / "out.gpkg") == alone


def test_a_run_stopped_alone_goes_on_with_workers(mosaic, alone, two, tmp_path):
    out = tmp_path / "out.gpkg"
    interrupted(mosaic, out, batches=10)
    report = shared(mosaic, out, two)
    assert 0 < report.resumed < report.tiles
    assert features(out) == alone


def test_what_a_worker_cannot_do_is_told_with_its_address(mosaic, two, tmp_path):
    out = tmp_path / "out.gpkg"
    with pytest.raises(ModelError, match=r"no model here \(on worker `tcp://.*copy it"):
        shared(mosaic, out, two, SlowOpener(refused=True))
    assert list(tmp_path.iterdir()) == []


def test_a_mosaic_that_workers_do_not_see_is_told(mosaic, two, tmp_path):
    own = tmp_path / "own.tif"
    write(own, 90)

    def hidden(items, **_):
        own.unlink()
        return iter(items)

    crew = Crew(two, SlowOpener())
    with pytest.raises(RasterError, match=r"no file .*own.tif`.* \(on worker"):
        predict(
            str(own), tmp_path / "out.gpkg", Slow(0.0), PredictConfig(overlap=48),
            crew=crew, track=hidden,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


class Machines:
    """A scheduler and workers as processes of their own, started with dask's commands."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes = []

    def start(self, *command):
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([sys.executable, "-m", "dask", *command], cwd=ROOT, **silent)
        self.processes.append(process)
        return process

    def scheduler(self):
        """Started, and listening."""
        process = self.start(
            "scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with socket.socket() as caller:
                if caller.connect_ex(("127.0.0.1", self.port)) == 0:
                    break
            time.sleep(0.1)
        return process

    def worker(self):
        return self.start(
            "worker", self.address, "--no-nanny", "--nthreads", "1", "--no-dashboard",
            "--host", "127.0.0.1",
        )  # fmt: skip

    def joined(self):
        """Wait until the scheduler knows a worker."""
        from distributed import Client

        with Client(self.address, timeout=120, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=120)

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def machines():
    machines = Machines()
    yield machines
    machines.stop()


def test_a_scheduler_that_is_lost_and_comes_back_loses_no_building(
    mosaic, alone, machines, tmp_path
):
    scheduler = machines.scheduler()
    machines.worker()

    def accident():
        scheduler.kill()
        scheduler.wait()
        machines.scheduler()
        machines.worker()

    fallen = []

    def half_way(items, total=None, **_):
        for k, item in enumerate(items):
            if k == total // 2:
                fallen.append(threading.Thread(target=accident))
                fallen[0].start()
            yield item

    with workers_at(machines.address) as cluster:
        crew = Crew(cluster, SlowOpener(0.05))
        predict(
            str(mosaic), tmp_path / "out.gpkg", Slow(0.0), PredictConfig(overlap=48),
            model=("slow", "1"), crew=crew, track=half_way,
        )  # fmt: skip
    fallen[0].join()
    assert features(tmp_path / "out.gpkg") == alone


def test_a_scheduler_that_stays_away_is_one_line_and_the_journal_stays(mosaic, machines, tmp_path):
    scheduler = machines.scheduler()
    machines.worker()
    machines.joined()

    def fatal(items, total=None, **_):
        for k, item in enumerate(items):
            if k == total // 2:
                scheduler.kill()
            yield item

    out = tmp_path / "out.gpkg"
    with workers_at(machines.address, patience=3.0) as cluster:
        crew = Crew(cluster, SlowOpener(0.05))
        with pytest.raises(ClusterError, match=r"is lost.*the same command goes on"):
            predict(str(mosaic), out, Slow(0.0), PredictConfig(overlap=48), crew=crew, track=fatal)
    assert [path.name for path in tmp_path.iterdir()] == [Journal.of(out).name]


def test_workers_that_are_late_are_waited_for_and_that_is_said_once(
    mosaic, alone, machines, tmp_path
):
    machines.scheduler()
    said = []

    def called(line):
        said.append(line)
        threading.Timer(3.0, machines.worker).start()

    with workers_at(machines.address, patience=1.0, tell=called) as cluster:
        shared(mosaic, tmp_path / "out.gpkg", cluster)
    assert features(tmp_path / "out.gpkg") == alone
    (line,) = said
    assert line == (
        f"no worker is at `{machines.address}`; "
        f"start some with `dask worker {machines.address}`: this run waits for them"
    )


def test_where_nobody_can_be_told_one_line_ends_a_run_without_workers(mosaic, machines, tmp_path):
    machines.scheduler()
    with workers_at(machines.address, patience=3.0) as cluster:
        crew = Crew(cluster, SlowOpener())
        with pytest.raises(ClusterError, match=r"no worker is at .*dask worker tcp"):
            predict(
                str(mosaic), tmp_path / "out.gpkg", Slow(0.0), PredictConfig(overlap=48), crew=crew
            )
    assert list(tmp_path.iterdir()) == []


def test_where_nobody_listens_one_line_says_so():
    started = time.monotonic()
    with (
        pytest.raises(ClusterError, match=r"no dask scheduler answers at `tcp://127\.0\.0\.1:9`"),
        workers_at("tcp://127.0.0.1:9", patience=1.0),
    ):
        pass
    assert time.monotonic() - started < 30


def test_without_dask_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install 'buildex\[dask\]'"), own_workers(2):
        pass


def test_workers_and_a_scheduler_are_wrong_usage_together():
    from click.testing import CliRunner

    done = CliRunner().invoke(
        main, ["predict", "m.tif", "-o", "o.gpkg", "--workers", "2", "--scheduler", "tcp://h:1"]
    )
    assert done.exit_code == 2
    assert "not both" in done.output
