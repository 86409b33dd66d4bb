"""A run's errand to a cluster: what goes to a worker, what happens there, what comes back.

A worker that sees the results folder does a run as the runner itself would. Elsewhere it works in a folder of its own
and its answer carries the files.
"""

from __future__ import annotations

import functools
import multiprocessing
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fer_bench import __version__, cache
from fer_bench.errors import FerBenchError
from fer_bench.execution.children import launch, warm_up
from fer_bench.execution.job import Job
from fer_bench.execution.outcome import WEIGHTS_FILE
from fer_bench.progress import Progress
from fer_bench.records.store import ResultsFolder

RUN_FILES = frozenset(
    {"record.json", "predictions.npz", "history.csv", "curves.png", "confusion.png", "log.txt", WEIGHTS_FILE}
)
UNSEEN, NO_DATA = "results not seen", "data not there"

Files = dict[str, bytes]


@dataclass(frozen=True)
class Errand:
    """What a worker is asked to do.

    suite: of the runner's call, unique. job: with absolute paths, as the runner sees them. data: about.json of its
    dataset and of its split. needed: files that have to be there. token: a file in the results folder that holds
    `suite`; None: bring the files home. base: of the run to start from, by its id, where files are brought home.
    """

    suite: str
    job: Job
    families: tuple[str, ...]
    data: tuple[bytes, bytes]
    needed: tuple[Path, ...]
    timeout: float | None
    patient: bool
    token: Path | None
    base: Mapping[str, Files] = field(default_factory=dict)
    version: str = __version__


@dataclass(frozen=True)
class Answer:
    """How a run ended, or UNSEEN or NO_DATA; where; and the files of its folder, if they were asked for."""

    status: str
    worker: str = ""
    files: Files = field(default_factory=dict)


def do(errand: Errand) -> Answer:
    """Do it, in a task on a Dask worker.

    Raises FerBenchError where the worker has another version of fer_bench or lacks a file.
    """
    from distributed import get_worker

    worker = get_worker()
    if errand.suite in _stopped:
        return Answer("cancelled", worker.address)
    _check(errand, worker.address)
    if errand.token and not _is_seen(errand.token, errand.suite):
        return Answer(UNSEEN, worker.address)
    job = _with_data(errand)
    if job is None:
        return Answer(NO_DATA, worker.address)
    n_jobs = worker.state.nthreads
    with _getting_ready:
        _make_ready(errand.families, n_jobs)
    return _done(errand, replace(job, n_jobs=n_jobs), worker)


def stop(suite: str) -> None:
    """End the runs of `suite` on this worker, called through `Client.run`."""
    _stopped.add(suite)


def unpack(folders: Mapping[Path, Files]) -> None:
    """Put folders of the runner's cache into this worker's, called through `Client.run`."""
    for folder, files in folders.items():
        cache.fetch(folder.parent.name, folder.name, functools.partial(write_files, files=files))


def write_files(folder: Path, files: Files) -> None:
    """Write `files` into `folder`. Raises FerBenchError for a name that is more than a name."""
    for name, content in files.items():
        if Path(name).name != name:
            raise FerBenchError(f"{name!r} is not the name of a file")
        (folder / name).write_bytes(content)


def read_files(folder: Path, names: frozenset[str] = RUN_FILES) -> Files:
    """Those of `names` that `folder` has."""
    return {name: (folder / name).read_bytes() for name in sorted(names) if (folder / name).is_file()}


_stopped: set[str] = set()
_getting_ready = threading.Lock()
_at_work = threading.Lock()
_POLL_SECONDS = 0.5


def _done(errand: Errand, job: Job, worker: Any) -> Answer:
    """Do the run once this worker is at no other; its record is in the results folder then, or in the answer."""
    run_id, key = job.spec.run_id, worker.get_current_task()

    def stopped() -> bool:  # by the runner, or because the runner is gone
        return errand.suite in _stopped or worker.state.tasks[key].state == "cancelled"

    def progress(done: float, text: str) -> None:
        worker.log_event(errand.suite, (run_id, done, text))

    while not _at_work.acquire(timeout=_POLL_SECONDS):  # Dask may give a worker as many tasks as it has threads
        if stopped():
            return Answer("cancelled", worker.address)
    try:
        return _launched(errand, job, worker, stopped, progress)
    finally:
        _at_work.release()


def _launched(errand: Errand, job: Job, worker: Any, stopped: Callable[[], bool], progress: Progress) -> Answer:
    """Launch the child in the results folder, or in a folder of this worker's own whose files the answer carries."""
    if errand.token:
        return Answer(launch(job, errand.timeout, stopped, progress, errand.patient), worker.address)
    with TemporaryDirectory(dir=worker.local_directory) as folder:  # which Dask clears where a worker was killed
        results, run_id = ResultsFolder(Path(folder)), job.spec.run_id
        for base_id, files in errand.base.items():
            base = results.record_path(base_id).parent
            base.mkdir(parents=True)
            write_files(base, files)
        away = replace(job, results=results.path, home=job.results)
        status = launch(away, errand.timeout, stopped, progress, errand.patient)
        return Answer(status, worker.address, read_files(results.record_path(run_id).parent))


@functools.cache
def _make_ready(families: tuple[str, ...], n_jobs: int) -> None:
    """Start this process's fork server, once.

    Dask starts workers as daemons, which may have no children lest they outlive them; a child of ours never does.
    """
    multiprocessing.current_process().daemon = False
    warm_up(families, n_jobs)


def _check(errand: Errand, worker: str) -> None:
    if errand.version != __version__:
        raise FerBenchError(
            f"worker {worker} has fer_bench {__version__}, this is {errand.version}: install the same version on both"
        )
    for file in errand.needed:
        if not file.is_file():
            raise FerBenchError(f"worker {worker} has no {file}: put it where runner and workers both see it")


def _is_seen(token: Path, content: str) -> bool:
    try:
        return token.read_text() == content
    except OSError:
        return False


def _with_data(errand: Errand) -> Job | None:
    """The job with the folders of its data on this machine: the runner's, or the copies in this worker's cache."""
    found = []
    for folder, about in zip((errand.job.dataset_folder, errand.job.split_folder), errand.data, strict=True):
        for candidate in (folder, cache.entry_path(folder.parent.name, folder.name)):
            if (candidate / "about.json").is_file() and (candidate / "about.json").read_bytes() == about:
                found.append(candidate)
                break
        else:
            return None
    return replace(errand.job, dataset_folder=found[0], split_folder=found[1])
