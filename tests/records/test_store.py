"""The results folder: complete or absent, locked, damage named."""

import json
import shutil
from pathlib import Path

import pytest

from fer_bench.errors import FerBenchError
from fer_bench.records.schema import Record
from fer_bench.records.spec import RunSpec
from fer_bench.records.store import ResultsFolder


def record(model="pca-svm", status="success", **fields) -> Record:
    spec = RunSpec(model, "none", 0, "d" * 16, "s" * 16)
    return Record(
        run_id=spec.run_id, status=status, spec=spec, dataset="made", family="classical", features="pca",
        class_names=["a", "b"], n_train=8, n_validation=1, n_test=1, split_source="drawn",
        started="2026-01-01T00:00:00+00:00", **fields,
    )  # fmt: skip


def publish(results: ResultsFolder, made: Record) -> None:
    work = results.work_folder(made.run_id)
    (work / "log.txt").write_text("a log")
    with results.lock(made.run_id):
        results.commit(made, work)


@pytest.fixture
def results(tmp_path) -> ResultsFolder:
    folder = ResultsFolder(tmp_path / "made")
    folder.prepare()
    return folder


def test_run_ids_are_stable_readable_and_change_with_every_field():
    spec = RunSpec("hog-svm", "none", 0, "data", "split")
    assert spec.run_id.startswith("hog-svm.none.s0-")
    assert spec.run_id == RunSpec("hog-svm", "none", 0, "data", "split").run_id
    others = [
        RunSpec("hog-mlp", "none", 0, "data", "split"),
        RunSpec("hog-svm", "focal", 0, "data", "split"),
        RunSpec("hog-svm", "none", 1, "data", "split"),
        RunSpec("hog-svm", "none", 0, "data2", "split"),
        RunSpec("hog-svm", "none", 0, "data", "split2"),
        RunSpec("hog-svm", "none", 0, "data", "split", "full"),
        RunSpec("hog-svm", "none", 0, "data", "split", "", "auto"),
        RunSpec("hog-svm", "none", 0, "data", "split", fold=1, n_folds=2),
        RunSpec("hog-svm", "none", 0, "data", "split", tuned=True),
        RunSpec("hog-svm", "none", 0, "data", "split", parameters=(("C", 2.0),)),
        RunSpec("hog-svm", "none", 0, "data", "split", parameters=(("C", 3.0),)),
        RunSpec("hog-svm", "none", 0, "data", "split", recipe=2),
    ]
    assert len({spec.run_id[-10:], *(other.run_id[-10:] for other in others)}) == len(others) + 1


def test_published_run_is_read_back(results):
    made = record(notes=["a note"])
    assert results.status(made.run_id) is None and results.record(made.run_id) is None
    publish(results, made)
    assert results.status(made.run_id) == "success"
    assert results.record(made.run_id) == made
    assert results.records() == [made]
    assert (results.runs / made.run_id / "log.txt").read_text() == "a log"
    assert [path.name for path in results.runs.iterdir()] == [made.run_id]


def test_publishing_again_replaces_the_whole_folder(results):
    publish(results, record(status="failed", reason="it broke"))
    (results.runs / record().run_id / "old.txt").write_text("of the first try")
    publish(results, record())
    assert [r.status for r in results.records()] == ["success"]
    assert not (results.runs / record().run_id / "old.txt").exists()


def test_nan_and_unknown_statuses_are_refused():
    with pytest.raises(ValueError, match="finite"):
        record(ms_per_image=float("nan"))
    with pytest.raises(ValueError, match="status"):
        record(status="fine")


def test_damaged_records_are_named_together(results):
    publish(results, record())
    publish(results, record("hog-svm"))
    for made, text in ((record(), "{"), (record("hog-svm"), json.dumps({"status": "success"}))):
        results.record_path(made.run_id).write_text(text)
    with pytest.raises(FerBenchError, match="2 damaged records") as error:
        results.records()
    assert record().run_id in str(error.value) and record("hog-svm").run_id in str(error.value)


def test_record_under_another_name_is_damage(results):
    publish(results, record())
    (results.runs / record().run_id).rename(results.runs / "renamed")
    with pytest.raises(FerBenchError, match=f"is the record of {record().run_id}"):
        results.records()


def test_clean_removes_what_a_killed_run_left_and_keeps_what_goes_on(results):
    left = results.work_folder("killed.none.s0-0123456789")
    going_on = results.work_folder("going.none.s0-0123456789")
    with results.lock("going.none.s0-0123456789"):
        results.clean()
    assert not left.exists() and going_on.exists()


