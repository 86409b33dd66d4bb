"""A run from start to finish: trained here, or derived from a finished run that is not trained again."""

import errno
import warnings
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier

from fer_bench.data import Dataset, Split, stored_split
from fer_bench.execution import fitting, worker
from fer_bench.execution.fitting import choosing_rows, fit, predict
from fer_bench.execution.plan import Job
from fer_bench.execution.preparation import Prepared
from fer_bench.execution.worker import WEIGHTS_FILE, do_run
from fer_bench.metrics import adjust, choose_tau, probabilities_from_scores
from fer_bench.models import TrainingPlan
from fer_bench.models.registry import MODELS, STRATEGIES, plugin_code
from fer_bench.progress import silent
from fer_bench.records.schema import Record
from fer_bench.records.spec import RunSpec
from fer_bench.records.store import ResultsFolder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """160 noisy images of three classes, the second of them rare."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], [90, 20, 50]))
    images = rng.integers(0, 200, (len(labels), 48, 48))
    for row, label in enumerate(labels):
        images[row, 16 * label : 16 * label + 16] += 25
    folder = tmp_path_factory.mktemp("data")
    ids = np.arange(len(labels)).astype(str)
    Dataset("made", images.astype(np.uint8), labels, ("top", "middle", "bottom"), ids).save(folder)
    return folder


def made(dataset, folder, split_folder, fold=0, results=None) -> Prepared:
    """What preparing says of data that a test has made."""
    split = Split.load(split_folder, fold)
    counts = {fold: tuple(len(rows) for rows in split.subsets().values())}
    return Prepared(
        "made", folder, split_folder, dataset.fingerprint, split.fingerprint, split.source, dataset.class_names, counts,
        (), results,
    )  # fmt: skip


@pytest.fixture
def run(data, tmp_path):
    """Do and commit a run of a model under a strategy; returns its record."""
    results = ResultsFolder(tmp_path / "results")

    def make(model: str, strategy: str, n_folds: int = 0, fold: int = 0, **options) -> Record:
        dataset, card = Dataset.load(data), MODELS[model]
        prepared = made(dataset, data, stored_split(data, 0, n_folds), fold, results)
        weights = "none" if card.pretrained else ""
        spec = RunSpec(
            model, strategy, 0, *prepared.fingerprints, "quick" if card.steps else "", weights, fold, n_folds, **options
        )
        job = Job(spec, card.family, card.features, prepared, n_jobs=2, weights=weights)
        work = results.work_folder(spec.run_id)
        record = do_run(job, work, silent)
        results.commit(record, work)
        return record

    make.results = results  # type: ignore[attr-defined]
    return make


def test_post_hoc_adjustment_takes_the_probabilities_of_the_run_under_none(run, data, monkeypatch):
    base = run("pca-logistic", "none")
    dataset, split = Dataset.load(data), Split.load(stored_split(data, 0))
    log_prior = np.log(np.bincount(dataset.labels[split.train]) / len(split.train))
    path = run.results.runs / base.run_id / "predictions.npz"
    before = lean_towards_the_frequent(path, dataset.labels, split, log_prior)

    def never(task):
        raise AssertionError("nothing is to be trained")

    monkeypatch.setitem(MODELS._cards, "pca-logistic", replace(MODELS["pca-logistic"], build=never))
    record = run("pca-logistic", "post-hoc-adjustment")
    assert record.status == "success", record.traceback
    tau = choose_tau(before["validation_probabilities"], dataset.labels[split.validation], log_prior)
    digest = run.results.predictions_digest(base.run_id)
    assert record.base_predictions == run.results.state(record.run_id).base == digest
    assert record.parameters["tau"] == tau > 0
    assert record.adjusted_from == base.run_id
    after = np.load(run.results.runs / record.run_id / "predictions.npz")
    for name in ("validation_probabilities", "test_probabilities"):
        np.testing.assert_allclose(after[name], adjust(before[name], log_prior, tau), rtol=1e-5)
    assert record.seconds.fit >= base.seconds.fit
    assert record.seconds.features == base.seconds.features > 0


def test_tau_is_chosen_on_validation_images_without_a_copy_in_train(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 48, 48), dtype=np.uint8)
    images[40:45] = images[:5]
    subsets = np.repeat(["train", "validation", "test"], [40, 10, 10])
    ids = np.arange(60).astype(str)
    dataset = Dataset("copied", images, np.arange(60) % 2, ("a", "b"), ids, subsets=subsets)
    dataset.save(tmp_path)
    chosen_on = choosing_rows(made(dataset, tmp_path, stored_split(tmp_path, 0)), 0, silent)
    assert chosen_on.tolist() == [False] * 5 + [True] * 5
    folds = made(dataset, tmp_path, stored_split(tmp_path, 0, 2), 1)
    assert choosing_rows(folds, 1, silent).all()


def test_tau_ignores_images_that_do_not_choose(run, data, monkeypatch):
    base = run("pca-logistic", "none")
    dataset, split = Dataset.load(data), Split.load(stored_split(data, 0))
    log_prior = np.log(np.bincount(dataset.labels[split.train]) / len(split.train))
    path = run.results.runs / base.run_id / "predictions.npz"
    stored = lean_towards_the_frequent(path, dataset.labels, split, log_prior)["validation_probabilities"]
    labels = dataset.labels[split.validation]
    right = stored.argmax(axis=1) == labels  # for which nothing needs adjusting
    monkeypatch.setattr(worker, "choosing_rows", lambda *given: right)
    assert choose_tau(stored, labels, log_prior) > 0
    assert run("pca-logistic", "post-hoc-adjustment").parameters["tau"] == 0


def lean_towards_the_frequent(path, labels, split, log_prior):
    """Replace the stored probabilities by ones that miss the rare classes; returns the arrays."""
    rng = np.random.default_rng(0)
    with np.load(path) as stored:
        arrays = dict(stored)
    for name in ("validation", "test"):
        own = labels[split.subsets()[name]]
        logits = rng.normal(0, 0.3, (len(own), 3)) + np.eye(3)[own] + 1.5 * log_prior
        arrays[f"{name}_probabilities"] = probabilities_from_scores(logits, 1.0)
    np.savez(path, **arrays)
    return arrays


def test_columns_in_an_order_of_their_own_are_refused():
    """A classifier that was fitted on names has its columns in alphabetical order."""
    classifier = SimpleNamespace(classes_=np.array(["angry", "disgust"]), predict_proba=None)
    with pytest.raises(ValueError, match=r"columns are of the classes .*angry.*, not 0\.\.1"):
        predict(classifier, SimpleNamespace(validation=np.zeros((2, 3)), views=1), ["validation"], np.array([0, 1]), 2)


def test_without_the_run_under_none_there_is_nothing_to_adjust(run):
    record = run("pca-logistic", "post-hoc-adjustment")
    assert record.status == "failed"
    assert "starts from the run pca-logistic.none.s0-" in record.reason and "not there" in record.reason


def test_classifier_retraining_starts_from_the_weights_of_the_run_under_none(run, monkeypatch):
    monkeypatch.setitem(MODELS._cards, "cnn-small", replace(MODELS["cnn-small"], steps={"quick": 8}))
    base = run("cnn-small", "none")
    weights = run.results.runs / base.run_id / WEIGHTS_FILE
    assert weights.exists()
    record = run("cnn-small", "classifier-retraining")
    assert record.status == "success", record.traceback
    assert 0 < record.steps < base.steps
    assert (run.results.runs / record.run_id / WEIGHTS_FILE).exists()
    weights.unlink()
    lost = run("cnn-small", "classifier-retraining")
    assert lost.status == "failed" and "do that run again" in lost.reason


def test_rows_are_made_of_features(run):
    record = run("pca-logistic", "smote")
    assert record.status == "success", record.traceback
    assert record.n_rows > record.n_train


def test_folds_train_and_test_on_their_own_rows(run):
    records = [run("pca-logistic", "none", n_folds=3, fold=number) for number in (1, 2, 3)]
    assert {record.status for record in records} == {"success"}
    tested = [run.results.runs / record.run_id / "predictions.npz" for record in records]
    ids = [id_ for path in tested for id_ in np.load(path)["test_ids"]]
    assert sorted(ids, key=int) == [str(row) for row in range(160)]


def test_parameters_reach_features_and_classifier(run):
    plain = run("hog-svm", "none")
    tuned = run("hog-svm", "none", tuned=True, parameters=(("C", 0.5), ("hog.cell", 8)))
    assert (plain.parameters["C"], tuned.parameters["C"]) == (5.0, 0.5)
    assert tuned.n_parameters != plain.n_parameters
    wrong = run("hog-svm", "none", tuned=True, parameters=(("pca.n_components", 8),))
    assert wrong.status == "failed" and "pca.n_components" in wrong.reason


def test_what_plugins_define_is_told_to_the_builder_and_put_on_record(run, monkeypatch):
    class Guess:
        def fit(self, X, y):
            pass

        def predict_proba(self, X):
            return np.tile([0.5, 0.2, 0.3], (len(X), 1))

    def build(task):
        codes.append(task.code)
        return Guess()

    codes, adjustment = [], STRATEGIES["post-hoc-adjustment"]
    monkeypatch.setitem(MODELS._cards, "mine", replace(MODELS["pca-logistic"], name="mine", build=build))
    mine = replace(adjustment, plan=lambda *facts: adjustment.plan(*facts))
    monkeypatch.setitem(STRATEGIES._cards, adjustment.name, mine)
    ends = {"none": "success", adjustment.name: "success", "class-weights": "not-applicable"}
    for strategy, status in ends.items():
        record = run("mine", strategy)
        assert record.status == status, record.traceback
        assert record.plugin_code == plugin_code(MODELS["mine"], STRATEGIES[strategy])
    assert codes == [plugin_code(MODELS["mine"], STRATEGIES["none"])] * 2  # the adjusted run is not trained


class Foreign:
    """A classifier of somebody else's, to whom the names of our attributes mean something else."""

    def __init__(self) -> None:
        self.coef_, self.intercept_ = np.ones((3, 4)), 0.0

    def fit(self, X, y, sample_weight=None):
        self.history_, self.notes_, self.weights_ = {"loss": [1.0]}, "abc", np.ones(3)
        return self

    def predict_proba(self, X):
        return np.tile(np.float32([0.5, 0.25, 0.25]), (len(X), 1))


