"""One run, start to finish: what happens inside the child process."""

from __future__ import annotations

import csv
import inspect
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.data.dataset import Dataset
from fer_bench.data.splits import Split
from fer_bench.execution.environment import peak_memory_mb
from fer_bench.execution.job import Job, now
from fer_bench.judging import metrics
from fer_bench.models.classical import n_parameters
from fer_bench.models.features import Features, stored_features
from fer_bench.models.plugins import load_plugins
from fer_bench.models.registry import FEATURES, MODELS, STRATEGIES, ModelCard
from fer_bench.models.task import Task, TrainingPlan
from fer_bench.records.schema import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


class NotApplicable(Exception):
    """A strategy turns out not to fit a model once the classifier is there."""


def do_run(job: Job, work: Path, progress: Callable[[float, str], None]) -> Record:
    """Do `job`, leaving predictions.npz and history.csv in the folder `work`; return its record.

    Whatever the model raises becomes a failed record with its traceback.
    """
    started = now()
    try:
        return _measured(job, work, progress, started)
    except NotApplicable as reason:
        return job.record("not-applicable", reason=str(reason), started=started)
    except MemoryError:
        return job.record(
            "out-of-memory", reason="the run asked for more memory than there is",
            traceback=traceback.format_exc(), started=started,
        )  # fmt: skip
    except Exception as error:
        traceback.print_exc()
        text = " ".join(str(error).split())
        return job.record(
            "failed", reason=f"{type(error).__name__}: {text}"[:500],
            traceback=traceback.format_exc(), started=started,
        )  # fmt: skip


def _measured(job: Job, work: Path, progress: Callable[[float, str], None], started: str) -> Record:
    clock = _Clock()
    progress(0, "loading")
    load_plugins(job.plugins)
    card = MODELS[job.spec.model]
    dataset = Dataset.load(job.dataset_folder)
    split = Split.load(job.split_folder)
    clock.lap("load")
    progress(0, f"features: {card.features}")
    features = stored_features(FEATURES[card.features], dataset, split)
    clock.lap()
    plan = _plan(job, dataset.labels[split.train])
    task = _task(job, card, dataset, split, features, plan, progress)
    classifier = card.build(task)
    progress(0, "fitting")
    _fit(classifier, features.train, dataset.labels[split.train], plan)
    clock.lap("fit")
    progress(1, "predicting")
    probabilities = _predict(classifier, features, dataset.labels[split.validation], task.n_classes)
    clock.lap("predict")
    scores = {
        name: metrics.score(dataset.labels[split.subsets()[name]], rows, task.class_names)
        for name, rows in probabilities.items()
    }
    clock.lap("score")
    _save_predictions(work / "predictions.npz", dataset, split, probabilities)
    _save_history(work / "history.csv", classifier)
    predicted = len(split.validation) + len(split.test)
    return job.record(
        "success",
        started=started,
        **scores,
        weights=getattr(classifier, "weights_", "") or job.weights_reason,
        notes=_notes(job, classifier),
        n_rows=len(plan.rows),
        steps=getattr(classifier, "steps_", None) or (task.steps if card.steps else None),
        n_parameters=n_parameters(classifier),
        ms_per_image=features.ms_per_image + 1000 * clock.seconds["predict"] / predicted,
        peak_memory_mb=peak_memory_mb(),
        seconds={"features": features.seconds, **clock.seconds},
        parameters=_parameters(classifier),
    )


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str | None = None) -> None:
        """Book the time since the last call under `phase`, or nowhere."""
        now = time.perf_counter()
        if phase:
            self.seconds[phase] = now - self._last
        self._last = now


def _plan(job: Job, labels: np.ndarray) -> TrainingPlan:
    return STRATEGIES[job.spec.strategy].plan(labels, len(job.class_names), job.spec.seed)


