"""Task: everything a model's builder may know, and the plan a strategy makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_bench.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np

CROSS_ENTROPY, FOCAL, LOGIT_ADJUSTED = "cross-entropy", "focal", "logit-adjusted"


@dataclass(frozen=True)
class Loss:
    """What is minimised.

    gamma: focusing parameter of "focal". alpha: its weight per class, mean 1 over the rows, or None.
    log_prior: of "logit-adjusted", per class: the logarithm of the class's share of the training rows, times tau.
    """

    name: str = CROSS_ENTROPY
    gamma: float = 2.0
    alpha: tuple[float, ...] | None = None
    log_prior: tuple[float, ...] | None = None


@dataclass(frozen=True)
class TrainingPlan:
    """What a strategy decides from training labels alone.

    rows: int64 (m,), indices into the training rows, repeats allowed.
    sample_weight: float64 (m,) with mean 1, or None for equal weights.
    resample: makes new rows of features, `resample(X[rows], y[rows]) -> (X, y)`, or None.
    log_prior: float64 (k,), for strategies that adjust finished probabilities, or None.

    Raises ValueError for weights on top of focal loss, whose `alpha` is what weighs classes.
    """

    rows: np.ndarray
    sample_weight: np.ndarray | None = None
    loss: Loss = Loss()
    resample: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None
    log_prior: np.ndarray | None = None
    balanced_bootstrap: bool = False

    def __post_init__(self) -> None:
        if self.sample_weight is not None and self.loss.name == FOCAL:
            raise ValueError("sample weights would be stacked on focal loss: it weighs classes by its alpha")


@dataclass(frozen=True)
class Task:
    """What a builder may know: never a test image, never a test label.

    n_rows: training rows after the strategy, those of mirror images too. image_shape: (h, w) or (h, w, 3) of the data.
    validation: (X, y) for early stopping, checkpoints and calibration; X as `fit` gets it.
    steps: gradient steps to train for, or None for models without a budget.
    balanced_bootstrap: whether an ensemble draws each member's rows evenly from all classes.
    weights: where models that can start from trained weights get them: "none", "imagenet", the path of a weight file,
    or "unavailable" (random, because ImageNet's cannot be had).
    parameters: what was asked for, or tuned, instead of the builder's own values, by name.
    checkpoint: a file for the state of unfinished training, from which the same task goes on, or None.
    code: a digest of what plugins define of it, "" where they define nothing.
    progress: call it with the share done (0..1) and a short text.
    """

    class_names: tuple[str, ...]
    n_rows: int
    image_shape: tuple[int, ...]
    validation: tuple[np.ndarray, np.ndarray]
    random_state: int = 0
    n_jobs: int = 1
    steps: int | None = None
    loss: Loss = Loss()
    balanced_bootstrap: bool = False
    weights: str = "none"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None
    code: str = ""
    progress: Progress = silent

    @property
    def n_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)
