"""What a bundle computes: a graph by onnxruntime and, where it has one, what no graph is known for by scikit-learn.

A classifier that skl2onnx cannot convert stays itself, in model.skops. Another graph, features.onnx, then gives the
rows that it is asked about, and model.onnx takes its scores; of an ensemble there may be several.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench.errors import FerBenchError

MODEL, FEATURES, SKOPS = "model.onnx", "features.onnx", "model.skops"
IMAGES, ROWS, SCORES, PROBABILITIES = "images", "rows_", "scores_", "probabilities"
"""What goes into graphs and comes out of them; rows and scores are numbered."""
BATCH = 64
"""Images that are predicted together: more take more memory, and no less time."""


class Session:
    """A model that is ready to answer. Safe to use from several threads.

    graph: an `onnxruntime.InferenceSession`. features: another, whose rows go to `classifiers`.
    """

    def __init__(self, classifiers: Sequence[Any], graph: Any, features: Any = None) -> None:
        self.graph, self._features, self._ask = graph, features, [question(one) for one in classifiers]

    def answers(self, squares: np.ndarray) -> np.ndarray:
        """What the model says of uint8 (n, side, side[, 3]), n > 0: float32 (n, k)."""
        batches = (np.ascontiguousarray(squares[start : start + BATCH]) for start in range(0, len(squares), BATCH))
        return np.concatenate([self._of_batch(batch) for batch in batches])

    def _of_batch(self, images: np.ndarray) -> np.ndarray:
        given = {IMAGES: images}
        rows = self._features.run(None, given) if self._features else ()
        for number, (ask, own) in enumerate(zip(self._ask, rows, strict=True)):
            given[f"{SCORES}{number}"] = ask(own).astype("float32")
        return self.graph.run(None, given)[0]


def question(classifier: Any) -> Any:
    """How `classifier` is asked: by its probabilities, or its scores where it has none."""
    return getattr(classifier, "predict_proba", None) or classifier.decision_function


def open_session(
    files: Mapping[str, bytes], folder: Path, trust: Collection[str] = (), n_threads: int = 0
) -> Session:  # fmt: skip
    """The model in `files`, MODEL or all three, on the CPU.

    folder: where they lie, for messages. trust: see `load_model`. n_threads: of one answer, 0 for as many as there are
    cores. Raises FerBenchError where a library is missing or cannot read its file, and for types that are not trusted.
    """
    graphs = [_graph(files[name], folder / name, n_threads) for name in (MODEL, FEATURES) if name in files]
    return Session(_classifiers(files[SKOPS], folder / SKOPS, trust) if SKOPS in files else (), *graphs)


def _graph(content: bytes, path: Path, n_threads: int) -> Any:
    onnxruntime = needed("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = n_threads
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own, without a common one
        raise FerBenchError(f"{path}: onnxruntime {onnxruntime.__version__} cannot load it ({error})") from error


def untrusted_types(content: bytes) -> list[str]:
    """Types in a skops file that skops does not trust by itself."""
    return needed("skops.io").get_untrusted_types(data=content)


def _classifiers(content: bytes, path: Path, trust: Collection[str]) -> list[Any]:
    """The classifiers in `content`. skops imports nothing and makes no object before all types are trusted."""
    skops = needed("skops.io")
    try:
        if strange := [name for name in untrusted_types(content) if name not in trust]:
            raise FerBenchError(
                f"{path}: holds types that skops does not trust: they run code of theirs, or can be made to do harm. "
                f"Where you trust whoever made the file, allow them: {' '.join(f'--trust {name}' for name in strange)}"
            )
        return skops.loads(content, trusted=[*trust])
    except ImportError as error:
        raise FerBenchError(f"{path}: needs the package {error.name}, which is not installed") from error
    except (AttributeError, LookupError, TypeError, ValueError, OSError) as error:
        raise FerBenchError(f"{path}: cannot be loaded ({type(error).__name__}: {error})") from error


def needed(module: str) -> Any:
    """A module of the extra `predict`. Raises FerBenchError where it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise FerBenchError(f"{package} is not installed: `pip install 'fer_bench[predict]'` brings it") from None
