"""Published pages: those that the program wrote stand, and every edit of a table or a page is found and named."""

import pytest

from fer_bench.data import joint_fingerprint, split_file
from fer_bench.judging.render import write_leaderboard
from fer_bench.judging.verify import Standing, verify
from fer_bench.records.schema import Spec
from fer_bench.records.spec import RunSpec


@pytest.fixture
def published(stored_runs):
    """Three runs and their leaderboard."""
    write_leaderboard(stored_runs.folder.records(), stored_runs.folder.path, "a command of its own")
    return stored_runs.folder


def add_folds(kind, path, started):
    """Two models in each of two folds, in the results folder at `path`; `kind` is that of `stored_runs`."""
    folds = [kind(path, prefix=f"fold-{number}") for number in (1, 2)]
    joint = joint_fingerprint([fold.split for fold in folds])
    for number, fold in enumerate(folds, start=1):
        fold.split_path.rename(path / split_file(joint, number))
        for model, skill in {"pca-svm": 1.0, "hog-svm": 2.0}.items():
            spec = RunSpec(model, "none", 0, "d" * 16, joint, fold=number, n_folds=2)
            rows = fold.predictions(skill, seed=number)
            fold.add(model, rows, run_id=spec.run_id, spec=Spec(**vars(spec)), started=started)
    return folds[0].folder


@pytest.fixture
def folded(stored_runs, tmp_path):
    """A cross-validation alone, and its leaderboard."""
    folder = add_folds(type(stored_runs), tmp_path / "folded" / "faces", "2026-01-01T00:00:00+00:00")
    board = write_leaderboard(folder.records(), folder.path)
    assert board.suffix == "-2-folds"
    return folder


def edited(folder, name, edit):
    """The faults after `edit` of the lines of a file."""
    path = folder.path / name
    lines = path.read_text().splitlines()
    path.write_text("\n".join(edit(lines)) + "\n")
    return verify(folder).faults


def at(lines, text):
    return next(number for number, line in enumerate(lines) if text in line)


def swapped(lines, first, second):
    i, j = at(lines, first), at(lines, second)
    lines[i], lines[j] = lines[j], lines[i]
    return lines


def find(folder, model):
    return next(record for record in folder.records() if record.spec.model == model)


def test_changed_figure_of_the_table_is_named(published):
    record = find(published, "pca-svm")
    shown = f"{record.test.macro_f1:.6f}".rstrip("0")
    faults = edited(published, "leaderboard.csv", lambda lines: [line.replace(shown, "0.999") for line in lines])
    assert f"leaderboard.csv: {record.run_id}: macro_f1 is '0.999', and '{shown}' from the records" in faults


def test_dropped_line_of_the_table_is_named(published):
    run_id = find(published, "pca-svm").run_id
    faults = edited(published, "leaderboard.csv", lambda lines: [line for line in lines if run_id not in line])
    assert faults == (f"leaderboard.csv: {run_id}: is not there",)


def test_forged_line_above_the_true_one_is_named(published):
    record = find(published, "pca-svm")
    shown = f"{record.test.macro_f1:.6f}".rstrip("0")

    def forge(lines):
        where = at(lines, record.run_id)
        return [*lines[:where], lines[where].replace(shown, "0.999"), *lines[where:]]

    faults = edited(published, "leaderboard.csv", forge)
    assert f"leaderboard.csv: {record.run_id}: stands on 2 lines" in faults
    assert f"leaderboard.csv: {record.run_id}: macro_f1 is '0.999', and '{shown}' from the records" in faults


def test_reordered_lines_of_the_table_are_found(published):
    faults = edited(published, "leaderboard.csv", lambda lines: swapped(lines, "hog-svm", "majority"))
    assert faults == ("leaderboard.csv: its lines stand in another order than the records give",)


def test_further_column_or_cell_of_the_table_is_found(published):
    faults = edited(published, "leaderboard.csv", lambda lines: [lines[0], lines[1] + ",0.999", *lines[2:]])
    assert any(fault.startswith("leaderboard.csv: line 2: has ") for fault in faults)
    write_leaderboard(published.records(), published.path)
    faults = edited(published, "leaderboard.csv", lambda lines: [f"macro_f1,{line}" for line in lines])
    assert faults == ("leaderboard.csv: has other columns than `fer_bench report` writes",)


def test_changed_line_of_the_page_is_named(published):
    shown = f"{find(published, 'pca-svm').test.macro_f1:.3f}"
    faults = edited(published, "leaderboard.md", lambda lines: [line.replace(shown, "0.999") for line in lines])
    assert faults[0].startswith("leaderboard.md: line ") and "0.999" in faults[0]


def test_swapped_lines_of_the_page_are_found(published):
    faults = edited(published, "leaderboard.md", lambda lines: swapped(lines, "| hog-svm ", "| majority "))
    assert faults and all(fault.startswith("leaderboard.md: ") for fault in faults)


def test_repeated_line_of_the_page_is_found(published):
    def repeat(lines):
        where = at(lines, "| hog-svm ")
        return [*lines[:where], lines[where], *lines[where:]]

    (fault,) = edited(published, "leaderboard.md", repeat)
    assert fault.startswith("leaderboard.md: line ") and "hog-svm" in fault


def test_missing_line_of_the_page_is_found(published):
    faults = edited(published, "leaderboard.md", lambda lines: [line for line in lines if "| majority " not in line])
    assert len(faults) == 1 and faults[0].startswith("leaderboard.md: 0 lines in it and ")


def test_honest_folds_stand(folded):
    found = verify(folded)
    assert found.is_sound
    assert [verdict.standing for verdict in found.verdicts] == 4 * [Standing.rescored]


def test_edited_pages_of_folds_are_found(folded):
    faults = edited(folded, "leaderboard-2-folds.csv", lambda lines: swapped(lines, "hog-svm", "pca-svm"))
    assert faults == ("leaderboard-2-folds.csv: its lines stand in another order than the records give",)
    write_leaderboard(folded.records(), folded.path)
    faults = edited(folded, "leaderboard-2-folds.md", lambda lines: [line.replace("hog-svm", "mine") for line in lines])
    assert faults and all(fault.startswith("leaderboard-2-folds.md: ") for fault in faults)


def test_page_without_records_is_found(published):
    page = published.path / "leaderboard.md"
    page.rename(page.with_name("leaderboard-9-folds.md"))
    assert any(fault.startswith("leaderboard-9-folds.md: line 1: ") for fault in verify(published).faults)


@pytest.mark.parametrize("kept", ["leaderboard.csv", "leaderboard.md"])
def test_newer_runs_of_folds_or_of_another_split_leave_a_page_as_it_is(stored_runs, kept):
    kind, path = type(stored_runs), stored_runs.folder.path
    folder = add_folds(kind, path, "2026-02-01T00:00:00+00:00")
    other = kind(path, prefix="image")
    other.add("cnn", other.predictions(1.0), started="2026-03-01T00:00:00+00:00")
    write_leaderboard(folder.records(), path, split=("d" * 16, stored_runs.split))
    for name in {"leaderboard.csv", "leaderboard.md"} - {kept}:
        (path / name).unlink()
    assert verify(folder).is_sound
