from dataclasses import replace

import pandas as pd
import pytest
from boards import audit, board, row

from fer_bench.analysis.comparisons import Pick
from fer_bench.analysis.findings import Finding, findings


def found(made, code):
    return next((finding.values for finding in made.findings if finding.code == code), None)


def codes(made):
    return [finding.code for finding in made.findings]


def versus(classical, deep, value, low, high, how="picked", subset="test"):
    measured = {"classical": classical, "deep": deep, "classical_value": 0.5, "deep_value": 0.5 + value}
    cost = {"classical_seconds": 62.0, "deep_seconds": 480.0}
    return [
        {"how": how, "subset": subset, "measure": measure, "value": value, "low": low, "high": high, **measured, **cost}
        for measure in ("accuracy", "macro_f1")
    ]


def test_the_best_row_and_those_that_tie_with_it():
    tied = row("cnn", "smote", 0.69)
    made = board(row("cnn", macro_f1=0.7), tied, row("hog-svm", macro_f1=0.5, in_best_set=False))
    best = found(made, "BEST")
    assert (best["row"], best["n_rows"]) == ("cnn / none", 3)
    assert (best["macro_f1"], best["macro_f1_low"], best["macro_f1_high"]) == pytest.approx((0.7, 0.68, 0.72))
    assert found(made, "TIES_WITH_BEST") == {
        "n": 1, "rows": ["cnn / smote"], "is_spread_known": True, "is_enough": True,
    }  # fmt: skip


def test_one_row_ties_with_nothing():
    assert found(board(row("cnn")), "TIES_WITH_BEST") is None


def test_an_ensemble_tells_of_how_many_it_is_made_and_what_that_brings():
    mixed = row("ensemble", "greedy-selection", 0.7, family="ensemble")
    gain = {"n_images": 45, "macro_f1": [0.01, -0.02, 0.04], "accuracy": [0.02, 0.01, 0.03]}
    lines = {"members": [{"a": 0.5, "b": 0.5}], "settings": [{"gain": gain}]}
    made = board(mixed, runs=pd.DataFrame(lines, index=[mixed["runs"][0]]))
    assert found(made, "ENSEMBLE") == {"row": "ensemble / greedy-selection", "n_members": 2, **gain}


@pytest.mark.parametrize(("value", "low", "high"), [(0.1, 0.05, 0.15), (-0.1, -0.15, -0.05), (0.01, -0.02, 0.04)])
def test_classical_against_deep_tells_the_difference_and_what_it_costs(value, low, high):
    lines = versus("hog-svm / none", "cnn / none", value, low, high)
    made = board(row("cnn"), row("hog-svm"), versus=pd.DataFrame(lines))
    told = found(made, "CLASSICAL_AGAINST_DEEP")
    assert (told["classical"], told["deep"], told["how"]) == ("hog-svm / none", "cnn / none", "picked")
    assert told["test_macro_f1"] == {"value": value, "low": low, "high": high, "classical": 0.5, "deep": 0.5 + value}
    assert (told["classical_seconds"], told["deep_seconds"]) == (62, 480)
    assert "clean_macro_f1" not in told


def test_classical_against_deep_on_clean_images_only_where_some_have_copies():
    pair = ("hog-svm / none", "cnn / none")
    frame = pd.DataFrame([*versus(*pair, 0.1, 0.05, 0.15), *versus(*pair, 0.2, 0.1, 0.3, subset="clean")])
    rows = row("cnn"), row("hog-svm")
    assert found(board(*rows, versus=frame, clean=True), "CLASSICAL_AGAINST_DEEP")["clean_accuracy"]["value"] == 0.2
    assert "clean_accuracy" not in found(board(*rows, versus=frame), "CLASSICAL_AGAINST_DEEP")


