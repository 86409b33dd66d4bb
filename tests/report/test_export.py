import csv
import io
import json

import pandas as pd
import pytest
from boards import audit, board, row

from fer_bench.analysis.comparisons import Pick
from fer_bench.analysis.findings import Finding
from fer_bench.report.export import csv_text, json_text, latex


def lines(made):
    return list(csv.DictReader(io.StringIO(csv_text(made))))


def unranked(name="odd / none"):
    reasons = [(Finding("TOO_GOOD", {"accuracy": 0.99, "n_images": 200, "ceiling": 0.95}),)]
    return pd.DataFrame({"suspect": [True], "reasons": reasons, "accuracy": [0.99], "macro_f1": [0.98]}, index=[name])


def test_csv_has_a_line_per_row_and_shares_with_six_decimals():
    found = lines(board(row("cnn", macro_f1=0.70000049, n_seeds=2), row("hog-svm", macro_f1=0.5, n_parameters=None)))
    assert [line["model"] for line in found] == ["cnn", "hog-svm"]
    first = found[0]
    assert [first[name] for name in ("macro_f1", "n_seeds", "n_parameters", "on_gpu")] == ["0.7", "2", "1000", "False"]
    assert (first["recall_happy"], first["runs"].split()) == (
        "0.5",
        ["cnn.none.s0-0123456789", "cnn.none.s1-0123456789"],
    )
    assert (found[1]["n_parameters"], found[1]["macro_f1_sd"]) == ("", "")


def test_csv_ends_with_rows_that_are_not_ranked():
    last = lines(board(row("cnn"), unranked=unranked()))[-1]
    assert [last[name] for name in ("model", "strategy", "macro_f1", "rank")] == ["odd", "none", "0.98", ""]


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x"])
def test_csv_holds_no_formula_and_no_line_breaks(name):
    first = lines(board(row(f"{name}\ny")))[0]
    assert first["model"] == f"'{name} y"


def test_json_holds_everything_and_no_nan():
    picks = {"all": Pick("cnn / none", ("cnn / none",), "cnn / none")}
    made = board(row("cnn"), row("cnn", "smote"), unranked=unranked(), audit=audit(), picks=picks)
    found = json.loads(json_text(made), parse_constant=lambda name: pytest.fail(name))
    assert found["rows"][0]["macro_f1"] == 0.5 and found["rows"][0]["macro_f1_sd"] is None
    assert found["picks"]["all"]["row"] == "cnn / none"
    assert found["findings"][0]["code"] == "SUSPECT_ROWS" and len(found["findings"]) == len(found["in_words"])
    assert [one["strategy"] for one in found["strategies"]["test"]] == ["smote"]
    assert found["audit"]["images"] == 620 and len(found["unranked"]) == 1


def test_latex_is_a_booktabs_table_with_everything_escaped():
    text = latex(board(row("a_b & c% $x$", clean_macro_f1=0.4)))
    assert all(word in text for word in (r"\toprule", r"\bottomrule", r"a\_b \& c\% \$x\$", "0.500 (0.480--0.520)"))


def test_no_rows_are_empty_files():
    made = board()
    assert lines(made) == [] and json.loads(json_text(made))["rows"] == []
    assert r"\toprule" in latex(made)
