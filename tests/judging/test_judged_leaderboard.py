"""The leaderboard of a results folder whose runs stored their probabilities."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from fer_bench import cache, metrics
from fer_bench.errors import FerBenchError
from fer_bench.judging import evaluation, leaderboard, render
from fer_bench.judging.evaluation import Evaluator
from fer_bench.judging.evidence import Evidence
from fer_bench.judging.findings import picked
from fer_bench.judging.gate import MARK
from fer_bench.judging.resampling import MACRO_F1, Resamples, sample_run
from fer_bench.records.images import ImageFacts, images_path, write_images


def board_of(runs) -> leaderboard.Leaderboard:
    return leaderboard.build(runs.folder.records(), "report", folder=runs.folder.path)


def row_of(board: leaderboard.Leaderboard, model: str, strategy: str = "none"):
    return next(row for row in board.rows if (row.label, row.strategy) == (model, strategy))


def write_facts(runs, votes: bool = False) -> np.ndarray:
    """Facts by which every third test image has a copy in train; returns which are clean, bool (n,)."""
    ids = np.array(runs.ids["validation"] + runs.ids["test"])
    n = len(runs.labels["test"])
    copies = np.where(np.arange(2 * n) % 3 == 1, np.where(np.arange(2 * n) % 2, "near", "exact"), "")
    counted = np.zeros((2 * n, 4), dtype=np.int64)
    counted[np.arange(2 * n), np.tile(runs.labels["test"], 2)] = 8
    counted[0 : 2 * n : 5] = (0, 0, 0, 9)
    counted[:, 1] += 1
    names = ("top", "middle", "bottom", "unknown")
    subset = np.repeat(["validation", "test"], n)
    facts = ImageFacts(ids, subset, copies, *((counted, names) if votes else ()))
    write_images(images_path(runs.folder.path, runs.split), facts)
    return copies[n:] == ""


def test_rows_are_picked_by_validation_images_without_a_copy_in_train(stored_runs):
    labels = stored_runs.labels["validation"]
    copied = np.arange(len(labels)) % 3 == 1  # as `write_facts` has it
    weak = stored_runs.predictions(0.6, seed=4)
    right = 0.98 * np.eye(3)[labels] + 0.02 / 3
    validation = np.where(copied[:, None], right, weak["validation"])
    for name in ("hog-svm", "pca-svm"):  # those left have little skill, and remember no copy
        for record in stored_runs.folder.records():
            if record.spec.model == name:
                shutil.rmtree(stored_runs.folder.runs / record.run_id)
    stored_runs.add("remembers", weak | {"validation": validation})
    stored_runs.add("honest", stored_runs.predictions(0.8, seed=5))
    assert picked(board_of(stored_runs).rows).label == "remembers"
    write_facts(stored_runs)
    board = board_of(stored_runs)
    assert picked(board.rows).label == "honest"
    assert f"validation images alone, the {(~copied).sum()} without a copy in train" in render.markdown(board)
    chosen = next(record for record in stored_runs.folder.records() if record.spec.model == "honest")
    answers = Evidence.newest(stored_runs.folder).probabilities(chosen, "validation").argmax(axis=1)
    score = f1_score(labels[~copied], answers[~copied], average="macro")
    assert picked(board.rows).validation_f1 == pytest.approx(score)
    assert f"{score:.3f} (choosing_macro_f1 in the CSV)" in render.markdown(board)
    (line,) = [line for line in csv.DictReader(io.StringIO(render.csv_text(board))) if line["model"] == "honest"]
    assert float(line["choosing_macro_f1"]) == pytest.approx(score, abs=1e-6)
    assert float(line["validation_macro_f1"]) == pytest.approx(chosen.validation.macro_f1, abs=1e-6)
    stored_runs.predictions_path(chosen).unlink()
    assert picked(board_of(stored_runs).rows).label == "remembers"  # what counts copies in is not compared with it


def test_rows_have_intervals_bands_and_scores_from_their_probabilities(stored_runs):
    board = board_of(stored_runs)
    assert [(row.label, row.standing.band) for row in board.rows] == [("hog-svm", 1), ("pca-svm", 2), ("majority", 3)]
    best = board.rows[0]
    assert best.intervals["macro_f1"].low < best.macro_f1 < best.intervals["macro_f1"].high
    probabilities = stored_runs.predictions(2.0, seed=2)["test"]
    sample = sample_run(Resamples.of(stored_runs.labels["test"], 3), probabilities)
    assert best.intervals["macro_f1"] == sample.interval(MACRO_F1)
    scores = metrics.score(stored_runs.labels["test"], probabilities, "abc")
    assert best.further["mcc"].mean == pytest.approx(scores.mcc)
    assert best.further["ece_scaled"].mean > 0


def test_ties_share_a_band_and_the_summary_says_so(stored_runs):
    probabilities = stored_runs.predictions(2.0, seed=2)
    nearly = {name: rows.copy() for name, rows in probabilities.items()}
    nearly["test"][0] = np.eye(3)[(stored_runs.labels["test"][0] + 1) % 3]
    stored_runs.add("twin-svm", nearly)
    board = board_of(stored_runs)
    assert [row.standing.band for row in board.rows] == [1, 1, 2, 3]
    assert any("It ties in macro-F1 with 1 row" in text and "twin-svm" in text for text in render.summary(board))
    best, tie, *others = board.rows
    told_apart = replace(tie, standing=replace(tie.standing, accuracy_p=0.01))
    summary = " ".join(render.summary(replace(board, rows=(best, told_apart, *others))))
    assert f"{tie.name} (but less accurate)" in summary


def test_scores_on_record_give_way_to_those_of_the_probabilities(stored_runs):
    record = next(record for record in stored_runs.folder.records() if record.spec.model == "pca-svm")
    stored_runs.rewrite(record, test=record.test.model_copy(update={"macro_f1": 0.99}))
    assert row_of(board_of(stored_runs), "pca-svm").macro_f1 == pytest.approx(record.test.macro_f1)


def test_without_facts_test_clean_is_missing_and_with_them_it_is_another_score(stored_runs):
    before = board_of(stored_runs)
    assert (before.facts.clean_support, dict(before.rows[0].clean)) == ((), {})
    clean = write_facts(stored_runs)
    board = board_of(stored_runs)
    assert sum(board.facts.clean_support) == clean.sum() == 60
    probabilities = stored_runs.predictions(2.0, seed=2)["test"][clean]
    expected = metrics.score(stored_runs.labels["test"][clean], probabilities, "abc")
    best = board.rows[0]
    assert best.clean["macro_f1"].mean == pytest.approx(expected.macro_f1)
    assert best.clean_intervals["accuracy"].low < expected.accuracy < best.clean_intervals["accuracy"].high
    assert {row.clean_band for row in board.rows} == {1, 2, 3}
    assert "On test-clean, the 60 other images" in " ".join(render.summary(board))
    assert board.facts.votes is None


def test_votes_are_scored_where_there_are_some(stored_runs):
    write_facts(stored_runs, votes=True)
    board = board_of(stored_runs)
    counted, unusable, other, tied = board.facts.votes
    assert (counted, unusable, other, tied) == (72, 18, 0, 0)
    assert 0 < board.rows[0].votes["accuracy"].mean <= 1
    page = render.markdown(board)
    assert "## Against the taggers' votes" in page
    assert "72 test images count; left out are 18, 0 and 0" in page


def test_suspects_are_marked_with_the_evidence_and_not_ranked(stored_runs):
    labels = stored_runs.labels
    perfect = {name: np.eye(3, dtype=np.float32)[labels[name]] for name in labels}
    stored_runs.add("too-good", perfect)
    board = board_of(stored_runs)
    (one,) = board.unranked
    assert (one.row.label, one.suspect) == ("too-good", True)
    assert "100.0 % validation accuracy" in one.reasons[0]
    assert "too-good" not in [row.label for row in board.rows]
    page = render.markdown(board)
    assert f"{MARK}, not ranked: too-good / none." in page
    assert "100.0 % validation accuracy" in page.split("## Not ranked")[1].split("##")[0]
    (line,) = [line for line in render.csv_text(board).splitlines() if "too-good" in line]
    assert MARK in line and line.startswith(",,too-good")


def test_runs_that_cannot_be_compared_say_why_and_stop_nobody(stored_runs):
    bare = stored_runs.add("bare", stored_runs.predictions(1.0, seed=5))
    stored_runs.predictions_path(bare).unlink()
    torn = stored_runs.add("torn", stored_runs.predictions(1.0, seed=6))
    stored_runs.predictions_path(torn).write_bytes(b"PK\x03\x04 torn")
    board = board_of(stored_runs)
    reasons = {one.row.label: one.reasons[0] for one in board.unranked}
    assert not any(one.suspect for one in board.unranked)
    assert "no test probabilities are stored" in reasons["bare"]
    assert torn.run_id in reasons["torn"]
    assert len(board.rows) == 3


def test_a_run_that_selected_on_the_test_images_is_suspect(stored_runs):
    predicted = stored_runs.predictions(1.0, seed=5)
    record = stored_runs.add("peeking", predicted)
    ids = np.array(stored_runs.ids["test"])
    arrays = {"validation_ids": ids, "test_ids": ids}
    arrays |= {f"{name}_probabilities": rows for name, rows in predicted.items()}
    np.savez_compressed(stored_runs.predictions_path(record), **arrays)
    (one,) = board_of(stored_runs).unranked
    assert one.suspect
    assert "selected on the images it is reported on" in one.reasons[0]


def test_external_and_ensemble_rows_are_ranked_and_marked(stored_runs):
    stored_runs.add("mine", stored_runs.predictions(2.2, seed=7), strategy="external", family="external")
    stored_runs.add("greedy", stored_runs.predictions(2.2, seed=8), strategy="greedy-selection", family="ensemble")
    page = render.markdown(board_of(stored_runs))
    ranking = page.split("## Ranking")[1].split("\n## ")[0]
    assert r"mine \[external\]" in ranking
    assert r"greedy \[ensemble\]" in ranking
    grid = page.split("## Macro-F1 by model and strategy")[1].split("\n## ")[0]
    assert not re.search("mine|external|greedy", grid)


def test_effects_are_on_the_page_with_verdicts_and_who_pays(stored_runs):
    stored_runs.add("hog-svm", stored_runs.predictions(0.0, seed=9), strategy="over-sampling")
    board = board_of(stored_runs)
    (effect,) = board.strategy_effects
    assert (effect.label, effect.strategy, effect.verdict) == ("hog-svm", "over-sampling", "hurts")
    page = render.markdown(board)
    assert re.search(r"\| over-sampling \| hog-svm \| hurts: macro-F1 worse", page)
    assert "## Who pays" in page
    assert "helped: none; hurt: over-sampling 1 of 1 models." in page


def test_effects_are_judged_again_on_test_clean(stored_runs):
    """A strategy that is right about copies alone helps, and on test-clean does nothing."""
    clean = write_facts(stored_runs)
    plain = stored_runs.predictions(0.3, seed=9)
    right = 0.98 * np.eye(3, dtype=np.float32)[stored_runs.labels["test"]] + np.float32(0.02 / 3)
    stored_runs.add("cnn", plain)
    stored_runs.add("cnn", plain | {"test": np.where(clean[:, None], plain["test"], right)}, strategy="over-sampling")
    board = board_of(stored_runs)
    assert [effect.verdict for effect in board.strategy_effects] == ["helps"]
    assert [effect.verdict for effect in board.clean_effects] == ["same answers"]
    page = render.markdown(board)
    assert re.search(r"\| over-sampling +\| cnn +\| helps: [^|]+\| same answers +\|", page)
    assert "On all test images, helped: over-sampling 1 of 1 models; hurt: none." in page
    assert "On test-clean alone, helped: none; hurt: none." in page


def test_worse_calibration_alone_is_told_and_no_verdict(stored_runs):
    vague = stored_runs.predictions(1.0, seed=9)
    sure = {name: np.eye(3, dtype=np.float32)[rows.argmax(axis=1)] for name, rows in vague.items()}
    stored_runs.add("cnn", vague)
    stored_runs.add("cnn", sure, strategy="focal-loss")
    board = board_of(stored_runs)
    (effect,) = board.strategy_effects
    assert (effect.verdict, effect.worse) == ("same answers", ("ece",))
    # what cannot differ has no interval
    assert re.search(r"calibration worse \| +\+0\.000 \| +\+0\.0 \| +- \| \+0\.\d+\\\* \(", render.markdown(board))


def test_models_that_learned_nothing_do_not_speak_for_a_strategy(stored_runs):
    stored_runs.add("cnn", stored_runs.predictions(-9.0, seed=9))
    stored_runs.add("cnn", stored_runs.predictions(2.0, seed=9), strategy="over-sampling")
    board = board_of(stored_runs)
    assert [effect.verdict for effect in board.strategy_effects] == ["helps"]
    assert not any("elped" in text for text in render.summary(board))


def test_several_seeds_show_their_spread_ranks_and_a_diagram(stored_runs):
    for number, (model, skill) in enumerate({"majority": 0.0, "pca-svm": 1.0, "hog-svm": 2.0}.items()):
        for seed in (1, 2):
            stored_runs.add(model, stored_runs.predictions(skill, seed=10 * seed + number), seed=seed)
    folder = stored_runs.folder
    board = render.write_leaderboard(folder.records(), folder.path)
    assert board.rank_test.n_blocks == 3
    assert [name.partition(" / ")[0] for name in board.rank_test.names] == ["hog-svm", "pca-svm", "majority"]
    assert [row.standing.band for row in board.rows] == [1, 2, 3]
    page = (folder.path / "leaderboard.md").read_text()
    assert "±" in page and "not independent" in page
    assert (folder.path / "critical_difference.png").read_bytes().startswith(b"\x89PNG")


def test_one_seed_shows_no_ranks(stored_runs):
    board = render.write_leaderboard(stored_runs.folder.records(), stored_runs.folder.path)
    assert board.rank_test is None
    assert not (stored_runs.folder.path / "critical_difference.png").exists()
    assert "Friedman" not in render.markdown(board)


def test_a_run_is_computed_once_and_again_when_anything_changes(stored_runs, monkeypatch):
    record = stored_runs.folder.records()[0]
    computed = []
    original = Evaluator._compute

    def counted(self, record, work):
        computed.append(record.run_id)
        original(self, record, work)

    monkeypatch.setattr(Evaluator, "_compute", counted)
    evidence = Evidence.newest(stored_runs.folder)
    first = Evaluator(evidence).evaluate(record)
    again = Evaluator(evidence).evaluate(record)
    assert len(computed) <= 1  # an earlier test may have left the same content in the cache
    assert first.figures == again.figures
    assert (first.sample.values == again.sample.values).all()
    write_facts(stored_runs, votes=True)
    evidence = Evidence.newest(stored_runs.folder)
    assert Evaluator(evidence).evaluate(record).figures.votes is not None


def test_other_labels_and_other_code_are_judged_anew(stored_runs, monkeypatch):
    record = stored_runs.folder.records()[0]
    probabilities = Evidence.newest(stored_runs.folder).probabilities(record, "test")
    labels = {name: rows.copy() for name, rows in stored_runs.labels.items()}
    for corrected in (False, True):
        labels["test"][0] = (labels["test"][0] + corrected) % 3
        stored_runs.write_split(labels)
        figures = Evaluator(Evidence.newest(stored_runs.folder)).evaluate(record).figures
        assert figures.test == metrics.score(labels["test"], probabilities, stored_runs.CLASS_NAMES)
    monkeypatch.setattr(evaluation, "_code", lambda: "other code")
    monkeypatch.setattr(metrics, "score", lambda *_: figures.test.model_copy(update={"accuracy": 0.5}))
    evaluator = Evaluator(Evidence.newest(stored_runs.folder))
    assert evaluator.evaluate(record).figures.test.accuracy == 0.5 != figures.test.accuracy


@pytest.mark.parametrize("name", [evaluation.FIGURES, evaluation.ARRAYS])
def test_a_damaged_entry_of_the_cache_is_computed_again(stored_runs, tmp_path, monkeypatch, name):
    monkeypatch.setenv(cache.ENVIRONMENT_VARIABLE, str(tmp_path / "cache"))
    record = stored_runs.folder.records()[0]
    evidence = Evidence.newest(stored_runs.folder)
    found = Evaluator(evidence).evaluate(record)
    (damaged,) = (cache.root() / "judged").glob(f"*/{name}")
    content = damaged.read_bytes()
    for left in (content[:60], b""):
        damaged.write_bytes(left)
        assert Evaluator(evidence).evaluate(record).figures == found.figures
        assert len(damaged.read_bytes()) == len(content)


def test_an_entry_of_the_cache_that_cannot_be_mended_says_what_to_delete(stored_runs, tmp_path, monkeypatch):
    monkeypatch.setenv(cache.ENVIRONMENT_VARIABLE, str(tmp_path / "cache"))

    def write_nothing(evaluator, record, work):
        for name in (evaluation.FIGURES, evaluation.ARRAYS):
            (work / name).touch()

    monkeypatch.setattr(Evaluator, "_compute", write_nothing)
    with pytest.raises(FerBenchError, match=r"damaged cache entry .* delete that folder"):
        Evaluator(Evidence.newest(stored_runs.folder)).evaluate(stored_runs.folder.records()[0])


def test_a_missing_split_file_leaves_plain_ranks_and_says_so(stored_runs):
    stored_runs.split_path.unlink()
    board = board_of(stored_runs)
    assert [row.rank for row in board.rows] == [1, 2, 3]
    assert all(row.standing is None for row in board.rows)
    assert "There are no intervals and no bands" in " ".join(render.summary(board))


def test_json_and_latex_hold_what_the_page_shows(stored_runs):
    board = board_of(stored_runs)
    content = json.loads(render.FORMATS["json"][1](board))
    assert [row["band"] for row in content["rows"]] == [1, 2, 3]
    assert content["rows"][0]["intervals"]["macro_f1"]["low"] < content["rows"][0]["scores"]["macro_f1"]["mean"]
    assert len(content["runs"]) == 3
    assert content["summary"] == render.summary(board)
    latex = render.FORMATS["latex"][1](board)
    assert latex.count(r"\\") == 4
    assert "hog-svm" in latex and "–" not in latex and r"accuracy \%" in latex


def test_reports_on_what_is_cached_import_neither_tensorflow_nor_scikit_learn(stored_runs):
    board_of(stored_runs)
    code = (
        "import sys; from pathlib import Path; from fer_bench.judging import render;"
        "from fer_bench.records.store import ResultsFolder; folder = ResultsFolder(Path(sys.argv[1]));"
        "print(render.write_leaderboard(folder.records(), folder.path).rows[0].standing.band);"
        "print([name for name in ('tensorflow', 'keras', 'sklearn', 'matplotlib') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, stored_runs.folder.path], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split("\n")[:2] == ["1", "[]"]


def test_report_writes_the_formats_it_is_asked_for(stored_runs, program):
    told = program("report", "--name", "faces", "--format", "json", "--format", "latex")
    assert told.returncode == 0, told.stderr
    assert "leaderboard.json" in told.stdout
    written = {path.name for path in stored_runs.folder.path.glob("leaderboard.*")}
    assert written == {"leaderboard.json", "leaderboard.tex"}
    assert program("report", "--name", "faces").returncode == 0
    written = {path.name for path in stored_runs.folder.path.glob("leaderboard.*")} - written
    assert written == {"leaderboard.md", "leaderboard.csv"}
    assert program("report", "--name", "faces", "--format", "html").returncode == 2


def test_suspect_data_leave_no_row_ranked(stored_runs):
    nothing = {"groups": 0, "images": 0, "largest": 0, "across": 0, "conflicting": 0}
    subset = {
        "drawn": True, "images": 90, "class_counts": [30, 30, 30], "blank": 0, "exact_in_train": 0, "near_in_train": 0,
        "exact_in_validation": 0,
    }  # fmt: skip
    audit = {
        "dataset": "faces", "data_fingerprint": "d" * 16, "split_fingerprint": stored_runs.split,
        "split_source": "drawn", "class_names": ["top", "middle", "bottom"], "images": 270, "unique_images": 270,
        "imbalance_ratio": 1.0, "class_sorted": False, "fer2013": False, "fer2013_differences": [],
        "subsets": dict.fromkeys(("train", "validation", "test"), subset), "exact": nothing, "near": nothing,
        "near_pairs": 0, "mirrored_pairs": 0, "near_threshold": 0.9, "straddling_groups": 4, "blank_ids": [],
        "canary": {"images": 90, "nearest_neighbour": 0.4, "linear": 0.4, "majority": 0.3},
    }  # fmt: skip
    (stored_runs.folder.path / "audit.json").write_text(json.dumps(audit))
    board = board_of(stored_runs)
    assert (board.rows, len(board.unranked)) == ((), 3)
    page = render.markdown(board)
    assert "No row is ranked" in page
    assert f"The data themselves are {MARK}" in page
    assert "4 of the given groups" in page.split("## Not ranked")[1]
    assert "## Ranking" not in page
    assert all(MARK in line for line in render.csv_text(board).splitlines()[1:])
