"""Post-hoc logit adjustment: finished probabilities, corrected for how frequent the classes were in training.

Menon et al. 2021, Long-tail Learning via Logit Adjustment (arXiv:2007.07314), eq. 9: the class with the greatest
p / share^tau instead of the greatest p. tau = 0 changes nothing; tau = 1 is Bayes' rule for equally frequent classes.
"""

import numpy as np

from fer_bench.metrics import adjust, macro_f1

__all__ = ["TAUS", "adjust", "choose_tau"]

TAUS = tuple(step / 10 for step in range(21))  # 0, 0.1, ..., 2


def choose_tau(probabilities: np.ndarray, labels: np.ndarray, log_prior: np.ndarray) -> float:
    """The tau of `TAUS` with the best macro-F1 on validation rows, the smallest of them where several are equal.

    probabilities: float (n, k). labels: int (n,). log_prior: float (k,), logarithms of the classes' training shares.
    """

    def score(tau: float) -> float:
        return macro_f1(labels, adjust(probabilities, log_prior, tau).argmax(axis=1), len(log_prior))

    return max(TAUS, key=score)  # the first of equals
