"""Run a plan: skip what is done, share the cores, lose nothing, say how it went."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fer_bench.execution.children import BUSY, launch, record_not_applicable, warm_up
from fer_bench.execution.estimate import Estimate
from fer_bench.execution.job import Job
from fer_bench.execution.plan import PlannedRun
from fer_bench.execution.prepare import Prepared, store_split
from fer_bench.models.deep.backend import check_backend
from fer_bench.models.deep.pretrained import resolve_weights


@dataclass(frozen=True)
class Options:
    """How to run. jobs: children at once. timeout: seconds per run. weights: "auto", "imagenet", "none" or a path."""

    rerun: str = "failed"
    jobs: int = 1
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


def run_plan(plan: list[PlannedRun], prepared: Prepared, options: Options, watcher: Watcher) -> Summary:
    """Do every due run of `plan` in child processes, `options.jobs` at once, and put each on record.

    A run that fails, times out or is killed costs itself only. Ctrl-C and SIGTERM cancel what is going on and return;
    call it from the main thread, where signals arrive.
    Raises FerBenchError where the results cannot be written, wanted weights cannot be had, or Keras has no backend.
    """
    due = [planned for planned in plan if planned.is_due(options.rerun)]
    summary = Summary()
    if not due:
        return summary
    from fer_bench.execution.auditing import audit_data  # here, as most of its libraries serve nothing else

    prepared.results.prepare()
    prepared.results.clean()
    store_split(prepared)
    if "" in prepared.counts:  # folds are drawn here, copies together: none straddles them
        audit_data(prepared, options.command, lambda done, text: watcher.waiting(f"{text} {done:.0%}"))
    jobs = _jobs(due, prepared, options, watcher)
    runnable = []
    for planned, job in zip(due, jobs, strict=True):
        if planned.reason:
            record_not_applicable(job, planned.reason)
        else:
            runnable.append((planned, job))
    if any(planned.card.is_network for planned, _ in runnable):
        check_backend()
    if runnable:
        watcher.waiting("loading libraries")
        try:
            warm_up(dict.fromkeys(planned.card.family for planned, _ in runnable), jobs[0].n_jobs)
        except KeyboardInterrupt:
            summary.interrupted = True
            return summary
        _Run(runnable, prepared, options, watcher, summary).all()
    return summary


def _jobs(due: list[PlannedRun], prepared: Prepared, options: Options, watcher: Watcher) -> list[Job]:
    """The due runs as jobs. What weights there are is found out here, once."""
    files = sorted({p.card.pretrained for p in due if p.card.pretrained and not p.reason})
    if files and options.weights == "auto":
        watcher.waiting("looking for ImageNet weights")
    resolved = resolve_weights(options.weights, files) if files else None
    since = time.time()
    return [
        Job(
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
            n_jobs=max(1, (os.cpu_count() or 1) // options.jobs),
            since=since,
            weights=resolved.weights if resolved and planned.card.pretrained else "",
            weights_reason=resolved.reason if resolved and planned.card.pretrained else "",
        )
        for planned in due
    ]


class _Run:
    """The state of one pass over the due runs."""

    def __init__(
        self,
        runs: list[tuple[PlannedRun, Job]],
        prepared: Prepared,
        options: Options,
        watcher: Watcher,
        summary: Summary,
    ) -> None:
        self.waiting, self.options, self.watcher, self.summary = list(runs), options, watcher, summary
        self.estimate = Estimate(prepared.results.raw_records(), prepared.n_train)
        self.stop = threading.Event()
        self.started: dict[str, float] = {}

    def all(self) -> None:
        """Do all runs; those another runner is at are waited for at the end."""
        with _signals_set(self.stop):
            executor = ThreadPoolExecutor(self.options.jobs)
            try:
                first = [run for run in self.waiting if not run[0].needs_base]
                for runs in (first, [run for run in self.waiting if run[0].needs_base]):
                    busy = self._pass(executor, runs, patient=False)
                    self._pass(executor, busy, patient=True)
                self.summary.interrupted = self.stop.is_set()
            finally:
                self.stop.set()
                executor.shutdown(wait=True, cancel_futures=True)

    def _pass(self, executor: ThreadPoolExecutor, runs: list, patient: bool) -> list:
        """Do `runs`; returns those that another runner is doing."""
        futures = {executor.submit(self._one, planned, job, patient): (planned, job) for planned, job in runs}
        busy = []
        for future in self._as_they_end(set(futures)):
            planned, job = futures[future]
            status = future.result()
            if status == BUSY:
                busy.append((planned, job))
            else:
                self.waiting.remove((planned, job))
                self._ended(planned, status)
        return busy

    def _as_they_end(self, futures: set[Future[str]]) -> Iterator[Future[str]]:
        """The futures as they are done, until all are or `stop` is set."""
        while futures and not self.stop.is_set():
            done, futures = wait(futures, timeout=0.5, return_when=FIRST_COMPLETED)
            if not self.stop.is_set():  # what ends from then on was cancelled
                yield from done

    def _one(self, planned: PlannedRun, job: Job, patient: bool) -> str:
        if self.stop.is_set():
            return "cancelled"  # before it began: nothing to put on record
        run_id = planned.spec.run_id
        self.started[run_id] = time.monotonic()
        progress = self._progress(run_id)
        progress(0, "starting")
        return launch(job, self.options.timeout, self.stop, progress, patient)

    def _progress(self, run_id: str) -> Callable[[float, str], None]:
        return lambda done, text: self.watcher.progress(run_id, done, text)

    def _ended(self, planned: PlannedRun, status: str) -> None:
        seconds = time.monotonic() - self.started[planned.spec.run_id]
        if status == "success":
            self.estimate.learn(planned, seconds)
        elif status != "not-applicable":
            self.summary.failed.append(planned.spec.run_id)
        left = sum(self.estimate.seconds(planned) for planned, _ in self.waiting) / self.options.jobs
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
