"""Run a plan: skip what is done, share the cores, lose nothing, say how it went."""

from __future__ import annotations

import inspect
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Literal

from fer_bench.data import ReadOptions
from fer_bench.errors import FerBenchError
from fer_bench.execution.children import BUSY, record_without_child
from fer_bench.execution.estimate import Estimate
from fer_bench.execution.places import Place, ThisMachine, connected
from fer_bench.execution.plan import Job, PlannedRun, Selection, make_plan
from fer_bench.execution.preparation import Prepared, audit_data, prepare, store_split
from fer_bench.models import (
    FEATURES,
    STRATEGIES,
    Recipe,
    demand,
    load_plugins,
    plugin_files,
)
from fer_bench.records import ResultsFolder
from fer_bench.seeds import checked_seeds

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Options:
    """How to run.

    rerun: "missing", "failed" (missing or not finished) or "all". timeout: seconds per run. plugins: files
    with models. jobs: runs at once on this machine. command: what is on record as having asked for the runs.
    Raises FerBenchError for another policy, and for less than a second or a run.
    """

    rerun: str = "failed"
    timeout: float | None = None
    plugins: tuple[Path, ...] = ()
    jobs: int = 1
    command: str = ""

    def __post_init__(self) -> None:
        if self.rerun not in ("missing", "failed", "all"):
            raise FerBenchError(f"--rerun {self.rerun}: missing, failed or all")
        if self.jobs < 1:
            raise FerBenchError(f"--jobs {self.jobs}: at least one run at once")
        if self.timeout is not None and not self.timeout >= 1:  # nan is not
            raise FerBenchError(f"--timeout {self.timeout}: at least one second")


class Watcher:
    """Who is told how a suite goes on. This one keeps it to itself."""

    def starting(self, prepared: Prepared, n_due: int) -> None:
        """`n_due` runs are going to be done, those that do not apply left out."""

    def waiting(self, what: str) -> None:
        """Nothing runs yet, because of `what`."""

    def progress(self, run_id: str, done: float, text: str) -> None:
        """A run has come to `done` (0..1)."""

    def ended(self, planned: PlannedRun, status: str, seconds: float, seconds_left: float) -> None:
        """A run ended; the rest should take `seconds_left`."""


@dataclass
class Finished:
    """How a plan went: the ids of the runs that did not succeed, and whether it was stopped."""

    prepared: Prepared
    failed: list[str] = field(default_factory=list)
    interrupted: bool = False


def run(
    data: str | Path = "synthetic",
    *,
    suite: str = "all",
    models: str | Sequence[str] | None = None,
    strategies: str | Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    folds: int | Literal["people"] = 0,
    budget: str = "quick",
    weights: str = "auto",
    parameters: Mapping[str, Any] | None = None,
    tuned: bool = False,
    mirror: bool = True,
    results: str | Path = "results",
    name: str | None = None,
    split_seed: int = 0,
    plugins: Sequence[str | Path] = (),
    rerun: str = "failed",
    timeout: float | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    watcher: Watcher | None = None,
    **reading: Any,
) -> Finished:
    """Prepare `data`, plan, and do what is not done yet. See `prepare`, `Selection` and `Options` for the arguments.

    reading: fields of `ReadOptions`, such as votes, groups and classes.
    scheduler: address of a Dask cluster to run on.
    Raises FerBenchError for what of them cannot be, and as `run_plan` does.
    """
    _check_names(reading)
    options = Options(rerun, timeout, tuple(map(Path, plugins)), jobs)
    load_plugins(options.plugins)
    selection = Selection(
        suite, models, strategies, checked_seeds(seeds), budget, weights, parameters or {}, tuned, mirror
    )
    selection.chosen()  # before data are read
    with connected(scheduler) as place:
        prepared = prepare(data, results, name, ReadOptions(**reading), split_seed, folds)
        return run_plan(make_plan(prepared, selection), prepared, options, watcher, place)


def _check_names(reading: Collection[str]) -> None:
    """Raise FerBenchError naming all of `reading` that are no options of `run`, with what may have been meant."""
    own = [name for name in inspect.signature(run).parameters if name not in ("watcher", "reading")]
    known = [one.name for one in fields(ReadOptions)]
    trained = ["image_size", "fine_tune", *(one.name for one in fields(Recipe))]
    problems = []
    for name in sorted(set(reading) - set(known)):
        close = get_close_matches(name, [*own, *known, *trained], n=1)
        meant = f"parameters={{{close[0]!r}: ...}}" if close and close[0] in trained else "".join(close)
        problems.append(f"no option {name}; did you mean {meant}?" if meant else f"no option {name}.")
    if problems:
        there = f"There are {', '.join(sorted(own))}; of how data are read there are {', '.join(sorted(known))}"
        raise FerBenchError(f"{' '.join(problems)} {there}")


def run_plan(
    plan: list[PlannedRun],
    prepared: Prepared,
    options: Options = Options(),
    watcher: Watcher | None = None,
    place: Place | None = None,
) -> Finished:
    """Do every due run of `plan` in a child process of its own, and put each on record.

    place: where they are done; None: on this machine. A run that fails, times out or is killed costs itself only.
    Ctrl-C and SIGTERM cancel what is going on and return, where this is called from the main thread.
    Raises FerBenchError where the results cannot be written, or wanted weights cannot be had.
    """
    watcher = watcher or Watcher()
    due = [planned for planned in plan if planned.is_due(options.rerun)]
    finished = Finished(prepared)
    watcher.starting(prepared, sum(planned.reason is None for planned in due))
    if due:
        prepared.results.prepare()
        due = _cleaned(due, prepared.results, options.rerun)
    prepared.results.claim(prepared.data_fingerprint)
    store_split(prepared)  # this and the audit read what is there and write what is new: cheap where nothing is
    audit_data(prepared, lambda done, text: watcher.waiting(f"{text} {done:.0%}"))
    if due:
        _run_due(due, prepared, options, watcher, place or ThisMachine(options.jobs), finished)
    return finished


