"""Two workers of a Dask cluster against one, a thread each: the same plan, so the ratio is what counts."""

import time

import pytest
from settings import QUICK

from fer_bench.data import Dataset, Split
from fer_bench.execution import Options, Selection, Watcher, connected, make_plan, prepare, run_plan
from fer_bench.execution.plan import CLASSICAL
from fer_bench.models.features import stored_features
from fer_bench.models.registry import FEATURES

TARGET = 1.7
STRATEGIES = "none,class-weights,over-sampling,under-sampling"


class Statuses(Watcher):
    """Keeps them."""

    def __init__(self):
        self.statuses = []

    def ended(self, planned, status, seconds, seconds_left):
        self.statuses.append(status)


@pytest.fixture(scope="module")
def seconds() -> dict[int, float]:
    """What the plan took, by number of workers."""
    return {}


@pytest.mark.parametrize("n_workers", [1, 2])
def test_workers(benchmark, tell, data, seconds, tmp_path, n_workers):
    from distributed import LocalCluster

    models, strategies = ("majority,pca-logistic", "none") if QUICK else (CLASSICAL, STRATEGIES)
    prepared = prepare(data, tmp_path)
    plan = make_plan(prepared, Selection("all", models, strategies))
    dataset, split = Dataset.load(prepared.dataset_folder), Split.load(prepared.split_folder)
    for features in {planned.card.features for planned in plan}:
        stored_features(FEATURES[features], dataset, split)  # or the first to be timed would compute them for both
    watcher = Statuses()
    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None) as cluster,
        connected(cluster.scheduler_address) as place,
    ):
        started = time.perf_counter()
        benchmark.pedantic(run_plan, (plan, prepared, Options(), watcher, place), rounds=1)
        seconds[n_workers] = time.perf_counter() - started
    assert watcher.statuses == ["success"] * sum(planned.reason is None for planned in plan)
    ratio = seconds[1] / seconds[n_workers]
    told = (ratio, f"at least {TARGET:g}", ratio >= TARGET) if n_workers == 2 else ()
    tell(f"the classical grid: Dask workers of one thread each, {n_workers} of them", *told, runs=len(watcher.statuses))
    assert QUICK or n_workers == 1 or ratio >= TARGET
