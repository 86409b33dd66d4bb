"""The leaderboard as a page: readable alone, by someone who has never seen the project."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fer_bench.judging import sections, strategy_sections
from fer_bench.judging.cells import escape, one_line, short, table
from fer_bench.judging.data_card import CARD_FILE
from fer_bench.judging.effects import BASE_STRATEGY
from fer_bench.judging.gate import MARK
from fer_bench.judging.references import OUT_OF_REACH
from fer_bench.judging.summary import topics, warning
from fer_bench.judging.tables import (
    MISSING,
    NOT_APPLICABLE,
    RANK_DECIMALS,
    Data,
    Leaderboard,
)


def markdown(board: Leaderboard) -> str:
    """The page."""
    title = f"# Leaderboard: {escape(board.data.name)}" if board.data else "# Leaderboard"
    return "\n\n".join([title, *_opening(board), *_comparisons(board), *_gaps(board), *_background(board)]) + "\n"


def _opening(board: Leaderboard) -> Iterator[str]:
    if board.data:
        classes = ", ".join(board.data.class_names)
        yield (
            f"Models that name the facial expression in an image, trained and tested alike by fer_bench on the dataset "
            f"{escape(board.data.name)}. Its {len(board.data.class_names)} classes: {escape(classes)}."
        )
    if text := warning(board):
        yield f"> **{escape(text)}**"
    for topic, sentences in topics(board).items():
        yield f"**{topic}**"
        yield "\n".join(f"- {escape(sentence)}" for sentence in sentences)
    if board.rows and board.data:
        yield _how_to_read(board, board.data)


def _how_to_read(board: Leaderboard, data: Data) -> str:
    each = f" of each of {board.n_folds} folds (about as many in all of them)" if board.n_folds else ""
    told = (
        f"**How to read this page.** Each row is one model, trained under one strategy against class imbalance "
        f"(`{BASE_STRATEGY}` changes nothing), on the same {data.n_train:,} training images{each}. Rows are compared "
        f"by macro-F1 on the {data.n_test:,} test images: the plain average of the F1 of each class, so that a rare "
        f"class counts as much as a common one. The {data.n_validation:,} validation images served every choice made "
        f"while training; the test images were scored once."
    )
    if not board.rows[0].standing:
        half_width = 100 * 1.96 * math.sqrt(0.25 / (data.n_test * max(1, board.n_folds)))
        return told + (
            f" An accuracy is uncertain by up to ±{half_width:.1f} points (95 % interval), and macro-F1 usually by "
            f"more, as the smallest class has only {min(data.support):,} test images: do not believe smaller "
            "differences."
        )
    return told + (
        " Brackets hold 95 % intervals of the score over all images like these. **Read bands, not decimals**: rows of "
        "a band cannot be told from its first row by macro-F1, and the first row that can begins the next band. A row "
        "further down whose score is known roughly may not be told from it either: see the p of differences."
    )


def _comparisons(board: Leaderboard) -> Iterator[str]:
    rows = board.rows
    if rows:
        yield from ("## Ranking", sections.ranking(rows))
    if board.unranked:
        yield from sections.unranked(board)
    if len(rows) > 1 and rows[0].standing:
        yield from sections.against_the_best(rows)
    yield from sections.grid(board)
    if board.strategy_effects:
        yield from strategy_sections.effects(board)
    yield from sections.rank_test(board)
    yield from _data(board)
    if rows and board.data:
        yield from sections.recall(board, board.data)
        yield from sections.calibration(rows)
        yield from sections.votes(board)
        yield from sections.more_scores(rows)
        yield from sections.cost(board)
        yield from sections.drawings(board)


def _data(board: Leaderboard) -> Iterator[str]:
    """Data and split, the audit's short form, and what others published."""
    if not board.data:
        return
    yield "## Data and split"
    yield "\n".join(f"- {escape(line)}" for line in _data_lines(board, board.data))
    if board.facts.audit:
        yield f"More on the data: [{CARD_FILE}]({CARD_FILE})."
    if board.references:
        yield "## Published on this dataset"
        yield "To see where these rows stand; each was measured in another way, so none is a row of the ranking."
        cells = [[one.who, one.accuracy, one.source, one.caveat] for one in board.references]
        yield table(["who", "accuracy %", "source", "mind"], cells, right=[False, True, False, False])
        yield OUT_OF_REACH


def _data_lines(board: Leaderboard, data: Data) -> Iterator[str]:
    counts = f"{data.n_train:,} training, {data.n_validation:,} validation and {data.n_test:,} test images"
    yield counts + (", and about as many in the other folds" if board.n_folds else "")
    yield f"split: {data.split_source} (fingerprint {data.split_fingerprint}; data fingerprint {data.fingerprint})"
    yield from _audit_lines(board)
    yield from (f"note: {note}" for note in data.notes)
    if board.n_elsewhere:
        yield f"left out: {board.n_elsewhere:,} runs on other data or another split, which cannot be compared"


