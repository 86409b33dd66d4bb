"""Whether a bundle answers as the run did, and how long that takes."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from fer_bench import metrics
from fer_bench.deploy.session import BATCH, open_session
from fer_bench.execution.environment import cores, processor

LIMITS = {"float32": (0.99, 0.002), "bfloat16": (0.98, 0.005), "int8": (0.97, 0.01)}
"""Share of the test images with the same most probable class, at least, and difference of macro-F1, at most: of what is
exported in int8, else by what the run was computed in; one image may always differ. Near ties end otherwise in
bfloat16: of a weak network one in 100.
"""
SECONDS = 0.5
"""For which each latency is measured."""


@dataclass(frozen=True)
class Parity:
    """A bundle against the record, on the same test images.

    largest_difference: of a probability. same_answers: share of images with the same most probable
    class. macro_f1, recorded_macro_f1: of both. limits: those that it has to keep, a key of LIMITS.
    """

    n_images: int
    largest_difference: float
    same_answers: float
    macro_f1: float
    recorded_macro_f1: float
    limits: str

    @property
    def holds(self) -> bool:
        """Whether both are one model."""
        same_answers, same_macro_f1 = LIMITS[self.limits]
        if round((1 - self.same_answers) * self.n_images) <= 1:
            return True
        return self.same_answers >= same_answers and abs(self.macro_f1 - self.recorded_macro_f1) <= same_macro_f1

    def __str__(self) -> str:
        return (
            f"same answer on {self.same_answers:.2%} of {self.n_images:,} test images, macro-F1 {self.macro_f1:.4f} "
            f"for {self.recorded_macro_f1:.4f}, probabilities differ by up to {self.largest_difference:.4f}"
        )


@dataclass(frozen=True)
class Latency:
    """Milliseconds an image, alone and in batches of `batch`, by all cores and by one."""

    one: float
    batch_of: int
    batch: float
    one_thread: float
    cores: int
    processor: str


def parity(
    labels: np.ndarray, stored: np.ndarray, found: np.ndarray, class_names: Sequence[str], limits: str
) -> Parity:
    """`found`, float (n, k), against `stored` probabilities of images with `labels`, int (n,)."""
    difference = np.abs(found.astype(np.float64) - stored)
    recorded, own = (metrics.macro_f1(labels, rows.argmax(axis=1), len(class_names)) for rows in (stored, found))
    same = float((stored.argmax(axis=1) == found.argmax(axis=1)).mean())
    return Parity(len(labels), float(difference.max()), same, own, recorded, limits)


def latency(files: Mapping[str, bytes], images: np.ndarray, trust: Collection[str] = ()) -> Latency:
    """How long the model in `files` takes for `images`, the median of what is measured; all as for `open_session`."""
    batch = np.ascontiguousarray(images[:BATCH])
    times = []
    for n_threads, given in ((None, batch[:1]), (None, batch), (1, batch)):
        session = open_session(files, Path(), trust, n_threads or 0)
        with threadpool_limits(n_threads):  # of classifiers that are no part of the graph
            session.answers(given)
            took: list[float] = []
            began = time.perf_counter()
            while time.perf_counter() - began < SECONDS or len(took) < 3:
                start = time.perf_counter()
                session.answers(given)
                took.append(1000 * (time.perf_counter() - start) / len(given))
        times.append(round(float(np.median(took)), 3))
    return Latency(times[0], len(batch), times[1], times[2], cores(), processor())
