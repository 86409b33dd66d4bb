"""What no verification of a results folder can check, said so that nobody takes silence for proof."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fer_bench.analysis.evidence import external
from fer_bench.analysis.findings import Finding
from fer_bench.errors import FerBenchError

if TYPE_CHECKING:
    from fer_bench.analysis.predictions import Predictions, Run
    from fer_bench.data import Dataset


def unchecked(splits: Sequence[Predictions], dataset: Dataset | None, has_reruns: bool) -> Iterator[Finding]:
    """Findings about what is taken on its word in all `splits`. dataset, has_reruns: what verify was given besides."""
    runs = [run for predictions in splits for run in predictions.runs if run.is_scored]
    yield Finding("UNCHECKED_LABELS", {"has_data": dataset is not None})
    if dataset is None:
        yield Finding("UNCHECKED_DATA")
    elif unknown := sorted({name for predictions in splits for name in _unknown_to(dataset, predictions)}):
        yield Finding("UNCHECKED_FACTS", {"names": unknown})
    if missing := [predictions.split[1] for predictions in splits if _is_unaudited(predictions)]:
        yield Finding("UNCHECKED_AUDIT", {"splits": missing})
    if drawn := sorted({run.record.split_source for run in runs if "seed" in run.record.split_source}):
        yield Finding("UNCHECKED_DRAW", {"sources": drawn})
    yield Finding("UNCHECKED_TRAINING", {"has_reruns": has_reruns})
    yield Finding("UNCHECKED_SEEDS")
    if tuned := _models(run for run in runs if run.record.spec.tuned):
        yield Finding("UNCHECKED_TUNING", {"models": tuned})
    if outside := _models(run for run in runs if run.record.family == external.FAMILY):
        yield Finding("UNCHECKED_OUTSIDE", {"models": outside})
    yield Finding("UNCHECKED_MEASURED")
    yield Finding("UNCHECKED_PICTURES")


def _models(runs: Iterator[Run]) -> list[str]:
    return sorted({run.record.spec.model for run in runs})


def _unknown_to(dataset: Dataset, predictions: Predictions) -> Iterator[str]:
    """Slices and votes of a split that the data do not hold, as they are read."""
    if predictions.split[0] != dataset.fingerprint:
        yield f"split {predictions.split[1]}, of other data"
        return
    yield from predictions.slices.keys() - dataset.slices.keys()
    facts = predictions.image_facts("test")
    if facts is not None and facts.votes is not None and dataset.votes is None:
        yield "votes"


def _is_unaudited(predictions: Predictions) -> bool:
    """Whether nothing is known of copies."""
    try:
        return predictions.audit is None
    except FerBenchError:  # damaged, which is a fault
        return False
