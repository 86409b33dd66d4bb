"""Tuning: on validation alone, the untuned model first, resumable, and what goes wrong is told."""

import dataclasses
import errno
import json

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.execution import search, tuning
from fer_bench.execution.preparation import prepare
from fer_bench.execution.search import HYPERBAND_TRIALS, load_all_tuned, load_tuned, tuned_path
from fer_bench.execution.tuning import TuneRequest, TuneWatcher, tune
from fer_bench.models.deep.pretrained import AUTO, IMAGENET, Resolution
from fer_bench.models.registry import MODELS, Choice, ModelCard, Range


class Probe:
    """Is right about a share of the validation rows, `x`, and notes what it is given."""

    limit = 1.0

    def __init__(self, task):
        self.task, self.x = task, task.parameters.get("x", 0.5)

    def fit(self, X, y):
        if self.x > self.limit:
            raise FloatingPointError("the training loss became nan")

    def predict_proba(self, X):
        y = self.task.validation[1]
        assert len(X) == len(y)
        right = np.arange(len(y)) < self.x * len(y)
        return np.eye(self.task.n_classes)[np.where(right, y, (y + 1) % self.task.n_classes)]


@pytest.fixture
def probe(monkeypatch):
    """A registered model "probe"; the tasks it was built with are in its `tasks`."""
    tasks = []

    def build(task):
        tasks.append(task)
        return Probe(task)

    search = {"x": Range(0.2, 0.9, default=0.5), "kind": Choice((None, "a", 2))}
    card = ModelCard(
        name="probe", build=build, features="pixels", summary="", source="here.py:1", steps={"quick": 90}, search=search
    )
    monkeypatch.setitem(MODELS._cards, "probe", card)
    build.tasks = tasks
    return build


class Watcher(TuneWatcher):
    """Remembers what it was told."""

    def __init__(self, stop_at=None):
        self.trials, self.texts, self.notes, self.stop_at = [], [], [], stop_at

    def progress(self, done, text):
        assert 0 <= done <= 1
        self.texts.append(text)
        if self.stop_at and f"trial {self.stop_at}/" in text:
            raise KeyboardInterrupt

    def note(self, text):
        self.notes.append(text)

    def ended(self, trial, n_trials, seconds_left):
        assert seconds_left >= 0
        self.trials.append(trial)


@pytest.fixture(autouse=True)
def quick_guesses(monkeypatch):
    """Random guesses only, which cost nothing, but where a test wants the Gaussian process."""
    monkeypatch.setattr(search, "FIRST_GUESSES", 99)


@pytest.fixture
def prepared(tiny_npz, tmp_path):
    return prepare(str(tiny_npz), tmp_path / "results")


def folder_of(prepared):
    (folder,) = (prepared.results.path / "tuning").iterdir()
    return folder


def replace_card(monkeypatch, **fields):
    monkeypatch.setitem(MODELS._cards, "probe", dataclasses.replace(MODELS["probe"], **fields))


def test_the_first_trial_is_untuned_and_the_best_is_written(probe, prepared):
    watcher = Watcher()
    tuned = tune(TuneRequest("probe", 6, command="the command"), prepared, watcher)
    assert probe.tasks[0].parameters == {} and probe.tasks[0].steps == 90
    assert [trial.number for trial in watcher.trials] == [1, 2, 3, 4, 5, 6]
    best = max(watcher.trials, key=lambda trial: trial.macro_f1)
    assert tuned.parameters == best.parameters and tuned.macro_f1 == best.macro_f1
    assert tuned.macro_f1 > tuned.untuned_macro_f1 == watcher.trials[0].macro_f1
    assert load_tuned(prepared.results.path, "probe", prepared.fingerprints) == tuned.parameters
    stored = json.loads(tuned_path(prepared.results.path, "probe").read_text())
    assert stored["command"] == "the command" and stored["data_fingerprint"] == prepared.data_fingerprint
    assert "NaN" not in json.dumps(stored)


