"""The classical models and the baselines every benchmark owes its reader."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fer_bench.models.registry import Choice, Range, Search, register_model

if TYPE_CHECKING:
    import numpy as np

    from fer_bench.models.task import Task

KERNEL_ROWS = 1024  # that an SVM answers at once
MOST_REPEATS = 8
MLP_BATCH_SIZE = 128
MLP_STEPS = {"quick": 1500, "standard": 4000, "full": 12000}

PCA_SEARCH: Search = {"pca.n_components": Choice((150, 50, 75, 100, 200, 300))}
HOG_SEARCH: Search = {"hog.cell": Choice((6, 8, 12)), "hog.orientations": Choice((9, 6, 12))}
LOGISTIC_SEARCH: Search = {"C": Range(1e-3, 1e2, log=True, default=1.0)}
SVM_SEARCH: Search = {"C": Range(0.5, 50.0, log=True, default=5.0), "gamma": Range(0.2, 5.0, log=True)}
FOREST_SEARCH: Search = {
    "max_depth": Choice((None, 8, 16, 32)),
    "min_samples_leaf": Choice((1, 2, 4, 8)),
    "max_features": Choice(("sqrt", "log2", 0.1, 0.2)),
}
MLP_SEARCH: Search = {
    "hidden": Choice((256, 64, 128, 512)),
    "alpha": Range(1e-4, 1.0, log=True),
    "learning_rate": Range(1e-4, 1e-2, log=True),
}


@register_model(
    "majority", features="images", family="baseline", trainable=False, stochastic=False,
    summary="always the most frequent class",
)  # fmt: skip
def majority(task: Task) -> Any:
    """Every image gets the training frequencies' most frequent class."""
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="most_frequent")


@register_model(
    "stratified-guess", features="images", family="baseline", trainable=False,
    summary="a class drawn with the training frequencies",
)  # fmt: skip
def stratified_guess(task: Task) -> Any:
    """Every image gets a class drawn at random with the training frequencies."""
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="stratified", random_state=task.random_state)


@register_model(
    "pca-logistic", features="pca", family="baseline", stochastic=False, recipe=2,
    search={**LOGISTIC_SEARCH, **PCA_SEARCH}, summary="logistic regression on PCA",
)  # fmt: skip
def pca_logistic(task: Task) -> Any:
    """Multinomial logistic regression, L2, C = 1."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=task.parameters.get("C", 1.0), max_iter=1000)


@register_model(
    "bovw-svm", features="bovw", stochastic=False,
    search={**SVM_SEARCH, "bovw.n_components": Choice((400, 200, 300, 600))},
    summary="RBF SVM (C=5) on dense SIFT in visual words",
)  # fmt: skip
@register_model(
    "hog-lbp-svm", features="hog-lbp", stochastic=False,
    search={**SVM_SEARCH, "hog-lbp.n_components": Choice((300, 150, 200, 400))},
    summary="RBF SVM (C=5) on HOG of three sizes and LBP",
)  # fmt: skip
@register_model(
    "hog-svm", features="hog", stochastic=False, recipe=2, search={**SVM_SEARCH, **HOG_SEARCH},
    summary="RBF SVM (C=5) on HOG",
)  # fmt: skip
@register_model(
    "pca-svm", features="pca", stochastic=False, recipe=2, search={**SVM_SEARCH, **PCA_SEARCH},
    summary="RBF SVM (C=5) on PCA",
)  # fmt: skip
def svm(task: Task) -> Any:
    """RBF SVM, C = 5, gamma = factor / (n_features * variance) with a factor of 1, scores one-versus-rest.

    Trained by scikit-learn-intelex where it is installed (the same problem, solved many times faster),
    otherwise by scikit-learn. `probability=True` stays off: scores are calibrated on validation instead.
    """
    import numpy as np
    from sklearn.metrics.pairwise import rbf_kernel

    try:
        import daal4py
        from sklearnex.svm import SVC
    except ImportError:
        from sklearn.svm import SVC
    else:
        daal4py.daalinit(task.n_jobs)
    factor = task.parameters.get("gamma", 1.0)

    class RowsSVC(SVC):
        """Fits a row that comes several times once, with as much more weight: the same problem, and smaller."""

        def fit(self, X: Any, y: Any, sample_weight: Any = None, rows: Any = None) -> Any:
            rows = slice(None) if rows is None else rows
            kept, counts = np.unique(np.arange(len(X))[rows], return_counts=True)
            repeats = counts.max() > 1
            if factor != 1 or repeats:
                self.gamma = factor / (X.shape[1] * (float(X[rows].var()) or 1.0))  # as scikit-learn's "scale"
            if repeats:
                sample_weight = counts if sample_weight is None else np.bincount(rows, sample_weight)[kept]
                rows = kept
            return super().fit(X[rows], y[rows], sample_weight)

        def decision_function(self, X: Any) -> Any:
            """As the library's, in less than half the time: by two products, not by one pair of classes at a time."""
            if len(self.classes_) == 2:
                return super().decision_function(X)
            weights, signs = pairs_of_classes(self.dual_coef_, self.n_support_)
            vectors, parts = self.support_vectors_.astype(X.dtype), range(KERNEL_ROWS, len(X), KERNEL_ROWS)
            kernels = (rbf_kernel(part, vectors, self._gamma) for part in np.split(X, parts))
            margins = np.concatenate([kernel @ weights for kernel in kernels]) + self.intercept_
            votes, sureness = (margins >= 0) @ signs + np.arange(signs.shape[1]), margins @ signs
            return votes + sureness / (3 * (abs(sureness) + 1))  # as scikit-learn: no sureness outweighs a vote

    C = task.parameters.get("C", 5.0)
    return RowsSVC(C=C, kernel="rbf", gamma="scale", decision_function_shape="ovr", cache_size=1000)


