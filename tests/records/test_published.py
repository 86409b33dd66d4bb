"""Published evidence: what goes in comes out, small, the same bytes each time; what was changed is named."""

import gzip
import json
import shlex
import shutil

import numpy as np
import pytest
from stored import StoredRuns
from typer.testing import CliRunner

from fer_bench.analysis import Predictions, load_leaderboard, publish, unpack, verify
from fer_bench.analysis.evidence import ensemble
from fer_bench.cli import app
from fer_bench.errors import FerBenchError
from fer_bench.records import (
    PublishedFolder,
    ResultsFolder,
    RunSpec,
    copy_beside,
    open_results,
    rounded,
    without_folders,
)

COUNTED = ("accuracy", "balanced_accuracy", "macro_f1", "macro_precision", "macro_recall", "confusion", "per_class")


@pytest.fixture
def published(stored_runs, tmp_path) -> PublishedFolder:
    run = stored_runs.folder.runs / next(record.run_id for record in stored_runs.folder.records())
    (run / "history.csv").write_text("step,phase,loss\n10,head,1.5\n20,all layers,\n")
    (run / "log.txt").write_text("".join(f"line {number}\n" for number in range(100)))
    (stored_runs.folder.path / "images-x.csv.gz").write_bytes(b"of images")
    (stored_runs.folder.path / "tuned").mkdir()
    (stored_runs.folder.path / "tuned" / "hog-svm.json").write_text("[]")
    (stored_runs.folder.path / "leaderboard.md").write_text("no evidence")
    return publish(stored_runs.folder, tmp_path / "published" / "faces")


def test_readers_find_the_same_in_both_kinds_of_folder(published, stored_runs):
    own = open_results(stored_runs.folder.path)
    assert isinstance(own, ResultsFolder) and isinstance(open_results(published.path), PublishedFolder)
    assert [record.run_id for record in published.records()] == [record.run_id for record in own.records()]
    for record in own.records():
        again = published.record(record.run_id)
        assert again.model_dump(exclude={"test", "validation"}) == record.model_dump(exclude={"test", "validation"})
        before, after = (folder.predictions(record.run_id) for folder in (own, published))
        assert before.keys() == after.keys()
        for name, array in before.items():
            assert after[name].dtype == array.dtype
            if name.endswith("ids"):
                assert (after[name] == array).all()
            else:
                assert (after[name].argmax(axis=1) == array.argmax(axis=1)).all()
                assert np.abs(after[name] - array).max() <= published.resolution
        for subset in ("test", "validation"):
            one, other = getattr(record, subset), getattr(again, subset)
            assert all(getattr(one, name) == getattr(other, name) for name in COUNTED)
            figures = [(value, getattr(other, name)) for name, value in one.model_dump().items() if name not in COUNTED]
            assert all(value == pytest.approx(other, abs=1e-3) for value, other in figures)
        assert published.history(record.run_id) == own.history(record.run_id)
        assert published.log_tail(record.run_id) == own.log_tail(record.run_id)
    assert published.split_path(stored_runs.split).read_bytes() == own.split_path(stored_runs.split).read_bytes()
    names = {path.relative_to(published.path).as_posix() for path in published.path.rglob("*") if path.is_file()}
    assert names == {
        "records.jsonl.gz", "probabilities.npz", "images-x.csv.gz", "tuned/hog-svm.json",
        f"split-{stored_runs.split}.csv.gz",
    }  # fmt: skip
    assert published.record("no-run") is None and published.predictions("no-run") is None
    assert (published.history("no-run"), published.log_tail("no-run")) == ([], "")


def test_what_is_unpacked_is_published_as_before_and_takes_nothings_place(published, stored_runs, tmp_path):
    own = ResultsFolder(tmp_path / "own" / "faces")
    assert unpack(published, own) == len(published.records()) == 3
    assert (own.resolution, ResultsFolder(own.path).resolution) == (0, published.resolution)
    again = publish(own, tmp_path / "again" / "faces")
    names = [sorted(path.name for path in folder.path.iterdir()) for folder in (published, again)]
    assert names[0] == names[1]
    for path in published.path.rglob("*.*z"):
        assert path.read_bytes() == (again.path / path.relative_to(published.path)).read_bytes(), path.name

    first, second, _ = sorted(path.parent for path in own.runs.glob("*/record.json"))
    shutil.rmtree(first)
    (second / "log.txt").write_text("mine")
    (own.path / "images-x.csv.gz").write_bytes(b"mine")
    assert unpack(published, own) == 1
    assert (second / "log.txt").read_text() == (own.path / "images-x.csv.gz").read_text() == "mine"
    (own.path / ".data.json").write_text('{"data_fingerprint": "of-others"}')
    with pytest.raises(FerBenchError, match="of-others"):
        unpack(published, own)


