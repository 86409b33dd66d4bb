"""One table of scores: a row per run and subset, a column per score, computed once per content and code."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel
from threadpoolctl import threadpool_limits

from fer_bench import cache as stored
from fer_bench import metrics
from fer_bench.analysis import bootstrap
from fer_bench.analysis.predictions import Predictions, Run
from fer_bench.cache import reading
from fer_bench.errors import FerBenchError
from fer_bench.records import ImageFacts
from fer_bench.records.schema import Scores, VoteScores

FIGURES, ANSWERS, DRAWS = "figures.json", "answers.npy", "draws.npy"
TEST, CLEAN, VALIDATION = "test", "clean", "validation"
SCORES = (
    "accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_precision",
    "weighted_recall", "weighted_f1", "mcc", "kappa", "pr_auc", "top2_accuracy", "log_loss", "brier", "ece",
)  # fmt: skip
VOTE_SCORES = ("accuracy", "macro_f1", "cross_entropy", "sided")


class Figures(BaseModel):
    """Scores of one run.

    clean: on the test images without a copy in train, None where that is not known. validation: None where no
    validation probabilities are stored, as are ece_scaled, the calibration error on the test images at `temperature`,
    which suits the validation images, and choosing_macro_f1, on the validation images that choose between runs.
    reliability: of the test images, before and after scaling, see `metrics.reliability`.
    """

    test: Scores
    clean: Scores | None = None
    validation: Scores | None = None
    votes: VoteScores | None = None
    ece_scaled: float | None = None
    temperature: float | None = None
    choosing_macro_f1: float | None = None
    reliability: list[list[list[float]]] = []


class Evaluation(NamedTuple):
    """What follows from the stored probabilities of one run.

    predicted: uint8 or uint16 (n,), by "test" and, where stored, "validation". reliability: float (2, 15, 3), before
    and after scaling.
    """

    figures: Figures
    predicted: Mapping[str, np.ndarray]
    reliability: np.ndarray


@dataclass(frozen=True)
class Evaluator:
    """Evaluates the runs of one split.

    What was computed once is kept in the cache, by the content of probabilities, labels and what is known of the images
    (copies in train, votes), and by the code that computes.
    """

    predictions: Predictions

    @property
    def labels(self) -> np.ndarray:
        """Of the test images, int64 (n,)."""
        return self.predictions.labels[TEST]

    @cached_property
    def facts(self) -> ImageFacts | None:
        """Copies in train and votes of the test images; None where no audit left them."""
        return self.predictions.image_facts(TEST)

    @cached_property
    def clean(self) -> np.ndarray | None:
        """Which test images have no copy in train, bool (n,); None where that is not known or there are none."""
        return None if self.facts is None else self.facts.clean

    @property
    def test_labels(self) -> dict[str, np.ndarray]:
        """Of the test images, and of those without a copy in train ("clean") where that is known, int64 (n,)."""
        return {TEST: self.labels} | ({} if self.clean is None else {CLEAN: self.labels[self.clean]})

    def evaluate(self, runs: Sequence[Run]) -> tuple[dict[str, Evaluation], dict[str, str]]:
        """The evaluations of scored `runs` by run id, and why some have none.

        In threads, as NumPy and files leave Python free; with one BLAS thread each, or they would wait in turn.
        """
        _ = self._split  # made once, before the threads ask
        with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as executor:
            found = dict(zip((run.run_id for run in runs), executor.map(self._evaluated, runs), strict=True))
        evaluations = {run_id: one for run_id, one in found.items() if isinstance(one, Evaluation)}
        return evaluations, {run_id: one for run_id, one in found.items() if isinstance(one, str)}

    def _evaluated(self, run: Run) -> Evaluation | str:
        try:
            return self._evaluate(run)
        except FerBenchError as error:
            return str(error).replace(f"{self.predictions.folder.path}/", "")

    def _evaluate(self, run: Run) -> Evaluation:
        digests = [self.predictions.folder.predictions_digest(record.run_id) for record in run.records]
        if None in digests:
            raise FerBenchError(f"{run.run_id}: no test probabilities are stored")
        key, computed = stored.digest({"runs": digests, "split": self._split, "code": _code()}), []
        fetch = partial(
            stored.fetch, "judged", key, lambda work: computed.append(self._compute(run, work)), (FIGURES, ANSWERS),
            synced=False,
        )  # fmt: skip
        entry = fetch()
        try:
            return computed[0] if computed else self._read(entry)
        except FerBenchError:  # a power cut damages what is not synced
            with suppress(OSError):
                (entry / FIGURES).unlink(missing_ok=True)
            return self._read(fetch())

    @cached_property
    def _split(self) -> str:
        """A digest of all but the probabilities that figures depend on."""
        predictions, facts = self.predictions, self.facts
        sha = hashlib.sha256("\0".join(predictions.class_names).encode())
        for subset in (VALIDATION, TEST):
            sha.update(predictions.labels[subset].tobytes())
        if facts is not None:
            sha.update(predictions.choosers.tobytes())
            sha.update("\0".join([*facts.copy_in_train.tolist(), *facts.vote_names]).encode())
            sha.update(b"" if facts.votes is None else np.ascontiguousarray(facts.votes).tobytes())
        return sha.hexdigest()

    def draws(self, evaluations: Mapping[str, Evaluation]) -> dict[str, dict[str, np.ndarray]]:
        """Scores on redraws of the test images, "clean" and "validation", float32 (1 + B, 2 + k), by run id.

        Those of "validation" are on the images that choose between runs; subsets that are not known are left out.
        All runs of a subset are scored together, and kept until there is another one.
        """
        at = {TEST: np.arange(len(self.labels)), VALIDATION: np.flatnonzero(self.predictions.choosers)}
        if self.clean is not None:
            at[CLEAN] = np.flatnonzero(self.clean)
        return {subset: self._draws(_source(subset), rows, evaluations) for subset, rows in at.items()}

    def _draws(self, source: str, rows: np.ndarray, evaluations: Mapping[str, Evaluation]) -> dict[str, np.ndarray]:
        known = {run_id: one.predicted[source] for run_id, one in evaluations.items() if source in one.predicted}
        if not known:
            return {}
        labels, predicted = self.predictions.labels[source][rows], np.stack([one[rows] for one in known.values()])
        content = hashlib.sha256(labels.tobytes() + predicted.tobytes()).hexdigest()
        key = stored.digest({"content": content, "n_classes": len(self.predictions.class_names), "code": _code()})

        def build(work: Path) -> None:
            resamples = bootstrap.Resamples.of(labels, len(self.predictions.class_names))
            np.save(work / DRAWS, bootstrap.score_draws(resamples, predicted), allow_pickle=False)

        entry = stored.fetch("draws", key, build, (DRAWS,))
        with reading(entry):
            return dict(zip(known, np.load(entry / DRAWS, allow_pickle=False), strict=True))

    def _compute(self, run: Run, work: Path) -> Evaluation:
        probabilities = self.predictions.stored(run)
        if TEST not in probabilities:
            raise FerBenchError(f"{run.run_id}: stored predictions, but none of the test images")
        figures = self._figures(probabilities)
        small = np.uint8 if len(self.predictions.class_names) < 256 else np.uint16
        answers = {subset: rows.argmax(axis=1).astype(small) for subset, rows in probabilities.items()}
        np.save(work / ANSWERS, np.concatenate([answers[s] for s in (TEST, VALIDATION) if s in answers]))
        (work / FIGURES).write_text(figures.model_dump_json())
        return Evaluation(figures, answers, np.array(figures.reliability))

    def _read(self, entry: Path) -> Evaluation:
        with reading(entry):
            figures = Figures.model_validate_json((entry / FIGURES).read_bytes())
            answers = np.load(entry / ANSWERS, allow_pickle=False)
        n = len(self.labels)
        predicted = {TEST: answers[:n]} | ({VALIDATION: answers[n:]} if len(answers) > n else {})
        return Evaluation(figures, predicted, np.array(figures.reliability))

    def _figures(self, probabilities: Mapping[str, np.ndarray]) -> Figures:
        names, facts, test = self.predictions.class_names, self.facts, probabilities[TEST]
        figures = Figures(test=metrics.score(self.labels, test, names))
        scaled = test
        if self.clean is not None:
            figures.clean = metrics.score(self.labels[self.clean], test[self.clean], names)
        if facts is not None and facts.votes is not None:
            figures.votes = metrics.score_votes(self.labels, test, facts.votes, facts.vote_names, names)
        if VALIDATION in probabilities:
            labels, validation = self.predictions.labels[VALIDATION], probabilities[VALIDATION]
            figures.validation = metrics.score(labels, validation, names)
            scaled, figures.temperature = metrics.rescaled(test, labels, validation)
            figures.ece_scaled = metrics.expected_calibration_error(self.labels, scaled)
            at = self.predictions.choosers
            figures.choosing_macro_f1 = metrics.macro_f1(labels[at], validation[at].argmax(axis=1), len(names))
        figures.reliability = [metrics.reliability(self.labels, rows).tolist() for rows in (test, scaled)]
        return figures


def scores_frame(evaluations: Mapping[str, Evaluation]) -> pd.DataFrame:
    """SCORES and n_images of each run, indexed by run_id and subset; those of a subset that is not known are left out.

    On "test", too: votes_*, ece_scaled, temperature, validation_macro_f1 (on the images that choose between runs), and
    the BCa intervals accuracy_low, accuracy_high, macro_f1_low, macro_f1_high.
    """
    lines = []
    for run_id, one in evaluations.items():
        for subset in (TEST, CLEAN, VALIDATION):
            scores = getattr(one.figures, subset)
            if scores is not None:
                line = {name: getattr(scores, name) for name in ("n_images", *SCORES)}
                lines.append({"run_id": run_id, "subset": subset, **line, **_further(one.figures, subset)})
    columns = ["run_id", "subset", "n_images", *SCORES, "ece_scaled", "temperature", "validation_macro_f1"]
    return pd.DataFrame(lines, columns=None if lines else columns).set_index(["run_id", "subset"])


def _further(figures: Figures, subset: str) -> dict[str, float | None]:
    if subset != TEST:
        return {}
    votes = {f"votes_{name}": getattr(figures.votes, name) for name in VOTE_SCORES} if figures.votes else {}
    return {
        "ece_scaled": figures.ece_scaled,
        "temperature": figures.temperature,
        "validation_macro_f1": figures.choosing_macro_f1,
        **votes,
    }


def _source(subset: str) -> str:
    """Of which stored images `subset` is a part."""
    return TEST if subset == CLEAN else subset


@cache
def _code() -> str:
    """A digest of the source of everything that computes figures."""
    sources = (str(metrics.__file__), str(bootstrap.__file__), __file__)
    return hashlib.sha256(b"".join(Path(source).read_bytes() for source in sources)).hexdigest()