def _audit_lines(board: Leaderboard) -> Iterator[str]:
    audit = board.facts.audit
    if not audit:
        yield "audit: missing; `python -m fer_bench audit` makes it" + " for the one split" * bool(board.n_folds)
        return
    yield f"{audit.images:,} images, {audit.unique_images:,} of them unique"
    yield f"imbalance: the largest class has {audit.imbalance_ratio:.1f} times the images of the smallest"
    for name in ("validation", "test"):
        one = audit.subsets[name]
        yield (
            f"{name} images with a copy in train: {one.exact_in_train:,} exact, {one.near_in_train:,} more near; "
            f"blank: {one.blank:,}"
        )
    yield f"groups of copies whose labels contradict each other: {audit.near.conflicting:,} of {audit.near.groups:,}"
    yield (
        f"a nearest neighbour on pixels names {100 * audit.canary.nearest_neighbour:.1f} % of the validation "
        f"images, a linear classifier {100 * audit.canary.linear:.1f} %: far apart they would betray copies of most"
    )
    yield from (f"{MARK}: {line}" for line in board.facts.suspicions)


def _gaps(board: Leaderboard) -> Iterator[str]:
    if board.failures:
        yield "## Failed runs"
        yield "The log of each is `runs/<run>/log.txt` beside this page."
        turns = [f"{f.seed}, fold {f.fold}" if f.fold else f.seed for f in board.failures]
        failures = zip(board.failures, turns, strict=True)
        cells = [[f.label, f.strategy, turn, f.status, short(f.reason), f.run_id] for f, turn in failures]
        yield table(["model", "strategy", "seed", "status", "reason", "run"], cells)
    if board.not_applicable:
        yield "## Combinations that do not apply"
        groups = [
            [", ".join(group.strategies), ", ".join(group.labels), group.reason] for group in board.not_applicable
        ]
        yield table(["strategy", "models", "why: the model ..."], groups)
    if board.notes:
        notes = [[note, ", ".join(runs)] for note, runs in board.notes.items()]
        yield from ("## Notes on runs", table(["note", "runs"], notes))


def _background(board: Leaderboard) -> Iterator[str]:
    if board.environment:
        facts = [f"- {escape(name)}: {escape(', '.join(values))}" for name, values in board.environment.items()]
        yield "## Environment\n\n" + "\n".join(facts)
    if board.command:
        yield "## Command\n\nThe newest run was made by\n\n    " + one_line(board.command)
    if board.rows:
        yield "## Columns\n\n" + "\n".join(f"- {line}" for line in LEGEND)


LEGEND = (
    "band: 1 is the best row and those after it, down to the first that macro-F1 can tell from it, which begins band "
    f"2; and so on. rank, where bands are not known: by macro-F1 to {RANK_DECIMALS} decimals",
    "model: in brackets its training budget, where it has one; [external]: predictions from elsewhere; [ensemble]: a "
    "mean of rows, chosen on the validation images",
    "strategy: what was done about class imbalance while training",
    "clean: on test-clean, the test images without an exact or near copy in train",
    "accuracy %: share of the test images that were recognised, in percent; other scores are fractions from 0 to 1",
    "macro P, macro R, macro-F1: precision (how many answers naming a class are right), recall (how many of its images "
    "are found) and their harmonic mean F1, each averaged over all classes alike; weighted: by the images of the "
    "classes",
    "balanced acc.: recall averaged over the classes that have test images; the same as macro R where all have some",
    "MCC, kappa: agreement beyond chance, from -1 to 1; PR-AUC: average precision, averaged over the classes; "
    "top-2 accuracy: the label is among the two most probable classes",
    "brackets: 95 % bootstrap intervals (BCa, 2,000 redraws of the test images within their classes), of macro-F1 too "
    "narrow where no image of a class is found; those of differences come from the "
    "bootstrap's standard error, of shares as Bonett and Price have it; ±: standard deviation over seeds or folds",
    "fit s: seconds to train, those of all its members for an ensemble; features s: seconds to compute the features or "
    "the frozen pass of a backbone that several runs share, once",
    "ms/image: milliseconds from an image to its answer, computing its features included",
    "parameters: numbers that are kept to predict with, frozen ones and support vectors included; weights: what a "
    "network started from",
    "runs: how many runs, with different random seeds or on different folds, stand behind a row; scores are their "
    "means; a row that lacks folds is ranked below the complete ones",
    f"`{MISSING}`: not run or not known; {NOT_APPLICABLE}: does not apply; other words in the grid: why not",
)
