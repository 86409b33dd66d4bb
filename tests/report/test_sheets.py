"""What runs find hard, and sheets of images to look at."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fer_bench.analysis import Predictions
from fer_bench.data import Dataset, Split, find_copies
from fer_bench.errors import FerBenchError
from fer_bench.report import write_copies, write_hard_faces
from fer_bench.report.sheets import Tile, draw, hard_faces, trained

SURE, UNSURE = [0.95, 0.03, 0.02], [0.3, 0.1, 0.6]


@pytest.fixture
def planted(stored_runs):
    """Three runs: all miss image 4, surely; two miss image 7; image 9 (top) goes for bottom, less surely."""
    right = 0.8 * np.eye(3)[stored_runs.labels["test"]] + 0.2 / 3

    def predictions(wrong):
        rows = right.copy()
        for row, probabilities in wrong.items():
            rows[row] = probabilities
        return {"validation": right.astype(np.float32), "test": rows.astype(np.float32)}

    for model, wrong in (("hog-svm", {4: SURE, 9: UNSURE}), ("pca-svm", {4: SURE, 7: SURE, 9: UNSURE}),
                         ("cnn", {4: SURE, 7: SURE, 9: UNSURE})):  # fmt: skip
        stored_runs.add(model, predictions(wrong))
    return stored_runs


def found(planted, *run_ids):
    predictions = Predictions.newest(planted.folder)
    rows = trained(predictions)
    return hard_faces(predictions.labels["test"], [rows[run_id] for run_id in run_ids or rows])


def test_what_every_run_misses_is_found_the_hardest_first(planted):
    hard = found(planted)
    assert hard.n_runs == 3  # not `majority`, a baseline
    assert hard.missed.tolist() == [4, 9] and hard.mistakes.tolist() == [4, 7, 9]
    assert hard.probabilities[4] == pytest.approx(SURE)


def test_most_confused_classes_come_first_with_their_share(planted):
    first, second, *rest = found(planted).confusions
    assert (first.label, first.answer, first.rows.tolist()) == (1, 0, [4, 7])
    assert first.share == pytest.approx((1 + 2 / 3) / 30)
    assert (second.label, second.answer, second.rows.tolist(), rest) == (0, 2, [9], [])


def test_one_run_alone_tells_of_its_own_mistakes(planted):
    assert found(planted, planted.find("hog-svm").run_id).mistakes.tolist() == [4, 9]


def dataset_of(runs):
    ids = np.array([one for subset in ("train", "validation", "test") for one in runs.ids[subset]])
    images = np.random.default_rng(0).integers(0, 256, (len(ids), 24, 20), dtype=np.uint8)
    return Dataset("faces", images, np.arange(len(ids)) % 3, runs.CLASS_NAMES, ids)


def test_only_runs_that_look_at_images_tell_how_hard_they_are(stored_runs):
    for record in stored_runs.folder.records():
        stored_runs.rewrite(record, family="baseline")
    with pytest.raises(FerBenchError, match="only baselines"):
        trained(Predictions.newest(stored_runs.folder))


def test_sheets_are_drawn_for_all_runs_and_for_each(planted):
    data = dataset_of(planted)
    for record in planted.folder.records():
        planted.rewrite(record, spec=replace(record.spec, data_fingerprint=data.fingerprint))
    lines, paths = write_hard_faces(planted.folder, data)
    assert [path.parent.name for path in paths] == ["sheets"] * 4 and paths[0].stem == "hard-faces"
    assert all(np.asarray(Image.open(path)).std() > 10 and Image.open(path).width > 1000 for path in paths)
    assert lines[0].startswith("3 runs") and "2 of 90" in lines[0]
    assert "middle taken for top: 5.6% of the class" in lines and lines[-1].endswith("taken for bottom, 0.60")


def test_other_data_than_the_runs_were_made_on_is_refused(planted):
    with pytest.raises(FerBenchError, match="of data dddddddddddddddd"):
        write_hard_faces(planted.folder, dataset_of(planted))


def test_a_sheet_shows_each_image_where_it_belongs():
    red = np.zeros((10, 20, 3), np.uint8)
    red[..., 0] = 255
    tiles = [Tile(np.full((8, 8), 7 * number, np.uint8), ("one", "怒り")) for number in range(1, 12)] + [Tile(red, ())]
    sheet = np.asarray(draw("title", [("first", tiles), ("empty", [])]))
    for number in range(1, 12):
        assert ((sheet == 7 * number).all(axis=2)).sum() >= 100 * 100
    assert (sheet == (255, 0, 0)).all(axis=2).sum() >= 50 * 100


def test_pairs_of_copies_are_drawn(tmp_path):
    faces = np.random.default_rng(0).integers(0, 256, (60, 24, 24), dtype=np.uint8)
    images, labels = np.concatenate([faces, faces[:6]]), np.concatenate([np.arange(60) % 3, (np.arange(6) + 1) % 3])
    made = Dataset("faces", images, labels, ("a", "b", "c"), np.array([f"row-{row}" for row in range(66)]))
    subsets = np.split(np.arange(66), [40, 50])
    path = tmp_path / "copies.png"
    write_copies(path, made, Split(*subsets, "drawn", "f" * 16), find_copies(made))
    assert Image.open(path).size[0] > 1000 and np.asarray(Image.open(path)).std() > 10
