import numpy as np
import pytest

from fer_bench.metrics import macro_f1
from fer_bench.models.deep import backend, training
from fer_bench.models.deep.backend import Program
from fer_bench.models.deep.batches import Pixels
from fer_bench.models.deep.training import Network, Phase, cosine, phase_steps
from fer_bench.models.task import Loss


@pytest.mark.parametrize(("steps", "rows"), [(1, 100), (7, 5)])
def test_training_takes_exactly_its_steps_whatever_the_rows(tiny, steps, rows):
    classifier = tiny.fitted(tiny.task(steps=steps), rows=rows)
    assert int(classifier.network.model.optimizer.iterations) == steps == classifier.steps_
    assert classifier.history_[-1]["step"] == steps


def test_it_learns_and_its_fitted_attributes_tell_how(tiny):
    told = []
    task = tiny.task(steps=150, progress=lambda share, text: told.append((share, text)))
    classifier = tiny.fitted(task)
    probabilities = classifier.predict_proba(task.validation[0])
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (probabilities.argmax(axis=1) == task.validation[1]).mean() > 0.8
    assert classifier.n_parameters_ == 12 * 9 + 12 + 12 * 3 + 3
    assert (classifier.initial_weights_, classifier.weights_note_) == ("random", "")
    assert classifier.device_ in ("cpu", "gpu")
    assert classifier.precision_ in ("bfloat16", "float32")
    assert classifier.earlier_seconds_ == 0
    assert classifier.history_[-1]["loss"] < classifier.history_[0]["loss"]
    assert told[-1][0] == 1
    assert told[-1][1].startswith("step 150/150, val macro-F1 ")


def test_the_weights_kept_are_the_best_on_validation(tiny):
    """The second phase forgets everything: what is kept comes from the first."""

    def build():
        model = tiny.network().model
        return Network(model, (Phase("learn", 0.7, 0.02), Phase("forget", 0.3, 10.0)))

    task = tiny.task(steps=100)
    classifier = tiny.fitted(task, build)
    scores = [row["val_macro_f1"] for row in classifier.history_]
    predicted = classifier.forward(classifier.network.model, Pixels(task.validation[0], tiny.side)).argmax(axis=1)
    assert macro_f1(task.validation[1], predicted, 3) == pytest.approx(max(scores))
    assert scores[-1] < max(scores)


