"""Pages in a results folder: written whole, known to be up to date, and every edit of them found."""

import shutil

import pytest

from fer_bench.analysis import newest_splits
from fer_bench.report import page_faults, up_to_date, write

FORMATS = ("md", "csv", "json", "latex")


@pytest.fixture
def written(stored_runs):
    """A results folder whose pages have just been written."""
    stored_runs.add("cnn", stored_runs.predictions(1.0), family="deep")
    write(stored_runs.folder, FORMATS)
    return stored_runs


def names(folder):
    return {path.name for path in folder.path.iterdir() if path.is_file()}


def edited(folder, name, edit):
    """The faults after `edit` of the lines of a file."""
    path = folder.path / name
    path.write_text("\n".join(edit(path.read_text().splitlines())) + "\n")
    return page_faults(folder)


def test_every_format_is_a_file_beside_the_runs(written):
    assert {"leaderboard.md", "leaderboard.csv", "leaderboard.json", "leaderboard.tex"} <= names(written.folder)
    assert "python -m fer_bench run\n" in (written.folder.path / "leaderboard.md").read_text()


def test_a_picture_that_cannot_be_drawn_costs_itself_alone(stored_runs, monkeypatch):
    monkeypatch.setattr("fer_bench.report.page.quality_against_time", lambda *_: 1 / 0)
    stored_runs.add("cnn", stored_runs.predictions(1.0), family="deep")
    _, paths = write(stored_runs.folder, FORMATS)
    assert {path.suffix for path in paths} == {".md", ".csv", ".json", ".tex"}


def test_the_same_records_give_the_same_bytes(written):
    before = {name: (written.folder.path / name).read_bytes() for name in names(written.folder)}
    write(written.folder, FORMATS)
    assert {name: (written.folder.path / name).read_bytes() for name in names(written.folder)} == before


def test_pages_of_folds_stand_beside_those_of_the_one_split(written):
    folds = type(written).folds(written.folder.path)
    for fold in folds:
        fold.add("pca-svm", fold.predictions(1.0))
    for split in newest_splits(written.folder.records()):
        write(written.folder, ("md",), split=split)
    assert {"leaderboard.md", "leaderboard-3-folds.md"} <= names(written.folder)
    assert page_faults(written.folder) == []


def split_of(runs):
    return newest_splits(runs.folder.records())[0]


def test_what_was_just_written_is_up_to_date(written):
    assert up_to_date(written.folder.path, split_of(written)) == written.folder.path / "leaderboard.md"
    (written.folder.path / ".locks" / "another.lock").touch()
    (written.folder.path / "data_card.md").touch()
    assert up_to_date(written.folder.path, split_of(written))
    data, split, _ = split_of(written)
    assert up_to_date(written.folder.path, (data, split, 5)) is None


CHANGES = {
    "a new record": lambda runs: runs.add("external", runs.predictions(1.0), "external", family="external"),
    "a record that is gone": lambda runs: shutil.rmtree(next(runs.folder.runs.glob("hog-svm*"))),
    "a record that was edited": lambda runs: runs.rewrite(runs.folder.records()[0], notes=["odd"]),
    "other predictions": lambda runs: runs.predictions_path(runs.folder.records()[0]).touch(),
    "another split file": lambda runs: runs.split_path.touch(),
    "an audit": lambda runs: (runs.folder.path / "audit.json").touch(),
    "an edited page": lambda runs: (runs.folder.path / "leaderboard.md").write_text("edited"),
    "a missing table": lambda runs: (runs.folder.path / "leaderboard.csv").unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nothing_is_up_to_date_after(written, change):
    split = split_of(written)
    change(written)
    assert up_to_date(written.folder.path, split) is None


def test_nothing_is_up_to_date_under_other_code(written, tmp_path, monkeypatch):
    from fer_bench.report import writing

    monkeypatch.setattr(writing, "PACKAGE", tmp_path)
    assert up_to_date(written.folder.path, split_of(written)) is None


def test_pages_that_the_program_wrote_have_no_faults(written):
    assert page_faults(written.folder) == []


def test_a_changed_figure_is_named_where_it_stands(written):
    record = written.find("pca-svm")
    shown = f"{record.test.macro_f1:.6f}".rstrip("0")
    faults = edited(written.folder, "leaderboard.csv", lambda lines: [line.replace(shown, "0.999") for line in lines])
    assert any("macro_f1 is '0.999'" in fault and shown in fault for fault in faults)
    faults = edited(written.folder, "leaderboard.md", lambda lines: [line.replace("pca-svm", "best") for line in lines])
    assert any(fault.startswith("leaderboard.md: the records do not give the line") for fault in faults)


def test_lines_too_many_or_too_few_are_found(written):
    faults = edited(written.folder, "leaderboard.csv", lambda lines: lines[:-1])
    assert any("rows, and the records give" in fault for fault in faults)
    faults = edited(written.folder, "leaderboard.md", lambda lines: [*lines, "Ours is best."])
    assert any("Ours is best." in fault for fault in faults)


def test_many_faults_of_a_page_are_told_once(written):
    for n_edited, name in enumerate(("leaderboard.csv", "leaderboard.md"), start=1):
        faults = edited(written.folder, name, lambda lines: [line.replace("0.", "7.") for line in lines])
        assert len(faults) == n_edited


def test_rounding_of_another_processor_is_no_fault(written):
    record = written.find("pca-svm")
    shown = f"{record.test.macro_f1:.6f}"
    other = f"{float(shown) + 1e-6:.6f}"
    assert edited(written.folder, "leaderboard.csv", lambda lines: [line.replace(shown, other) for line in lines]) == []


def test_a_page_without_records_is_a_fault(written):
    shutil.copy(written.folder.path / "leaderboard.md", written.folder.path / "leaderboard-5-folds.md")
    assert page_faults(written.folder) == ["leaderboard-5-folds.md: there is no record of it"]


def test_a_page_is_held_against_the_split_that_it_is_about(written):
    first, path = split_of(written), written.folder.path
    other = type(written)(path, prefix="other")
    other.add("pca-svm", other.predictions(1.0), started="2030-01-01T00:00:00")
    write(written.folder, FORMATS, split=first)
    assert page_faults(written.folder) == []
    for fold in type(written).folds(path):
        fold.add("pca-svm", fold.predictions(1.0), started="2031-01-01T00:00:00")
    assert page_faults(written.folder) == []
