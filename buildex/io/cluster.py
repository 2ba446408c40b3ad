"""Work for many processes and machines, on dask.distributed. The only module that knows dask.

`Cluster.map` is a map whose results come in the order of what went in, however many workers
there are. Little is under way at a time, whatever there is to do. What a worker had when it
died is done again by another; what a scheduler had when it was lost is handed in again as soon
as there is one at its address.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import signal
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from buildex.errors import BuildexError, ClusterError
from buildex.io.edition import edition

T = TypeVar("T")
R = TypeVar("R")
Tell = Callable[[str], None]

AHEAD = 4  # tasks under way for each thread of a worker
PATIENCE = 60.0  # seconds to wait for a scheduler that is lost, and for workers
GLANCE = 2.0  # seconds between two looks at who works
LOSSES = 5  # schedulers that may be lost without a result between them
SETTINGS = {  # of workers on this machine; a busy one takes its time to start them
    "distributed.worker.multiprocessing-method": "spawn",
    "distributed.comm.timeouts.connect": "120s",
}
GO_ON = "the same command goes on where this one stopped"


class Cluster:
    """Workers behind a scheduler."""

    def __init__(self, address: str, patience: float = PATIENCE, tell: Tell | None = None) -> None:
        """Find the scheduler at an address; see `workers_at`.

        Raises:
            ClusterError: if dask is not installed, or nobody answers there.
        """
        self.address = address
        self._patience, self._tell, self._told = patience, tell, False
        self._client = _connected(address, min(patience, 10.0))
        self._width, self._looked, self._lost = 0, -GLANCE, 0

    def close(self) -> None:
        """Leave the scheduler; its workers stay."""
        with suppress(Exception):  # a scheduler that is gone cannot be told
            self._client.close(timeout=2)

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
        """Each item, and what the function makes of it on some worker, in their order.

        Args:
            function: is pickled, so it lies in a module that workers have; it may be called
                more than once for an item, and must not matter how often.
            items: are pickled one by one; no more of them are taken than are needed to keep
                all workers at work.

        Raises:
            BuildexError: what the function raises, with the worker's address; or if workers
                or their scheduler are gone and do not come back.
        """
        source = iter(items)
        waiting: deque[_Task[T]] = deque()
        try:
            while True:
                room = max(1, self._workers()) * AHEAD - len(waiting)
                waiting.extend(_Task(item) for item in islice(source, max(0, room)))
                if not waiting:
                    return
                try:
                    for task in waiting:
                        task.future = task.future or self._submit(function, task.item)
                    result = self._result(waiting[0].future)
                except _LostError:
                    self._find_again()
                    for task in waiting:
                        task.future = None
                else:
                    yield waiting.popleft().item, result
        finally:
            for task in waiting:
                with suppress(Exception):
                    task.future.cancel()

    def _submit(self, function: Callable[[T], R], item: T) -> Any:
        # As bytes: dask need not look into them, nor a worker of another edition into the inner.
        task = pickle.dumps((edition(), pickle.dumps((function, item))))
        try:
            return self._client.submit(_done, task, key=f"buildex-{uuid.uuid4().hex}", pure=False)
        except _losses():
            raise _LostError from None

    def _workers(self) -> int:
        """How many threads all workers have together, as of a moment ago."""
        lost = self._client.status != "running"  # then asking would only take time
        if not lost and time.monotonic() - self._looked > GLANCE:
            with suppress(*_losses()):
                self._width = sum(self._client.nthreads().values())
                self._looked = time.monotonic()
        return self._width

    def _result(self, future: Any) -> Any:
        """Wait for the end of a task; `_LostError` if the scheduler ends before it."""
        started = time.monotonic()
        while True:
            try:
                result = future.result(timeout=GLANCE)
            except _losses() as error:
                if future.status == "error":
                    raise _worded(error) from None
                if not isinstance(error, TimeoutError) or future.status == "cancelled":
                    raise _LostError from None
            except Exception as error:
                raise _worded(error) from None
            else:
                self._lost = 0
                return result
            if self._workers():
                started, self._told = time.monotonic(), False
            elif time.monotonic() - started > self._patience and not self._told:
                self._miss_workers()

    def _miss_workers(self) -> None:
        """Say that nobody works, and that the run waits; end it where there is no one to tell."""
        missing = f"no worker is at `{self.address}`"
        start = f"start some with `dask worker {self.address}`"
        if self._tell is None:
            raise ClusterError(missing, hint=f"{start}; {GO_ON}")
        self._tell(f"{missing}; {start}: this run waits for them")
        self._told = True

    def _find_again(self) -> None:
        """Wait for a scheduler at the same address."""
        self.close()
        self._lost += 1
        if self._lost <= LOSSES:
            with suppress(ClusterError):
                self._client = _connected(self.address, self._patience)
                return
        raise ClusterError(
            f"the scheduler at `{self.address}` is lost", hint=f"start it again; {GO_ON}"
        )


@contextmanager
def workers_at(
    address: str, patience: float = PATIENCE, tell: Tell | None = None
) -> Iterator[Cluster]:
    """The workers of a running scheduler, e.g. `tcp://host:8786`.

    Args:
        address: the scheduler's.
        patience: seconds to wait for a scheduler that is lost, and for workers.
        tell: is told when there have been no workers for so long; then they are waited for as
            long as the scheduler lives: in a queue for machines that may be hours. Where nobody
            can be told, the work ends.

    Raises:
        ClusterError: if dask is not installed, or nobody answers there.
    """
    _distributed()
    with _quiet():
        cluster = Cluster(address, patience, tell)
        try:
            yield cluster
        finally:
            cluster.close()


@contextmanager
def own_workers(count: int) -> Iterator[Cluster]:
    """Workers on this machine, each a process of its own that is spawned and never forked.

    They share the cores. One that dies is replaced.

    Args:
        count: how many.

    Raises:
        ClusterError: if dask is not installed.
    """
    distributed = _distributed()
    import dask

    threads = str(max(1, (os.cpu_count() or 1) // count))
    missing = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": threads}
    with _quiet(), ExitStack() as stack:
        with dask.config.set(SETTINGS), _held_back():
            try:
                scheduler = stack.enter_context(
                    distributed.LocalCluster(
                        n_workers=count,
                        threads_per_worker=1,
                        processes=True,
                        host="127.0.0.1",
                        dashboard_address=None,
                        memory_limit=0,
                        silence_logs=logging.CRITICAL,
                        env=missing,
                        preload=["buildex.io.deaf"],
                    )
                )
            except (OSError, RuntimeError) as error:
                raise ClusterError(
                    f"{count} workers could not be started: {error}",
                    hint="try fewer, or look what else keeps the machine busy",
                ) from None
        yield stack.enter_context(workers_at(scheduler.scheduler_address))


@dataclass
class _Task(Generic[T]):
    """What is under way."""

    item: T
    future: Any = None


class _LostError(Exception):
    """The scheduler is gone, and with it all that was under way."""


def _done(task: bytes) -> Any:
    """What a worker does with a task; an error of ours tells where it happened."""
    from distributed import get_worker

    asked, work = pickle.loads(task)
    where = get_worker().address
    if asked != edition():
        raise ClusterError(
            f"worker `{where}` has buildex {edition()}, this machine {asked}",
            hint="install the same everywhere, and start the workers anew",
        )
    function, item = pickle.loads(work)
    try:
        return function(item)
    except BuildexError as error:
        error.message += f" (on worker `{where}`)"
        raise


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise ClusterError(
            "workers need dask, which is not installed", hint="`pip install 'buildex[dask]'`"
        ) from None
    return distributed


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask's loggers say nothing: what matters is told as an error, in one line."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    loggers = [logging.getLogger(name) for name in ("distributed", *names)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _held_back() -> Iterator[None]:
    """Ctrl-C waits until this is over; whatever went wrong meanwhile is its doing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        yield
    except Exception:
        if not heard:
            raise
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt


def _connected(address: str, seconds: float) -> Any:
    """A client of a scheduler; it is asked for so many seconds."""
    distributed = _distributed()
    if not re.fullmatch(r"[a-z]+://.+:\d+", address):
        raise ClusterError(
            f"`{address}` is no address of a scheduler", hint="give it as `tcp://HOST:8786`"
        )
    try:
        return distributed.Client(address, timeout=seconds, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"no dask scheduler answers at `{address}`: {error or type(error).__name__}",
            hint="start one with `dask scheduler`, and give its `tcp://HOST:8786`",
        ) from None


def _losses() -> tuple[type[BaseException], ...]:
    """What dask raises when a scheduler is gone, and when time is over."""
    return (_distributed().CancelledError, OSError, TimeoutError, RuntimeError)


def _worded(error: BaseException) -> BaseException:
    """The error of a task as ours, where the workers are to blame and not the code."""
    if type(error).__name__ == "KilledWorker":
        return ClusterError(
            "one block of tiles was lost again and again with the worker that had it",
            hint=f"see the workers' logs, they may lack memory; {GO_ON}",
        )
    if isinstance(error, ImportError):
        return ClusterError(
            f"a worker lacks what it needs: {error}",
            hint="install the same buildex in the workers' environment",
        )
    return error
