import csv
import io
import random
import re

import numpy as np
import pytest
from rich.console import Console

from fer_bench import metrics
from fer_bench.judging import leaderboard, render

HOSTILE = ["a|b", "`tick`", "<script>alert(1)</script>", "new\nline", "back\\|slash", "__bold__ *x* [y](z)", "# & $m$"]


def tables(page: str) -> list[list[str]]:
    """The Markdown tables of a page, each as its lines."""
    blocks = [block.strip() for block in page.split("\n\n")]
    return [block.splitlines() for block in blocks if block.startswith("|")]


def columns(line: str) -> list[str]:
    """The cells of a table line, split as GitHub does: at pipes without an odd number of backslashes before them."""
    return [cell.strip() for cell in re.findall(r"\|((?:\\.|[^|\\])*)(?=\|)", line)]


def section(page: str, title: str) -> str:
    return page.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def csv_lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def page(suite_records) -> str:
    return render.markdown(leaderboard.build(suite_records, "python -m fer_bench run --suite all"))


def test_the_page_has_every_section_in_order(page):
    assert page.startswith("# Leaderboard: faces\n")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == [
        "Ranking", "Macro-F1 by model and strategy", "Data and split", "Recall per class", "Calibration", "More scores",
        "Cost", "Failed runs", "Combinations that do not apply", "Environment", "Command", "Columns",
    ]  # fmt: skip
    assert "    python -m fer_bench run --suite all\n" in page
    assert "nan" not in page.lower().split()


def test_every_table_is_rectangular(page):
    assert len(tables(page)) == 8
    for lines in tables(page):
        assert {len(columns(line)) for line in lines} == {len(columns(lines[0]))}


def test_the_ranking_shows_every_row(page, suite_records):
    board = leaderboard.build(suite_records)
    lines = tables(section(page, "Ranking"))[0]
    header, body = columns(lines[0]), [columns(line) for line in lines[2:]]
    assert header == [
        "rank", "model", "strategy", "macro-F1", "accuracy %", "macro P", "macro R", "runs",
    ]  # fmt: skip
    assert [cells[:3] for cells in body] == [[str(row.rank), row.label, row.strategy] for row in board.rows]
    for cells, row in zip(body, board.rows, strict=True):
        assert cells[3].startswith(f"{row.macro_f1:.3f}")
        assert ("±" in cells[3]) == (len(row.f1_by_run) > 1)


def test_columns_nobody_needs_are_left_out(make_record):
    page = render.markdown(leaderboard.build([make_record()]))
    assert columns(tables(page)[0][0])[-1] == "macro R"
    assert columns(tables(section(page, "Cost"))[0][0])[-1] == "parameters"
    assert "Failed runs" not in page


def test_grid_and_failures_say_what_is_missing(page):
    grid = {columns(line)[0]: columns(line)[1:] for line in tables(section(page, "Macro-F1 by model and strategy"))[0]}
    assert grid["hog-svm"][2] == "n/a"
    assert grid["vgg16 (quick)"][3] == "out-of-memory"
    assert grid["cnn (quick)"][2].endswith("(1 of 2 seeds (lacks seed 1))")
    assert "stopped after 600 s" in section(page, "Failed runs")
    assert len(tables(section(page, "Combinations that do not apply"))[0]) == 2 + 2


def test_how_to_read_gives_the_uncertainty_of_this_test_set(make_record):
    page = render.markdown(leaderboard.build([make_record(n_test=3589)]))
    assert "3,589 test images" in page
    assert "±1.6 points" in page


def test_the_summary_tells_the_best_the_chosen_and_a_constant_answer(make_record):
    board = leaderboard.build([make_record("pca-svm", skill=0.2), make_record("hog-svm", skill=2.0)])
    best, picked, why, audit, one_seed, constant = render.summary(board)
    assert board.data
    assert "hog-svm / none" in best
    assert picked.endswith("the same row.")
    assert f", {board.rows[0].validation_f1:.3f} (choosing_macro_f1 in the CSV), is the best of all rows" in why
    assert "not been audited" in audit
    assert "another seed" in one_seed
    most = max(board.data.support)
    assert f"{100 * most / sum(board.data.support):.1f} % accuracy" in constant