@pytest.mark.parametrize(("within", "given"), [("", "."), ("runs", "..")])
def test_the_folder_one_is_in_is_published_by_its_name(stored_runs, tmp_path, monkeypatch, within, given):
    monkeypatch.chdir(stored_runs.folder.path / within)
    done = CliRunner().invoke(app, ["publish", given, "--to", str(tmp_path / "published")])
    assert done.exit_code == 0, done.output
    assert isinstance(open_results(tmp_path / "published" / "faces"), PublishedFolder)


def test_a_copy_that_is_cut_short_is_made_again(tmp_path, monkeypatch):
    def cut(source, target):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    name = "split-x.csv.gz"
    (tmp_path / name).write_bytes(b"half and half")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "copyfile", cut)
        copy_beside(tmp_path, tmp_path / "copy")
    copy_beside(tmp_path, tmp_path / "copy")
    assert (tmp_path / "copy" / name).read_bytes() == b"half and half"


@pytest.mark.parametrize("model", ["../../hog-svm", ".hidden", "a/b"])
def test_what_is_published_names_no_folder_elsewhere(stored_runs, tmp_path, model):
    published = publish(stored_runs.folder, tmp_path / "published" / "faces")
    first, *others = gzip.decompress((published.path / "records.jsonl.gz").read_bytes()).splitlines()
    line = json.loads(first)
    line["record"]["spec"]["model"] = model
    line["record"]["run_id"] = RunSpec(**line["record"]["spec"]).run_id
    (published.path / "records.jsonl.gz").write_bytes(gzip.compress(b"\n".join([json.dumps(line).encode(), *others])))
    with pytest.raises(FerBenchError, match="is not the id of its run"):
        unpack(PublishedFolder(published.path), ResultsFolder(tmp_path / "own" / "faces"))
    assert not (tmp_path / "own").exists()


def test_what_an_unpacked_run_started_from_is_the_unpacked_one(stored_runs, tmp_path):
    one, other = (stored_runs.predictions(2.0, seed) for seed in (7, 8))
    base = stored_runs.add("cnn", one)
    adjusted = stored_runs.add("cnn", other, "post-hoc-adjustment", base_predictions="of the unrounded ones")
    own = ResultsFolder(tmp_path / "own" / "faces")
    unpack(publish(stored_runs.folder, tmp_path / "published" / "faces"), own)
    assert own.predictions_digest(base.run_id) is not None
    assert own.record(adjusted.run_id).base_predictions == own.predictions_digest(base.run_id)


def test_where_files_lay_is_not_published(stored_runs, tmp_path):
    record = next(iter(stored_runs.folder.records()))
    said = {"command": "fer_bench run --weights /home/me/w.h5", "notes": ["weights from /home/me/w.h5"]}
    stored_runs.rewrite(record, weights_note="/home/me/w.h5", **said)
    again = publish(stored_runs.folder, tmp_path / "published" / "faces").record(record.run_id)
    assert (again.command, again.notes, again.weights_note) == (
        "fer_bench run --weights w.h5", ["weights from w.h5"], "w.h5",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--data", "/home/anna maria/secret/x.csv"], ["--data", "x.csv"]),
        (["--data=../anna maria/x y.csv", "--name", "a/b c"], ["--data=x y.csv", "--name", "a/b c"]),
        (["--data", "/home/o'neil/my own/x.csv", "/home/me/p.py"], ["--data", "x.csv", "p.py"]),
        (["--data", "/home/me/o'neil's x.csv", "don't", "/a/b"], ["--data", "o'neil's x.csv", "don't", "b"]),
    ],
)
def test_folders_with_blanks_and_quotes_are_not_told(given, told):
    assert shlex.split(without_folders(shlex.join(given))) == told


