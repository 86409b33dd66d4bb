"""The card of a bundle: what it is, where it comes from, how good it is and for whom; model.json and its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np

from fer_bench import __version__, metrics
from fer_bench.analysis.bootstrap import Resamples, influence, score_draws, share_interval
from fer_bench.analysis.findings import people_unknown
from fer_bench.deploy.bundle import EXAMPLE, FORMAT
from fer_bench.deploy.exporting.choosing import Source
from fer_bench.deploy.exporting.parity import Latency, Parity
from fer_bench.deploy.faces import usual_framing
from fer_bench.deploy.session import FEATURES, IMAGES, MODEL, PROBABILITIES, SCORES, SKOPS
from fer_bench.execution.environment import versions
from fer_bench.models import FEATURES as EXTRACTORS
from fer_bench.models import MODELS, features_card
from fer_bench.records import Record
from fer_bench.report.text import environment

TOOLS = ("numpy", "onnx", "onnxruntime", "skl2onnx", "skops", "tf2onnx", "tensorflow", "keras", "scikit-learn")
BOUNDS = (0.025, 0.975)


def card_of(
    source: Source, record: Record, found: np.ndarray, proofs: Mapping[str, Parity], timed: Latency
) -> dict[str, Any]:
    """All of model.json but what is known of the written file. found: the bundle's test probabilities, float (n, k)."""
    spec, shape = record.spec, source.dataset.images.shape[1:]
    return {
        "format": FORMAT,
        "fer_bench": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": record.run_id,
        "model": spec.model,
        "strategy": spec.strategy,
        "summary": "an ensemble" if record.members else MODELS[spec.model].summary,
        "family": record.family,
        "classes": list(record.class_names),
        "input": {
            "name": IMAGES,
            "dtype": "uint8",
            "shape": ["n", *shape],
            "side": shape[0],
            "channels": 3 if len(shape) == 3 else 1,
            "framing": usual_framing(source.dataset.images[source.split.train]),
        },
        "preprocessing": {one.run_id: _preprocessing(one) for one in source.parts(record)},
        "output": {"name": PROBABILITIES, "dtype": "float32", "shape": ["n", len(record.class_names)]},
        "arithmetic": "int8" if "int8" in proofs else "float32",
        "data": _data(source, record),
        "training": {
            "seed": spec.seed, "budget": spec.budget, "tuned": spec.tuned, "parameters": dict(spec.parameters),
            "initial_weights": record.initial_weights, "weights_note": record.weights_note,
            "n_parameters": record.n_parameters, "device": record.device, "members": record.members,
            "versions": record.environment.versions if record.environment else {}, "command": record.command,
        },
        "scores": scores_of(source, found),
        "slices": _slices(source, record),
        "parity": {name: {**asdict(proof), "holds": proof.holds} for name, proof in proofs.items()},
        "latency": asdict(timed),
        "versions": versions(TOOLS),
    }  # fmt: skip


def _preprocessing(record: Record) -> dict[str, Any]:
    """What is done to images inside of the bundle before its classifier sees them."""
    card = MODELS[record.spec.model]
    if card.image:
        return {**asdict(card.image), "mirror": True}
    features = features_card(EXTRACTORS[card.features], dict(record.spec.parameters))
    return {"features": features.name, **features.parameters}


def scores_of(source: Source, found: np.ndarray) -> dict[str, Any]:
    """Scores of test probabilities, on all test images and on those without a copy in train, where these are known."""
    clean = source.board.clean
    subsets = {"test": np.ones(len(found), dtype=bool)} | ({} if clean is None else {"clean": clean})
    return {name: _scores(source, found, rows) for name, rows in subsets.items()}


