"""`predict`: pictures, folders and videos in, a line per face out; what is amiss is named, and the rest goes on."""

import csv
import json
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fer_bench.data import make_synthetic
from fer_bench.deploy import Box, Detector, write_predictions
from fer_bench.deploy.annotating import drawn
from fer_bench.deploy.faces import framed, usual_framing
from fer_bench.deploy.predicting import Face, Tracks

TELL = """
import sys
from fer_bench.__main__ import main
try:
    main()
except SystemExit as end:
    print(end.code, *{name.partition(".")[0] for name in sys.modules})
"""


@pytest.fixture(scope="session")
def seen(tmp_path_factory):
    """Photographs of built-in faces on a plain wall, what is no photograph, a video, and one that is cut short."""
    folder = tmp_path_factory.mktemp("seen")
    faces = make_synthetic(100, 0).images

    def scene(*places: tuple[int, int, int]) -> np.ndarray:
        wall = np.full((300, 400, 3), 120, np.uint8)
        for at, (left, top, side) in enumerate(places):
            face = cv2.resize(faces[at], (side, side), interpolation=cv2.INTER_CUBIC)
            wall[top : top + side, left : left + side] = face[..., None]
        return wall

    photos = folder / "photos"
    (photos / "deeper").mkdir(parents=True)
    cv2.imwrite(str(photos / "two.jpg"), scene((20, 60, 96), (160, 60, 180)))
    cv2.imwrite(str(photos / "deeper" / "one.png"), scene((100, 60, 160)))
    cv2.imwrite(str(photos / "wall.png"), scene())
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (photos / "notes.txt").write_text("no picture")
    for name in ("clip.avi", "cut.avi"):
        video = cv2.VideoWriter(str(folder / name), cv2.VideoWriter.fourcc(*"MJPG"), 10, (400, 300))
        for step in range(20):
            video.write(scene((60 + 4 * step, 60, 180)))
        video.release()
    content = (folder / "cut.avi").read_bytes()
    (folder / "cut.avi").write_bytes(content[: len(content) // 2])
    return folder


def test_what_can_be_read_is_predicted_and_the_rest_named(runs, seen, command, tmp_path):
    bundle = runs.bundle("pca-forest")
    done = command(
        "predict", str(bundle.path), str(seen / "photos"), str(seen / "nowhere.jpg"), "--faces", "--out", "p.csv"
    )
    assert done.returncode == 1
    for name in ("wall.png", "broken.jpg", "nowhere.jpg"):
        assert name in done.stdout
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    two = [row for row in rows if row["file"].endswith("two.jpg")]
    assert len(two) == 2 and len(rows) == 3 and "notes.txt" not in done.stdout
    assert int(two[0]["width"]) > int(two[1]["width"]) and [row["face"] for row in two] == ["1", "2"]
    for row in rows:
        shares = {name: float(row[f"p_{name}"]) for name in bundle.classes}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-3) and shares[row["class"]] == max(shares.values())


def test_a_video_has_a_time_line_and_one_cut_short_is_told(runs, seen, command, tmp_path):
    bundle = str(runs.bundle("pca-forest").path)
    clips = [str(seen / name) for name in ("clip.avi", "cut.avi")]
    done = command("predict", bundle, *clips, "--faces", "--smooth", "0.5", "--out", "p.json", "--annotate", "drawn")
    assert done.returncode == 1 and "of 20 frames" in done.stdout
    found = json.loads((tmp_path / "p.json").read_text())
    own = [face for face in found["faces"] if face["file"] == clips[0]]
    assert [face["frame"] for face in own] == list(range(20)) and {face["face"] for face in own} == {1}
    assert own[-1]["seconds"] == pytest.approx(1.9) and len(found["problems"]) == 1
    assert {path.name for path in tmp_path.glob("p-*.png")} == {"p-clip-1.png", "p-cut-2.png"}
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {"clip.annotated.mp4", "cut.annotated.mp4"}


def test_copies_take_the_place_of_those_before_and_of_no_other_picture(runs, seen, command, tmp_path):
    (tmp_path / "two.jpg").write_text("mine")
    for _ in range(2):
        given = (str(seen / "photos" / "two.jpg"), "--annotate", ".")
        assert command("predict", str(runs.bundle("pca-forest").path), *given).returncode == 0
    assert (tmp_path / "two.jpg").read_text() == "mine"
    assert [path.name for path in tmp_path.glob("*.annotated*")] == ["two.annotated.jpg"]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (("photos/broken.jpg",), "nothing could be read"),
        (("photos", "--out", "p.xls"), ".csv or .json"),
        (("photos", "--out", "no/p.csv"), "its folder"),
        (("photos", "--out", "old/p.csv"), "is a bundle"),
        (("photos", "--faces", "--detector", "photos/notes.txt"), "neither a cascade"),
        ((), "--camera"),
        (("--camera", "7"), "--camera"),
        (("--camera", "7", "--out", "faces.csv"), "writes nothing"),
        (("clip.avi", "--smooth", "nan"), "--smooth nan"),
        (("photos/two.jpg", "clip.avi", "--annotate", "."), "clip.avi, which is to be looked at"),
    ],
)
def test_bad_input_is_one_message(runs, seen, command, monkeypatch, given, word):
    monkeypatch.chdir(seen)
    (seen / "old").mkdir(exist_ok=True)
    (seen / "old" / "model.json").touch()
    done = command("predict", str(runs.bundle("pca-forest").path), *given)
    assert done.returncode == 2 and word in done.stderr and "Traceback" not in done.stderr


