"""A model that multiplies in int8, its ranges taken from training images. onnxruntime does the work."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from fer_bench.deploy.session import IMAGES, MODEL
from fer_bench.errors import FerBenchError

LEAST_WEIGHTS = 1024
"""A product with fewer numbers stays in float32: so do resizing and the sums over votes."""
OPERATORS = ("Conv", "MatMul", "Gemm")
BATCH = 32


def quantized(models: Mapping[str, onnx.ModelProto], images: np.ndarray) -> bytes:
    """The model of a graph, see `Graph.models`, with its convolutions and products in int8, each channel by its scale.

    images: uint8 (n, side, side[, 3]), on which the ranges of what is multiplied are measured.
    Raises FerBenchError for a model that multiplies nothing, such as a forest, or is no graph alone.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    model = models[MODEL]
    chosen = _products(model)
    if not chosen or len(models) > 1:
        raise FerBenchError("--quantize int8: this model multiplies nothing that could be done in int8")

    class Images(CalibrationDataReader):
        """The images in batches."""

        batches = ({IMAGES: images[start : start + BATCH]} for start in range(0, len(images), BATCH))

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    logging.getLogger().setLevel(logging.ERROR)  # it advises what does not apply here
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model, path, Images(), quant_format=QuantFormat.QDQ, nodes_to_quantize=chosen, per_channel=True,
            op_types_to_quantize=list(OPERATORS), reduce_range=True,
        )  # fmt: skip
        return path.read_bytes()


def _products(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that multiply with many weights, given to those that have none."""
    sizes = {one.name: int(np.prod(one.dims)) for one in model.graph.initializer}
    found = []
    for at, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{at}"
        if node.op_type in OPERATORS and any(sizes.get(name, 0) >= LEAST_WEIGHTS for name in node.input):
            found.append(node.name)
    return found
