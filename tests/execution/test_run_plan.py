"""How a plan's runs are handed to the place that does them, which here only pretends to."""

import json
import threading

import pytest

from fer_bench.cache import old_path
from fer_bench.execution.children import BUSY, is_done
from fer_bench.execution.plan import Selection, make_plan
from fer_bench.execution.preparation import prepare
from fer_bench.execution.runner import Watcher, run_plan
from fer_bench.models.deep import pretrained
from fer_bench.models.registry import MODELS


class Pretended:
    """A place that notes the jobs it gets. busy: whether another runner is at all of them, for as long as one asks."""

    n_jobs = 1

    def __init__(self, busy: bool = False) -> None:
        self.jobs, self.busy = [], busy

    def make_ready(self, families) -> None:
        pass

    def slots(self) -> int:
        return 1

    def launch(self, job, timeout, stopped, progress, patient) -> str:
        if self.busy and not patient:
            return BUSY
        self.jobs.append(job)
        return "success"


class TwoAtOnce(Pretended):
    """Of two runs none ends before the other has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = threading.Barrier(2, timeout=60)

    def slots(self) -> int:
        return 2

    def launch(self, *arguments) -> str:
        status = super().launch(*arguments)
        self.pair.wait()
        return status


class Noting(Watcher):
    """Notes what it is told of runs."""

    def __init__(self) -> None:
        self.waited, self.shown, self.ended_as = [], [], {}

    def waiting(self, what) -> None:
        self.waited.append(what)

    def progress(self, run_id, done, text) -> None:
        self.shown.append(run_id)

    def ended(self, planned, status, seconds, seconds_left) -> None:
        self.ended_as[planned.spec.model] = status


@pytest.fixture
def hand_over(tiny_npz, tmp_path):
    """Plan `models` under "none" and have a place do them; returns what the watcher was told."""

    def run(models: str, place: Pretended) -> Noting:
        prepared, watcher = prepare(str(tiny_npz), tmp_path / "results"), Noting()
        plan = make_plan(prepared, Selection("all", models, "none"))
        assert not run_plan(plan, prepared, watcher=watcher, place=place).failed
        return watcher

    return run


def test_a_network_whose_weights_are_there_gets_them_though_another_one_s_are_not(hand_over, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    asked = []
    monkeypatch.setattr(pretrained, "is_there", lambda *url: asked.append(url))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / MODELS["vgg16"].pretrained).touch()
    place = Pretended()
    hand_over("cnn,vgg16,resnet50,inception-v3", place)
    assert {job.spec.model: job.weights for job in place.jobs} == {
        "cnn": "", "vgg16": "imagenet", "resnet50": "unavailable", "inception-v3": "unavailable",
    }  # fmt: skip
    assert len(asked) == 1  # as each question can take seconds


def test_of_several_at_once_the_longest_begin(hand_over):
    hand_over("majority,pca-svm,pca-forest,stratified-guess", first := Pretended())
    hand_over("majority,pca-svm,pca-forest,stratified-guess", at_once := TwoAtOnce())
    assert first.jobs[0].spec.model == "majority"
    assert {job.spec.model for job in at_once.jobs[:2]} == {"pca-svm", "pca-forest"}


def test_runs_of_another_runner_are_not_shown_as_going_on_here(hand_over):
    place = Pretended(busy=True)
    watcher = hand_over("majority,pca-svm", place)
    assert watcher.shown == []
    assert watcher.waited[-1] == "waiting for another runner"
    assert watcher.ended_as == {"majority": "success", "pca-svm": "success"}


@pytest.mark.parametrize(("status", "n_jobs"), [("failed", 1), ("success", 0)])
def test_a_record_put_back_after_a_kill_counts_as_what_it_is(hand_over, tiny_npz, tmp_path, status, n_jobs):
    prepared = prepare(str(tiny_npz), tmp_path / "results")
    results = prepared.results
    (planned,) = make_plan(prepared, Selection("all", "majority", "none"))
    run = results.record_path(planned.spec.run_id).parent
    left = old_path(run)
    left.mkdir(parents=True)
    (left / "record.json").write_text(json.dumps({"status": status}))
    place = Pretended()
    hand_over("majority", place)
    assert run.exists() and not left.exists()
    assert [is_done(job) for job in place.jobs] == [False] * n_jobs