@register_model(
    "hog-forest", features="hog", balanced_bootstrap=True, recipe=3, search={**FOREST_SEARCH, **HOG_SEARCH},
    summary="Random Forest (300 trees) on HOG",
)  # fmt: skip
@register_model(
    "pca-forest", features="pca", balanced_bootstrap=True, recipe=3, search={**FOREST_SEARCH, **PCA_SEARCH},
    summary="Random Forest (300 trees) on PCA",
)  # fmt: skip
def forest(task: Task) -> Any:
    """300 trees grown to the end on sqrt(n_features) candidates a split (Breiman 2001), their rows drawn by weight.

    Grown by scikit-learn-intelex where it is installed, on features in its 256 bins, else by scikit-learn. With a
    balanced bootstrap, where a strategy asks for it: a balanced random forest (Chen, Liaw & Breiman 2004).
    """
    options = {"n_estimators": 300, "n_jobs": task.n_jobs, "random_state": task.random_state}
    options |= {name: task.parameters[name] for name in FOREST_SEARCH if name in task.parameters}
    if task.balanced_bootstrap:
        from imblearn.ensemble import BalancedRandomForestClassifier

        return BalancedRandomForestClassifier(**options, sampling_strategy="all", replacement=True, bootstrap=False)
    try:
        import daal4py
        from sklearnex.ensemble import RandomForestClassifier
    except ImportError:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(**options)
    daal4py.daalinit(task.n_jobs)

    class DrawsForest(RandomForestClassifier):
        """Draws rows by their weights, as scikit-learn does: its library would draw them evenly and weigh impurity."""

        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            if sample_weight is None:
                return super().fit(X, y)
            rows = repeated_by_weight(sample_weight, self.random_state)
            self.max_samples = min(1.0, len(X) / len(rows))
            return super().fit(X[rows], y[rows])

    return DrawsForest(**options)


def repeated_by_weight(sample_weight: np.ndarray, random_state: int) -> np.ndarray:
    """Rows, each as often as it weighs more than the lightest, fractions by chance: even draws of them are weighted.

    At most MOST_REPEATS times as many as there are weights, int64.
    """
    import numpy as np

    expected = sample_weight / sample_weight[sample_weight > 0].min()
    expected = expected * min(1.0, MOST_REPEATS * len(expected) / expected.sum())
    times = np.floor(expected + np.random.default_rng(random_state).random(len(expected))).astype(np.int64)
    return np.repeat(np.arange(len(times)), times)


