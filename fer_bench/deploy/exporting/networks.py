"""What a trained Keras network computes, as a graph: resizing, the network, and the mean over mirror images."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fer_bench.deploy.exporting.graph import OPSET, Graph, resized, softmax


def network(graph: Graph, classifier: Any, images: str) -> str:
    """Probabilities of float `images` (n, side, side[, 3]), as `KerasClassifier.predict_proba` has them."""
    size = classifier.image.size
    pixels = graph.cast(resized(graph, images, size, graph.is_colour), onnx.TensorProto.UINT8)
    pixels = graph.reshaped(pixels, 0, size, size, 3 if graph.is_colour else 1)
    both = graph.add("Concat", pixels, graph.mirrored(pixels), axis=0)
    found = softmax(graph, graph.embed(converted(classifier.network.whole()), both))
    return graph.add("Mean", *graph.add("Split", found, outputs=2, axis=0, num_outputs=2))


def converted(model: Any) -> onnx.ModelProto:
    """A Keras model as ONNX, by tf2onnx."""
    for layer in model._flatten_layers():
        if type(layer).__name__ == "Normalization":  # its tensors would become inputs of the graph, arrays do not
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
    model.predict_on_batch(np.zeros((1, *model.input.shape[1:]), np.uint8))  # what was never called is not exported
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        with warnings.catch_warnings(action="ignore"):  # Keras tells of NumPy's future
            model.export(path, format="onnx", verbose=False, opset_version=OPSET)
        return onnx.load(path)
