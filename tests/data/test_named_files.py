"""Images whose names, or files beside them, say the class and the person."""

from pathlib import Path

import numpy as np
import pytest

from fer_bench.data import ReadOptions, open_dataset
from fer_bench.errors import FerBenchError

NAMES = {
    "JAFFE": [f"{who}.{code}{n}.7{n}.tiff" for who in ("KA", "YM", "UY") for code in ("AN", "FE", "NE") for n in "12"],
    "KDEF": [
        f"A{who}{code}{angle}.JPG"
        for who in ("F01", "M02", "F11") for code in ("AN", "AF", "NE") for angle in ("S", "HL")
    ],
    "RaFD": [
        f"Rafd090_{person}_Caucasian_female_{shown}_{gaze}.jpg"
        for person in ("01", "14", "61") for shown in ("angry", "fearful", "neutral") for gaze in ("frontal", "left")
    ],
}  # fmt: skip


def opened(root: Path, **options):
    return open_dataset(str(root), options=ReadOptions(**options)).load()


@pytest.mark.parametrize("data_set", NAMES)
@pytest.mark.parametrize("folder", ["", "all/", "{person}/"], ids=["flat", "wrapped", "by person"])
def test_class_and_person_are_in_the_name(data_set, folder, write_images):
    paths = [folder.format(person=number // 6) + name for number, name in enumerate(NAMES[data_set])]
    dataset = opened(write_images(dict.fromkeys(paths, (8, 8))))
    assert dataset.class_names == ("angry", "fear", "neutral")
    assert dataset.class_counts().tolist() == [6, 6, 6]
    assert dataset.grouped_by == "person" and len(np.unique(dataset.groups)) == 3


def test_class_folders_win_over_names(write_images):
    folders = {"AN": "A", "FE": "B", "NE": "C"}
    paths = {f"{folders[name[3:5]]}/{name}": (8, 8) for name in NAMES["JAFFE"]}
    dataset = opened(write_images(paths))
    assert dataset.class_names == ("A", "B", "C")
    assert len(np.unique(dataset.groups)) == 3


def test_what_names_say_besides_gives_slices(write_images):
    dataset = opened(write_images(dict.fromkeys(NAMES["KDEF"], (8, 8))), slices=("angle", "gender"))
    assert dict(zip(*np.unique(dataset.slices["angle"], return_counts=True), strict=True)) == {"HL": 9, "S": 9}
    assert set(dataset.slices["gender"]) == {"F", "M"}


@pytest.fixture
def yale(write_images) -> Path:
    shown = ("happy", "normal", "sad", "glasses", "leftlight")
    root = write_images({f"subject{person:02d}.{one}.gif": (32, 40, 3) for person in range(1, 5) for one in shown})
    for path in list(root.iterdir()):
        path.rename(path.with_suffix(""))
    return root


def test_suffixes_of_yale_are_expressions_and_its_conditions_are_none(yale):
    dataset = opened(yale)
    assert dataset.class_names == ("happy", "neutral", "sad")
    assert (len(dataset), len(np.unique(dataset.groups))) == (12, 4)
    assert [note for note in dataset.notes if "8 images" in note and "glasses, leftlight" in note]


def test_a_condition_that_classes_name_is_kept(yale):
    dataset = opened(yale, classes="glasses=neutral")
    assert dict(zip(dataset.class_names, dataset.class_counts().tolist(), strict=True)) == {
        "happy": 4,
        "neutral": 8,
        "sad": 4,
    }


@pytest.fixture
def cohn_kanade(write_images) -> Path:
    frames = {
        f"cohn-kanade-images/S{person:03d}/00{take}/S{person:03d}_00{take}_{frame:08d}.png": (8, 8)
        for person in (5, 10, 11) for take in (1, 2) for frame in range(1, 8)
    }  # fmt: skip
    root = write_images(frames)
    for person, emotion in ((5, 3), (10, 1), (11, 3)):
        folder = root / f"Emotion/S{person:03d}/001"
        folder.mkdir(parents=True)
        (folder / f"S{person:03d}_001_00000007_emotion.txt").write_text(f"   {emotion}.0000000e+00\n")
    return root


def test_sequences_of_ck_begin_neutral_and_end_in_their_emotion(cohn_kanade):
    dataset = opened(cohn_kanade)
    assert dict(zip(dataset.class_names, dataset.class_counts().tolist(), strict=True)) == {
        "angry": 3, "disgust": 6, "neutral": 3
    }  # fmt: skip
    neutral = dataset.sample_ids[dataset.labels == 2]
    assert all(name.endswith("_001_00000001.png") for name in neutral)
    assert len(np.unique(dataset.groups)) == 3


def test_an_emotion_that_is_none_names_its_file(cohn_kanade):
    (cohn_kanade / "Emotion/S005/001/S005_001_00000007_emotion.txt").write_text("9")
    with pytest.raises(FerBenchError, match=r"S005_001_00000007_emotion.txt: .* 0 to 7"):
        opened(cohn_kanade)
