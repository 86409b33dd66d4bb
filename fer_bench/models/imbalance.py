"""The strategies against class imbalance: each sees training labels only and returns a TrainingPlan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_bench.models.registry import register_strategy
from fer_bench.models.task import FOCAL, TrainingPlan

if TYPE_CHECKING:
    import numpy as np


@register_strategy("none", summary="train on the rows as they are")
def none(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """All rows once, equal weights, cross-entropy."""
    return TrainingPlan(_all_rows(labels))


@register_strategy("class-weights", summary="weigh rows by n / (k * n_class)", needs_sample_weight=True)
def class_weights(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """Weights inverse to class frequency, mean 1 ("balanced" in scikit-learn; King & Zeng 2001)."""
    from sklearn.utils.class_weight import compute_sample_weight

    return TrainingPlan(_all_rows(labels), sample_weight=compute_sample_weight("balanced", labels))


@register_strategy("focal-loss", summary="down-weigh what is already right (gamma 2)", loss=FOCAL)
def focal_loss(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """The focal loss with gamma = 2 (Lin et al. 2017, arXiv:1708.02002, eq. 4).

    Without alpha: one number for all classes only rescales the loss, and one per class would stack class weights on it.
    """
    return TrainingPlan(_all_rows(labels), loss=FOCAL, gamma=2.0)


@register_strategy("over-sampling", summary="repeat rows of rare classes until all are equal", stochastic=True)
def over_sampling(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """Random repeats up to the largest class (imbalanced-learn's RandomOverSampler), after the split."""
    from imblearn.over_sampling import RandomOverSampler

    return TrainingPlan(_resampled(RandomOverSampler(random_state=random_state), labels))


@register_strategy("under-sampling", summary="drop rows of frequent classes until all are equal", stochastic=True)
def under_sampling(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """A random draw down to the smallest class (imbalanced-learn's RandomUnderSampler)."""
    from imblearn.under_sampling import RandomUnderSampler

    return TrainingPlan(_resampled(RandomUnderSampler(random_state=random_state), labels))


def _all_rows(labels: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.arange(len(labels))


def _resampled(sampler, labels: np.ndarray) -> np.ndarray:
    rows, _ = sampler.fit_resample(_all_rows(labels)[:, None], labels)
    return rows[:, 0]
