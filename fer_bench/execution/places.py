"""Where runs are done, each in a child process of its own: on this machine, or on the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from fer_bench.errors import FerBenchError
from fer_bench.execution.children import launch, warm_up
from fer_bench.execution.environment import cores
from fer_bench.execution.job import Job
from fer_bench.progress import Progress
from fer_bench.records.store import ResultsFolder

DASK = "dask"


class Place(Protocol):
    """What does runs. n_jobs: cores per run, where that is known before it starts."""

    n_jobs: int

    def make_ready(self, families: tuple[str, ...], results: ResultsFolder) -> None:
        """Prepare for runs of models of `families` that end in `results`."""

    def slots(self) -> int:
        """How many runs it can do at once; this may change."""

    def launch(
        self,
        job: Job,
        timeout: float | None,
        stopped: Callable[[], bool],
        progress: Progress,
        patient: bool,
    ) -> str:
        """Do `job` and return how it ended, as `children.launch` does; called from as many threads as `slots`."""


class ThisMachine:
    """Children of this process, `jobs` at once."""

    launch = staticmethod(launch)

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self.n_jobs = max(1, cores() // jobs)

    def make_ready(self, families: tuple[str, ...], results: ResultsFolder) -> None:
        """Start the fork server."""
        warm_up(families, self.n_jobs)

    def slots(self) -> int:
        """As many as were asked for."""
        return self._jobs


@contextmanager
def open_place(executor: str, scheduler: str | None, jobs: int) -> Iterator[Place]:
    """The place for runs on `executor`. Raises FerBenchError where options contradict, or no scheduler answers."""
    if executor != DASK:
        if scheduler:
            raise FerBenchError(f"--scheduler {scheduler} is for --executor {DASK}: add that, or leave --scheduler out")
        yield ThisMachine(jobs)
        return
    if not scheduler:
        raise FerBenchError(f"--executor {DASK} needs --scheduler ADDRESS, as `dask scheduler` prints it")
    if jobs != 1:
        raise FerBenchError(f"--jobs {jobs} is for this machine: --executor {DASK} does one run per worker")
    from fer_bench.execution.cluster import connect

    with connect(scheduler) as cluster:
        yield cluster
