"""Greedy selection on validation: what it picks, what it leaves out, and that it is the same every time."""

import dataclasses
import shutil

import numpy as np
import pytest
from sklearn.metrics import f1_score

from fer_bench import metrics
from fer_bench.errors import FerBenchError
from fer_bench.judging import ensemble
from fer_bench.judging.evidence import Evidence
from fer_bench.records.images import ImageFacts, images_path, write_images
from fer_bench.records.schema import Spec, Timing
from fer_bench.records.spec import RunSpec


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


def test_selection_is_that_of_the_paper(many_runs):
    evidence = Evidence.newest(many_runs.folder)
    selection = ensemble.select(evidence)
    members = sorted(record.run_id for record in evidence.records)
    library = [
        evidence.probabilities(record, "validation").astype(float)
        for record in sorted(evidence.records, key=lambda record: record.run_id)
    ]
    picks, path = reference(library, many_runs.labels["validation"])
    assert selection.weights == {members[i]: picks.count(i) / len(picks) for i in set(picks)}
    assert selection.validation_macro_f1 == pytest.approx(path)
    assert len(path) > 2 and sorted(path) == list(path)


def test_test_labels_play_no_part(many_runs):
    before = ensemble.select(Evidence.newest(many_runs.folder))
    many_runs.write_split(many_runs.labels | {"test": many_runs.labels["test"][::-1]})
    assert ensemble.select(Evidence.newest(many_runs.folder)) == before


def test_validation_images_with_copies_in_train_play_no_part(many_runs):
    labels = many_runs.labels["validation"]
    n = len(labels)
    copied = np.arange(n) % 2 == 0
    weak = many_runs.predictions(0.5, seed=3)
    right = 0.9 * np.eye(3)[labels] + 0.1 / 3
    remembers = many_runs.add("remembers", weak | {"validation": np.where(copied[:, None], right, weak["validation"])})
    assert remembers.run_id in ensemble.select(Evidence.newest(many_runs.folder)).weights
    ids = np.array(many_runs.ids["validation"] + many_runs.ids["test"])
    copies = np.concatenate([np.where(copied, "near", ""), np.full(n, "")])
    facts = ImageFacts(ids, np.repeat(["validation", "test"], n), copies)
    write_images(images_path(many_runs.folder.path, many_runs.split), facts)
    record, _ = ensemble.put_on_record(Evidence.newest(many_runs.folder))
    assert remembers.run_id not in record.members
    evidence = Evidence.newest(many_runs.folder)
    answers = evidence.probabilities(record, "validation").argmax(axis=1)[~copied]
    score = f1_score(labels[~copied], answers, average="macro")
    assert record.parameters["validation_macro_f1"][-1] == pytest.approx(score)
    assert f"chosen on the {(~copied).sum()} validation images without a copy in train" in record.notes


def test_record_is_the_weighted_mean_at_no_training_cost(many_runs):
    evidence = Evidence.newest(many_runs.folder)
    record, is_new = ensemble.put_on_record(evidence, command="a command")
    weights = record.members
    by_id = {known.run_id: known for known in evidence.records}
    mean = sum(weight * evidence.probabilities(by_id[run_id], "test") for run_id, weight in weights.items())
    stored = Evidence.newest(many_runs.folder).probabilities(record, "test")
    np.testing.assert_allclose(stored, mean, atol=1e-6)
    assert is_new and sum(weights.values()) == pytest.approx(1)
    assert record.test == metrics.score(many_runs.labels["test"], stored, many_runs.CLASS_NAMES)
    assert record.validation.macro_f1 == pytest.approx(record.parameters["validation_macro_f1"][-1])
    assert record.seconds is None  # as those of its members are not known
    assert record.family == record.spec.model == "ensemble"