class Killed(BaseException):
    """Stands for a kill: nothing of the package catches it."""


def kill_at(patch, method: str, name: str) -> None:
    """Let `method` of paths be the moment of a kill where it is called for a path of that name."""
    original = getattr(Path, method)

    def killed(self, *arguments):
        if self.name == name:
            raise Killed
        return original(self, *arguments)

    patch.setattr(Path, method, killed)


@pytest.mark.parametrize("status", ["success", "failed"])
def test_a_kill_between_the_renames_costs_the_new_run_and_not_the_old(results, monkeypatch, status):
    earlier = record(status=status)
    publish(results, earlier)
    again = results.work_folder(earlier.run_id)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, "rename", again.name)
        results.commit(record(notes=["done again"]), again)
    assert results.status(earlier.run_id) is None
    with results.lock(earlier.run_id):
        assert results.clean() == set() and results.status(earlier.run_id) is None
    assert results.clean() == {earlier.run_id}
    assert results.records() == [earlier]
    assert (results.runs / earlier.run_id / "log.txt").read_text() == "a log"
    assert [path.name for path in results.runs.iterdir()] == [earlier.run_id]
    assert results.clean() == set()


def test_the_old_folder_goes_once_the_new_one_is_there(results, monkeypatch):
    publish(results, record())
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # killed just before
        publish(results, record(notes=["second"]))
    assert len(list(results.runs.iterdir())) == 2
    publish(results, record(notes=["third"]))
    assert [path.name for path in results.runs.iterdir()] == [record().run_id]
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        publish(results, record(notes=["fourth"]))
    assert results.clean() == set()
    assert [path.name for path in results.runs.iterdir()] == [record().run_id]
    assert results.records() == [record(notes=["fourth"])]


def test_every_file_reaches_the_disk_before_the_run_has_its_name(results, file_calls):
    run_id, synced = record().run_id, ["sync log.txt", "sync record.json"]
    first, again = (results.work_folder(run_id) for _ in range(2))
    for work in (first, again):
        (work / "log.txt").write_text("a log")
        results.commit(record(), work)
    *files, renamed = file_calls[:3]
    assert sorted(files) == synced and renamed == f"rename {first.name} to {run_id}"
    *files, removed, renamed = file_calls[3:]
    assert sorted(files) == synced and removed == f"rename {run_id} to .{run_id}.old"
    assert renamed == f"rename {again.name} to {run_id}"


def test_folder_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FerBenchError, match="cannot be written"):
        ResultsFolder(tmp_path / "file" / "made").prepare()


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ('{"status": "success", "plugin_code": "abc"}', "success", "abc"),
        ('{"schema_version": 1, "status": "success", "parameters": {"plugin_code": "abc"}}', "success", "abc"),
        ('{"schema_version": 1, "status": "success", "parameters": ["plugin_code"]}', "success", None),
        ('{"status": ["success"]}', None, None),
        ("[]", None, None),
        ("{", None, None),
    ],
)
def test_what_planning_asks_of_a_record_is_told_whatever_is_in_the_file(results, text, status, code):
    path = results.record_path("a-run")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    state = results.state("a-run")
    assert (state.status, state.plugin_code) == (results.status("a-run"), code) == (status, code)


def test_history_and_the_end_of_the_log_are_read(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    publish(results, record())
    run = results.runs / record().run_id
    assert results.history(record().run_id) == [] and results.log_tail("no-run") == ""
    (run / "history.csv").write_text("epoch,loss\n1,0.5\n2,nan\n")
    (run / "log.txt").write_text(f"first\n{'x' * 9000}\n\x1b[31mred\x1b[0m\a {tmp_path}/a /home/somebody/b\n")
    assert results.history(record().run_id)[0] == {"epoch": 1, "loss": 0.5}
    assert results.log_tail(record().run_id).splitlines()[-1] == "red ./a ~/b"
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", "/")
    assert results.log_tail(record().run_id).splitlines()[-1] == f"red {tmp_path}/a /home/somebody/b"
    assert results.predictions(record().run_id) is None


def test_damaged_predictions_are_named(results):
    publish(results, record())
    (results.runs / record().run_id / "predictions.npz").write_bytes(b"PK, but no archive")
    with pytest.raises(FerBenchError, match=r"predictions\.npz: cannot be read"):
        results.predictions(record().run_id)
