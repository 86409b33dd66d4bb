"""A network as LiteRT (.tflite), for telephones and small boards: what the ONNX graph computes, built by Keras."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench.deploy.exporting.choosing import Source
from fer_bench.deploy.exporting.graph import weights_of_resizing
from fer_bench.deploy.exporting.refitting import refitted
from fer_bench.deploy.session import BATCH
from fer_bench.errors import FerBenchError
from fer_bench.metrics import SMALLEST
from fer_bench.models import MODELS
from fer_bench.records import Record


def litert_model(source: Source, record: Record, temperature: float) -> bytes:
    """The run's network from images, uint8 (n, side, side[, 3]), to probabilities at `temperature`."""
    shape = source.dataset.images.shape[1:]
    model = _with_all_around(refitted(source, record).classifier, shape, temperature)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        path = Path(folder) / "model.tflite"
        model.export(path, format="litert", verbose=False)
        return path.read_bytes()


def check_litert(record: Record) -> None:
    """Raise FerBenchError for what is not one network by itself."""
    alone = not record.members and not record.adjusted_from
    if not alone or not MODELS[record.spec.model].is_network:
        raise FerBenchError(f"--format litert: {record.run_id} is not one network by itself; give --format onnx")


def _with_all_around(classifier: Any, shape: tuple[int, ...], temperature: float) -> Any:
    """Resizing before the network, the mean over mirror images and the temperature behind it."""
    import keras
    from keras import ops

    images = keras.Input(shape, dtype="uint8", name="images")
    x = ops.cast(images if len(shape) == 3 else ops.expand_dims(images, -1), "float32")
    if shape[0] != classifier.image.size:
        rows = weights_of_resizing(shape[0], classifier.image.size).astype(np.float32)
        planes = ops.matmul(ops.matmul(rows, ops.transpose(x, (0, 3, 1, 2))), rows.T)
        x = ops.transpose(ops.floor(planes + 0.5), (0, 2, 3, 1))
    pixels = ops.cast(x, "uint8")
    found = ops.softmax(classifier.network.whole()(ops.concatenate([pixels, ops.flip(pixels, axis=2)], axis=0)))
    plain, mirrored = ops.split(found, 2, axis=0)
    logits = ops.log(ops.maximum((plain + mirrored) / 2, SMALLEST))
    return keras.Model(images, ops.softmax(logits / temperature))


def litert_answers(content: bytes, images: np.ndarray) -> np.ndarray:
    """What the model in `content` answers, float32 (n, k)."""
    with warnings.catch_warnings(action="ignore"):  # the interpreter is to move to another package
        import tensorflow

        interpreter = tensorflow.lite.Interpreter(model_content=content)
    given, told = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    answers = []
    for start in range(0, len(images), BATCH):
        part = np.ascontiguousarray(images[start : start + BATCH])
        interpreter.resize_tensor_input(given, part.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given, part)
        interpreter.invoke()
        answers.append(interpreter.get_tensor(told))
    return np.concatenate(answers)
