import numpy as np
import pytest

from fer_bench.models import training
from fer_bench.models.registry import ImageInput
from fer_bench.models.task import Task
from fer_bench.models.training import (
    KerasClassifier,
    Network,
    Phase,
    evaluation_steps,
    loss_function,
    macro_f1,
    phase_steps,
)

SIDE = 12


def bars(n, seed=0, classes=3):
    """Noisy horizontal stripes, vertical stripes and none: classes that a mirror image, turn or shift leaves alone."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    images = rng.integers(0, 120, (n, SIDE, SIDE))
    images[labels == 0, ::3] += 130
    images[labels == 1, :, ::3] += 130
    return images.astype(np.uint8), labels


def a_task(**changes):
    images, labels = bars(30, seed=1)
    defaults = {"n_rows": 60, "image_shape": (SIDE, SIDE), "validation": (images, labels), "steps": 12}
    return Task(("rows", "columns", "flat"), **{**defaults, **changes})


ALL_LAYERS = (Phase("all layers", 1.0, 0.02),)


def small_network(phases=ALL_LAYERS):
    """A network that a test can afford: one convolution."""
    from keras import Input, Model, layers

    pixels = Input((SIDE, SIDE, 1), dtype="uint8")
    x = layers.Conv2D(12, 3, activation="relu")(layers.Rescaling(1 / 127.5, -1)(pixels))
    x = layers.GlobalAveragePooling2D()(x)
    return Network(Model(pixels, layers.Dense(3, dtype="float32")(x)), phases)


def fitted(task, build=small_network, sample_weight=None, rows=60):
    images, labels = bars(rows)
    return KerasClassifier(task, ImageInput(SIDE), build, batch_size=16).fit(images, labels, sample_weight)


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("rows", [5, 100])
def test_training_takes_exactly_its_steps_whatever_the_rows(steps, rows):
    built = []

    def build():
        built.append(small_network())
        return built[0]

    classifier = fitted(a_task(steps=steps), build, rows=rows)
    assert int(built[0].model.optimizer.iterations) == steps == classifier.steps_
    assert classifier.history_[-1]["step"] == steps


def test_it_learns_and_its_fitted_attributes_tell_how():
    told = []
    task = a_task(steps=150, progress=lambda share, text: told.append((share, text)))
    classifier = fitted(task)
    probabilities = classifier.predict_proba(task.validation[0])
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (probabilities.argmax(axis=1) == task.validation[1]).mean() > 0.8
    assert classifier.n_parameters_ == 12 * 9 + 12 + 12 * 3 + 3
    assert classifier.weights_ == "random"
    assert classifier.notes_ in (["bfloat16"], ["float32"])
    assert classifier.history_[-1]["loss"] < classifier.history_[0]["loss"]
    assert set(classifier.history_[0]) == {
        "step", "phase", "seconds", "learning_rate", "loss", "accuracy", "val_loss", "val_accuracy", "val_macro_f1",
    }  # fmt: skip
    assert told[-1][0] == 1
    assert told[-1][1].startswith("step 150/150, val macro-F1 ")


def test_the_weights_kept_are_the_best_on_validation():
    """The second phase forgets everything: what is kept comes from the first."""

    def build():
        network = small_network()
        model = network.model
        forget = Phase("forget", 0.3, 0.0, prepare=lambda: model.set_weights([w * 0 for w in model.get_weights()]))
        return Network(model, (Phase("learn", 0.7, 0.02), forget))

    task = a_task(steps=100)
    classifier = fitted(task, build)
    scores = [row["val_macro_f1"] for row in classifier.history_]
    kept = macro_f1(task.validation[1], classifier.predict_proba(task.validation[0]).argmax(axis=1), 3)
    assert kept == pytest.approx(max(scores))
    assert scores[-1] < max(scores)


def test_same_seed_same_probabilities_other_seed_others():
    images, _ = bars(20, seed=2)
    first, again, other = (fitted(a_task(random_state=seed)).predict_proba(images) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


def test_rows_without_weight_teach_nothing():
    """Half of the rows carry the label of another class, and weight zero."""
    images, labels = bars(120)
    wrong = np.arange(120) % 2 == 0
    weights = np.where(wrong, 0.0, 2.0)
    task = a_task(steps=150)
    for loss in ("cross-entropy", "focal"):
        classifier = KerasClassifier(a_task(steps=150, loss=loss), ImageInput(SIDE), small_network, batch_size=16)
        classifier.fit(images, np.where(wrong, (labels + 1) % 3, labels), weights)
        assert (classifier.predict_proba(task.validation[0]).argmax(axis=1) == task.validation[1]).mean() > 0.8


def test_phases_share_the_steps_and_prepare_the_model():
    prepared = []
    phases = (
        Phase("first", 0.4, 0.01, prepare=lambda: prepared.append("first")),
        Phase("second", 0.6, 0.001, prepare=lambda: prepared.append("second")),
    )
    task = a_task(steps=20, validation=bars(6, seed=1))
    classifier = fitted(task, lambda: small_network(phases=phases))
    assert prepared == ["first", "second"]
    assert [row["phase"] for row in classifier.history_ if row["step"] <= 8] == ["first"] * 4
    assert [row["phase"] for row in classifier.history_ if row["step"] > 8] == ["second"] * 6
    assert max(row["learning_rate"] for row in classifier.history_ if row["step"] > 8) <= 0.001


def test_a_phase_without_a_step_is_left_out():
    phases = (Phase("first", 0.4, 0.01), Phase("second", 0.6, 0.001))
    classifier = fitted(a_task(steps=1), lambda: small_network(phases=phases))
    assert [row["phase"] for row in classifier.history_] == ["second"]


def test_a_loss_that_is_not_finite_stops_training_at_once():
    told = []
    task = a_task(steps=50, progress=lambda share, text: told.append(share))
    with pytest.raises(FloatingPointError, match=r"loss became nan at step \d+ of 50"):
        fitted(task, lambda: small_network(phases=(Phase("mad", 1.0, float("inf")),)))
    assert not told or max(told) < 0.1


@pytest.mark.parametrize(("fast", "note"), [(True, "bfloat16"), (False, "float32")])
def test_precision_follows_the_processor_and_leaves_no_trace(monkeypatch, fast, note):
    import keras

    monkeypatch.setattr(training, "has_fast_bfloat16", lambda: fast)
    policies = []

    def build():
        network = small_network()
        policies.extend(layer.compute_dtype for layer in network.model.layers if layer.name.startswith("conv"))
        return network

    before = keras.config.dtype_policy().name
    classifier = fitted(a_task(steps=1), build)
    assert classifier.notes_ == [note]
    assert policies == [note]
    assert keras.config.dtype_policy().name == before
    assert classifier.predict_proba(bars(3)[0]).dtype == np.float32


def test_prediction_does_not_depend_on_its_neighbours():
    classifier = fitted(a_task(steps=2))
    images, _ = bars(37, seed=5)  # two batches and a rest
    whole = classifier.predict_proba(images)
    np.testing.assert_allclose(whole[20:21], classifier.predict_proba(images[20:21]), atol=1e-6)
    assert classifier.predict_proba(images[:0]).shape == (0, 3)


def logits_and_labels():
    rng = np.random.default_rng(0)
    return rng.normal(0, 3, (50, 4)).astype(np.float32), np.eye(4, dtype=np.float32)[rng.integers(0, 4, 50)]


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_loss_is_that_of_the_paper(gamma):
    import keras

    logits, labels = logits_and_labels()
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    p_true = (p * labels).sum(axis=1)
    expected = -((1 - p_true) ** gamma) * np.log(p_true)
    loss = loss_function(a_task(loss="focal", gamma=gamma))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(loss(labels, logits)), expected, rtol=1e-4, atol=1e-6)


def test_focal_loss_is_finite_where_the_network_is_certain():
    import keras

    loss = loss_function(a_task(loss="focal", gamma=0.5))
    logits = np.array([[80.0, -80.0], [80.0, -80.0]], np.float32)
    values = keras.ops.convert_to_numpy(loss(np.eye(2, dtype=np.float32), logits))
    np.testing.assert_allclose(values, [0, 160], atol=1e-4)


def test_cross_entropy_smooths_labels():
    import keras

    logits, labels = logits_and_labels()
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -((0.9 * labels + 0.1 / 4) * log_p).sum(axis=1).mean()
    loss = loss_function(a_task())
    assert float(keras.ops.convert_to_numpy(loss(labels, logits))) == pytest.approx(expected, rel=1e-4)


def test_an_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="hinge"):
        loss_function(a_task(loss="hinge"))


@pytest.mark.parametrize("steps", [None, 0])
def test_a_network_without_steps_is_refused(steps):
    with pytest.raises(ValueError, match="gradient steps"):
        KerasClassifier(a_task(steps=steps), ImageInput(SIDE), small_network, batch_size=16)


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


@pytest.mark.parametrize("steps", range(1, 12))
def test_phase_steps_add_up(steps):
    shares = phase_steps((Phase("a", 0.4, 1), Phase("b", 0.6, 1)), steps)
    assert sum(shares) == steps
    assert abs(shares[0] - 0.4 * steps) <= 0.5
