"""The data card: an audit as a page that a stranger understands, and as a few lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tabulate import tabulate

from fer_bench.judging.cells import escape, table
from fer_bench.judging.gate import COPY_LIMIT, EXACT_LIMIT, MARK, data_suspicions
from fer_bench.records.audit import Audit

CARD_FILE = "data_card.md"
LIMITS = (
    f"Held-out images with copies in train stay below the limits ({EXACT_LIMIT:.0%} exact, {COPY_LIMIT:.0%} in all), "
    "and neither images per class nor a nearest neighbour on pixels show signs of resampling before the split."
)


@dataclass(frozen=True)
class Fact:
    """One figure of the audit: its name, itself, and a sentence on what it means."""

    name: str
    figure: str
    meaning: str


def facts(audit: Audit) -> tuple[Fact, ...]:
    """The figures of the audit in the order in which they are read."""
    return (*_images(audit), *_copies(audit), *_held_out(audit), *_labels(audit))


def verdict(audit: Audit) -> list[str]:
    """What the leak gate says of the data: MARK and the evidence, or that they pass."""
    evidence = data_suspicions(audit)
    if not evidence:
        return ["Leak gate: passed. " + LIMITS]
    return [f"{MARK}: runs on these data are not ranked, because", *(f"- {line}" for line in evidence)]


def terminal_lines(audit: Audit) -> list[str]:
    """Figures without their meaning, and the verdict."""
    figures = [("data", audit.dataset), *((fact.name, fact.figure) for fact in facts(audit))]
    lines = tabulate(figures, tablefmt="plain", disable_numparse=True, colalign=("left", "right")).splitlines()
    return [*lines, "", *audit.fer2013_differences, *verdict(audit)]


def data_card(audit: Audit, command: str) -> str:
    """The page, Markdown. command: what made it, shown at its end."""
    meanings = [(fact.name, fact.figure, fact.meaning) for fact in facts(audit)]
    parts = [
        f"# Data card: {escape(audit.dataset)}",
        _summary(audit),
        *verdict(audit)[:1],
        "\n".join(verdict(audit)[1:]),
        table(["", "", "what it means"], meanings, right=[False, True, False]),
        "## Images per class",
        _class_table(audit),
        *(["## Not as in FER2013", "\n".join(f"- {line}" for line in audit.fer2013_differences)]
          * bool(audit.fer2013_differences)),
        "## How this was found",
        _method(audit),
        "## Made by",
        f"    {command}",
        f"Data `{audit.data_fingerprint}`, split `{audit.split_fingerprint}`: {audit.split_source}.",
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(audit: Audit) -> str:
    test = audit.subsets["test"]
    copies = test.exact_in_train + test.near_in_train
    if not copies:
        return f"No image of the test set ({test.images:,} images) has a copy among those that models are trained on."
    return (
        f"**{copies:,} of the {test.images:,} test images ({_percent(copies, test.images)}) have a copy among those "
        "that models are trained on.** A model that remembers them is rewarded for it; scores on test-clean leave them "
        "out."
    )


def _images(audit: Audit) -> Iterator[Fact]:
    subsets = ", ".join(f"{subset.images:,} {name}" for name, subset in audit.subsets.items())
    yield Fact("images", f"{audit.images:,}", f"Rows or files that were read: {subsets}.")
    yield Fact("unique images", f"{audit.unique_images:,}", "Images left when those equal in every pixel count once.")
    blank = sum(subset.blank for subset in audit.subsets.values())
    yield Fact("blank images", f"{blank:,}", "One shade all over, or nearly: there is no face to tell anything from.")
    if audit.fer2013:
        yield Fact("FER2013 totals", "agree", "Images per class and subset are those of FER2013 as it was published.")


def _copies(audit: Audit) -> Iterator[Fact]:
    exact, near = audit.exact, audit.near
    yield Fact(
        "groups of exact copies", f"{exact.groups:,}",
        f"Sets of images equal in every pixel: {exact.images:,} images, {exact.largest:,} in the largest set.",
    )  # fmt: skip
    yield Fact(
        "groups of near copies", f"{near.groups:,}",
        "Sets of images that show one photograph, brighter, recompressed, moved, marked or mirrored, with their exact "
        f"copies: {near.images:,} images, {near.largest:,} in the largest set.",
    )  # fmt: skip
    yield Fact("mirrored pairs", f"{audit.mirrored_pairs:,}", f"Of {audit.near_pairs:,} pairs of near copies.")
    yield Fact(
        "groups across subsets", f"{exact.across:,} exact, {near.across:,} near",
        "Sets of copies of which some are trained on and others held out, or some validate and others test.",
    )  # fmt: skip


def _held_out(audit: Audit) -> Iterator[Fact]:
    for name in ("validation", "test"):
        subset = audit.subsets[name]
        yield Fact(
            f"{name} images with an exact copy in train",
            f"{subset.exact_in_train:,} ({_percent(subset.exact_in_train, subset.images)})",
            "The very image is trained on.",
        )
        yield Fact(
            f"{name} images with a near copy in train",
            f"{subset.near_in_train:,} ({_percent(subset.near_in_train, subset.images)})",
            "Not the very image, but the same photograph is trained on.",
        )
    yield Fact(
        "test images with an exact copy in validation", f"{audit.subsets['test'].exact_in_validation:,}",
        "The very image helps to select the model.",
    )  # fmt: skip
    if audit.straddling_groups is not None:
        yield Fact(
            "given groups across subsets",
            f"{audit.straddling_groups:,}",
            "People or clips seen in training and in test.",
        )


def _labels(audit: Audit) -> Iterator[Fact]:
    yield Fact(
        "exact copies with conflicting labels", f"{audit.exact.conflicting:,} groups",
        "The same image stands under several labels: no model can be right on all of them.",
    )  # fmt: skip
    yield Fact(
        "near copies with conflicting labels", f"{audit.near.conflicting:,} groups",
        "The same photograph stands under several labels.",
    )  # fmt: skip
    yield Fact(
        "imbalance ratio", f"{audit.imbalance_ratio:.1f}", "Images of the largest class for one of the smallest."
    )
    order = "yes" if audit.class_sorted else "no"
    yield Fact("sorted by class", order, "Cutting the last rows off such data for validation cuts off a class.")
    canary = audit.canary
    yield Fact(
        "nearest neighbour on pixels", f"{100 * canary.nearest_neighbour:.1f} %",
        "Validation images whose most similar training image has their label; a linear classifier on the same "
        f"pixels is right on {100 * canary.linear:.1f} %, the largest class on {100 * canary.majority:.1f} %. Far "
        "above both, train would hold copies of most validation images.",
    )  # fmt: skip


def _class_table(audit: Audit) -> str:
    columns = [subset.class_counts for subset in audit.subsets.values()]
    rows = [
        (name, *(f"{count:,}" for count in counts), f"{sum(counts):,}", _percent(sum(counts), audit.images))
        for name, *counts in zip(audit.class_names, *columns, strict=True)
    ]
    header = ["class", *audit.subsets, "all", "share"]
    return table(header, rows, right=[False] + [True] * (len(header) - 1))


def _method(audit: Audit) -> str:
    return (
        "Exact copies have the same SHA-256 over their pixels. Near copies are looked for among all pairs of unique "
        "images, as they are and mirrored: a perceptual hash, the low frequencies of the image without its shading, "
        "finds candidates, and the normalised correlation of that image itself, moved by up to two pixels, confirms "
        f"them from {audit.near_threshold:.2f}. Copies of copies belong to one group. The threshold was set by looking "
        "at pairs of FER2013 on both sides of it, and rises where faces are alike without being copies; a few pairs of "
        "two alike people are among the near copies, and copies that were cropped or turned further are not."
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.1f} %"
