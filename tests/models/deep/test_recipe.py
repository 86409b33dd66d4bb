"""What may be asked of training: read once, refused before anything is built."""

import pytest

from fer_bench.errors import FerBenchError
from fer_bench.models.deep.recipe import AUGMENTATIONS, COMMON, Recipe, augmentation_names


def test_what_is_asked_for_is_read_and_the_rest_is_the_own_recipe():
    assert Recipe.of({"dropout": 0.3, "image_size": 64}) == Recipe() == Recipe.of(COMMON)
    asked = Recipe.of({"batch_size": 16.0, "learning_rate": "0.5", "augmentation": "shift,mirror", "patience": 3})
    assert asked == Recipe(batch_size=16, learning_rate=0.5, augmentation=("mirror", "shift"), patience=3)


@pytest.mark.parametrize(
    ("parameter", "value", "wanted"),
    [
        ("precision", "float16", "auto, float32, bfloat16"),
        ("schedule", "step", "cosine, plateau"),
        ("batch_size", 0, "a whole number of at least 1"),
        ("batch_size", 1.5, "a whole number of at least 1"),
        ("patience", -1, "a whole number of at least 0"),
        ("learning_rate", 0, "a number above 0"),
        ("learning_rate", float("nan"), "a number above 0"),
        ("learning_rate", "fast", "a number above 0"),
        ("weight_decay", float("inf"), "a number of at least 0"),
        ("label_smoothing", 1.0, "a number of at least 0 and below 1"),
        ("mixup", None, "a number of at least 0"),
        ("ema", 1, "a number of at least 0 and below 1"),
    ],
)
def test_what_training_cannot_use_is_refused_before_it_begins(tiny, parameter, value, wanted):
    with pytest.raises(FerBenchError, match=f"^{parameter} is {value!r}, not .*{wanted}$"):
        tiny.classifier(tiny.task(parameters={parameter: value}))


def test_augmentations_are_read_in_any_order():
    assert augmentation_names("shift, mirror,mirror") == ("mirror", "shift")
    assert augmentation_names(",".join(reversed(AUGMENTATIONS))) == AUGMENTATIONS
    assert augmentation_names("none") == ()


@pytest.mark.parametrize("text", ["flip", "mirror,flip", "none,mirror", "", "mirror,"])
def test_an_unknown_augmentation_is_refused_with_all_that_there_are(text):
    with pytest.raises(FerBenchError) as refusal:
        augmentation_names(text)
    assert all(name in str(refusal.value) for name in (*AUGMENTATIONS, "none"))
    assert not text.endswith("flip") or "'flip'" in str(refusal.value)


@pytest.mark.parametrize("value", [("mirror",), None])
def test_augmentations_that_are_no_text_are_refused_too(value):
    with pytest.raises(FerBenchError, match=r"augmentation: no .*; give some of mirror"):
        Recipe.of({"augmentation": value})
