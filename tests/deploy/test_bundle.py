"""A bundle is checked when it is loaded, and one that is not what was exported is refused."""

import json
import shutil
import sys

import numpy as np
import pytest

from fer_bench import load_model
from fer_bench.deploy.bundle import FORMAT
from fer_bench.deploy.session import BATCH
from fer_bench.errors import FerBenchError


@pytest.fixture
def folder(runs, tmp_path):
    """A copy of a bundle, to be damaged."""
    return shutil.copytree(runs.bundle("pca-forest").path, tmp_path / "bundle")


def edit(folder, **changes):
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | changes))


def test_images_of_any_size_and_colour_are_answered(folder):
    model, rng = load_model(folder), np.random.default_rng(0)
    gray = rng.integers(0, 256, (BATCH + 3, 90, 50), dtype=np.uint8)
    rows = model.predict(gray)
    assert rows.shape == (BATCH + 3, 3)
    np.testing.assert_allclose(model.predict(np.repeat(gray[:2, ..., None], 3, axis=3)), rows[:2], atol=1e-6)
    assert model.predict(gray[:0]).shape == (0, 3)
    ragged = [gray[0], gray[1, :20]]
    for wrong in (gray.astype(float), gray[0], rng.integers(0, 9, (2, 9, 9, 4), dtype=np.uint8), gray[:, :0], ragged):
        with pytest.raises(FerBenchError, match="uint8"):
            model.predict(wrong)
    with pytest.raises(FerBenchError, match="one RGB image"):
        model.predict(np.zeros((480, 640, 3), np.uint8))


def test_photographs_of_another_kind_are_refused_and_boxes_may_be_tuples(folder):
    model, photo = load_model(folder), np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    squares = model.cut(photo, [(20, 10, 40, 40), (500, 500, 20, 20)])
    assert model.predict_squares(squares).shape == (2, 3)
    for refused in (
        model.find_faces,
        lambda image: model.cut(image, [(0, 0, 9, 9)]),
        lambda image: model.squares([image]),
    ):
        with pytest.raises(FerBenchError, match="image is float64"):
            refused(photo / 255)
    with pytest.raises(FerBenchError, match="squares are uint8"):
        model.predict_squares(squares[:, 1:])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": FORMAT + 1, "fer_bench": "9.1"}, "9.1.*newer"),
        ({"classes": ["a", "b"]}, "2 classes, but the model knows 3"),
        ({"classes": ["a", "a", "b"]}, "classes"),
        ({"run": None}, "run"),
        ({"input": {"side": "60"}}, "side"),
        (
            {"input": {"side": 48, "channels": 1, "framing": {"scale": 1, "down": 0}}},
            "its input is not that of the model",
        ),
        ({"input": {"side": 60, "channels": 3, "framing": {"scale": float("nan"), "down": 0}}}, "framing"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(folder, changes, words):
    edit(folder, **changes)
    with pytest.raises(FerBenchError, match=words):
        load_model(folder)


def test_what_is_no_bundle_is_refused(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "nowhere", folder / "model.onnx"):
        with pytest.raises(FerBenchError, match="no bundle"):
            load_model(place)
    (folder / "model.json").write_text("{")
    with pytest.raises(FerBenchError, match="cannot be read"):
        load_model(folder)


def test_a_model_that_was_changed_is_refused(folder):
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(FerBenchError, match="changed since"):
        load_model(folder)


def test_without_onnxruntime_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(FerBenchError, match=r"fer_bench\[predict\]"):
        load_model(folder)
