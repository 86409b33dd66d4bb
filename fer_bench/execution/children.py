"""One child process per run: started from a fork server, watched, timed out, and its end put on record."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from filelock import Timeout

from fer_bench.errors import FerBenchError, is_no_room
from fer_bench.execution.environment import KERAS, out_of_memory_kills, set_defaults
from fer_bench.execution.job import Job, now
from fer_bench.execution.lifeline import die_with_parent
from fer_bench.execution.streams import redirect_output
from fer_bench.progress import Progress
from fer_bench.records.store import FINISHED, ResultsFolder

BUSY = "busy"
_EXIT_BUSY, _EXIT_NO_SPACE = 75, 74
_POLL_SECONDS = 0.5
_PRELOAD_ALWAYS = (
    "sklearn.metrics", "sklearn.decomposition", "scipy.optimize", "skimage.feature", "matplotlib.backends.backend_agg",
)  # fmt: skip
_PRELOAD = {
    "baseline": ("sklearn.dummy", "sklearn.linear_model"),
    "classical": ("sklearnex.svm", "sklearn.ensemble", "sklearn.neural_network", "imblearn.over_sampling"),
    "deep": ("keras", "imblearn.over_sampling"),
}
_LIBRARY_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS",
)  # fmt: skip
# The C library hands arrays of more than 128 KiB back to the system at once: a third of a perceptron's time went there.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}  # bytes; glibc's


def _context() -> Any:
    """A fork server where there is one: libraries are imported once, and a child starts in a moment."""
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")


def warm_up(families: Iterable[str], n_jobs: int) -> None:
    """Start the fork server with the libraries of `families` imported, `n_jobs` threads each, and wait for it."""
    for variable in _LIBRARY_THREADS:
        os.environ[variable] = str(n_jobs)
    set_defaults(KERAS | _KEEP_MEMORY)
    modules = [module for family in families for module in _PRELOAD[family]]
    os.environ["FER_BENCH_PRELOAD"] = " ".join(["fer_bench.execution.worker", *_PRELOAD_ALWAYS, *modules])
    context = _context()
    context.set_forkserver_preload(["fer_bench.execution.forkserver"])
    process = context.Process(target=_nothing)
    process.start()
    process.join()


def _nothing() -> None:
    """The errand of a child that is started only to see the fork server ready."""


def launch(job: Job, timeout: float | None, stopped: Callable[[], bool], progress: Progress, patient: bool) -> str:
    """Do `job` in a child process and return its status, or "busy" where another runner is at it.

    timeout: seconds of its own work, or None. stopped: asked now and then whether to cancel it. patient: wait for
    another runner instead of returning "busy".
    Raises FerBenchError where results cannot be written any more.
    """
    results = ResultsFolder(job.results)
    work = results.work_path(job.spec.run_id)
    started, kills = now(), out_of_memory_kills()
    context = _context()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(job, work, sender, patient))
    process.start()
    sender.close()
    ended = _watch(process, receiver, timeout, stopped, progress)
    receiver.close()
    try:
        if process.exitcode == _EXIT_NO_SPACE:
            raise FerBenchError(
                f"no space left, or no right to write, in {job.results} or the cache: "
                "make room and give the same command again; what is finished is kept"
            )
        if process.exitcode == _EXIT_BUSY:
            return BUSY
        if is_done(results, job):  # though it may have been killed just afterwards
            return results.status(job.spec.run_id) or "failed"
        reason, status = _verdict(ended, process.exitcode, timeout, kills)
        if status != "cancelled" or work.exists():  # or it waited for another runner
            _put_on_record(results, job, work, status, reason=reason, started=started, traceback=_tail(work))
        return status
    finally:
        shutil.rmtree(work, ignore_errors=True)


def record_without_child(job: Job, status: str, reason: str) -> None:
    """Put a run on record that no child lived to see the end of, unless another runner is at it."""
    results = ResultsFolder(job.results)
    _put_on_record(results, job, results.work_path(job.spec.run_id), status, reason=reason)


def _put_on_record(results: ResultsFolder, job: Job, work: Path, status: str, **known: Any) -> None:
    """Commit a record with `status`, unless another runner has done the run meanwhile, or a finished one would go."""
    run_id = job.spec.run_id
    try:
        with results.lock(run_id).acquire(timeout=10):
            is_finished = status == "cancelled" and results.status(run_id) in FINISHED
            if is_finished or is_done(results, job):
                shutil.rmtree(work, ignore_errors=True)
            else:
                results.commit(job.record(status, **known), work)
    except Timeout:
        shutil.rmtree(work, ignore_errors=True)  # another runner took the run over: its record will be the one
    except OSError as error:
        raise FerBenchError(f"{results.path}: {error.strerror or error}; what is finished is kept") from error


def _watch(
    process: Any,
    receiver: Connection,
    timeout: float | None,
    stopped: Callable[[], bool],
    progress: Callable[..., None],
) -> str | None:
    """Wait for the child's end, passing its progress on. Returns "timeout" or "cancelled" where it was killed.

    Time runs from its first word, which it says once it holds the run's lock.
    """
    deadline = ended = None
    while process.is_alive():
        ready = wait([process.sentinel, receiver], timeout=_POLL_SECONDS)
        if receiver in ready:
            try:
                progress(*receiver.recv())
                deadline = deadline or (timeout and time.monotonic() + timeout)
            except EOFError:
                process.join()
        if (cancelled := stopped()) or (deadline and time.monotonic() > deadline):
            ended = "cancelled" if cancelled else "timeout"
            process.kill()
            break
    process.join()
    return ended


def _verdict(ended: str | None, exitcode: int, timeout: float | None, kills: int) -> tuple[str, str]:
    if ended == "timeout":
        return f"took more than {timeout:g} s", "timeout"
    if ended == "cancelled":
        return "stopped before its end, by the user or by a full disk", "cancelled"
    if exitcode == -signal.SIGKILL and out_of_memory_kills() > kills:
        return "killed by the system for want of memory", "out-of-memory"
    if exitcode < 0:
        return f"killed by signal {signal.Signals(-exitcode).name}", "failed"
    return f"the child process ended with exit code {exitcode}", "failed"


def _tail(work: Path) -> str | None:
    """The last lines a child wrote before it was gone."""
    log = work / "log.txt"
    return log.read_text(errors="replace")[-4000:] or None if log.exists() else None


def _child(job: Job, work: Path, sender: Connection, patient: bool) -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the runner, which decides
    try:
        _do(job, work, sender, patient)
    except OSError as error:
        if not is_no_room(error):
            raise
        os._exit(_EXIT_NO_SPACE)  # at once: there is no room for what is still to be printed either


def _do(job: Job, work: Path, sender: Connection, patient: bool) -> None:
    results = ResultsFolder(job.results)
    lock = results.lock(job.spec.run_id)
    try:
        lock.acquire(blocking=patient)
    except Timeout:
        sys.exit(_EXIT_BUSY)
    if is_done(results, job):
        return
    work.mkdir(parents=True)
    redirect_output(work / "log.txt")
    sender.send((0.0, "starting"))
    from fer_bench.execution.worker import do_run

    print(f"{job.spec.run_id}: {job.command}", flush=True)
    record = do_run(job, work, _Reporter(sender))
    print(f"{record.status}: {record.reason or 'done'}", flush=True)
    results.commit(record, work)


class _Reporter:
    """Progress to the runner and the log, twice a second at most."""

    def __init__(self, sender: Connection) -> None:
        self._sender, self._last = sender, 0.0

    def __call__(self, done: float, text: str) -> None:
        moment = time.monotonic()
        if moment - self._last >= _POLL_SECONDS:
            self._last = moment
            print(f"{done:4.0%} {text}", flush=True)
            self._sender.send((done, text))


def is_done(results: ResultsFolder, job: Job) -> bool:
    """Whether a record of `job` was written since it was planned: no clock is asked, as file servers have their own."""
    return results.standing(job.spec.run_id).digest not in (None, job.record_digest)