def test_a_stopped_search_goes_on_and_ends_where_an_unstopped_one_does(
    probe, prepared, tmp_path, tiny_npz, monkeypatch
):
    """With two trials that the Gaussian process chooses, the others having been random."""
    monkeypatch.setattr(search, "FIRST_GUESSES", 1)
    with pytest.raises(KeyboardInterrupt):
        tune(TuneRequest("probe", 5), prepared, Watcher(stop_at=3))
    assert len(probe.tasks) == 2
    assert load_tuned(prepared.results.path, "probe", prepared.fingerprints) is None
    watcher = Watcher()
    resumed = tune(TuneRequest("probe", 5), prepared, watcher)
    assert [trial.number for trial in watcher.trials] == [3, 4, 5]
    assert len(probe.tasks) == 5
    unstopped = tune(TuneRequest("probe", 5), prepare(str(tiny_npz), tmp_path / "other"), Watcher())
    assert [trial["parameters"] for trial in resumed.trials] == [trial["parameters"] for trial in unstopped.trials]
    assert resumed.parameters == unstopped.parameters


def test_what_is_done_is_not_done_again_and_more_trials_go_on(probe, prepared):
    first = tune(TuneRequest("probe", 3), prepared, Watcher())
    again = tune(TuneRequest("probe", 3), prepared, Watcher())
    assert len(probe.tasks) == 3 and again == first
    more = tune(TuneRequest("probe", 12), prepared, Watcher())
    assert len(probe.tasks) == 12 and len(more.trials) == 12
    assert more.trials[:3] == first.trials
    assert len({json.dumps(trial["parameters"]) for trial in more.trials}) == 12


def test_a_space_that_is_used_up_ends_the_search(probe, prepared, monkeypatch):
    replace_card(monkeypatch, search={"kind": Choice(("a", "b", "c"))})
    tuned = tune(TuneRequest("probe", 9), prepared, Watcher())
    assert tuned.trials[0]["parameters"] == {}
    assert {trial["parameters"].get("kind") for trial in tuned.trials} == {None, "b", "c"} and len(probe.tasks) == 3


def test_a_trial_that_fails_costs_itself_alone(probe, prepared, monkeypatch):
    replace_card(monkeypatch, search={"x": Range(0.2, 0.9, default=0.5)})
    monkeypatch.setattr(Probe, "limit", 0.6)
    watcher = Watcher()
    tuned = tune(TuneRequest("probe", 8), prepared, watcher)
    failed = [trial for trial in watcher.trials if trial.macro_f1 is None]
    assert 0 < len(failed) < 7 and all(trial.parameters["x"] > 0.6 for trial in failed)
    assert failed[0].reason == "FloatingPointError: the training loss became nan"
    assert tuned.parameters.get("x", 0.5) <= 0.6
    assert tune(TuneRequest("probe", 8), prepared, Watcher()) == tuned


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), MemoryError("too much")])
def test_a_machine_that_is_full_ends_the_search_and_books_no_failure(probe, prepared, monkeypatch, error):
    def full(self, X, y):
        if self.x != 0.5:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(Probe, "fit", full)
        with pytest.raises(type(error)):
            tune(TuneRequest("probe", 3), prepared, Watcher())
    tuned = tune(TuneRequest("probe", 3), prepared, Watcher())
    assert [trial["reason"] for trial in tuned.trials] == [None] * 3


def test_a_full_disk_that_is_the_model_s_own_is_a_failed_trial(probe, prepared, monkeypatch):
    def full(self, X, y):
        if self.x != 0.5:
            raise OSError(errno.ENOSPC, "No space left on device", "/dev/full")

    monkeypatch.setattr(Probe, "fit", full)
    tuned = tune(TuneRequest("probe", 2), prepared, Watcher())
    assert [bool(trial["reason"]) for trial in tuned.trials] == [False, True]


