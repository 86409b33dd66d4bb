import pytest
from boards import audit
from markdown_it import MarkdownIt

from fer_bench.report import audit_lines
from fer_bench.report.data_card import data_card


def cells(text):
    return [token.content for token in MarkdownIt("commonmark").enable("table").parse(text) if token.type == "inline"]


def test_copies_stand_first_and_in_the_table():
    text = data_card(audit(15))
    assert text.splitlines()[2].startswith("**15 of the 120 test images (12.5 %)")
    assert cells(text)[cells(text).index("test images with an exact copy in train") + 1] == "15 (12.5 %)"


def test_classes_are_counted_by_subset():
    text = cells(data_card(audit()))
    at = text.index("angry")
    assert text[at : at + 6] == ["angry", "133", "33", "40", "206", "33.2 %"]


@pytest.mark.parametrize(("straddling", "cell"), [(None, "people"), (7, "given groups across subsets")])
def test_people_are_known_or_not(straddling, cell):
    assert cell in cells(data_card(audit(straddling=straddling)))


def test_who_is_on_the_images_and_what_is_thin_is_said_before_all_else():
    lines = audit_lines(audit())
    assert any(line.startswith("People unknown") for line in lines)
    few = audit().subsets["test"].model_copy(update={"class_counts": [111, 9, 0]})
    known = {"grouped_by": "person", "n_groups": 12, "groups_from": "column subject", "notes": ("a note",)}
    made = audit().model_copy(update={**known, "subsets": {**audit().subsets, "test": few}})
    lines, text = audit_lines(made), data_card(made)
    assert not any("unknown" in line.lower() for line in lines) and "unknown" not in text.lower()
    assert "people: 12, known by column subject" in lines and "a note" in lines and "- a note" in text
    assert text.index("happy 9") < text.index("|images|") and any("happy 9" in line for line in lines)


def test_evidence_against_the_data_is_listed():
    assert "LEAK SUSPECT" not in data_card(audit())
    suspect = data_card(audit(straddling=7))
    assert "LEAK SUSPECT" in suspect and "\n- 7 of the given groups" in suspect


def test_names_are_escaped():
    made = audit().model_copy(update={"dataset": "<b>[x](y)", "class_names": ["|", "*a*", "b"]})
    text = data_card(made)
    assert "<b>" not in text
    assert "|" in cells(text) and "\\*a\\*" in text


def test_a_terminal_shows_counts_and_evidence():
    lines = audit_lines(audit(15, straddling=7))
    assert "test: 15 images equal a training image, 0 nearly" in lines
    assert any(line.startswith("LEAK SUSPECT") for line in lines)
    assert not any(line.startswith("LEAK SUSPECT") for line in audit_lines(audit()))
