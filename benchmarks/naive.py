"""The notebook way: what a careful notebook does for a grid of models and strategies, each combination from the start.

    python benchmarks/naive.py DATA.csv --models hog-svm,pca-mlp --strategies none,over-sampling
    python benchmarks/naive.py DATA.csv --models mobilenet-v2 --strategies none --weights FILE --steps 40

Every combination reads the CSV, computes its features anew and trains scikit-learn's own classifier with the suite's
settings and seed; a network passes all images through its frozen backbone in every epoch. Nothing of fer_bench is
imported. One line of JSON for each combination: model, strategy, accuracy and macro_f1 on test, cpu_seconds.
"""

import argparse
import json
import time
import warnings

import numpy as np

SEED = 0
MLP_STEPS, MLP_BATCH = 1500, 128
IMAGE_SIZE, HEAD_BATCH, HEAD_RATE = 96, 256, 4e-3
Subset = tuple[np.ndarray, np.ndarray]


def read(path: str) -> dict[str, Subset]:
    """Images, uint8 (n, 48, 48), and labels by subset of a CSV like fer2013.csv."""
    import pandas as pd

    table = pd.read_csv(path)
    pixels = np.stack([np.array(text.split(), dtype=np.uint8) for text in table["pixels"]])
    side = round(pixels.shape[1] ** 0.5)
    images, labels = pixels.reshape(-1, side, side), table["emotion"].to_numpy()
    usage = table["Usage"].to_numpy()
    return {name: (images[usage == name], labels[usage == name]) for name in ("Training", "PublicTest", "PrivateTest")}


def features(name: str, data: dict[str, Subset]) -> dict[str, Subset]:
    """`data` with rows of HOG or PCA, float32, in the place of images."""
    if name == "hog":
        from skimage.feature import hog

        def transform(images: np.ndarray) -> np.ndarray:
            rows = [hog(image, orientations=9, pixels_per_cell=(6, 6), cells_per_block=(2, 2)) for image in images]
            return np.asarray(rows, dtype=np.float32)
    else:
        from sklearn.decomposition import PCA

        def flat(images: np.ndarray) -> np.ndarray:
            return images.reshape(len(images), -1).astype(np.float32) / 255

        pca = PCA(150, whiten=True, svd_solver="randomized", random_state=0).fit(flat(data["Training"][0]))

        def transform(images: np.ndarray) -> np.ndarray:
            return pca.transform(flat(images)).astype(np.float32)

    return {subset: (transform(images), labels) for subset, (images, labels) in data.items()}


