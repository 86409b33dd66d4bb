"""Splits and folds: who trains, who selects, who is scored."""

from fer_bench.data.splits.split import (
    Split,
    fold_numbers,
    ids_fingerprint,
    joint_fingerprint,
    make_folds,
    make_split,
    split_csv,
    stored_split,
)  # fmt: skip

__all__ = [
    "Split", "fold_numbers", "ids_fingerprint", "joint_fingerprint", "make_folds", "make_split", "split_csv",
    "stored_split",
]  # fmt: skip
