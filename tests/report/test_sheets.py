"""Sheets of images to look at."""

import numpy as np
import pytest
from PIL import Image

from fer_bench.data import Dataset, Split, find_copies
from fer_bench.errors import FerBenchError
from fer_bench.report import sheets, write_copies
from fer_bench.report.sheets import Tile, draw, images_of


def dataset_of(runs):
    ids = np.array([one for subset in ("train", "validation", "test") for one in runs.ids[subset]])
    images = np.random.default_rng(0).integers(0, 256, (len(ids), 24, 20), dtype=np.uint8)
    return Dataset("faces", images, np.arange(len(ids)) % 3, runs.CLASS_NAMES, ids)


def test_images_of_other_data_than_the_runs_were_made_on_are_refused(stored_runs):
    data = dataset_of(stored_runs)
    ids = np.array(stored_runs.ids["test"])
    assert np.array_equal(images_of(data, data.fingerprint, ids), data.images[180:])
    with pytest.raises(FerBenchError, match="of data dddddddddddddddd"):
        images_of(data, "d" * 16, ids)


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


def test_letters_that_no_font_has_are_told_apart():
    _, missing = sheets._font(frozenset("ab\U0001f9ff\ue123"), 10)
    assert missing and not missing & {"a", "b"}