def _task(
    job: Job,
    card: ModelCard,
    dataset: Dataset,
    split: Split,
    features: Features,
    plan: TrainingPlan,
    progress: Callable[[float, str], None],
) -> Task:
    return Task(
        class_names=dataset.class_names,
        n_rows=len(plan.rows),
        image_shape=dataset.images.shape[1:],
        validation=(features.validation, dataset.labels[split.validation]),
        random_state=job.spec.seed,
        n_jobs=job.n_jobs,
        steps=card.steps[job.spec.budget] if card.steps else None,
        loss=plan.loss,
        gamma=plan.gamma,
        weights=job.weights or "none",
        progress=progress,
    )


def _fit(classifier: Any, rows: np.ndarray, labels: np.ndarray, plan: TrainingPlan) -> None:
    """Fit on the plan's rows. Raises NotApplicable where weights are planned and `fit` takes none."""
    import numpy as np

    if len(plan.rows) != len(rows) or (plan.rows != np.arange(len(rows))).any():
        rows, labels = rows[plan.rows], labels[plan.rows]
    if plan.sample_weight is None:
        classifier.fit(rows, labels)
    elif "sample_weight" in inspect.signature(classifier.fit).parameters:
        classifier.fit(rows, labels, sample_weight=plan.sample_weight)
    else:
        raise NotApplicable("its fit takes no sample_weight")


def _predict(
    classifier: Any, features: Features, validation_labels: np.ndarray, n_classes: int
) -> dict[str, np.ndarray]:
    """Probabilities, float32 (n, n_classes), of validation and test; scores are calibrated on validation."""
    subsets = {"validation": features.validation, "test": features.test}
    if hasattr(classifier, "predict_proba"):
        outputs = {name: classifier.predict_proba(rows) for name, rows in subsets.items()}
    else:
        scores = {name: classifier.decision_function(rows) for name, rows in subsets.items()}
        temperature = metrics.temperature(scores["validation"], validation_labels)
        outputs = {name: metrics.probabilities_from_scores(rows, temperature) for name, rows in scores.items()}
    for name, rows in outputs.items():
        if rows.ndim != 2 or rows.shape[1] != n_classes:
            raise ValueError(f"{name} probabilities have shape {rows.shape}, expected (n, {n_classes})")
    return {name: rows.astype("float32") for name, rows in outputs.items()}


def _notes(job: Job, classifier: Any) -> list[str]:
    notes = list(getattr(classifier, "notes_", []))
    if job.weights_reason:
        notes.append(job.weights_reason)
    return notes


def _parameters(classifier: Any) -> dict[str, Any]:
    """The classifier's class and its plain parameters, for the record."""
    parameters = classifier.get_params() if hasattr(classifier, "get_params") else {}
    plain = {key: value for key, value in parameters.items() if isinstance(value, bool | int | str | None)}
    numbers = {key: value for key, value in parameters.items() if isinstance(value, float) and value == value}
    cls = type(classifier)
    return {"class": f"{cls.__module__}.{cls.__qualname__}", **plain, **numbers}


def _save_predictions(path: Path, dataset: Dataset, split: Split, probabilities: dict[str, np.ndarray]) -> None:
    import numpy as np

    arrays: dict[str, np.ndarray] = {}
    for name, rows in probabilities.items():
        arrays[f"{name}_ids"] = np.asarray(dataset.sample_ids[split.subsets()[name]], dtype=np.str_)
        arrays[f"{name}_probabilities"] = rows
    np.savez_compressed(path, allow_pickle=False, **arrays)


def _save_history(path: Path, classifier: Any) -> None:
    """One row per evaluation of a network, per epoch of a perceptron; the header alone for the others."""
    rows = getattr(classifier, "history_", None)
    if rows is None:
        losses = getattr(classifier, "loss_curve_", [])
        rows = [{"epoch": epoch, "loss": loss} for epoch, loss in enumerate(losses, start=1)]
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["epoch", "loss"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
