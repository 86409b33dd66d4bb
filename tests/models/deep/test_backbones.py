from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fer_bench.errors import FerBenchError
from fer_bench.models.deep import pretrained
from fer_bench.models.deep.backbones import (
    EFFICIENTNET_B0,
    INCEPTION_V3,
    MOBILENET_V2,
    RESNET50,
    VGG16,
    load_backbone,
    load_file,
)
from fer_bench.models.registry import MODELS

BACKBONES = {
    "vgg16": VGG16,
    "resnet50": RESNET50,
    "inception-v3": INCEPTION_V3,
    "efficientnet-b0": EFFICIENTNET_B0,
    "mobilenet-v2": MOBILENET_V2,
}


@cache
def a_backbone(name):
    """The real backbone, at its default size, with random weights; built once."""
    backbone = BACKBONES[name]
    return load_backbone(backbone, backbone.image.size, pretrained.NONE)[0]


@pytest.mark.parametrize("name", BACKBONES)
def test_parameters_are_as_many_as_the_card_says_and_the_cut_leaves_a_part_of_them(name):
    import keras

    backbone = a_backbone(name)
    channels = backbone.output_shape[-1]
    assert MODELS[name].n_parameters == backbone.count_params() + (channels + 1) * 256 + 257 * 7
    last_block = keras.Model(backbone.get_layer(BACKBONES[name].cut).output, backbone.output)  # a single tensor will do
    assert 0 < last_block.count_params() < backbone.count_params()


@pytest.mark.parametrize("name", BACKBONES)
def test_weights_of_another_backbone_are_refused(name, tiny_weights):
    with pytest.raises(FerBenchError, match=f"do not fit {BACKBONES[name].application}") as caught:
        load_file(a_backbone(name), BACKBONES[name].application, tiny_weights)
    assert tiny_weights in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_fit_images_of_any_size(tiny_backbone, tiny_weights):
    for size in (8, 24, 40):
        model, source = load_backbone(tiny_backbone, size, tiny_weights)
        assert model.input_shape == (None, size, size, 3)
        assert source == "file tiny.weights.h5"


@pytest.mark.parametrize("name", ["cut.weights.h5", "cut.h5"])
def test_a_weight_file_cut_short_is_refused(tiny_backbone, tiny_weights, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(Path(tiny_weights).read_bytes()[:4096])
    with pytest.raises(FerBenchError, match=f"{name}.*do not fit Tiny"):
        load_backbone(tiny_backbone, 16, str(path))


@pytest.mark.parametrize("weights", [pretrained.IMAGENET, pretrained.AUTO])
@pytest.mark.parametrize("size", [16, 24])
def test_imagenet_weights_are_the_same_for_images_of_any_size(tiny_backbone, weights, size):
    model, source = load_backbone(tiny_backbone, size, weights)
    assert source == "imagenet"
    assert model.input_shape == (None, size, size, 3)
    assert all((array == 0.25).all() for array in model.get_weights())


@pytest.fixture
def no_weights(tiny_backbone, monkeypatch):
    """Keras does not come to ImageNet weights; returns a function of the error that it raises instead."""
    import keras

    build_tiny = keras.applications.Tiny

    def because(error):
        def without(weights, **options):
            if weights == "imagenet":
                raise error
            return build_tiny(weights=weights, **options)

        monkeypatch.setattr(keras.applications, "Tiny", without)

    return because


@pytest.fixture
def no_download(no_weights):
    """Keras cannot download a thing: it raises what it raises without a network."""
    no_weights(Exception("URL fetch failure"))


@pytest.mark.parametrize("weights", [pretrained.AUTO, pretrained.UNAVAILABLE])
def test_auto_falls_back_on_random_weights_and_says_so(no_download, tiny_backbone, weights):
    _, source = load_backbone(tiny_backbone, 16, weights)
    assert source == "random (no network: ImageNet weights could not be had)"


def test_auto_names_the_kind_of_error_where_it_was_not_the_network(no_weights, tiny_backbone):
    no_weights(ValueError("No model config found in the file"))
    _, source = load_backbone(tiny_backbone, 16, pretrained.AUTO)
    assert source == "random (no ImageNet weights: ValueError)"


@pytest.mark.parametrize(
    "error", [MemoryError(), PermissionError(13, "denied"), OSError(28, "No space left on device")], ids=repr
)
def test_auto_hides_no_want_of_memory_rights_or_room(no_weights, tiny_backbone, error):
    no_weights(error)
    with pytest.raises(type(error)) as caught:
        load_backbone(tiny_backbone, 16, pretrained.AUTO)
    assert caught.value is error


def test_imagenet_that_cannot_be_downloaded_is_an_error(no_download, tiny_backbone, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(FerBenchError, match="URL fetch failure") as caught:
        load_backbone(tiny_backbone, 16, pretrained.IMAGENET)
    assert str(tmp_path / "models" / "tiny_notop.h5") in str(caught.value)


def test_an_efficientnet_divides_by_the_deviations_that_its_file_holds_as_variances(tmp_path):
    import keras
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
    np.testing.assert_allclose(keras.ops.convert_to_numpy(loaded(pixels)), (pixels / 255 - mean) / deviation, atol=1e-4)
