"""The page: what it holds, how long it is, and that nothing from the data acts in it."""

import pandas as pd
import pytest
from boards import audit, board, row
from markdown_it import MarkdownIt

from fer_bench.analysis.comparisons import Pick
from fer_bench.analysis.findings import Finding
from fer_bench.analysis.references import REFERENCES
from fer_bench.report.page import file_name, page
from fer_bench.report.text import one_line

HOSTILE = "a) [c](javascript:alert(2)) <img src=x onerror=alert(3)> (x"
STRATEGIES = ("none", *(f"strategy-of-kind-{number}" for number in range(12)))


def parsed(text):
    return MarkdownIt("commonmark").enable("table").parse(text)


def tables(text):
    """Cells by table and line."""
    found: list[list[list[str]]] = []
    for before, token in zip([None, *parsed(text)], parsed(text), strict=False):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and before.type in ("th_open", "td_open"):
            found[-1][-1].append("".join(child.content for child in token.children))
    return found


def links(text):
    inline = [child for token in parsed(text) for child in token.children or ()]
    return [child.attrs.get("href") or child.attrs["src"] for child in inline if child.type in ("link_open", "image")]


def picks(**rows):
    return {name: Pick(one, (one,), one) for name, one in rows.items()}


def test_as_many_rows_as_fer2013_has_fit_into_150_lines_and_25_kilobytes():
    rows = [row(f"network-of-some-kind-{model} (standard)", strategy, 0.7 - model / 50, family="deep", n_seeds=3)
            for model in range(9) for strategy in STRATEGIES]  # fmt: skip
    rows += [row(f"alone-{number} (quick, tuned)", macro_f1=0.2) for number in range(11)]
    reason = (Finding("TOO_GOOD", {"accuracy": 0.99, "n_images": 200, "ceiling": 0.95}),)
    unranked = pd.DataFrame({"suspect": True, "reasons": [reason] * 3, "accuracy": 1, "macro_f1": 1}, index=list("abc"))
    text = page(board(*rows, clean=True, audit=audit(15), references=REFERENCES["fer2013"], unranked=unranked,
                      picks=picks(all=rows[0]["row"], classical=rows[0]["row"], deep=rows[0]["row"])))  # fmt: skip
    assert len(rows) == 128
    assert len(text.splitlines()) <= 150 and len(text.encode()) <= 25_000


def test_models_stand_with_their_scores_and_what_is_picked_in_bold():
    rows = row("cnn", macro_f1=0.7, rank=1), row("cnn", "smote", 0.69), row("hog-svm", macro_f1=0.5, seconds=62.0)
    first, *_ = tables(page(board(*rows, picks=picks(all="cnn / none"))))
    assert first[0] == ["model", "strategy", "accuracy %", "precision", "recall", "macro-F1", "rank", "training",
                        "parameters", "seeds"]  # fmt: skip
    assert [line[:2] for line in first[1:]] == [["cnn", "none"], ["hog-svm", "none"]]
    assert first[1][2:7] == ["75.0", "0.700", "0.700", "0.700 (0.680–0.720)", "1 (1–3)"]
    assert first[2][7:] == ["62 s", "1,000", "1"]
    assert "**cnn**" in page(board(*rows, picks=picks(all="cnn / none")))


def test_rows_of_an_earlier_recipe_and_weights_of_a_file_are_named():
    text = page(board(
        row("hog-svm", recipe=1), row("cnn"), row("cnn (recipe 1)", recipe=1), row("pca-svm"),
        row("vgg16", initial_weights="file", weights_note="edges.h5"),
        row("mobilenet-v2", initial_weights="file", weights_asked="sha256:e0ca52214c83f862", weights_note="mine.h5"),
    ))  # fmt: skip
    assert "earlier version of their recipe: hog-svm." in text
    assert "of a file: vgg16 (edges.h5), mobilenet-v2 (ImageNet, brought back from 8 bits)." in text
    assert "earlier version" not in page(board(row("hog-svm")))


def test_the_grid_has_models_under_several_strategies_and_says_why_there_is_no_number():
    rows = row("cnn", macro_f1=0.7), row("cnn", "smote", 0.69, in_best_set=False), row("hog-svm", macro_f1=0.5)
    status = pd.DataFrame({"none": ["", ""], "smote": ["", "n/a"]}, index=["cnn", "hog-svm"])
    text = page(board(*rows, row("hog-svm", "focal-loss"), grid_status=status.assign(**{"focal-loss": ["failed", ""]})))
    grid = tables(text)[1]
    assert grid == [["model", "focal-loss", "none", "smote"], ["cnn", "failed", "0.700", "0.690"],
                    ["hog-svm", "0.500", "0.500", "n/a"]]  # fmt: skip
    assert "|cnn|failed|**0.700**|0.690|" in text


