"""Models of a plug-in file, from the command line to their records."""

import json

PLUGIN = """
import numpy as np
from helper_of_mine import UNITS
from fer_bench import register_model
from fer_bench.models.registry import ImageInput


class Mine:
    def fit(self, X, y):
        import keras

        layers = [keras.layers.Dense(UNITS, "relu"), keras.layers.Dropout(0.2), keras.layers.Dense(3, "softmax")]
        self.model = keras.Sequential(layers)
        self.model.compile("adam", "sparse_categorical_crossentropy")
        self.model.fit(np.asarray(X, "float32").reshape(len(X), -1), y, epochs=1, verbose=0)
        return self

    def predict_proba(self, X):
        return self.model.predict(np.asarray(X, "float32").reshape(len(X), -1), verbose=0).tolist()


class Silent:
    def fit(self, X, y):
        raise AssertionError("is trained")

    def predict(self, X):
        return [0] * len(X)


@register_model("mine", features="pixels", summary="an ordinary Keras model", sample_weight=False)
def mine(task):
    return Mine()


@register_model("silent", features="pixels", summary="labels alone", sample_weight=False)
def silent(task):
    return Silent()


@register_model("framed", features="images", summary="no KerasClassifier", image=ImageInput(8, 1, "unit"))
def framed(task):
    return Mine()
"""


def test_an_ordinary_keras_model_trains_and_those_that_cannot_answer_are_refused_first(program, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "helper_of_mine.py").write_text("UNITS = 4\n")
    (tmp_path / "mine" / "plugin.py").write_text(PLUGIN)
    done = program(
        "run", "--data", "tiny.npz", "--plugin", "mine/plugin.py", "--models", "mine,silent,framed",
        "--strategies", "none",
    )  # fmt: skip
    found = {
        record["spec"]["model"]: record
        for record in (json.loads(path.read_text()) for path in tmp_path.glob("results/*/runs/*/record.json"))
    }
    assert found["mine"]["status"] == "success", done.stdout + done.stderr
    assert found["silent"]["status"] == "failed" and "predict_proba" in found["silent"]["reason"]
    assert found["framed"]["status"] == "failed" and "KerasClassifier" in found["framed"]["reason"]