def test_a_backend_that_cannot_train_is_told(probe, prepared, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    with pytest.raises(FerBenchError, match="KERAS_BACKEND is 'numpy'"):
        tune(TuneRequest("probe", 3), prepared, Watcher())


def test_a_model_that_fails_untuned_is_told_and_tried_again(probe, prepared, monkeypatch):
    monkeypatch.setattr(Probe, "fit", lambda self, X, y: 1 / 0)
    with pytest.raises(FerBenchError, match="probe fails with its own values: ZeroDivisionError"):
        tune(TuneRequest("probe", 4), prepared, Watcher())
    monkeypatch.setattr(Probe, "fit", lambda self, X, y: None)
    assert len(tune(TuneRequest("probe", 4), prepared, Watcher()).trials) == 4


def test_hyperband_trains_most_trials_on_a_share_of_the_steps(probe, prepared):
    tuned = tune(TuneRequest("probe", HYPERBAND_TRIALS, method="hyperband"), prepared, Watcher())
    assert [task.steps for task in probe.tasks] == [90, *[10] * 9, *[30] * 3, 90]
    assert tuned.parameters == tuned.trials[-1]["parameters"] != {}
    assert tuned.macro_f1 >= tuned.untuned_macro_f1
    best = max(tuned.trials[1:10], key=lambda trial: trial["macro_f1"])
    assert best["parameters"] == tuned.parameters


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (TuneRequest("majority", 4), "nothing to tune"),
        (TuneRequest("pca-svm", 4, strategy="focal-loss"), "cannot be trained with focal"),
        (TuneRequest("pca-svm", 4, strategy="post-hoc-adjustment"), "tune pca-svm under that"),
        (TuneRequest("pca-svm", 20, method="hyperband"), "pca-svm has no steps: use bayesian"),
        (TuneRequest("pca-mlp", 13, method="hyperband"), "at least 14"),
        (TuneRequest("pca-svm", 1), "at least 2"),
        (TuneRequest("pca-svm", 4, method="grid"), "bayesian, hyperband"),
        (TuneRequest("pca-smv", 4), "did you mean 'pca-svm'"),
    ],
)
def test_what_cannot_be_tuned_is_told(prepared, request_, message):
    with pytest.raises(FerBenchError, match=message):
        tune(request_, prepared, Watcher())


def test_a_folder_of_another_model_or_a_damaged_one_is_told(probe, prepared, monkeypatch):
    tune(TuneRequest("probe", 2), prepared, Watcher())
    folder = folder_of(prepared)
    about = (folder / "about.json").read_text()
    for path, text, message in (
        ("about.json", about.replace('"probe"', '"cnn"'), r"another search \(model differ\)"),
        ("about.json", about[:20], "damaged"),
        ("about.json", "[]", "damaged"),
        ("oracle.json", "{}", "damaged"),
        ("oracle.json", "", "damaged"),
        ("trial_1/trial.json", '{"trial_id": "1"}', "damaged"),
    ):
        intact = (folder / path).read_text()
        (folder / path).write_text(text)
        with pytest.raises(FerBenchError, match=message):
            tune(TuneRequest("probe", 4), prepared, Watcher())
        (folder / path).write_text(intact)
    assert len(tune(TuneRequest("probe", 4), prepared, Watcher()).trials) == 4


def test_another_search_space_is_another_search(probe, prepared, monkeypatch):
    tune(TuneRequest("probe", 2), prepared, Watcher())
    replace_card(monkeypatch, search={"x": Range(0.2, 0.8)})
    tune(TuneRequest("probe", 2), prepared, Watcher())
    tune(TuneRequest("probe", 2, seed=1), prepared, Watcher())
    assert len(list((prepared.results.path / "tuning").iterdir())) == 3 and len(probe.tasks) == 6


def test_a_changed_plugin_is_another_search(probe, prepared, monkeypatch):
    before = tune(TuneRequest("probe", 2), prepared, Watcher())
    monkeypatch.setattr(tuning, "plugin_code", lambda *cards: "another")
    after = tune(TuneRequest("probe", 2), prepared, Watcher())
    assert len(probe.tasks) == 4 and before.parameters == after.parameters
    codes = [task.code for task in probe.tasks]
    assert codes[0] == codes[1] != codes[2] == codes[3] == "another" and codes[0]


def test_all_trials_start_from_imagenet_weights_and_where_there_are_none_there_are_no_trials(
    probe, prepared, monkeypatch
):
    replace_card(monkeypatch, pretrained="probe.h5")
    for resolution in (Resolution("", "no network"), Resolution(IMAGENET, "from the cache")):
        monkeypatch.setattr(tuning, "resolve_weights", lambda *_, to=resolution: {"probe.h5": to})
        watcher = Watcher()
        if not resolution.weights:
            with pytest.raises(FerBenchError, match=r"probe\.h5"):
                tune(TuneRequest("probe", 2), prepared, watcher)
            continue
        assert tune(TuneRequest("probe", 2), prepared, watcher).weights == AUTO
        assert watcher.notes == [resolution.reason]
    assert [task.weights for task in probe.tasks] == [IMAGENET] * 2


def test_searches_of_the_package_s_models_keep_their_folders(prepared):
    request, card = TuneRequest("pca-svm", 2), MODELS["pca-svm"]
    identity = tuning._Search(request, prepared, card, Watcher()).identity
    assert set(identity) == {
        "model", "strategy", "method", "budget", "seed", "weights", "recipe", "data", "split", "search",
    }  # fmt: skip
    assert identity["recipe"] == card.recipe == 2


