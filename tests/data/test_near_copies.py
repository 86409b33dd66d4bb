"""Near copies: the same photograph found again, likenesses left alone."""

import cv2
import numpy as np
import pytest

from fer_bench.data import Dataset, find_copies, make_synthetic, stored_copies
from fer_bench.data import copies as near_copies
from fer_bench.data.copies import SURE, NearCopies, find_near_copies

FACES = make_synthetic(150).images


def jpeg(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_GRAYSCALE)


def watermarked(image):
    marked = image.copy()
    marked[40:44, 4:28] = marked[40:44, 4:28] // 2 + 60
    return marked


COPIES = {
    "brighter": lambda image: np.clip(image.astype(int) + 30, 0, 255).astype(np.uint8),
    "less contrast": lambda image: (image * 0.6 + 20).astype(np.uint8),
    "recompressed": jpeg,
    "moved by a pixel": lambda image: np.pad(image, ((1, 0), (0, 1)), mode="edge")[:-1, 1:],
    "rescaled": lambda image: cv2.resize(cv2.resize(image, (40, 40), interpolation=cv2.INTER_AREA), (48, 48)),
    "one pixel changed": lambda image: np.where(np.arange(48 * 48).reshape(48, 48) == 99, 255 - image, image),
    "watermarked": watermarked,
    "mirrored": lambda image: image[:, ::-1],
    "mirrored and recompressed": lambda image: jpeg(np.ascontiguousarray(image[:, ::-1])),
}


def made(images) -> Dataset:
    rows = np.arange(len(images))
    return Dataset("made", images, rows % 2, ("a", "b"), rows.astype(str))


def near_copies_among(images) -> NearCopies:
    return find_near_copies(images, np.arange(len(images)))


def pairs(images) -> list[list[int]]:
    return near_copies_among(images).pairs.tolist()


def test_rendered_faces_are_no_copies_of_one_another():
    assert pairs(FACES) == []


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found(kind):
    images = FACES.copy()
    for row in range(10):
        images[140 + row] = COPIES[kind](images[row])
    near = near_copies_among(images)
    found, planted = set(map(tuple, near.pairs.tolist())), {(row, 140 + row) for row in range(10)}
    assert found <= planted and len(found) >= 9
    assert set(near.mirrored.tolist()) == {kind.startswith("mirrored")}
    assert (near.similarity >= near.threshold).all()


def test_copies_are_found_wherever_the_blocks_of_the_comparison_end(monkeypatch):
    images = FACES[:60].copy()
    images[[31, 59]] = [COPIES["brighter"](images[30]), images[42][:, ::-1]]
    whole = near_copies_among(images)
    monkeypatch.setattr(near_copies, "BLOCK", 7 * 60)
    blocks = near_copies_among(images)
    assert blocks.pairs.tolist() == whole.pairs.tolist() == [[30, 31], [42, 59]]
    assert blocks.mirrored.tolist() == [False, True]


def test_colour_and_other_sizes_are_compared_too():
    large = np.stack([cv2.resize(image, (90, 120)) for image in FACES[:40]])
    colour = np.repeat(large[..., None], 3, axis=3)
    colour[39] = COPIES["brighter"](colour[4])
    assert pairs(colour) == [[4, 39]]


def test_images_without_detail_have_no_copies():
    flat = np.full((30, 48, 48), 7, dtype=np.uint8)
    flat[3, 2, 2] = 9
    flat[4:8] = np.linspace(0, 255, 48).astype(np.uint8)  # shading alone
    flat[5] = 255 - flat[5]
    assert [0, 3] not in pairs(flat)
    assert all(not {i, j} & {0, 1, 2, 3, 9} for i, j in pairs(flat))
    assert pairs(np.zeros((20, 8, 8), dtype=np.uint8)) == []


def test_faces_that_are_all_alike_raise_the_threshold():
    """Aligned and symmetric: likenesses are as frequent mirrored as not, and are told from copies."""
    rng = np.random.default_rng(0)
    plan = cv2.GaussianBlur(rng.normal(size=(48, 48)), (0, 0), 2)
    plan = (plan + plan[:, ::-1]) / np.std(plan)
    own = np.stack([cv2.GaussianBlur(rng.normal(size=(48, 48)), (0, 0), 2) for _ in range(40)])
    images = np.clip(128 + 25 * (plan + 0.55 * own / own.std()), 0, 255).astype(np.uint8)
    images[39] = np.clip(images[0] + 10.0, 0, 255).astype(np.uint8)
    near = near_copies_among(images)
    assert near.threshold == SURE
    assert near.pairs.tolist() == [[0, 39]]


def test_the_images_of_other_rows_count_for_nothing():
    images = FACES[:40].copy()
    images[[31, 35]] = [COPIES["brighter"](images[30]), COPIES["brighter"](images[20])]
    assert find_near_copies(images, np.array([35, 3, 30, 20])).pairs.tolist() == [[0, 3]]


def test_images_are_never_copied_together(watched):
    """Data larger than the memory are memory-mapped: what copies many rows at once ends there."""
    images, copied = watched(FACES[:40])
    find_copies(made(images))
    assert copied == []


def test_copies_of_copies_share_a_group_and_the_order_of_rows_does_not_matter():
    images = FACES[:60].copy()
    images[50] = images[1]
    images[51] = COPIES["brighter"](images[1])
    images[52] = images[51][:, ::-1]
    data = made(images)
    copies = find_copies(data)
    assert len(copies.first) == 59
    assert len({*copies.groups[[1, 50, 51, 52]]}) == 1
    assert len(np.unique(copies.groups)) == 57
    turned = Dataset("made", images[::-1], data.labels[::-1], ("a", "b"), data.sample_ids[::-1])
    same = copies.groups[:, None] == copies.groups
    other = find_copies(turned).groups[::-1]
    assert np.array_equal(same, other[:, None] == other)


def test_which_copies_a_row_has_among_others():
    images = FACES[:30].copy()
    images[20] = images[1]
    images[21] = COPIES["brighter"](images[2])
    data = made(images)
    among = find_copies(data).among(np.arange(20))
    assert (among[20], among[21], among[22], among[3]) == ("exact", "near", "", "exact")


def test_copies_are_found_once_and_read_back():
    images = FACES[:50].copy()
    images[40] = COPIES["brighter"](images[2])
    data = made(images)
    calls: list[float] = []
    first = stored_copies(data, lambda done, text: calls.append(done))
    n_calls = len(calls)
    again = stored_copies(data, lambda done, text: calls.append(done))
    assert calls == sorted(calls) and calls[0] >= 0 and calls[-1] <= 1
    assert len(calls) == n_calls > 0
    assert np.array_equal(first.groups, again.groups)
    assert again.threshold == find_copies(data).threshold
