"""Watch: the eye on a network while it is trained; history, progress, and the best weights so far."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_bench.models.validation import macro_f1

if TYPE_CHECKING:
    from fer_bench.models.deep.batches import Inputs
    from fer_bench.models.deep.training import KerasClassifier, Phase

COSINE, PLATEAU = "cosine", "plateau"
EVALUATIONS = 20  # at most, and no more images than EVALUATION_SHARE of those trained on: about 7 % of the time
EVALUATION_SHARE = 0.2
PLATEAU_PATIENCE, PLATEAU_FACTOR = 2, 0.3  # evaluations without a better one, and what the learning rate is times then


class Watch:
    """Counts gradient steps, evaluates at some of them, and knows the best weights by validation macro-F1.

    step: number of the latest gradient step in the schedule. made: how many were made; fewer where patience was lost.
    """

    def __init__(self, classifier: KerasClassifier, at: frozenset[int], n_rows: int) -> None:
        self.classifier, self.at, self.n_rows = classifier, at, n_rows
        self.step, self.made, self.worse_in_a_row = 0, 0, 0
        self.started = self.told = time.monotonic()
        self.since: list[tuple[float, float]] = []
        self.best_score = -1.0
        self.best_weights: list[np.ndarray] | None = None

    @property
    def seconds(self) -> float:
        """Since training began, without what lies between two sittings."""
        return time.monotonic() - self.started

    @property
    def has_lost_patience(self) -> bool:
        """Whether patience was asked for, and as many evaluations have brought nothing better."""
        patience = int(self.classifier.task.parameters.get("patience", 0))
        return 0 < patience <= self.worse_in_a_row

    def begin(self, phase: Phase, model: Any, validation: Inputs, step: int, resumed: bool) -> None:
        """From here on `model` is trained, in `phase`, after `step` steps."""
        self.phase, self.model, self.validation, self.step = phase, model, validation, step
        if not resumed:
            self.worse_in_a_row = 0

    def __call__(self, logs: dict[str, float]) -> None:
        """Take note of one gradient step and its `logs`. Raises FloatingPointError where the loss is not finite."""
        self.step += 1
        self.made += 1
        task, steps = self.classifier.task, self.classifier.steps_
        if not math.isfinite(logs["loss"]):
            where = f"at step {self.step} of {steps} ({self.phase.name})"
            raise FloatingPointError(f"the training loss became {logs['loss']} {where}")
        self.since.append((logs["loss"], logs["accuracy"]))
        if self.step in self.at:
            self._evaluate()
        if self.step in self.at or time.monotonic() - self.told > 1:
            self.told = time.monotonic()
            score = f", val macro-F1 {self.best_score:.3f}" if self.best_weights else ""
            task.progress(self.step / steps, f"step {self.step}/{steps}{score}")

    def _evaluate(self) -> None:
        y = self.classifier.task.validation[1]
        probabilities = self.classifier.forward(self.model, self.validation)
        if not np.isfinite(probabilities).all():
            raise FloatingPointError(
                f"the validation probabilities are not finite at step {self.step} ({self.phase.name})"
            )
        predicted = probabilities.argmax(axis=1)
        loss, accuracy = np.mean(self.since, axis=0)
        score = macro_f1(y, predicted, probabilities.shape[1])
        self.classifier.history_.append(
            {
                "step": self.step,
                "epoch": round(self.step * self.classifier.batch_size / self.n_rows, 3),
                "phase": self.phase.name,
                "seconds": round(self.seconds, 3),
                "learning_rate": float(self.model.optimizer.learning_rate),
                "loss": float(loss),
                "accuracy": float(accuracy),
                "val_loss": float(-np.log(np.maximum(probabilities[np.arange(len(y)), y], 1e-7)).mean()),
                "val_accuracy": float((predicted == y).mean()),
                "val_macro_f1": score,
            }
        )
        self.since.clear()
        self._compare(score)

    def _compare(self, score: float) -> None:
        """Keep the weights if they are the best so far; lower the learning rate on a plateau where that is wanted."""
        self.worse_in_a_row += 1
        if score > self.best_score:
            self.worse_in_a_row = 0
            self.best_score, self.best_weights = score, self.classifier.network.model.get_weights()
        elif self.classifier.task.parameters.get("schedule") == PLATEAU and self.worse_in_a_row % PLATEAU_PATIENCE == 0:
            self.model.optimizer.learning_rate = float(self.model.optimizer.learning_rate) * PLATEAU_FACTOR

    def restore_best(self) -> None:
        """Put the weights with the best validation macro-F1 back into the network."""
        self.classifier.network.model.set_weights(self.best_weights)


def evaluation_steps(steps: int, batch_size: int, n_validation: int) -> frozenset[int]:
    """The steps after which to evaluate: evenly spread, the last one always."""
    affordable = int(EVALUATION_SHARE * steps * batch_size / max(1, n_validation))
    times = min(EVALUATIONS, max(1, affordable), steps)
    return frozenset(round(steps * turn / times) for turn in range(1, times + 1))
