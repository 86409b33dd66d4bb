"""From a finished run to a bundle: its graph, the proof that it answers as the run did, and what people must know."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench import cache, metrics
from fer_bench.deploy.bundle import CARD, EXAMPLE, LITERT, PAGE, read_card
from fer_bench.deploy.exporting import classical, networks
from fer_bench.deploy.exporting.card import card_of, example_code, page_of
from fer_bench.deploy.exporting.choosing import Source
from fer_bench.deploy.exporting.features import features
from fer_bench.deploy.exporting.graph import Graph, adjusted, rescaled, softmax
from fer_bench.deploy.exporting.litert import check_litert, litert_answers, litert_model
from fer_bench.deploy.exporting.parity import Parity, latency, parity
from fer_bench.deploy.exporting.quantizing import quantized
from fer_bench.deploy.exporting.refitting import Refitted, refitted
from fer_bench.deploy.session import FEATURES, MODEL, SKOPS, open_session
from fer_bench.errors import FerBenchError, listing, readable
from fer_bench.execution.environment import KERAS, import_quietly, set_defaults
from fer_bench.models import MODELS, STRATEGIES, need_tensorflow
from fer_bench.progress import Progress, silent
from fer_bench.records import Record

CALIBRATED_ON = 256
"""Training images that the ranges of int8 are taken from."""
AGAIN = (
    "Where a library, the data or the first weights have changed since, do the run again (--rerun all) and export that"
)
UNQUANTIZED = "Export it without --quantize"
FILES = frozenset({CARD, PAGE, EXAMPLE, MODEL, FEATURES, SKOPS, LITERT})
"""All that a bundle may hold."""


def export(
    source: Source, run_id: str, target: Path, *, quantize: bool = False, litert: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:  # fmt: skip
    """Write a run as a bundle into the folder `target`, in place of an earlier one; its card.

    quantize: whether it multiplies in int8. litert: whether to write model.tflite as well. Raises FerBenchError where
    the run cannot be exported, does not answer as it did, or `target` is something else than a bundle.
    """
    target = _checked(target)
    record, images = source.record(run_id), source.dataset.images
    if litert:
        check_litert(record)
    tested = images[source.split.test]
    stored, temperature = calibrated(source, record)
    recorded_in = "bfloat16" if any(one.precision == "bfloat16" for one in source.parts(record)) else "float32"
    proofs: dict[str, Parity] = {}

    def proven(name: str, found: np.ndarray, limits: str = recorded_in, advice: str = AGAIN) -> np.ndarray:
        labels, class_names = source.predictions.labels["test"], source.predictions.class_names
        proofs[name] = proof = parity(labels, stored, found, class_names, limits)
        if not proof.holds:
            raise FerBenchError(f"{run_id}: as {name} it does not answer as the run did: {proof}. {advice}")
        return found

    graph, output = graph_of(source, record, temperature, progress)
    models = graph.models(output, len(source.dataset.class_names))
    files, types = {name: model.SerializeToString() for name, model in models.items()}, list[str]()
    if graph.outside:
        files[SKOPS], types = classical.stored(graph.outside)
    progress(0.6, "comparing with the record")
    found = proven("float32", open_session(files, target, types).answers(tested))
    if litert:
        progress(0.7, "LiteRT")
        files[LITERT] = litert_model(source, record, temperature)
        proven("litert", litert_answers(files[LITERT], tested))
    if quantize:
        progress(0.8, "quantizing")
        files[MODEL] = quantized(models, images[source.split.train[:: len(source.split.train) // CALIBRATED_ON + 1]])
        found = proven("int8", open_session(files, target, types).answers(tested), "int8", UNQUANTIZED)
    progress(0.9, "measuring")
    card = card_of(source, record, found, proofs, latency(files, tested, types))
    needed = sum(len(content) for name, content in files.items() if name != LITERT)
    card |= {"temperature": temperature, "megabytes": round(needed / 1e6, 3), "types_to_trust": types}
    card["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    _write(target, files, card)
    return card


def _write(target: Path, files: Mapping[str, bytes], card: Mapping[str, Any]) -> None:
    """Put the bundle into the folder `target`, all of it or nothing."""

    def build(folder: Path) -> None:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        (folder / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / PAGE).write_text(page_of(card), encoding="utf-8")
        (folder / EXAMPLE).write_text(example_code(card), encoding="utf-8")

    cache.replace_folder(target, build, synced=True)


def _checked(target: Path) -> Path:
    """`target` without links. Raises FerBenchError where anything but a bundle would go, or it cannot be written."""
    folder = target.resolve()
    if Path.cwd().is_relative_to(folder):
        raise FerBenchError(f"--to {target}: is, or holds, the folder that you are in; give another one")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        try:
            read_card(folder)
        except FerBenchError:
            raise FerBenchError(f"--to {target}: is there and is no bundle; give a new folder") from None
        if others := [readable(path.name) for path in sorted(folder.iterdir()) if path.name not in FILES]:
            raise FerBenchError(f"--to {target}: holds more than a bundle; give a new folder\n{listing(others)}")
    above = next(parent for parent in folder.parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise FerBenchError(f"--to {target}: {above} is no folder that can be written to")
    return folder


def calibrated(source: Source, record: Record) -> tuple[np.ndarray, float]:
    """The run's stored test probabilities at the temperature that suits the validation images, and that.

    Raises FerBenchError where it has none.
    """
    stored = source.predictions.stored(source.run(record.run_id))
    if missing := [subset for subset in ("validation", "test") if subset not in stored]:
        raise FerBenchError(f"{record.run_id} cannot be exported: no {' and '.join(missing)} probabilities are stored")
    return metrics.rescaled(stored["test"], source.predictions.labels["validation"], stored["validation"])


def graph_of(source: Source, record: Record, temperature: float, progress: Progress = silent) -> tuple[Graph, str]:
    """The graph from images, uint8 (n, side, side[, 3]) as the dataset has them, to probabilities at `temperature`.

    And the name of these in it.
    """
    shape = source.dataset.images.shape[1:]
    graph = Graph(shape[0], is_colour=len(shape) == 3)
    found = probabilities(graph, graph.cast(graph.images), source, record, progress)
    return graph, rescaled(graph, found, temperature)


def probabilities(graph: Graph, images: str, source: Source, record: Record, progress: Progress) -> str:
    """The run's own probabilities of float `images`: of an ensemble the mean over its members."""
    if record.members:
        parts = [
            graph.add("Mul", probabilities(graph, images, source, source.record(run_id), progress), graph.constant(w))
            for run_id, w in sorted(record.members.items())
        ]
        return graph.add("Sum", *parts)
    if record.adjusted_from:
        base = probabilities(graph, images, source, source.record(record.adjusted_from), progress)
        labels = source.dataset.labels[source.split.train]
        plan = STRATEGIES[record.spec.strategy].plan(labels, len(source.dataset.class_names), record.spec.seed)
        assert plan.log_prior is not None
        return adjusted(graph, base, plan.log_prior, float(record.parameters["tau"]))
    progress(0.1, f"{record.run_id}: loading its weights, or fitting it again")
    is_network = MODELS[record.spec.model].is_network
    if is_network:
        set_defaults({**KERAS, "TF_CPP_MIN_LOG_LEVEL": "3"})  # a machine without a GPU is no error
        import_quietly(["tensorflow"])
        need_tensorflow()
    fitted = refitted(source, record)
    return networks.network(graph, fitted.classifier, images) if is_network else _classical(graph, fitted, images)


def _classical(graph: Graph, fitted: Refitted, images: str) -> str:
    """Probabilities, of features with mirrors those of the mean over an image and its own."""
    if fitted.views == 2:
        images = graph.add("Concat", images, graph.mirrored(images), axis=0)
    rows = features(graph, images, fitted.extractor)
    found = classical.outputs(graph, fitted.classifier, rows, fitted.some_rows)
    if fitted.views == 2:
        found = graph.add("Mean", *graph.add("Split", found, outputs=2, axis=0, num_outputs=2))
    return found if fitted.temperature is None else softmax(graph, found, fitted.temperature)
