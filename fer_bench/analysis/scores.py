"""One table of scores: a row per run and subset, a column per score, computed once per content and code."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, TypeAdapter
from threadpoolctl import threadpool_limits

from fer_bench import cache as stored
from fer_bench import metrics
from fer_bench.analysis import bootstrap
from fer_bench.analysis.predictions import Predictions, Run
from fer_bench.cache import reading
from fer_bench.errors import FerBenchError
from fer_bench.records import ImageFacts
from fer_bench.records.schema import Scores, VoteScores

DRAWS = "draws.npy"
KEPT = 24
"""Results of `computed_once`, of a kind: on FER2013 with 200 runs one takes 16 MB."""
TEST, CLEAN, VALIDATION = "test", "clean", "validation"
SCORES = (
    "accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_precision",
    "weighted_recall", "weighted_f1", "mcc", "kappa", "pr_auc", "top2_accuracy", "log_loss", "brier", "ece",
)  # fmt: skip
OF_PROBABILITIES = {*metrics.OF_PROBABILITIES, "ece_scaled", "temperature", "votes_cross_entropy"}
VOTE_SCORES = ("accuracy", "macro_f1", "cross_entropy", "sided")


class Figures(BaseModel):
    """Scores of one run.

    clean: on the test images without a copy in train, None where that is not known. validation: None where no
    validation probabilities are stored, as are ece_scaled, the calibration error on the test images at `temperature`,
    which suits the validation images, and choosing_macro_f1, on the validation images that choose between runs.
    reliability: of the test images, before and, where that is known, after scaling, see `metrics.reliability`.
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

    predicted: uint8 or uint16 (n,), by "test" and, where stored, "validation".
    """

    figures: Figures
    predicted: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Evaluator:
    """Evaluates the runs of one split.

    What was computed once is kept in the cache, by the content of probabilities, labels and what is known of the images
    (copies in train, votes), and by the code that computes. cached: whether that is read and written.
    """

    predictions: Predictions
    cached: bool = True

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
        kept, keys = self._kept() if self.cached else {}, {run.run_id: self._key(run) for run in runs}
        waiting = [run for run in runs if keys[run.run_id] not in kept]
        with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as executor:
            found = dict(zip((run.run_id for run in waiting), executor.map(self._evaluated, waiting), strict=True))
        problems = {run_id: one for run_id, one in found.items() if isinstance(one, str)}
        fresh = {keys[run_id]: one for run_id, one in found.items() if isinstance(one, Evaluation)}
        kept |= fresh
        if fresh and self.cached:
            self._keep(kept)
        return {run.run_id: kept[keys[run.run_id]] for run in runs if run.run_id not in problems}, problems

    def _key(self, run: Run) -> str:
        """A digest of all that the run stored."""
        digests = [self.predictions.folder.predictions_digest(record.run_id) for record in run.records]
        return stored.digest({"runs": digests})

    def _evaluated(self, run: Run) -> Evaluation | str:
        try:
            return self._evaluation(self.predictions.stored(run))
        except FerBenchError as error:
            return str(error).replace(f"{self.predictions.folder.path}/", "")

    def _evaluation(self, probabilities: Mapping[str, np.ndarray]) -> Evaluation:
        if TEST not in probabilities:
            raise FerBenchError("no test probabilities are stored")
        small = np.uint8 if len(self.predictions.class_names) < 256 else np.uint16
        answers = {subset: rows.argmax(axis=1).astype(small) for subset, rows in probabilities.items()}
        return Evaluation(self._figures(probabilities), answers)

    @property
    def _path(self) -> Path:
        """Where evaluations of the split are kept: those of all runs in one file, as they are small and many."""
        return stored.entry_path("judged", stored.digest({"split": self._split, "code": _code()}) + ".npz")

    def _kept(self) -> dict[str, Evaluation]:
        """What was computed before, by `_key`; nothing where it cannot be read."""
        try:
            with np.load(self._path, allow_pickle=False) as arrays:
                figures = _FIGURES.validate_json(arrays["figures"].tobytes())
                keys, answers = arrays["keys"].tolist(), arrays["answers"]
        except Exception:  # missing, or whatever NumPy, zipfile and pydantic say of a damaged file
            return {}
        n, kept = len(self.labels), {}
        for key, one, row in zip(keys, figures, answers, strict=True):
            kept[key] = Evaluation(one, {TEST: row[:n]} | ({VALIDATION: row[n:]} if one.validation else {}))
        return kept

    def _keep(self, evaluations: Mapping[str, Evaluation]) -> None:
        missing = np.zeros(len(self.predictions.labels[VALIDATION]), dtype=np.uint8)
        predicted = [one.predicted for one in evaluations.values()]
        file = io.BytesIO()
        np.savez(
            file,
            allow_pickle=False,
            keys=np.array(list(evaluations)),
            answers=np.stack([np.concatenate([one[TEST], one.get(VALIDATION, missing)]) for one in predicted]),
            figures=np.frombuffer(_FIGURES.dump_json([one.figures for one in evaluations.values()]), dtype=np.uint8),
        )
        stored.write_atomic(self._path, file.getvalue())

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
        All runs of a subset are scored and kept together.
        """
        at = {TEST: np.arange(len(self.labels)), VALIDATION: np.flatnonzero(self.predictions.choosers)}
        if self.clean is not None:
            at[CLEAN] = np.flatnonzero(self.clean)
        return {
            subset: self._draws(TEST if subset == CLEAN else subset, rows, evaluations) for subset, rows in at.items()
        }

    def _draws(self, source: str, rows: np.ndarray, evaluations: Mapping[str, Evaluation]) -> dict[str, np.ndarray]:
        known = {run_id: one.predicted[source] for run_id, one in evaluations.items() if source in one.predicted}
        if not known:
            return {}
        labels, predicted = self.predictions.labels[source][rows], np.stack([one[rows] for one in known.values()])
        groups = self.predictions.groups(source, rows)
        n_classes = len(self.predictions.class_names)

        def draws() -> np.ndarray:
            return bootstrap.score_draws(bootstrap.Resamples.of(labels, n_classes, groups=groups), predicted)

        arrays = (np.array(n_classes), labels, predicted, groups)
        return dict(zip(known, computed_once("draws", arrays, draws, self.cached), strict=True))

    def _figures(self, probabilities: Mapping[str, np.ndarray]) -> Figures:
        names, facts, test = self.predictions.class_names, self.facts, probabilities[TEST]
        figures = Figures(test=metrics.score(self.labels, test, names))
        shown = [test]
        if self.clean is not None:
            figures.clean = metrics.score(self.labels[self.clean], test[self.clean], names)
        if facts is not None and facts.votes is not None:
            figures.votes = metrics.score_votes(self.labels, test, facts.votes, facts.vote_names, names)
        if VALIDATION in probabilities:
            labels, validation = self.predictions.labels[VALIDATION], probabilities[VALIDATION]
            figures.validation = metrics.score(labels, validation, names)
            scaled, figures.temperature = metrics.rescaled(test, labels, validation)
            shown.append(scaled)
            figures.ece_scaled = metrics.expected_calibration_error(self.labels, scaled)
            at = self.predictions.choosers
            figures.choosing_macro_f1 = metrics.macro_f1(labels[at], validation[at].argmax(axis=1), len(names))
        figures.reliability = [metrics.reliability(self.labels, rows).tolist() for rows in shown]
        return figures


