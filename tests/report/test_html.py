import dataclasses
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from fer_bench.analysis import load_leaderboard
from fer_bench.report import html
from fer_bench.report.html import payload
from fer_bench.report.html.payload import ERROR_UNIT, plain


@pytest.fixture(scope="module")
def drawn(judged_board):
    return payload.payload(judged_board)


def data_of(page):
    return re.search(r'id="report-data">(.*?)</script>', page, re.DOTALL)[1]


def test_rows_and_runs_name_one_another(judged_board, drawn):
    assert [row["row"] for row in drawn["rows"]] == list(judged_board.rows.index)
    for at, row in enumerate(drawn["rows"]):
        assert [drawn["runs"][run]["id"] for run in row["runs"]] == list(judged_board.rows["runs"].iloc[at])


def test_answers_labels_and_the_mask_take_a_character_an_image(judged_board, drawn):
    for run in drawn["runs"]:
        assert [int(digit, 36) for digit in run["predicted"]] == judged_board.predicted[run["id"]].tolist()
    assert [int(digit, 36) for digit in drawn["labels"]] == judged_board.labels.tolist()
    assert [digit == "1" for digit in drawn["clean"]] == judged_board.clean.tolist()


@pytest.mark.parametrize(("limit", "carried"), [(10**9, "all"), (10 * 120, "first"), (100, "none")])
def test_answers_that_take_too_much_stay_out(judged_board, monkeypatch, limit, carried):
    monkeypatch.setattr(payload, "PREDICTIONS_LIMIT", limit)
    made = payload.payload(judged_board)
    first = [runs[0] for runs in judged_board.rows["runs"]]
    assert made["carried"] == carried
    assert sorted(run["id"] for run in made["runs"] if run["predicted"]) == sorted(
        {"all": judged_board.predicted, "first": first, "none": []}[carried]
    )


def test_more_classes_than_digits_leave_answers_out(judged_board):
    names = tuple(f"class {number}" for number in range(37))
    assert not payload._fits(SimpleNamespace(labels=judged_board.labels, data=SimpleNamespace(class_names=names)))


def test_standard_errors_of_differences_are_those_of_the_draws(judged_board, drawn):
    draws = judged_board.draws["clean"]
    found = iter(drawn["errors"]["clean"]["macro_f1"])
    values = [draws.values[1:, draws.rows.index(row), 1].astype(float) for row in judged_board.rows.index]
    for first in range(len(values)):
        for second in range(first + 1, len(values)):
            expected = (values[second] - values[first]).std(ddof=1)
            assert next(found) * ERROR_UNIT == pytest.approx(expected, abs=ERROR_UNIT)


def test_scores_on_test_clean_that_are_no_columns_are_there(judged_board, drawn):
    assert drawn["rows"][1]["clean_mcc"] == pytest.approx(judged_board.rows["clean_mcc"].iloc[1], rel=1e-4)


def test_numbers_become_plain():
    values = (np.float32(0.5), 0.671496, np.nan, np.int64(3), 1211815.0, np.bool_(True), "x", {"a": (1, None)})
    assert plain(values, 7) == [0.5, 0.671496, None, 3, 1211815, True, "x", {"a": [1, None]}]  # none is rounded twice
    assert plain((np.float32(0.1), np.array([1 / 3]))) == [float(np.float32(0.1)), [1 / 3]]


def test_what_a_run_says_tells_nothing_of_folders_elsewhere(stored_runs):
    said = {"command": "fer_bench run --data /home/me/x.csv", "notes": ["from /home/me/w.h5"]}
    stored_runs.rewrite(record := stored_runs.find("hog-svm"), weights_note="/home/me/w.h5", **said)
    made = payload.payload(load_leaderboard(stored_runs.folder))["runs"]
    own = next(run["settings"] for run in made if run["id"] == record.run_id)
    assert (own["command"], own["notes"], own["weights_note"]) == ("fer_bench run --data x.csv", ["from w.h5"], "w.h5")


def test_the_page_may_load_nothing(judged_board):
    page = html.page(judged_board)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.replace("&#39;", "'").startswith("default-src 'none'")
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)


def test_names_are_text(hostile_board):
    page = html.page(hostile_board)
    assert page.count("<script") == 2 and page.count("</script") == 2
    assert "<img" not in page and "<svg onload" not in page
    assert not set(data_of(page)) & set("<>&\u2028\u2029")
    assert json.loads(data_of(page))["data"]["class_names"] == list(hostile_board.data.class_names)


def test_a_board_without_rows_has_a_report(judged_board):
    names = ("rows", "recall", "runs", "scores", "versus", "best_of_model", "grid", "grid_status")
    nothing = {name: getattr(judged_board, name).iloc[:0] for name in names}
    bare = {name: {} for name in ("effects", "pooled", "picks", "draws", "predicted", "reliability")}
    board = dataclasses.replace(judged_board, findings=(), **nothing, **bare)
    assert json.loads(data_of(html.page(board)))["rows"] == []


def test_without_copies_nothing_is_told_of_clean_images(judged_board):
    data = dataclasses.replace(judged_board.data, clean_support=judged_board.data.support)
    made = payload.payload(dataclasses.replace(judged_board, data=data))
    assert set(made["recall"]) == {"test"} and made["clean"] is None
    assert not any(one["name"].startswith("clean_") for one in made["columns"])
    assert all("clean" not in run["scores"] for run in made["runs"])


def test_a_row_picked_twice_has_one_card(judged_board):
    picked = {pick.row for name, pick in judged_board.picks.items() if name in html.document.CARDS}
    assert html.page(judged_board).count('class="card"') == len(picked) < len(judged_board.picks)


def test_strategies_stand_by_their_names_without_a_script(judged_board):
    pooled = judged_board.pooled["test"]
    assert len(pooled)
    assert all(f'<th scope="row">{name}</th>' in html.page(judged_board) for name in pooled["strategy"])


def test_with_images_the_hardest_faces_and_the_surest_mistakes(judged_board):
    images = np.zeros((120, 12, 10), dtype=np.uint8)
    made = payload.payload(judged_board, images)["galleries"]
    assert made["picture"].startswith("data:image/") and (made["width"], made["height"]) == (10, 12)
    place = {name: at for at, name in enumerate(judged_board.predictions.ids["test"])}
    for run, own in made["mistakes"].items():
        for tile, answer, _ in own:
            image, label = made["faces"][tile]
            assert judged_board.predicted[run][place[image]] == answer != label == judged_board.labels[place[image]]
        assert [sure for *_, sure in own] == sorted((sure for *_, sure in own), reverse=True)
    shares = [share for _, share, _ in made["hardest"]]
    assert shares == sorted(shares, reverse=True)
    assert payload.payload(judged_board)["galleries"] is None


@pytest.mark.parametrize(
    ("name", "people"),
    [("synthetic", "all different"), ("synthetic-3b2662", "all different"), ("faces", "unknown: scores")],
)
def test_built_in_faces_are_known_to_be_of_different_people_in_a_folder_of_their_own_too(judged_board, name, people):
    board = dataclasses.replace(judged_board, data=dataclasses.replace(judged_board.data, name=name), findings=())
    assert f"<dt>people</dt><dd>{people}" in html.page(board)
