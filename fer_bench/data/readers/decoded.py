"""What every reader hands over, and the rules that turn it into a Dataset whatever the form it came in."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from fer_bench.data.dataset import SUBSETS, Dataset, GroupedBy
from fer_bench.data.options import Copying
from fer_bench.errors import FerBenchError, listing

TRAIN, VALIDATION, TEST = SUBSETS
SUBSET_WORDS = {
    **dict.fromkeys(("train", "training", "trainset"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev", "eval", "evaluation", "valset", "publictest"), VALIDATION),
    **dict.fromkeys(("test", "testing", "testset", "privatetest"), TEST),
}
_WORDS = "(?:images?|imgs?|pics?|pictures?|photos?|faces?|data|dataset|folder|files?|samples?|labels?|list)+"
GLUED = re.compile(f"^{_WORDS}|{_WORDS}$")
"""What subset words are written together with."""
SYNONYMS = {
    "anger": "angry", "disgusted": "disgust", "fearful": "fear", "happiness": "happy", "sadness": "sad",
    "surprised": "surprise",
}  # fmt: skip
MISSING = ("", "nan", "null", "n/a")
SHOWN_DROPS = 5
NOT_UTF8, FRACTION = "is not UTF-8 text", "is a fraction of 1"
REMEDIES = {NOT_UTF8: "save it as UTF-8", FRACTION: "bring pixels of 0 to 1 to 0 to 255: multiply by 255 and round"}
"""Of problems that all rows of a file are apt to share, so that they are told once."""
NEARLY_BLACK = 1 / 16
"""Share of the range that the brightest pixel of all reaches at least: less is another range than it is taken for."""
LOOKED_AT = 1000


@lru_cache(maxsize=4096)
def official_subset(word: str) -> str | None:
    """The subset that a Usage, a folder name or a key means, whatever its case, marks and affix; None if it means none.

    Whole words count, also of a name in camel case, or written together with one of a few others: "FER2013Train",
    "01_train", "Test Set", "trainimages", but not "contested" or "trainer".
    """
    plain = re.sub(r"[\W_]", "", word).lower()
    if plain in SUBSET_WORDS:
        return SUBSET_WORDS[plain]
    parts = [part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", word)]
    same_case = [part.lower() for part in re.findall(r"[a-z]+|[A-Z]+", word)]
    pairs = ["".join(pair) for pair in pairwise(parts)]
    unglued = [GLUED.sub("", part) for part in (plain, *parts)]
    for words in (pairs, parts, same_case, unglued):
        if found := {SUBSET_WORDS[one] for one in words if one in SUBSET_WORDS}:
            return found.pop() if len(found) == 1 else None
    return None


def subset_of(path: str) -> str | None:
    """The subset that a file's name without suffix, or else the nearest folder that is one, means; None without."""
    *folders, name = path.split("/")
    words = [name.rpartition(".")[0] or name, *reversed(folders)]
    return next((subset for word in words if (subset := official_subset(word))), None)


def same_name(name: str) -> str:
    """What two class names have in common that differ in case, spaces or their Unicode form alone."""
    return unicodedata.normalize("NFC", " ".join(unicodedata.normalize("NFC", name).casefold().split()))


def emotion(name: str) -> str:
    """What a class and those who vote for it are called alike: by `same_name`, and adjectives for FER+'s nouns."""
    return SYNONYMS.get(same_name(name), same_name(name))


def nearly_black(low: float, high: float, full: float, what: str) -> str:
    """What to say and do where pixels from `low` to `high`, taken for 0 to `full`, are nearly black; otherwise ""."""
    if high >= NEARLY_BLACK * full:
        return ""
    return (
        f"{what} run from {low:g} to {high:g} of {full:g}, which is nearly black: bring them to 0 to {full:g}, "
        "or save them as 8-bit images"
    )


def is_number(label: str) -> bool:
    """Whether a label is a number of any kind, "3.0" and "nan" included, and so no class name."""
    try:
        float(label)
    except ValueError:
        return False
    return True


def is_missing(text: str) -> bool:
    """Whether a cell holds nothing, or one of the words that programs write for that; "none" may be a class."""
    return text.strip().casefold() in MISSING


