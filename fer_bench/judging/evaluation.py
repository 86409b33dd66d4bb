"""Everything about one run that follows from its stored probabilities, computed once per content and code."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from fer_bench import cache as stored
from fer_bench import metrics
from fer_bench.cache import reading
from fer_bench.errors import FerBenchError
from fer_bench.judging import resampling, votes
from fer_bench.judging.evidence import Evidence
from fer_bench.judging.resampling import Resamples, Sample
from fer_bench.records.images import ImageFacts
from fer_bench.records.schema import Record, Scores, VoteScores

FIGURES, ARRAYS = "figures.json", "arrays.npz"


class Figures(BaseModel):
    """Scores of one run. clean: on test-clean, None where near copies are not known; votes: None where there are none.

    ece_scaled: the calibration error on the test images at `temperature`, which suits the validation images; both None
    where no validation probabilities are stored. validation_f1: macro-F1 on the validation images that choose between
    runs (`Evidence.choosers`), None likewise.
    """

    test: Scores
    clean: Scores | None = None
    votes: VoteScores | None = None
    ece_scaled: float | None = None
    temperature: float | None = None
    validation_f1: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """The figures of one run, and its scores on redraws of the test images and of test-clean."""

    figures: Figures
    sample: Sample
    clean: Sample | None


@dataclass(frozen=True)
class Evaluator:
    """Evaluates the runs of one split.

    What was computed once is kept in the cache, by the content of probabilities, labels and what is known of the images
    (copies in train, votes), and by the code that computes.
    """

    evidence: Evidence

    def make_ready(self) -> None:
        """Compute what all evaluations share, so that several threads do not compute it at once."""
        _ = _code(), self._split, self._resamples, self.clean is not None and self._clean_resamples

    def evaluate(self, record: Record) -> Evaluation | None:
        """The evaluation of a run, or None where it stored no test probabilities.

        Raises FerBenchError naming the run where what it stored is damaged or of other images.
        """
        path = self.evidence.folder.runs / record.run_id / "predictions.npz"
        if record.status != "success" or not path.is_file():
            return None
        key = stored.digest({"run": _sha256(path.read_bytes()), "split": self._split, "code": _code()})
        compute = partial(self._compute, record)
        fetch = partial(stored.fetch, "judged", key, compute, (FIGURES, ARRAYS), synced=False)
        entry = fetch()
        try:
            return self._read(entry)
        except FerBenchError:  # a power cut damages what is not synced
            with suppress(OSError):
                (entry / FIGURES).unlink(missing_ok=True)
            return self._read(fetch())

    def _read(self, entry: Path) -> Evaluation:
        with reading(entry):
            figures = Figures.model_validate_json((entry / FIGURES).read_bytes())
            with np.load(entry / ARRAYS, allow_pickle=False) as arrays:
                predicted, values = arrays["predicted"], arrays["values"]
                clean_values = arrays["clean_values"] if "clean_values" in arrays.files else None
        labels, k = self.labels, len(self.evidence.class_names)
        clean = None
        if clean_values is not None and self.clean is not None:
            clean = resampling.restored(labels[self.clean], k, predicted[self.clean], clean_values)
        return Evaluation(figures, resampling.restored(labels, k, predicted, values), clean)

    @property
    def labels(self) -> np.ndarray:
        """Of the test images, int64 (n,)."""
        return self.evidence.labels["test"]

    @cached_property
    def clean(self) -> np.ndarray | None:
        """Which test images have no copy in train, bool (n,); None where that is not known or there are none."""
        return None if self.facts is None else self.facts.clean

    @cached_property
    def facts(self) -> ImageFacts | None:
        """Copies in train and votes of the test images; None where no audit left them."""
        return self.evidence.image_facts("test")

    @cached_property
    def _split(self) -> str:
        """A digest of all but the probabilities that figures depend on."""
        evidence, facts = self.evidence, self.facts
        sha = hashlib.sha256("\0".join(evidence.class_names).encode())
        for subset in ("validation", "test"):
            sha.update(evidence.labels[subset].tobytes())
        if facts is not None:
            sha.update(evidence.choosers.tobytes())
            sha.update("\0".join([*facts.copy_in_train.tolist(), *facts.vote_names]).encode())
            sha.update(b"" if facts.votes is None else np.ascontiguousarray(facts.votes).tobytes())
        return sha.hexdigest()

    @cached_property
    def _resamples(self) -> Resamples:
        return Resamples.of(self.labels, len(self.evidence.class_names))

    @cached_property
    def _clean_resamples(self) -> Resamples:
        return Resamples.of(self.labels[self.clean], len(self.evidence.class_names))

    def _compute(self, record: Record, work: Path) -> None:
        probabilities = self.evidence.probabilities(record, "test")
        if probabilities is None:
            raise FerBenchError(f"{record.run_id}: stored predictions, but none of the test images")
        sample = resampling.sample_run(self._resamples, probabilities)
        arrays = {"predicted": probabilities.argmax(axis=1).astype(np.uint16), "values": sample.values}
        if self.clean is not None:
            arrays["clean_values"] = resampling.sample_run(self._clean_resamples, probabilities[self.clean]).values
        np.savez(work / ARRAYS, allow_pickle=False, **arrays)
        (work / FIGURES).write_text(self._figures(record, probabilities).model_dump_json())

    def _figures(self, record: Record, probabilities: np.ndarray) -> Figures:
        names, facts = self.evidence.class_names, self.facts
        figures = Figures(test=metrics.score(self.labels, probabilities, names))
        if self.clean is not None:
            figures.clean = metrics.score(self.labels[self.clean], probabilities[self.clean], names)
        if facts is not None and facts.votes is not None:
            figures.votes = votes.score_votes(self.labels, probabilities, facts.votes, facts.vote_names, names)
        validation = self.evidence.probabilities(record, "validation")
        if validation is not None:
            labels, chosen_on = self.evidence.labels["validation"], self.evidence.choosers
            scaled, figures.temperature = metrics.rescaled(probabilities, labels, validation)
            figures.ece_scaled = metrics.expected_calibration_error(self.labels, scaled)
            answers = validation[chosen_on].argmax(axis=1)
            confusion = metrics.confusion_matrix(labels[chosen_on], answers, len(names))
            figures.validation_f1 = float(metrics.f1_scores(confusion).mean())
        return figures


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@cache
def _code() -> str:
    """A digest of the source of everything that computes figures."""
    modules = (metrics, resampling)
    return _sha256(
        b"".join(Path(str(module.__file__)).read_bytes() for module in (*modules,)) + Path(__file__).read_bytes()
    )
