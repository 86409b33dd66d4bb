"""One run, start to finish: what happens inside the child process."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench import cache, metrics
from fer_bench.data import Dataset, Split
from fer_bench.errors import FerBenchError, readable
from fer_bench.execution.environment import environment, is_full, peak_memory_mb
from fer_bench.execution.fitting import NotApplicable, built, choosing_rows, fit, planned, predict
from fer_bench.execution.plan import Job, now
from fer_bench.models import (
    MODELS,
    STRATEGIES,
    TrainingPlan,
    load_plugins,
    model_features,
    n_parameters,
    plugin_code,
)
from fer_bench.progress import Progress
from fer_bench.records import Record, Timing, write_history, write_predictions

WEIGHTS_FILE = "model.weights.h5"
MOST_ROWS, MOST_PARAMETERS, LONGEST = 10_000, 100, 200
"""Of a history; of a classifier, and characters of each: those of others may say anything."""


@dataclass(frozen=True)
class Outcome:
    """What a run brought: float32 (n, n_classes) of validation and test, rows of history.csv, fields of the record."""

    probabilities: dict[str, np.ndarray]
    history: list[dict[str, Any]]
    facts: dict[str, Any]


class Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str | None = None) -> None:
        """Book the time since the last call under `phase`, or nowhere."""
        now = time.perf_counter()
        if phase:
            self.seconds[phase] = now - self._last
        self._last = now


def do_run(job: Job, work: Path, progress: Progress) -> Record:
    """Do `job`, leaving predictions.npz and history.csv in the folder `work`; return its record.

    Whatever the model raises becomes a failed record with its traceback, but for the OSError of a full disk that
    results or cache are on.
    """
    started = now()
    environment(job.n_jobs)  # kept from here on: the code may be another by the end
    try:
        return _measured(job, work, progress, started)
    except NotApplicable as reason:
        return job.record("not-applicable", reason=str(reason), started=started, **origin(job))
    except MemoryError:
        return job.record(
            "out-of-memory", reason="the run asked for more memory than there is",
            traceback=traceback.format_exc(), started=started,
        )  # fmt: skip
    except BaseException as error:  # a model that ends the process, or says it was interrupted, fails like any other
        if is_full(error, job.prepared.results.path):
            raise
        traceback.print_exc()
        text = " ".join(str(error).split())
        return job.record(
            "failed", reason=f"{type(error).__name__}: {text}"[:500],
            traceback=traceback.format_exc(), started=started,
        )  # fmt: skip


def _measured(job: Job, work: Path, progress: Progress, started: str) -> Record:
    clock = Clock()
    progress(0, "loading")
    load_plugins(job.plugins)
    dataset = Dataset.load(job.prepared.dataset_folder)
    split = Split.load(job.prepared.split_folder, job.spec.fold)
    clock.lap("load")
    starts_from = STRATEGIES[job.spec.strategy].starts_from
    make: Callable[..., Outcome] = adjusted if starts_from == "probabilities" else trained
    outcome = make(job, work, dataset, split, clock, progress)
    scores = {
        name: metrics.score(dataset.labels[split.subsets()[name]], rows, dataset.class_names)
        for name, rows in outcome.probabilities.items()
    }
    clock.lap("score")
    _save_predictions(work, dataset, split, outcome.probabilities)
    write_history(work, outcome.history)
    return job.record(
        "success",
        started=started,
        **scores,
        **outcome.facts,
        peak_memory_mb=peak_memory_mb(),
        cpu_seconds=time.process_time(),
        seconds=clock.seconds,
    )


def trained(job: Job, work: Path, dataset: Dataset, split: Split, clock: Clock, progress: Progress) -> Outcome:
    """Train the job's classifier on the rows that its strategy plans, and predict."""
    card, strategy, parameters = MODELS[job.spec.model], STRATEGIES[job.spec.strategy], dict(job.spec.parameters)
    known = origin(job)
    progress(0, f"features: {card.features}")
    features = model_features(card, parameters, dataset, split)
    clock.lap()
    X, y, plan, task = planned(
        job.spec.strategy,
        features,
        dataset,
        split,
        job.spec.seed,
        n_jobs=job.n_jobs,
        steps=card.steps[job.spec.budget] if card.steps else None,
        weights=job.weights or "none",
        parameters=parameters,
        checkpoint=checkpoint_file(job),
        code=known["plugin_code"] or "",
        progress=progress,
    )
    classifier = built(card, task)
    progress(0, "fitting")
    earlier = _fit(job, classifier, X, y, plan)
    clock.lap("fit")
    frozen = _attribute(classifier, "frozen_")
    passed = frozen.seconds if frozen else 0.0
    progress(1, "predicting")
    wanted = dataset.labels[split.validation]
    probabilities = predict(classifier, features, ("validation", "test"), wanted, task.n_classes)
    clock.lap("predict")
    clock.seconds["fit"] += earlier - passed
    clock.seconds["features"], ms_per_image = features.seconds, features.ms_per_image
    if frozen:  # shared like features, and booked like them, whichever run did the pass
        clock.seconds["predict"] -= frozen.seconds - passed
        clock.seconds["features"] += frozen.total_seconds
        ms_per_image += frozen.ms_per_image
    if card.is_network:  # what re-training of the classifier starts from, and what `export` takes
        classifier.network.model.save_weights(work / WEIGHTS_FILE)
    predicted = len(split.validation) + len(split.test)
    facts = {
        "device": _attribute(classifier, "device_"),
        "precision": _attribute(classifier, "precision_"),
        "initial_weights": _attribute(classifier, "initial_weights_"),
        "weights_note": _attribute(classifier, "weights_note_", "") or job.weights_reason,
        "notes": [*_attribute(classifier, "notes_", []), *filter(None, [job.weights_reason])],
        "n_rows": len(plan.rows) // features.views,
        "steps": _attribute(classifier, "steps_") or (task.steps if card.steps else None),
        "epochs": _attribute(classifier, "epochs_"),
        "stochastic": card.stochastic or strategy.stochastic,
        "n_parameters": n_parameters(classifier),
        "ms_per_image": ms_per_image + 1000 * clock.seconds["predict"] / predicted,
        "parameters": _parameters(classifier),
    }
    return Outcome(probabilities, _history(classifier), facts | known)


