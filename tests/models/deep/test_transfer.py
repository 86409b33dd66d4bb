import importlib
import shutil

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.models.deep import pretrained, transfer
from fer_bench.models.deep.pretrained import load_backbone
from fer_bench.models.registry import MODELS
from fer_bench.models.task import Task

MINIMUM = {"vgg16": 32, "resnet50": 32, "inception-v3": 75, "efficientnet-b0": 32, "mobilenet-v2": 32}
SIDE = 16


def bars(n, seed=0, side=SIDE):
    """Noisy horizontal stripes, vertical stripes, and none."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    images = rng.integers(0, 120, (n, side, side))
    images[labels == 0, ::3] += 130
    images[labels == 1, :, ::3] += 130
    return images.astype(np.uint8), labels


def numpy_of(tensor):
    import keras

    return keras.ops.convert_to_numpy(tensor)


def a_task(parameters=None, **changes):
    defaults = {"n_rows": 24, "image_shape": (SIDE, SIDE), "validation": bars(12, seed=1), "steps": 10}
    parameters = {"hidden": 8, "precision": "float32", **(parameters or {})}
    return Task(("rows", "columns", "flat"), parameters=parameters, **{**defaults, **changes})


@pytest.fixture
def tuned(tiny_backbone):
    """`tuned(weights, fine_tune="head")` is a classifier on the tiny backbone, with parameters by name."""

    def make(weights, task=None, **parameters):
        return transfer.transfer(a_task(parameters, weights=weights, **(task or {})), tiny_backbone)

    return make


def changed_by_fit(classifier, monkeypatch):
    """Fit to the last step, and return the names of the layers of the backbone that are not what they were."""
    backbones, load = [], transfer.load_backbone
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "load_backbone", lambda *asked: backbones.append(load(*asked)) or backbones[-1])
        network = classifier.build()
    before = [(variable, numpy_of(variable)) for variable in backbones[0][0].variables]
    classifier.build = lambda: network
    network.model.set_weights = lambda best: None  # which would undo the last steps
    classifier.fit(*bars(24))
    return {v.path.split("/")[-2] for v, old in before if (numpy_of(v) != old).any()}


@pytest.mark.parametrize("name", MINIMUM)
def test_cards_say_what_a_plan_needs(name):
    card = MODELS[name]
    assert (card.features, card.family) == ("images", "deep")
    assert set(card.losses) == {"cross-entropy", "focal", "logit-adjusted"}
    assert 0 < card.steps["quick"] < card.steps["standard"] < card.steps["full"]
    assert card.image.size >= MINIMUM[name]
    assert card.image.channels == 3
    assert card.pretrained.startswith(name.replace("-", "_").replace("t_b", "tb"))


@pytest.mark.parametrize("name", MINIMUM)
def test_the_scaling_is_that_of_keras_applications(name):
    from fer_bench.models.deep.assembly import preprocess

    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    folder = {"resnet50": "resnet", "efficientnet-b0": "efficientnet"}.get(name, name.replace("-", "_"))
    expected = importlib.import_module(f"keras.applications.{folder}").preprocess_input(pixels.astype(np.float32))
    np.testing.assert_allclose(numpy_of(preprocess(pixels, MODELS[name].image)), expected, atol=1e-3)


@pytest.mark.parametrize("name", MINIMUM)
def test_images_below_the_minimum_are_refused(name):
    minimum = MINIMUM[name]
    with pytest.raises(FerBenchError, match=f"{minimum - 1} is below the minimum of {minimum}"):
        MODELS[name].build(a_task({"image_size": minimum - 1}))


def test_no_other_way_to_tune(tuned):
    with pytest.raises(FerBenchError, match="'tail', not one of head, last-block, all"):
        tuned("none", fine_tune="tail")


def test_without_weights_nothing_is_frozen(tuned, monkeypatch):
    classifier = tuned("none", fine_tune="head")
    assert changed_by_fit(classifier, monkeypatch) == {"first_conv", "first_bn", "last_conv", "last_bn"}
    assert classifier.initial_weights_ == "random"
    assert {row["phase"] for row in classifier.history_} == {"all layers"}
    assert not any("frozen" in note for note in classifier.notes_)


def test_where_weights_cannot_be_had_a_short_training_on_small_images_holds_the_place(tuned, tiny_backbone):
    classifier = tuned("unavailable", {"steps": 60}).fit(*bars(24))
    assert (classifier.steps_, classifier.image.size) == (transfer.STEPS_WITHOUT, tiny_backbone.minimum)
    assert (classifier.initial_weights_, classifier.weights_note_) == ("random", pretrained.OUT_OF_REACH)
    asked = tuned("unavailable", {"steps": 6}, image_size=12)
    assert (asked.task.steps, asked.image.size) == (6, 12)


def test_batch_norm_that_starts_from_nothing_follows_a_short_run(tuned):
    model = tuned("none").build().model
    tiny = next(layer for layer in model.layers if layer.name == "tiny")
    assert {layer.momentum for layer in tiny.layers if hasattr(layer, "momentum")} == {0.9}
    assert all(layer.trainable for layer in tiny.layers)


@pytest.mark.parametrize(
    ("how", "names", "changed"),
    [
        ("head", ("head",), set()),
        ("last-block", ("head", "last block"), {"last_conv"}),
        ("all", ("head", "last block", "all layers"), {"first_conv", "last_conv"}),
    ],
)
def test_phases_train_what_they_say_and_no_batch_norm(tuned, tiny_weights, how, names, changed, monkeypatch):
    """Moving statistics, gamma and beta stay those of the file, and weight decay touches nothing that is frozen."""
    classifier = tuned(tiny_weights, fine_tune=how)
    assert changed_by_fit(classifier, monkeypatch) == changed
    assert tuple(phase.name for phase in classifier.network.phases) == names
    assert sum(phase.share for phase in classifier.network.phases) == pytest.approx(1)
    assert (classifier.initial_weights_, classifier.weights_note_) == ("file", "tiny.weights.h5")
    assert classifier.n_parameters_ == 872 + 9 * 8 + 9 * 3


def test_the_last_block_is_the_default(tuned, tiny_weights):
    assert [phase.name for phase in tuned(tiny_weights).build().phases] == ["head", "last block"]


def test_all_phases_compute_the_same_network(tuned, tiny_weights):
    """What head and last block make of the stored pass is what the whole network makes of the pixels."""
    classifier = tuned(tiny_weights, fine_tune="all")
    images, _ = bars(70, seed=5)
    classifier.create()
    for mirrored in (False, True):
        head, block, whole = (
            classifier.forward(phase.model, classifier.view(phase, images), mirrored)
            for phase in classifier.network.phases
        )
        np.testing.assert_allclose(head, whole, atol=5e-3)
        np.testing.assert_allclose(block, whole, atol=5e-3)
        assert whole.std() > 0.01


@pytest.mark.parametrize("how", ["head", "last-block", "all"])
def test_the_whole_network_is_had_again_from_the_weights_of_its_trained_part(tuned, tiny_weights, tmp_path, how):
    images, path = bars(24)[0], tmp_path / "trained.weights.h5"
    trained = tuned(tiny_weights, fine_tune=how).fit(*bars(24))
    trained.network.model.save_weights(path)
    again = tuned(tiny_weights, fine_tune=how)
    again.create()
    again.network.model.load_weights(path)
    pixels = images[..., None]
    logits = [numpy_of(again.network.whole()(given)) for given in (pixels, pixels[:, :, ::-1])]
    shares = [np.exp(one) / np.exp(one).sum(axis=1, keepdims=True) for one in logits]
    np.testing.assert_allclose(np.mean(shares, axis=0), trained.predict_proba(images), atol=2e-3)  # passes are float16


def test_the_last_layer_is_found_in_the_network_itself(tuned, tiny_weights):
    """Re-training of the classifier cuts the network before its last layer, which other models share."""
    import keras

    for how in ("head", "last-block", "all"):
        model = tuned(tiny_weights, fine_tune=how).build().model
        assert keras.Model(model.input, model.get_layer("logits").input).output_shape == (None, 8)


def test_the_second_strategy_makes_no_pass(tuned, tiny_weights, tmp_path):
    texts = []
    told = {"progress": lambda share, text: texts.append(text)}
    images, labels = bars(24)
    test_images, _ = bars(6, seed=9)
    first = tuned(tiny_weights, told, fine_tune="head")
    first.fit(images, labels).predict_proba(test_images)
    assert sum("frozen part: image 0" in text for text in texts) == 3  # of training, validation and test images
    texts.clear()
    rows = np.repeat(np.arange(0, 24, 2), 4)
    second = tuned(tiny_weights, {**told, "random_state": 1})
    second.fit(images, labels, sample_weight=np.ones(48), rows=rows).predict_proba(test_images)
    assert not any("frozen part" in text for text in texts)
    assert len(list((tmp_path / "cache" / "backbones").glob("*/maps.npy"))) == 3
    (note,) = (note for note in first.notes_ if "frozen" in note)
    assert "over 42 images" in note
    assert "took" in note
    (note,) = (note for note in second.notes_ if "frozen" in note)
    assert "read from the cache" in note


def test_a_pass_after_training_is_made_with_the_weights_of_before(tuned, tiny_backbone, tiny_weights):
    """A last block that has been tuned must not leave its own features for the next strategy."""
    test_images, _ = bars(6, seed=9)
    tuned(tiny_weights, {"steps": 60}, learning_rate=10.0).fit(*bars(24)).predict_proba(test_images)
    fresh = tuned(tiny_weights, fine_tune="head")
    fresh.create()
    stored = fresh.view(fresh.network.phases[0], test_images).plain(slice(None), mirrored=False)
    model, _ = load_backbone(tiny_backbone, SIDE, tiny_weights)
    pixels = np.repeat(test_images[..., None], 3, axis=3) / np.float32(127.5) - 1
    np.testing.assert_allclose(stored, numpy_of(model(pixels)).mean(axis=(1, 2)), rtol=2e-3, atol=1e-3)


def test_weights_exchanged_while_a_run_goes_on_are_told(tuned, tiny_backbone, tiny_weights, tmp_path):
    """Their pass would be stored as that of the weights of before."""
    path = tmp_path / "exchanged.weights.h5"
    shutil.copy(tiny_weights, path)
    classifier = tuned(str(path))
    classifier.create()
    model, _ = load_backbone(tiny_backbone, SIDE, tiny_weights)
    model.set_weights([array * 1.01 for array in model.get_weights()])
    model.save_weights(path)
    with pytest.raises(FerBenchError, match="changed while the run went on"):
        classifier.view(classifier.network.phases[0], bars(4)[0])


@pytest.mark.parametrize("change", ["weights", "image_size", "precision"])
def test_another_network_makes_another_pass(tuned, tiny_backbone, tiny_weights, tmp_path, change):
    model, _ = load_backbone(tiny_backbone, SIDE, tiny_weights)
    model.set_weights([array * 1.01 for array in model.get_weights()])
    model.save_weights(tmp_path / "other.weights.h5")
    other = str(tmp_path / "other.weights.h5") if change == "weights" else tiny_weights
    parameters = {"image_size": {"image_size": 12}, "precision": {"precision": "bfloat16"}}.get(change, {})
    for classifier in (tuned(tiny_weights), tuned(other, **parameters)):
        classifier.create()
        classifier.view(classifier.network.phases[0], bars(4)[0])
    assert len(list((tmp_path / "cache" / "backbones").glob("*/pooled.npy"))) == 2


@pytest.mark.parametrize(("names", "copies"), [("mirror,shift", 2), ("none", 1)])
def test_training_sees_mirror_images_where_that_is_wanted(tuned, tiny_weights, names, copies):
    classifier = tuned(tiny_weights, augmentation=names)
    classifier.create()
    inputs = classifier.view(classifier.network.phases[0], bars(3)[0])
    drawn = inputs.augmented(np.zeros(40, int), np.random.default_rng(0))
    assert len(np.unique(drawn, axis=0)) == copies
    assert any("mirroring alone" in note for note in classifier.notes_) is (names == "mirror,shift")


def test_a_head_alone_sees_as_many_images_in_a_quarter_of_the_steps(tuned, tiny_weights):
    block, head, unfrozen = (
        tuned(weights, {"steps": 40}, fine_tune=how)
        for weights, how in ((tiny_weights, "last-block"), (tiny_weights, "head"), ("none", "head"))
    )
    for classifier in (block, head, unfrozen):
        classifier.create()
    assert head.steps_ == 10 == block.steps_ / 4
    assert head.batch_size * head.steps_ == block.batch_size * block.steps_
    assert (unfrozen.steps_, unfrozen.batch_size) == (block.steps_, block.batch_size)


def test_a_head_whose_weights_cannot_be_had_is_a_network_without_weights(tuned):
    """All of whose layers are trained, in steps and batches of their usual number and size."""
    classifier = tuned("unavailable", {"steps": 8}, fine_tune="head").fit(*bars(24))
    assert classifier.initial_weights_ == "random"
    assert (classifier.steps_, classifier.batch_size) == (8, 32)
    assert int(classifier.network.model.optimizer.iterations) == 8


def test_a_head_sees_the_values_of_a_backbone_without_normalization_on_one_scale():
    pooled = np.random.default_rng(0).gamma(1.0, 10.0, (64, 5)).astype(np.float32)
    head = transfer.Head(a_task(), pretrained.VGG16)
    once, again = (numpy_of(head.scale(rows, training=True)) for rows in (pooled, 100 * pooled))
    np.testing.assert_allclose(once, again, rtol=1e-3, atol=1e-4)
    assert abs(once).max() < 10
