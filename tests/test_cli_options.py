"""Options of `run` and `plan`: what is asked of networks."""

import pytest

from fer_bench.cli.options import PlanOptions
from fer_bench.errors import FerBenchError


def test_a_recipe_holds_what_was_asked_for():
    assert PlanOptions().recipe() == {}
    asked = PlanOptions(mixup=0.2, label_smoothing=0.0, image_size=96).recipe()
    assert asked == {"mixup": 0.2, "label_smoothing": 0.0, "image_size": 96}


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("shift,mirror", "mirror,shift"), (" erasing , mirror,mirror", "mirror,erasing"), ("none", "none")],
)
def test_augmentations_are_one_recipe_in_whatever_order(text, canonical):
    assert PlanOptions(augment=text).recipe() == {"augmentation": canonical}


@pytest.mark.parametrize("text", ["", "mirror,spin", "none,mirror"])
def test_unknown_augmentations_are_told(text):
    with pytest.raises(FerBenchError, match="augmentation: no "):
        PlanOptions(augment=text).recipe()
