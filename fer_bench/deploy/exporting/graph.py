"""ONNX graphs put together: a few operators by hand, whole models of other converters, classifiers left outside."""

from __future__ import annotations

import hashlib
from typing import Any

import cv2
import numpy as np
import onnx
import onnx.utils
from onnx import TensorProto, compose, helper, numpy_helper

from fer_bench.deploy.session import FEATURES, IMAGES, MODEL, PROBABILITIES, ROWS, SCORES
from fer_bench.metrics import SMALLEST

OPSET, ML_OPSET, IR_VERSION = 18, 3, 9
GRAY_WEIGHTS = (0.299, 0.587, 0.114)
"""Of red, green and blue: OpenCV's."""


class Graph:
    """A graph under construction. Values are known by their names; what is the same is added once.

    images: the name of its input, uint8 (n, side, side) or RGB (n, side, side, 3). outside: classifiers that are no
    part of it, see `deploy.session`.
    """

    images = IMAGES

    def __init__(self, side: int, is_colour: bool = False) -> None:
        self.side, self.is_colour = side, is_colour
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._known: dict[Any, list[str]] = {}
        shape: list[str | int | None] = ["n", side, side, *([3] if is_colour else [])]
        self.outside: list[Any] = []
        self._inputs = [helper.make_tensor_value_info(self.images, TensorProto.UINT8, shape)]
        self._outputs: list[onnx.ValueInfoProto] = []

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Append a node; the name of its output, or a list of them where there are several."""
        key = operator, inputs, outputs, str(sorted(attributes.items()))
        names = [f"{operator.lower()}_{len(self.nodes)}_{at}" for at in range(outputs)]
        if key not in self._known:
            self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        names = self._known.setdefault(key, names)
        return names[0] if outputs == 1 else names

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """The name of an array that is part of the graph."""
        array, names = np.asarray(values, dtype), [f"constant_{len(self.constants)}"]
        key = array.shape, array.dtype.str, hashlib.sha256(np.ascontiguousarray(array).data).digest()
        if key not in self._known:
            self.constants.append(numpy_helper.from_array(array, names[0]))
        return self._known.setdefault(key, names)[0]

    def cast(self, name: str, kind: int = TensorProto.FLOAT) -> str:
        """`name` as another type."""
        return self.add("Cast", name, to=kind)

    def part(self, name: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """`name[start:stop:step]` along an axis."""
        return self.add("Slice", name, *(self.constant([one], np.int64) for one in (start, stop, axis, step)))

    def reshaped(self, name: str, *shape: int) -> str:
        """`name` in another shape: 0 keeps a dimension, -1 takes what is left."""
        return self.add("Reshape", name, self.constant(shape, np.int64))

    def mirrored(self, name: str) -> str:
        """Images (n, h, w, ...) with left and right swapped."""
        return self.part(name, 2, -1, np.iinfo(np.int64).min, -1)

    def embed(self, model: onnx.ModelProto, given: str, output: int = 0) -> str:
        """Append all nodes of `model`, whose only input is `given`; the name of its output of that number."""
        prefix = f"part_{len(self.nodes)}_"
        own = compose.add_prefix(model, prefix).graph
        source = own.input[0].name
        for node in own.node:
            node.input[:] = [given if name == source else name for name in node.input]
        self.nodes.extend(own.node)
        self.constants.extend(own.initializer)
        return own.output[output].name

    def ask(self, classifier: Any, rows: str, some_rows: np.ndarray, answers: np.ndarray) -> str:
        """What `classifier` says of `rows`: the graph gives these, and takes that.

        some_rows, answers: a few of them, and what it says of them.
        """
        number = len(self.outside)
        self.outside.append(classifier)
        self.nodes.append(helper.make_node("Identity", [rows], [f"{ROWS}{number}"]))
        kind = helper.np_dtype_to_tensor_dtype(some_rows.dtype)
        self._outputs.append(helper.make_tensor_value_info(f"{ROWS}{number}", kind, ["rows", *some_rows.shape[1:]]))
        scores = helper.make_tensor_value_info(f"{SCORES}{number}", TensorProto.FLOAT, ["rows", *answers.shape[1:]])
        self._inputs.append(scores)
        if answers.ndim == 2:
            return scores.name
        return self.add("MatMul", self.reshaped(scores.name, -1, 1), self.constant([[-0.5, 0.5]]))

    def models(self, probabilities: str, n_classes: int) -> dict[str, onnx.ModelProto]:
        """The finished model, MODEL, checked; and FEATURES, where classifiers are outside.

        probabilities: the name of its output, float32 (n, n_classes).
        """
        last = helper.make_node("Identity", [probabilities], [PROBABILITIES])
        found = helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["n", n_classes])
        graph = helper.make_graph(
            [*self.nodes, last], "fer_bench", self._inputs, [found, *self._outputs], self.constants
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(graph, producer_name="fer_bench", opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        if not self.outside:
            return {MODEL: model}
        parts = onnx.utils.Extractor(model)
        return {
            MODEL: parts.extract_model([one.name for one in self._inputs], [PROBABILITIES]),
            FEATURES: parts.extract_model([self.images], [one.name for one in self._outputs]),
        }


def resized(graph: Graph, images: str, to: int, is_colour: bool = False) -> str:
    """Float images of whole values (n, side, side[, 3]) at `to` pixels, by the rule of `data.resized`, rounded.

    It is OpenCV's to the last bit.
    """
    side = graph.side
    if side == to:
        return images
    planes = graph.add("Transpose", images, perm=[0, 3, 1, 2]) if is_colour else images
    whole = _shrunk(graph, planes, to) if side > to else _enlarged(graph, planes, to)
    return graph.add("Transpose", whole, perm=[0, 2, 3, 1]) if is_colour else whole


def _shrunk(graph: Graph, planes: str, to: int) -> str:
    """By area; `planes`: float (n, ..., side, side)."""
    rows = weights_of_resizing(graph.side, to)
    found = graph.add("MatMul", graph.add("MatMul", graph.constant(rows), planes), graph.constant(rows.T))
    half_up = graph.add("Floor", graph.add("Add", found, graph.constant(0.5)))
    return half_up if graph.side == 2 * to else graph.add("Round", found)


def _enlarged(graph: Graph, planes: str, to: int) -> str:
    """Between pixels, in whole numbers that lose their last bits where OpenCV's do."""
    at = ((np.arange(to) + 0.5) * (graph.side / to) - 0.5).astype(np.float32)
    first = np.floor(at)
    shares = np.rint(2048 * np.stack([first + 1 - at, at - first]))

    def weighed(values: str, axis: int) -> list[str]:
        """The pixel before each new one along `axis`, and the one behind it, by their shares of 2048."""
        found = []
        for pixels, share in zip((first, first + 1), shares, strict=True):
            taken = graph.add("Gather", values, graph.constant(pixels.clip(0, graph.side - 1), np.int64), axis=axis)
            found.append(graph.add("Mul", taken, graph.constant(share if axis == -1 else share[:, None], np.int32)))
        return found

    def divided(values: str, by: int) -> str:
        return graph.add("Div", values, graph.constant(by, np.int32))

    across = divided(graph.add("Add", *weighed(graph.cast(planes, TensorProto.INT32), -1)), 16)
    upper, lower = (divided(rows, 1 << 16) for rows in weighed(across, -2))
    total = graph.add("Add", graph.add("Add", upper, lower), graph.constant(2, np.int32))
    return graph.cast(divided(total, 4))


