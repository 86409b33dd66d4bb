"""What follows from a leaderboard for somebody who has to choose: what to run, who pays, what copies and papers do."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from operator import mul

from fer_bench.judging.cells import counted, fraction, listed, percent
from fer_bench.judging.effects import BASE_STRATEGY, HELPS, StrategyEffect
from fer_bench.judging.resampling import ALPHA
from fer_bench.judging.tables import UNTRAINED, Leaderboard, Row

MINUTES = 10
"""What counts as training in minutes, at most."""


def told(row: Row) -> str:
    """A row with its scores and their intervals."""
    f1 = fraction(row.scores["macro_f1"], row.intervals.get("macro_f1"))
    return (
        f"{row.name} with macro-F1 {f1} and accuracy {percent(row.scores['accuracy'], row.intervals.get('accuracy'))} %"
    )


def advised(board: Leaderboard, row: Row) -> str:
    """`told`, and the scores that are left without copies in train, where some test images have one."""
    if not board.test_has_copies or not row.clean:
        return told(row)
    clean = f"on test-clean {fraction(row.clean['macro_f1'])} and {percent(row.clean['accuracy'])} %"
    return f"{told(row)} ({clean})"


def picked(rows: Sequence[Row]) -> Row | None:
    """The row with the best macro-F1 on validation images (`Evidence.choosers`): a choice that needs no test image.

    Rows that were not trained here do not count, nor those that were fitted to these images, ensembles and adjusted
    probabilities. None where no row is left.
    """
    known = [row for row in rows if row.validation_f1 is not None]
    candidates = [row for row in known if row.family not in UNTRAINED and not row.fitted]
    by_name = sorted(candidates, key=lambda row: row.name)  # not by rank, which test images decide
    return max(by_name, key=lambda row: row.validation_f1 or 0.0, default=None)


def by_time(board: Leaderboard) -> Iterator[str]:
    """What to use with minutes, with more, and with a GPU; each picked by the validation images alone."""
    known = [row for row in board.rows if row.fit_seconds is not None]
    timed = [row for row in known if not row.on_gpu]
    quick = picked([row for row in timed if _seconds(row) <= 60 * MINUTES])
    longer = picked([row for row in timed if _seconds(row) > 60 * MINUTES])
    if quick and longer and _validated(longer) > _validated(quick):
        yield (
            f"With minutes to train (at most {MINUTES}), use {advised(board, quick)}, {_took(quick)}; "
            f"with more, {advised(board, longer)}, {_took(longer)}. Both are picked by the validation images"
            + ("." if board.timed_alike else "; not all rows were timed on the same cores.")
        )
        soon = picked([row for row in timed if 2 * _seconds(row) < _seconds(longer) and _same_band(row, longer)])
        if soon:
            yield f"In less than half of that time, in the same band: {advised(board, soon)}, {_took(soon)}."
    on_gpu = picked([row for row in known if row.on_gpu])
    if on_gpu:
        yield f"With a GPU, use {advised(board, on_gpu)}, {_took(on_gpu)}."
    elif {record.device for record in board.records} & {"cpu", "gpu"} == {"cpu"}:
        yield "No network was trained on a GPU, for which the full budget is made: what it would add is not known here."


def _seconds(row: Row) -> float:
    """To train the row alone, the features included that it could share with others."""
    return (row.fit_seconds or 0) + (row.feature_seconds or 0)


def _same_band(row: Row, other: Row) -> bool:
    return bool(row.standing and other.standing and row.standing.band == other.standing.band)


def _validated(row: Row) -> float:
    return row.validation_f1 or 0


def _took(row: Row) -> str:
    spent = _seconds(row)
    return f"about {spent / 60:,.0f} minutes" if spent >= 90 else f"about {spent:,.0f} seconds"


def who_pays(board: Leaderboard) -> Iterator[str]:
    """Which classes strategies find more of, and which less, over the comparisons of `speaking` models with none."""
    effects = heard(board)
    if not effects or not board.data:
        return
    names = board.data.class_names
    gains, losses = (_beyond_chance(effects, names, sign) for sign in (1, -1))
    gainer = max(gains, key=lambda name: gains[name])
    payer = max((name for name in losses if name != gainer), key=lambda name: losses[name])
    if not gains[gainer] or not losses[payer]:
        return
    yield (
        f"Who pays: in {counted(len(effects), 'comparison')} of these models with {BASE_STRATEGY}, recall of {gainer} "
        f"rose beyond chance in {gains[gainer]} and fell in {losses[gainer]}; that of {payer} fell in {losses[payer]} "
        f"and rose in {gains[payer]}."
    )
    if board.test_has_copies:
        clean = heard(board, clean=True)
        clean_gains, clean_losses = (_beyond_chance(clean, names, sign) for sign in (1, -1))
        yield (
            f"On test-clean recall of {gainer} rose beyond chance in {clean_gains[gainer]} of the {len(clean)} "
            f"comparisons, where {board.facts.clean_support[names.index(gainer)]:,} images of it are left to show a "
            f"change, and that of {payer} fell in {clean_losses[payer]}."
        )


def in_scores(effects: Sequence[StrategyEffect]) -> Iterator[str]:
    """What is behind the verdicts: in how many comparisons macro-F1 itself changed, and what rests on a single run."""
    changes = [effect.changes["macro_f1"] for effect in effects if effect.changes["macro_f1"].p < ALPHA]
    rose = sum(change.value > 0 for change in changes)
    helped = [{*effect.better} - {"ece"} for effect in effects if effect.verdict == HELPS]
    recall_alone = (
        f"; of the {len(helped)} that helped, {helped.count({'minority_recall'})} did in minority recall alone"
    )
    yield (
        f"Macro-F1 itself rose beyond chance in {rose} of these {counted(len(effects), 'comparison')} and fell in "
        f"{len(changes) - rose}{recall_alone * bool(helped)}."
    )
    single = sum(effect.n_runs == 1 for effect in effects)
    if single:
        yield f"{single} of them compare one run with one: what another seed would bring is not known there."


def _beyond_chance(effects: Sequence[StrategyEffect], names: Sequence[str], sign: int) -> dict[str, int]:
    """In how many comparisons the recall of each class rose (`sign` 1) or fell (-1)."""
    changes = zip(*(effect.recall for effect in effects), strict=True)
    return {
        name: sum(change is not None and change.p < ALPHA and change.value * sign > 0 for change in own)
        for name, own in zip(names, changes, strict=True)
    }


def learned(rows: Sequence[Row], support: Sequence[int]) -> list[Row]:
    """The rows that beat a constant answer; support: test images per class."""
    return [row for row in rows if row.scores["accuracy"].mean > max(support) / sum(support)]


def speaking(board: Leaderboard) -> set[str]:
    """The models, by label, that speak for or against a strategy: under none they beat a constant answer."""
    rows = learned(board.rows, board.data.support) if board.data else ()
    return {row.label for row in rows if row.strategy == BASE_STRATEGY}


def heard(board: Leaderboard, clean: bool = False) -> list[StrategyEffect]:
    """What strategies did to the `speaking` models; on test-clean alone if `clean`, none where it is all of test."""
    models = speaking(board)
    effects = board.clean_effects * board.test_has_copies if clean else board.strategy_effects
    return [effect for effect in effects if effect.label in models]


def verdicts(effects: Sequence[StrategyEffect]) -> dict[str, list[str]]:
    """The verdicts by strategy, the most often helpful first."""
    found: dict[str, list[str]] = {}
    for effect in effects:
        found.setdefault(effect.strategy, []).append(effect.verdict)
    return dict(sorted(found.items(), key=lambda item: -item[1].count(HELPS) / len(item[1])))


def inflation(board: Leaderboard) -> Iterator[str]:
    """How much lower rows score without copies in train, as the median over those that beat a constant answer.

    Classes count on test-clean as they do on all test images: copies are not spread evenly over them.
    """
    if not board.data or not board.test_has_copies:
        return
    rows = [row for row in learned(board.rows, board.data.support) if row.clean]
    if not rows or not all(board.facts.clean_support):
        return
    n, support = sum(board.data.support), board.data.support
    falls = {row.name: row.scores["accuracy"].mean - sum(map(mul, support, row.clean_recall)) / n for row in rows}
    f1_falls = [row.macro_f1 - row.clean["macro_f1"].mean for row in rows]
    most, chosen = max(falls, key=lambda name: falls[name]), picked(board.rows)
    own = f"; {100 * falls[chosen.name]:.1f} points, {chosen.name}" if chosen and chosen.name in falls else ""
    yield (
        f"Without copies scores are lower: accuracy by {100 * statistics.median(falls.values()):.1f} points, at the "
        f"same mix of classes, and macro-F1, at the mix that is left, by {statistics.median(f1_falls):.3f}, in the "
        f"median of the {counted(len(rows), 'row')} better than a constant answer (most: {100 * falls[most]:.1f} "
        f"points, {most}{own})."
    )


def published(board: Leaderboard) -> Iterator[str]:
    """Where the best row stands among accuracies that others published."""
    if not board.references or not board.rows:
        return
    best = board.rows[0]
    interval = best.intervals.get("accuracy")
    low, high = (interval.low, interval.high) if interval else 2 * (best.scores["accuracy"].mean,)
    groups: dict[str, list[str]] = {"below it": [], "within it": [], "above it": []}
    for one in board.references:
        value = one.percent / 100
        where = "below it" if value < low else "above it" if value > high else "within it"
        groups[where].append(f"{one.who} {one.accuracy} %")
    places = "; ".join(f"{where} {listed(names)}" for where, names in groups.items() if names)
    yield (
        f"Published accuracies on this dataset, measured otherwise, against the best row's "
        f"{percent(best.scores['accuracy'], interval)} %, which was found by looking at these very images: {places}. "
        "Why some are out of reach is told below, under Published on this dataset."
    )
