"""Data as planning sees them, without an image."""

from pathlib import Path

import pytest

from fer_bench.execution.preparation import Prepared
from fer_bench.records.store import ResultsFolder


@pytest.fixture
def facts(tmp_path):
    """facts(n_folds): what is known of data of two classes, their results in the test's folder."""

    def of(n_folds: int = 0, path: Path = tmp_path) -> Prepared:
        counts = dict.fromkeys(range(1, n_folds + 1) or [0], (1, 1, 1))
        results = ResultsFolder(path)
        return Prepared("tiny", path, path, "data", "split", "drawn", ("a", "b"), counts, (), results)

    return of