def _scores(source: Source, found: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    names, groups = source.predictions.class_names, source.predictions.groups("test")
    labels, probabilities = source.predictions.labels["test"][rows], found[rows]
    groups = None if groups is None else groups[rows]
    scores, predicted = metrics.score(labels, probabilities, names), probabilities.argmax(axis=1)
    draws = score_draws(Resamples.of(labels, len(names), groups=groups), predicted[None])[0]
    effects = influence(labels, len(names), predicted, groups)
    intervals = {
        name: [round(bound, 4) for bound in share_interval(draws[0, at], draws[1:, at], effects[:, at])]
        for at, name in enumerate(("accuracy", "macro_f1"))
    }
    recalls = np.quantile(draws[1:, 2:].clip(0, 1), BOUNDS, axis=0).T.round(4).tolist()
    return {
        "n_images": len(labels),
        **{name: round(getattr(scores, name), 4) for name in ("accuracy", "macro_f1", "balanced_accuracy", "ece")},
        "log_loss": round(scores.log_loss or 0.0, 4),
        "intervals": intervals,
        "per_class": [
            {**one.model_dump(), "recall_interval": interval}
            for one, interval in zip(scores.per_class, recalls, strict=True)
        ],
        "confusion": scores.confusion,
    }


def _data(source: Source, record: Record) -> dict[str, Any]:
    board = source.board
    data, audit, row = board.data, board.audit, board.runs.at[record.run_id, "row"]
    is_suspect = row in board.unranked.index and board.unranked.at[row, "suspect"]
    suspicions = board.unranked.at[row, "reasons"] if is_suspect else board.suspicions
    test = audit.subsets["test"] if audit else None
    return {
        "name": data.name, "fingerprint": data.fingerprint, "split_fingerprint": data.split_fingerprint,
        "split": data.split_source,
        "n_train": data.n_train, "n_validation": data.n_validation, "n_test": data.n_test,
        "test_with_copy_in_train": test.exact_in_train + test.near_in_train if test else None,
        "grouped_by": data.grouped_by, "n_groups": data.n_groups,
        "people_unknown": people_unknown(data.name, data.grouped_by) is not None,
        "leak_suspicions": [one.code for one in suspicions], "notes": list(data.notes),
    }  # fmt: skip


def _slices(source: Source, record: Record) -> list[dict[str, Any]]:
    """Accuracy of the run's row on slices of the test images, the worst first; none without slices."""
    slices, runs = source.board.slices, source.board.runs
    if not len(slices):
        return []
    own = slices[slices["row"] == runs.at[record.run_id, "row"]].sort_values("accuracy")
    columns = ["slice", "value", "n_images", "accuracy", "accuracy_low", "accuracy_high", "is_small", "is_worse"]
    return own[columns].round(4).to_dict("records")


def page_of(card: Mapping[str, Any]) -> str:
    """MODEL_CARD.md."""
    return environment(is_markdown=True).get_template("model_card.md.j2").render(card)


def example_code(card: Mapping[str, Any]) -> str:
    """example.py: a file's probabilities, without fer_bench."""
    side, gray = card["input"]["side"], card["input"]["channels"] == 1
    libraries, imported, asking = ["onnxruntime", "opencv-python-headless"], "import onnxruntime", ""
    if SKOPS in card["files"]:
        libraries += ["scikit-learn", "skops"]
        imported += "\nimport skops.io"
        asking = f'''
features = onnxruntime.InferenceSession(folder / "{FEATURES}")
classifiers = skops.io.load(folder / "{SKOPS}", trusted={card["types_to_trust"]})
for number, (classifier, rows) in enumerate(zip(classifiers, features.run(None, given))):
    ask = getattr(classifier, "predict_proba", None) or classifier.decision_function
    given[f"{SCORES}{{number}}"] = ask(rows).astype("float32")'''
    return f'''"""python {EXAMPLE} face.jpg: what a square image of a face shows. Needs {", ".join(libraries)}."""

import json
import sys
from pathlib import Path

import cv2
{imported}

folder = Path(__file__).parent
classes = json.loads((folder / "model.json").read_text(encoding="utf-8"))["classes"]
image = cv2.cvtColor(cv2.imread(sys.argv[1]), cv2.COLOR_BGR2{"GRAY" if gray else "RGB"})
how = cv2.INTER_AREA if min(image.shape[:2]) > {side} else cv2.INTER_LINEAR
face = cv2.resize(image, ({side}, {side}), interpolation=how)
given = {{"{IMAGES}": face[None]}}{asking}
(probabilities,) = onnxruntime.InferenceSession(folder / "{MODEL}").run(None, given)
for probability, name in sorted(zip(probabilities[0].tolist(), classes), reverse=True):
    print(f"{{probability:6.1%}} {{name}}")
'''
