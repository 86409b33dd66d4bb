"""The tables of the page that compare rows, each with the sentence that it needs to be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fer_bench.judging.cells import escape, fraction, milliseconds, percent, probability, runs, seconds, table
from fer_bench.judging.critical_difference import DRAWN
from fer_bench.judging.gate import MARK
from fer_bench.judging.ranks import CAVEAT
from fer_bench.judging.tables import MISSING, UNTRAINED, Data, Leaderboard, Row
from fer_bench.judging.votes import RULE


def ranking(rows: Sequence[Row]) -> str:
    """The ranked table: test beside test-clean, intervals in brackets."""
    banded, cleaned = any(row.standing for row in rows), any(row.clean for row in rows)
    columns = {"band" if banded else "rank": [place(row) for row in rows], **_names(rows)}
    columns["macro-F1"] = [fraction(row.scores["macro_f1"], row.intervals.get("macro_f1")) for row in rows]
    columns["accuracy %"] = [percent(row.scores["accuracy"], row.intervals.get("accuracy")) for row in rows]
    if banded or cleaned:
        columns["clean macro-F1"] = [_clean(row, "macro_f1") for row in rows]
        columns["clean accuracy %"] = [_clean(row, "accuracy") for row in rows]
    if cleaned:
        columns["clean band"] = [MISSING if row.clean_band is None else str(row.clean_band) for row in rows]
    columns["macro P"] = [fraction(row.scores["macro_precision"]) for row in rows]
    columns["macro R"] = [fraction(row.scores["macro_recall"]) for row in rows]
    if any(len(row.f1_by_run) > 1 or row.missing for row in rows):
        columns["runs"] = [runs(row) for row in rows]
    return _columns(columns)


def place(row: Row) -> str:
    """The band of a row, or its rank where rows could not be compared."""
    return str(row.standing.band if row.standing else row.rank)


def unranked(board: Leaderboard) -> Iterator[str]:
    """Rows that are not ranked, with the evidence."""
    yield "## Not ranked"
    if board.facts.suspicions:
        yield f"The data themselves are {MARK}, so that no row is ranked: {'; '.join(board.facts.suspicions)}."
    cells = [
        [
            one.row.label, one.row.strategy, MARK if one.suspect else "not comparable",
            fraction(one.row.scores["macro_f1"]), percent(one.row.scores["accuracy"]),
            "; ".join(reason for reason in one.reasons if reason not in board.facts.suspicions) or "see above",
        ]
        for one in board.unranked
    ]  # fmt: skip
    headers = ["model", "strategy", "mark", "macro-F1", "accuracy %", "evidence"]
    yield table(headers, cells, right=[False, False, False, True, True, False])


def against_the_best(rows: Sequence[Row]) -> Iterator[str]:
    """Every row against the best one, on the same images."""
    yield "## Is the best row better?"
    yield (
        f"How far each row is behind {rows[0].name} on the same images; in brackets the 95 % interval of each "
        "difference alone. p: how often chance alone would do as much; "
        "below 0.05 the difference is one (macro-F1: paired bootstrap; accuracy: McNemar's exact test; rows of several "
        "seeds: t-tests that weigh their spread, with Satterthwaite's degrees of freedom). Because the "
        "best row is known only after looking, p-values are corrected over all pairs of rows (Holm)."
    )
    cells = []
    for row in rows[1:]:
        if row.standing:
            behind, accuracy = row.standing.behind, f"{100 * row.standing.accuracy_behind:.1f}"
            gap = f"{behind.value:.3f} ({behind.low:.3f} to {behind.high:.3f})"
            tests = [gap, probability(behind.p), accuracy, probability(row.standing.accuracy_p)]
            cells.append([place(row), row.label, row.strategy, *tests])
    headers = ["band", "model", "strategy", "behind in macro-F1", "p", "behind in accuracy, points", "p"]
    yield table(headers, cells, right=[True, False, False, True, True, True, True])


def rank_test(board: Leaderboard) -> Iterator[str]:
    """Friedman and Nemenyi over seeds."""
    test = board.rank_test
    if not test:
        return
    turns = "folds" if board.n_folds else "seeds"
    yield f"## Several {turns}"
    yield (
        f"Mean ranks by macro-F1 over {test.n_blocks} {turns} of the {len(test.names)} rows that have them all. "
        f"Friedman's test that all are equal: p {probability(test.p)}. Rows whose mean ranks are closer than "
        f"{test.critical_difference:.2f} are not told apart (Nemenyi). With few {turns} the test is weak: bands, which "
        f"count test images, tell more rows apart. {CAVEAT}"
    )
    best = f" of the best {DRAWN} rows" if len(test.names) > DRAWN else ""
    yield f"![Critical-difference diagram{best}]({diagram_file(board)})"
    cells = [[f"{rank:.2f}", name] for name, rank in zip(test.names, test.mean_ranks, strict=True)]
    yield table(["mean rank", "row"], cells, right=[True, False])


def calibration(rows: Sequence[Row]) -> Iterator[str]:
    """Whether probabilities mean what they say."""
    if not any(row.further.get("ece") for row in rows):
        return
    yield "## Calibration"
    yield (
        "Whether probabilities mean what they say: the expected calibration error is the mean gap between confidence "
        "and accuracy (15 bins; 0 is best), as it is and after temperature scaling fitted on the validation images, "
        "which changes no prediction. A temperature above 1: the model was too sure. Log loss and Brier score (0 to "
        "2): lower is better."
    )
    names = {
        "calibration error": "ece", "after scaling": "ece_scaled", "temperature": "temperature",
        "log loss": "log_loss", "Brier": "brier",
    }  # fmt: skip
    yield _further(rows, names)


def votes(board: Leaderboard) -> Iterator[str]:
    """Predictions against the taggers' votes."""
    if not any(row.votes for row in board.rows):
        return
    yield "## Against the taggers' votes"
    counted, unusable, other, tied = board.facts.votes or (0, 0, 0, 0)
    yield (
        f"The same predictions against FER+, in which several taggers voted on every image. {RULE} So {counted:,} test "
        f"images count; left out are {unusable:,}, {other:,} and {tied:,}. Sided: of a row's mistakes by the dataset's "
        "labels, on images that count, the share on which the taggers' majority agrees with the row. Cross-entropy: to "
        "the votes, in nats."
    )
    columns = {"band": [place(row) for row in board.rows], **_names(board.rows)}
    columns["accuracy %"] = [percent(row.votes.get("accuracy")) for row in board.rows]
    columns["macro-F1"] = [fraction(row.votes.get("macro_f1")) for row in board.rows]
    columns["cross-entropy"] = [fraction(row.votes.get("cross_entropy")) for row in board.rows]
    columns["sided %"] = [percent(row.votes.get("sided")) for row in board.rows]
    yield _columns(columns)


