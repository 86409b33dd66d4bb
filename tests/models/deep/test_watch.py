from types import SimpleNamespace

import numpy as np
import pytest

from fer_bench.models.deep.training import Phase
from fer_bench.models.deep.watch import PLATEAU_FACTOR, Watch, evaluation_steps
from fer_bench.models.validation import macro_f1

Y = np.array([0, 0, 0, 1, 1, 2])
LOGS = {"loss": 1.5, "accuracy": 0.5}


class Student:
    """In place of a classifier: what it predicts, evaluation by evaluation, is given; its weights are how many."""

    def __init__(self, right, tiny, told=None, **parameters):
        progress = (lambda share, text: told.append((share, text))) if told is not None else (lambda share, text: None)
        self.task = tiny.task(validation=(np.empty((6, 2, 2), np.uint8), Y), parameters=parameters, progress=progress)
        self.right, self.steps_, self.batch_size, self.history_ = list(right), 100, 8, []
        self.evaluations, self.restored = 0, None
        self.network = SimpleNamespace(model=self)
        self.optimizer = SimpleNamespace(learning_rate=0.1)

    def forward(self, model, inputs):
        """Probabilities that are right for the first `right` rows only."""
        predicted = np.where(np.arange(6) < self.right[self.evaluations], Y, (Y + 1) % 3)
        self.evaluations += 1
        return np.where(np.eye(3)[predicted] > 0, 0.8, 0.1).astype(np.float32)

    def get_weights(self):
        return [np.array(self.evaluations)]

    def set_weights(self, weights):
        self.restored = int(weights[0])


def watched(student, n_steps=None, every=10, n_rows=40):
    """A watch that has seen the steps of its student, or as many as it had patience for."""
    watch = Watch(student, frozenset(range(every, 101, every)), n_rows)
    watch.begin(Phase("only", 1.0, 0.1), student, None, step=0, resumed=False)
    for _ in range(n_steps or every * len(student.right)):
        watch(LOGS)
        if watch.has_lost_patience:
            break
    return watch


def test_history_has_a_row_per_evaluation_with_all_its_columns(tiny):
    student = Student([6, 3], tiny)
    watch = Watch(student, frozenset({2, 4}), n_rows=40)
    watch.begin(Phase("only", 1.0, 0.1), student, None, step=0, resumed=False)
    for loss in (1.0, 2.0, 5.0, 7.0):
        watch({"loss": loss, "accuracy": loss / 10})
    first, second = student.history_
    assert list(first) == [
        "step", "epoch", "phase", "seconds", "learning_rate", "loss", "accuracy",
        "val_loss", "val_accuracy", "val_macro_f1",
    ]  # fmt: skip
    assert (first["step"], second["step"]) == (2, 4)
    assert (first["epoch"], second["epoch"]) == (0.4, 0.8)  # eight images a step, of forty
    assert (first["loss"], second["loss"]) == (1.5, 6.0)  # since the last time
    assert (first["accuracy"], second["accuracy"]) == pytest.approx((0.15, 0.6))
    assert (first["val_accuracy"], second["val_accuracy"]) == (1.0, 0.5)
    assert first["val_loss"] == pytest.approx(-np.log(0.8))
    assert second["val_loss"] == pytest.approx(-np.log(0.8) / 2 - np.log(0.1) / 2)
    assert (first["val_macro_f1"], first["phase"], first["learning_rate"]) == (1.0, "only", 0.1)
    assert 0 <= first["seconds"] <= second["seconds"]


def test_the_best_weights_are_those_of_the_best_macro_f1_the_first_of_equals(tiny):
    student = Student([1, 4, 6, 2, 6, 5], tiny)
    watch = watched(student)
    assert watch.best_score == 1.0
    watch.restore_best()
    assert student.restored == 3


@pytest.mark.parametrize(
    ("patience", "evaluations"), [(0, 8), (1, 3), (2, 6), (3, 7), (9, 8)]
)  # of 1, 2, 2, 3, 3, 1, 1, 1 right
def test_patience_is_lost_after_so_many_evaluations_without_a_better_one(tiny, patience, evaluations):
    student = Student([1, 2, 2, 3, 3, 1, 1, 1], tiny, patience=patience)
    watched(student)
    assert student.evaluations == evaluations


def test_patience_begins_anew_with_a_phase_but_not_where_training_goes_on(tiny):
    student = Student([3, 2, 2], tiny, patience=2)
    watch = watched(student)
    assert watch.has_lost_patience
    watch.begin(Phase("second", 0.5, 0.1), student, None, step=30, resumed=True)
    assert watch.has_lost_patience
    watch.begin(Phase("second", 0.5, 0.1), student, None, step=30, resumed=False)
    assert not watch.has_lost_patience


def test_on_a_plateau_the_learning_rate_falls_every_second_time(tiny):
    right = [1, 2, 2, 2, 3, 1, 1, 1, 1]
    falls = [0, 0, 0, 1, 1, 1, 2, 2, 3]
    for parameters, factor in (({"schedule": "plateau"}, PLATEAU_FACTOR), ({}, 1.0)):
        student = Student(right, tiny, **parameters)
        watched(student)
        assert student.optimizer.learning_rate == pytest.approx(0.1 * factor ** falls[-1])
        rates = [row["learning_rate"] for row in student.history_]  # as they were until then
        np.testing.assert_allclose(rates, 0.1 * factor ** np.array([0, *falls[:-1]]))


def test_progress_is_told_at_every_evaluation_with_the_best_score(tiny):
    told = []
    watched(Student([6, 3], tiny, told))
    assert told == [(0.1, "step 10/100, val macro-F1 1.000"), (0.2, "step 20/100, val macro-F1 1.000")]


def test_a_loss_or_a_prediction_that_is_not_finite_is_refused(tiny):
    watch = watched(Student([3], tiny), n_steps=3)
    with pytest.raises(FloatingPointError, match=r"loss became inf at step 4 of 100 \(only\)"):
        watch({"loss": float("inf"), "accuracy": 0.0})
    student = Student([3], tiny)
    student.forward = lambda model, inputs: np.full((6, 3), np.nan, np.float32)
    with pytest.raises(FloatingPointError, match=r"validation probabilities are not finite at step 10 \(only\)"):
        watched(student)


def test_training_stops_when_patience_is_lost_and_the_next_phase_begins(tiny):
    phases = (Phase("first", 0.5, 0.0), Phase("second", 0.5, 0.0))  # nothing is ever learnt
    task = tiny.task(steps=40, validation=tiny.bars(6, seed=1), parameters={"patience": 2})
    classifier = tiny.fitted(task, lambda: tiny.network(phases=phases))
    steps = {name: [row["step"] for row in classifier.history_ if row["phase"] == name] for name in ("first", "second")}
    assert steps == {"first": [2, 4, 6], "second": [22, 24]}


def test_macro_f1_is_that_of_scikit_learn():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(0, 5, 200), rng.integers(0, 4, 200)  # class 4 is never predicted, 5 is not there
    expected = f1_score(y_true, y_pred, average="macro", labels=range(6), zero_division=0)
    assert macro_f1(y_true, y_pred, 6) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("steps", "n_validation", "times"), [(12_000, 3_589, 20), (150, 300, 6), (16, 300, 1), (1, 10, 1), (5, 1, 5)]
)
def test_evaluations_are_few_affordable_and_include_the_end(steps, n_validation, times):
    at = evaluation_steps(steps, 64, n_validation)
    assert len(at) == times
    assert max(at) == steps
    assert min(at) >= 1