def test_its_seconds_are_those_of_its_members_and_shared_features_count_once(stored_runs):
    for seed in range(1, 7):
        features, cost = ("pca", 6.0) if seed < 4 else ("hog", 40.0 if seed < 6 else 50.0)
        seconds = Timing(fit=10.0 * seed, features=cost)
        stored_runs.add(
            f"{features}-svm", stored_runs.predictions(1.5, seed), seed=seed, features=features, seconds=seconds
        )
    evidence = Evidence.newest(stored_runs.folder)
    timed = tuple(record for record in evidence.records if record.seconds)
    record, _ = ensemble.put_on_record(dataclasses.replace(evidence, records=timed))
    chosen = [member for member in timed if member.run_id in record.members]
    assert [member.features for member in chosen].count("pca") > 1  # of the same cost: the same features
    assert record.seconds.fit == sum(member.seconds.fit for member in chosen)
    assert record.seconds.features == sum({member.seconds.features for member in chosen})


def test_note_tells_variants_of_a_model_apart(stored_runs):
    """Of one model under one strategy and seed, in two budgets."""
    evidence = Evidence.newest(stored_runs.folder)
    for number, budget in enumerate(("quick", "full")):
        spec = RunSpec("cnn", "none", 0, evidence.data_fingerprint, stored_runs.split, budget)
        rows = stored_runs.predictions(2.5, seed=60 + number)
        stored_runs.add("cnn", rows, run_id=spec.run_id, spec=Spec(**vars(spec)))
    record, _ = ensemble.put_on_record(Evidence.newest(stored_runs.folder))
    assert sum(run_id.startswith("cnn.") for run_id in record.members) == 2


def test_same_inputs_give_the_same_record_once(many_runs):
    record, _ = ensemble.put_on_record(Evidence.newest(many_runs.folder))
    content = many_runs.folder.record_path(record.run_id).read_bytes()
    assert ensemble.put_on_record(Evidence.newest(many_runs.folder)) == (record, False)
    assert many_runs.folder.record_path(record.run_id).read_bytes() == content
    gone = max(record.members, key=record.members.get)
    shutil.rmtree(many_runs.folder.runs / gone)
    changed, is_new = ensemble.put_on_record(Evidence.newest(many_runs.folder))
    assert is_new and changed.run_id == record.run_id and gone not in changed.members


def test_suspects_and_runs_without_validation_probabilities_are_left_out_and_named(many_runs):
    perfect = many_runs.predictions(9.0, seed=1)  # above 95 % on validation: the gate's business
    suspect = many_runs.add("leaky", perfect)
    outside = many_runs.add(
        "mine", {"test": many_runs.predictions(2.0)["test"]}, strategy="external", family="external"
    )
    many_runs.add("broken", perfect, status="failed")
    record, _ = ensemble.put_on_record(Evidence.newest(many_runs.folder))
    assert not {suspect.run_id, outside.run_id} & record.members.keys()
    assert f"{suspect.run_id} (leak suspect)" in record.notes[0]
    assert f"{outside.run_id} (no validation probabilities)" in record.notes[0]
    assert "broken" not in " ".join([*record.members, *record.notes])


def test_nothing_to_choose_from_is_one_message(stored_runs):
    for record in stored_runs.folder.records():
        stored_runs.predictions_path(record).unlink()
    with pytest.raises(FerBenchError, match=r"no run to choose from \(no validation and test probabilities\)"):
        ensemble.select(Evidence.newest(stored_runs.folder))


def test_runs_no_better_than_a_constant_answer_are_left_out(many_runs):
    """A member that answers one class can be picked for the few rows on which it tips the mean."""
    labels = many_runs.labels["validation"]
    constant = {name: np.tile(np.float32([0.2, 0.2, 0.6]), (len(labels), 1)) for name in ("validation", "test")}
    one_class = many_runs.add("one-class", constant)
    selection = ensemble.select(Evidence.newest(many_runs.folder))
    assert selection.left_out[one_class.run_id] == "no better than a constant answer"
    assert one_class.run_id not in selection.weights and len(selection.weights) > 1
