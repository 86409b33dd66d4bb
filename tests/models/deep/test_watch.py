from types import SimpleNamespace

import numpy as np
import pytest

from fer_bench.models.deep.recipe import Recipe
from fer_bench.models.deep.training import Phase
from fer_bench.models.deep.watch import PLATEAU_FACTOR, TrainingState, Watch, evaluation_steps

Y = np.array([0, 0, 0, 1, 1, 2])
LOGS = [(1.5, 0.5)]  # of one step


class Training:
    """What a watch looks at: predictions of six images, evaluation by evaluation; weights that tell how many."""

    def __init__(self, right, every=10, told=None, **parameters):
        self.right, self.evaluations = list(right), 0
        self.optimizer = SimpleNamespace(learning_rate=0.1)
        self.state = TrainingState()
        progress = (lambda *said: told.append(said)) if told is not None else (lambda *said: None)
        self.watch = Watch(self.state, Recipe.of(parameters), self, Y, 100, 8, 40, progress)
        self.watch.at = frozenset(range(every, 101, every))
        self.begin(0, resumed=False)

    def begin(self, step, resumed):
        self.watch.begin("only", self.optimizer, self.predict, step, resumed)

    def predict(self):
        """Probabilities that are right for so many of the first rows only."""
        predicted = np.where(np.arange(6) < self.right[self.evaluations], Y, (Y + 1) % 3)
        self.evaluations += 1
        return np.where(np.eye(3)[predicted] > 0, 0.8, 0.1).astype(np.float32)

    def get_weights(self):
        return [np.array(self.evaluations)]

    def go_on(self, steps=None):
        """So many steps, or all that evaluations are given for; fewer where patience is lost."""
        for _ in range(steps or min(self.watch.at) * len(self.right)):
            self.watch(LOGS)
            if self.watch.has_lost_patience:
                break
        return self


def test_history_has_a_row_per_evaluation_with_all_its_columns():
    training = Training([6, 3], every=2)
    for loss in (1.0, 2.0, 5.0, 7.0):
        training.watch([(loss, loss / 10)])
    first, second = training.state.history
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


def test_the_best_weights_are_those_of_the_best_macro_f1_the_first_of_equals():
    state = Training([1, 4, 6, 2, 6, 5]).go_on().state
    assert (state.best_score, state.best_weights) == (1.0, [3])


def test_seconds_go_on_from_those_of_earlier_sittings():
    clock = iter([1000.0, 1003.0])
    watch = Watch(TrainingState(seconds=7), Recipe(), None, Y, 100, 8, 40, lambda *said: None, lambda: next(clock))
    watch.begin("only", None, lambda: None, 5, resumed=True)
    watch(LOGS)
    assert (watch.state.seconds, watch.state.step, watch.state.made) == (10, 6, 1)


@pytest.mark.parametrize(
    ("patience", "evaluations"), [(0, 8), (1, 3), (2, 6), (3, 7), (9, 8)]
)  # of 1, 2, 2, 3, 3, 1, 1, 1 right
def test_patience_is_lost_after_so_many_evaluations_without_a_better_one(patience, evaluations):
    assert Training([1, 2, 2, 3, 3, 1, 1, 1], patience=patience).go_on().evaluations == evaluations


def test_patience_begins_anew_with_a_phase_but_not_where_training_goes_on():
    training = Training([3, 2, 2], patience=2).go_on()
    for resumed in (True, False):
        training.begin(30, resumed)
        assert training.watch.has_lost_patience is resumed


@pytest.mark.parametrize(("schedule", "factor"), [("plateau", PLATEAU_FACTOR), ("cosine", 1.0)])
def test_on_a_plateau_the_learning_rate_falls_every_second_time(schedule, factor):
    falls = [0, 0, 0, 1, 1, 1, 2, 2, 3]
    training = Training([1, 2, 2, 2, 3, 1, 1, 1, 1], schedule=schedule).go_on()
    assert training.optimizer.learning_rate == pytest.approx(0.1 * factor ** falls[-1])
    rates = [row["learning_rate"] for row in training.state.history]  # as they were until then
    np.testing.assert_allclose(rates, 0.1 * factor ** np.array([0, *falls[:-1]]))


def test_progress_is_told_at_every_evaluation_with_the_best_score():
    told = []
    Training([6, 3], told=told).go_on()
    assert told == [(0.1, "step 10/100, val macro-F1 1.000"), (0.2, "step 20/100, val macro-F1 1.000")]


def test_a_loss_or_a_prediction_that_is_not_finite_is_refused():
    training = Training([3]).go_on(3)
    with pytest.raises(FloatingPointError, match=r"loss became inf at step 5 of 100 \(only\)"):
        training.watch([(1.0, 0.5), (float("inf"), 0.0), (1.0, 0.5)])
    training = Training([3])
    training.watch.predict = lambda: np.full((6, 3), np.nan, np.float32)
    with pytest.raises(FloatingPointError, match=r"not finite at step 10 \(only\)"):
        training.go_on()


def test_training_stops_when_patience_is_lost_and_the_next_phase_begins(tiny):
    phases = (Phase("first", 0.5, 0.0), Phase("second", 0.5, 0.0))  # nothing is ever learnt
    task = tiny.task(steps=40, validation=tiny.bars(6, seed=1), parameters={"patience": 2})
    classifier = tiny.fitted(task, lambda: tiny.network(phases=phases))
    steps = {name: [row["step"] for row in classifier.history_ if row["phase"] == name] for name in ("first", "second")}
    assert steps == {"first": [2, 4, 6], "second": [22, 24]}
    assert classifier.steps_ == 10 and task.steps == 40


@pytest.mark.parametrize(
    ("steps", "n_validation", "times"), [(12_000, 3_589, 20), (150, 300, 6), (16, 300, 1), (1, 10, 1), (5, 1, 5)]
)
def test_evaluations_are_few_affordable_and_include_the_end(steps, n_validation, times):
    at = evaluation_steps(steps, 64, n_validation)
    assert len(at) == times
    assert max(at) == steps
    assert min(at) >= 1
