"""Hard faces: what every run misses, what is missed with most confidence, what is confused; and sheets to look at."""

import cv2
import numpy as np
import pytest

from fer_bench.data import Dataset
from fer_bench.errors import FerBenchError
from fer_bench.judging.evidence import Evidence
from fer_bench.judging.hard_faces import hard_faces, tables, trained, write_sheets
from fer_bench.judging.sheet import Section, Tile, draw


@pytest.fixture
def planted(stored_runs):
    """Three runs: all miss image 4, surely; two miss image 7; image 9 (top) goes for bottom, less surely."""
    right = 0.8 * np.eye(3)[stored_runs.labels["test"]] + 0.2 / 3

    def predictions(wrong: dict[int, list[float]]) -> dict[str, np.ndarray]:
        rows = right.copy()
        for row, probabilities in wrong.items():
            rows[row] = probabilities
        return {"validation": right.astype(np.float32), "test": rows.astype(np.float32)}

    sure, unsure = [0.95, 0.03, 0.02], [0.3, 0.1, 0.6]
    stored_runs.add("hog-svm", predictions({4: sure, 9: unsure}))
    stored_runs.add("pca-svm", predictions({4: sure, 7: sure, 9: unsure}))
    stored_runs.add("cnn", predictions({4: sure, 7: sure, 9: unsure}))
    return stored_runs


@pytest.fixture
def evidence(planted):
    return Evidence.newest(planted.folder)


def test_what_every_run_misses_is_found_the_hardest_first(evidence):
    hard = hard_faces(evidence, trained(evidence))
    assert len(hard.run_ids) == 3  # not `majority`, a baseline
    assert hard.missed.tolist() == [4, 9]
    assert hard.mistakes.tolist() == [4, 7, 9]
    assert hard.probabilities[4] == pytest.approx([0.95, 0.03, 0.02])


def test_most_confused_classes_come_first_with_their_share(evidence):
    first, second, *rest = hard_faces(evidence, trained(evidence)).pairs
    assert (first.label, first.answer, first.rows.tolist()) == (1, 0, [4, 7])
    assert first.share == pytest.approx((1 + 2 / 3) / 30)
    assert (second.label, second.answer, second.rows.tolist()) == (0, 2, [9])
    assert rest == []


def test_one_run_alone_tells_of_its_own_mistakes(evidence):
    record = next(record for record in evidence.records if record.spec.model == "hog-svm")
    assert hard_faces(evidence, [record]).mistakes.tolist() == [4, 9]


def test_terminal_lines_tell_counts_pairs_and_images(evidence):
    lines = "\n".join(tables(evidence, hard_faces(evidence, trained(evidence))))
    assert "runs, without baselines: 3; test images that all of them miss: 2 of 90" in lines
    assert "5.6%" in lines and "row-184" in lines and "0.95" in lines


def test_only_runs_that_look_at_images_tell_how_hard_they_are(stored_runs):
    for record in stored_runs.folder.records():
        stored_runs.rewrite(record, family="baseline")
    with pytest.raises(FerBenchError, match="only baselines"):
        trained(Evidence.newest(stored_runs.folder))


def dataset(planted) -> Dataset:
    ids = [sample_id for subset in planted.ids.values() for sample_id in subset]
    images = np.random.default_rng(0).integers(0, 256, (len(ids), 24, 20), dtype=np.uint8)
    labels = np.concatenate([np.arange(90) % 3] * 3)
    return Dataset("faces", images, labels, planted.CLASS_NAMES, np.array(ids))


def test_sheets_are_drawn_for_all_runs_and_for_each(planted):
    data = dataset(planted)
    for record in planted.folder.records():
        spec = record.spec.model_copy(update={"data_fingerprint": data.fingerprint})
        planted.rewrite(record, spec=spec)
    evidence = Evidence.newest(planted.folder)
    paths = write_sheets(evidence, data)
    assert [path.parent.name for path in paths] == ["sheets"] * 4
    assert {path.stem for path in paths} == {"hard-faces", *(record.run_id for record in trained(evidence))}
    for path in paths:
        sheet = cv2.imread(str(path))
        assert sheet.shape[1] > 1000 and len(np.unique(sheet)) > 100


def test_other_data_than_the_runs_were_made_on_is_refused(planted, evidence):
    with pytest.raises(FerBenchError, match="its runs are of data dddddddddddddddd"):
        write_sheets(evidence, dataset(planted))


def test_sheet_shows_each_image_where_it_belongs():
    red = np.zeros((10, 20, 3), np.uint8)
    red[..., 0] = 255
    tiles = [Tile(np.full((8, 8), 7 * number, np.uint8), ("one", "two")) for number in range(1, 12)] + [Tile(red, ())]
    sheet = draw("title", [Section("first", tiles), Section("empty", [])])
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    for number in range(1, 12):
        assert ((sheet == 7 * number).all(axis=2)).sum() >= 100 * 100
    assert (sheet == (255, 0, 0)).all(axis=2).sum() >= 50 * 100
