"""What a record or an audit may hold: a crafted or damaged file is refused before anything is made of it."""

import json

import pytest
from pydantic import ValidationError

from fer_bench.errors import FerBenchError
from fer_bench.records.audit import Audit
from fer_bench.records.schema import Record


def changed(content: dict, path: str, value) -> dict:
    """A copy of `content` with `value` at `path`, names with dots between."""
    *outer, last = path.split(".")
    copy = part = json.loads(json.dumps(content))
    for name in outer:
        part = part[int(name)] if isinstance(part, list) else part[name]
    part[last] = value
    return copy


@pytest.fixture
def record(stored_runs) -> dict:
    return json.loads(stored_runs.folder.records()[0].model_dump_json())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.fold", 1),
        ("spec.n_folds", 99999999),
        ("spec.parameters", [["a", {}]]),
        ("test.per_class", []),
        ("test.n_images", 0),
        ("test.confusion", [[-1]]),
        ("class_names", ["bottom", "middle", "top"]),
        ("surprise", 1),
    ],
)
def test_a_crafted_record_is_refused(record, path, value):
    assert Record.model_validate(record)
    with pytest.raises(ValidationError):
        Record.model_validate(changed(record, path, value))


AUDIT = {
    "dataset": "faces", "data_fingerprint": "d", "split_fingerprint": "s", "split_source": "drawn",
    "class_names": ["a", "b"], "images": 30, "unique_images": 30, "imbalance_ratio": 1.0, "class_sorted": False,
    "fer2013": False, "fer2013_differences": [], "near_pairs": 0, "mirrored_pairs": 0, "near_threshold": 0.9,
    "straddling_groups": None, "blank_ids": [],
    "n_folds": 0, "grouped_by": "", "groups_from": "", "n_groups": 0, "appearance": {}, "notes": (),
    "canary": {"images": 10, "nearest_neighbour": 0.5, "linear": 0.5, "gradients": 0.5, "majority": 0.5},
    **{
        name: {"groups": 0, "images": 0, "largest": 0, "across": 0, "conflicting": 0} for name in ("exact", "near")
    },
    "subsets": {
        name: {
            "drawn": True, "images": 10, "class_counts": [5, 5], "blank": 0, "exact_in_train": 0, "near_in_train": 0,
            "exact_in_validation": 0,
        }
        for name in ("train", "validation", "test")
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("subsets", {}),
        ("subsets.test.images", 0),
        ("subsets.test.class_counts", [10]),
        ("subsets.train.class_counts", [-1, 5]),
        ("canary.images", 0),
    ],
)
def test_a_crafted_audit_is_one_message(tmp_path, path, value):
    file = tmp_path / "audit.json"
    file.write_text(json.dumps(AUDIT))
    assert Audit.load(file).images == 30
    file.write_text(json.dumps(changed(AUDIT, path, value)))
    with pytest.raises(FerBenchError, match=r"audit\.json: .*delete it and run"):
        Audit.load(file)
