"""The data card: an audit as a page that a stranger understands, and as a few lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_bench.analysis.evidence.leakage import COPY_LIMIT, EXACT_LIMIT, against_data
from fer_bench.analysis.findings import PEOPLE, about_images, people_unknown
from fer_bench.report.columns import show
from fer_bench.report.text import environment, sentences, table

if TYPE_CHECKING:
    from fer_bench.records import Audit

CARD_FILE = "data_card.md"


def data_card(audit: Audit) -> str:
    """The page, Markdown. The same audit gives the same text."""
    counts = [subset.class_counts for subset in audit.subsets.values()]
    lines = [
        (name, *(f"{n:,}" for n in own), f"{sum(own):,}", f"{show(sum(own) / max(audit.images, 1), 'percent')} %")
        for name, *own in zip(audit.class_names, *counts, strict=True)
    ]
    return environment(is_markdown=True).get_template("data_card.md.j2").render(
        audit=audit, suspicions=against_data(audit), people_unknown=people_unknown(audit.dataset, audit.grouped_by),
        warnings=about_images(audit, audit.class_names, audit.subsets["test"].class_counts),
        exact_limit=EXACT_LIMIT, copy_limit=COPY_LIMIT,
        classes=table(["class", *audit.subsets, "all", "share"], lines),
    )  # fmt: skip


def audit_lines(audit: Audit) -> list[str]:
    """What a terminal shows of an audit: how many images, how many copies, what speaks against the data."""
    subsets = ", ".join(f"{one.images:,} {name}" for name, one in audit.subsets.items())
    copies = [
        f"{name}: {one.exact_in_train:,} images equal a training image, {one.near_in_train:,} nearly"
        for name, one in audit.subsets.items()
        if name != "train"
    ]
    suspicions = sentences(against_data(audit))
    people = people_unknown(audit.dataset, audit.grouped_by)
    warnings = about_images(audit, audit.class_names, audit.subsets["test"].class_counts)
    known = f"people: {audit.n_groups:,}, known by {audit.groups_from}"
    below = f"{'Apart from that, the' if people else 'The'} data are below the limits of the leak gate."
    return [
        f"{audit.dataset}: {audit.images:,} images ({subsets}), {audit.unique_images:,} of them unique",
        *copies,
        f"copies whose labels contradict each other: {audit.near.conflicting:,} of {audit.near.groups:,} groups",
        f"largest class: {audit.imbalance_ratio:.1f} times the images of the smallest",
        f"right after seconds: nearest neighbour on pixels {audit.canary.nearest_neighbour:.1%}, "
        f"linear classifier on pixels {audit.canary.linear:.1%}, on gradients {audit.canary.gradients:.1%}",
        *audit.fer2013_differences,
        *([known] if audit.grouped_by == PEOPLE else []),
        *sentences([people, *warnings] if people else warnings),
        *audit.notes,
        *(["LEAK SUSPECT: runs on these data are not ranked.", *suspicions] if suspicions else [below]),
    ]
