"""Where a run's probabilities come from: a classifier trained here, or the finished run that they are derived from."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench import cache, metrics
from fer_bench.data import Split, read_copies, stored_audit
from fer_bench.errors import FerBenchError
from fer_bench.execution.job import Job
from fer_bench.execution.plan import BASE
from fer_bench.models.adjustment import adjust, choose_tau
from fer_bench.models.classical import n_parameters
from fer_bench.models.features import features_card, stored_features
from fer_bench.models.registry import FEATURES, MODELS, STRATEGIES, plugin_code
from fer_bench.models.task import Task, TrainingPlan
from fer_bench.progress import Progress
from fer_bench.records.images import choosers
from fer_bench.records.schema import Record, Timing
from fer_bench.records.store import ResultsFolder

if TYPE_CHECKING:
    import numpy as np

    from fer_bench.data import Dataset

WEIGHTS_FILE = "model.weights.h5"


class NotApplicable(Exception):
    """A strategy turns out not to fit a model once the classifier is there."""


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


def trained(job: Job, work: Path, dataset: Dataset, split: Split, clock: Clock, progress: Progress) -> Outcome:
    """Train the job's classifier on the rows that its strategy plans, and predict."""
    card, parameters, origin = MODELS[job.spec.model], dict(job.spec.parameters), origin_on_record(job)
    progress(0, f"features: {card.features}")
    features = stored_features(features_card(FEATURES[card.features], parameters), dataset, split)
    clock.lap()
    plan = STRATEGIES[job.spec.strategy].plan(dataset.labels[split.train], len(job.class_names), job.spec.seed)
    X, y, plan = with_made_rows(features.train, dataset.labels[split.train], plan)
    task = make_task(
        dataset,
        (features.validation, dataset.labels[split.validation]),
        plan,
        random_state=job.spec.seed,
        n_jobs=job.n_jobs,
        steps=card.steps[job.spec.budget] if card.steps else None,
        weights=job.weights or "none",
        parameters=parameters,
        checkpoint=checkpoint_file(job),
        code=origin["plugin_code"] or "",
        progress=progress,
    )
    classifier = card.build(task)
    progress(0, "fitting")
    earlier = _fit(job, classifier, X, y, plan)
    clock.lap("fit")
    frozen = _told(classifier, "frozen_", None)
    passed = frozen.seconds if frozen else 0.0
    progress(1, "predicting")
    images = {"validation": features.validation, "test": features.test}
    probabilities = predict(classifier, images, dataset.labels[split.validation], task.n_classes)
    clock.lap("predict")
    clock.seconds["fit"] += earlier - passed
    clock.seconds["features"], ms_per_image = features.seconds, features.ms_per_image
    if frozen:  # shared like features, and booked like them, whichever run did the pass
        clock.seconds["predict"] -= frozen.seconds - passed
        clock.seconds["features"] += frozen.total_seconds
        ms_per_image += frozen.ms_per_image
    if card.is_network and job.spec.strategy == BASE:
        classifier.network.model.save_weights(work / WEIGHTS_FILE)  # what re-training of the classifier starts from
    predicted = len(split.validation) + len(split.test)
    weights = _told(classifier, "weights_", "")
    facts = {
        "device": _told(classifier, "device_", None),
        "initial_weights": weights.partition(" ")[0] or None,
        "weights_note": weights or job.weights_reason,
        "notes": [*_told(classifier, "notes_", []), *filter(None, [job.weights_reason])],
        "n_rows": len(plan.rows),
        "steps": _told(classifier, "steps_", None) or (task.steps if card.steps else None),
        "stochastic": card.stochastic or STRATEGIES[job.spec.strategy].stochastic,
        "n_parameters": n_parameters(classifier),
        "ms_per_image": ms_per_image + 1000 * clock.seconds["predict"] / predicted,
        "parameters": _parameters(classifier),
        **origin,
    }
    return Outcome(probabilities, _history(classifier), facts)


def checkpoint_file(job: Job) -> Path:
    """The file in the cache for unfinished training: each results folder has its own, as it has its own locks."""
    folder = cache.digest({"results": str((job.home or job.results).absolute())})[:8]
    return cache.entry_path("checkpoints", f"{job.spec.run_id}.{folder}.npz")


def adjusted(job: Job, work: Path, dataset: Dataset, split: Split, clock: Clock, progress: Progress) -> Outcome:
    """Adjust the probabilities of the finished run under "none"; nothing is trained."""
    import numpy as np

    origin = origin_on_record(job)
    base, folder = base_run(job)
    plan = STRATEGIES[job.spec.strategy].plan(dataset.labels[split.train], len(job.class_names), job.spec.seed)
    with np.load(folder / "predictions.npz", allow_pickle=False) as stored:
        before = {name: stored[f"{name}_probabilities"] for name in ("validation", "test")}
    chosen_on = choosing_rows(job.dataset_folder, job.split_folder, job.spec.fold, progress)
    labels = dataset.labels[split.validation][chosen_on]
    tau = choose_tau(before["validation"][chosen_on], labels, plan.log_prior)
    clock.lap("fit")
    earlier = base.seconds or Timing()
    clock.seconds["fit"] += earlier.fit
    clock.seconds["features"] = earlier.features
    after = {name: adjust(rows, plan.log_prior, tau) for name, rows in before.items()}
    clock.lap("predict")
    facts = {
        "device": base.device,
        "initial_weights": base.initial_weights,
        "weights_note": base.weights_note,
        "adjusted_from": base.run_id,
        "notes": base.notes,
        "n_rows": base.n_rows,
        "steps": base.steps,
        "stochastic": base.stochastic,
        "n_parameters": base.n_parameters,
        "ms_per_image": base.ms_per_image,
        "parameters": {**base.parameters, "tau": tau},
        **origin,
    }
    return Outcome(after, [], facts)