def test_what_a_foreign_classifier_tells_of_itself_is_recorded_where_it_is_finite(run, monkeypatch):
    parameters = {"a": 1.5, "b": float("inf"), "c": float("nan"), "d": None}
    monkeypatch.setattr(Foreign, "get_params", lambda self: parameters, raising=False)
    monkeypatch.setitem(MODELS._cards, "pca-logistic", replace(MODELS["pca-logistic"], build=lambda task: Foreign()))
    told = run("pca-logistic", "none").parameters
    assert {name: value for name, value in told.items() if name != "class"} == {"a": 1.5, "d": None}


@pytest.mark.parametrize("place", [None, "results", "cache", "elsewhere"])
def test_a_full_disk_is_ours_where_results_or_cache_are_on_it(run, monkeypatch, tmp_path, place):
    monkeypatch.setenv("FER_BENCH_CACHE", str(tmp_path / "cache"))
    error = OSError(errno.ENOSPC, "No space left on device", place and str(tmp_path / place / "file"))
    fit = Mock(side_effect=error)
    monkeypatch.setattr(Foreign, "fit", fit)
    monkeypatch.setitem(MODELS._cards, "pca-logistic", replace(MODELS["pca-logistic"], build=lambda task: Foreign()))
    if place == "elsewhere":
        assert run("pca-logistic", "none").status == "failed"
    else:
        with pytest.raises(OSError, match="No space left"):
            run("pca-logistic", "none")


