"""Records of earlier schemas, as JSON has them, brought to the present one: the only place that knows them."""

from __future__ import annotations

import re
from typing import Any

_ON_GPU = "on a GPU"
_MEMBERS = "mean of"
_ADJUSTED = re.compile(r"probabilities of (\S+), tau")
_DETERMINISTIC = ("majority", "pca-logistic", "pca-svm", "hog-svm")
_DRAWING = ("over-sampling", "under-sampling", "smote")
"""Models that no seed changed, and strategies that drew rows for them, before records said whether one does."""
_PRECISIONS = ("float32", "bfloat16")
_FOLD = re.compile(r"([1-9]\d{0,2})/([1-9]\d{0,2})")


def upgrade(raw: Any) -> Any:
    """`raw` with the fields of today where it is a record of before; anything else as it is.

    What is not as records of before have it is left for the schema to refuse.
    """
    if not isinstance(raw, dict):
        return raw
    return _with_precision(_of_schema_2(raw) if raw.get("schema_version") == 1 else raw)


def _with_precision(raw: dict[str, Any]) -> dict[str, Any]:
    """`raw` with the field that a note was in its first place."""
    notes = raw.get("notes")
    if "precision" in raw or not isinstance(notes, list) or not notes or notes[0] not in _PRECISIONS:
        return raw
    return {**raw, "precision": notes[0], "notes": notes[1:]}


def _of_schema_2(raw: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {**raw, "schema_version": 2}
    notes, parameters = record.get("notes", []), record.get("parameters", {})
    if isinstance(words := record.get("weights"), str):
        del record["weights"]
        record |= {"weights_note": words, "initial_weights": words.partition(" ")[0] or None}
    if isinstance(notes, list):
        record |= _from_notes([str(note) for note in notes], is_network=record.get("family") == "deep")
    if isinstance(parameters, dict):
        own = dict(parameters)
        record |= {name: own.pop(name, None) for name in ("plugin_code", "base_predictions")}
        record["members"] = own.pop("weights", {}) if record.get("family") == "ensemble" else {}
        record["parameters"] = own
    if isinstance(spec := record.get("spec"), dict):
        if record.get("stochastic") is None and spec.get("model") in _DETERMINISTIC:
            record["stochastic"] = spec.get("strategy") in _DRAWING
        record["spec"] = _with_numbered_fold(spec)
    if record.get("status") != "success":
        record["device"] = None
    return record


def _from_notes(notes: list[str], is_network: bool) -> dict[str, Any]:
    """Device and base from the notes that said them, and the notes that are left."""
    adjusted = [found[1] for note in notes if (found := _ADJUSTED.match(note))]
    device = "gpu" if _ON_GPU in notes else "cpu"
    return {
        "device": device if is_network else None,
        "adjusted_from": adjusted[0] if adjusted else None,
        "notes": [note for note in notes if not (note.startswith((_ON_GPU, _MEMBERS)) or _ADJUSTED.match(note))],
    }


def _with_numbered_fold(spec: dict[str, Any]) -> dict[str, Any]:
    """`spec` with fold 2 of 5 for "2/5"."""
    fold = spec.get("fold", "")
    if fold == "":
        return {**spec, "fold": 0, "n_folds": 0}
    found = _FOLD.fullmatch(fold) if isinstance(fold, str) else None
    return {**spec, "fold": int(found[1]), "n_folds": int(found[2])} if found else spec
