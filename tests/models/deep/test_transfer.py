from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.models.deep import pretrained, transfer
from fer_bench.models.deep.transfer import (
    EFFICIENTNET_B0,
    INCEPTION_V3,
    MOBILENET_V2,
    RESNET50,
    VGG16,
    Backbone,
    load_backbone,
    load_file,
)
from fer_bench.models.registry import MODELS, Choice, ImageInput, Range
from fer_bench.models.task import Task

BACKBONES = {
    "vgg16": VGG16,
    "resnet50": RESNET50,
    "inception-v3": INCEPTION_V3,
    "efficientnet-b0": EFFICIENTNET_B0,
    "mobilenet-v2": MOBILENET_V2,
}
SIDE = 16
TINY = Backbone("Tiny", ImageInput(SIDE, 3, "symmetric"), "tiny_notop.h5", "cut", minimum=8, trained_size=SIDE)
ALL_NAMES = ("head", "last block", "all layers")


def build_tiny(include_top, weights, input_shape):
    """A backbone in the manner of keras.applications: a first part, a cut, a residual last block; 872 parameters."""
    from keras import Input, Model, layers

    assert not include_top
    pixels = Input(input_shape)
    x = layers.Conv2D(8, 3, 2, "same", name="first_conv")(pixels)
    x = layers.ReLU(name="cut")(layers.BatchNormalization(name="first_bn")(x))
    y = layers.BatchNormalization(name="last_bn")(layers.Conv2D(8, 3, 1, "same", name="last_conv")(x))
    model = Model(pixels, layers.ReLU()(layers.add([x, y])), name="tiny")
    if weights == "imagenet":
        model.set_weights([np.full_like(array, 0.25) for array in model.get_weights()])
    return model


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    import keras

    monkeypatch.setenv("FER_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(keras.applications, "Tiny", build_tiny, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def weights(tmp_path):
    """A weight file of the tiny backbone, its statistics unlike those of any batch."""
    rng = np.random.default_rng(3)
    model = build_tiny(False, None, (24, 24, 3))
    model.set_weights([np.abs(rng.normal(0.3, 0.2, array.shape)) for array in model.get_weights()])
    path = tmp_path / "tiny.weights.h5"
    model.save_weights(path)
    return str(path)


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


def tuned(how, weights, **changes):
    return transfer.transfer(a_task({"fine_tune": how}, weights=weights, **changes), TINY)


def changed_by_fit(classifier, monkeypatch):
    """Fit, and return the names of the layers of the backbone that are not what they were."""
    backbones, load = [], transfer.load_backbone
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "load_backbone", lambda *asked: backbones.append(load(*asked)) or backbones[-1])
        network = classifier.build()
    before = [(variable, numpy_of(variable)) for variable in backbones[0][0].variables]
    classifier.build = lambda: network
    classifier.fit(*bars(24))
    return {v.path.split("/")[-2] for v, old in before if (numpy_of(v) != old).any()}


@cache
def a_backbone(name):
    """The real backbone, at its default size, with random weights; built once."""
    backbone = BACKBONES[name]
    return load_backbone(backbone, backbone.image.size, pretrained.NONE)[0]


@pytest.mark.parametrize("name", BACKBONES)
def test_cards_say_what_a_plan_needs(name):
    card, backbone = MODELS[name], BACKBONES[name]
    assert (card.features, card.family) == ("images", "deep")
    assert set(card.losses) == {"cross-entropy", "focal", "logit-adjusted"}
    assert 0 < card.steps["quick"] < card.steps["standard"] < card.steps["full"]
    assert card.image == backbone.image
    assert card.image.size >= backbone.minimum
    assert card.pretrained == backbone.file_name
    assert all(isinstance(space, Choice | Range) for space in card.search.values())


@pytest.mark.parametrize("name", BACKBONES)
def test_parameters_are_as_many_as_the_card_says_and_the_cut_leaves_a_part_of_them(name):
    import keras

    backbone = a_backbone(name)
    channels = backbone.output_shape[-1]
    assert MODELS[name].n_parameters == backbone.count_params() + (channels + 1) * 256 + 257 * 7
    last_block = keras.Model(backbone.get_layer(BACKBONES[name].cut).output, backbone.output)  # a single tensor will do
    assert 0 < last_block.count_params() < backbone.count_params()


@pytest.mark.parametrize("name", BACKBONES)
def test_the_scaling_is_that_of_keras_applications(name):
    import importlib

    from fer_bench.models.deep.assembly import preprocess

    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    folder = {"resnet50": "resnet", "efficientnet-b0": "efficientnet"}.get(name, name.replace("-", "_"))
    expected = importlib.import_module(f"keras.applications.{folder}").preprocess_input(pixels.astype(np.float32))
    np.testing.assert_allclose(numpy_of(preprocess(pixels, MODELS[name].image)), expected, atol=1e-3)