def test_same_seed_same_probabilities_other_seed_others(tiny):
    images, _ = tiny.bars(20, seed=2)
    first, again, other = (tiny.fitted(tiny.task(random_state=seed)).predict_proba(images) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


@pytest.mark.parametrize(
    ("loss", "mixup"), [(Loss(), 0.3), (Loss("logit-adjusted", log_prior=(-1.0, -1.2, -1.1)), 0.0)]
)
def test_rows_without_weight_teach_nothing(tiny, loss, mixup):
    """Half of the rows carry the label of another class, and weight zero."""
    images, labels = tiny.bars(120)
    wrong = np.arange(120) % 2 == 0
    task = tiny.task(steps=150, loss=loss, parameters={"mixup": mixup})
    classifier = tiny.classifier(task).fit(images, np.where(wrong, (labels + 1) % 3, labels), np.where(wrong, 0.0, 2.0))
    assert (classifier.predict_proba(task.validation[0]).argmax(axis=1) == task.validation[1]).mean() > 0.8


def test_rows_name_the_images_to_train_on(tiny):
    """As good as handing over those alone, without a copy of them."""
    images, labels = tiny.bars(60)
    rows = np.array([3, 3, 7, 50, 11, 3, 20])
    weights = np.linspace(0.5, 1.5, 7)
    one = tiny.classifier(tiny.task()).fit(images, labels, weights, rows=rows)
    other = tiny.classifier(tiny.task()).fit(images[rows], labels[rows], weights)
    np.testing.assert_array_equal(one.predict_proba(images), other.predict_proba(images))


def test_phases_share_the_steps(tiny):
    phases = (Phase("first", 0.4, 0.01), Phase("second", 0.6, 0.001))
    task = tiny.task(steps=20, validation=tiny.bars(6, seed=1))
    classifier = tiny.fitted(task, lambda: tiny.network(phases=phases))
    assert {row["phase"] for row in classifier.history_ if row["step"] <= 8} == {"first"}
    assert {row["phase"] for row in classifier.history_ if row["step"] > 8} == {"second"}
    assert max(row["learning_rate"] for row in classifier.history_ if row["step"] > 8) <= 0.001


def test_a_phase_may_train_a_part_of_the_network_on_inputs_of_its_own(tiny):
    """As a head is trained on features that were computed once."""

    class Negatives(Pixels):
        """Pixels, black for white."""

        def augmented(self, rows, rng):
            return 255 - super().augmented(rows, rng)

        def plain(self, rows, mirrored):
            return 255 - super().plain(rows, mirrored)

    def build():
        from keras import Input, Model

        network = tiny.network()
        pixels = Input((tiny.side, tiny.side, 1), dtype="uint8")
        part = Model(pixels, network.model(255 - pixels))
        first = Phase("part", 0.9, 0.02, model=part, view=lambda images: Negatives(images, tiny.side))
        return Network(network.model, (first, Phase("whole", 0.1, 0.0)))

    task = tiny.task(steps=150)
    classifier = tiny.fitted(task, build)
    scores = [(row["phase"], row["val_macro_f1"]) for row in classifier.history_]
    assert max(score for phase, score in scores if phase == "part") > 0.8
    assert (classifier.predict_proba(task.validation[0]).argmax(axis=1) == task.validation[1]).mean() > 0.8


def test_a_phase_without_a_step_is_left_out(tiny):
    phases = (Phase("first", 0.4, 0.01), Phase("second", 0.6, 0.001))
    classifier = tiny.fitted(tiny.task(steps=1), lambda: tiny.network(phases=phases))
    assert [row["phase"] for row in classifier.history_] == ["second"]


def test_a_loss_that_is_not_finite_stops_training_at_once(tiny):
    told = []
    task = tiny.task(steps=50, progress=lambda share, text: told.append(share))
    with pytest.raises(FloatingPointError, match=r"loss became nan at step \d+ of 50 \(mad\)"):
        tiny.fitted(task, lambda: tiny.network(phases=(Phase("mad", 1.0, float("inf")),)))
    assert not told or max(told) < 0.1


def test_prediction_is_the_mean_of_image_and_mirror_and_does_not_depend_on_neighbours(tiny):
    classifier = tiny.fitted(tiny.task(steps=2))
    images, _ = tiny.bars(37, seed=5)  # two batches and a rest
    whole = classifier.predict_proba(images)
    np.testing.assert_allclose(whole[20:21], classifier.predict_proba(images[20:21]), atol=1e-6)
    np.testing.assert_allclose(whole, classifier.predict_proba(images[:, :, ::-1]), atol=1e-6)
    alone = classifier.forward(classifier.network.model, Pixels(images, tiny.side))
    assert np.abs(alone - whole).max() > 1e-5
    assert classifier.predict_proba(images[:0]).shape == (0, 3)


def test_a_network_without_steps_is_refused(tiny):
    with pytest.raises(ValueError, match="gradient steps, not 0"):
        tiny.classifier(tiny.task(steps=0))


def compiled(tiny, parameters, learning_rate=0.02, steps=100):
    """The network as it is compiled for a phase, not trained."""
    classifier = tiny.classifier(tiny.task(parameters=parameters))
    classifier.create()
    classifier.compile(classifier.network.model, learning_rate, steps)
    return classifier.network.model


def test_the_learning_rate_is_a_factor_on_that_of_the_phase(tiny):
    plateau = compiled(tiny, {"learning_rate": 0.5, "schedule": "plateau"})
    assert float(plateau.optimizer.learning_rate) == pytest.approx(0.01)
    rates = [float(compiled(tiny, {"learning_rate": factor}).optimizer.learning_rate) for factor in (1.0, 3.0)]
    assert rates[1] == pytest.approx(3 * rates[0])


def test_cosine_rises_over_a_twentieth_of_the_steps_and_falls_to_nothing():
    rates = np.array([float(cosine(0.02, 200)(step)) for step in range(201)])
    assert rates.argmax() == 10
    assert rates[10] == pytest.approx(0.02)
    np.testing.assert_allclose(np.diff(rates[:11], n=2), 0, atol=1e-6)
    assert 0 < rates[0] < 0.003
    assert (np.diff(rates[10:]) <= 0).all()
    assert rates[105] == pytest.approx(0.01)
    assert rates[200] == pytest.approx(0, abs=1e-8)


def test_weights_decay_as_asked_biases_do_not(tiny):
    """One step without a gradient, as no row has any weight: what is left is the decay."""
    built = []

    def build():
        network = tiny.network(phases=(Phase("all layers", 1.0, 0.1),))
        network.model.set_weights([weights + 1 for weights in network.model.get_weights()])
        built.append(network.model.get_weights())
        return network

    for parameters, factor in (({"weight_decay": 0.5}, 0.95), ({"weight_decay": 0}, 1.0)):
        classifier = tiny.fitted(tiny.task(steps=1, parameters=parameters), build, sample_weight=np.zeros(60))
        for before, after in zip(built[-1], classifier.network.model.get_weights(), strict=True):
            np.testing.assert_allclose(after, before * (factor if before.ndim > 1 else 1), rtol=1e-5)


def test_what_is_evaluated_and_kept_is_the_average_of_the_weights_where_asked(tiny, monkeypatch):
    """Statistics included, held against the weights after each step; the one evaluation comes at the end."""
    weights, models = [], []

    def build():
        from keras import Model, layers

        network = tiny.network()
        *_, last = network.model.layers
        model = Model(network.model.input, last(layers.BatchNormalization()(last.input)))
        models.append(model)
        weights.append(model.get_weights())
        return Network(model, network.phases)

    def note(program, batches):
        logs = call(program, batches)
        weights.append(models[0].get_weights())
        return logs

    call = Program.__call__
    monkeypatch.setattr(Program, "__call__", note)
    monkeypatch.setattr(backend, "PROGRAM_SECONDS", 0.0)  # a step at a time
    task = tiny.task(steps=30, validation=tiny.bars(200, seed=1), parameters={"ema": 0.7})
    classifier = tiny.classifier(task, build).fit(*tiny.bars(60))
    wanted, *later = weights
    for step, values in enumerate(later, 1):
        share = 1 - min(0.7, step / (9 + step))
        wanted = [mean + share * (value - mean) for mean, value in zip(wanted, values, strict=True)]
    assert len(classifier.history_) == 1 and len(later) == 30
    for kept, mean, last in zip(classifier.network.model.get_weights(), wanted, later[-1], strict=True):
        np.testing.assert_allclose(kept, mean, rtol=1e-5, atol=1e-6)
        assert np.abs(kept - last).max() > 1e-5


@pytest.fixture
def batches_seen(monkeypatch):
    """What training is fed with."""
    seen = []

    def spy(*arguments):
        for batch in prefetch(*arguments):
            seen.append(batch)
            yield batch

    prefetch = training.prefetch
    monkeypatch.setattr(training, "prefetch", spy)
    return seen


@pytest.mark.parametrize(("augmentation", "same"), [("none", True), ("mirror", False)])
def test_batches_are_as_large_and_augmented_as_asked(tiny, batches_seen, augmentation, same):
    images, labels = tiny.bars(10)
    task = tiny.task(steps=2, parameters={"batch_size": 10, "augmentation": augmentation})
    tiny.classifier(task).fit(images, labels)
    for batch, one_hot, weights in batches_seen:
        assert batch.shape == (10, tiny.side, tiny.side, 1)
        assert weights is None
        assert set(one_hot.ravel()) == {0, 1}
        shown = {image.tobytes() for image in batch}
        assert (shown == {image.tobytes() for image in images}) == same
        assert shown <= {image.tobytes() for image in [*images, *images[:, :, ::-1]]}


def test_mixup_blends_training_rows_only_where_asked(tiny, batches_seen):
    task = tiny.task(steps=2, parameters={"mixup": 0.5})
    classifier = tiny.fitted(task)
    labels = np.concatenate([one_hot for _, one_hot, _ in batches_seen])
    assert ((labels > 0.01) & (labels < 0.99)).any()
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-5)
    assert np.isfinite(classifier.history_[-1]["loss"])


def test_the_steps_of_phases_follow_one_another_and_add_up():
    for steps in range(1, 12):
        first, second = phase_steps((Phase("a", 0.4, 1), Phase("b", 0.6, 1)), steps)
        assert [*first, *second] == [*range(steps)]
        assert abs(len(first) - 0.4 * steps) <= 0.5
