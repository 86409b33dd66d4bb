"""What a leaderboard says, in plain sentences: what wins, what ties, which strategy is worth it, what to believe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fer_bench.judging.cells import counted, fraction, listed, percent, signed
from fer_bench.judging.effects import BASE_STRATEGY, HELPS, HURTS, NO_EVIDENCE, SAME, TRADE_OFF
from fer_bench.judging.findings import (
    advised,
    by_time,
    heard,
    in_scores,
    inflation,
    picked,
    published,
    told,
    verdicts,
    who_pays,
)
from fer_bench.judging.gate import MARK
from fer_bench.judging.inference import Standing
from fer_bench.judging.resampling import ALPHA
from fer_bench.judging.tables import Data, Leaderboard


def summary(board: Leaderboard) -> list[str]:
    """The sentences of `topics`."""
    return [sentence for sentences in topics(board).values() for sentence in sentences]


def topics(board: Leaderboard) -> dict[str, list[str]]:
    """One sentence or two per point by topic, the most important first."""
    if not board.data or not (board.rows or board.unranked):
        return {"Nothing yet": ["No run has succeeded yet, so there is nothing to rank."]}
    found = {
        "What wins": [*_winners(board)],
        "What to use": [*_picked(board, board.data), *by_time(board)],
        "Against class imbalance": [*_strategies(board), *who_pays(board)],
        "What to believe": [*_trust(board), *_labels(board), *_once(board)],
        "Beside others": [_constant(board, board.data), *published(board)],
    }
    return {topic: sentences for topic, sentences in found.items() if sentences}


def warning(board: Leaderboard) -> str | None:
    """Says which models could have started from trained weights and did not, or None."""
    weak = dict.fromkeys(f"{row.label} ({row.weights})" for row in board.rows if row.unpretrained)
    if not weak:
        return None
    return f"WARNING: trained without pretrained weights: {', '.join(weak)}. Their rows say nothing about fine-tuning."


def _winners(board: Leaderboard) -> Iterator[str]:
    if not board.rows:
        yield "No row is ranked."
        return
    best = board.rows[0]
    weights = next((record.members for record in board.records if record.run_id == best.run_id), {})
    named = sorted(weights.items(), key=lambda pair: (-pair[1], pair[0]))
    of = f" (mean of {', '.join(f'{run_id} ({weight:.2f})' for run_id, weight in named)})" if named else ""
    yield f"Best of {counted(len(board.rows), 'row')} on the test images: {told(best)}{of}."
    if best.standing:
        ties = [_tie(row.name, row.standing) for row in board.rows[1:] if row.standing and row.standing.band == 1]
        if ties:
            tied = counted(len(ties), "row")
            yield f"It ties in macro-F1 with {tied}, which the test images cannot tell from it: {listed(ties)}."
        elif len(board.rows) > 1:
            yield "No other row ties with it."


def _tie(name: str, standing: Standing) -> str:
    if standing.accuracy_p >= ALPHA:
        return name
    return f"{name} (but {'less' if standing.accuracy_behind > 0 else 'more'} accurate)"


def _picked(board: Leaderboard, data: Data) -> Iterator[str]:
    """The row to choose without looking at a test image."""
    chosen = picked(board.rows)
    if not chosen:
        return
    best = board.rows[0]
    tie = chosen.standing is not None and chosen.standing.band == 1
    which = "the same row" if chosen is best else advised(board, chosen) + (", one of the ties" if tie else "")
    n = board.facts.n_choosers
    clean = f", the {n:,} without a copy in train" if 0 < n < data.n_validation else ""
    fitted = [row for row in board.rows if row.fitted]
    kinds = sorted({"ensembles" if row.family == "ensemble" else row.strategy for row in fitted})
    yield f"Picked by the validation images alone{clean}, as one has to in practice: {which}."
    yield (
        f"Its macro-F1 on these validation images, {chosen.validation_f1:.3f} (choosing_macro_f1 in the CSV), is the "
        "best of all rows trained here" + f", but for those fitted to them: {', '.join(kinds)}" * bool(kinds) + "."
    )


def _strategies(board: Leaderboard) -> Iterator[str]:
    effects = heard(board)
    by_strategy, clean = verdicts(effects), verdicts(heard(board, clean=True))
    if by_strategy:
        worth = [name for name, found in by_strategy.items() if 2 * found.count(HELPS) > len(found)]
        worth = [name for name in worth if HURTS not in (*by_strategy[name], *clean.get(name, ()))]
        yield (
            f"Worth it for most of the models that beat a constant answer, each against itself under {BASE_STRATEGY}: "
            f"{', '.join(worth) or 'no strategy'}."
        )
        yield f"On {'all ' * bool(clean)}test images, {_sides(by_strategy)}"
        if clean:
            yield f"On test-clean alone, {_sides(clean)}"
        yield from in_scores(effects)
        first = picked(board.rows) or board.rows[0]
        own = [f"{one.strategy} {_verdict(one.verdict)}" for one in board.strategy_effects if one.label == first.label]
        if own:
            yield f"For {first.label}, the model to use: {'; '.join(own)}."
    elif board.effects:
        changes = (
            f"{effect.strategy} raised it for {effect.n_higher} and lowered it for {effect.n_lower} "
            f"of {effect.n_models} (median {signed(effect.median_change, 3)})"
            for effect in board.effects
        )
        yield f"Macro-F1 against the same model under {BASE_STRATEGY}: {'; '.join(changes)}."


def _sides(by_strategy: Mapping[str, Sequence[str]]) -> str:
    """Whom strategies helped and hurt, and which are a trade-off at best."""
    most = [name for name, found in by_strategy.items() if 2 * found.count(TRADE_OFF) > len(found)]
    told = f"helped: {_models(by_strategy, HELPS)}; hurt: {_models(by_strategy, HURTS)}"
    return told + f"; a trade-off for most: {', '.join(most)}" * bool(most) + "."


def _models(by_strategy: Mapping[str, Sequence[str]], verdict: str) -> str:
    """How many models have the `verdict` under each strategy, the largest share first: "smote 2 of 7 models"."""
    counts = {name: (found.count(verdict), len(found)) for name, found in by_strategy.items() if verdict in found}
    ordered = sorted(counts, key=lambda name: -counts[name][0] / counts[name][1])
    shares = [f"{name} {counts[name][0]} of {counts[name][1]}" for name in ordered]
    return ", ".join([f"{shares[0]} models", *shares[1:]]) if shares else "none"


def _verdict(verdict: str) -> str:
    told = {TRADE_OFF: "is a trade-off", NO_EVIDENCE: "shows no clear effect", SAME: "gives the same answers"}
    return told.get(verdict, verdict)


def _trust(board: Leaderboard) -> Iterator[str]:
    facts = board.facts
    if facts.missing:
        yield f"There are no intervals and no bands: {facts.missing}."
    if facts.suspicions:
        yield f"{MARK}: the data. No row is ranked, because {'; '.join(facts.suspicions)}."
    suspects = [one.row.name for one in board.unranked if one.suspect]
    if suspects and not facts.suspicions:
        yield f"{MARK}, not ranked: {listed(suspects)}."
    if facts.audit is None:
        yield "The data have not been audited, so it is not known how many test images have copies in train."
    elif not facts.suspicions:
        test = facts.audit.subsets["test"]
        copies = test.exact_in_train + test.near_in_train
        share = f"{copies:,} of {test.images:,} test images ({100 * copies / test.images:.1f} %)"
        if copies:
            yield f"Can the data be trusted? Not without test-clean: {share} have an exact or near copy in train."
        else:
            yield "Can the data be trusted? Nothing speaks against them: no test image has a copy in train."
    yield from inflation(board)
    yield from _clean(board)


def _clean(board: Leaderboard) -> Iterator[str]:
    """What is left of the best row, and where it stands, without test images that have copies in train."""
    if not board.data or not board.test_has_copies or not board.rows or not board.rows[0].clean_recall:
        return
    n_clean, best = sum(board.facts.clean_support), board.rows[0]
    f1 = fraction(best.clean["macro_f1"], best.clean_intervals["macro_f1"])
    accuracy = percent(best.clean["accuracy"], best.clean_intervals["accuracy"])
    yield f"On test-clean, the {n_clean:,} other images, the best row has macro-F1 {f1} and accuracy {accuracy} %."
    falls = [
        (before - after, name, before, after)
        for name, before, after, n in zip(
            board.data.class_names, best.recall, best.clean_recall, board.facts.clean_support, strict=True
        )
        if n
    ]
    _, name, before, after = max(falls)
    if after < before:
        yield f"Its recall falls most for {name}: from {before:.3f} to {after:.3f}."
    first = [row.name for row in board.rows if row.clean_band == 1]
    yield f"Band 1 on test-clean: {listed(first)}."


def _labels(board: Leaderboard) -> Iterator[str]:
    sided = board.rows[0].votes.get("sided") if board.rows else None
    if sided:
        yield (
            "Labels are not the truth: where most taggers of FER+ agree on an expression, they agree with the best "
            f"row in {percent(sided)} % of its mistakes."
        )


def _once(board: Leaderboard) -> Iterator[str]:
    once = sum(len(row.f1_by_run) == 1 for row in board.rows)
    if once:
        rows = "all rows" if once == len(board.rows) else f"{once} of {counted(len(board.rows), 'row')}"
        yield (
            f"Trained once: {rows}, those that give the same under any seed included. Intervals never tell of training "
            "with another seed; bands and verdicts do, for rows of several."
        )


def _constant(board: Leaderboard, data: Data) -> str:
    """A constant answer recalls one class wholly: its precision is its share p, its F1 is 2p / (1 + p)."""
    most = max(data.support)
    share = most / sum(data.support)
    f1 = 2 * share / (1 + share) / len(data.support)
    name = data.class_names[data.support.index(most)]
    scores = f"macro-F1 {f1:.3f} and {100 * share:.1f} % accuracy"
    if board.test_has_copies:
        clean = board.facts.clean_support
        scores += f" ({100 * clean[data.support.index(most)] / sum(clean):.1f} % on test-clean)"
    return f'For comparison, the answer "{name}" to every test image: {scores}.'