def test_history_and_log_are_read(published, stored_runs):
    run_id = published.records()[0].run_id
    assert published.history(run_id) == [
        {"step": 10, "phase": "head", "loss": 1.5},
        {"step": 20, "phase": "all layers"},
    ]
    assert published.log_tail(run_id).splitlines() == [f"line {number}" for number in range(60, 100)]


def test_every_figure_follows_from_what_is_published(published):
    found = verify(published)
    assert found.is_sound and {verdict.standing for verdict in found.verdicts} == {"rescored"}


def test_the_same_runs_give_the_same_bytes_and_another_digest_than_other_answers(published, stored_runs):
    before = {path.name: path.read_bytes() for path in published.path.iterdir() if path.is_file()}
    publish(stored_runs.folder, published.path)
    assert before == {path.name: path.read_bytes() for path in published.path.iterdir() if path.is_file()}
    digests = [published.predictions_digest(record.run_id) for record in published.records()]
    assert len({*digests}) == 3 and published.predictions_digest("no-run") is None


def test_probabilities_that_rounding_would_move_too_far_are_kept_as_they_are(stored_runs, tmp_path):
    near = {name: np.full((len(rows), 3), 1 / 3) for name, rows in stored_runs.labels.items()}
    for rows in near.values():  # images differ by less than float16 tells
        shift = 1e-6 * np.random.default_rng(0).permutation(len(rows))
        rows += np.stack([shift, -shift, 0 * shift], axis=1)
    record = stored_runs.add("flat", {name: rows.astype("float32") for name, rows in near.items()})
    published = publish(stored_runs.folder, tmp_path / "published")
    kept = published.predictions(record.run_id)["test_probabilities"]
    assert (kept == near["test"].astype("float32")).all()
    assert verify(published).is_sound


def test_rounding_keeps_the_answer_what_is_equal_and_what_is_close_to_0_or_1():
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.full(7, 0.3), 5000).astype("float32")
    close = np.array([[0.5, 0.5 - 1e-6, 1e-6], [1 / 3, 1 / 3 + 1e-6, 1 / 3 - 1e-6], [0.25, 0.25, 0.5], [1, 0, 0]])
    for given in (rows, close.astype("float32"), np.full((2, 3), 1 / 3, dtype="float32")):
        after = rounded(given)
        assert after.dtype == np.float32 and (after.argmax(axis=1) == given.argmax(axis=1)).all()
        ties = [(one == one.max(axis=1, keepdims=True)).sum(axis=1) for one in (given, after)]
        assert (ties[0] == ties[1]).all()
        assert np.abs(after - given).max() <= PublishedFolder.resolution
        assert (rounded(after) == after).all()
    small = np.array([[1e-9, 1 - 1e-9, 0], [1 - 1e-4, 1e-4, 0]])
    np.testing.assert_allclose(rounded(small), small, rtol=1e-3)
    np.testing.assert_allclose(1 - rounded(small)[1, 0], 1e-4, rtol=1e-2)


@pytest.mark.parametrize("name", ["records.jsonl.gz", "probabilities.npz"])
def test_a_changed_byte_is_told_with_the_name_of_the_file(published, name):
    path = published.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    again = PublishedFolder(published.path)
    with pytest.raises(FerBenchError, match=name):
        for record in again.records():
            again.predictions(record.run_id)


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive"])
@pytest.mark.parametrize("name", ["records.jsonl.gz", "probabilities.npz"])
def test_what_is_no_archive_is_told_with_the_name_of_the_file(published, name, content):
    (published.path / name).write_bytes(content)
    again = PublishedFolder(published.path)
    with pytest.raises(FerBenchError, match=name):
        for record in again.records():
            again.predictions_digest(record.run_id)


def rewrite(published, change) -> PublishedFolder:
    """The folder with `change(lines)` made to the lines of its records, packed as they should be."""
    path = published.path / "records.jsonl.gz"
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    change(lines)
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    return PublishedFolder(published.path)


@pytest.mark.parametrize(
    ("where", "what"),
    [("record", None), ("history", [1]), ("log", 1), ("ids", {"train": "a"}), ("ids", {"test": 1}), ("more", 1)],
)
def test_a_line_that_does_not_follow_the_schema_is_named(published, where, what):
    again = rewrite(published, lambda lines: lines[1].update({where: what}))
    with pytest.raises(FerBenchError, match=f"1 damaged records(.|\n)*line 2: {where}"):
        again.records()
    assert len(again.read()[0]) == 2


