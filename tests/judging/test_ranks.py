import numpy as np
import pytest
from matplotlib.axes import Axes

from fer_bench.judging.critical_difference import DRAWN, diagram
from fer_bench.judging.ranks import groups, rank_test


def scores(table: list[list[float]]) -> dict[str, dict[int, float]]:
    """Rows named a, b, ... from a table of blocks by rows."""
    return {
        name: {block: row[at] for block, row in enumerate(table)} for at, name in enumerate("abcdefgh"[: len(table[0])])
    }


def test_the_example_of_demsar():
    # Demsar (2006), table 6: AUC of C4.5 and three variants on 14 datasets; mean ranks, F and CD as printed there
    table = [
        [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
    ]  # fmt: skip
    test = rank_test(scores(table))
    assert test is not None
    means = dict(zip(test.names, test.mean_ranks, strict=True))
    assert [means[name] for name in "abcd"] == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=0.001)
    assert test.critical_difference == pytest.approx(1.25, abs=0.01)
    assert 0.01 < test.p < 0.05
    assert test.names[0] == "d"


def test_ranks_that_always_agree_leave_no_doubt_and_equal_rows_no_finding():
    always = rank_test(scores([[3.0, 2.0, 1.0]] * 5))
    assert always is not None
    assert (always.names, always.mean_ranks, always.p) == (("a", "b", "c"), (1, 2, 3), 0)
    never = rank_test(scores([[1.0, 1.0, 1.0]] * 5))
    assert never is not None
    assert never.p == pytest.approx(1)
    assert groups(never.mean_ranks, never.critical_difference) == ((0, 3),)


def test_equal_rows_are_found_different_at_most_5_times_in_100():
    rng = np.random.default_rng(0)
    found = [rank_test(scores(rng.normal(size=(10, 5)).tolist())) for _ in range(400)]
    assert np.mean([test.p < 0.05 for test in found if test]) < 0.05 + 1.64 * np.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize("table", [[[1.0, 2.0]] * 9, [[1.0, 2.0, 3.0]] * 2])
def test_too_few_rows_or_blocks_say_nothing(table):
    assert rank_test(scores(table)) is None
    assert rank_test({}) is None


def test_only_blocks_that_all_rows_have_count():
    by_row = scores([[3.0, 2.0, 1.0]] * 4)
    del by_row["b"][0]
    test = rank_test(by_row)
    assert test is not None
    assert test.n_blocks == 3


def test_groups_are_as_long_as_can_be_and_not_within_each_other():
    assert groups([1.0, 1.5, 2.2, 3.9, 4.0], 1.3) == ((0, 3), (3, 5))
    assert groups([1.0, 2.0, 3.0], 1.0) == ((0, 2), (1, 3))
    assert groups([1.0, 5.0], 1.0) == ()


def test_the_diagram_is_an_image_and_the_same_for_the_same_ranks():
    test = rank_test(scores([[3.0, 2.5, 1.0, 0.0]] * 4 + [[2.0, 2.5, 1.0, 0.5]]))
    assert test is not None
    image = diagram(test)
    assert image.startswith(b"\x89PNG")
    assert image == diagram(test)


def test_the_diagram_names_the_best_rows_and_no_more_than_can_be_read(monkeypatch):
    drawn = []
    monkeypatch.setattr(Axes, "text", lambda self, x, y, text, **style: drawn.append(text))
    test = rank_test({f"row {i:02}": {(seed, ""): float(-i) for seed in range(3)} for i in range(DRAWN + 5)})
    assert test is not None
    diagram(test)
    assert [text.partition("  ")[0] for text in drawn if text.startswith("row")] == list(test.names[:DRAWN])