def scores_frame(evaluations: Mapping[str, Evaluation], labels_only: Collection[str] = ()) -> pd.DataFrame:
    """SCORES and n_images of each run, indexed by run_id and subset; those of a subset that is not known are left out.

    On "test", too: votes_*, ece_scaled, temperature, validation_macro_f1 (on the images that choose between runs).
    labels_only: runs whose probabilities stand for mere answers: scores of probabilities are unknown.
    """
    lines = []
    for run_id, one in evaluations.items():
        for subset in (TEST, CLEAN, VALIDATION):
            scores = getattr(one.figures, subset)
            if scores is not None:
                line = {name: getattr(scores, name) for name in ("n_images", *SCORES)}
                line |= _further(one.figures, subset)
                if run_id in labels_only:
                    line |= dict.fromkeys(line.keys() & OF_PROBABILITIES, np.nan)
                lines.append({"run_id": run_id, "subset": subset, **line})
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


def computed_once(
    kind: str, arrays: Iterable[np.ndarray | None], compute: Callable[[], np.ndarray], cached: bool
) -> np.ndarray:
    """What `compute` makes of `arrays`: what it last made of KEPT different ones of a `kind` is kept.

    cached: whether that is read and written. Raises FerBenchError where the cache entry is damaged.
    """
    if not cached:
        return compute()
    sha = hashlib.sha256(_code().encode())
    for array in arrays:
        sha.update(b"none" if array is None else f"{array.dtype}{array.shape}".encode())
        sha.update(b"" if array is None else np.ascontiguousarray(array).data)

    def build(work: Path) -> None:
        np.save(work / DRAWS, compute(), allow_pickle=False)
        stored.drop_oldest(kind, KEPT - 1)

    entry = stored.fetch(kind, sha.hexdigest()[:16], build, (DRAWS,))
    with suppress(OSError):  # where it cannot be written, nothing is dropped either
        os.utime(entry)  # in use, so not the one to drop
    with reading(entry):
        return np.load(entry / DRAWS, allow_pickle=False)


_FIGURES = TypeAdapter(list[Figures])


@cache
def _code() -> str:
    """A digest of the source of everything that computes figures."""
    here = Path(__file__)
    sources = (Path(str(metrics.__file__)), here, here.with_name("bootstrap.py"), here.with_name("slices.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
