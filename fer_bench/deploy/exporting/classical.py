"""What classical models compute, as graphs: features of gray pixels, and a fitted scikit-learn classifier on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED

import numpy as np
import onnx
import onnxruntime

from fer_bench.deploy.exporting.graph import ML_OPSET, OPSET, Graph
from fer_bench.deploy.session import import_skops, question, untrusted_types
from fer_bench.errors import FerBenchError
from fer_bench.models import (
    HOG_EPSILON,
    HOG_MOST,
    SIFT_CELLS,
    SIFT_FLOOR,
    SIFT_GRIDS,
    SIFT_MOST,
    gradient_tables,
    pairs_of_classes,
)

if TYPE_CHECKING:
    from fer_bench.models import DenseSift, VisualWords

PLUGIN_FILE = "fer_bench_plugin_"
"""How the modules begin that files of plug-ins become."""


def features(graph: Graph, name: str, pixels: str, parameters: Mapping[str, Any], extractor: Any) -> str:
    """The features `name`, pixels, pca, hog or bovw, of float gray `pixels` (n, side, side), float32 (n, d)."""
    if name == "hog":
        return oriented_gradients(graph, pixels, **parameters)
    if name == "bovw":
        words, scale = visual_words(graph, pixels, extractor.parts[0]), extractor.scales[0]
        return _on_axes(
            graph, graph.add("Mul", words, graph.constant(scale)), extractor.axes.mean_, extractor.axes.components_
        )
    flat = graph.add("Div", graph.reshaped(pixels, 0, -1), graph.constant(255))
    if name == "pixels":
        return flat
    pca, kept = extractor.pca, extractor.kept
    return _on_axes(graph, flat, pca.mean_, pca.components_[kept] / np.sqrt(pca.explained_variance_[kept])[:, None])


def _on_axes(graph: Graph, values: str, mean: np.ndarray, axes: np.ndarray) -> str:
    """Coordinates of `values` (..., d) less their `mean` on `axes`, float (k, d)."""
    return graph.add("MatMul", graph.add("Sub", values, graph.constant(mean)), graph.constant(axes.T))


def oriented_gradients(graph: Graph, pixels: str, side: int, orientations: int, cell: int, block: int) -> str:
    """scikit-image's `hog` of float gray `pixels` (n, side, side): float32 (n, d).

    Gradients of whole pixels are whole numbers: the bin and the length of each is looked up in a table.
    """
    at, (bins, lengths) = _gradients(graph, pixels, side), gradient_tables(orientations)
    which = graph.add(
        "Unsqueeze", graph.add("Gather", graph.constant(bins, np.int32), at), graph.constant([1], np.int64)
    )
    length = graph.add("Unsqueeze", graph.add("Gather", graph.constant(lengths), at), graph.constant([1], np.int64))
    own = graph.add("Equal", which, graph.constant(np.arange(orientations).reshape(1, -1, 1, 1), np.int32))
    votes = graph.add("Mul", graph.cast(own), length)  # (n, orientations, side, side)
    cells = graph.add("AveragePool", votes, kernel_shape=[cell, cell], strides=[cell, cell])
    n = side // cell - block + 1
    histograms = graph.add("Transpose", cells, perm=[0, 2, 3, 1])
    parts = [
        graph.part(graph.part(histograms, 1, i, i + n), 2, j, j + n) for i in range(block) for j in range(block)
    ]  # fmt: skip
    together = graph.add("Concat", *parts, axis=3)
    clipped = graph.add("Min", _normed(graph, together), graph.constant(HOG_MOST))
    return graph.reshaped(_normed(graph, clipped), 0, -1)


def visual_words(graph: Graph, pixels: str, extractor: VisualWords) -> str:
    """What `extractor` makes of float gray `pixels` (n, side, side), float32 (n, parts * words * axes)."""
    sift, words = extractor.sift, extractor.vocabulary
    table = graph.constant(sift.votes)
    votes = graph.add("Gather", table, _gradients(graph, pixels, sift.side))  # (n, side, side, orientations)
    found = graph.add("Concat", *(_sift_of_grid(graph, votes, sift, *grid) for grid in SIFT_GRIDS), axis=1)
    seen = _on_axes(graph, found, extractor.axes.mean_, extractor.axes.components_)
    products, lengths = graph.add("MatMul", seen, graph.constant(words.T)), (words**2).sum(axis=1)
    nearness = graph.add("Sub", products, graph.constant(lengths / 2))
    nearest = graph.add("ArgMax", nearness, axis=2, keepdims=1)
    is_word = graph.cast(graph.add("Equal", nearest, graph.constant(np.arange(len(words)), np.int64)))
    parts = []
    for part in range(extractor.grid**2):
        here = graph.constant(np.flatnonzero(extractor.part == part), np.int64)
        of_word = graph.add("Transpose", graph.add("Gather", is_word, here, axis=1), perm=[0, 2, 1])
        total = graph.add("MatMul", of_word, graph.add("Gather", seen, here, axis=1))
        count = graph.add("ReduceSum", of_word, graph.constant([2], np.int64), keepdims=1)
        differences = graph.add("Sub", total, graph.add("Mul", count, graph.constant(words)))
        parts.append(graph.reshaped(differences, 0, -1))
    vectors = graph.add("Concat", *parts, axis=1)
    roots = graph.add("Mul", graph.add("Sign", vectors), graph.add("Sqrt", graph.add("Abs", vectors)))
    return graph.add("Div", roots, graph.add("Add", _length(graph, roots, 1), graph.constant(1e-6)))


def _sift_of_grid(graph: Graph, votes: str, sift: DenseSift, cell: int, step: int) -> str:
    """See `DenseSift`: descriptors of one grid, (n, n_descriptors, 128)."""
    pooling, window = sift.pooling(cell, step), sift.window()
    side, every, n = sift.side, cell // step, len(pooling) - sift.reach(cell, step)
    rows = graph.add("MatMul", graph.constant(pooling), graph.reshaped(votes, 0, side, -1))
    rows = graph.reshaped(rows, 0, len(pooling), side, -1)
    cells = graph.add("MatMul", graph.constant(pooling), rows)
    parts = [
        graph.part(graph.part(cells, 1, i * every, i * every + n), 2, j * every, j * every + n)
        for i in range(SIFT_CELLS) for j in range(SIFT_CELLS)
    ]  # fmt: skip
    weights = np.repeat(window.ravel(), sift.votes.shape[1])
    found = graph.add("Mul", graph.add("Concat", *parts, axis=3), graph.constant(weights))
    found = graph.reshaped(found, 0, n * n, len(weights))
    found = graph.add("Div", found, graph.add("Add", _length(graph, found, 2), graph.constant(SIFT_FLOOR)))
    found = graph.add("Min", found, graph.constant(SIFT_MOST))
    total = graph.add("ReduceSum", found, graph.constant([2], np.int64), keepdims=1)
    return graph.add("Sqrt", graph.add("Div", found, graph.add("Add", total, graph.constant(1e-6))))


def _length(graph: Graph, values: str, axis: int) -> str:
    return graph.add("ReduceL2", values, graph.constant([axis], np.int64), keepdims=1)


def _gradients(graph: Graph, pixels: str, side: int) -> str:
    """Where tables of gradients have that of each pixel, int32 (n, side, side), see `gradient_tables`."""
    down, right = _difference(graph, pixels, 1, side), _difference(graph, pixels, 2, side)
    shifted = [graph.cast(graph.add("Add", one, graph.constant(255)), onnx.TensorProto.INT32) for one in (down, right)]
    return graph.add("Add", graph.add("Mul", shifted[0], graph.constant(511, np.int32)), shifted[1])


def _difference(graph: Graph, pixels: str, axis: int, side: int) -> str:
    """The pixel after less the one before along `axis`; 0 at the edges."""
    inner = graph.add("Sub", graph.part(pixels, axis, 2, side), graph.part(pixels, axis, 0, side - 2))
    pads = np.zeros(6, np.int64)
    pads[[axis, axis + 3]] = 1
    return graph.add("Pad", inner, graph.constant(pads, np.int64))


def _normed(graph: Graph, values: str) -> str:
    square = graph.add("ReduceSum", graph.add("Mul", values, values), graph.constant([3], np.int64), keepdims=1)
    return graph.add("Div", values, graph.add("Sqrt", graph.add("Add", square, graph.constant(HOG_EPSILON**2))))


def outputs(graph: Graph, classifier: Any, rows: str, some_rows: np.ndarray) -> str:
    """What `classifier` says of `rows`: its probabilities, or its scores where it has none.

    some_rows: a few of them, float32 (m, d), on which its graph has to agree with it. A classifier that skl2onnx does
    not convert, or wrongly, stays outside of the graph.
    """
    from sklearn.svm import SVC

    if isinstance(classifier, SVC) and (classifier.kernel, classifier.decision_function_shape) == ("rbf", "ovr"):
        return support_vectors(graph, classifier, rows)
    plain, wanted = _plain(classifier), question(classifier)(some_rows)
    with suppress(Exception):  # converters fail in ways of their own
        model = _converted(plain, some_rows.shape[1])
        if _agree(onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"rows": some_rows})[1], wanted):
            return graph.embed(model, rows, output=1)
    with suppress(Exception):  # what is not of the class of scikit-learn at heart may lack something of it
        if _agree(question(plain)(some_rows), wanted):
            classifier = plain
    return graph.ask(classifier, rows, some_rows, wanted)


def stored(classifiers: Sequence[Any]) -> tuple[bytes, list[str]]:
    """The content of model.skops, and the types in it that skops does not trust by itself.

    Raises FerBenchError where skops is missing or cannot store one, and for a class of a plug-in's file, which whoever
    loads the bundle does not have.
    """
    skops = import_skops()
    names = ", ".join(type(one).__name__ for one in classifiers)
    try:
        content = skops.dumps(list(classifiers), compression=ZIP_DEFLATED)
        types = untrusted_types(content)
    except Exception as error:  # whatever classes of others do when they are asked for their state
        raise FerBenchError(
            f"{names}: neither skl2onnx nor skops can store it ({type(error).__name__}: {error})"
        ) from error
    if own := [name for name in types if name.startswith((PLUGIN_FILE, "__main__."))]:
        classes = ", ".join(name.rpartition(".")[2] for name in own)
        raise FerBenchError(
            f"{names}: skl2onnx does not convert it, and {classes} is of a file of yours, which whoever loads the "
            "bundle does not have: put that class into a package, and install it there and here"
        )
    return content, types


def _agree(found: Any, wanted: np.ndarray) -> bool:
    """Up to rounding, which may send a row down another branch of a tree."""
    return np.shape(found) == wanted.shape and float(np.isclose(found, wanted, rtol=0.01, atol=0.01).mean()) > 0.98


def _converted(classifier: Any, n_features: int) -> onnx.ModelProto:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    options = {id(classifier): {"zipmap": False}} if hasattr(classifier, "predict_proba") else None
    return to_onnx(
        classifier, initial_types=[("rows", FloatTensorType([None, n_features]))], options=options,
        target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
    )  # fmt: skip


def _plain(classifier: Any) -> Any:
    """`classifier` as the class of scikit-learn that it is a case of, by which skl2onnx and skops know it."""
    import copy

    from sklearn import ensemble

    classes = type(classifier).__mro__
    known = next((cls for cls in classes if cls.__module__.startswith("sklearn.")), None)
    faster = next((cls for cls in classes if cls.__module__.startswith("sklearnex.ensemble.")), None)
    plain = copy.copy(classifier)
    if faster:  # its trees are had by asking
        plain.__class__ = getattr(ensemble, faster.__name__)
        plain.estimators_ = classifier.estimators_
    elif known:
        plain.__class__ = known
    return plain


def support_vectors(graph: Graph, svm: Any, rows: str) -> str:
    """`decision_function` of an RBF SVM, one against the rest, or (n, 2) scores of two classes.

    Two products: the kernel with all support vectors, and the votes of all pairs of classes.
    """
    vectors = np.asarray(svm.support_vectors_, np.float64)
    inner = graph.add("MatMul", rows, graph.constant(2 * svm._gamma * vectors.T))
    own = graph.add("ReduceSum", graph.add("Mul", rows, rows), graph.constant([1], np.int64), keepdims=1)
    own = graph.add("Mul", own, graph.constant(-svm._gamma))
    norms = graph.constant(-svm._gamma * (vectors**2).sum(axis=1))
    kernel = graph.add("Exp", graph.add("Add", graph.add("Add", inner, own), norms))
    n_classes = len(svm.classes_)
    weights, signs = pairs_of_classes(np.asarray(svm.dual_coef_), np.asarray(svm._n_support))
    margins = graph.add("Add", graph.add("MatMul", kernel, graph.constant(weights)), graph.constant(svm.intercept_))
    if n_classes == 2:
        return graph.add("MatMul", margins, graph.constant([[-0.5, 0.5]]))
    is_first = graph.cast(graph.add("GreaterOrEqual", margins, graph.constant(0)))
    votes = graph.add("MatMul", is_first, graph.constant(signs))
    votes = graph.add("Add", votes, graph.constant(np.arange(n_classes)))
    sureness = graph.add("MatMul", margins, graph.constant(signs))
    below = graph.add("Mul", graph.add("Add", graph.add("Abs", sureness), graph.constant(1)), graph.constant(3))
    return graph.add("Add", votes, graph.add("Div", sureness, below))
