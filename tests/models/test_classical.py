"""Classical models: what is tuned is heeded, and the builders' own values stand."""

from types import SimpleNamespace

import numpy as np
import pytest

from fer_bench.models import classical
from fer_bench.models.classical import FOREST_SEARCH, n_parameters
from fer_bench.models.features import features_card
from fer_bench.models.registry import FEATURES, MODELS, Choice
from fer_bench.models.task import Task

TUNED = [card for card in MODELS if card.search and not card.is_network]


@pytest.fixture
def data():
    """60 rows of 8 features, three classes."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    return (rng.normal(size=(60, 8)) + y[:, None]).astype("float32"), y


@pytest.fixture
def build(data):
    def make(model, **parameters):
        task = Task(("a", "b", "c"), 60, (8, 8), data, steps=6, parameters=parameters)
        return MODELS[model].build(task)

    return make


def another(how):
    """A value that is not the builder's own."""
    return how.values[1] if isinstance(how, Choice) else how.low


def test_the_classical_models_can_be_tuned():
    assert {"pca-logistic", "pca-svm", "hog-svm", "pca-forest", "hog-forest", "pca-mlp", "hog-mlp"} <= {
        card.name for card in TUNED
    }


@pytest.mark.parametrize(("model", "name"), [(card.name, name) for card in TUNED for name in card.search])
def test_every_parameter_that_is_searched_is_heeded(build, data, model, name):
    """Another value makes another model, or other features."""
    card, how = MODELS[model], MODELS[model].search[name]
    if "." in name:
        features = FEATURES[card.features]
        own = features_card(features, {}).parameters
        assert features_card(features, {name: another(how)}).parameters != own
        assert own[name.partition(".")[2]] == how.start
        return
    X, y = data
    own, other = (build(model, **parameters).fit(X, y).get_params() for parameters in ({}, {name: another(how)}))
    assert own != other


@pytest.mark.parametrize("model", [card.name for card in TUNED])
def test_the_start_of_every_search_is_the_builders_own_value(build, model):
    start = {name: how.start for name, how in MODELS[model].search.items() if "." not in name}
    own, explicit = build(model).get_params(), build(model, **start).get_params()
    assert own == explicit


def test_the_own_values_are_those_of_the_published_results(build):
    svm, forest, mlp = (build(model).get_params() for model in ("hog-svm", "hog-forest", "hog-mlp"))
    assert (svm["C"], svm["gamma"], svm["kernel"]) == (5.0, "scale", "rbf")
    assert (forest["n_estimators"], forest["max_depth"], forest["max_features"]) == (300, None, "sqrt")
    assert (mlp["hidden_layer_sizes"], mlp["alpha"], mlp["learning_rate_init"]) == ((256,), 1e-2, 1e-3)
    assert build("pca-logistic").get_params()["C"] == 1.0


@pytest.mark.parametrize("parameters", [{}, {"gamma": 0.5}])
def test_svm_takes_repeated_rows_as_weights_and_finds_the_same(build, data, parameters):
    X, y = data
    rows = np.concatenate([np.arange(40), [1, 1, 4, 7, 7, 7]])
    weights = 1 + rows % 2
    for sample_weight in (None, weights):
        once = build("pca-svm", **parameters).fit(X, y, sample_weight, rows=rows)
        repeated = build("pca-svm", **parameters).fit(X[rows], y[rows], sample_weight)
        plain = build("pca-svm", **parameters).fit(X, y)
        decision = repeated.decision_function(X)
        assert once.decision_function(X) == pytest.approx(decision, abs=0.01)
        assert abs(plain.decision_function(X) - decision).max() > 0.1
        assert once.support_vectors_.shape[0] <= 40


def test_svm_takes_rows_that_do_not_repeat_as_they_come(build, data):
    X, y = data
    rows = np.random.default_rng(1).permutation(60)[:30]
    chosen = build("pca-svm").fit(X, y, rows=rows)
    assert (chosen.decision_function(X) == build("pca-svm").fit(X[rows], y[rows]).decision_function(X)).all()
    assert chosen.gamma == "scale"


def test_svm_answers_as_scikit_learns(build, data, monkeypatch):
    from sklearn.svm import SVC

    monkeypatch.setattr(classical, "KERNEL_ROWS", 7)
    X, y = data
    theirs = SVC(C=5.0).fit(X, y)
    np.testing.assert_allclose(build("pca-svm").fit(X, y).decision_function(X), theirs.decision_function(X), atol=0.01)
    two = y < 2
    ours, theirs = (svm.fit(X[two], y[two]).decision_function(X) for svm in (build("pca-svm"), theirs))
    np.testing.assert_allclose(ours, theirs, atol=0.01)