def test_strategies_with_their_change_who_gains_who_pays_and_counts():
    text = page(board(row("cnn", "smote", 0.6), row("cnn", macro_f1=0.5)))
    assert tables(text)[2][1] == ["smote", "+0.100 (+0.090 to +0.110)", "+0.0 (-1.0 to +1.0)", "angry +20.0",
                                  "sad -10.0", "1", "1", "0", "0", "0", "0"]  # fmt: skip


def test_recall_of_the_picked_models_on_all_and_on_clean_images():
    rows = row("cnn"), row("hog-svm")
    text = page(board(*rows, clean=True, audit=audit(15), picks=picks(classical="hog-svm / none", deep="cnn / none")))
    found = next(one for one in tables(text) if one[0][2:] == ["angry", "happy", "sad"])
    assert [line[:2] for line in found[1:]] == [
        ["hog-svm / none", "test"], ["cnn / none", "test"], ["", "test images"],
        ["hog-svm / none", "clean"], ["cnn / none", "clean"], ["", "clean images"],
    ]  # fmt: skip
    assert found[3][2:] == ["20", "60", "40"] and found[6][2:] == ["15", "55", "35"]


def test_lists_that_are_cut_say_how_many_more_there_are():
    reasons = pd.DataFrame(
        {"suspect": True, "reasons": [()] * 12, "accuracy": 0.5, "macro_f1": 0.5}, index=[*"abcdefghijkl"]
    )
    failures = pd.DataFrame({"model": "m", "strategy": "none", "seed": range(11), "status": "failed", "reason": "x"})
    text = page(board(row("cnn"), unranked=reasons, failures=failures))
    assert "|and 2 more|||" in text and "|and 1 more||||" in text and text.count("|m / none|") == 10


def test_its_only_links_lead_to_files_beside_it():
    assert links(page(board(row("cnn"), audit=audit()))) == [
        "leaderboard.png", "report.html", "leaderboard.csv", "data_card.md"
    ]  # fmt: skip
    assert links(page(board(row("cnn"), n_folds=5)))[:2] == ["leaderboard-5-folds.png", "report-5-folds.html"]
    assert file_name("", "latex") == "leaderboard.tex"


def test_no_name_from_the_data_acts_on_the_page():
    reasons = [(Finding("NOT_COMPARABLE", {"run_id": HOSTILE, "problem": HOSTILE}),)]
    unranked = pd.DataFrame({"suspect": [False], "reasons": reasons, "accuracy": [0.5], "macro_f1": [0.5]},
                            index=[HOSTILE])  # fmt: skip
    failures = pd.DataFrame(
        [{"model": HOSTILE, "strategy": HOSTILE, "seed": 0, "status": "failed", "reason": f"{HOSTILE}\n\n# x"}]
    )
    made = board(
        row(HOSTILE, macro_f1=0.7), row(HOSTILE, "smote", 0.6), row("hog-svm"), unranked=unranked, failures=failures,
        class_names=(HOSTILE, "|", "\n# x"), environment={HOSTILE: (HOSTILE,)}, command=f"run\n# {HOSTILE}",
        picks=picks(all=f"{HOSTILE} / none", classical="hog-svm / none", deep=f"{HOSTILE} / none"),
    )  # fmt: skip
    text = page(made)
    assert set(links(text)) == {"leaderboard.png", "report.html", "leaderboard.csv"}
    tokens = parsed(text)
    kinds = {token.type for token in tokens} | {child.type for token in tokens for child in token.children or ()}
    assert not kinds & {"html_block", "html_inline"}
    titles = [tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open"]
    assert "x" not in titles
    assert one_line(HOSTILE) in [cell for line in tables(text)[0] for cell in line]


@pytest.mark.parametrize(
    "made",
    [
        board(), board(row("cnn")), board(row("cnn"), row("hog-svm"), row("pca-svm")), board(row("cnn"), n_folds=5),
        board(suspicions=(Finding("GROUPS_ACROSS_SUBSETS", {"n": 7}),)),
        board(row("cnn", seconds=float("nan"), n_parameters=None, clean_macro_f1=float("nan"))),
        board(row("cnn"), row("cnn", "smote"), class_names=("怒り", "ناراحت", "क्षमा", "d")),
    ],
    ids=["no rows", "one row", "three rows", "folds", "untrusted data", "nothing known", "any script"],
)  # fmt: skip
def test_it_stands_whatever_is_known(made):
    text = page(made)
    assert text.startswith(f"# Leaderboard: faces{', 5 folds' * (made.data.n_folds == 5)}\n") and "\n\n\n" not in text
    assert "nan" not in text and "None" not in text
    assert all(name in text for name in made.data.class_names)


def test_a_command_tells_nothing_of_folders_elsewhere():
    made = board(
        row("cnn"), command="python -m fer_bench run --data ../data/x.csv.xz --plugin /a/b.py --models 'hog-*'"
    )
    assert "    python -m fer_bench run --data x.csv.xz --plugin b.py --models 'hog-*'\n" in page(made)