def test_two_processes_are_not_at_one_search(probe, prepared):
    tune(TuneRequest("probe", 2), prepared, Watcher())
    with (
        prepared.results.lock(folder_of(prepared).name),
        pytest.raises(FerBenchError, match="going on in another process"),
    ):
        tune(TuneRequest("probe", 3), prepared, Watcher())


def test_test_images_and_labels_change_nothing(tmp_path):
    """A real model on features with a tuned parameter: other test rows, the same scores."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (150, 16, 16)).astype(np.uint8)
    labels = np.arange(150) % 3
    images[np.arange(150), labels * 5] |= 128
    subsets = np.repeat(["train", "validation", "test"], [90, 30, 30])
    other_images, other_labels = images.copy(), labels.copy()
    other_images[120:] = rng.integers(0, 256, (30, 16, 16))
    other_labels[120:] = (labels[120:] + 1) % 3
    scores = []
    for name, x, y in (("one", images, labels), ("two", other_images, other_labels)):
        np.savez(tmp_path / f"{name}.npz", images=x, labels=y, subsets=subsets, class_names=np.array(["a", "b", "c"]))
        tuned = tune(
            TuneRequest("pca-logistic", 3, strategy="class-weights"),
            prepare(str(tmp_path / f"{name}.npz"), tmp_path / "results"), Watcher(),
        )  # fmt: skip
        scores.append([(trial["parameters"], trial["macro_f1"]) for trial in tuned.trials])
    assert scores[0] == scores[1]
    assert len({parameters.get("pca.n_components") for parameters, _ in scores[0]}) > 1


def test_trials_are_scored_on_images_without_a_copy_in_train(probe, tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (120, 24, 24)).astype(np.uint8), np.arange(120) % 3
    images[60:80] = images[:20]  # the first half of validation, about which an untuned Probe is right
    subsets = np.repeat(["train", "validation", "test"], [60, 40, 20])
    path = tmp_path / "copied.npz"
    np.savez(path, images=images, labels=labels, subsets=subsets, class_names=np.array(["a", "b", "c"]))
    assert tune(TuneRequest("probe", 2), prepare(str(path), tmp_path / "results"), Watcher()).untuned_macro_f1 == 0


def test_a_network_is_tuned_by_the_same_machinery(prepared, monkeypatch):
    card = MODELS["cnn-small"]
    monkeypatch.setitem(MODELS._cards, card.name, dataclasses.replace(card, steps={"quick": 2}))
    tuned = tune(TuneRequest(card.name, 2), prepared, Watcher())
    assert [trial["reason"] for trial in tuned.trials] == [None, None]
    assert set(tuned.trials[1]["parameters"]) <= set(card.search) and tuned.trials[1]["parameters"]


def test_tuned_values_are_loaded_for_the_same_data_only(probe, prepared, monkeypatch):
    results, fingerprints = prepared.results.path, prepared.fingerprints
    with pytest.raises(FerBenchError, match="nothing was tuned"):
        load_all_tuned(results, fingerprints)
    replace_card(monkeypatch, search={"x": Choice((0.5, 0.9))})
    tune(TuneRequest("probe", 2), prepared, Watcher())
    assert load_all_tuned(results, fingerprints) == {"probe": {"x": 0.9}}
    path = tuned_path(results, "probe")
    path.write_text(json.dumps({**json.loads(path.read_text()), "recipe": 2}))
    with pytest.raises(FerBenchError, match="another recipe of probe; tune again"):
        load_tuned(results, "probe", fingerprints)
    path.write_text(json.dumps({**json.loads(path.read_text()), "recipe": 1}))
    assert load_tuned(results, "cnn", fingerprints) is None
    with pytest.raises(FerBenchError, match="other data or another split"):
        load_tuned(results, "probe", (fingerprints[0], "another"))
    path = tuned_path(results, "probe")
    tuned_path(results, "cnn").write_text(path.read_text())
    with pytest.raises(FerBenchError, match="values of probe, not of cnn"):
        load_tuned(results, "cnn", fingerprints)
    replace_card(monkeypatch, search={"y": Range(0, 1)})
    with pytest.raises(FerBenchError, match="no parameter x"):
        load_tuned(results, "probe", fingerprints)
    for text in ("", "[]", "7", '{"model": "probe"}'):
        path.write_text(text)
        with pytest.raises(FerBenchError, match="remove it, or tune again"):
            load_tuned(results, "probe", fingerprints)