def origin_on_record(job: Job) -> dict[str, str | None]:
    """The fields of the record that say what plugins define of `job`, and what the run answers that it starts from.

    To be asked before that run is read: if it is done again meanwhile, and answers otherwise, `job` is due again.
    """
    strategy = STRATEGIES[job.spec.strategy]
    base = ResultsFolder(job.results).predictions_digest(base_id(job)) if strategy.starts_from else None
    return {"plugin_code": plugin_code(MODELS[job.spec.model], strategy) or None, "base_predictions": base}


def choosing_rows(dataset_folder: Path, split_folder: Path, fold: int, progress: Progress) -> np.ndarray:
    """Which validation images of the split, stored in these folders, decide what is fitted to them, bool (n,).

    See `records.images.choosers`; all of a fold, where the copies of an image stay together.
    """
    import numpy as np

    rows = Split.load(split_folder, fold).validation
    if fold:
        return np.ones(len(rows), dtype=bool)
    return choosers(read_copies(stored_audit(dataset_folder, split_folder, progress))[rows])


def base_id(job: Job) -> str:
    """The id of the run under "none" that `job` would start from."""
    return replace(job.spec, strategy=BASE).run_id


def base_run(job: Job) -> tuple[Record, Path]:
    """The record and folder of the finished run under "none" that `job` starts from.

    Raises FerBenchError where there is none.
    """
    results, run_id = ResultsFolder(job.results), base_id(job)
    record = results.record(run_id)
    if record is None or record.status != "success":
        state = record.status if record else "not there"
        raise FerBenchError(f"starts from the run {run_id}, which is {state}")
    return record, results.runs / run_id


def make_task(dataset: Dataset, validation: tuple[np.ndarray, np.ndarray], plan: TrainingPlan, **wanted: Any) -> Task:
    """What a builder may know: of `dataset`, `validation` as in `Task`, and `plan`; and what else is `wanted`."""
    return Task(
        class_names=dataset.class_names,
        n_rows=len(plan.rows),
        image_shape=dataset.images.shape[1:],
        validation=validation,
        loss=plan.loss,
        balanced_bootstrap=plan.balanced_bootstrap,
        **wanted,
    )


def _fit(job: Job, classifier: Any, X: np.ndarray, y: np.ndarray, plan: TrainingPlan) -> float:
    """Fit, or re-train; returns the seconds that were spent on the classifier before."""
    if STRATEGIES[job.spec.strategy].starts_from == "weights":
        from fer_bench.models.deep.retraining import retrain_head

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
        earlier = 0.0
    return earlier + getattr(classifier, "earlier_seconds_", 0.0)


def with_made_rows(X: np.ndarray, y: np.ndarray, plan: TrainingPlan) -> tuple[np.ndarray, np.ndarray, TrainingPlan]:
    """X, y and a plan for all of their rows, where `plan` makes up rows of features; otherwise all as they are."""
    import numpy as np

    if plan.resample is None:
        return X, y, plan
    X, y = plan.resample(X[plan.rows], y[plan.rows])
    return X, y, replace(plan, rows=np.arange(len(X)), resample=None)


def fit(classifier: Any, X: np.ndarray, y: np.ndarray, plan: TrainingPlan) -> None:
    """Fit on the plan's rows of X and y.

    Raises NotApplicable where weights are planned and the classifier's `fit` takes none.
    """
    import numpy as np

    takes = inspect.signature(classifier.fit).parameters
    options: dict[str, Any] = {}
    if plan.sample_weight is not None:
        if "sample_weight" not in takes:
            raise NotApplicable("its fit takes no sample_weight")
        options["sample_weight"] = plan.sample_weight
    as_they_are = len(plan.rows) == len(X) and (plan.rows == np.arange(len(X))).all()
    if not as_they_are and "rows" in takes:  # what a network computes once from X serves all strategies
        options["rows"] = plan.rows
    elif not as_they_are:
        X, y = X[plan.rows], y[plan.rows]
    classifier.fit(X, y, **options)


def predict(
    classifier: Any, subsets: Mapping[str, np.ndarray], validation_labels: np.ndarray, n_classes: int
) -> dict[str, np.ndarray]:
    """Probabilities, float32 (n, n_classes), of each of `subsets`; scores are calibrated on "validation"."""
    classes = list(getattr(classifier, "classes_", range(n_classes)))
    if classes != list(range(n_classes)):
        raise ValueError(
            f"columns are of the classes {classes[:10]}, not 0..{n_classes - 1}: fit on the labels as given"
        )
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


def _told(classifier: Any, name: str, default: Any) -> Any:
    """What a classifier of this package tells of its training; others may mean something else by the same name."""
    is_own = any(cls.__module__.startswith("fer_bench.") for cls in type(classifier).__mro__)
    return getattr(classifier, name, default) if is_own else default


def _history(classifier: Any) -> list[dict[str, Any]]:
    """A row per evaluation of a network, per epoch of a perceptron; none for the others."""
    history = _told(classifier, "history_", None)
    if history is not None:
        return history
    return [{"epoch": epoch, "loss": loss} for epoch, loss in enumerate(getattr(classifier, "loss_curve_", []), 1)]


def _parameters(classifier: Any) -> dict[str, Any]:
    """The classifier's class and its plain parameters, for the record."""
    parameters = classifier.get_params() if hasattr(classifier, "get_params") else {}
    plain = {key: value for key, value in parameters.items() if isinstance(value, bool | int | str | None)}
    numbers = {key: value for key, value in parameters.items() if isinstance(value, float) and value == value}
    cls = type(classifier)
    return {"class": f"{cls.__module__}.{cls.__qualname__}", **plain, **numbers}
