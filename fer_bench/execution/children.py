"""One child process per run: started from a fork server, watched, timed out, and its end put on record."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any

from filelock import Timeout

from fer_bench import cache
from fer_bench.errors import FerBenchError, is_no_room
from fer_bench.execution.environment import (
    KERAS,
    die_with_parent,
    out_of_memory_kills,
    redirect_output,
    set_defaults,
)
from fer_bench.execution.plan import Job, now
from fer_bench.progress import Progress
from fer_bench.records import FINISHED, LOG_FILE, shorten_log

BUSY, _NO_SPACE = "busy", "no space"
_POLL_SECONDS, _PATIENCE_SECONDS = 0.5, 1.0
_LONGEST = 200
"""Characters of what a model says of its progress."""
_SPARING = ("timeout", "out-of-memory", "not-applicable")
"""Ends that say nothing against a success that still stands on record: the same run may succeed another day."""
_PRELOAD_ALWAYS = ("sklearn.metrics", "sklearn.decomposition", "skimage.util")
_PRELOAD = {
    "baseline": ("sklearn.dummy", "sklearn.linear_model"),
    "classical": ("sklearnex.svm", "sklearnex.ensemble", "sklearn.neural_network", "imblearn.over_sampling"),
    "deep": ("keras", "imblearn.over_sampling"),
}
_LIBRARY_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS",
)  # fmt: skip
# The C library hands arrays of more than 128 KiB back to the system at once: a third of a perceptron's time went there.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}  # bytes; glibc's
# Libraries are imported once, and a child starts in a moment.
_CONTEXT: Any = multiprocessing.get_context("forkserver")
_starting = threading.Lock()
_settings: dict[str, str | None] = {}
"""What the fork server was started with of the environment that decides what children do."""


def warm_up(families: Iterable[str], n_jobs: int) -> None:
    """Start the fork server with the libraries of `families` imported, `n_jobs` threads each, and wait for it.

    One that was started with other settings is replaced, unless it has children.
    """
    for variable in _LIBRARY_THREADS:
        os.environ[variable] = str(n_jobs)
    os.environ[cache.ENVIRONMENT_VARIABLE] = str(cache.root().absolute())  # a model may go to another folder
    set_defaults(KERAS | _KEEP_MEMORY)
    modules = [module for family in families for module in _PRELOAD[family]]
    os.environ["FER_BENCH_PRELOAD"] = " ".join(["fer_bench.execution.worker", *_PRELOAD_ALWAYS, *modules])
    _CONTEXT.set_forkserver_preload(["fer_bench.execution.forkserver"])
    process = _CONTEXT.Process(target=int)  # which does nothing: once it has ended, the fork server is ready
    with _without_main():
        _stop_if_outdated()
        process.start()
    process.join()


def _stop_if_outdated() -> None:
    """End a fork server whose settings are not those of this process now; with children it would not end."""
    wanted = {name: os.environ.get(name) for name in (*_LIBRARY_THREADS, cache.ENVIRONMENT_VARIABLE, "KERAS_BACKEND")}
    is_at_work = any(isinstance(child, ForkServerProcess) for child in multiprocessing.active_children())
    if wanted != _settings and not is_at_work:
        server: Any = forkserver._forkserver
        server._stop()
        _settings.update(wanted)


@contextmanager
def _without_main() -> Iterator[None]:
    """Children started inside do not import the program that starts them: a script without a guard would run again."""
    with _starting:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def launch(job: Job, timeout: float | None, stopped: Callable[[], bool], progress: Progress, patient: bool) -> str:
    """Do `job` in a child process and return its status, or "busy" where another runner is at it.

    timeout: seconds of its own work, or None. stopped: asked now and then whether to cancel it. patient: wait for
    another runner instead of returning "busy".
    Raises FerBenchError where results cannot be written any more.
    """
    results = job.prepared.results
    work = results.work_path(job.spec.run_id)
    started, kills = now(), out_of_memory_kills()
    receiver, sender = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_child, args=(job, work, sender, patient))
    with _without_main():
        process.start()
    sender.close()
    try:
        ended = _watch(process, receiver, work, timeout, stopped, progress)
        if ended == _NO_SPACE:
            raise FerBenchError(
                f"no space left, or no right to write, in {results.path} or the cache: "
                "make room and give the same command again; what is finished is kept"
            )
        if ended == BUSY:
            return BUSY
        if is_done(job):  # though it may have been killed just afterwards
            return results.status(job.spec.run_id) or "failed"
        reason, status = _ending(ended, process.exitcode, timeout, kills)
        if status != "cancelled" or work.exists():  # or it waited for another runner
            _put_on_record(job, work, status, reason=reason, started=started, traceback=_tail(work))
        return status
    finally:
        receiver.close()
        shutil.rmtree(work, ignore_errors=True)


def record_without_child(job: Job, status: str, reason: str) -> None:
    """Put a run on record that no child lived to see the end of, unless another runner is at it."""
    _put_on_record(job, job.prepared.results.work_path(job.spec.run_id), status, reason=reason)


def is_done(job: Job) -> bool:
    """Whether a record of `job` was written since it was planned: no clock is asked, as file servers have their own."""
    return job.prepared.results.state(job.spec.run_id).digest not in (None, job.record_digest)


def _spares(job: Job, status: str) -> bool:
    """Whether the record that is there stays though `job` ended otherwise this time."""
    return job.stands and status in _SPARING and job.prepared.results.status(job.spec.run_id) == "success"


def _put_on_record(job: Job, work: Path, status: str, **known: Any) -> None:
    """Commit a record with `status`, unless another runner has done the run meanwhile, or a finished one would go.

    What spares a finished one is added to its log.
    """
    results, run_id = job.prepared.results, job.spec.run_id
    try:
        with results.lock(run_id).acquire(timeout=10):
            is_finished = status == "cancelled" and results.status(run_id) in FINISHED
            if is_finished or is_done(job):
                shutil.rmtree(work, ignore_errors=True)
            elif _spares(job, status):
                why = f"done again: {status} ({known['reason']}); the earlier record stays"
                with (results.runs / run_id / LOG_FILE).open("a") as log:
                    log.write(f"{_tail(work) or ''}{why}\n")
            else:
                results.commit(job.record(status, **known), work)
    except Timeout:
        shutil.rmtree(work, ignore_errors=True)  # another runner took the run over: its record will be the one
    except OSError as error:
        raise FerBenchError(f"{results.path}: {error.strerror or error}; what is finished is kept") from error


def _watch(
    process: Any,
    receiver: Connection,
    work: Path,
    timeout: float | None,
    stopped: Callable[[], bool],
    progress: Progress,
) -> str | None:
    """Wait for the child's end, passing its progress on and keeping its log in `work` short.

    Returns "timeout" or "cancelled" where it was killed, BUSY, _NO_SPACE or one of _SPARING where it says so. Time runs
    from its first word, which it says once it holds the run's lock.
    """
    deadline = said = None
    sources = [process.sentinel, receiver]
    while (ready := wait(sources, timeout=_POLL_SECONDS)) != [process.sentinel]:
        if receiver in ready:
            try:
                message = receiver.recv()
            except (EOFError, OSError):  # a model may close what is not its own
                sources.remove(receiver)
                continue
            if isinstance(message, str):
                said = message
            else:
                progress(*message)
                deadline = deadline or (timeout and time.monotonic() + timeout)
        shorten_log(work)
        if (cancelled := stopped()) or (deadline and time.monotonic() > deadline):
            said = "cancelled" if cancelled else "timeout"
            process.kill()
            break
    process.join()
    _end_group(process.pid)
    return said or ("cancelled" if stopped() else None)  # as where the fork server was ended, and the child with it


def _end_group(number: int) -> None:
    """End what a child has left behind; what tidies up after the others, as joblib's tracker does, has a second."""
    patient_until = time.monotonic() + _PATIENCE_SECONDS
    with suppress(ProcessLookupError, PermissionError):  # once there is none left
        while time.monotonic() < patient_until:
            os.killpg(number, signal.SIGTERM)
            time.sleep(0.02)
        os.killpg(number, signal.SIGKILL)