def class_spellings(counts: Mapping[str, int]) -> tuple[dict[str, str], list[str]]:
    """The class of each name, those alike (`same_name`) being one under its most frequent spelling, and a note."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        alike[same_name(name)].append(name)
    names = {name: unicodedata.normalize("NFC", group[0]) for group in alike.values() for name in group}
    merged = [
        f"{', '.join(spellings[1:])} as {spellings[0]}"
        for group in alike.values()
        if len(spellings := list(dict.fromkeys(unicodedata.normalize("NFC", name) for name in group))) > 1
    ]
    return names, [f"classes read as one: {'; '.join(merged)}"] if merged else []


def drop_bad(source: Path, what: str, total: int, problems: list[str], skip_bad: bool) -> tuple[str, ...]:
    """The notes that dropping the bad ones of `total` rows or files leaves: how many, and of the first few why.

    Raises FerBenchError listing the `problems` where they may not be dropped, or nothing would be left.
    """
    if not problems:
        return ()
    count = f"{len(problems):,} {what} of {total:,}"
    if not skip_bad or len(problems) == total:
        hint = "; --skip-bad would leave none" if len(problems) == total else ", or drop them with --skip-bad"
        raise FerBenchError(f"{source}: {count}\n{listing(_told_once(problems))}\nMend them{hint}.")
    return (f"dropped {count}: {'; '.join(problems[:SHOWN_DROPS])}{'; ...' if problems[SHOWN_DROPS:] else ''}",)


def _told_once(problems: Sequence[str]) -> list[str]:
    """`problems`, of those with one of the REMEDIES the first alone, with how many others there are."""
    told = list(problems)
    for problem, remedy in REMEDIES.items():
        if alike := [one for one in told if one.endswith(problem)]:
            others = f" (and {len(alike) - 1:,} more such)" if alike[1:] else ""
            told = [f"{alike[0]}{others}: {remedy}", *(one for one in told if not one.endswith(problem))]
    return told


@dataclass(frozen=True)
class Decoded:
    """Images as a source holds them, before the rules common to all sources. Arrays as in `Dataset`.

    columns: str (n,) by its name in the source, whatever else that has for each image; what is not taken from here, for
    groups or slices, is not used.
    n_rows: rows the source has, with those that were dropped. rows: int64 (n,), which of them each image is, or None
    where the source has no order of its own (files in folders), so that nothing can be joined by row.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    sample_ids: np.ndarray
    n_rows: int = 0
    rows: np.ndarray | None = None
    subsets: np.ndarray | None = None
    votes: np.ndarray | None = None
    vote_names: tuple[str, ...] = ()
    groups: np.ndarray | None = None
    grouped_by: GroupedBy = ""
    groups_from: str = ""
    slices: Mapping[str, np.ndarray] = field(default_factory=dict)
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def with_one_spelling(self) -> "Decoded":
        """The same with class names in one Unicode form, those merged that differ in case, spaces or form alone."""
        counts = np.bincount(self.labels, minlength=len(self.class_names)).tolist()
        spelled, notes = class_spellings(dict(zip(self.class_names, counts, strict=True)))
        names = tuple(dict.fromkeys(spelled[name] for name in self.class_names))
        codes = np.array([names.index(spelled[name]) for name in self.class_names])
        return replace(self, class_names=names, labels=codes[self.labels], notes=(*self.notes, *notes))

    def dataset(self, name: str, copies: Copying = "") -> Dataset:
        """The Dataset: classes without an image left out, one subset alone is none, of two the second is the test.

        Raises FerBenchError where the arrays do not fit together, none is for training, or all is nearly black.
        """
        subsets, subset_notes = self._official_subsets()
        class_names, labels, class_notes = self._classes()
        dataset = Dataset(
            name=name, images=self.images, labels=labels, class_names=class_names, sample_ids=self.sample_ids,
            subsets=subsets, votes=self.votes, vote_names=self.vote_names, groups=self.groups,
            grouped_by=self.grouped_by, groups_from=self.groups_from, slices=self.slices, copies=copies,
            notes=(*self.notes, *class_notes, *subset_notes),
        )  # fmt: skip
        some = self.images[:: -(-len(self.images) // LOOKED_AT)]
        if dark := nearly_black(int(some.min()), int(some.max()), 255, "the pixels of all images"):
            raise FerBenchError(dark)
        return dataset

    def _official_subsets(self) -> tuple[np.ndarray | None, list[str]]:
        if self.subsets is None:
            return None, []
        present = [subset for subset in SUBSETS if (self.subsets == subset).any()]
        if len(present) == 1:
            return None, [f"every image is marked {present[0]!r}: taken as data without official subsets"]
        if TRAIN not in present:
            raise FerBenchError(f"images are marked {' and '.join(present)}, but none for training")
        if present == [TRAIN, VALIDATION]:
            return np.where(self.subsets == VALIDATION, TEST, self.subsets), [
                "the data come as train and validation: validation is used as the test"
            ]
        return self.subsets, []

    def _classes(self) -> tuple[tuple[str, ...], np.ndarray, list[str]]:
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        if counts.all():
            return self.class_names, self.labels, []
        empty = [name for name, count in zip(self.class_names, counts, strict=True) if not count]
        names = tuple(name for name in self.class_names if name not in empty)
        return (
            names,
            (np.cumsum(counts > 0) - 1)[self.labels],
            [f"no image of {', '.join(empty)}: left out of the classes"],
        )
