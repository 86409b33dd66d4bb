"""Watch: what is looked at while a network is trained; history, progress, and the best weights so far."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fer_bench.metrics import macro_f1
from fer_bench.models.deep.recipe import PLATEAU, Recipe
from fer_bench.progress import Progress

EVALUATIONS = 20  # at most, and no more images than EVALUATION_SHARE of those trained on: about 7 % of the time
EVALUATION_SHARE = 0.2
PLATEAU_PATIENCE, PLATEAU_FACTOR = 2, 0.3  # evaluations without a better one, and what the learning rate is times then


@dataclass
class TrainingState:
    """How far training is: all that it goes on from, but for the weights, the optimizer and torch's generators.

    step: number of the latest gradient step in the schedule. made: how many were made; fewer where patience was lost.
    seconds: that training took, without passes of a frozen part and what lies between two sittings.
    worse_in_a_row: evaluations without a better one. since: loss and accuracy of each step since the last evaluation.
    history: a dict per evaluation. best_weights: those of `best_score`, validation macro-F1; empty before the first.
    """

    step: int = 0
    made: int = 0
    seconds: float = 0.0
    worse_in_a_row: int = 0
    best_score: float = -1.0
    since: list[tuple[float, float]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_weights: list[np.ndarray] = field(default_factory=list)


@dataclass
class Watch:
    """Keeps `state` up to date: counts gradient steps, evaluates after some of them, keeps the best weights.

    network: the model whose weights are kept. labels: int (n,), of the validation images. steps, batch_size: of the
    whole training, on `n_rows` rows. clock: seconds, from anywhere.
    """

    state: TrainingState
    recipe: Recipe
    network: Any
    labels: np.ndarray
    steps: int
    batch_size: int
    n_rows: int
    progress: Progress
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.at = evaluation_steps(self.steps, self.batch_size, len(self.labels))
        self.started, self.reported = self.clock() - self.state.seconds, time.monotonic()

    @property
    def has_lost_patience(self) -> bool:
        """Whether patience was asked for, and as many evaluations have brought nothing better."""
        return 0 < self.recipe.patience <= self.state.worse_in_a_row

    def begin(
        self, phase: str, optimizer: Any, predict: Callable[[], np.ndarray], step: int, resumed: bool,
        kept: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:  # fmt: skip
        """From here on `phase` goes on, after `step` steps.

        predict: gives the probabilities of the validation images, float32 (n, n_classes). kept: the context in which
        the network has the weights to evaluate and to keep.
        """
        self.phase, self.optimizer, self.predict, self.kept, self.state.step = phase, optimizer, predict, kept, step
        if not resumed:
            self.state.worse_in_a_row = 0

    @property
    def until_evaluation(self) -> int:
        """How many steps there are until the next evaluation."""
        return min(step for step in self.at if step > self.state.step) - self.state.step

    def __call__(self, logs: Iterable[Sequence[float]]) -> None:
        """Take note of gradient steps, none beyond the next evaluation: loss and accuracy of each.

        Raises FloatingPointError where a loss is not finite.
        """
        state = self.state
        for loss, accuracy in logs:
            state.step += 1
            state.made += 1
            if not math.isfinite(loss):
                where = f"at step {state.step} of {self.steps} ({self.phase})"
                raise FloatingPointError(f"the training loss became {loss} {where}")
            state.since.append((float(loss), float(accuracy)))
        state.seconds = self.clock() - self.started
        if state.step in self.at:
            with self.kept():
                self._evaluate()
        if state.step in self.at or time.monotonic() - self.reported > 1:
            self.reported = time.monotonic()
            score = f", val macro-F1 {state.best_score:.3f}" if state.best_weights else ""
            self.progress(state.step / self.steps, f"step {state.step}/{self.steps}{score}")

    def _evaluate(self) -> None:
        state, labels, probabilities = self.state, self.labels, self.predict()
        if not np.isfinite(probabilities).all():
            raise FloatingPointError(f"the validation probabilities are not finite at step {state.step} ({self.phase})")
        predicted = probabilities.argmax(axis=1)
        loss, accuracy = np.mean(state.since, axis=0)
        score = macro_f1(labels, predicted, probabilities.shape[1])
        state.history.append(
            {
                "step": state.step,
                "epoch": round(state.step * self.batch_size / self.n_rows, 3),
                "phase": self.phase,
                "seconds": round(state.seconds, 3),
                "learning_rate": float(self.optimizer.learning_rate),
                "loss": float(loss),
                "accuracy": float(accuracy),
                "val_loss": float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-7)).mean()),
                "val_accuracy": float((predicted == labels).mean()),
                "val_macro_f1": score,
            }
        )
        state.since.clear()
        self._compare(score)

    def _compare(self, score: float) -> None:
        """Keep the weights if they are the best so far; lower the learning rate on a plateau where that is wanted."""
        state = self.state
        state.worse_in_a_row += 1
        if score > state.best_score:
            state.worse_in_a_row, state.best_score, state.best_weights = 0, score, self.network.get_weights()
        elif self.recipe.schedule == PLATEAU and state.worse_in_a_row % PLATEAU_PATIENCE == 0:
            self.optimizer.learning_rate = float(self.optimizer.learning_rate) * PLATEAU_FACTOR


def evaluation_steps(steps: int, batch_size: int, n_validation: int) -> frozenset[int]:
    """The steps after which to evaluate: evenly spread, the last one always."""
    affordable = int(EVALUATION_SHARE * steps * batch_size / max(1, n_validation))
    times = min(EVALUATIONS, max(1, affordable), steps)
    return frozenset(round(steps * turn / times) for turn in range(1, times + 1))