def _ending(ended: str | None, exitcode: int, timeout: float | None, kills: int) -> tuple[str, str]:
    if ended == "timeout":
        return f"took more than {timeout:g} s", "timeout"
    if ended in _SPARING:
        return "the run asked for more memory than there is" if ended == "out-of-memory" else "does not apply", ended
    if ended == "cancelled":
        return "stopped before its end, by the user or by a full disk", "cancelled"
    if exitcode == -signal.SIGKILL and out_of_memory_kills() > kills:
        return "killed by the system for want of memory", "out-of-memory"
    if exitcode < 0:
        name = next((known.name for known in signal.Signals if known == -exitcode), -exitcode)  # not each has one
        return f"killed by signal {name}", "failed"
    return f"the child process ended with exit code {exitcode}", "failed"


def _tail(work: Path) -> str | None:
    """The last lines a child wrote before it was gone."""
    log = work / LOG_FILE
    return log.read_text(errors="replace")[-4000:] or None if log.exists() else None


def _child(job: Job, work: Path, sender: Connection, patient: bool) -> None:
    os.setsid()  # a process group of its own, which is ended with it
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the runner, which decides
    try:
        _do(job, work, sender, patient)
    except OSError as error:
        if not is_no_room(error):
            raise
        sender.send(_NO_SPACE)
    os._exit(0)  # at once: a full disk takes nothing that is still to be printed, and a model's threads may never end


def _do(job: Job, work: Path, sender: Connection, patient: bool) -> None:
    results = job.prepared.results
    lock = results.lock(job.spec.run_id)
    try:
        lock.acquire(blocking=patient)
    except Timeout:
        sender.send(BUSY)
        return
    if is_done(job):
        return
    work.mkdir(parents=True)
    redirect_output(work / LOG_FILE)
    sender.send((0.0, "starting"))
    from fer_bench.execution.worker import do_run

    print(f"{job.spec.run_id}: {job.command}", flush=True)
    record = do_run(job, work, _Reporter(sender))
    print(f"{record.status}: {record.reason or 'done'}", flush=True)
    if _spares(job, record.status):
        print(record.traceback or "", flush=True)
        sender.send(record.status)
    else:
        results.commit(record, work)


class _Reporter:
    """Progress to the runner and the log, twice a second at most."""

    def __init__(self, sender: Connection) -> None:
        self._sender, self._last = sender, 0.0

    def __call__(self, done: float, text: str) -> None:
        moment = time.monotonic()
        if moment - self._last >= _POLL_SECONDS:
            self._last = moment
            print(f"{done:4.0%} {text[:_LONGEST]}", flush=True)
            self._sender.send((done, text[:_LONGEST]))
