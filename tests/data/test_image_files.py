"""What is in image files: kinds, depths, boxes, faces."""

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_bench.data import ReadOptions
from fer_bench.data.readers.images import faces
from fer_bench.data.readers.images.decoding import ImageFile, read_images
from fer_bench.data.readers.images.folders import read_folder
from fer_bench.errors import FerBenchError


def read(root, **options):
    paths = [path.relative_to(root).as_posix() + "/" * path.is_dir() for path in root.rglob("*")]
    return read_folder(root, paths, root.parent / "pixels.raw", ReadOptions(**options))


def read_these(root, files, **options):
    return read_images(root, files, [], root.parent / "pixels.raw", ReadOptions(**options))


def test_the_first_bytes_say_what_a_file_is(write_images):
    root = write_images(dict.fromkeys(["a/1.png", "a/2.png", "b/3.png", "b/4.png"], (8, 8)))
    (root / "a/1.png").rename(root / "a/1.heic")
    (root / "b/3.png").rename(root / "b/3")
    assert len(read(root).images) == 4


UNREAD = {
    "face.heic": b"\0\0\0\x18ftypheic", "face": b"8BPS\0\1", "face.mp4": b"\0\0\0\x18ftypisom", "face.nef": b"MM\0*",
    "clip": b"\x1aE\xdf\xa3",
}  # fmt: skip


def test_pictures_that_are_not_read_are_named_or_dropped(write_images):
    root = write_images(dict.fromkeys(["a/1.png", "b/3.png"], (8, 8)))
    for name, content in UNREAD.items():
        (root / "a" / name).write_bytes(content.ljust(64, b"\0"))
    with pytest.raises(FerBenchError) as raised:
        read(root)
    assert all(f"a/{name}: " in str(raised.value) for name in UNREAD)
    decoded = read(root, skip_bad=True)
    assert len(decoded.images) == 2 and f"{len(UNREAD)} unreadable images" in decoded.notes[0]


@pytest.mark.parametrize("top", [1, 255, 4095])
def test_sixteen_bits_that_are_hardly_used_are_refused(top, write_images):
    root = write_images(dict.fromkeys(["a/1.png", "b/2.png"], (8, 8)))
    for path in root.rglob("*.png"):
        cv2.imwrite(str(path), np.linspace(0, top, 64).reshape(8, 8).astype(np.uint16))
    with pytest.raises(FerBenchError, match=f"2 images of 16 bits: .*from 0 to {top} of 65535"):
        read(root)


def test_a_few_images_of_hardly_used_sixteen_bits_are_named_or_dropped(write_images):
    root = write_images(dict.fromkeys(["a/1.png", "a/2.png", "b/3.png", "b/4.png"], (8, 8)))
    cv2.imwrite(str(root / "a/2.png"), np.linspace(0, 3456, 64).reshape(8, 8).astype(np.uint16))
    with pytest.raises(FerBenchError, match=r"1 .*of 4\n  - a/2.png: .*from 0 to 3456 of 65535.*8-bit") as raised:
        read(root)
    assert "--skip-bad" in str(raised.value) and "all images" not in str(raised.value)
    decoded = read(root, skip_bad=True)
    assert decoded.sample_ids.tolist() == ["a/1.png", "b/3.png", "b/4.png"] and "a/2.png" in decoded.notes[0]


@pytest.mark.parametrize("top", [1, 255, 3000])
def test_float_tiff_is_read_by_its_range(top, write_images):
    root = write_images(dict.fromkeys(["a/1.tiff", "b/2.tiff"], (8, 8)))
    for path in root.rglob("*.tiff"):
        cv2.imwrite(str(path), np.linspace(0, top, 64).reshape(8, 8).astype(np.float32))
    if top == 3000:
        with pytest.raises(FerBenchError, match="from 0 to 3000"):
            read(root)
    else:
        assert (read(root).images.min(), read(root).images.max()) == (0, 255)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("CMYK", "jpg"), ("CMYK", "tiff"), ("P", "png"), ("1", "png"), ("RGBA", "png"), ("LA", "png")]
)
def test_modes_of_pixels(mode, suffix, tmp_path):
    red = Image.new("RGB", (32, 32), (255, 0, 0)).convert(mode)
    for name in ("a/1", "b/2"):
        (tmp_path / "faces" / name).parent.mkdir(parents=True)
        red.save(tmp_path / "faces" / f"{name}.{suffix}")
    pixel = read(tmp_path / "faces").images[0, 16, 16].astype(int)
    if mode in ("1", "LA"):
        assert pixel.ndim == 0
    else:
        assert np.abs(pixel - [255, 0, 0]).max() < 12


def test_boxes_are_cut_with_a_margin_and_those_outside_are_bad(write_images):
    root = write_images({"all.png": (60, 60)})
    whole = np.asarray(Image.open(root / "all.png"))
    files = [
        ImageFile("all.png", "a", box=(10, 10, 30, 30), sample_id="all.png#1", columns={"age": "3"}),
        ImageFile("all.png", "b", box=(30, 30, 50, 50), sample_id="all.png#2"),
        ImageFile("all.png", "b", box=(60, 0, 80, 20), sample_id="all.png#3"),
    ]
    with pytest.raises(FerBenchError, match=r"all.png: box 60, 0, 80, 20"):
        read_these(root, files)
    decoded = read_these(root, files, skip_bad=True)
    assert np.array_equal(decoded.images, np.stack([whole[8:32, 8:32], whole[28:52, 28:52]]))
    assert decoded.sample_ids.tolist() == ["all.png#1", "all.png#2"]
    assert decoded.columns["age"].tolist() == ["3", ""]


def test_faces_are_cut_out_of_photographs(write_images, monkeypatch):
    root = write_images({f"{'ab'[n % 2]}/{n}.png": (200, 300) for n in range(4)})
    assert [note for note in read(root).notes if "--crop-faces" in note]
    with pytest.raises(FerBenchError, match="no face found"):
        read(root, crop_faces=True)
    monkeypatch.setattr(faces, "largest_face", lambda image: (100, 50, 200, 150))
    assert not [note for note in read(root).notes if "--crop-faces" in note]
    decoded = read(root, crop_faces=True)
    whole = np.asarray(Image.open(root / "a/0.png"))
    assert np.array_equal(
        decoded.images[0], cv2.resize(whole[40:160, 90:210], (112, 112), interpolation=cv2.INTER_AREA)
    )