@pytest.mark.parametrize("name", BACKBONES)
def test_images_below_the_minimum_are_refused(name):
    backbone = BACKBONES[name]
    with pytest.raises(FerBenchError, match=f"{backbone.minimum - 1} is below the minimum of {backbone.minimum}"):
        MODELS[name].build(a_task({"image_size": backbone.minimum - 1}))


@pytest.mark.parametrize("name", BACKBONES)
def test_weights_of_another_backbone_are_refused(name, weights):
    with pytest.raises(FerBenchError, match=f"do not fit {BACKBONES[name].application}") as caught:
        load_file(a_backbone(name), BACKBONES[name].application, weights)
    assert weights in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_other_way_to_tune():
    with pytest.raises(FerBenchError, match="'tail', not one of head, last-block, all"):
        tuned("tail", "none")


def test_without_weights_nothing_is_frozen(monkeypatch):
    classifier = tuned("head", "none")
    assert changed_by_fit(classifier, monkeypatch) == {"first_conv", "first_bn", "last_conv", "last_bn"}
    assert classifier.weights_ == "random"
    assert {row["phase"] for row in classifier.history_} == {"all layers"}
    assert not any("frozen" in note for note in classifier.notes_)


def test_batch_norm_that_starts_from_nothing_follows_a_short_run():
    model = tuned("head", "none").build().model
    tiny = next(layer for layer in model.layers if layer.name == "tiny")
    assert {layer.momentum for layer in tiny.layers if hasattr(layer, "momentum")} == {0.9}
    assert all(layer.trainable for layer in tiny.layers)


@pytest.mark.parametrize(
    ("how", "names", "changed"),
    [
        ("head", ALL_NAMES[:1], set()),
        ("last-block", ALL_NAMES[:2], {"last_conv"}),
        ("all", ALL_NAMES, {"first_conv", "last_conv"}),
    ],
)
def test_phases_train_what_they_say_and_no_batch_norm(weights, how, names, changed, monkeypatch):
    """Moving statistics, gamma and beta stay those of the file, and weight decay touches nothing that is frozen."""
    classifier = tuned(how, weights)
    assert changed_by_fit(classifier, monkeypatch) == changed
    assert tuple(dict.fromkeys(row["phase"] for row in classifier.history_)) == names
    assert classifier.weights_ == "file tiny.weights.h5"
    assert classifier.n_parameters_ == 872 + 9 * 8 + 9 * 3
    assert sum(phase.share for phase in classifier.network.phases) == pytest.approx(1)


def test_the_last_block_is_the_default(weights):
    network = transfer.transfer(a_task(weights=weights), TINY).build()
    assert [phase.name for phase in network.phases] == ["head", "last block"]


def test_all_phases_compute_the_same_network(weights):
    """What head and last block make of the stored pass is what the whole network makes of the pixels."""
    classifier = tuned("all", weights)
    images, _ = bars(70, seed=5)
    classifier.create()
    for mirrored in (False, True):
        head, block, whole = (
            classifier.forward(phase.model, classifier.view(phase, images), mirrored)
            for phase in classifier.network.phases
        )
        np.testing.assert_allclose(head, whole, atol=5e-3)
        np.testing.assert_allclose(block, whole, atol=5e-3)
        assert head.std() > 0.01


def test_the_second_strategy_makes_no_pass(weights, own_cache):
    texts = []
    first, second = (
        tuned(how, weights, random_state=seed, progress=lambda share, text: texts.append(text))
        for how, seed in (("head", 0), ("last-block", 1))
    )
    images, labels = bars(24)
    test_images, _ = bars(6, seed=9)
    first.fit(images, labels).predict_proba(test_images)
    assert sum("frozen part" in text for text in texts) == 3  # of training, validation and test images
    texts.clear()
    rows = np.repeat(np.arange(0, 24, 2), 4)
    second.fit(images, labels, sample_weight=np.ones(48), rows=rows).predict_proba(test_images)
    assert not any("frozen part" in text for text in texts)
    assert len(list((own_cache / "backbones").glob("*/maps.npy"))) == 3
    (note,) = (note for note in first.notes_ if "frozen" in note)
    assert "over 42 images" in note
    assert "took" in note
    (note,) = (note for note in second.notes_ if "frozen" in note)
    assert "read from the cache" in note