def test_what_to_use_with_minutes_and_hours_and_what_is_as_good_in_less_time():
    slow, quick = row("cnn", macro_f1=0.7, seconds=4000.0), row("cnn", "smote", 0.69, seconds=1000.0)
    minutes = row("hog-svm", macro_f1=0.5, in_best_set=False)
    picked = Pick("cnn / none", ("cnn / none", "cnn / smote"), "cnn / none")
    picks = {"all": picked, "hours": picked, "minutes": Pick("hog-svm / none", ("hog-svm / none",), "hog-svm / none")}
    told = found(board(slow, quick, minutes, picks=picks), "USE")
    assert told["hours"]["row"] == "cnn / none" and told["hours"]["within"] == ["cnn / smote"]
    assert told["hours"]["faster"] == {"row": "cnn / smote", "seconds": 1000, "macro_f1": 0.69}
    assert (told["minutes"]["row"], told["minutes"]["faster"], told["minutes"]["ties"]) == (
        "hog-svm / none",
        None,
        False,
    )
    assert told["gpu"] is None and told["n_gpu"] == 0


def test_strategies_that_raise_macro_f1_and_who_pays():
    rows = [row("cnn", "smote", 0.6), row("cnn", "focal-loss", 0.505), row("cnn"), row("cnn", "under-sampling", 0.4)]
    told = found(made := board(*rows), "STRATEGIES_POOLED")
    groups = {name: [one["strategy"] for one in told[name]] for name in ("raise", "lower", "unclear")}
    assert groups == {"raise": ["smote"], "lower": ["under-sampling"], "unclear": ["focal-loss"]}
    assert told["raise"][0]["macro_f1"] == pytest.approx(0.1) and told["n_models"] == told["n_least"] == 1
    assert told["raise"][0]["n_beyond"] == 1 and told["unclear"][0]["n_beyond"] == 0
    assert told["clean"] is None
    on_clean = found(board(*rows, clean=True, audit=audit(15)), "STRATEGIES_POOLED")["clean"]
    assert {name: [one["strategy"] for one in on_clean[name]] for name in groups} == groups
    assert found(made, "WHO_PAYS") == {
        "gainer": "angry", "gainer_rose": 3, "gainer_fell": 0, "payer": "sad", "payer_rose": 0, "payer_fell": 3, "n": 3
    }  # fmt: skip


def test_models_that_beat_no_constant_answer_do_not_count_for_who_pays():
    assert found(board(row("cnn", "smote", 0.6), row("cnn", speaks=False)), "WHO_PAYS") is None


def test_copies_are_counted_and_what_scores_are_without_them():
    made = board(row("cnn", macro_f1=0.7), row("hog-svm", clean_macro_f1=0.66), audit=audit(15), clean=True)
    copies = found(made, "COPIES")
    assert (copies["n"], copies["n_test"], copies["n_rows"]) == (15, 120, 2)
    assert copies["macro_f1"] == pytest.approx((0.05 - 0.16) / 2)
    assert copies["accuracy"] == pytest.approx(0.07)
    clean = found(made, "CLEAN")
    assert (clean["row"], clean["n_images"], clean["ties"]) == ("hog-svm / none", 105, ["cnn / none"])


def test_a_class_of_which_all_test_images_have_copies():
    made = board(row("cnn"), audit=audit(40), clean=True)
    made = replace(made, data=replace(made.data, clean_support=(0, *made.data.clean_support[1:])))
    told = {one.code: one.values for one in findings(made)}
    assert (told["COPIES"]["rarest"], told["COPIES"]["n_rarest"]) == (made.data.class_names[0], 0)


def test_data_without_copies_or_audit_or_people():
    assert found(board(row("cnn"), audit=audit()), "NO_COPIES") == {"n_test": 120}
    assert "NOT_AUDITED" in codes(board(row("cnn"))) and "NOT_AUDITED" not in codes(board(row("cnn"), audit=audit()))


@pytest.mark.parametrize("n_folds", [0, 5])
@pytest.mark.parametrize(
    ("name", "grouped_by", "n_groups", "expected"),
    [
        ("faces", "", 0, {"PEOPLE_UNKNOWN"}),
        ("faces", "image", 90, {"PEOPLE_UNKNOWN"}),
        ("faces", "person", 9, {"FEW_PEOPLE"}),
        ("faces", "person", 10, set()),
        ("synthetic", "", 0, set()),
    ],
)
def test_people_who_are_not_known_or_few_are_told(n_folds, name, grouped_by, n_groups, expected):
    made = board(row("cnn"), n_folds=n_folds)
    data = replace(made.data, name=name, grouped_by=grouped_by, n_groups=n_groups)
    found_codes = {one.code for one in findings(replace(made, data=data))}
    assert {"PEOPLE_UNKNOWN", "FEW_PEOPLE"} & found_codes == expected


