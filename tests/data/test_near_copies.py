"""Near copies: the same photograph found again, likenesses left alone."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from faces import distinct_faces

from fer_bench.data import Dataset, find_copies, likeness, make_synthetic, stored_copies
from fer_bench.data.copies import COMPARED, COPY, SURE, _some_pairs

FACES = distinct_faces(150).images
BORDERS = (cv2.BORDER_REFLECT, cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT)


def warped(image, turn=0.0, right=0.0, down=0.0, zoom=1.0, border=cv2.BORDER_REFLECT):
    matrix = cv2.getRotationMatrix2D((23.5, 23.5), turn, zoom)
    matrix[:, 2] += right, down
    return cv2.warpAffine(image, matrix, (48, 48), borderMode=border)


def mixed(image):
    """As Keras's RandomFlip, RandomRotation, RandomTranslation and RandomZoom do together."""
    rng = np.random.default_rng(image.sum())
    turn, right, down = rng.uniform((-10, -4.8, -4.8), (10, 4.8, 4.8))
    flipped = np.ascontiguousarray(image[:, ::-1]) if rng.random() < 0.5 else image
    return warped(flipped, turn, right, down, rng.uniform(0.9, 1.1), BORDERS[rng.integers(3)])


def noisy(image):
    noise = np.random.default_rng(image.sum()).normal(0, 8, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


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
    "turned by 7 degrees": lambda image: warped(image, 7),
    "turned by 10 degrees": lambda image: warped(image, -10),
    "moved by 4 pixels": lambda image: warped(image, 0, 4, 0),
    "smaller": lambda image: warped(image, zoom=0.9),
    "larger": lambda image: warped(image, zoom=1.1),
    "lit from a side": lambda image: np.clip(image + np.linspace(-40, 40, 48), 0, 255).astype(np.uint8),
    "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), 1.2),
    "noisy": noisy,
    "mixed": mixed,
    "mirrored": lambda image: image[:, ::-1],
    "mirrored and recompressed": lambda image: jpeg(np.ascontiguousarray(image[:, ::-1])),
}


def made(images, **known) -> Dataset:
    rows = np.arange(len(images))
    return Dataset("made", images, rows % 2, ("a", "b"), rows.astype(str), **known)


def pairs(images, **known) -> list[list[int]]:
    """Rows that are near copies, the lower first."""
    copies = find_copies(made(images, **known))
    return sorted(sorted(copies.first[pair].tolist()) for pair in copies.pairs)


def test_rendered_faces_are_no_copies_of_one_another():
    assert len(find_copies(make_synthetic(400)).pairs) == 0


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found(kind):
    images = FACES.copy()
    for row in range(10):
        images[140 + row] = COPIES[kind](images[row])
    copies = find_copies(made(images))
    found, planted = set(map(tuple, pairs(images))), {(row, 140 + row) for row in range(10)}
    assert found <= planted and len(found) >= (7 if kind == "mixed" else 9)
    if kind != "mixed":
        assert set(copies.mirrored.tolist()) == {kind.startswith("mirrored")}
    assert (copies.similarity >= copies.threshold).all()


def test_copies_are_found_wherever_the_blocks_of_the_comparison_end(monkeypatch):
    images = FACES[:100].copy()
    images[[31, 99]] = [COPIES["brighter"](images[30]), images[42][:, ::-1]]
    assert pairs(images) == [[30, 31], [42, 99]]
    monkeypatch.setattr(likeness, "BLOCK", 7 * 100)
    assert pairs(images) == [[30, 31], [42, 99]]


def test_colour_and_other_sizes_are_compared_too():
    large = np.stack([cv2.resize(image, (90, 120)) for image in FACES[:40]])
    colour = np.repeat(large[..., None], 3, axis=3)
    colour[38] = COPIES["brighter"](colour[4])
    assert pairs(colour) == [[4, 38]]


def test_images_without_detail_have_no_copies():
    flat = np.full((30, 48, 48), 7, dtype=np.uint8)
    flat[3, 2, 2] = 9
    flat[4:8] = np.linspace(0, 255, 48).astype(np.uint8)  # shading alone
    flat[5] = 255 - flat[5]
    assert all(not {i, j} & {0, 1, 2, 3, 9} for i, j in pairs(flat))
    assert pairs(np.arange(20, dtype=np.uint8).reshape(-1, 1, 1).repeat(8, 1).repeat(8, 2)) == []