def balanced(strategy: str, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Rows, labels and weights (or None) after `strategy`."""
    counts = np.bincount(y)
    if strategy == "class-weights":
        from sklearn.utils.class_weight import compute_sample_weight

        return X, y, compute_sample_weight("balanced", y)
    if strategy == "sqrt-weights":
        weights = counts[y] ** -0.5
        return X, y, weights / weights.mean()
    if strategy == "effective-number":
        weights = (1 - 0.9999) / (1 - 0.9999 ** counts[y])
        return X, y, weights / weights.mean()
    if strategy in ("over-sampling", "under-sampling", "smote"):
        from imblearn.over_sampling import SMOTE, RandomOverSampler
        from imblearn.under_sampling import RandomUnderSampler

        samplers = {"over-sampling": RandomOverSampler, "under-sampling": RandomUnderSampler, "smote": SMOTE}
        resampled, y = samplers[strategy](random_state=SEED).fit_resample(X.reshape(len(X), -1), y)
        return resampled.reshape(-1, *X.shape[1:]), y, None
    return X, y, None


def classifier(name: str, n_rows: int, n_jobs: int):
    """scikit-learn's classifier with the suite's settings."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC

    if name == "svm":
        return SVC(
            C=5.0, gamma="scale", cache_size=1000, break_ties=True
        )  # the most probable class, not the most voted
    if name == "forest":
        return RandomForestClassifier(300, n_jobs=n_jobs, random_state=SEED)
    batch = min(MLP_BATCH, n_rows)
    epochs = max(1, round(MLP_STEPS / -(-n_rows // batch)))
    return MLPClassifier(
        (256,), alpha=1e-2, batch_size=batch, max_iter=epochs, n_iter_no_change=epochs, tol=0.0, random_state=SEED
    )


def classical(path: str, model: str, strategy: str, n_jobs: int) -> Subset:
    """Labels and predictions of test."""
    kind, _, name = model.partition("-")
    data = features(kind, read(path))
    X, y, weights = balanced(strategy, *data["Training"])
    fitted = classifier(name, len(X), n_jobs).fit(X, y, sample_weight=weights)
    test, labels = data["PrivateTest"]
    return labels, fitted.predict(test)


def network(path: str, strategy: str, weights_file: str, steps: int) -> Subset:
    """Labels and predictions of test, by MobileNetV2 with its backbone frozen and the suite's head and recipe."""
    import cv2
    import keras

    keras.utils.set_random_seed(SEED)
    data = {
        subset: (np.stack([cv2.resize(image, (IMAGE_SIZE, IMAGE_SIZE)) for image in images])[..., None], labels)
        for subset, (images, labels) in read(path).items()
    }
    X, y, weights = balanced(strategy, *data["Training"])
    n_classes, batch = int(y.max()) + 1, min(HEAD_BATCH, len(X))
    model = frozen_network(weights_file, n_classes)
    warm_up = max(1, round(0.05 * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        HEAD_RATE / warm_up, max(1, steps - warm_up), warmup_target=HEAD_RATE, warmup_steps=warm_up
    )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    if strategy == "focal-loss":
        loss = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, gamma=2.0, from_logits=True)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.05)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)  # compiling takes longer than it saves
    best = keras.callbacks.EarlyStopping("val_accuracy", patience=steps, restore_best_weights=True)
    one_hot = np.eye(n_classes, dtype=np.float32)
    validation = (data["PublicTest"][0], one_hot[data["PublicTest"][1]])
    epochs = max(1, round(steps / -(-len(X) // batch)))
    model.fit(
        X, one_hot[y], sample_weight=weights, batch_size=batch, epochs=epochs, validation_data=validation,
        validation_batch_size=batch, callbacks=[best], verbose=0,
    )  # fmt: skip
    test, labels = data["PrivateTest"]
    return labels, model.predict(test, batch_size=batch, verbose=0).argmax(axis=1)


def frozen_network(weights_file: str, n_classes: int):
    """Logits from gray pixels, uint8 (n, 96, 96, 1)."""
    import keras
    from keras import layers

    backbone = keras.applications.MobileNetV2((IMAGE_SIZE, IMAGE_SIZE, 3), include_top=False, weights=None)
    backbone.load_weights(weights_file)
    backbone.trainable = False
    pixels = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
    x = layers.Rescaling(1 / 127.5, -1.0)(layers.Concatenate()([pixels] * 3))
    x = layers.GlobalAveragePooling2D()(backbone(x, training=False))
    x = layers.Dropout(0.5)(layers.Dense(256, activation="relu")(x))
    return keras.Model(pixels, layers.Dense(n_classes)(x))


def main() -> None:
    """Every combination in turn."""
    from sklearn.metrics import accuracy_score, f1_score

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path")
    parser.add_argument("--models", required=True)
    parser.add_argument("--strategies", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--n-jobs", type=int, default=1)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # perceptrons end by their budget, not by convergence
    for model in given.models.split(","):
        for strategy in given.strategies.split(","):
            start = time.process_time()
            if model == "mobilenet-v2":
                labels, predicted = network(given.path, strategy, given.weights, given.steps)
            else:
                labels, predicted = classical(given.path, model, strategy, given.n_jobs)
            row = {
                "model": model, "strategy": strategy, "accuracy": accuracy_score(labels, predicted),
                "macro_f1": f1_score(labels, predicted, average="macro", labels=range(int(labels.max()) + 1)),
                "cpu_seconds": time.process_time() - start,
            }  # fmt: skip
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
