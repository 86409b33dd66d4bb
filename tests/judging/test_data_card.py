"""The data card: every figure of the audit, on a page and on a terminal; the sheet of pairs."""

import cv2
import numpy as np
import pytest

from fer_bench.data import Dataset, find_copies, make_audit, make_split, make_synthetic
from fer_bench.judging.data_card import data_card, facts, terminal_lines
from fer_bench.judging.pair_sheet import write_pair_sheet
from fer_bench.records.audit import Audit


@pytest.fixture(scope="module")
def copied() -> Dataset:
    """200 faces of which 2 of 30 test images have an exact and 3 others a near copy in train; one is blank."""
    faces = make_synthetic(200)
    images, labels = faces.images.copy(), faces.labels.copy()
    images[170:172] = images[:2]
    labels[0], labels[170], labels[171] = 0, 1, labels[1]
    images[172:175] = images[2:5] // 2 + 20
    images[174] = images[4, :, ::-1]
    images[9] = 0
    return Dataset(
        "copied", images, labels, faces.class_names, faces.sample_ids,
        subsets=np.repeat(["train", "validation", "test"], [140, 30, 30]), groups=np.arange(200) // 4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def audit(copied) -> Audit:
    return Audit.model_validate(make_audit(copied, make_split(copied), find_copies(copied)))


def test_the_figures_are_those_of_the_audit(audit):
    figures = {fact.name: fact.figure for fact in facts(audit)}
    assert figures["unique images"] == "198"
    assert figures["test images with an exact copy in train"] == "2 (6.7 %)"
    assert figures["test images with a near copy in train"] == "3 (10.0 %)"
    assert figures["validation images with an exact copy in train"] == "0 (0.0 %)"
    assert figures["groups across subsets"] == "2 exact, 3 near"
    assert figures["exact copies with conflicting labels"] == "1 groups"
    assert (figures["blank images"], figures["mirrored pairs"]) == ("1", "1")
    assert figures["given groups across subsets"] == "1"
    assert "FER2013 totals" not in figures


def test_the_card_says_what_each_figure_means_and_how_it_was_made(audit):
    card = data_card(audit, "python -m fer_bench audit --data copied.npz")
    assert "**5 of the 30 test images (16.7 %) have a copy" in card
    for fact in facts(audit):
        line = next(line for line in card.splitlines() if line.startswith(f"| {fact.name} "))
        assert fact.figure in line
        assert fact.meaning in line
    assert "    python -m fer_bench audit --data copied.npz" in card
    assert audit.split_fingerprint in card
    assert "LEAK SUSPECT" in card  # the groups
    assert "- 1 of the given groups" in card


def test_a_clean_card_says_so(audit):
    no_copies = {"exact_in_train": 0, "near_in_train": 0}
    subsets = {name: subset.model_copy(update=no_copies) for name, subset in audit.subsets.items()}
    clean = audit.model_copy(update={"subsets": subsets, "straddling_groups": None})
    card = data_card(clean, "audit")
    assert "No image of the test set (30 images) has a copy" in card
    assert "Leak gate: passed" in card


def test_differences_from_fer2013_are_shown(audit):
    short = audit.model_copy(update={"fer2013_differences": ["happy: 8,000 images, FER2013 has 8,989"]})
    assert "- happy: 8,000 images, FER2013 has 8,989" in data_card(short, "audit")
    assert "happy: 8,000 images, FER2013 has 8,989" in terminal_lines(short)


def test_the_terminal_shows_every_figure(audit):
    lines = terminal_lines(audit)
    assert any(line.startswith("unique images") and line.endswith("198") for line in lines)
    for fact in facts(audit):
        assert any(line.startswith(fact.name) and line.endswith(fact.figure) for line in lines), fact


def test_the_sheet_shows_pairs(copied, tmp_path):
    path = tmp_path / "sheets" / "copies.png"
    write_pair_sheet(path, copied, make_split(copied), find_copies(copied))
    sheet = cv2.imread(str(path))
    assert sheet.shape[1] > 1000
    assert (sheet < 128).mean() > 0.02  # faces, not an empty page
    nothing = make_synthetic(250)
    write_pair_sheet(path, nothing, make_split(nothing), find_copies(nothing))
    assert cv2.imread(str(path)).shape[0] < sheet.shape[0]


def test_hostile_class_names_break_no_table(audit):
    names = ["a|b", "<b>x</b>", *audit.class_names[2:]]
    card = data_card(audit.model_copy(update={"class_names": names, "dataset": "da*ta"}), "audit")
    lines = [line for line in card.split("## Images per class")[1].splitlines() if line.startswith("|")]
    columns = {line.replace(r"\|", "").count("|") for line in lines}
    assert len(lines) == 2 + len(names) and columns == {lines[0].count("|")}
    assert "<b>" not in card and card.startswith(r"# Data card: da\*ta")
