"""Records with random but consistent scores, as a suite would leave them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fer_bench import metrics
from fer_bench.records.schema import Environment, Record, Scores, Spec, Timing
from fer_bench.records.spec import RunSpec

CLASS_NAMES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
STRATEGIES = ["none", "class-weights", "focal-loss", "over-sampling"]
SKILLS = {
    "majority": 0.0, "pca-logistic": 0.7, "pca-svm": 1.2, "pca-forest": 0.9, "pca-mlp": 1.0,
    "hog-svm": 1.6, "hog-forest": 1.1, "cnn": 1.8, "vgg16": 0.8,
}  # fmt: skip
DEEP = ("cnn", "vgg16")
ENVIRONMENT = Environment(
    python="3.11.9", platform="Linux x86_64", processor="Example CPU", n_jobs=2,
    versions={"numpy": "2.4.0", "scikit-learn": "1.9.0"}, git_revision="abc1234",
)  # fmt: skip
MakeRecord = Callable[..., Record]


def random_scores(skill: float, seed: int, class_names: list[str], n_images: int = 300) -> Scores:
    """Scores of random predictions that lean towards the label by `skill`."""
    rng = np.random.default_rng(seed)
    weights = np.linspace(1, 3, len(class_names))
    labels = np.random.default_rng(0).choice(len(class_names), n_images, p=weights / weights.sum())
    logits = rng.normal(size=(n_images, len(class_names)))
    logits[np.arange(n_images), labels] += skill
    return metrics.score(labels, metrics.probabilities_from_scores(logits, 1.0), class_names)


@pytest.fixture(scope="session")
def make_record() -> MakeRecord:
    """make_record(model, strategy, seed, status, skill=..., budget=..., macro_f1=..., **fields of Record) -> Record."""

    def make(
        model: str = "hog-svm", strategy: str = "none", seed: int = 0, status: str = "success", *, skill: float = 1.0,
        budget: str = "", weights_asked: str = "", data: str = "d" * 16, split: str = "s" * 16,
        class_names: list[str] | None = None, macro_f1: float | None = None, fold: int = 0, n_folds: int = 0,
        tuned: bool = False, parameters: tuple = (), **fields: Any,
    ) -> Record:  # fmt: skip
        names = class_names or CLASS_NAMES
        spec = RunSpec(model, strategy, seed, data, split, budget, weights_asked, fold, n_folds, tuned, parameters)
        values: dict[str, Any] = {
            "run_id": spec.run_id, "status": status, "spec": Spec(**vars(spec)), "dataset": "faces",
            "family": "deep" if model in DEEP else "classical", "features": model.partition("-")[0],
            "class_names": names, "n_train": 2400, "n_validation": 300, "n_test": 300,
            "split_source": "stratified 80/10/10, seed 0", "started": "2025-01-01T00:00:00Z",
            "environment": ENVIRONMENT,
        }  # fmt: skip
        if status == "success":
            salt = sum(map(ord, model + strategy)) + 1000 * seed
            test = random_scores(skill, salt, names)
            if macro_f1 is not None:
                test = test.model_copy(update={"macro_f1": macro_f1})
            values |= {
                "test": test, "validation": random_scores(skill, salt + 7, names), "seconds": Timing(fit=12.5 * skill),
                "ms_per_image": 0.42, "device": "cpu" if model in DEEP else None,
                "n_parameters": 1_800_000 if model in DEEP else None,
            }  # fmt: skip
        return Record(**(values | fields))

    return make


@pytest.fixture(scope="session")
def suite_records(make_record: MakeRecord) -> list[Record]:
    """Nine models under four strategies: two seeds of the CNN, failures, combinations that do not apply."""
    records = []
    for model, skill in SKILLS.items():
        for number, strategy in enumerate(STRATEGIES):
            records.extend(_cell(make_record, model, strategy, skill + 0.05 * number))
    return records


def _cell(make: MakeRecord, model: str, strategy: str, skill: float) -> list[Record]:
    if model == "majority" and strategy != "none":
        why = "majority guesses without looking at an image: there is nothing to rebalance"
        return [make(model, strategy, status="not-applicable", reason=why)]
    if strategy == "focal-loss" and model not in DEEP:
        why = f"{model} cannot be trained with focal loss (it knows cross-entropy)"
        return [make(model, strategy, status="not-applicable", reason=why)]
    if model == "cnn":
        return [
            make(model, strategy, 0, skill=skill, budget="quick"),
            make(model, strategy, 1, skill=skill, budget="quick")
            if strategy != "focal-loss"
            else make(model, strategy, 1, "timeout", budget="quick", reason="stopped after 600 s"),
        ]
    if model == "vgg16":
        weights = {"budget": "quick", "weights_asked": "auto"}
        if strategy == "over-sampling":
            return [make(model, strategy, status="out-of-memory", reason="killed at 4.0 GiB", **weights)]
        return [
            make(model, strategy, skill=skill, initial_weights="random", weights_note="random (no network)", **weights)
        ]
    if (model, strategy) == ("pca-mlp", "class-weights"):
        return [make(model, strategy, status="failed", reason="ValueError: class 'a|b'\nhas `no` <b>rows</b>")]
    return [make(model, strategy, skill=skill)]
