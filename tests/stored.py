"""A results folder as a suite leaves it, and an audit, made without training anything."""

import csv
import gzip
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from fer_bench import metrics
from fer_bench.analysis import load_leaderboard
from fer_bench.data import ids_fingerprint, joint_fingerprint
from fer_bench.records import Audit, ImageFacts, Record, ResultsFolder, RunSpec

SUBSETS = ("validation", "test")


class StoredRuns:
    """One split, or one fold, of three classes, and runs whose probabilities are kept."""

    CLASS_NAMES = ("top", "middle", "bottom")

    def __init__(
        self, path: Path, n_images: int = 90, prefix: str = "row", fold: int = 0, n_folds: int = 0, split: str = ""
    ) -> None:
        self.folder = ResultsFolder(path)
        self.folder.prepare()
        self.fold, self.n_folds = fold, n_folds
        self.labels = {name: np.arange(n_images) % 3 for name in SUBSETS}
        starts = {"train": 0, "validation": n_images, "test": 2 * n_images}
        self.ids = {name: [f"{prefix}-{start + row:03}" for row in range(n_images)] for name, start in starts.items()}
        self.split = split or ids_fingerprint(self.ids)
        self.write_split(self.labels)

    @classmethod
    def folds(cls, path: Path, n_folds: int = 3, n_images: int = 30) -> "list[StoredRuns]":
        """One for each fold, in one results folder."""
        parts = [cls(path, n_images, f"fold-{fold}", fold, n_folds) for fold in range(1, n_folds + 1)]
        joint = joint_fingerprint([part.split for part in parts])
        for part in parts:
            part.split_path.unlink()
        return [cls(path, n_images, f"fold-{part.fold}", part.fold, n_folds, joint) for part in parts]

    def write_split(self, labels: dict[str, np.ndarray]) -> None:
        """`split-<fingerprint>.csv.gz`, without the labels of train."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["sample_id", "subset", "label"])
        for subset, ids in self.ids.items():
            for row, sample_id in enumerate(ids):
                label = self.CLASS_NAMES[labels[subset][row]] if subset in labels else ""
                writer.writerow([sample_id, subset, label])
        self.split_path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))

    @property
    def split_path(self) -> Path:
        """Where the split is stored."""
        return self.folder.split_path(self.split, self.fold)

    def predictions(self, skill: float, seed: int = 0) -> dict[str, np.ndarray]:
        """Random probabilities, float32 (n, 3), that lean towards the label by `skill`."""
        rng = np.random.default_rng(seed)
        logits = {name: rng.normal(size=(len(rows), 3)) + skill * np.eye(3)[rows] for name, rows in self.labels.items()}
        return {name: metrics.probabilities_from_scores(rows, 1.0) for name, rows in logits.items()}

    def record(
        self, model: str, probabilities: dict[str, np.ndarray], strategy: str = "none", data: str = "d" * 16,
        seed: int = 0, asked: dict[str, Any] | None = None, **fields: Any,
    ) -> Record:  # fmt: skip
        """That of a finished run; asked: further fields of its spec."""
        spec = RunSpec(
            model, strategy, seed, data, self.split, fold=self.fold, n_folds=self.n_folds, **(asked or {})
        )  # fmt: skip
        scores = {
            name: metrics.score(self.labels[name], rows, self.CLASS_NAMES) for name, rows in probabilities.items()
        }
        values = {
            "run_id": spec.run_id, "status": "success", "spec": spec, "dataset": self.folder.path.name,
            "family": "classical", "features": "pca", "class_names": list(self.CLASS_NAMES),
            "n_train": len(self.ids["train"]), "n_validation": len(self.ids["validation"]),
            "n_test": len(self.ids["test"]), "split_source": "drawn", "started": "2026-01-01T00:00:00+00:00",
            "command": "python -m fer_bench run", **scores,
        }  # fmt: skip
        return Record(**(values | fields))

    def add(self, model: str, probabilities: dict[str, np.ndarray] | None = None, *args: Any, **fields: Any) -> Record:
        """Put a run on record, as `record` makes it; one without probabilities stores none."""
        record = self.record(model, probabilities or {}, *args, **fields)
        work = self.folder.work_folder(record.run_id)
        if probabilities:
            arrays = {f"{name}_probabilities": rows for name, rows in probabilities.items()}
            arrays |= {f"{name}_ids": np.array(self.ids[name]) for name in probabilities}
            np.savez(work / "predictions.npz", **arrays)
        with self.folder.lock(record.run_id):
            self.folder.commit(record, work)
        return record

    def find(self, model: str) -> Record:
        """The first record of `model`."""
        return next(record for record in self.folder.records() if record.spec.model == model)

    def predictions_path(self, record: Record) -> Path:
        """Where the probabilities of a run are."""
        return self.folder.runs / record.run_id / "predictions.npz"

    def rewrite(self, record: Record, **fields: Any) -> None:
        """Overwrite fields of a record on disk, as a forger would."""
        path = self.folder.record_path(record.run_id)
        path.write_text(record.model_copy(update=fields).model_dump_json(indent=1))

    def mark_copies(
        self, copied: np.ndarray, votes: np.ndarray | None = None, vote_names: tuple[str, ...] = ()
    ) -> None:
        """Say which validation images, and which test images, have near copies in train: bool (n,) for both alike.

        votes: int (n, v) for both alike.
        """
        ids, n = np.array(self.ids["validation"] + self.ids["test"]), len(copied)
        counted = () if votes is None else (np.tile(votes, (2, 1)), vote_names)
        copies = np.tile(np.where(copied, "near", ""), 2)
        ImageFacts(ids, np.repeat(SUBSETS, n), copies, *counted).write(self.folder.images_path(self.split))

    def write_audit(self, **fields: Any) -> None:
        """The audit of this split, see `make_audit`; near_in_train: of validation and of test."""
        near = fields.pop("near_in_train", 0)
        counts, n = np.bincount(self.labels["test"]), len(self.labels["test"])
        subsets = {
            name: subset_audit(counts.tolist(), near_in_train=near if name in SUBSETS else 0) for name in self.ids
        }
        majority = float((self.labels["validation"] == counts.argmax()).mean())
        values = {
            "split_fingerprint": self.split, "class_names": list(self.CLASS_NAMES), "subsets": subsets,
            "split_source": "drawn", "images": 3 * n, "unique_images": 3 * n,
            "imbalance_ratio": counts.max() / counts.min(),
            "near": {"groups": near, "images": 3 * near, "largest": 3, "across": near, "conflicting": 0},
            "canary": {"images": n, "nearest_neighbour": 0.42, "linear": 0.36, "gradients": 0.0, "majority": majority},
        }  # fmt: skip
        self.folder.audit_path().write_text(make_audit(**(values | fields)).model_dump_json())


NATURAL = [28, 3, 28, 50, 34, 22, 35]
"""Images per class of a small and imbalanced subset."""


def subset_audit(counts: list[int], **fields: Any) -> dict[str, Any]:
    """A SubsetAudit, without copies."""
    none = dict.fromkeys(("blank", "exact_in_train", "near_in_train", "exact_in_validation"), 0)
    return {"drawn": False, "images": int(sum(counts)), "class_counts": list(counts), **none, **fields}


def make_audit(**fields: Any) -> Audit:
    """The audit of clean data of seven imbalanced classes; `fields` as they are."""
    nothing = {"groups": 0, "images": 0, "largest": 1, "across": 0, "conflicting": 0}
    values = {
        "dataset": "faces", "data_fingerprint": "d" * 16, "split_fingerprint": "s" * 16, "split_source": "official",
        "class_names": list("abcdefg"), "images": 2000, "unique_images": 2000, "imbalance_ratio": 16.7,
        "class_sorted": False, "fer2013": False, "fer2013_differences": [], "exact": nothing, "near": nothing,
        "near_pairs": 0, "mirrored_pairs": 0, "near_threshold": 0.85, "straddling_groups": None, "blank_ids": [],
        "canary": {"images": 200, "nearest_neighbour": 0.42, "linear": 0.36, "gradients": 0.0, "majority": 0.25},
        "n_folds": 0, "grouped_by": "", "groups_from": "", "n_groups": 0, "appearance": {}, "notes": (),
        "subsets": {
            "train": subset_audit([8 * n for n in NATURAL]), "validation": subset_audit(NATURAL),
            "test": subset_audit(NATURAL),
        },
    }  # fmt: skip
    return Audit(**(values | fields))


def board_of(runs: StoredRuns, **given):
    """The leaderboard of `runs`."""
    return load_leaderboard(runs.folder, **given)


def without(runs: StoredRuns, *models: str) -> None:
    """Take the runs of `models` away."""
    for record in runs.folder.records():
        if record.spec.model in models:
            shutil.rmtree(runs.folder.runs / record.run_id)