def test_the_constant_answer_scores_as_the_metrics_say(make_record):
    board = leaderboard.build([make_record()])
    assert board.data
    support = board.data.support
    answer = np.zeros((sum(support), len(support)))
    answer[:, int(np.argmax(support))] = 1
    scores = metrics.score(np.repeat(np.arange(len(support)), support), answer, board.data.class_names)
    assert f"macro-F1 {scores.macro_f1:.3f} and {100 * scores.accuracy:.1f} %" in render.summary(board)[-1]


def test_the_summary_counts_what_the_strategies_did(suite_records):
    sentences = " ".join(render.summary(leaderboard.build(suite_records)))
    assert re.search(r"class-weights raised it for \d and lowered it for \d of 7 \(median [+-]0\.\d{3}\)", sentences)


def test_random_weights_are_warned_about_once_per_model(page):
    assert page.count("WARNING") == 1
    (line,) = [line for line in page.splitlines() if "WARNING" in line]
    assert line.startswith("> **") and line.count("vgg16 (quick) (random (no network))") == 1


def test_hostile_names_and_reasons_break_no_table(make_record):
    records = [
        make_record(class_names=HOSTILE, dataset="da|ta\n# set <b>", notes=["odd | note\n|---|"]),
        make_record("cnn", status="failed", reason="x|y\n| z `q` \x1b[31m <img src=x>", class_names=HOSTILE),
    ]
    board = leaderboard.build(records, "run --name 'a\nb'")
    page = render.markdown(board)
    for lines in tables(page):
        assert {len(columns(line)) for line in lines} == {len(columns(lines[0]))}
    recall = columns(tables(section(page, "Recall per class"))[0][0])
    assert len(recall) == 3 + len(HOSTILE)
    assert not re.search(r"<(script|b|img)", page)
    assert "\x1b" not in page
    assert page.splitlines()[0].startswith("# Leaderboard: da")
    assert "    run --name 'a b'\n" in page
    (failed,) = [line for line in csv_lines(render.csv_text(board)) if line["status"] == "failed"]
    assert "\n" not in failed["reason"]


def test_a_cell_reads_as_the_name_was(make_record):
    page = render.markdown(leaderboard.build([make_record(class_names=HOSTILE)]))
    header = columns(tables(section(page, "Recall per class"))[0][0])[3:]
    shown = [re.sub(r" \([\d,]+\)$", "", re.sub(r"\\([^a-z\s])", r"\1", cell)) for cell in header]
    plain = [text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for text in shown]
    assert plain == [name.replace("\n", " ") for name in HOSTILE]


def test_long_reasons_are_cut_on_the_page_and_whole_in_the_csv(make_record):
    board = leaderboard.build([make_record(status="failed", reason="why " * 500)])
    assert len(max(render.markdown(board).splitlines(), key=len)) < 600
    assert len(csv_lines(render.csv_text(board))[0]["reason"]) == 1999


def test_the_csv_has_a_line_per_run_best_first(suite_records):
    lines = csv_lines(render.csv_text(leaderboard.build(suite_records)))
    needed = {
        "model", "strategy", "status", "accuracy", "macro_precision", "macro_recall", "macro_f1", "balanced_accuracy",
        "fit_seconds", "ms_per_image", "n_parameters", "weights", "run_id",
    }  # fmt: skip
    assert needed <= set(lines[0])
    assert {line["run_id"] for line in lines} == {record.run_id for record in suite_records}
    assert len(lines) == len(suite_records)
    scores = [line["macro_f1"] for line in lines]
    done = [float(score) for score in scores if score]
    assert done == sorted(done, reverse=True)
    assert scores[len(done) :] == [""] * (len(lines) - len(done))
    assert all(0 <= score <= 1 for score in done)
    for line in lines:
        assert (line["status"] == "success") == bool(line["rank"]) == bool(line["accuracy"])


def test_a_score_of_zero_is_a_score(make_record):
    records = [make_record(macro_f1=0.0), make_record("cnn", status="cancelled")]
    lines = csv_lines(render.csv_text(leaderboard.build(records)))
    assert [line["macro_f1"] for line in lines] == ["0.0", ""]