def test_ids_that_are_not_there_are_told(published):
    run_id = published.records()[0].run_id
    again = rewrite(published, lambda lines: lines[0]["ids"].update(test="gone"))
    with pytest.raises(FerBenchError, match=r"probabilities\.npz: gone"):
        again.predictions(run_id)


def test_a_forged_figure_does_not_follow(published):
    again = rewrite(published, lambda lines: lines[0]["record"]["test"].update(accuracy=0.99))
    assert not verify(again).is_sound


def test_no_run_adds_to_published_evidence(published):
    with pytest.raises(FerBenchError, match="published evidence"):
        ResultsFolder(published.path).prepare()


def test_only_earlier_evidence_is_replaced(stored_runs, tmp_path):
    with pytest.raises(FerBenchError, match="no published evidence"):
        publish(stored_runs.folder, stored_runs.folder.path)
    assert stored_runs.folder.records()


def test_evidence_and_pages_stay_where_new_pages_cannot_be_written(stored_runs, tmp_path, monkeypatch):
    def fail(*given, **options):
        raise MemoryError

    given = ["publish", str(stored_runs.folder.path), "--to", str(tmp_path / "published")]
    assert CliRunner().invoke(app, given).exit_code == 0
    content = {path: path.read_bytes() for path in (tmp_path / "published").rglob("*") if path.is_file()}
    assert {"leaderboard.md", "report.html"} <= {path.name for path in content}
    stored_runs.add("cnn", stored_runs.predictions(1.0))
    with monkeypatch.context() as patch:
        patch.setattr("fer_bench.report.write", fail)
        assert isinstance(CliRunner().invoke(app, given).exception, MemoryError)
    assert {path: path.read_bytes() for path in (tmp_path / "published").rglob("*") if path.is_file()} == content


def test_evidence_of_other_data_is_not_replaced(stored_runs, tmp_path):
    publish(stored_runs.folder, tmp_path / "published")
    content = {path: path.read_bytes() for path in (tmp_path / "published").rglob("*") if path.is_file()}
    others = StoredRuns(tmp_path / "other")
    others.add("cnn", others.predictions(1.0), data="e" * 16)
    with pytest.raises(FerBenchError, match="other data"):
        publish(others.folder, tmp_path / "published")
    assert {path: path.read_bytes() for path in content} == content


def test_an_ensemble_whose_members_were_done_again_is_neither_ranked_nor_published(stored_runs, tmp_path):
    mixed, _ = ensemble.put_on_record(Predictions.newest(stored_runs.folder), stored_runs.folder)
    row = f"{mixed.spec.model} / {mixed.spec.strategy}"
    assert row in load_leaderboard(stored_runs.folder).rows.index
    member = next(one for one in stored_runs.folder.records() if one.run_id in mixed.members)
    stored_runs.add(member.spec.model, stored_runs.predictions(0.4, seed=77))
    board = load_leaderboard(stored_runs.folder)
    assert row not in board.rows.index and board.unranked.at[row, "reasons"][0].code == "NOT_COMPARABLE"
    with pytest.raises(FerBenchError, match=f"{mixed.run_id}: its .* not the mean of its members"):
        publish(stored_runs.folder, tmp_path / "published")


def test_figures_that_do_not_follow_are_not_published(stored_runs, tmp_path):
    record, other = stored_runs.folder.records()[:2]
    stored_runs.rewrite(record, test=other.test)
    with pytest.raises(FerBenchError, match=f"{record.run_id}: test.accuracy is .* from the probabilities"):
        publish(stored_runs.folder, tmp_path / "published")
    assert not (tmp_path / "published").exists()


def test_a_folder_without_results_names_those_nearby(published, stored_runs, tmp_path, monkeypatch):
    for place, names in ((tmp_path / "published" / "fer", "faces"), (tmp_path / "results", "faces")):
        with pytest.raises(FerBenchError, match=f"there are those of: {names}$"):
            open_results(place)
    shutil.rmtree(tmp_path / "published")
    shutil.rmtree(tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FerBenchError, match="nor nearby"):
        open_results(tmp_path / "results" / "faces")