@register_model(
    "hog-mlp", features="hog", steps=MLP_STEPS, recipe=2, search={**MLP_SEARCH, **HOG_SEARCH},
    summary="multi-layer perceptron (256) on HOG",
)  # fmt: skip
@register_model(
    "pca-mlp", features="pca", steps=MLP_STEPS, recipe=2, search={**MLP_SEARCH, **PCA_SEARCH},
    summary="multi-layer perceptron (256) on PCA",
)  # fmt: skip
def mlp(task: Task) -> Any:
    """One hidden layer of 256, Adam, the task's gradient steps whatever the strategy did to the rows.

    They are rounded to whole epochs, one at least; `steps_` says how many were made.
    `early_stopping` stays off: it would cut its validation rows out of resampled rows, copies on both sides.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    warnings.simplefilter("ignore", ConvergenceWarning)  # the budget ends training, not convergence
    batch_size = min(MLP_BATCH_SIZE, task.n_rows)
    steps_per_epoch = -(-task.n_rows // batch_size)
    epochs = max(1, round((task.steps or MLP_STEPS["quick"]) / steps_per_epoch))

    class StepsMLPClassifier(MLPClassifier):
        """Says how many gradient steps it made."""

        @property
        def steps_(self) -> int:
            return self.n_iter_ * steps_per_epoch

    return StepsMLPClassifier(
        hidden_layer_sizes=(task.parameters.get("hidden", 256),),
        alpha=task.parameters.get("alpha", 1e-2),
        learning_rate_init=task.parameters.get("learning_rate", 1e-3),
        batch_size=batch_size,
        max_iter=epochs,
        tol=0.0,
        n_iter_no_change=epochs,
        random_state=task.random_state,
    )


def pairs_of_classes(dual: np.ndarray, n_support: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the support vectors in the margin of each pair of classes; which is first (1) and second (-1) in it.

    dual: libsvm's (k - 1, n_vectors), the vectors sorted by class; n_support: how many each has, (k,).
    weights: (n_vectors, pairs), of dual's type; signs: float64 (pairs, k).
    """
    import numpy as np

    k, ends = len(n_support), np.cumsum(n_support)
    of_class = [slice(end - n, end) for end, n in zip(ends, n_support, strict=True)]
    pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
    weights, signs = np.zeros((dual.shape[1], len(pairs)), dual.dtype), np.zeros((len(pairs), k))
    for at, (i, j) in enumerate(pairs):
        weights[of_class[i], at], weights[of_class[j], at] = dual[j - 1, of_class[i]], dual[i, of_class[j]]
        signs[at, [i, j]] = 1, -1
    return weights, signs


def n_parameters(classifier: Any) -> int | None:
    """Numbers a fitted classifier keeps to predict with, or None where that is not known.

    A network says so itself (`n_parameters_`); linear models and perceptrons: coefficients and intercepts;
    SVM: support vectors and their dual coefficients; forest: two numbers (feature, threshold) a split and
    one a class and leaf.
    """
    import numpy as np

    with suppress(Exception):  # a classifier from elsewhere may mean something else by these names
        if hasattr(classifier, "n_parameters_"):
            return int(classifier.n_parameters_)
        if hasattr(classifier, "estimators_"):
            trees = [tree.tree_ for tree in classifier.estimators_ if hasattr(tree, "tree_")]
            return sum(2 * (t.node_count - t.n_leaves) + t.n_leaves * t.n_classes[0] for t in trees) if trees else None
        if hasattr(classifier, "support_vectors_"):
            return int(classifier.support_vectors_.size + classifier.dual_coef_.size + classifier.intercept_.size)
        if hasattr(classifier, "coefs_"):
            return int(sum(array.size for array in (*classifier.coefs_, *classifier.intercepts_)))
        if hasattr(classifier, "coef_"):
            return int(np.size(classifier.coef_) + np.size(classifier.intercept_))
    return None
