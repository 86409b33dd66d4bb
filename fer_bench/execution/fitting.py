"""A classifier fitted as a strategy plans, and its probabilities: what runs and trials of a search have in common."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from fer_bench import metrics
from fer_bench.data import Dataset, Split, read_copies, stored_audit
from fer_bench.errors import FerBenchError
from fer_bench.execution.preparation import Prepared
from fer_bench.models import STRATEGIES, Features, ModelCard, Task, TrainingPlan, rows_of_views, seed_generators
from fer_bench.progress import Progress
from fer_bench.records import choosers


class NotApplicable(Exception):
    """A strategy turns out not to fit a model once the classifier is there."""


def choosing_rows(prepared: Prepared, fold: int, progress: Progress) -> np.ndarray:
    """Which validation images decide what is fitted to them, bool (n,): all of a fold, where copies stay together.

    See `records.images.choosers`.
    """
    rows = Split.load(prepared.split_folder, fold).validation
    if fold:
        return np.ones(len(rows), dtype=bool)
    return choosers(read_copies(stored_audit(prepared.dataset_folder, prepared.split_folder, progress))[rows])


def make_task(dataset: Dataset, features: Features, labels: np.ndarray, plan: TrainingPlan, **wanted: Any) -> Task:
    """What a builder may know, and what else is `wanted`.

    labels: of the validation images. plan: for rows of `features`, as `training_rows` makes it.
    """
    return Task(
        class_names=dataset.class_names,
        n_rows=len(plan.rows),
        image_shape=dataset.images.shape[1:],
        validation=(features.validation, np.repeat(labels, features.views)),
        loss=plan.loss,
        balanced_bootstrap=plan.balanced_bootstrap,
        **wanted,
    )


def planned(
    strategy: str, features: Features, dataset: Dataset, split: Split, random_state: int, **wanted: Any
) -> tuple[np.ndarray, np.ndarray, TrainingPlan, Task]:
    """X, y and the plan that `fit` is given, as `strategy` plans for the training rows of `split`, and the task.

    wanted: what else a builder may know.
    """
    labels = dataset.labels[split.train]
    plan = STRATEGIES[strategy].plan(labels, len(dataset.class_names), random_state)
    if problem := _problem(plan, labels):
        raise FerBenchError(f"strategy {strategy!r}: {problem}")
    X, y, plan = training_rows(features, labels, plan)
    of_validation = dataset.labels[split.validation]
    return X, y, plan, make_task(dataset, features, of_validation, plan, random_state=random_state, **wanted)


def _problem(plan: Any, labels: np.ndarray) -> str | None:
    """What is amiss with what a strategy, perhaps of a plug-in, planned for rows of `labels`, int (n,)."""
    if not isinstance(plan, TrainingPlan):
        return f"its plan is a {type(plan).__name__}, not a TrainingPlan"
    rows, weights = np.asarray(plan.rows), plan.sample_weight
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        return f"rows are {rows.dtype} {rows.shape}, not row numbers; of a mask np.flatnonzero makes them"
    if not len(rows) or rows.min() < 0 or rows.max() >= len(labels):
        return f"rows are not some of the numbers 0 to {len(labels) - 1:,}"
    if lost := set(labels.tolist()) - set(labels[rows].tolist()):
        return f"no rows are left of {len(lost)} of the classes"
    if weights is not None and (np.shape(weights) != rows.shape or not np.all(np.isfinite(weights))):
        return f"sample_weight is not a finite number for each of the {len(rows):,} rows"
    return None


def built(card: ModelCard, task: Task) -> Any:
    """The classifier of `card`, not fitted yet, all generators of random numbers seeded.

    Raises FerBenchError where it would have neither probabilities nor scores afterwards, and where it is no network
    and its card says so.
    """
    seed_generators(task.random_state)
    classifier = card.build(task)
    if not any(hasattr(classifier, method) for method in ("predict_proba", "decision_function")):
        raise FerBenchError(f"{card.name} has neither predict_proba nor decision_function: its answers are not known")
    if card.is_network and not hasattr(classifier, "create"):
        raise FerBenchError(f"{card.name} was registered with an image, which is for what builds a KerasClassifier")
    return classifier


def training_rows(
    features: Features, labels: np.ndarray, plan: TrainingPlan
) -> tuple[np.ndarray, np.ndarray, TrainingPlan]:
    """X and y that `fit` is given, and the plan for their rows, of one for images: each has `features.views` rows.

    Rows that the plan makes up are made of images with all of their views, and taken apart afterwards.
    """
    X, views = features.train, features.views
    if plan.resample is not None:
        images = X.reshape(len(labels), -1) if views > 1 else X
        made, labels = plan.resample(images[plan.rows], labels[plan.rows])
        X = made.reshape(-1, *X.shape[1:])
        plan = replace(plan, rows=np.arange(len(labels)), resample=None)
    if views > 1:
        weights = None if plan.sample_weight is None else np.repeat(plan.sample_weight, views)
        plan = replace(plan, rows=rows_of_views(plan.rows, views), sample_weight=weights)
    return X, np.repeat(labels, views), plan


def fit(classifier: Any, X: np.ndarray, y: np.ndarray, plan: TrainingPlan) -> None:
    """Fit on the plan's rows of X and y.

    Raises NotApplicable where weights are planned and the classifier's `fit` takes none.
    """
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
    with _stopped_at_once():
        classifier.fit(X, y, **options)


@contextmanager
def _stopped_at_once() -> Iterator[None]:
    """Let Ctrl-C through perceptrons of scikit-learn, which only stop training at it and warn that they did."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Training interrupted by user", UserWarning)
        try:
            yield
        except UserWarning as warning:
            if isinstance(warning.__context__, KeyboardInterrupt):
                raise warning.__context__ from None
            raise


def predict(
    classifier: Any, features: Features, names: Sequence[str], validation_labels: np.ndarray, n_classes: int
) -> dict[str, np.ndarray]:
    """Probabilities, float32 (n, n_classes), of the images of each of the subsets `names`: means over their views.

    Scores are calibrated on "validation".
    """
    classes = list(getattr(classifier, "classes_", range(n_classes)))
    if classes != list(range(n_classes)):
        raise ValueError(
            f"columns are of the classes {classes[:10]}, not 0..{n_classes - 1}: fit on the labels as given"
        )
    is_sure = hasattr(classifier, "predict_proba")
    answer = classifier.predict_proba if is_sure else classifier.decision_function
    outputs = {name: of_images(answer(getattr(features, name)), features.views) for name in names}
    if not is_sure:
        temperature = metrics.temperature(outputs["validation"], validation_labels)
        outputs = {name: metrics.probabilities_from_scores(rows, temperature) for name, rows in outputs.items()}
    for name, rows in outputs.items():
        if rows.ndim != 2 or rows.shape[1] != n_classes:
            raise ValueError(f"{name} probabilities have shape {rows.shape}, expected (n, {n_classes})")
    return {name: rows.astype("float32") for name, rows in outputs.items()}


def of_images(outputs: np.ndarray, views: int) -> np.ndarray:
    """The mean of `outputs`, (n * views, ...), over the views of each image, (n, ...)."""
    outputs = np.asarray(outputs)
    return outputs if views == 1 else outputs.reshape(-1, views, *outputs.shape[1:]).mean(axis=1)
