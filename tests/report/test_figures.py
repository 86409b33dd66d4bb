import io

import numpy as np
import pytest
from boards import board, row
from PIL import Image

from fer_bench.report.figures import _draw, _name, drawable, frontier, quality_against_time
from fer_bench.report.page import picture


def rows(*given):
    return board(*given).rows


def test_the_frontier_has_no_row_that_is_slower_and_worse():
    frame = rows(
        row("cnn", macro_f1=0.7, seconds=100), row("hog-svm", macro_f1=0.6, seconds=10),
        row("slow", macro_f1=0.65, seconds=200), row("same", macro_f1=0.6, seconds=11), row("x", seconds=float("nan")),
    )  # fmt: skip
    assert frontier(frame).tolist() == ["hog-svm / none", "cnn / none"]


def test_time_on_a_gpu_is_not_compared_with_time_on_a_processor():
    frame = rows(row("cnn", macro_f1=0.7, seconds=5, on_gpu=True), row("hog-svm", macro_f1=0.6, seconds=10))
    assert frontier(frame).tolist() == ["hog-svm / none"]
    assert frontier(frame[frame["on_gpu"]]).tolist() == ["cnn / none"]


def test_names_cross_no_mark_and_baselines_have_none():
    from matplotlib.figure import Figure

    frame = rows(
        row("majority", macro_f1=0.1, seconds=0.1, family="baseline"), row("cnn", macro_f1=0.7, seconds=100),
        row("hog-svm", macro_f1=0.6, seconds=10), row("gpu", macro_f1=0.71, seconds=60, on_gpu=True),
    )  # fmt: skip
    axes = (figure := Figure(layout="constrained")).subplots()
    _draw(axes, frame, 0.1)
    figure.draw_without_rendering()
    _name(axes, frame)
    names = [text for text in axes.texts if " / " in text.get_text()]
    assert {text.get_text() for text in names} == {"cnn / none", "hog-svm / none"}
    marks = axes.transData.transform(frame[["seconds", "macro_f1"]])
    assert not any(text.get_window_extent().count_contains(marks) for text in names)


def test_the_same_rows_give_the_same_bytes_in_any_script(recwarn):
    frame = rows(row("怒り $x$ ناراحت", macro_f1=0.7, seconds=100), row("hog-svm", seconds=10))
    drawn = quality_against_time(frame, 0.05)
    assert drawn == quality_against_time(frame, 0.05)
    assert not [one for one in recwarn if "Glyph" in str(one.message)]
    pixels = np.asarray(Image.open(io.BytesIO(drawn)).convert("L"))
    assert pixels.shape[1] > 900 and pixels.std() > 5


@pytest.mark.parametrize("made", [board(), board(row("cnn", seconds=float("nan")))])
def test_rows_that_were_not_timed_have_no_picture(made):
    assert picture(made) is None


def test_one_row_has_a_picture():
    assert picture(board(row("cnn"))).startswith(b"\x89PNG")


def test_what_no_font_has_a_glyph_for_is_escaped():
    assert drawable("møde \ue123") == "møde \\ue123"
