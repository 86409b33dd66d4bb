"""Classifier re-training: the last layer learns anew, the rest stays what it was."""

from dataclasses import replace

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.metrics import macro_f1
from fer_bench.models.deep import backend
from fer_bench.models.deep.backend import Program
from fer_bench.models.deep.batches import Pixels
from fer_bench.models.deep.checkpoint import Checkpoint
from fer_bench.models.deep.frozen import Stored
from fer_bench.models.deep.retraining import SHARE, retrain_head
from fer_bench.models.deep.training import Network, Phase
from fer_bench.models.imbalance import classifier_retraining

RARE = 2
STEPS = 100


def imbalanced(tiny, n=150, seed=0):
    """Rows and columns as they are, and one flat image in twenty-five, which is hard to tell from both."""
    images, labels = tiny.bars(n, seed)
    kept = np.flatnonzero((labels != RARE) | (np.arange(n) % 25 == RARE))
    return images[kept], labels[kept]


@pytest.fixture(scope="module")
def base(tiny, tmp_path_factory):
    """A network trained on imbalanced rows, and the file of its weights."""
    images, labels = imbalanced(tiny)
    classifier = tiny.classifier(tiny.task(steps=STEPS)).fit(images, labels)
    path = tmp_path_factory.mktemp("base") / "model.weights.h5"
    classifier.network.model.save_weights(path)
    return classifier, path


def retrained(tiny, path, build=None, steps=10 * STEPS, **changes):
    images, labels = imbalanced(tiny)
    classifier = tiny.classifier(tiny.task(steps=steps, **changes), build or tiny.network)
    return retrain_head(classifier, path, images, labels, classifier_retraining(labels, 3, 0).rows)


@pytest.fixture(scope="module")
def after(tiny, base):
    """`base`, its last layer trained anew."""
    return retrained(tiny, base[1])


def recall(classifier, images, labels, label):
    return (classifier.predict_proba(images).argmax(axis=1) == label)[labels == label].mean()


def test_it_raises_the_recall_of_a_rare_class(tiny, base, after):
    images, labels = tiny.bars(90, seed=5)
    assert recall(after, images, labels, RARE) > recall(base[0], images, labels, RARE) + 0.2


def test_the_trunk_keeps_every_bit_and_the_head_is_new(base, after):
    for one, other in zip(base[0].network.model.weights, after.network.model.weights, strict=True):
        assert np.array_equal(one, other) == ("logits" not in one.path), one.path


def test_its_fitted_attributes_tell_how(tiny, base):
    told = []
    classifier = retrained(tiny, base[1], steps=200, progress=lambda share, text: told.append(share))
    assert classifier.steps_ == SHARE * 200
    assert classifier.history_[-1]["step"] == classifier.steps_
    assert {row["phase"] for row in classifier.history_} == {"last layer"}
    assert classifier.n_parameters_ == base[0].n_parameters_
    assert classifier.initial_weights_ == "random"
    assert classifier.notes_[-1] == f"all but the last layer from {base[1].parent.name}"
    assert told[-1] == 1
    probabilities = classifier.predict_proba(tiny.bars(5)[0])
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_what_is_kept_is_the_best_on_validation(tiny, base):
    classifier = retrained(tiny, base[1], parameters={"learning_rate": 30.0})
    images, labels = classifier.task.validation
    predicted = classifier.forward(classifier.network.model, Pixels(images, tiny.side)).argmax(axis=1)
    scores = [row["val_macro_f1"] for row in classifier.history_]
    assert len(scores) > 1
    assert macro_f1(labels, predicted, 3) == pytest.approx(max(scores))