def test_predicting_imports_no_framework(runs, seen):
    given = ("predict", str(runs.bundle("pca-forest").path), str(seen / "photos" / "two.jpg"))
    done = subprocess.run([sys.executable, "-c", TELL, *given], capture_output=True, text=True, timeout=120)
    code, *imported = done.stdout.splitlines()[-1].split()
    assert code in ("0", "None") and "onnxruntime" in imported
    assert not {"tensorflow", "keras", "sklearn", "pandas", "scipy", "matplotlib", "onnx"} & set(imported)


def test_a_face_is_followed_and_its_probabilities_smoothed():
    tracks = Tracks(smooth=1.0)
    boxes = [Box(0, 0, 50, 50), Box(100, 0, 40, 40)]
    first = tracks.follow(0, boxes, np.eye(2, dtype=np.float32))
    second = tracks.follow(0.1, boxes[::-1], np.eye(2, dtype=np.float32))
    assert [number for number, *_ in first] == [1, 2] and [number for number, *_ in second] == [2, 1]
    np.testing.assert_allclose(second[0][2], [1 - np.exp(-0.1), np.exp(-0.1)], atol=1e-6)
    later = tracks.follow(3.0, boxes[:1], np.eye(2, dtype=np.float32)[:1])
    assert later[0][0] == 3


def test_a_table_of_faces_holds_no_formula(tmp_path):
    face = Face("=HYPERLINK(1).jpg", 1, None, np.array([0.4, 0.6], np.float32))
    bundle = SimpleNamespace(classes=("b", "@SUM(1)"), card={"run": "a"})
    write_predictions(tmp_path / "p.csv", bundle, SimpleNamespace(faces=[face], problems=[]))
    (row,) = csv.DictReader((tmp_path / "p.csv").open())
    assert (row["file"], row["class"]) == ("'=HYPERLINK(1).jpg", "'@SUM(1)") and "p_@SUM(1)" in row


def test_names_in_scripts_without_a_font_are_told_apart():
    image, faces = np.zeros((200, 200, 3), np.uint8), [Face("a", 1, None, np.array([0.6, 0.4], np.float32))]
    assert (drawn(image, faces, ("\u6012", "b")) != drawn(image, faces, ("\u559c", "b"))).any()


def test_faces_are_cut_as_the_data_are():
    """The framing of images that show more than the detector's box gives that much back around a box."""
    faces = make_synthetic(100, 0).images[:60]
    wide = np.stack([cv2.copyMakeBorder(face, 24, 0, 12, 12, cv2.BORDER_REPLICATE) for face in faces])
    tight, loose = usual_framing(faces), usual_framing(wide)
    assert loose["scale"] == pytest.approx(1.5 * tight["scale"], rel=0.1) and loose["down"] < tight["down"] - 0.1


@pytest.mark.parametrize(("left", "size"), [(40.0, 48), (40.5, 48), (40.0, 96), (-10.0, 48), (180.0, 48)])
def test_a_face_is_cut_between_pixels_and_beyond_the_edge(left, size):
    """A slope keeps its values, wherever and at whatever size it is cut."""
    slope = np.tile(np.arange(200, dtype=np.uint8), (200, 1))
    box = Box(0, 0, round(2 * left + size), 2)  # its middle may lie between pixels
    wanted = np.clip(left + (np.arange(48) + 0.5) * size / 48 - 0.5, 0, 199)
    np.testing.assert_allclose(framed(slope, box, {"scale": size / box.width, "down": 0.0}, 48)[24], wanted, atol=1)


def test_no_face_is_found_on_a_wall():
    assert Detector().find(np.full((300, 300, 3), 128, np.uint8)) == []
