"""The strategies against class imbalance: each sees training labels only and returns a TrainingPlan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_bench.errors import FerBenchError
from fer_bench.models.registry import register_strategy
from fer_bench.models.task import FOCAL, LOGIT_ADJUSTED, Loss, TrainingPlan

if TYPE_CHECKING:
    import numpy as np

BETA = 0.9999  # see `effective_number`
GAMMA = 2.0  # the best of Lin et al. 2017, table 1b
SMOTE_NEIGHBORS = 5  # as in Chawla et al. 2002


@register_strategy("none", summary="train on the rows as they are")
def none(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """All rows once, equal weights, cross-entropy."""
    return TrainingPlan(_all_rows(labels))


@register_strategy("class-weights", summary="weigh rows by n / (k * n_class)", needs_sample_weight=True)
def class_weights(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """Weights inverse to class frequency, mean 1 ("balanced" in scikit-learn; King & Zeng 2001)."""
    from sklearn.utils.class_weight import compute_sample_weight

    return TrainingPlan(_all_rows(labels), sample_weight=compute_sample_weight("balanced", labels))


@register_strategy("sqrt-weights", summary="weigh rows by 1 / sqrt(n_class)", needs_sample_weight=True)
def sqrt_weights(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """Weights inverse to the square root of class frequency, mean 1 (Mahajan et al. 2018, arXiv:1805.00932).

    Half-way, by ratio, between equal weights and `class_weights`.
    """
    weights = _mean_one(_counts(labels, n_classes) ** -0.5, labels)
    return TrainingPlan(_all_rows(labels), sample_weight=weights[labels])


@register_strategy(
    "effective-number", summary="weigh rows by 1 / effective number of n_class", needs_sample_weight=True
)
def effective_number(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """Weights inverse to the effective number of samples (1 - beta^n) / (1 - beta), mean 1.

    Cui et al. 2019 (arXiv:1901.05555), eq. 2. beta = 0.9999 is what the paper finds best for few coarse classes with
    up to thousands of images each (CIFAR-10), which facial expressions are; a smaller one suits many fine classes.
    """
    return TrainingPlan(_all_rows(labels), sample_weight=_effective_number_weights(labels, n_classes)[labels])


@register_strategy("focal-loss", summary="down-weigh what is already right (gamma 2)", loss=FOCAL)
def focal_loss(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """The focal loss with gamma = 2 (Lin et al. 2017, arXiv:1708.02002, eq. 4).

    Without alpha: one number for all classes only rescales the loss; one per class is `balanced_focal_loss`.
    """
    return TrainingPlan(_all_rows(labels), loss=Loss(FOCAL, gamma=GAMMA))


@register_strategy("balanced-focal-loss", summary="focal loss, classes weighed by effective number", loss=FOCAL)
def balanced_focal_loss(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """The focal loss with alpha per class by effective number, mean 1 over the rows; no weights besides.

    Cui et al. 2019, section 4.3, but of the one softmax term of the label, where the paper sums k sigmoid terms.
    """
    alpha = tuple(_effective_number_weights(labels, n_classes).tolist())
    return TrainingPlan(_all_rows(labels), loss=Loss(FOCAL, gamma=GAMMA, alpha=alpha))


@register_strategy("logit-adjusted-loss", summary="add log class shares to logits in training", loss=LOGIT_ADJUSTED)
def logit_adjusted_loss(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """Cross-entropy of logits + tau * log share, tau = 1 (Menon et al. 2021, arXiv:2007.07314, eq. 10).

    The same as balanced softmax (Ren et al. 2020, arXiv:2007.10740). Predictions take the logits alone.
    """
    log_prior = tuple(_log_shares(labels, n_classes).tolist())
    return TrainingPlan(_all_rows(labels), loss=Loss(LOGIT_ADJUSTED, log_prior=log_prior))


@register_strategy(
    "post-hoc-adjustment", summary="divide finished probabilities by class shares", starts_from="probabilities"
)
def post_hoc_adjustment(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """Probabilities of the run under "none", divided by share^tau (Menon et al. 2021, eq. 9). Nothing is trained.

    tau is chosen on validation: see `fer_bench.metrics.choose_tau`.
    """
    return TrainingPlan(_all_rows(labels), log_prior=_log_shares(labels, n_classes))


@register_strategy("over-sampling", summary="repeat rows of rare classes until all are equal", stochastic=True)
def over_sampling(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """Random repeats up to the largest class (imbalanced-learn's RandomOverSampler), after the split.

    Networks see each repeat augmented anew, never the same pixels again.
    """
    return TrainingPlan(_over_sampled(labels, random_state))


@register_strategy("under-sampling", summary="drop rows of frequent classes until all are equal", stochastic=True)
def under_sampling(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """A random draw down to the smallest class (imbalanced-learn's RandomUnderSampler)."""
    from imblearn.under_sampling import RandomUnderSampler

    return TrainingPlan(_resampled(RandomUnderSampler(random_state=random_state), labels))


@register_strategy("smote", summary="make rows of features between neighbours", stochastic=True, makes_rows=True)
def smote(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """New rows between a row and one of its 5 nearest of the same class, until all are equal (Chawla et al. 2002).

    A class of n < 6 rows lowers the neighbours to n - 1. Raises FerBenchError where a class has a single row.
    """
    import numpy as np
    from imblearn.over_sampling import SMOTE

    counts = np.bincount(labels, minlength=n_classes)
    if alone := np.flatnonzero(counts == 1).tolist():
        numbers = ", ".join(map(str, alone))
        raise FerBenchError(
            f"SMOTE needs two training rows of a class, and there is a single one of class {numbers} "
            "(numbered from 0): use over-sampling"
        )
    k_neighbors = int(min(SMOTE_NEIGHBORS, counts[counts > 0].min() - 1))
    sampler = SMOTE(k_neighbors=k_neighbors, random_state=random_state)
    return TrainingPlan(_all_rows(labels), resample=sampler.fit_resample)


@register_strategy(
    "balanced-bootstrap", summary="draw each tree's rows evenly from all classes", balanced_bootstrap=True
)
def balanced_bootstrap(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """Balanced random forest: each tree grows on as many rows of every class as the smallest has.

    Chen, Liaw & Breiman 2004, Using Random Forest to Learn Imbalanced Data.
    """
    return TrainingPlan(_all_rows(labels), balanced_bootstrap=True)


@register_strategy(
    "classifier-retraining", summary="re-train the last layer on balanced batches", stochastic=True,
    starts_from="weights",
)  # fmt: skip
def classifier_retraining(labels: np.ndarray, n_classes: int, random_state: int) -> TrainingPlan:
    """cRT: the network of the run under "none", its last layer anew on class-balanced rows, the rest kept as it is.

    Kang et al. 2020 (arXiv:1910.09217), section 4; see `fer_bench.models.deep.retraining`.
    """
    return TrainingPlan(_over_sampled(labels, random_state))


def _all_rows(labels: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.arange(len(labels))


def _counts(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Rows of each class, float64 (n_classes,); 1 for a class without any, so that nothing becomes infinite."""
    import numpy as np

    return np.maximum(np.bincount(labels, minlength=n_classes), 1).astype(np.float64)


def _log_shares(labels: np.ndarray, n_classes: int) -> np.ndarray:
    import numpy as np

    counts = _counts(labels, n_classes)
    return np.log(counts / counts.sum())


def _effective_number_weights(labels: np.ndarray, n_classes: int) -> np.ndarray:
    return _mean_one((1 - BETA) / (1 - BETA ** _counts(labels, n_classes)), labels)


def _mean_one(per_class: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return per_class / per_class[labels].mean()


def _over_sampled(labels: np.ndarray, random_state: int) -> np.ndarray:
    from imblearn.over_sampling import RandomOverSampler

    return _resampled(RandomOverSampler(random_state=random_state), labels)


def _resampled(sampler, labels: np.ndarray) -> np.ndarray:
    rows, _ = sampler.fit_resample(_all_rows(labels)[:, None], labels)
    return rows[:, 0]
