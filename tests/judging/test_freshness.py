"""A leaderboard counts as current only while judging its folder again would give the same."""

import shutil

import pytest

from fer_bench.judging import freshness
from fer_bench.judging.render import write_leaderboard


@pytest.fixture
def judged(stored_runs):
    """A results folder whose leaderboard has just been written; the runs, and their split."""
    folder = stored_runs.folder
    split = ("d" * 16, stored_runs.split)
    made_from = freshness.state(folder.path)
    write_leaderboard(folder.records(), folder.path, "run", split)
    written = [folder.path / "leaderboard.md", folder.path / "leaderboard.csv"]
    freshness.note_written(folder.path, split, made_from, written)
    return stored_runs, split


def test_what_was_just_written_is_current(judged):
    runs, split = judged
    assert freshness.current(runs.folder.path, split) == runs.folder.path / "leaderboard.md"
    (runs.folder.path / ".locks" / "another.lock").touch()
    assert freshness.current(runs.folder.path, split)


CHANGES = {
    "a new record": lambda runs: runs.add("external", runs.predictions(1.0), "external", family="external"),
    "a record that is gone": lambda runs: shutil.rmtree(next(runs.folder.runs.glob("hog-svm*"))),
    "a record that was edited": lambda runs: runs.rewrite(runs.folder.records()[0], notes=["odd"]),
    "other predictions": lambda runs: runs.predictions_path(runs.folder.records()[0]).touch(),
    "a drawing": lambda runs: (next(runs.folder.runs.iterdir()) / "curves.png").touch(),
    "another split file": lambda runs: runs.split_path.touch(),
    "an audit": lambda runs: (runs.folder.path / "audit.json").touch(),
    "an edited page": lambda runs: (runs.folder.path / "leaderboard.md").write_text("edited"),
    "a missing page": lambda runs: (runs.folder.path / "leaderboard.csv").unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nothing_is_current_after(judged, change):
    runs, split = judged
    change(runs)
    assert freshness.current(runs.folder.path, split) is None


def test_nothing_is_current_under_other_code(judged, tmp_path, monkeypatch):
    runs, split = judged
    monkeypatch.setattr(freshness, "PACKAGE", tmp_path)
    assert freshness.current(runs.folder.path, split) is None


def test_another_split_has_a_page_of_its_own(judged):
    runs, split = judged
    assert freshness.current(runs.folder.path, (split[0], "other")) is None


def test_records_that_come_while_judging_make_the_page_old(stored_runs):
    split = ("d" * 16, stored_runs.split)
    folder = stored_runs.folder
    made_from, records = freshness.state(folder.path), folder.records()
    stored_runs.add("late", stored_runs.predictions(1.0))
    write_leaderboard(records, folder.path, "run", split)
    freshness.note_written(folder.path, split, made_from, [folder.path / "leaderboard.md"])
    assert freshness.current(folder.path, split) is None


def test_a_page_that_was_not_written_this_time_is_not_current(judged):
    runs, split = judged
    path = runs.folder.path / "leaderboard.json"
    path.write_text("{}")
    freshness.note_written(runs.folder.path, split, freshness.state(runs.folder.path), [path])
    assert freshness.current(runs.folder.path, split) is None