def adjusted(job: Job, work: Path, dataset: Dataset, split: Split, clock: Clock, progress: Progress) -> Outcome:
    """Adjust the probabilities of the finished run under "none"; nothing is trained."""
    known = origin(job)
    base, _ = base_run(job)
    plan = STRATEGIES[job.spec.strategy].plan(dataset.labels[split.train], len(dataset.class_names), job.spec.seed)
    stored = job.prepared.results.predictions(base.run_id)
    if stored is None:
        raise FerBenchError(f"starts from the predictions of the run {base.run_id}, which are not there")
    before = {name: stored[f"{name}_probabilities"] for name in ("validation", "test")}
    chosen_on = choosing_rows(job.prepared, job.spec.fold, progress)
    tau = metrics.choose_tau(
        before["validation"][chosen_on], dataset.labels[split.validation][chosen_on], plan.log_prior
    )
    clock.lap("fit")
    earlier = base.seconds or Timing()
    clock.seconds["fit"] += earlier.fit
    clock.seconds["features"] = earlier.features
    after = {name: metrics.adjust(rows, plan.log_prior, tau) for name, rows in before.items()}
    clock.lap("predict")
    kept = (
        "device", "precision", "initial_weights", "weights_note", "notes", "n_rows", "steps", "stochastic",
        "n_parameters", "ms_per_image",
    )  # fmt: skip
    facts = {name: getattr(base, name) for name in kept}
    facts |= {"adjusted_from": base.run_id, "parameters": {**base.parameters, "tau": tau}}
    return Outcome(after, [], facts | known)


