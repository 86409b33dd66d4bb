"""Two workers of a Dask cluster against one, a thread each: the same plan, so the ratio is what counts."""

import os
import time

import numpy as np
import pytest

from fer_bench.data.dataset import Dataset
from fer_bench.data.splits import Split
from fer_bench.execution.cluster import connect
from fer_bench.execution.plan import CLASSICAL, Wanted, make_plan
from fer_bench.execution.prepare import prepare
from fer_bench.execution.runner import Options, run_plan
from fer_bench.models.features import stored_features
from fer_bench.models.registry import FEATURES

QUICK = bool(os.environ.get("FER_BENCH_BENCHMARK_QUICK"))
DATA = os.environ.get("FER_BENCH_BENCHMARK_DATA", "synthetic")
MODELS, STRATEGIES = ("majority,pca-logistic", "none") if QUICK else (CLASSICAL, "*")
TARGET = 1.7


class Silent:
    """A watcher that keeps the statuses."""

    def __init__(self):
        self.statuses = []

    def waiting(self, what):
        pass

    def progress(self, run_id, done, text):
        pass

    def ended(self, planned, status, seconds, seconds_left):
        self.statuses.append(status)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    """The data's path or name; a few images for the quick form."""
    if not QUICK:
        return DATA
    path = tmp_path_factory.mktemp("data") / "few.npz"
    rng = np.random.default_rng(0)
    np.savez(path, images=rng.integers(0, 256, (120, 24, 24)).astype(np.uint8), labels=np.arange(120) % 3)
    return str(path)


@pytest.fixture(scope="module")
def seconds() -> dict[int, float]:
    """What the plan took, by number of workers."""
    return {}


@pytest.mark.parametrize("n_workers", [1, 2])
def test_workers(benchmark, tell, data, seconds, tmp_path, n_workers):
    from distributed import LocalCluster

    prepared = prepare(data, tmp_path)
    plan = make_plan(prepared.results, prepared.fingerprints, Wanted(MODELS, STRATEGIES))
    dataset, split = Dataset.load(prepared.dataset_folder), Split.load(prepared.split_folder)
    for features in {planned.card.features for planned in plan}:
        stored_features(FEATURES[features], dataset, split)  # or the first to be timed would compute them for both
    watcher = Silent()
    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None) as cluster,
        connect(cluster.scheduler_address) as place,
    ):
        started = time.perf_counter()
        benchmark.pedantic(run_plan, (plan, prepared, Options(), watcher, place), rounds=1)
        seconds[n_workers] = time.perf_counter() - started
    assert watcher.statuses == ["success"] * sum(planned.reason is None for planned in plan)
    ratio = seconds[1] / seconds[n_workers]
    told = (ratio, f"at least {TARGET:g}", ratio >= TARGET) if n_workers == 2 else ()
    tell(f"the classical grid on {n_workers} Dask workers, one thread each", *told, runs=len(watcher.statuses))
    assert QUICK or n_workers == 1 or ratio > 1