def test_same_seed_same_probabilities(tiny, base):
    images, _ = tiny.bars(10, seed=5)
    first, again = (retrained(tiny, base[1], steps=50).predict_proba(images) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_one_that_was_cut_off_goes_on_but_from_other_weights_begins_anew(tiny, base, after, tmp_path, monkeypatch):
    """The run under "none" may have been done again meanwhile: its trunk is what counts."""
    file, other = tmp_path / "checkpoint.npz", tmp_path / "other.weights.h5"
    tiny.network().model.save_weights(other)

    def save_and_stop(checkpoint, state, others):
        if state.step == 60:
            checkpoint.save(state, others)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoint, "save_now_and_then", save_and_stop)
        patch.setattr(backend, "PROGRAM_SECONDS", 0.0)
        retrained(tiny, base[1], checkpoint=file)
    left = file.read_bytes()
    for weights, whole, note in (
        (base[1], after, "went on from step 60"),
        (other, retrained(tiny, other), "belongs to another training"),
    ):
        file.write_bytes(left)
        resumed = retrained(tiny, weights, checkpoint=file)
        assert any(note in said for said in resumed.notes_)
        assert not file.exists()
        for one, same in zip(whole.network.model.get_weights(), resumed.network.model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, same)
        assert [row["val_loss"] for row in whole.history_] == [row["val_loss"] for row in resumed.history_]


def test_the_last_layer_sees_augmented_copies_of_class_balanced_rows(tiny, base, monkeypatch):
    """Hardly a row of what the rest passes on comes twice, though the rare class has six images."""
    seen = []

    def spy(program, batches):
        seen.extend((inputs, labels) for inputs, labels, _ in batches)
        return call(program, batches)

    call = Program.__call__
    monkeypatch.setattr(Program, "__call__", spy)
    retrained(tiny, base[1], steps=200)
    inputs, labels = (np.concatenate(arrays) for arrays in zip(*seen, strict=True))
    assert inputs.shape == (SHARE * 200 * 16, 12)
    assert 0.25 < labels[:, RARE].mean() < 0.42
    assert len(np.unique(inputs[labels[:, RARE] == 1], axis=0)) > 50


def test_a_network_that_ends_in_another_layer_is_refused(tiny, base):
    def build():
        from keras import Input, Model, layers

        pixels = Input((tiny.side, tiny.side, 1), dtype="uint8")
        maps = layers.Conv2D(3, 3)(layers.Rescaling(1 / 255)(pixels))
        return Network(Model(pixels, layers.GlobalAveragePooling2D(name="logits")(maps)), tiny.one_phase)

    with pytest.raises(FerBenchError, match="no dense layer named 'logits'"):
        retrained(tiny, base[1], build)


def test_a_network_that_was_trained_on_smaller_images_first_is_retrained_on_those_of_its_own_size(tiny, base):
    def build():
        network = tiny.network()
        return replace(network, phases=(replace(network.phases[0], coarse=(0.6, 6)),))

    classifier = retrained(tiny, base[1], build, steps=50)
    assert classifier.steps_ == SHARE * 50 and classifier.history_[-1]["phase"] == "last layer"


@pytest.mark.parametrize("fault", ["missing", "garbage", "cut short", "another network"])
def test_weights_that_are_not_its_own_are_refused(tiny, base, tmp_path, fault):
    path = tmp_path / "other.weights.h5"
    if fault == "garbage":
        path.write_bytes(b"not weights")
    elif fault == "cut short":
        path.write_bytes(base[1].read_bytes()[:-2000])
    elif fault == "another network":
        import keras

        keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)]).save_weights(path)
    with pytest.raises(FerBenchError, match=r"other.weights.h5: these weights do not fit this network"):
        retrained(tiny, path)


def test_a_network_on_stored_features_is_retrained_on_those(tiny, tmp_path):
    """As one with a frozen part, of which only what follows is in the network."""

    def view(images):
        return Stored(np.stack([images.mean(axis=2), images[:, :, ::-1].mean(axis=2)]) / 255)

    def build():
        from keras import Input, Model, layers

        features = Input((tiny.side,))
        hidden = layers.Dense(8, activation="relu", name="hidden")(features)
        model = Model(features, layers.Dense(3, dtype="float32", name="logits")(hidden))
        return Network(model, (Phase("head", 1.0, 0.02, view=view),))

    images, labels = imbalanced(tiny)
    before = tiny.classifier(tiny.task(steps=STEPS), build).fit(images, labels)
    before.network.model.save_weights(path := tmp_path / "model.weights.h5")
    after = retrained(tiny, path, build)
    for layer, same in (("hidden", True), ("logits", False)):
        kernels = [classifier.network.model.get_layer(layer).kernel for classifier in (before, after)]
        assert np.array_equal(*kernels) == same
    assert after.predict_proba(images).shape == (len(images), 3)