@pytest.mark.parametrize("reason", ["=1+1", "+cmd", "-2", "@SUM(A1)"])
def test_the_csv_holds_no_formula(make_record, reason):
    (line,) = csv_lines(render.csv_text(leaderboard.build([make_record(status="failed", reason=reason)])))
    assert line["reason"] == "'" + reason


def test_same_records_same_bytes(suite_records, tmp_path):
    shuffled = random.Random(2).sample(suite_records, len(suite_records))
    first = render.write_leaderboard(suite_records, tmp_path / "first", "run")
    second = render.write_leaderboard(shuffled, tmp_path / "second", "run")
    assert first == second
    for name in ("leaderboard.md", "leaderboard.csv"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == ["leaderboard.csv", "leaderboard.md"]


def test_pages_without_success_say_so(make_record, tmp_path):
    render.write_leaderboard([], tmp_path, "run")
    assert "No run has succeeded yet" in (tmp_path / "leaderboard.md").read_text()
    assert csv_lines((tmp_path / "leaderboard.csv").read_text()) == []
    board = render.write_leaderboard([make_record(status="failed", reason="boom")], tmp_path, "run")
    page = (tmp_path / "leaderboard.md").read_text()
    assert "No run has succeeded yet" in page and "boom" in page
    assert render.terminal_table(board).row_count == 0


def test_split_and_command_can_be_given_and_default_to_the_newest_record(make_record, tmp_path):
    records = [make_record("pca-svm", split="old", command="first"), make_record(split="old", command="first")]
    records.append(make_record("cnn", split="new", command="second", started="2026-01-01T00:00:00Z"))
    board = render.write_leaderboard(records, tmp_path)
    assert ([row.label for row in board.rows], board.command) == (["cnn"], "second")
    board = render.write_leaderboard(records, tmp_path, split=("d" * 16, "old"))
    assert (len(board.rows), board.command) == (2, "first")
    assert render.write_leaderboard(records, tmp_path, "third").command == "third"
    assert "    third\n" in (tmp_path / "leaderboard.md").read_text()


def test_other_splits_are_mentioned(make_record):
    records = [make_record(split="old"), make_record(split="new", started="2026-01-01T00:00:00Z")]
    assert "left out: 1 runs on other data or another split" in render.markdown(leaderboard.build(records))


def test_seconds_of_different_machines_are_not_to_be_compared(make_record):
    first = make_record("hog-svm")
    other = make_record("cnn", environment=first.environment.model_copy(update={"processor": "Other CPU"}))
    assert "their seconds say no more than the order of size" in render.markdown(leaderboard.build([first, other]))
    assert "their seconds say" not in render.markdown(leaderboard.build([first]))


def test_the_terminal_table_fits_100_columns_and_says_what_is_left(suite_records, make_record):
    wide = make_record("a-model-with-a-rather-long-name", budget="standard", skill=3.0)
    board = leaderboard.build([*suite_records, wide])
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(render.terminal_table(board, limit=10))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    assert "16 more rows; 3 failed runs; 9 combinations that do not apply" in " ".join(text.split())
    assert "…" not in text
    assert all(row.strategy in text for row in board.rows[:10])
    assert render.terminal_table(board, limit=10).row_count == 10


def test_folds_have_a_page_of_their_own(make_record, tmp_path):
    folds = [make_record("hog-svm", split="folds", fold=number, n_folds=2) for number in (1, 2)]
    render.write_leaderboard([make_record("hog-svm")], tmp_path)
    page = (tmp_path / "leaderboard.md").read_bytes()
    render.write_leaderboard(folds, tmp_path)
    assert (tmp_path / "leaderboard.md").read_bytes() == page
    page = (tmp_path / "leaderboard-2-folds.md").read_text()
    assert "| 2 folds |" in page and "images of each of 2 folds" in page
    assert len((tmp_path / "leaderboard-2-folds.csv").read_text().splitlines()) == 3


def test_figures_that_are_there_are_linked(make_record, tmp_path):
    record = make_record("hog-svm")
    folder = tmp_path / "runs" / record.run_id
    folder.mkdir(parents=True)
    (folder / "confusion.png").write_bytes(b"")
    render.write_leaderboard([record], tmp_path)
    page = (tmp_path / "leaderboard.md").read_text()
    assert f"- hog-svm / none: [confusion](runs/{record.run_id}/confusion.png)\n" in page
    assert "curves.png" not in page
