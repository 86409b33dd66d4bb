"""Greedy selection on validation: what it picks, what it leaves out, and that it is the same every time."""

import dataclasses
import shutil

import numpy as np
import pytest
from sklearn.metrics import f1_score

from fer_bench import metrics
from fer_bench.analysis import Predictions
from fer_bench.analysis.evidence import ensemble
from fer_bench.errors import FerBenchError
from fer_bench.records import Timing


def reference(library: list[np.ndarray], labels: np.ndarray) -> tuple[list[int], list[float]]:
    """Caruana et al. (2004), section 2, with scikit-learn's macro-F1, as plainly as it can be said."""
    picks, path = [], []
    for _ in range(50):
        scores = [
            f1_score(labels, np.mean([library[i] for i in [*picks, new]], axis=0).argmax(axis=1), average="macro")
            for new in range(len(library))
        ]
        if path and max(scores) <= path[-1]:
            return picks, path
        picks.append(int(np.argmax(scores)))
        path.append(max(scores))
    return picks, path


@pytest.fixture
def many_runs(stored_runs):
    """Six more runs of middling skill, whose mistakes differ."""
    for number in range(6):
        stored_runs.add(f"net-{number}", stored_runs.predictions(1.5, seed=50 + number))
    return stored_runs


def selected(runs) -> ensemble.Selection:
    return ensemble.select(Predictions.newest(runs.folder))


def put_on_record(runs, **given):
    return ensemble.put_on_record(Predictions.newest(runs.folder), runs.folder, **given)


def test_selection_is_that_of_the_paper(many_runs):
    predictions, selection = Predictions.newest(many_runs.folder), selected(many_runs)
    runs = sorted(predictions.runs, key=lambda run: run.run_id)
    library = [predictions.probabilities(run, "validation").astype(float) for run in runs]
    picks, path = reference(library, many_runs.labels["validation"])
    assert selection.weights == {runs[i].run_id: picks.count(i) / len(picks) for i in set(picks)}
    assert selection.validation_macro_f1 == pytest.approx(path)
    assert len(path) > 2 and sorted(path) == list(path)


def test_test_labels_play_no_part(many_runs):
    before = selected(many_runs)
    many_runs.write_split(many_runs.labels | {"test": many_runs.labels["test"][::-1]})
    assert selected(many_runs) == before


def test_validation_images_with_copies_in_train_play_no_part(many_runs):
    labels = many_runs.labels["validation"]
    copied = np.arange(len(labels)) % 2 == 0
    weak = many_runs.predictions(0.5, seed=3)
    right = 0.9 * np.eye(3)[labels] + 0.1 / 3
    remembers = many_runs.add("remembers", weak | {"validation": np.where(copied[:, None], right, weak["validation"])})
    assert remembers.run_id in selected(many_runs).weights
    many_runs.mark_copies(copied)
    record, _ = put_on_record(many_runs)
    assert remembers.run_id not in record.members
    predictions = Predictions.newest(many_runs.folder)
    run = next(run for run in predictions.runs if run.run_id == record.run_id)
    answers = predictions.probabilities(run, "validation").argmax(axis=1)
    score = f1_score(labels[~copied], answers[~copied], average="macro")
    assert record.parameters["validation_macro_f1"][-1] == pytest.approx(score)


def test_record_is_the_weighted_mean_at_no_training_cost(many_runs):
    record, is_new = put_on_record(many_runs, command="a command")
    predictions = Predictions.newest(many_runs.folder)
    stored = {run.run_id: predictions.probabilities(run, "test") for run in predictions.runs}
    mean = sum(weight * stored[run_id] for run_id, weight in record.members.items())
    np.testing.assert_allclose(stored[record.run_id], mean, atol=1e-6)
    assert is_new and sum(record.members.values()) == pytest.approx(1)
    assert record.test == metrics.score(many_runs.labels["test"], stored[record.run_id], many_runs.CLASS_NAMES)
    assert record.validation.macro_f1 == pytest.approx(record.parameters["validation_macro_f1"][-1])
    assert (record.seconds, record.command) == (None, "a command")  # the seconds of its members are not known
    assert record.family == record.spec.model == "ensemble"


def test_its_seconds_are_those_of_its_members_and_shared_features_count_once(stored_runs):
    for seed in range(1, 7):
        features, cost = ("pca", 6.0) if seed < 4 else ("hog", 40.0 if seed < 6 else 50.0)
        seconds = Timing(fit=10.0 * seed, features=cost)
        stored_runs.add(
            f"{features}-svm", stored_runs.predictions(1.5, seed), seed=seed, features=features, seconds=seconds
        )
    predictions = Predictions.newest(stored_runs.folder)
    timed = tuple(run for run in predictions.runs if run.record.seconds)
    record, _ = ensemble.put_on_record(dataclasses.replace(predictions, runs=timed), stored_runs.folder)
    chosen = [run.record for run in timed if run.run_id in record.members]
    assert [member.features for member in chosen].count("pca") > 1  # of the same cost: the same features
    assert record.seconds.fit == sum(member.seconds.fit for member in chosen)
    assert record.seconds.features == sum({member.seconds.features for member in chosen})


def test_same_inputs_give_the_same_record_once(many_runs):
    record, _ = put_on_record(many_runs)
    content = many_runs.folder.record_path(record.run_id).read_bytes()
    assert put_on_record(many_runs) == (record, False)
    assert many_runs.folder.record_path(record.run_id).read_bytes() == content
    gone = max(record.members, key=record.members.get)
    shutil.rmtree(many_runs.folder.runs / gone)
    changed, is_new = put_on_record(many_runs)
    assert is_new and changed.run_id == record.run_id and gone not in changed.members


def test_who_is_left_out(many_runs):
    """A member that answers one class can be picked for the few rows on which it tips the mean."""
    n, perfect = len(many_runs.labels["test"]), many_runs.predictions(9.0, seed=1)  # above 95 %: the gate's business
    constant = dict.fromkeys(("validation", "test"), np.tile(np.float32([0.2, 0.2, 0.6]), (n, 1)))
    suspect, one_class = many_runs.add("leaky", perfect), many_runs.add("one-class", constant)
    only_test = {"test": many_runs.predictions(2.0)["test"]}
    outside = many_runs.add("mine", only_test, strategy="external", family="external")
    broken = many_runs.add("broken", perfect, status="failed")
    predictions = Predictions.newest(many_runs.folder)
    selection = ensemble.select(predictions, ensemble.leak_suspects(predictions))
    odd = {suspect.run_id, one_class.run_id, outside.run_id}
    majority = {many_runs.find("majority").run_id}
    assert odd <= selection.left_out.keys() <= odd | majority
    assert not (odd | {broken.run_id}) & selection.weights.keys() and len(selection.weights) > 1
    record, _ = put_on_record(many_runs)
    assert record.members == selection.weights
    assert all(run_id in " ".join(record.notes) for run_id in selection.left_out)


def test_nothing_to_choose_from_is_one_message(stored_runs):
    for record in stored_runs.folder.records():
        stored_runs.predictions_path(record).unlink()
    with pytest.raises(FerBenchError, match=stored_runs.folder.path.name):
        selected(stored_runs)