def checkpoint_file(job: Job) -> Path:
    """The file in the cache for unfinished training: each results folder has its own, as it has its own locks."""
    folder = cache.digest({"results": str(job.prepared.results.path.absolute())})[:8]
    return cache.entry_path("checkpoints", f"{job.spec.run_id}.{folder}.npz")


def origin(job: Job) -> dict[str, str | None]:
    """The fields of the record that say what plugins define of `job`, and what the run answers that it starts from.

    To be asked before that run is read: if it is done again meanwhile, and answers otherwise, `job` is due again.
    """
    strategy = STRATEGIES[job.spec.strategy]
    base = job.prepared.results.predictions_digest(job.base_id) if strategy.starts_from else None
    return {"plugin_code": plugin_code(MODELS[job.spec.model], strategy) or None, "base_predictions": base}


def base_run(job: Job) -> tuple[Record, Path]:
    """The record and folder of the finished run under "none" that `job` starts from.

    Raises FerBenchError where there is none.
    """
    results, run_id = job.prepared.results, job.base_id
    record = results.record(run_id)
    if record is None or record.status != "success":
        raise FerBenchError(f"starts from the run {run_id}, which is {record.status if record else 'not there'}")
    return record, results.runs / run_id


def _fit(job: Job, classifier: Any, X: np.ndarray, y: np.ndarray, plan: TrainingPlan) -> float:
    """Fit, or re-train; returns the seconds that were spent on the classifier before."""
    earlier = 0.0
    if STRATEGIES[job.spec.strategy].starts_from == "weights":
        from fer_bench.models import retrain_head

        base, folder = base_run(job)
        if not (folder / WEIGHTS_FILE).exists():
            raise FerBenchError(
                f"starts from {WEIGHTS_FILE} of the run {folder.name}, which is not in its folder (weights are not "
                "published with results): do that run again, with --strategies none --rerun all"
            )
        retrain_head(classifier, folder / WEIGHTS_FILE, X, y, plan.rows)
        earlier = base.seconds.fit if base.seconds else 0.0
    else:
        fit(classifier, X, y, plan)
    return earlier + getattr(classifier, "earlier_seconds_", 0.0)


def _attribute(classifier: Any, name: str, default: Any = None) -> Any:
    """What a classifier of this package says of its training; others may mean something else by the same name."""
    is_own = any(cls.__module__.startswith("fer_bench.") for cls in type(classifier).__mro__)
    return getattr(classifier, name, default) if is_own else default


def _history(classifier: Any) -> list[dict[str, Any]]:
    """A row per evaluation of a network, per epoch of a perceptron; none for the others."""
    history = _attribute(classifier, "history_")
    if history is not None:
        return history
    with suppress(Exception):  # a classifier from elsewhere may mean something else by this name
        losses = map(float, classifier.loss_curve_[:MOST_ROWS])
        return [{"epoch": epoch, "loss": loss} for epoch, loss in enumerate(losses, 1)]
    return []


def _parameters(classifier: Any) -> dict[str, Any]:
    """The classifier's class and its plain parameters, for the record; the class alone where it cannot tell them."""
    cls, parameters = type(classifier), dict[str, Any]()
    with suppress(Exception):
        parameters = dict(islice(classifier.get_params().items(), MOST_PARAMETERS))
    plain = {key: value for key, value in parameters.items() if isinstance(value, bool | int | None)}
    numbers = {key: value for key, value in parameters.items() if isinstance(value, float) and math.isfinite(value)}
    texts = {key: readable(value, LONGEST) for key, value in parameters.items() if isinstance(value, str)}
    return {"class": f"{cls.__module__}.{cls.__qualname__}", **plain, **numbers, **texts}


def _save_predictions(run: Path, dataset: Dataset, split: Split, probabilities: dict[str, np.ndarray]) -> None:
    arrays: dict[str, np.ndarray] = {}
    for name, rows in probabilities.items():
        arrays[f"{name}_ids"] = np.asarray(dataset.sample_ids[split.subsets()[name]], dtype=np.str_)
        arrays[f"{name}_probabilities"] = rows
    write_predictions(run, arrays)
