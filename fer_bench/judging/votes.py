"""Predictions against the votes of several taggers per image (FER+, Barsoum et al. 2016), by a stated rule."""

from collections.abc import Sequence

import numpy as np

from fer_bench.judging import metrics
from fer_bench.judging.calibration import SMALLEST
from fer_bench.records.schema import VoteScores

UNUSABLE = ("unknown", "nf", "not a face")
SYNONYMS = {
    "anger": "angry", "disgusted": "disgust", "fearful": "fear", "happiness": "happy", "sadness": "sad",
    "surprised": "surprise",
}  # fmt: skip

RULE = (
    'An image counts where one of the dataset\'s classes alone has the most votes. Left out: images where "unknown" '
    'or "not a face" has the most votes or shares them, where an emotion that the dataset does not have does, '
    "and ties between classes."
)


def vote_columns(vote_names: Sequence[str], class_names: Sequence[str]) -> list[int]:
    """For each vote the index of its class in `class_names`; -1: an emotion they do not have; -2: no emotion.

    Names are compared without case, and by FER+'s nouns ("happiness" votes for "happy").
    """
    index = {_plain(name): number for number, name in enumerate(class_names)}
    return [-2 if name.strip().lower() in UNUSABLE else index.get(_plain(name), -1) for name in vote_names]


def majority(votes: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """The class with most votes of each image, int64 (n,); -1 another emotion, -2 no emotion or no vote, -3 a tie.

    votes: int (n, v); columns: what each of the v votes is for, as `vote_columns` says.
    """
    kinds = np.asarray(columns)
    top = votes == votes.max(axis=1, keepdims=True)
    result = np.where(top.sum(axis=1) > 1, -3, kinds[votes.argmax(axis=1)])
    result[(top & (kinds == -1)).any(axis=1)] = -1
    result[(top & (kinds == -2)).any(axis=1) | (votes.max(axis=1) == 0)] = -2
    return result.astype(np.int64)


def score_votes(
    labels: np.ndarray,
    probabilities: np.ndarray,
    votes: np.ndarray,
    vote_names: Sequence[str],
    class_names: Sequence[str],
) -> VoteScores | None:
    """How `probabilities`, float (n, k), agree with `votes`, int (n, v); None where no image has a majority (`RULE`).

    Cross-entropy is taken to the votes for the dataset's classes alone, as shares of their sum.
    """
    columns = vote_columns(vote_names, class_names)
    truth = majority(votes, columns)
    used = truth >= 0
    if not used.any():
        return None
    predicted = probabilities.argmax(axis=1)
    shares = np.stack([votes[:, np.asarray(columns) == c].sum(axis=1) for c in range(len(class_names))], axis=1)[used]
    shares = shares / shares.sum(axis=1, keepdims=True)
    surprise = -np.log(np.maximum(probabilities[used].astype(np.float64), SMALLEST))
    agrees, wrong = (predicted == truth)[used], (predicted != labels)[used]
    confusion = metrics.confusion_matrix(truth[used], predicted[used], len(class_names))
    return VoteScores(
        n_images=int(used.sum()),
        n_unusable=int((truth == -2).sum()),
        n_other_class=int((truth == -1).sum()),
        n_tied=int((truth == -3).sum()),
        accuracy=float(agrees.mean()),
        macro_f1=float(metrics.f1_scores(confusion).mean()),
        cross_entropy=max(0.0, float((shares * surprise).sum(axis=1).mean())),
        n_errors=int(wrong.sum()),
        sided=float(agrees[wrong].mean()) if wrong.any() else None,
    )


def _plain(name: str) -> str:
    lower = name.strip().lower()
    return SYNONYMS.get(lower, lower)