def _run_due(
    due: list[PlannedRun], prepared: Prepared, options: Options, watcher: Watcher, place: Place, finished: Finished
) -> None:
    runnable = []
    for planned, job in zip(due, _jobs(due, prepared, options, place.n_jobs), strict=True):
        if planned.reason:
            record_without_child(job, "not-applicable", planned.reason)
        else:
            runnable.append((planned, job))
    if not runnable:
        return
    watcher.waiting("loading libraries")
    try:
        place.make_ready(tuple(dict.fromkeys(planned.card.family for planned, _ in runnable)))
    except KeyboardInterrupt:
        finished.interrupted = True
        return
    estimate = Estimate(prepared.results.raw_records(), prepared.n_train)
    _Run(runnable, estimate, options, watcher, finished, place).all()


def _cleaned(due: list[PlannedRun], results: ResultsFolder, rerun: str) -> list[PlannedRun]:
    """`due` once what killed runs left is gone, without those whose finished record was put back by that."""
    put_back, found = results.clean(), []
    for run in due:
        if run.spec.run_id in put_back:
            state = results.state(run.spec.run_id)
            run = replace(run, status=state.status, record_digest=state.digest)
        if run.is_due(rerun):
            found.append(run)
    return found


def _jobs(due: list[PlannedRun], prepared: Prepared, options: Options, n_jobs: int) -> list[Job]:
    """The due runs as jobs. Raises FerBenchError where one of them needs weights that cannot be had."""
    demand({p.card.pretrained: p.weights for p in due if p.card.pretrained and not p.reason})
    prepared, plugins = prepared.absolute(), _plugins(due, options)
    return [
        Job(
            spec=planned.spec,
            family=planned.card.family,
            features=planned.card.features,
            prepared=prepared,
            plugins=plugins,
            command=options.command,
            n_jobs=n_jobs,
            record_digest=planned.record_digest,
            weights=planned.weights.weights,
            weights_reason=planned.weights.reason,
            stands=planned.status == "success",
        )
        for planned in due
    ]


def _plugins(due: list[PlannedRun], options: Options) -> tuple[Path, ...]:
    """The files that define what is due, those of scripts and notebooks too, after the files that were named."""
    functions: list[Callable[..., Any]] = []
    for planned in due:
        features, strategy = FEATURES[planned.card.features], STRATEGIES[planned.spec.strategy]
        functions += [planned.card.build, features.build, strategy.plan]
    named = [file.resolve() for file in options.plugins]
    return tuple(dict.fromkeys([*named, *plugin_files(functions)]))


_Due = tuple[PlannedRun, Job]


class _Run:
    """The state of one pass over the due runs."""

    def __init__(
        self, runs: list[_Due], estimate: Estimate, options: Options, watcher: Watcher, finished: Finished, place: Place
    ) -> None:
        self.waiting, self.options, self.watcher, self.finished = list(runs), options, watcher, finished
        self.place, self.slots, self.estimate = place, 1, estimate
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
                    self._pass(executor, busy, patient=True)
                self.finished.interrupted = self.stop.is_set()
            finally:
                self.stop.set()
                executor.shutdown(wait=True, cancel_futures=True)

    def _pass(self, executor: ThreadPoolExecutor, runs: list[_Due], patient: bool) -> list[_Due]:
        """Do `runs`; returns those that another runner is doing."""
        queue, going, busy = list(runs), dict[Future[str], _Due](), []
        while (queue or going) and not self.stop.is_set():
            self.slots = self.place.slots()
            while queue and len(going) < self.slots:
                run = self._next(queue)
                queue.remove(run)
                going[executor.submit(self._one, *run, patient)] = run
            for future in self._ended_of(going):
                run = going.pop(future)
                if (status := future.result()) == BUSY:
                    busy.append(run)
                else:
                    self.waiting.remove(run)
                    self._ended(run[0], status)
        return busy

    def _next(self, queue: list[_Due]) -> _Due:
        """The first; of several at once the longest, lest it is left for the end, when the other cores have no work."""
        return queue[0] if self.slots == 1 else max(queue, key=lambda run: self.estimate.seconds(run[0]))

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
        progress = partial(self.watcher.progress, run_id)
        return self.place.launch(job, self.options.timeout, self.stop.is_set, progress, patient)

    def _ended(self, planned: PlannedRun, status: str) -> None:
        seconds = time.monotonic() - self.started[planned.spec.run_id]
        if status == "success":
            self.estimate.learn(planned, seconds)
        elif status != "not-applicable":
            self.finished.failed.append(planned.spec.run_id)
        left = sum(self.estimate.seconds(planned) for planned, _ in self.waiting) / max(1, self.slots)
        self.watcher.ended(planned, status, seconds, left)


@contextmanager
def _signals_set(stop: threading.Event) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM set `stop`: an exception raised at any moment could leave a lock held for ever.

    What arrives ignored stays ignored, as SIGINT is in the background of a script; only the main thread is told at all.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heeded = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
