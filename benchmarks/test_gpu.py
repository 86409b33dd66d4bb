"""A network on a GPU: seconds of `cnn` at standard and at full, and what six runs together cost over one.

    KERAS_BACKEND=jax FER_BENCH_BENCHMARK_DATA=fer2013.csv pytest benchmarks/test_gpu.py

Skipped where Keras sees no GPU. Seconds of a training are without compilation: from the first evaluation, when all is
compiled, to the end, for as many steps as the whole has. Runs together are processes that share the GPU, with their
start.
"""

import numpy as np
import pytest
from settings import DATA, QUICK

from fer_bench.data import Split, open_dataset, stored_split
from fer_bench.execution.environment import cores
from fer_bench.models.deep.backend import has_gpu
from fer_bench.models.registry import MODELS
from fer_bench.models.task import Task

MODEL = "cnn"
TARGETS = {"standard": 30.0, "full": 90.0}  # seconds on one H100
STRATEGIES = ("none", "class-weights", "sqrt-weights", "effective-number", "over-sampling", "focal-loss")
MOST = 3.0  # times the seconds of one, for six


@pytest.fixture(scope="module", autouse=True)
def gpu():
    if not has_gpu():
        pytest.skip("Keras sees no GPU")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("budget", TARGETS)
def test_training(benchmark, tell, budget):
    found = open_dataset(DATA)
    dataset, split = found.load(), Split.load(stored_split(found.folder, 0))
    train, validation = ((dataset.images[rows], dataset.labels[rows]) for rows in (split.train, split.validation))
    steps = 200 if QUICK else MODELS[MODEL].steps[budget]
    task = Task(
        dataset.class_names, len(train[0]), dataset.images.shape[1:], validation, n_jobs=cores(), steps=steps
    )  # fmt: skip
    trained = benchmark.pedantic(lambda: MODELS[MODEL].build(task).fit(*train), rounds=1)
    first, *_, last = trained.history_
    seconds = (last["seconds"] - first["seconds"]) / (last["step"] - first["step"]) * steps
    tell(
        f"{MODEL} at {budget}, seconds after compilation over the target's", seconds / TARGETS[budget],
        f"{TARGETS[budget]:g} s on one H100", seconds <= TARGETS[budget], seconds=seconds,
        seconds_of_the_first_evaluation=first["seconds"], steps=steps, notes=" ".join(trained.notes_),
        accuracy=max(row["val_accuracy"] for row in trained.history_),
        macro_f1=max(row["val_macro_f1"] for row in trained.history_),
    )  # fmt: skip
    assert np.isfinite(seconds)


@pytest.mark.timeout(3600)
def test_runs_together(benchmark, tell, program, data):
    program.environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    program.environment["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"

    def seconds(strategies, jobs, name):
        command = ["--data", data, "--name", name, "--models", MODEL, "--strategies", ",".join(strategies)]
        return program("run", *command, "--jobs", str(jobs), "--budget", "quick" if QUICK else "standard").seconds

    one = seconds(("none",), 1, "one")
    six = benchmark.pedantic(seconds, args=(STRATEGIES, len(STRATEGIES), "six"), rounds=1)
    tell(f"six runs of {MODEL} together over one", six / one, f"under {MOST:g}", six / one < MOST, seconds_of_one=one)
    assert len(list((program.folder / "results" / "six" / "runs").glob("*/record.json"))) == len(STRATEGIES)