def test_gamma_is_a_factor_on_the_scale_of_the_rows(build, data):
    X, y = data
    tuned = build("pca-svm", gamma=2.0).fit(X, y)
    assert tuned.gamma == pytest.approx(2 / (8 * X.var()))
    one = build("pca-svm", gamma=1.0).fit(X, y)
    near = build("pca-svm", gamma=1 + 1e-9).fit(X, y)
    np.testing.assert_allclose(one.decision_function(X), near.decision_function(X), atol=1e-4)
    assert not np.allclose(one.decision_function(X), tuned.decision_function(X), atol=1e-2)


@pytest.mark.parametrize(("parameters", "rows"), [({}, [0, 0, 1, 2]), ({"gamma": 0.5}, [0, 1, 2])])
def test_features_without_variance_are_no_trouble(build, parameters, rows):
    X, y = np.ones((3, 8), "float32"), np.arange(3)
    assert build("pca-svm", **parameters).fit(X, y, rows=np.array(rows)).gamma == parameters.get("gamma", 1) / 8


@pytest.mark.parametrize(("steps", "n_rows", "made"), [(6, 60, 6), (5, 300, 6), (1, 300, 3)])
def test_perceptrons_make_whole_epochs_and_tell_their_steps(data, steps, n_rows, made):
    X, y = (np.resize(array, (n_rows, *array.shape[1:])) for array in data)
    mlp = MODELS["pca-mlp"].build(Task(("a", "b", "c"), n_rows, (8, 8), data, steps=steps)).fit(X, y)
    assert mlp.steps_ == made == mlp.t_ / n_rows * -(-n_rows // 128)


def test_balanced_forests_are_tuned_too_and_draw_rows_with_replacement(data):
    """Each tree as many rows of every class as the rarest has."""
    X, y = data[0], np.repeat([0, 1, 2], [30, 10, 20])
    task = Task(("a", "b", "c"), 60, (8, 8), (X, y), balanced_bootstrap=True, parameters={"max_depth": 3})
    forest = MODELS["pca-forest"].build(task)
    assert forest.get_params()["max_depth"] == 3 and set(FOREST_SEARCH) <= set(forest.get_params())
    forest.set_params(n_estimators=3).fit(X, y)
    for sampler, tree in zip(forest.samplers_, forest.estimators_, strict=True):
        rows = sampler.sample_indices_
        assert np.bincount(y[rows]).tolist() == [10, 10, 10]
        assert len(np.unique(rows)) < len(rows)
        assert tree.tree_.n_node_samples[0] == 30
        np.testing.assert_allclose(tree.tree_.value[0], [[1 / 3] * 3])


def test_forests_draw_rows_by_weight_as_scikit_learn_does(build):
    """On labels that are noise a forest says how often it drew each class; rows that weigh a little more show too."""
    from sklearn.ensemble import RandomForestClassifier

    X, y = np.random.default_rng(0).normal(size=(600, 4)).astype("float32"), np.repeat([0, 1, 2], 200)
    new, weights = X + 0.5, np.array([1.0, 1.6, 5.0])[y]
    theirs = RandomForestClassifier(300, random_state=0).fit(X, y, weights).predict_proba(new).mean(axis=0)
    ours = build("pca-forest").fit(X, y, weights)
    assert ours.predict_proba(new).mean(axis=0) == pytest.approx(theirs, abs=0.03)
    assert ours.predict_proba(X)[:, 2].mean() - build("pca-forest").fit(X, y).predict_proba(X)[:, 2].mean() > 0.05


def test_rows_are_repeated_by_weight_within_bounds():
    weights = np.array([0.5, 1.0, 1.75, 0.0] * 1000)
    times = np.bincount(classical.repeated_by_weight(weights, 0), minlength=4000).reshape(1000, 4)
    assert times.mean(axis=0) == pytest.approx([1, 2, 3.5, 0], abs=0.1)
    assert (times[:, :2] == [1, 2]).all() and set(times[:, 2]) == {3, 4}
    extreme = np.array([1e-9] + [1.0] * 99)
    assert len(classical.repeated_by_weight(extreme, 0)) == pytest.approx(100 * classical.MOST_REPEATS, rel=0.05)


def test_parameters_are_counted(build, data):
    X, y = data
    logistic = build("pca-logistic").fit(X, y)
    assert n_parameters(logistic) == 3 * 8 + 3
    mlp = build("pca-mlp", hidden=4).fit(X, y)
    assert n_parameters(mlp) == 8 * 4 + 4 + 4 * 3 + 3
    svm = build("pca-svm", gamma=0.5).fit(X, y)
    assert n_parameters(svm) == svm.support_vectors_.size + svm.dual_coef_.size + svm.intercept_.size
    for other in ({}, {"n_parameters_": None}, {"estimators_": 5}, {"coefs_": [1.0], "intercepts_": None}):
        assert n_parameters(SimpleNamespace(**other)) is None
