"""The parts of the page about strategies: what each did, to which model, and who pays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fer_bench.judging.cells import difference, points, table
from fer_bench.judging.effects import (
    BASE_STRATEGY,
    HELPS,
    HURTS,
    MEASURES,
    NO_EVIDENCE,
    SAME,
    TRADE_OFF,
    StrategyEffect,
    least_gain,
    minority,
)
from fer_bench.judging.findings import heard, verdicts
from fer_bench.judging.tables import MISSING, Leaderboard


def effects(board: Leaderboard) -> Iterator[str]:
    """What the strategies did, counted and one by one, and who pays."""
    rare = ", ".join(board.facts.minority)
    judged = [(board.strategy_effects, board.data.support if board.data else (), "test")]
    judged += [(board.clean_effects, board.facts.clean_support, "test-clean")] * board.test_has_copies
    yield "## What the strategies do"
    if counts := _counts(board):
        yield (
            "How many models each strategy helped and hurt, of those that beat a constant answer under "
            f"`{BASE_STRATEGY}`; which ones, and in what, is told below."
        )
        yield counts
    yield (
        f"Each model under a strategy against itself under `{BASE_STRATEGY}`, with the same seeds and on the same "
        f"images; 95 % intervals of each change alone in brackets. `*`: a change, corrected for all "
        f"{sum(len(one.changes) for one in board.strategy_effects)} "
        "comparisons in the table (Holm); they are tested as rows are above. The verdict counts changes with a star in "
        "what is predicted: helps (better in something), hurts (worse in something), trade-off (both), no evidence; "
        "or: every answer is the same. It is a trade-off, too, where another of these measures probably goes the other "
        "way: it has no star, but its own interval lies wholly on that side. Minority recall is the share of found "
        f"images of the classes with less than half an even share ({rare or 'none here'}). "
        f"{''.join(_for_a_star(*one) for one in judged)}"
        "Calibration is the expected calibration error, which is better when it falls; it has no say in the verdict, "
        "as scaling on the validation images mends it."
        + " On test-clean: the verdict on those images alone, which are fewer."
        * board.test_has_copies
    )
    cells = [
        [one.strategy, one.label, _verdict(one), *(other.verdict for other in others), *_changes(one), one.n_runs]
        for one, *others in zip(*(effects for effects, *_ in judged), strict=True)
    ]
    headers = ["strategy", "model", "verdict", *["on test-clean"] * board.test_has_copies]
    measures = ["macro-F1", "accuracy, points", "minority recall, points", "calibration", "seeds"]
    yield table([*headers, *measures], cells, right=[False] * len(headers) + [True] * len(measures))
    yield "## Who pays"
    yield (
        "Recall gained and lost per class under each strategy, in percentage points. `*`: a change, corrected for all "
        "cells of the table (Holm); McNemar's exact test, t-tests for several seeds."
    )
    classes = board.data.class_names if board.data else ()
    lines = [
        [one.strategy, one.label, *(points(change, False) if change else MISSING for change in one.recall)]
        for one in board.strategy_effects
    ]
    yield table(["strategy", "model", *classes], lines, right=[False] * 2 + [True] * len(classes))


def _counts(board: Leaderboard) -> str:
    """How often each strategy has each verdict, the most often helpful first; "" where no model speaks."""
    by_strategy, clean = verdicts(heard(board)), verdicts(heard(board, clean=True))
    lines = [
        [strategy, len(found), *(found.count(verdict) for verdict in (HELPS, HURTS, TRADE_OFF, NO_EVIDENCE, SAME))]
        + [clean[strategy].count(verdict) for verdict in (HELPS, HURTS, TRADE_OFF) if clean]
        for strategy, found in by_strategy.items()
    ]
    headers = ["strategy", "models", "helps", "hurts", "trade-off", "no evidence", "same answers"]
    headers += ["clean helps", "clean hurts", "clean trade-off"] if clean else []
    return table(headers, lines, right=[False] + [True] * (len(headers) - 1)) if lines else ""


def _for_a_star(effects: Sequence[StrategyEffect], support: Sequence[int], subset: str) -> str:
    """What a star in minority recall takes on the images of `subset`, or that they are too few; "" if none is rare."""
    n, gain = sum(support[label] for label in minority(support)), least_gain(effects)
    if not n:
        return ""
    if gain > n:
        return f"The {n} {subset} images of them are too few for a star: even a perfect change of one run has none. "
    return f"Of the {n} {subset} images of them, one run has to find {gain} more, and lose none, for a star. "


def _changes(effect: StrategyEffect) -> list[str]:
    """Of what did not change there is no interval: the same answers score the same on all images."""
    changes, moved = effect.changes, effect.verdict != SAME
    return [
        difference(changes["macro_f1"], moved), points(changes["accuracy"], moved),
        points(changes["minority_recall"], moved) if "minority_recall" in changes else MISSING,
        difference(changes["ece"]),
    ]  # fmt: skip


def _verdict(effect: StrategyEffect) -> str:
    told = [f"{MEASURES[name]} better" for name in effect.better] + [f"{MEASURES[name]} worse" for name in effect.worse]
    likely = {name: "better" if effect.changes[name].value > 0 else "worse" for name in effect.against}
    told += [f"{MEASURES[name]} probably {way}" for name, way in likely.items()]
    return effect.verdict + (f": {', '.join(told)}" if told else "")
