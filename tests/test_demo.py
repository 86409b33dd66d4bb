"""`demo leak`: the mistake is real, its scores are measured, the gate sees the mistake and not the honest way."""

import numpy as np
import pytest

from fer_bench.cli.demo import Way, lines, ways


@pytest.fixture(scope="module")
def done() -> list[Way]:
    return ways(600)


def copies_in_train(way: Way) -> float:
    """Share of the validation images that are, byte for byte, among the training images."""
    images = {name: way.data.images[way.data.subsets == name] for name in ("train", "validation")}
    seen = {image.tobytes() for image in images["train"]}
    return float(np.mean([image.tobytes() in seen for image in images["validation"]]))


def test_over_sampling_is_real(done):
    honest, balanced, enlarged = done
    for way in done:
        counts = way.data.class_counts(np.flatnonzero(way.data.subsets == "train"))
        assert counts.max() - counts.min() <= 0.2 * counts.max()
    assert copies_in_train(honest) == 0
    assert 0.3 < copies_in_train(balanced) < copies_in_train(enlarged)
    assert copies_in_train(enlarged) > 0.95


def test_the_test_faces_are_the_same_untouched_ones(done):
    tests = [way.data.images[way.data.subsets == "test"] for way in done]
    assert np.array_equal(tests[0], tests[1]) and np.array_equal(tests[0], tests[2])
    assert len(np.unique(tests[0].reshape(len(tests[0]), -1), axis=0)) == len(tests[0])


def test_validation_lies_and_test_does_not(done):
    honest, balanced, enlarged = done
    assert abs(honest.validation - honest.test) < 0.2
    assert balanced.validation > balanced.test + 0.2
    assert enlarged.validation > 0.95 > 0.6 > enlarged.test
    assert enlarged.rare_validation == 1 > enlarged.rare_test


def test_the_gate_catches_the_mistake_only(done):
    honest, balanced, enlarged = done
    assert honest.evidence == ()
    for way in (balanced, enlarged):
        assert "MANY_EXACT_COPIES" in [finding.code for finding in way.evidence]


def test_what_is_printed_is_what_was_measured(done):
    printed = lines(done)
    assert max(map(len, printed)) <= 80
    text = "\n".join(printed)
    for way in done:
        assert " ".join(way.name.split()[:2]) in text
        assert f"{way.validation:.1%}" in text and f"{way.test:.1%}" in text
    assert text.count("LEAK SUSPECT") == 2