def test_attributes_of_a_foreign_classifier_fail_no_finished_run(run, monkeypatch):
    monkeypatch.setitem(MODELS._cards, "pca-logistic", replace(MODELS["pca-logistic"], build=lambda task: Foreign()))
    record = run("pca-logistic", "none")
    assert record.status == "success", record.traceback
    assert (record.notes, record.weights_note, record.n_parameters) == ([], "", 13)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (None, "not a TrainingPlan"),
        (TrainingPlan(np.array([True, False] * 3)), "flatnonzero"),
        (TrainingPlan(np.array([-1, 0, 1])), "0 to 5"),
        (TrainingPlan(np.array([], dtype=int)), "0 to 5"),
        (TrainingPlan(np.array([0, 2])), "1 of the classes"),
        (TrainingPlan(np.arange(6), np.ones(5)), "6 rows"),
        (TrainingPlan(np.arange(6), np.full(6, np.nan)), "6 rows"),
    ],
    ids=["nothing", "mask", "negative", "no rows", "lost class", "few weights", "weights of NaN"],
)
def test_a_plan_that_does_not_fit_the_rows_is_refused(plan, words):
    labels = np.arange(6) % 2
    assert words in fitting._problem(plan, labels)
    assert fitting._problem(TrainingPlan(np.array([0, 1, 1]), np.ones(3)), labels) is None


def test_ctrl_c_ends_a_perceptron_that_would_only_stop_training_at_it(monkeypatch):
    def interrupted(*given):
        raise KeyboardInterrupt

    X, y = np.arange(120.0).reshape(40, 3), np.repeat([0, 1], 20)
    plan = TrainingPlan(rows=np.arange(40))
    monkeypatch.setattr(MLPClassifier, "_update_no_improvement_count", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(MLPClassifier(4), X, y, plan)


def test_warnings_of_a_classifier_are_no_errors():
    class Warns:
        def fit(self, X, y):
            warnings.warn("of mine", stacklevel=1)

    with pytest.warns(UserWarning, match="of mine"):
        fit(Warns(), np.zeros((2, 3)), np.arange(2), TrainingPlan(rows=np.arange(2)))