def recall(board: Leaderboard, data: Data) -> Iterator[str]:
    """Recall per class, on all test images and on test-clean."""
    yield "## Recall per class"
    yield "The share of a class's test images that were recognised; their number in brackets."
    yield _recall(board.rows, [row.recall for row in board.rows], data.class_names, data.support)
    clean = [row for row in board.rows if row.clean_recall]
    if clean and board.test_has_copies:
        yield (
            "The same on test-clean. A class whose recall falls here may have been remembered from copies, or its "
            "images with copies are easier; a class with few images left says little."
        )
        yield _recall(clean, [row.clean_recall for row in clean], data.class_names, board.facts.clean_support)


def _recall(rows: Sequence[Row], recalls: Sequence[Sequence[float]], names: Sequence[str], n: Sequence[int]) -> str:
    classes = [f"{name} ({count:,})" for name, count in zip(names, n, strict=True)]
    lines = [
        [
            place(row),
            row.label,
            row.strategy,
            *(f"{one:.3f}" if count else MISSING for one, count in zip(own, n, strict=True)),
        ]
        for row, own in zip(rows, recalls, strict=True)
    ]
    return table([_first(rows), "model", "strategy", *classes], lines, [True, False, False] + [True] * len(classes))


def more_scores(rows: Sequence[Row]) -> Iterator[str]:
    """The other scores that papers report."""
    yield "## More scores"
    names = {
        "weighted P": "weighted_precision", "weighted R": "weighted_recall", "weighted F1": "weighted_f1",
        "MCC": "mcc", "kappa": "kappa", "PR-AUC": "pr_auc", "top-2 accuracy": "top2_accuracy",
    }  # fmt: skip
    yield _further(rows, names, {"balanced acc.": [fraction(row.scores["balanced_accuracy"]) for row in rows]})


