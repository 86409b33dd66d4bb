import numpy as np
import pytest

from fer_bench import metrics


def labelled(n: int = 4000, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, k), and labels drawn from them."""
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(k), n)
    return probabilities, (rng.random(n)[:, None] > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=k - 1)


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_scaling_on_validation_undoes_what_made_test_too_sure_or_unsure(factor: float):
    probabilities, labels = labelled()
    sharpened = probabilities**factor / (probabilities**factor).sum(axis=1, keepdims=True)
    half = len(labels) // 2
    scaled, temperature = metrics.rescaled(sharpened[:half], labels[half:], sharpened[half:])
    before = metrics.expected_calibration_error(labels[:half], sharpened[:half])
    after = metrics.expected_calibration_error(labels[:half], scaled)
    assert temperature == pytest.approx(factor, rel=0.1)
    assert after < 0.5 * before
    assert (scaled.argmax(axis=1) == sharpened[:half].argmax(axis=1)).all()


def test_certain_answers_are_scaled_too():
    scaled, temperature = metrics.rescaled(np.eye(3), np.array([0, 1, 0]), np.eye(3))
    assert temperature > 0
    assert np.isfinite(scaled).all()
    assert scaled.sum(axis=1) == pytest.approx(1)
