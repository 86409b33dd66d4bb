"""Run a plan: skip what is done, share the cores, lose nothing, say how it went."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from fer_bench.execution.auditing import audit_data
from fer_bench.execution.children import BUSY, record_without_child
from fer_bench.execution.estimate import Estimate
from fer_bench.execution.job import Job
from fer_bench.execution.places import Place, ThisMachine
from fer_bench.execution.plan import PlannedRun
from fer_bench.execution.prepare import Prepared, store_split
from fer_bench.models.deep.backend import check_backend
from fer_bench.models.deep.pretrained import Resolution, resolve_weights
from fer_bench.progress import Progress
from fer_bench.records.store import ResultsFolder

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Options:
    """How to run. timeout: seconds per run. weights: "auto", "imagenet", "none" or a path."""

    rerun: str = "failed"
    timeout: float | None = None
    weights: str = "auto"
    plugins: tuple[Path, ...] = ()
    command: str = ""


class Watcher(Protocol):
    """Who is told how a suite goes on."""

    def waiting(self, what: str) -> None:
        """Nothing runs yet, because of `what`."""

    def progress(self, run_id: str, done: float, text: str) -> None:
        """A run has come to `done` (0..1)."""

    def ended(self, planned: PlannedRun, status: str, seconds: float, seconds_left: float) -> None:
        """A run ended; the rest should take `seconds_left`."""


@dataclass
class Summary:
    """How a plan went: the ids of the runs that did not succeed, and whether it was stopped."""

    interrupted: bool = False
    failed: list[str] = field(default_factory=list)


def run_plan(
    plan: list[PlannedRun], prepared: Prepared, options: Options, watcher: Watcher, place: Place | None = None
) -> Summary:
    """Do every due run of `plan` in a child process of its own, and put each on record.

    place: where they are done; without, on this machine one after the other. A run that fails, times out or is killed
    costs itself only. Ctrl-C and SIGTERM cancel what is going on and return; call it from the main thread, where
    signals arrive.
    Raises FerBenchError where the results cannot be written, wanted weights cannot be had, or Keras has no backend.
    """
    due = [planned for planned in plan if planned.is_due(options.rerun)]
    summary = Summary()
    if due:
        prepared.results.prepare()
        due = _cleaned(due, prepared.results, options.rerun)
    store_split(prepared)  # this and the audit read what is there and write what is new: cheap where nothing is
    if 0 in prepared.counts:  # folds are drawn here, copies together: none straddles them
        audit_data(prepared, options.command, lambda done, text: watcher.waiting(f"{text} {done:.0%}"))
    if not due:
        return summary
    place = place or ThisMachine(1)
    jobs = _jobs(due, prepared, options, watcher, place.n_jobs)
    runnable = []
    for planned, job in zip(due, jobs, strict=True):
        if planned.reason:
            record_without_child(job, "not-applicable", planned.reason)
        else:
            runnable.append((planned, job))
    if any(planned.card.is_network for planned, _ in runnable):
        check_backend()
    if runnable:
        watcher.waiting("loading libraries")
        try:
            place.make_ready(tuple(dict.fromkeys(planned.card.family for planned, _ in runnable)), prepared.results)
        except KeyboardInterrupt:
            summary.interrupted = True
            return summary
        _Run(runnable, prepared, options, watcher, summary, place).all()
    return summary


def _cleaned(due: list[PlannedRun], results: ResultsFolder, rerun: str) -> list[PlannedRun]:
    """`due` once what killed runs left is gone, without those whose finished record was put back by that."""
    put_back, found = results.clean(), []
    for run in due:
        if run.spec.run_id in put_back:
            standing = results.standing(run.spec.run_id)
            run = replace(run, status=standing.status, record_digest=standing.digest)
        if run.is_due(rerun):
            found.append(run)
    return found


def _jobs(due: list[PlannedRun], prepared: Prepared, options: Options, watcher: Watcher, n_jobs: int) -> list[Job]:
    """The due runs as jobs. What weights there are is found out here, once for each network that wants some."""
    files = sorted({p.card.pretrained for p in due if p.card.pretrained and not p.reason})
    if files and options.weights == "auto":
        watcher.waiting("looking for ImageNet weights")
    found = resolve_weights(options.weights, files) if files else {}
    unused = Resolution("", "")
    return [_job(p, prepared, options, found.get(p.card.pretrained or "", unused), n_jobs) for p in due]


def _job(planned: PlannedRun, prepared: Prepared, options: Options, found: Resolution, n_jobs: int) -> Job:
    return Job(
        spec=planned.spec,
        family=planned.card.family,
        features=planned.card.features,
        results=prepared.results.path,
        dataset_folder=prepared.dataset_folder,
        split_folder=prepared.split_folder,
        dataset=prepared.name,
        class_names=prepared.class_names,
        counts=prepared.counts[planned.spec.fold],
        split_source=prepared.split_source,
        data_notes=prepared.notes,
        plugins=options.plugins,
        command=options.command,
        n_jobs=n_jobs,
        record_digest=planned.record_digest,
        weights=found.weights,
        weights_reason=found.reason,
    )


_Due = tuple[PlannedRun, Job]


class _Run:
    """The state of one pass over the due runs."""

    def __init__(
        self,
        runs: list[_Due],
        prepared: Prepared,
        options: Options,
        watcher: Watcher,
        summary: Summary,
        place: Place,
    ) -> None:
        self.waiting, self.options, self.watcher, self.summary = list(runs), options, watcher, summary
        self.place, self.slots = place, 1
        self.estimate = Estimate(prepared.results.raw_records(), prepared.n_train)
        self.stop = threading.Event()
        self.started: dict[str, float] = {}

    def all(self) -> None:
        """Do all runs; those another runner is at are waited for at the end."""
        with _signals_set(self.stop):
            executor = ThreadPoolExecutor(len(self.waiting))  # it starts threads as they are needed: as many as slots
            try:
                first = [run for run in self.waiting if not run[0].needs_base]
                for runs in (first, [run for run in self.waiting if run[0].needs_base]):
                    busy = self._pass(executor, runs, patient=False)
                    if busy:
                        self.watcher.waiting("waiting for another runner")
                    lost = self._pass(executor, busy, patient=True)
                    self.summary.failed += [planned.spec.run_id for planned, _ in lost]
                self.summary.interrupted = self.stop.is_set()
            finally:
                self.stop.set()
                executor.shutdown(wait=True, cancel_futures=True)

    def _pass(self, executor: ThreadPoolExecutor, runs: list[_Due], patient: bool) -> list[_Due]:
        """Do `runs`; returns those that another runner is doing."""
        queue, going, busy = deque(runs), dict[Future[str], _Due](), []
        while (queue or going) and not self.stop.is_set():
            self.slots = self.place.slots()
            while queue and len(going) < self.slots:
                run = queue.popleft()
                going[executor.submit(self._one, *run, patient)] = run
            for future in self._ended_of(going):
                run = going.pop(future)
                if (status := future.result()) == BUSY:
                    busy.append(run)
                else:
                    self.waiting.remove(run)
                    self._ended(run[0], status)
        return busy

    def _ended_of(self, going: Collection[Future[str]]) -> Collection[Future[str]]:
        """Those of `going` that are done, after half a second at most; none once `stop` is set."""
        if going:
            done = wait(going, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED).done
        else:
            self.watcher.waiting("waiting for workers")
            self.stop.wait(_POLL_SECONDS)
            done = set()
        return set() if self.stop.is_set() else done  # what ends from then on was cancelled

    def _one(self, planned: PlannedRun, job: Job, patient: bool) -> str:
        if self.stop.is_set():
            return "cancelled"  # before it began: nothing to put on record
        run_id = planned.spec.run_id
        self.started[run_id] = time.monotonic()
        return self.place.launch(job, self.options.timeout, self.stop.is_set, self._progress(run_id), patient)

    def _progress(self, run_id: str) -> Progress:
        return lambda done, text: self.watcher.progress(run_id, done, text)

    def _ended(self, planned: PlannedRun, status: str) -> None:
        seconds = time.monotonic() - self.started[planned.spec.run_id]
        if status == "success":
            self.estimate.learn(planned, seconds)
        elif status != "not-applicable":
            self.summary.failed.append(planned.spec.run_id)
        left = sum(self.estimate.seconds(planned) for planned, _ in self.waiting) / max(1, self.slots)
        self.watcher.ended(planned, status, seconds, left)


@contextmanager
def _signals_set(stop: threading.Event) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM set `stop`: an exception raised at any moment could leave a lock held for ever."""
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