def test_folds_keep_copies_together():
    made = board(row("cnn"), n_folds=5)
    assert found(made, "NO_COPIES") and "NOT_AUDITED" not in codes(made)


def test_rows_of_one_seed_and_families_of_which_the_spread_is_not_known():
    from fer_bench.analysis.comparisons import Draws

    draws = {"test": Draws((), (), None, {"deep": False, "classical": True})}
    same = row("hog-svm", stochastic=False)  # whatever the seed
    made = board(row("cnn"), row("hog-forest", n_seeds=3), same, draws=draws)
    assert found(made, "ONE_SEED") == {"n": 1, "n_rows": 2, "unknown": ["deep"]}
    assert "ONE_SEED" not in codes(board(same, draws=draws))


def test_a_constant_answer_names_the_most_frequent_class_and_rows_that_are_not_better():
    told = found(board(row("cnn", speaks=False)), "CONSTANT_ANSWER")
    assert told == {
        "class_name": "happy", "accuracy": 0.5, "macro_f1": pytest.approx(2 / 3 / 3), "rows": ["cnn / none"]
    }  # fmt: skip


def test_warnings_stand_first():
    unranked = pd.DataFrame(
        {"suspect": [True], "reasons": [(Finding("TOO_GOOD", {"accuracy": 0.99, "n_images": 200, "ceiling": 0.95}),)],
         "accuracy": [0.99], "macro_f1": [0.99]}, index=["odd / none"]
    )  # fmt: skip
    failures = pd.DataFrame([{"model": "cnn", "strategy": "none", "seed": 1, "status": "failed", "reason": "no room"}])
    made = board(row("vgg16", unpretrained=True, weights_asked="auto"), unranked=unranked, failures=failures)
    assert codes(made)[:3] == ["SUSPECT_ROWS", "UNPRETRAINED", "FAILED_RUNS"]
    assert found(made, "UNPRETRAINED") == {"models": ["vgg16"], "not_had": True}
    assert found(made, "FAILED_RUNS") == {"n": 1, "models": ["cnn"]}


def test_networks_of_too_few_steps_are_told_and_decide_nothing():
    lines = versus("hog-svm / none", "cnn / none", -0.1, -0.15, -0.05)
    rows = row("hog-mlp", budget="quick"), row("hog-svm")
    quick = board(row("cnn", budget="quick"), *rows, versus=pd.DataFrame(lines))
    assert found(quick, "QUICK_NETWORKS") == {"models": ["cnn"]}
    assert found(quick, "CLASSICAL_AGAINST_DEEP")["is_quick"]
    assert found(board(row("cnn", budget="quick", epochs=9.0), *rows), "QUICK_NETWORKS")
    for trained in (row("cnn", budget="standard"), row("cnn", budget="quick", epochs=10.0)):
        made = board(trained, *rows, versus=pd.DataFrame(lines))
        assert found(made, "QUICK_NETWORKS") is None
        assert not found(made, "CLASSICAL_AGAINST_DEEP")["is_quick"]


def test_classes_of_few_test_images_are_told():
    made = board(row("cnn"), row("hog-svm"))
    assert found(made, "FEW_IMAGES") is None and found(made, "TIES_WITH_BEST")["is_enough"]
    told = {one.code: one.values for one in findings(replace(made, data=replace(made.data, support=(9, 71, 40))))}
    assert told["FEW_IMAGES"] == {"names": ["angry"], "counts": [9]} and not told["TIES_WITH_BEST"]["is_enough"]


def test_nobody_is_on_rendered_faces():
    made = board(row("cnn"), audit=audit())
    for name in ("synthetic", "synthetic-3b2662", "synthetic-3b26627c6bcdcf27"):
        told = [one.code for one in findings(replace(made, data=replace(made.data, name=name)))]
        assert told[0] == "RENDERED" and "PEOPLE_UNKNOWN" not in told
    assert "RENDERED" not in codes(made)


def test_untrusted_data_rank_nothing():
    reason = Finding("GROUPS_ACROSS_SUBSETS", {"n": 7})
    made = board(suspicions=(reason,))
    assert codes(made) == ["UNTRUSTED_DATA", "NOTHING_RANKED"]
    assert found(made, "UNTRUSTED_DATA")["reasons"] == (reason,)