def test_a_pass_after_training_is_made_with_the_weights_of_before(weights):
    """A last block that has been tuned must not leave its own features for the next strategy."""
    test_images, _ = bars(6, seed=9)
    tuned("all", weights).fit(*bars(24))
    classifier = tuned("last-block", weights)
    classifier.fit(*bars(24)).predict_proba(test_images)
    fresh = tuned("head", weights)
    fresh.create()
    stored = fresh.view(fresh.network.phases[0], test_images).plain(slice(None), mirrored=False)
    model, _ = load_backbone(TINY, SIDE, weights)
    pixels = np.repeat(test_images[..., None], 3, axis=3) / np.float32(127.5) - 1
    np.testing.assert_allclose(stored, numpy_of(model(pixels)).mean(axis=(1, 2)), rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize("change", ["weights", "image_size", "precision"])
def test_another_network_makes_another_pass(weights, own_cache, change):
    images, _ = bars(4)
    other = load_backbone(TINY, SIDE, weights)[0]
    other.set_weights([array * 1.01 for array in other.get_weights()])
    other.save_weights(own_cache.parent / "other.weights.h5")
    path = str(own_cache.parent / "other.weights.h5") if change == "weights" else weights
    for parameters, file in (({}, weights), ({"image_size": 12, "precision": "bfloat16"}, path)):
        asked = {name: value for name, value in parameters.items() if name == change}
        classifier = transfer.transfer(a_task(asked, weights=file), TINY)
        classifier.create()
        classifier.view(classifier.network.phases[0], images)
    assert len(list((own_cache / "backbones").glob("*/pooled.npy"))) == 2


def test_training_without_the_mirror_sees_no_mirror_images(weights):
    for names, copies in (("mirror,shift", 2), ("none", 1)):
        classifier = transfer.transfer(a_task({"augmentation": names}, weights=weights), TINY)
        classifier.create()
        inputs = classifier.view(classifier.network.phases[0], bars(3)[0])
        drawn = inputs.augmented(np.zeros(40, int), np.random.default_rng(0))
        assert len(np.unique(drawn, axis=0)) == copies


def test_weights_fit_images_of_any_size(weights):
    for size in (8, 24, 40):
        model, source = load_backbone(TINY, size, weights)
        assert model.input_shape == (None, size, size, 3)
        assert source == "file tiny.weights.h5"


@pytest.mark.parametrize("name", ["cut.weights.h5", "cut.h5"])
def test_a_weight_file_cut_short_is_refused(weights, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(Path(weights).read_bytes()[:4096])
    with pytest.raises(FerBenchError, match=f"{name}.*do not fit Tiny"):
        load_backbone(TINY, SIDE, str(path))


@pytest.mark.parametrize("weights", [pretrained.IMAGENET, pretrained.AUTO])
@pytest.mark.parametrize("size", [SIDE, 24])
def test_imagenet_weights_are_the_same_for_images_of_any_size(weights, size):
    model, source = load_backbone(TINY, size, weights)
    assert source == "imagenet"
    assert model.input_shape == (None, size, size, 3)
    assert all((array == 0.25).all() for array in model.get_weights())


@pytest.fixture
def no_download(monkeypatch):
    """Keras cannot download a thing: it raises what it raises without a network."""
    import keras

    def without_network(weights, **options):
        if weights == "imagenet":
            raise Exception("URL fetch failure")
        return build_tiny(weights=weights, **options)

    monkeypatch.setattr(keras.applications, "Tiny", without_network)


@pytest.mark.parametrize("weights", [pretrained.AUTO, pretrained.UNAVAILABLE])
def test_auto_falls_back_on_random_weights_and_says_so(no_download, weights):
    _, source = load_backbone(TINY, SIDE, weights)
    assert source == "random (no network: ImageNet weights could not be had)"


def test_imagenet_that_cannot_be_downloaded_is_an_error(no_download, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(FerBenchError, match="URL fetch failure") as caught:
        load_backbone(TINY, SIDE, pretrained.IMAGENET)
    assert str(tmp_path / "models" / "tiny_notop.h5") in str(caught.value)


def test_an_efficientnet_divides_by_the_deviations_that_its_file_holds_as_variances(tmp_path):
    from keras import Input, Model, layers

    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

    def a_model():
        pixels = Input((4, 4, 3))
        return Model(pixels, layers.Normalization(axis=3)(layers.Rescaling(1 / 255)(pixels)))

    saved = a_model()
    saved.layers[-1].set_weights([mean, deviation, np.array(0)])
    saved.save_weights(tmp_path / "efficientnet.weights.h5")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
    loaded = load_file(a_model(), "EfficientNetB0", str(tmp_path / "efficientnet.weights.h5"))
    np.testing.assert_allclose(numpy_of(loaded(pixels)), (pixels / 255 - mean) / deviation, atol=1e-4)
