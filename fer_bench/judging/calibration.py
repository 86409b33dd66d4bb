"""Temperature scaling of stored probabilities: what calibration on the validation images would have made of them."""

import numpy as np

from fer_bench.judging import metrics

SMALLEST = 1e-12


def rescaled(
    probabilities: np.ndarray, validation_labels: np.ndarray, validation_probabilities: np.ndarray
) -> tuple[np.ndarray, float]:
    """`probabilities`, float (n, k), at the temperature that suits the validation images best; and that temperature.

    The classes of a row keep their order, so no prediction changes. A temperature above 1 says that the model was too
    sure of itself. Guo, Pleiss, Sun and Weinberger (2017), On Calibration of Modern Neural Networks, section 4.2;
    logarithms of probabilities serve as logits, which softmax cannot tell apart.
    """
    temperature = metrics.temperature(_logits(validation_probabilities), validation_labels)
    return metrics.probabilities_from_scores(_logits(probabilities), temperature), temperature


def _logits(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))
