"""Finished runs on a few noisy colour images, trained in this process, and the bundles made of them."""

import dataclasses
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_bench.deploy import Bundle, Source, export, load_model
from fer_bench.deploy.exporting import parity as measuring
from fer_bench.execution import Prepared, prepare
from fer_bench.execution.plan import Job
from fer_bench.execution.preparation import store_split
from fer_bench.execution.worker import do_run
from fer_bench.models.registry import MODELS
from fer_bench.progress import silent
from fer_bench.records import RunSpec

CLASSES = ("top", "middle", "bottom")


@dataclasses.dataclass(frozen=True)
class Runs:
    """Runs on one dataset, each done when it is first asked for."""

    prepared: Prepared
    folder: Path

    def source(self, model: str, strategy: str = "none", recipe: int = 1) -> tuple[Source, str]:
        """The results, and the id of the run of a model under a strategy."""
        card = MODELS[model]
        budget = "quick" if card.steps else ""
        spec = RunSpec(model, strategy, 0, *self.prepared.fingerprints, budget=budget, recipe=recipe)
        results = self.prepared.results
        if results.status(spec.run_id) is None:
            work = results.work_folder(spec.run_id)
            job = Job(spec, card.family, card.features, self.prepared, n_jobs=2, command="run again")
            record = do_run(job, work, silent)
            assert record.status == "success", record.traceback
            results.commit(record, work)
        return Source.open(results.path), spec.run_id

    def bundle(self, model: str, strategy: str = "none", **options) -> Bundle:
        """The bundle of that run."""
        source, run_id = self.source(model, strategy)
        target = self.folder / "-".join([run_id, *options])
        if not target.exists():
            export(source, run_id, target, **options)
        return load_model(target)


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """Four gradient steps for all that take some, and little time for measuring that."""
    with pytest.MonkeyPatch.context() as patch:
        for card in list(MODELS):
            if card.steps:
                patch.setitem(MODELS._cards, card.name, dataclasses.replace(card, steps={"quick": 4}))
        patch.setattr(measuring, "SECONDS", 0.05)
        yield


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Runs:
    """On 240 colour images of 60 pixels: models of 48 see them smaller, and most of them gray."""
    folder = tmp_path_factory.mktemp("deploy")
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], [120, 40, 80]))
    images = rng.integers(0, 200, (len(labels), 60, 60, 3))
    for row, label in enumerate(labels):
        images[row, 20 * label : 20 * label + 20, ::2] += 15
    np.savez(folder / "made.npz", images=images.astype(np.uint8), labels=labels, class_names=np.array(CLASSES))
    prepared = prepare(folder / "made.npz", folder / "results")
    prepared.results.prepare()
    store_split(prepared)
    return Runs(prepared, folder)


@pytest.fixture(scope="module")
def bundle(runs) -> Bundle:
    """One that is made, and answers, fast."""
    return runs.bundle("pca-logistic")


@pytest.fixture
def server(bundle):
    """The address of the server in a process of its own, and that."""
    command = [sys.executable, "-m", "fer_bench", "serve", str(bundle.path), "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # may be ignored: see tests/conftest.py
    )  # fmt: skip
    url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
    yield url, process
    process.kill()
    process.wait()