def cost(board: Leaderboard) -> Iterator[str]:
    """What rows cost to train and use."""
    rows = board.rows
    yield "## Cost"
    if not board.timed_alike:
        yield "The runs did not have the same processor and cores: their seconds say no more than the order of size."
    columns = {
        _first(rows): [place(row) for row in rows],
        **_names(rows),
        "features s": [seconds(row.feature_seconds) for row in rows],
        "fit s": [seconds(row.fit_seconds) for row in rows],
        "ms/image": [milliseconds(row.ms_per_image) for row in rows],
        "parameters": [f"{row.n_parameters:,}" if row.n_parameters is not None else MISSING for row in rows],
    }
    if any(row.weights for row in rows):
        columns["weights"] = [row.weights or MISSING for row in rows]
    yield _columns(columns)


def diagram_file(board: Leaderboard) -> str:
    """The name of the critical-difference diagram beside the page."""
    return f"critical_difference{board.suffix}.png"


def drawings(board: Leaderboard) -> Iterator[str]:
    """Links to what was drawn of the first run of each row."""
    lines = [
        f"- {escape(name)}: " + ", ".join(f"[{what}]({path})" for what, path in paths.items())
        for name, paths in board.drawings.items()
        if paths
    ]
    if lines:
        yield "## Figures"
        yield "Training curves, and which class was taken for which."
        yield "\n".join(lines)


def grid(board: Leaderboard) -> Iterator[str]:
    """Macro-F1 of every combination, or why there is none."""

    def cell(content: Row | str) -> str:
        if isinstance(content, str):
            return content
        mark = f" ({MARK})" if content.name in suspects else ""
        return f"{content.macro_f1:.3f}" + mark + (f" ({runs(content)})" if content.missing else "")

    suspects = {one.row.name for one in board.unranked if one.suspect}
    others = [row.strategy for row in _all_rows(board) if row.family in UNTRAINED]
    trained = [strategy for strategy in board.grid.strategies if strategy not in others]
    lines = []
    for label, cells in zip(board.grid.labels, board.grid.cells, strict=True):
        by_strategy = dict(zip(board.grid.strategies, cells, strict=True))
        if any(not isinstance(by_strategy[name], str) or by_strategy[name] != MISSING for name in trained):
            lines.append([label, *(cell(by_strategy[name]) for name in trained)])
    if lines:
        yield "## Macro-F1 by model and strategy"
        yield table(["model", *trained], lines, right=[False] + [True] * len(trained))


def _all_rows(board: Leaderboard) -> list[Row]:
    return [*board.rows, *(one.row for one in board.unranked)]


def _clean(row: Row, name: str) -> str:
    statistic, interval = row.clean.get(name), row.clean_intervals.get(name)
    return percent(statistic, interval) if name == "accuracy" else fraction(statistic, interval)


def _names(rows: Sequence[Row]) -> dict[str, list[str]]:
    models = [row.label + f" [{row.family}]" * (row.family in UNTRAINED) for row in rows]
    return {"model": models, "strategy": [MISSING if row.strategy == row.family else row.strategy for row in rows]}


def _first(rows: Sequence[Row]) -> str:
    return "band" if any(row.standing for row in rows) else "rank"


def _further(rows: Sequence[Row], names: Mapping[str, str], before: Mapping[str, list[str]] | None = None) -> str:
    columns = {_first(rows): [place(row) for row in rows], **_names(rows), **(before or {})}
    columns |= {title: [fraction(row.further.get(name)) for row in rows] for title, name in names.items()}
    return _columns(columns)


def _columns(columns: Mapping[str, list[str]]) -> str:
    left = ("model", "strategy", "weights", "runs")
    lines = zip(*columns.values(), strict=True)
    return table(list(columns), lines, right=[name not in left for name in columns])