def laboratory(rng, n_people=12, n_each=8) -> tuple[np.ndarray, np.ndarray]:
    """Aligned faces in even light, and who is on each: little but a mouth changes from one to the next of a person."""
    faces = [cv2.GaussianBlur(rng.normal(size=(48, 48)), (0, 0), 2) for _ in range(n_people)]
    mouths = [cv2.GaussianBlur(rng.normal(size=(10, 24)), (0, 0), 2) for _ in range(n_each)]
    images = []
    for face in faces:
        for mouth in mouths:
            image = 128 + 40 * face / face.std() + rng.normal(0, 2, face.shape)
            image[34:44, 12:36] += 30 * mouth / mouth.std()
            images.append(np.clip(image, 0, 255).astype(np.uint8))
    return np.stack(images), np.repeat(np.arange(n_people), n_each)


@pytest.mark.parametrize("known", [False, True], ids=["people unknown", "people known"])
def test_one_person_with_two_expressions_is_not_one_photograph(known):
    images, people = laboratory(np.random.default_rng(0))
    images[1] = np.clip(images[0] + 10.0, 0, 255).astype(np.uint8)
    groups = {"groups": people, "grouped_by": "person"} if known else {}
    assert find_copies(made(images, **groups)).threshold > COPY
    found = pairs(images, **groups)
    assert all(people[i] == people[j] for i, j in found)
    assert [0, 1] in found and len([i for i, j in found if (i - j) % 2]) <= 5  # of two labels, among 336 such pairs


def test_what_counts_as_a_copy_can_be_said():
    images, _ = laboratory(np.random.default_rng(0))
    images[3] = images[2]
    asked = {copies: find_copies(made(images, copies=copies)) for copies in ("", "near", "exact", "none")}
    assert asked["near"].threshold == COPY and asked[""].threshold <= SURE
    assert len(asked["near"].pairs) > len(asked[""].pairs)
    assert (len(asked["exact"].first), len(asked["exact"].pairs)) == (len(images) - 1, 0)
    assert (len(asked["none"].first), len(asked["none"].pairs)) == (len(images), 0)


def test_a_chain_of_likeness_does_not_glue_what_is_unlike():
    """Each image is a copy of the next, moved by two pixels; the first and the last have little in common."""
    wide = cv2.resize(np.hstack(list(FACES[100:103])), (240, 48))
    images = FACES[:100].copy()
    for at in range(30):
        images[at] = wide[:, 4 * at : 4 * at + 48]
    copies = find_copies(made(images, copies="near"))
    sizes = np.bincount(copies.groups)
    assert 2 <= sizes.max() <= 12


def test_many_copies_of_one_photograph_are_one_group():
    images, rng = FACES[:140].copy(), np.random.default_rng(0)
    for at in range(100, 140):
        images[at] = warped(FACES[0], *rng.uniform((-5, -2, -2), (5, 2, 2)))
    labels = np.where(np.arange(140) < 100, np.arange(140) % 2, 0)
    copies = find_copies(replace(made(images), labels=labels))
    assert len({*copies.groups[[0, *range(100, 140)]]}) == 1 and np.bincount(copies.groups).max() == 41


def test_large_images_are_never_copied_together(watched):
    """Data larger than the memory are memory-mapped: what copies many rows at once ends there."""
    images, copied = watched(np.stack([cv2.resize(image, (64, 64)) for image in FACES[:40]]))
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


@pytest.mark.parametrize("n", [2, 3, 200, 5000])
def test_of_very_many_pairs_some_are_drawn(n):
    pairs, share = _some_pairs(n)
    total = n * (n - 1) // 2
    assert len(pairs) == min(total, COMPARED) == round(share * total) == len(np.unique(pairs, axis=0))
    assert (pairs[:, 0] < pairs[:, 1]).all() and pairs.min() >= 0 and pairs.max() < n
    if n == 5000:  # from all over
        assert np.histogram(pairs[:, 0], 4, (0, n))[0].argsort().tolist() == [3, 2, 1, 0]
