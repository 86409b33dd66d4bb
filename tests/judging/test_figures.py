import subprocess
import sys
import warnings

import numpy as np
import pytest

from fer_bench.judging.figures import CONFUSION, CURVES, confusion, curves, draw_run


def history_of(scores=(0.2, 0.5, 0.4, 0.5), phases=("head", "head", "last block", "last block")):
    return [
        {
            "step": 100 * number, "epoch": number, "phase": phase, "seconds": 1.5 * number, "learning_rate": 0.1,
            "loss": 2 / number, "accuracy": 0.2 * number, "val_loss": 2.5 / number, "val_accuracy": 0.15 * number,
            "val_macro_f1": score,
        }
        for number, (score, phase) in enumerate(zip(scores, phases, strict=True), start=1)
    ]  # fmt: skip


def texts(figure):
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def lines(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}


def size(path):
    from PIL import Image

    with Image.open(path) as image:
        return image.size


def test_a_run_of_a_network_has_both_figures_small_and_readable(make_record, tmp_path):
    draw_run(make_record("cnn"), history_of(), tmp_path)
    for name in (CURVES, CONFUSION):
        assert (tmp_path / name).stat().st_size < 50_000
        width, height = size(tmp_path / name)
        assert 600 < width < 1000
        assert 300 < height < 800


@pytest.mark.parametrize("history", [[], history_of()[:1], [{"epoch": 1, "score": 2}, {"epoch": 2, "score": 3}]])
def test_no_curves_without_a_course(make_record, tmp_path, history):
    draw_run(make_record(), history, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CONFUSION]


def test_a_record_without_scores_has_no_confusion_matrix(make_record, tmp_path):
    draw_run(make_record(status="failed"), [], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_same_run_gives_the_same_bytes_without_date_or_program(make_record, tmp_path):
    import matplotlib

    for folder in (tmp_path / "one", tmp_path / "two"):
        draw_run(make_record("cnn"), history_of(), folder)
        matplotlib.rcParams["font.size"] = 20  # what somebody else sets does not matter
    matplotlib.rcdefaults()
    for name in (CURVES, CONFUSION):
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "two" / name).read_bytes()
        assert b"tEXt" not in content
        assert b"tIME" not in content


def test_rows_as_a_csv_file_gives_them_are_drawn_alike(make_record, tmp_path):
    as_text = [{name: str(value) for name, value in row.items()} for row in history_of()]
    for folder, rows in (("numbers", history_of()), ("text", as_text)):
        draw_run(make_record("cnn"), rows, tmp_path / folder)
    assert (tmp_path / "numbers" / CURVES).read_bytes() == (tmp_path / "text" / CURVES).read_bytes()


def test_curves_show_losses_and_accuracies_over_the_steps():
    losses, accuracies = curves(history_of(), "cnn, none").axes
    assert lines(losses)["training"] == [[100, 2], [200, 1], [300, pytest.approx(2 / 3)], [400, 0.5]]
    assert lines(losses)["validation"][0] == [100, 2.5]
    assert lines(accuracies)["training accuracy"][0] == [100, 0.2]
    assert lines(accuracies)["validation accuracy"][0] == [100, 0.15]
    assert [y for _, y in lines(accuracies)["validation macro-F1"]] == [0.2, 0.5, 0.4, 0.5]
    assert losses.get_xlabel() == "gradient step"


def test_the_step_whose_weights_were_kept_is_marked_the_first_of_the_best():
    losses, accuracies = curves(history_of(), "cnn, none").axes
    assert lines(losses)["weights kept"][0][0] == 200
    assert lines(accuracies)["kept: 0.500"] == [[200, 0.5]]


def test_phases_are_named_and_every_second_one_is_shaded():
    figure = curves(history_of(), "cnn, none")
    assert texts(figure).count("head") == texts(figure).count("last block") == 2
    for axes in figure.axes:
        (shade,) = axes.patches
        assert shade.get_x() == 200
        assert shade.get_x() + shade.get_width() == 400
    plain = curves(history_of(phases=["all layers"] * 4), "cnn, none")
    assert "all layers" not in texts(plain)
    assert all(len(axes.patches) == 0 for axes in plain.axes)


def test_a_perceptron_s_history_has_one_panel():
    (axes,) = curves([{"epoch": 1, "loss": 1.5}, {"epoch": 2, "loss": 1.2}], "hog-mlp, none").axes
    assert lines(axes) == {"training": [[1, 1.5], [2, 1.2]]}
    assert axes.get_xlabel() == "epoch"


def test_confusion_shows_shares_counts_names_and_what_it_is_about(make_record):
    record = make_record("cnn", "focal-loss")
    matrix = [[30, 10, 0], [1, 3, 0], [0, 0, 0]]
    scores = record.test.model_copy(update={"confusion": matrix, "macro_f1": 0.4321, "n_images": 44})
    record = record.model_copy(update={"class_names": ["happy", "sad", "neutral"], "test": scores})
    figure = confusion(record, scores)
    (axes,) = figure.axes
    np.testing.assert_allclose(axes.get_images()[0].get_array(), [[0.75, 0.25, 0], [0.25, 0.75, 0], [0, 0, 0]])
    cells = [text.get_text() for text in axes.texts]
    assert cells == ["75%", "30", "25%", "10", "0%", "0", "25%", "1", "75%", "3", "0%", "0", *["-", "0"] * 3]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["happy", "sad", "neutral"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["happy\nn = 40", "sad\nn = 4", "neutral\nn = 0"]
    title = figure.get_suptitle()
    assert all(part in title for part in ("cnn", "focal-loss", "macro-F1 0.432", "44 test images"))


@pytest.mark.parametrize("names", [["a", "b"], [f"class number {i}" for i in range(20)], ["$x", "_^$", "a" * 40]])
def test_any_class_names_can_be_drawn(make_record, tmp_path, names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_run(make_record(class_names=names), [], tmp_path)
    assert min(size(tmp_path / CONFUSION)) > 200


def test_the_module_is_light_and_drawing_leaves_pyplot_and_the_models_alone(tmp_path):
    code = """
import sys
from pathlib import Path
from fer_bench.judging import figures
print([name for name in ("matplotlib", "keras", "sklearn", "fer_bench.models") if name in sys.modules])
from matplotlib import style
with style.context(["default", figures.STYLE]):
    figures._save(figures.curves([{"epoch": 1, "loss": 2}, {"epoch": 2, "loss": 1}], "a run"), Path(sys.argv[1]))
print([name for name in ("matplotlib.pyplot", "fer_bench.models") if name in sys.modules])
"""
    command = [sys.executable, "-c", code, str(tmp_path / "curves.png")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n[]\n"
