"""The classifier of a finished run, had again: a network from its stored weights, any other fitted from its spec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench import metrics
from fer_bench.deploy.exporting.choosing import Source
from fer_bench.errors import FerBenchError
from fer_bench.execution.fitting import built, fit, of_images, planned
from fer_bench.execution.worker import WEIGHTS_FILE
from fer_bench.models import (
    FEATURES,
    MODELS,
    UNAVAILABLE,
    Extractor,
    PrincipalComponents,
    Together,
    features_card,
    fitted_extractor,
    load_weights,
    model_features,
    weights_request_id,
)
from fer_bench.records import Record

SOME = 64


@dataclass(frozen=True)
class Refitted:
    """A fitted classifier, and what its probabilities come from.

    extractor: the fitted one that makes its X; views: rows of an image, see `models.Features`; some_rows: a few of X.
    temperature: of its scores, None where it gives probabilities itself.
    """

    classifier: Any
    extractor: Extractor
    views: int
    some_rows: np.ndarray
    temperature: float | None = None


def refitted(source: Source, record: Record) -> Refitted:
    """The classifier of the run `record`; of a network, what was not trained comes from `source.weights`.

    Raises FerBenchError where a network's weights are not in the run's folder, or do not fit.
    """
    spec, dataset, split = record.spec, source.dataset, source.split
    card, parameters = MODELS[spec.model], dict(spec.parameters)
    features = features_card(FEATURES[card.features], parameters)
    extractor = fitted_extractor(features, dataset, split)
    given = model_features(card, parameters, dataset, split)
    _turn(extractor, dataset.images[split.validation[:SOME]], given.validation[:: given.views][:SOME])
    X, y, plan, task = planned(
        spec.strategy, given, dataset, split, spec.seed,
        n_jobs=record.environment.n_jobs if record.environment else 1,
        steps=card.steps[spec.budget] if card.steps else None,
        weights=_first_weights(record, source.weights),
        parameters={**parameters, "precision": "float32"} if card.is_network else parameters,
    )  # fmt: skip
    classifier = built(card, task)
    if card.is_network:
        _restore(classifier, source.predictions.folder.path / "runs" / record.run_id / WEIGHTS_FILE, record)
    else:
        fit(classifier, X, y, plan)
    temperature = None
    if not hasattr(classifier, "predict_proba"):
        scores = of_images(classifier.decision_function(given.validation), given.views)
        temperature = metrics.temperature(scores, dataset.labels[split.validation])
    return Refitted(classifier, extractor, given.views, given.validation[:SOME], temperature)


def _turn(extractor: Extractor, images: np.ndarray, wanted: np.ndarray) -> None:
    """Have axes point as in the features that the run was given: the number of threads decides which way they do.

    wanted: those of `images`.
    """
    if isinstance(extractor, PrincipalComponents | Together):
        axes = extractor.pca if isinstance(extractor, PrincipalComponents) else extractor.axes
        is_opposite = (extractor.transform(images) * wanted).sum(axis=0) < 0
        axes.components_[getattr(extractor, "kept", slice(None))] *= np.where(is_opposite, -1, 1)[:, None]


def _first_weights(record: Record, weights: str) -> str:
    """What the layers that were not trained come from, as `Task.weights`.

    Raises FerBenchError where that is a file, and `weights` is not its path.
    """
    if record.initial_weights == "random":
        return "none" if record.spec.weights == "none" else UNAVAILABLE
    if record.initial_weights != "file":
        return record.initial_weights or "none"
    if weights_request_id(weights) != record.spec.weights:
        raise FerBenchError(f"{record.run_id} started from {record.weights_note}: name that file with --weights FILE")
    return weights


def _restore(classifier: Any, file: Path, record: Record) -> None:
    """Build a network, and put its trained weights in. Raises FerBenchError where there are none."""
    if not file.exists():
        raise FerBenchError(
            f"{record.run_id}: {file} is missing: weights are kept since this version, and never published; "
            f"train it again with --models {record.spec.model} --strategies {record.spec.strategy} --rerun all"
        )
    classifier.create()
    load_weights(classifier.network.model, file, f"the network of {record.run_id}")
