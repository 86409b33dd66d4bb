import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.models import networks, pretrained
from fer_bench.models.deep.assembly import assemble, freeze, load_backbone, preprocess, residual_trunk, transfer
from fer_bench.models.registry import MODELS, ImageInput
from fer_bench.models.task import Task

CARDS = [card for card in MODELS if card.build.__module__ == networks.__name__]


def bars(n, seed=0, side=48, channels=1):
    """Noisy horizontal stripes, vertical stripes, and none."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    images = rng.integers(0, 120, (n, side, side, channels))
    images[labels == 0, ::6] += 130
    images[labels == 1, :, ::6] += 130
    return images.astype(np.uint8).squeeze(axis=3 if channels == 1 else ()), labels


def a_task(**changes):
    images, labels = bars(12, seed=1)
    defaults = {"n_rows": 24, "image_shape": (48, 48), "validation": (images, labels), "steps": 4}
    return Task(("rows", "columns", "flat"), **{**defaults, **changes})


def numpy_of(tensor):
    import keras

    return keras.ops.convert_to_numpy(tensor)


def looks(image, channels):
    """What a network for `image` makes of random pixels with `channels` channels: (pixels, result)."""
    from keras import Input, Model

    pixels = np.random.default_rng(0).integers(0, 256, (5, image.size, image.size, channels), dtype=np.uint8)
    inputs = Input(pixels.shape[1:], dtype="uint8")
    return pixels, numpy_of(Model(inputs, preprocess(inputs, image))(pixels))


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_cards_say_what_a_plan_needs(card):
    assert card.features == "images"
    assert card.family == "deep"
    assert set(card.losses) == {"cross-entropy", "focal"}
    assert 0 < card.steps["quick"] < card.steps["standard"] < card.steps["full"]
    assert card.image.size == 48
    assert (card.pretrained is None) == (card.name == "cnn")


@pytest.mark.parametrize(
    ("scaling", "application"),
    [
        ("caffe", "vgg16"),
        ("caffe", "resnet"),
        ("symmetric", "mobilenet_v2"),
        ("symmetric", "inception_v3"),
        ("torch", "densenet"),
    ],
)
def test_scaling_is_that_of_keras_applications(scaling, application):
    import keras

    pixels, seen = looks(ImageInput(8, 3, scaling), channels=3)
    expected = getattr(keras.applications, application).preprocess_input(pixels.astype(np.float32))
    np.testing.assert_allclose(seen, expected, atol=1e-3)


@pytest.mark.parametrize(("scaling", "low", "high"), [("unit", 0, 1), ("symmetric", -1, 1), ("none", 0, 255)])
def test_scaling_of_gray_images(scaling, low, high):
    pixels, seen = looks(ImageInput(8, 1, scaling), channels=1)
    np.testing.assert_allclose(seen, low + pixels / 255 * (high - low), atol=1e-4)
    assert seen.dtype == np.float32


def test_gray_images_are_repeated_for_a_network_of_three_channels():
    pixels, seen = looks(ImageInput(8, 3, "unit"), channels=1)
    np.testing.assert_allclose(seen, np.repeat(pixels, 3, axis=3) / 255, atol=1e-6)


def test_colour_images_become_gray_for_a_network_of_one_channel():
    pixels, seen = looks(ImageInput(8, 1, "unit"), channels=3)
    np.testing.assert_allclose(seen[..., 0], pixels @ np.array([0.299, 0.587, 0.114]) / 255, atol=2e-3)


def test_the_cnn_has_one_to_two_million_parameters():
    model = assemble(a_task(), ImageInput(48), residual_trunk, dropout=0.4)
    assert 1_000_000 < model.count_params() < 2_000_000
    assert model.output_shape == (None, 3)


def test_the_cnn_learns_in_thirty_steps():
    task = a_task(steps=30)
    classifier = MODELS["cnn"].build(task)
    classifier.fit(*bars(90))
    images, labels = bars(60, seed=2)
    assert (classifier.predict_proba(images).argmax(axis=1) == labels).mean() > 0.8
    assert classifier.weights_ == "random"


def test_the_cnn_takes_colour_images_of_any_size():
    images, labels = bars(12, side=60, channels=3)
    classifier = MODELS["cnn"].build(a_task(steps=1, image_shape=(60, 60, 3), validation=(images, labels)))
    assert classifier.fit(images, labels).predict_proba(images).shape == (12, 3)


def test_without_weights_nothing_is_frozen():
    classifier = transfer(a_task(steps=1), ImageInput(32, 3, "caffe"), "VGG16", "vgg16.h5", "block5_")
    network = classifier.build()
    assert network.weights == "random"
    assert [(phase.name, phase.share) for phase in network.phases] == [("all layers", 1.0)]
    before = network.model.get_weights()
    assert len(network.model.trainable_variables) == len(before) == 2 * 13 + 2 * 2
    classifier.build = lambda: network
    classifier.fit(*bars(24))
    assert all((old != new).any() for old, new in zip(before, network.model.get_weights(), strict=True))


def test_batch_norm_that_starts_from_nothing_follows_a_short_run():
    network = transfer(a_task(), ImageInput(32, 3, "caffe"), "ResNet50", "resnet50.h5", "conv5_").build()
    backbone = network.model.get_layer("resnet50")
    assert {layer.momentum for layer in backbone.layers if hasattr(layer, "momentum")} == {0.9}
    assert all(layer.trainable for layer in backbone.layers)


@pytest.fixture(scope="module")
def resnet50_weights(tmp_path_factory):
    """A file with weights of a ResNet50 that nobody trained."""
    import keras

    path = tmp_path_factory.mktemp("weights") / "resnet50.weights.h5"
    keras.applications.ResNet50(include_top=False, weights=None, input_shape=(48, 48, 3)).save_weights(path)
    return path


def test_fine_tuning_changes_the_last_block_and_no_batch_norm(resnet50_weights):
    """Moving statistics, gamma and beta of every BatchNormalization stay those of the file, in the last block too."""
    classifier = MODELS["resnet50"].build(a_task(steps=4, weights=str(resnet50_weights)))
    network = classifier.build()
    backbone = network.model.get_layer("resnet50")
    before = {variable.path: numpy_of(variable) for variable in backbone.variables}
    classifier.build = lambda: network
    classifier.fit(*bars(24))
    changed = {v.path.split("/")[-2] for v in backbone.variables if (numpy_of(v) != before[v.path]).any()}
    convolutions = {
        layer.name for layer in backbone.layers if layer.name.startswith("conv5_") and "conv" in layer.name[6:]
    }
    assert len(convolutions) == 10
    assert changed <= convolutions
    assert classifier.weights_ == "file resnet50.weights.h5"
    assert [row["phase"] for row in classifier.history_] == ["head", "last block"]


def test_a_frozen_backbone_leaves_only_the_head_to_train(resnet50_weights):
    backbone, _ = load_backbone("ResNet50", (48, 48, 3), str(resnet50_weights), "resnet50.h5")
    model = assemble(a_task(), ImageInput(48, 3, "caffe"), backbone, dropout=0.5, hidden=16)
    freeze(backbone)
    assert len(model.trainable_variables) == 4
    freeze(backbone, but="conv5_")
    assert len(model.trainable_variables) == 4 + 2 * 10
    freeze(backbone)
    assert len(model.trainable_variables) == 4


def test_weights_of_another_backbone_are_refused(resnet50_weights):
    with pytest.raises(FerBenchError, match="do not fit VGG16") as caught:
        load_backbone("VGG16", (48, 48, 3), str(resnet50_weights), "vgg16.h5")
    assert str(resnet50_weights) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cut.weights.h5", "cut.h5"])
def test_a_weight_file_cut_short_is_refused(resnet50_weights, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(resnet50_weights.read_bytes()[:4096])
    with pytest.raises(FerBenchError, match=f"{name}.*do not fit ResNet50"):
        load_backbone("ResNet50", (48, 48, 3), str(path), "resnet50.h5")


@pytest.fixture
def no_download(monkeypatch):
    """Keras cannot download a thing: it raises what it raises without a network."""
    import keras

    build = keras.applications.VGG16

    def without_network(weights, **options):
        if weights == "imagenet":
            raise Exception("URL fetch failure")
        return build(weights=weights, **options)

    monkeypatch.setattr(keras.applications, "VGG16", without_network)


@pytest.mark.parametrize("weights", [pretrained.AUTO, pretrained.UNAVAILABLE])
def test_auto_falls_back_on_random_weights_and_says_so(no_download, weights):
    backbone, source = load_backbone("VGG16", (48, 48, 3), weights, "vgg16.h5")
    assert source == "random (no network: ImageNet weights could not be had)"
    assert len(backbone.trainable_variables) == 26


def test_imagenet_that_cannot_be_downloaded_is_an_error(no_download, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(FerBenchError, match="URL fetch failure") as caught:
        load_backbone("VGG16", (48, 48, 3), pretrained.IMAGENET, "vgg16.h5")
    assert str(tmp_path / "models" / "vgg16.h5") in str(caught.value)
