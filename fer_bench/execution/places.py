"""Where runs are done, each in a child process of its own: on this machine, or on the workers of a Dask cluster."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fer_bench import __version__
from fer_bench.errors import FerBenchError
from fer_bench.execution.children import is_done, launch, record_without_child, warm_up
from fer_bench.execution.environment import cores
from fer_bench.execution.plan import Job
from fer_bench.progress import Progress

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS, STOP_SECONDS = 5, 15
_POLL_SECONDS = 0.2
_WHY_KILLED = "worker after worker was killed while it was at this run; it may want more memory than they have"


class ThisMachine:
    """Children of this process, `jobs` at once."""

    launch = staticmethod(launch)

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self.n_jobs = max(1, cores() // jobs)

    def make_ready(self, families: tuple[str, ...]) -> None:
        """Start the fork server."""
        warm_up(families, self.n_jobs)

    def slots(self) -> int:
        """As many as were asked for."""
        return self._jobs


@contextmanager
def connected(scheduler: str | None) -> Iterator[Cluster | None]:
    """The Dask cluster whose scheduler is at the address `scheduler`, or None where none is named.

    Raises FerBenchError where no scheduler answers, or Dask is missing.
    """
    if scheduler is None:
        yield None
        return
    try:
        from distributed import Client
        from distributed.comm import resolve_address
    except ImportError:
        raise FerBenchError("--scheduler needs Dask: pip install 'fer_bench[dask]'") from None
    for name in [name for name in logging.root.manager.loggerDict if name.startswith(("distributed", "tornado"))]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is raised, and said in one message
    try:
        resolve_address(scheduler)  # where that is none, a client ends late and noisily
        client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise FerBenchError(
            f"--scheduler {scheduler}: no Dask scheduler answers there ({' '.join(str(error).split())}); "
            "start one with `dask scheduler` and give the address that it prints, e.g. tcp://192.0.2.1:8786"
        ) from None
    try:
        yield Cluster(client, scheduler)
    finally:
        client.close(timeout=CONNECT_SECONDS)


class Cluster:
    """The workers of a Dask cluster, one run each, on as many cores as the worker has threads.

    They see the results folder and the cache on the paths that the runner has them on, and commit records themselves.
    """

    n_jobs = 1  # each worker puts its own number in

    def __init__(self, client: Client, address: str) -> None:
        self._client, self._address = client, address
        self._topic = f"fer_bench-{uuid.uuid4().hex}"
        self._families: tuple[str, ...] = ()
        self._progress: dict[str, Progress] = {}

    def make_ready(self, families: tuple[str, ...]) -> None:
        """Listen to the workers."""
        self._families = families
        self._client.subscribe_topic(self._topic, self._show)

    def slots(self) -> int:
        """As many as there are workers now."""
        try:
            return len(self._client.nthreads())
        except OSError:
            raise self._gone() from None

    def launch(
        self, job: Job, timeout: float | None, stopped: Callable[[], bool], progress: Progress, patient: bool
    ) -> str:
        """Do `job` on a worker. Where the worker is killed, Dask gives the job to another, three times at most."""
        from distributed.scheduler import KilledWorker

        self._progress[job.spec.run_id] = progress
        task = (job, self._families, timeout, patient, self._topic, __version__)
        future = self._client.submit(do_on_worker, *task, pure=False)
        try:
            status = self._status(future, stopped)
        except FerBenchError:
            raise
        except KilledWorker:
            record_without_child(job, "failed", _WHY_KILLED)
            return "failed"
        except (CancelledError, OSError):
            raise self._gone() from None
        except Exception as error:
            raise FerBenchError(
                f"the workers of {self._address} cannot do runs ({type(error).__name__}: {error}): "
                f"is fer_bench {__version__} installed there?"
            ) from error
        finally:
            del self._progress[job.spec.run_id]
        if status in ("success", "failed") and not is_done(job):
            raise FerBenchError(
                f"a worker of {self._address} wrote its record elsewhere: {job.prepared.results.path} is no folder "
                "that runner and workers share"
            )
        if status is None:  # the worker ends the child and puts that on record
            end = time.monotonic() + STOP_SECONDS
            while not is_done(job) and time.monotonic() < end:
                time.sleep(_POLL_SECONDS)
        return status or "cancelled"

    def _status(self, future: Any, stopped: Callable[[], bool]) -> str | None:
        """What the worker returns, or None once it is told to stop."""
        while not stopped():
            if future.done():
                return future.result()
            time.sleep(_POLL_SECONDS)
        future.cancel()
        return None

    def _show(self, event: tuple[float, Any]) -> None:
        run_id, done, text = event[1]
        if progress := self._progress.get(run_id):  # it may have ended meanwhile
            progress(done, text)

    def _gone(self) -> FerBenchError:
        return FerBenchError(
            f"the scheduler {self._address} is gone: what is finished is kept; "
            "start the cluster and give the same command again"
        )


Place = ThisMachine | Cluster
"""What does runs. n_jobs: cores per run, where that is known before it starts."""


_at_work = threading.Lock()


def do_on_worker(
    job: Job, families: tuple[str, ...], timeout: float | None, patient: bool, topic: str, version: str
) -> str:
    """Do `job` in a child process of the Dask worker whose task this is, once it is at no other; return its status.

    Raises FerBenchError where the worker has another version of fer_bench, or does not see the runner's folders.
    """
    from distributed import get_worker

    worker = get_worker()
    if version != __version__:
        raise FerBenchError(f"worker {worker.address} has fer_bench {__version__}, this is {version}: install the same")
    for folder in (job.prepared.results.runs, job.prepared.dataset_folder, job.prepared.split_folder):
        if not folder.is_dir():
            raise FerBenchError(
                f"worker {worker.address} does not see {folder}: results and FER_BENCH_CACHE have to be in folders "
                "that runner and workers share"
            )
    key = worker.get_current_task()

    def stopped() -> bool:  # by the runner, or because the runner is gone
        return worker.state.tasks[key].state == "cancelled"

    def progress(done: float, text: str) -> None:
        worker.log_event(topic, (job.spec.run_id, done, text))

    while not _at_work.acquire(timeout=_POLL_SECONDS):  # Dask may give a worker as many tasks as it has threads
        if stopped():
            return "cancelled"
    try:
        _make_ready(families, worker.state.nthreads)
        return launch(replace(job, n_jobs=worker.state.nthreads), timeout, stopped, progress, patient)
    finally:
        _at_work.release()


@functools.cache
def _make_ready(families: tuple[str, ...], n_jobs: int) -> None:
    """Start this process's fork server, once.

    Dask starts workers as daemons, which may have no children lest they outlive them; a child of ours never does.
    """
    multiprocessing.current_process().daemon = False
    warm_up(families, n_jobs)
