"""Task: everything a model's builder may know, and the plan a strategy makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CROSS_ENTROPY = "cross-entropy"
FOCAL = "focal"


@dataclass(frozen=True)
class TrainingPlan:
    """What a strategy decides from training labels alone.

    rows: int64 (m,), indices into the training rows, repeats allowed.
    sample_weight: float64 (m,) with mean 1, or None for equal weights.
    loss: name of the loss. gamma: focusing parameter of the focal loss, ignored by the others.
    """

    rows: np.ndarray
    sample_weight: np.ndarray | None = None
    loss: str = CROSS_ENTROPY
    gamma: float = 2.0


def _silent(done: float, text: str) -> None:
    """Progress nobody asked to see."""


@dataclass(frozen=True)
class Task:
    """What a builder may know: never a test image, never a test label.

    n_rows: training rows after the strategy. image_shape: (h, w) or (h, w, 3) of the dataset.
    validation: (X, y) for early stopping, checkpoints and calibration; X as `fit` gets it.
    steps: gradient steps to train for, or None for models without a budget.
    weights: where models that can start from trained weights get them: "none", "imagenet", the path of a weight file,
    "auto" (ImageNet's, else random ones) or "unavailable" (random, because ImageNet's cannot be had).
    progress: call it with the share done (0..1) and a short text.
    """

    class_names: tuple[str, ...]
    n_rows: int
    image_shape: tuple[int, ...]
    validation: tuple[np.ndarray, np.ndarray]
    random_state: int = 0
    n_jobs: int = 1
    steps: int | None = None
    loss: str = CROSS_ENTROPY
    gamma: float = 2.0
    weights: str = "none"
    progress: Callable[[float, str], None] = _silent

    @property
    def n_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)
