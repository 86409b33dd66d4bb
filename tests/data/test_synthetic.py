"""The embedded default dataset: the same anywhere, learnable from faces, and from nothing else."""

import cv2
import numpy as np
import pytest

from fer_bench.data import Dataset, fer2013, make_split
from fer_bench.data.synthetic import dataset as dataset_module
from fer_bench.data.synthetic.camera import render
from fer_bench.data.synthetic.dataset import BLOCK, LOOKALIKES, PROTOTYPES, make_synthetic, write_folder
from fer_bench.data.synthetic.faces import ACTION_UNITS, N_UNITS
from fer_bench.errors import FerBenchError

FER2013_TRAINING = np.array([3995, 436, 4097, 7215, 4830, 3171, 4965])


@pytest.fixture(scope="module")
def dataset():
    return make_synthetic(600)


def test_it_is_gray_faces_in_fer2013_order_without_official_subsets(dataset):
    assert dataset.images.shape == (600, 48, 48)
    assert dataset.images.dtype == np.uint8
    assert dataset.class_names == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert dataset.sample_ids[[0, 599]].tolist() == ["synthetic-00000", "synthetic-00599"]
    assert dataset.subsets is None
    assert len(dataset.notes) == 2


def test_the_data_is_what_it_was_on_every_machine_so_far():
    """Published leaderboards stand on these pixels and this draw: a change here is a new dataset."""
    faces = make_synthetic(200)
    assert faces.fingerprint == "3b26627c6bcdcf27"
    assert make_split(faces).fingerprint == "f47f20e334c5aacf"


def test_the_built_in_data_test_on_1500_of_them(monkeypatch):
    shares = {subset: dataset_module.TURNS.count(subset) / len(dataset_module.TURNS) for subset in dataset_module.TURNS}
    assert {name: share * dataset_module.N_IMAGES for name, share in shares.items()} == pytest.approx(
        {"train": 2400, "validation": 600, "test": 1500}
    )
    monkeypatch.setattr(dataset_module, "N_IMAGES", 300)
    faces = dataset_module.built_in()
    assert np.array_equal(faces.images, make_synthetic(300).images)
    split = make_split(faces)
    assert [len(rows) for rows in (split.train, split.validation, split.test)] == [160, 40, 100]
    assert not any(subset == "test" for subset in faces.subsets[split.train])


def test_another_seed_is_other_data():
    assert make_synthetic(30, random_state=5).fingerprint != make_synthetic(30, random_state=6).fingerprint


def test_more_images_are_the_same_images_and_more(dataset):
    fewer = make_synthetic(60)
    assert np.array_equal(fewer.images, dataset.images[:60])
    assert np.array_equal(fewer.labels, dataset.labels[:60])


def test_classes_are_as_frequent_as_in_fer2013(dataset):
    expected = FER2013_TRAINING / FER2013_TRAINING.sum()
    assert np.abs(dataset.class_counts() / len(dataset) - expected).max() < 0.003
    assert sum(BLOCK) == 200


def test_every_image_is_another_one(dataset):
    assert len({image.tobytes() for image in dataset.images}) == len(dataset)


def test_size_and_number():
    assert make_synthetic(3).images.shape == (3, 48, 48)
    with pytest.raises(FerBenchError, match="at least 1"):
        make_synthetic(0)


def test_prototypes_name_classes_and_drawn_action_units():
    assert set(PROTOTYPES) == set(LOOKALIKES) == set(fer2013.CLASSES)
    assert {unit for variants in PROTOTYPES.values() for units in variants for unit in units} <= set(ACTION_UNITS)
    assert all(name not in others and set(others) <= set(fer2013.CLASSES) for name, others in LOOKALIKES.items())


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_every_action_unit_changes_the_face_where_it_acts(unit):
    """The same person in the same light, at rest and with one unit at full strength."""
    units = np.zeros(N_UNITS)
    units[unit] = 1
    brows_and_eyes = {1, 2, 4, 5, 7, 43}
    changed = np.zeros((48, 48))
    for seed in range(4):
        rest = render([0.0] * N_UNITS, np.random.default_rng(seed))[0].astype(int)
        changed += np.abs(render(units.tolist(), np.random.default_rng(seed))[0] - rest)
    upper, lower = changed[:24].sum(), changed[24:].sum()
    assert changed.max() > 40
    assert (upper > lower) if unit in brows_and_eyes else (lower > 0.5 * upper)


def cross_validated_accuracy(classifier, X, y):
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    return cross_val_score(classifier, X, y, cv=StratifiedKFold(3, shuffle=True, random_state=0)).mean()


def test_brightness_contrast_and_row_order_do_not_tell_the_class(dataset):
    from sklearn.ensemble import RandomForestClassifier

    pixels = dataset.images.reshape(len(dataset), -1).astype(float)
    rows = np.arange(len(dataset))
    X = np.column_stack([pixels.mean(axis=1), pixels.var(axis=1), rows, rows % sum(BLOCK)])
    forest = RandomForestClassifier(30, min_samples_leaf=10, random_state=0, n_jobs=1)
    assert cross_validated_accuracy(forest, X, dataset.labels) < max(BLOCK) / sum(BLOCK) + 0.04


def test_expressions_can_be_learned_from_hog_but_not_perfectly(dataset):
    from skimage.feature import hog
    from sklearn.svm import SVC

    X = np.array(
        [hog(image, orientations=9, pixels_per_cell=(6, 6), cells_per_block=(2, 2)) for image in dataset.images]
    )
    accuracy = cross_validated_accuracy(SVC(C=5), X, dataset.labels)
    assert max(BLOCK) / sum(BLOCK) + 0.1 < accuracy < 0.9


def test_written_folder_holds_the_same_pixels_by_class(tmp_path):
    dataset = make_synthetic(12)
    folder = tmp_path / "new" / "faces"
    write_folder(dataset, folder)
    for image, label, sample_id in zip(dataset.images, dataset.labels, dataset.sample_ids, strict=True):
        path = folder / fer2013.CLASSES[label] / f"{sample_id}.png"
        assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), image)
    assert sorted(path.name for path in folder.iterdir()) == sorted(fer2013.CLASSES)
    assert len(list(folder.rglob("*.png"))) == 12
    assert [path.name for path in folder.parent.iterdir()] == ["faces"], "no working folder is left behind"


def test_colours_survive_the_writing(tmp_path):
    image = np.zeros((1, 4, 4, 3), np.uint8)
    image[..., 0] = 200  # red
    write_folder(Dataset("red", image, np.array([0]), ("a", "b"), np.array(["one"])), tmp_path / "out")
    assert cv2.imread(str(tmp_path / "out" / "a" / "one.png"))[0, 0].tolist() == [0, 0, 200]


def test_an_empty_folder_is_used_and_what_is_there_is_left_alone(tmp_path):
    folder, file = tmp_path / "faces", tmp_path / "file"
    folder.mkdir()
    write_folder(make_synthetic(2), folder)
    file.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for target in (folder, file):
        with pytest.raises(FerBenchError, match=str(target)):
            write_folder(make_synthetic(5), target)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("sample_id", ["../escape", "a/b", "..", "", "c:\\d"])
def test_a_sample_id_never_becomes_a_path(tmp_path, sample_id):
    dataset = Dataset("odd", np.zeros((1, 4, 4), np.uint8), np.array([0]), ("a", "b"), np.array([sample_id]))
    with pytest.raises(FerBenchError, match="cannot be the name of a file"):
        write_folder(dataset, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
