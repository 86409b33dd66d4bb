"""What fitted classifiers of scikit-learn's kind answer, as graphs; those that no graph is known for, stored."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from zipfile import ZIP_DEFLATED

import numpy as np
import onnx
import onnxruntime

from fer_bench.deploy.exporting.graph import ML_OPSET, OPSET, Graph
from fer_bench.deploy.session import needed, question, untrusted_types
from fer_bench.errors import FerBenchError
from fer_bench.models import pairs_of_classes

PLUGIN_FILE = "fer_bench_plugin_"
"""How the modules begin that files of plug-ins become."""


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
    skops = needed("skops.io")
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
