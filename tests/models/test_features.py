"""Features: fitted on train only, stored once, the same for every run."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from fer_bench.data import Dataset, make_folds, make_split
from fer_bench.errors import FerBenchError
from fer_bench.execution.fitting import fit, make_task, predict
from fer_bench.models import TrainingPlan, extractors, features
from fer_bench.models.deep.batches import Pixels
from fer_bench.models.features import features_card, model_features, stored_features
from fer_bench.models.registry import FEATURES, MODELS, FeaturesCard


@pytest.fixture
def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    return Dataset(
        name="made",
        images=rng.integers(0, 256, (90, 48, 48), dtype=np.uint8),
        labels=np.arange(90) % 3,
        class_names=("a", "b", "c"),
        sample_ids=np.array([f"id-{i}" for i in range(90)]),
    )


class Counting:
    """Remembers what it was fitted on."""

    calls: ClassVar[list[np.ndarray]] = []

    def fit(self, images, labels):
        Counting.calls.append(np.array(images))

    def transform(self, images):
        return images.reshape(len(images), -1)[:, :5].astype("float32")


def counting():
    return Counting()


def test_fit_sees_training_rows_only_and_happens_once(dataset):
    Counting.calls.clear()
    card = FeaturesCard(name="counting", build=counting, summary="", source="here.py:1")
    split = make_split(dataset)
    first = stored_features(card, dataset, split)
    again = stored_features(card, dataset, split)
    assert len(Counting.calls) == 1
    assert np.array_equal(Counting.calls[0], dataset.images[split.train])
    assert np.array_equal(first.test, dataset.images[split.test].reshape(len(split.test), -1)[:, :5])
    assert isinstance(again.train, np.memmap) and np.array_equal(again.train, first.train)
    assert again.seconds == first.seconds > 0


@pytest.mark.parametrize("name", ["pixels", "pca", "hog"])
def test_built_in_features_never_copy_the_training_images(name, dataset, monkeypatch, watched):
    """Data larger than the memory are memory-mapped: no more than a chunk of them may be copied at once."""
    monkeypatch.setattr(features, "CHUNK", 16)
    images, copied = watched(np.repeat(dataset.images[:, 4:44, :, None], 3, axis=3))
    stored_features(FEATURES[name], replace(dataset, images=images), make_split(dataset))
    assert max(copied) == 16


def test_images_are_not_stored_again_and_read_where_they_are_looked_at(dataset, watched, tmp_path, monkeypatch):
    """A guess looks at none, a network at a batch; what comes from elsewhere gets an array."""
    monkeypatch.setenv("FER_BENCH_CACHE", str(tmp_path))
    images, copied = watched(dataset.images)
    data, split = replace(dataset, images=images), make_split(dataset)
    given = model_features(MODELS["majority"], {}, data, split)
    labels = data.labels[split.train]
    task = make_task(data, given, data.labels[split.validation], TrainingPlan(split.train), random_state=0, n_jobs=1)
    guess = MODELS["majority"].build(task)
    fit(guess, given.train, labels, TrainingPlan(np.arange(len(labels))))
    assert predict(guess, given, ["test"], labels, 3)["test"].shape == (len(split.test), 3)
    assert copied == []
    pixels = Pixels(model_features(MODELS["cnn"], {}, data, split).train, 48, augmentation=())
    rows = np.array([3, 1, 1])
    assert np.array_equal(pixels.augmented(rows, np.random.default_rng(0))[..., 0], dataset.images[split.train[rows]])
    assert np.array_equal(pixels.plain(slice(4, 9), True)[..., 0], dataset.images[split.train[4:9], :, ::-1])
    assert len(pixels) == len(split.train) and copied == [3, 5]
    own = model_features(replace(MODELS["cnn"], image=None), {}, data, split)
    assert isinstance(own.test, np.ndarray) and np.array_equal(own.test, dataset.images[split.test])
    assert not (tmp_path / "features").exists()


def test_a_fit_of_ones_own_on_built_in_features_gets_the_training_images(dataset):
    class Own(extractors.Pixels):
        def fit(self, images, labels):
            Counting.calls.append(images)
            return super().fit(images, labels)

    Counting.calls.clear()
    split = make_split(dataset)
    stored_features(FeaturesCard(name="own", build=lambda: Own(8), summary="", source="here.py:1"), dataset, split)
    assert np.array_equal(Counting.calls, [dataset.images[split.train]])


def test_another_split_parameter_code_or_library_is_another_entry(dataset, monkeypatch):
    Counting.calls.clear()
    card = FeaturesCard(name="counting", build=counting, summary="", source="here.py:1")
    stored_features(card, dataset, make_split(dataset, 1))
    stored_features(card, dataset, make_split(dataset, 2))
    assert len(Counting.calls) == 2
    monkeypatch.setattr(features, "version", lambda name: "999")
    stored_features(card, dataset, make_split(dataset, 2))
    assert len(Counting.calls) == 3
    monkeypatch.setattr(features, "code_digest", lambda function: "another file")
    stored_features(card, dataset, make_split(dataset, 2))
    assert len(Counting.calls) == 4


def test_what_an_image_costs_is_that_of_the_images_that_are_looked_at(dataset, monkeypatch):
    """Folds leave official test images out."""
    subsets = np.where(np.arange(90) < 60, "train", "test")
    fold, _ = make_folds(replace(dataset, subsets=subsets), 2)
    monkeypatch.setattr(features, "time", SimpleNamespace(perf_counter=iter([0.0, 1.0, 1.6]).__next__))
    card = FeaturesCard(name="fold", build=counting, summary="", source="here.py:1")
    stored = stored_features(card, dataset, fold)
    assert (stored.seconds, stored.ms_per_image) == pytest.approx((1.6, 10))


def test_an_extractor_that_loses_rows_is_named(dataset):
    class Losing(Counting):
        def transform(self, images):
            return super().transform(images)[1:]

    with pytest.raises(FerBenchError, match="the features 'losing' made 71 rows of 72 images"):
        stored_features(
            FeaturesCard(name="losing", build=lambda: Losing(), summary="", source="here.py:1"),
            dataset,
            make_split(dataset),
        )


@pytest.mark.parametrize("said", [None, np.array([None] * 3), np.array(["a"] * 3)])
def test_what_is_no_number_is_refused_and_not_stored(said, tmp_path):
    extractor = SimpleNamespace(transform=lambda images: said)
    with pytest.raises(FerBenchError, match=r"the features 'odd' made (object|<U1), not numbers"):
        features._transform("odd", extractor, np.zeros((3, 4, 4)), np.arange(3), tmp_path / "rows.npy")


def folder_of(stored) -> Path:
    return Path(stored.train.filename).parent


@pytest.mark.parametrize("lost", ["test.npy", "cost.json"])
def test_an_entry_that_lost_a_file_is_made_again(dataset, lost):
    card, split = FEATURES["pixels"], make_split(dataset, 3)
    (folder_of(stored_features(card, dataset, split)) / lost).unlink()
    assert len(stored_features(card, dataset, split).test) == len(split.test)


@pytest.mark.parametrize("damaged", ["test.npy", "cost.json"])
def test_a_damaged_entry_is_told(dataset, damaged, tmp_path, monkeypatch):
    monkeypatch.setenv("FER_BENCH_CACHE", str(tmp_path))
    card, split = FEATURES["pixels"], make_split(dataset)
    path = folder_of(stored_features(card, dataset, split)) / damaged
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(FerBenchError, match=r"features.*: damaged cache entry .*; delete that folder and start again"):
        stored_features(card, dataset, split)


@pytest.mark.parametrize("card", list(FEATURES), ids=lambda card: card.name)
def test_contract_of_every_extractor(card, dataset):
    """One finite row per image, the same whatever rows stand beside it, for gray and colour, any size."""
    extractor = card.extractor()
    extractor.fit(dataset.images[:60], dataset.labels[:60])
    rows = extractor.transform(dataset.images[60:])
    assert len(rows) == 30 and np.isfinite(rows).all()
    np.testing.assert_allclose(extractor.transform(dataset.images[60:61]), rows[:1], rtol=1e-4, atol=1e-5)
    colour = np.repeat(dataset.images[60:, 8:40, :40, None], 3, axis=3)
    assert len(extractor.transform(colour)) == 30


def test_hog_has_the_published_length(dataset):
    card = FEATURES["hog"]
    rows = card.extractor().transform(dataset.images)
    assert rows.shape == (90, 1764) and rows.dtype == np.float32
    for parameter, value, length in (("cell", 8, 900), ("orientations", 12, 2352), ("block", 3, 2916)):
        other = features_card(card, {f"hog.{parameter}": value}).extractor()
        assert other.transform(dataset.images[:1]).shape == (1, length)


@pytest.mark.parametrize(("orientations", "cell", "block"), [(9, 6, 2), (12, 8, 3), (8, 5, 1), (6, 7, 2)])
def test_hog_is_scikit_images(dataset, orientations, cell, block):
    """Of noise, where every gradient occurs, of faces and of plain images; cells need not fill the square."""
    from skimage.feature import hog

    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 48), np.uint8)
    images = np.concatenate([noise, dataset.images[:20], np.zeros((1, 48, 48), np.uint8)])
    rows = extractors.OrientedGradients(48, orientations, cell, block).transform(images)
    theirs = np.float32([hog(image, orientations, (cell, cell), (block, block)) for image in images])
    np.testing.assert_array_equal(rows, theirs)


def test_pca_is_white_on_train_and_its_axes_come_from_train(dataset):
    card = FEATURES["pca"]
    extractor = card.extractor().fit(dataset.images[:60], dataset.labels[:60])
    rows = extractor.transform(dataset.images[:60])
    assert rows.shape == (60, 59)
    np.testing.assert_allclose(rows[:, :20].std(axis=0, ddof=1), 1, rtol=1e-3)


def test_pca_leaves_out_components_without_variance(dataset):
    """An exact copy among few images takes one degree of freedom: what is left of it is rounding error."""
    images = dataset.images[:60].copy()
    images[1] = images[0]
    card = FEATURES["pca"]
    extractor = card.extractor().fit(images, dataset.labels[:60])
    assert extractor.transform(images).shape == (60, 58)
    assert abs(extractor.transform(dataset.images[60:])).max() < 10


def test_stored_rows_do_not_depend_on_chunks(dataset, monkeypatch):
    """Chunks of any size give the same stored rows."""
    split = make_split(dataset)
    whole = stored_features(FEATURES["pixels"], dataset, split)
    monkeypatch.setattr(features, "CHUNK", 7)
    monkeypatch.setattr(features, "STORED_FORMAT", "other key")
    chunked = stored_features(FEATURES["pixels"], dataset, split)
    assert np.array_equal(whole.train, chunked.train)


def test_parameters_of_a_run_named_after_the_features_replace_theirs(dataset):
    card = FEATURES["pca"]
    assert features_card(card, {"C": 3.0}) == card
    tuned = features_card(card, {"C": 3.0, "pca.n_components": 7})
    assert dict(tuned.parameters) == {**card.parameters, "n_components": 7}
    split = make_split(dataset)
    assert stored_features(tuned, dataset, split).validation.shape[1] == 7
    assert stored_features(card, dataset, split).validation.shape[1] > 7


@pytest.mark.parametrize("name", ["pca.components", "hog.cell"])
def test_parameters_of_no_or_other_features_are_refused(name):
    with pytest.raises(FerBenchError, match=rf"no parameter {name} of the features 'pca', only pca\.side"):
        features_card(FEATURES["pca"], {name: 3})


def test_rows_of_another_kind_than_before_are_refused(tmp_path, monkeypatch):
    """The file has one header: numbers of another type would be read as garbage."""

    class Changing:
        def transform(self, images):
            return np.ones((len(images), 2), dtype=float if images[0, 0, 0] == 0 else int)

    monkeypatch.setattr(features, "CHUNK", 3)
    images = np.repeat(np.arange(6, dtype=np.uint8), 16).reshape(6, 4, 4)
    with pytest.raises(FerBenchError, match=r"'mixed' made int64 \(2,\) from image 3 on, and float64 \(2,\) before"):
        features._transform("mixed", Changing(), images, np.arange(6), tmp_path / "rows.npy")