def gray(graph: Graph, images: str) -> str:
    """Float images (n, h, w[, 3]) as gray of whole values (n, h, w)."""
    if not graph.is_colour:
        return images
    weighted = graph.add("Mul", images, graph.constant(GRAY_WEIGHTS))
    total = graph.add("ReduceSum", weighted, graph.constant([3], np.int64), keepdims=0)
    return graph.add("Round", total)


def rescaled(graph: Graph, probabilities: str, temperature: float) -> str:
    """Probabilities at `temperature`, see `metrics.rescaled`."""
    logits = graph.add("Log", graph.add("Max", probabilities, graph.constant(SMALLEST)))
    return softmax(graph, logits, temperature)


def adjusted(graph: Graph, probabilities: str, log_prior: np.ndarray, tau: float) -> str:
    """Probabilities divided by exp(log_prior)^tau, see `metrics.adjust`."""
    return softmax(graph, graph.add("Sub", graph.add("Log", probabilities), graph.constant(tau * log_prior)))


def softmax(graph: Graph, scores: str, temperature: float = 1.0) -> str:
    """softmax(scores / temperature) over classes."""
    cooled = scores if temperature == 1 else graph.add("Div", scores, graph.constant(temperature))
    return graph.add("Softmax", cooled, axis=1)


def weights_of_resizing(side: int, to: int) -> np.ndarray:
    """What each of `to` pixels in a row takes of each of `side` pixels, float64 (to, side), as OpenCV has it."""
    return cv2.resize(np.eye(side), (side, to), interpolation=cv2.INTER_AREA if side > to else cv2.INTER_LINEAR)
