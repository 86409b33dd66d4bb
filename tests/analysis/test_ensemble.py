"""Greedy selection on validation: what it picks, what it leaves out, and that it is the same every time."""

import dataclasses
import shutil

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss

from fer_bench import metrics
from fer_bench.analysis import Predictions
from fer_bench.analysis.evidence import ensemble
from fer_bench.errors import FerBenchError
from fer_bench.records import Timing


def reference(library: np.ndarray, labels: np.ndarray, chosen_on: np.ndarray, bags: list[list[int]]) -> np.ndarray:
    """Caruana et al. (2004), section 2.3, with scikit-learn's log loss, as plainly as it can be said: weights."""
    weights = np.zeros(len(library))
    for bag in bags:
        picks, least = [], np.inf
        while len(picks) < 50:
            losses = [log_loss(labels[chosen_on], library[[*picks, new]].mean(axis=0)[chosen_on]) for new in bag]
            if min(losses) >= least:
                break
            picks.append(bag[int(np.argmin(losses))])
            least = min(losses)
        for pick in picks:
            weights[pick] += 1 / len(picks) / len(bags)
    return weights


@pytest.fixture
def many_runs(stored_runs):
    """Six more runs of middling skill, whose mistakes differ."""
    for number in range(6):
        stored_runs.add(f"net-{number}", stored_runs.predictions(1.5, seed=50 + number))
    return stored_runs


def f1(labels, answers):
    return f1_score(labels, answers, average="macro")


def selected(runs) -> ensemble.Selection:
    return ensemble.select(Predictions.newest(runs.folder))


def put_on_record(runs, **given):
    return ensemble.put_on_record(Predictions.newest(runs.folder), runs.folder, **given)


def test_selection_is_that_of_the_paper(many_runs):
    predictions, selection = Predictions.newest(many_runs.folder), selected(many_runs)
    runs = sorted(run.run_id for run in predictions.runs if run.run_id not in selection.left_out)
    stored = {run.run_id: predictions.probabilities(run, "validation").astype(float) for run in predictions.runs}
    library, labels = np.stack([stored[run_id] for run_id in runs]), many_runs.labels["validation"]
    chosen_on, told_on = ensemble.halves(predictions)
    assert sorted([*chosen_on, *told_on]) == list(range(len(labels))) and abs(len(chosen_on) - len(told_on)) < 2
    bags = ensemble.bags(runs)
    assert len({tuple(bag) for bag in bags}) > 10 and 0.3 < np.mean([len(bag) for bag in bags]) / len(runs) < 0.7
    weights = dict(zip(runs, reference(library, labels, chosen_on, bags), strict=True))
    assert selection.weights == pytest.approx({run_id: weight for run_id, weight in weights.items() if weight})
    assert len(selection.weights) > 2 and sum(selection.weights.values()) == pytest.approx(1)


def test_gain_is_told_on_the_images_that_did_not_choose(many_runs):
    predictions, selection = Predictions.newest(many_runs.folder), selected(many_runs)
    chosen_on, told_on = ensemble.halves(predictions)
    labels = many_runs.labels["validation"]
    mixed = ensemble.mixture(predictions, selection.weights, "validation").argmax(axis=1)
    stored = {run.run_id: predictions.probabilities(run, "validation").argmax(axis=1) for run in predictions.runs}
    best = max(sorted(selection.weights), key=lambda run_id: f1(labels[chosen_on], stored[run_id][chosen_on]))
    value, low, high = selection.gain["macro_f1"]
    assert value == pytest.approx(f1(labels[told_on], mixed[told_on]) - f1(labels[told_on], stored[best][told_on]))
    assert low < value < high and selection.gain["n_images"] == len(told_on)
    labels[chosen_on] = labels[chosen_on][::-1]
    many_runs.write_split(many_runs.labels)
    assert selected(many_runs).weights != selection.weights


def test_members_hang_on_no_label_of_the_other_half(many_runs):
    predictions, before = Predictions.newest(many_runs.folder), selected(many_runs)
    _, told_on = ensemble.halves(predictions)
    changed = many_runs.labels["validation"].copy()
    changed[told_on] = changed[told_on][::-1]
    many_runs.write_split(many_runs.labels | {"validation": changed})
    after = selected(many_runs)
    assert after.weights == before.weights and after.gain != before.gain


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
    assert not copied[np.concatenate(ensemble.halves(predictions))].any()


def test_record_is_the_weighted_mean_at_no_training_cost(many_runs):
    record, is_new = put_on_record(many_runs, command="a command")
    predictions = Predictions.newest(many_runs.folder)
    stored = {run.run_id: predictions.probabilities(run, "test") for run in predictions.runs}
    mean = sum(weight * stored[run_id] for run_id, weight in record.members.items())
    np.testing.assert_allclose(stored[record.run_id], mean, atol=1e-6)
    assert is_new and sum(record.members.values()) == pytest.approx(1)
    assert record.test == metrics.score(many_runs.labels["test"], stored[record.run_id], many_runs.CLASS_NAMES)
    assert record.spec.recipe == ensemble.RECIPE and len(record.parameters["log_loss"]) == record.parameters["bags"]
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


@pytest.mark.parametrize(
    "by", [{"adjusted_from": True, "parameters": {"tau": 0.5}}, {}], ids=["adjusted", "re-trained"]
)
def test_a_training_that_several_members_start_from_counts_once(stored_runs, by):
    started = {"base_predictions": "0" * 16, "seconds": Timing(fit=13.0, features=4.0)}
    seconds = Timing(fit=10.0, features=4.0)
    base = stored_runs.add("cnn", stored_runs.predictions(1.5), seconds=seconds, stochastic=True)
    by = by | ({"adjusted_from": base.run_id} if by else {})
    derived = stored_runs.add("cnn", stored_runs.predictions(1.5, 1), strategy="later", **started, **by)
    predictions = Predictions.newest(stored_runs.folder)
    for members, fit in (([base, derived], 13.0), ([derived], 13.0), ([base], 10.0)):
        assert ensemble._seconds(predictions, members) == Timing(fit=fit, features=4.0)


def test_an_adjustment_that_adjusts_nothing_is_no_second_candidate(many_runs):
    base = many_runs.folder.records()[0]
    rows = Predictions.newest(many_runs.folder)
    same = many_runs.add(
        base.spec.model, rows.stored(rows.by_id[base.run_id]), strategy="post-hoc-adjustment",
        adjusted_from=base.run_id, parameters={"tau": 0},
    )  # fmt: skip
    assert selected(many_runs).left_out[same.run_id] == f"the answers of {base.run_id}"


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
