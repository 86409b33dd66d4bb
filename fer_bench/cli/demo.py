"""`demo leak`: over-sampling before the split, on the built-in faces, beside the honest way. Nothing is staged."""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from textwrap import wrap

import numpy as np
from rich import box
from rich.table import Table

from fer_bench.analysis import Finding, against_data
from fer_bench.data import Dataset, find_copies, make_audit, make_split, make_synthetic
from fer_bench.progress import Progress, silent
from fer_bench.records import Audit
from fer_bench.screen import Screen

N_IMAGES = 1000
ENLARGED = 3
"""Times the largest class that every class is enlarged to by those who want "more data" as well as balance."""
SEED = 0
WIDTH = 80
"""Of a usual terminal, in columns."""


@dataclass(frozen=True)
class Way:
    """One way to prepare the same faces, and what came of it.

    data: with subsets, over-sampled. validation, test: accuracy. rare_validation, rare_test: the rarest class's recall.
    evidence: what the leak gate says of the data.
    """

    name: str
    data: Dataset
    validation: float
    test: float
    rare_validation: float
    rare_test: float
    evidence: tuple[Finding, ...]


def ways(n_images: int = N_IMAGES, progress: Progress = silent) -> list[Way]:
    """The honest way and two that over-sample before they split, all tested on the same untouched faces."""
    progress(0.0, "rendering faces")
    faces = make_synthetic(n_images, SEED)
    split = make_split(faces, SEED)
    pool = np.concatenate([split.train, split.validation])
    largest = int(faces.class_counts(pool).max())
    share = len(split.validation) / len(pool)
    plans = {
        "split, then over-sample train": (_over_sampled(faces, split.train, largest), split.validation),
        "over-sample, then split": _cut(_over_sampled(faces, pool, largest), share),
        f"over-sample to {ENLARGED} times as much, then split": _cut(
            _over_sampled(faces, pool, ENLARGED * largest), share
        ),
    }
    done: list[Way] = []
    for name, (train, validation) in plans.items():
        progress(0.1 + 0.3 * len(done), name)
        done.append(_way(name, faces, {"train": train, "validation": validation, "test": split.test}))
    return done


def lines(done: list[Way]) -> list[str]:
    """What happened, for people."""
    from fer_bench.report import sentences

    rare = done[0].data.class_names[_rarest(done[0].data)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column()
    for name in ("validation", "test", f"{rare}:\nvalidation", f"{rare}:\ntest"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("leak gate", no_wrap=True)
    for way in done:
        shares = (way.validation, way.test, way.rare_validation, way.rare_test)
        table.add_row(way.name, *(f"{share:.1%}" for share in shares), "LEAK SUSPECT" if way.evidence else "passed")
    drawn = StringIO()
    Screen(file=drawn, width=WIDTH, color_system=None).print(table)
    evidence = [("", f"{way.name}:", *map("  - {}".format, sentences(way.evidence))) for way in done if way.evidence]
    return [
        *_wrapped(
            "The same rendered faces, the same Random Forest on pixels, the same test faces, "
            "three ways to prepare them:"
        ),
        *(line.rstrip() for line in drawn.getvalue().splitlines()),
        *_wrapped(
            "Over-sampling repeats images of rare classes. Repeated before the split, one copy is trained on and its "
            "twin validates: the forest has seen the answer. The test faces were set aside first and tell the truth."
        ),
        *(line for part in evidence for text in part for line in _wrapped(text)),
        "",
        *_wrapped("fer_bench over-samples training rows only, after the split, and audits data before every run."),
    ]


def _wrapped(text: str) -> list[str]:
    """`text` as lines of WIDTH at most; those that go on a point of a list are indented as it is."""
    return wrap(text, WIDTH, subsequent_indent="    " * text.startswith("  - ")) or [""]


def _way(name: str, faces: Dataset, subsets: dict[str, np.ndarray]) -> Way:
    """The data as their maker would hand them over: copied rows are rows like any other, subsets are official."""
    from sklearn.ensemble import RandomForestClassifier

    rows = np.concatenate(list(subsets.values()))
    data = Dataset(
        name="demo",
        images=faces.images[rows],
        labels=faces.labels[rows],
        class_names=faces.class_names,
        sample_ids=np.array([f"{at:05d}" for at in range(len(rows))]),
        subsets=np.repeat(list(subsets), [len(members) for members in subsets.values()]),
    )
    split = make_split(data)
    audit = Audit.model_validate(make_audit(data, [split], find_copies(data)))
    pixels = data.images[:, ::2, ::2].reshape(len(data), -1)
    forest = RandomForestClassifier(100, random_state=SEED).fit(pixels[split.train], data.labels[split.train])
    scores = []
    for members in (split.validation, split.test):
        right = forest.predict(pixels[members]) == data.labels[members]
        scores.append((float(right.mean()), float(right[data.labels[members] == _rarest(faces)].mean())))
    (validation_accuracy, rare_validation), (test_accuracy, rare_test) = scores
    return Way(name, data, validation_accuracy, test_accuracy, rare_validation, rare_test, against_data(audit))


def _over_sampled(faces: Dataset, rows: np.ndarray, n_per_class: int) -> np.ndarray:
    """`rows`, and rows of each class drawn again at random until it has `n_per_class` of them."""
    rng = np.random.default_rng(SEED)
    of_class = [rows[faces.labels[rows] == label] for label in np.unique(faces.labels[rows])]
    return np.concatenate([[*members, *rng.choice(members, n_per_class - len(members))] for members in of_class])


def _cut(rows: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Train and validation: a `share` of the rows, drawn at random, validates."""
    train, validation = np.split(np.random.default_rng(SEED).permutation(rows), [round((1 - share) * len(rows))])
    return train, validation


def _rarest(faces: Dataset) -> int:
    return int(faces.class_counts().argmin())
