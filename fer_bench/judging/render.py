"""Tables to Markdown, CSV and the terminal.

One convention everywhere a person reads: accuracy in percent with one decimal, every other score as a fraction
with three. The CSV has fractions only.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from fer_bench.cache import write_atomic
from fer_bench.judging import leaderboard
from fer_bench.judging.tables import (
    BASE_STRATEGY,
    METRICS,
    NOT_APPLICABLE,
    RANK_DECIMALS,
    Data,
    Leaderboard,
    Row,
    Statistic,
)
from fer_bench.records.schema import Record

if TYPE_CHECKING:
    from rich.table import Table

MISSING = "-"
REASON_LENGTH = 300
CSV_COLUMNS = (
    "rank", "model", "strategy", "seed", "fold", "budget", "status", *METRICS, "validation_macro_f1",
    "fit_seconds", "ms_per_image", "n_parameters", "peak_memory_mb", "weights", "weights_asked",
    "tuned", "parameters", "family", "features", "reason", "run_id",
)  # fmt: skip


def write_leaderboard(
    records: Iterable[Record], folder: Path, command: str | None = None, split: leaderboard.Split | None = None
) -> Leaderboard:
    """Write `leaderboard.md` and `leaderboard.csv` into `folder`, each whole or not at all, and return what they show.

    Those of five folds are `leaderboard-5-folds.md` and `.csv`: they do not replace the page of the one split.

    `command` and `split` as in `leaderboard.build`. The same records and command give the same bytes.
    Raises OSError where `folder` cannot be written.
    """
    board = leaderboard.build(records, command, split)
    write_atomic(folder / f"{file_stem(board)}.md", markdown(board, folder))
    write_atomic(folder / f"{file_stem(board)}.csv", csv_text(board))
    return board


def file_stem(board: Leaderboard) -> str:
    """The name of the board's files without extension."""
    n_folds = {record.spec.fold.partition("/")[2] for record in board.records} - {""}
    return f"leaderboard-{n_folds.pop()}-folds" if n_folds else "leaderboard"


def markdown(board: Leaderboard, folder: Path | None = None) -> str:
    """The page: readable alone, by someone who has never seen the project.

    Figures of runs that stand in `folder` are linked.
    """
    title = f"# Leaderboard: {_escape(board.data.name)}" if board.data else "# Leaderboard"
    sections = [title, *_opening(board), *_tables(board), *_figures(board, folder), *_background(board)]
    return "\n\n".join(sections) + "\n"


def csv_text(board: Leaderboard) -> str:
    """One line per run, the best macro-F1 first, then the runs without scores by status."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    lines = [_csv_line(record, board.ranks.get(record.run_id)) for record in board.records]
    lines.sort(key=lambda line: (line["macro_f1"] is None, -(line["macro_f1"] or 0), line["status"], line["run_id"]))
    writer.writerows({name: _csv_cell(value) for name, value in line.items()} for line in lines)
    return text.getvalue()


def terminal_table(board: Leaderboard, limit: int = 20) -> "Table":
    """The first `limit` rows as a table for 100 columns, and under it what else there is."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    more = len(board.rows) - limit
    n_gaps = sum(cell == NOT_APPLICABLE for cells in board.grid.cells for cell in cells)
    counts = [(more, "more rows"), (len(board.failures), "failed runs"), (n_gaps, "combinations that do not apply")]
    below = ["; ".join(f"{count:,} {what}" for count, what in counts if count > 0), warning(board)]
    table = Table(
        title=Text(f"Leaderboard: {board.data.name}" if board.data else "Leaderboard: no records"),
        caption=Text("\n".join(filter(None, below))),
        box=box.SIMPLE_HEAD,
    )
    for name in ("#", "model", "strategy", "acc. %", "macro-F1", "fit s", "ms/img"):
        is_name = name in ("model", "strategy")
        table.add_column(name, justify="left" if is_name else "right", no_wrap=not is_name, overflow="fold")
    for row in board.rows[:limit]:
        scores = _percent(row.scores["accuracy"]), _fraction(row.scores["macro_f1"])
        times = _seconds(row.fit_seconds), _milliseconds(row.ms_per_image)
        table.add_row(*map(Text, (str(row.rank), row.label, row.strategy, *scores, *times)))
    return table


def summary(board: Leaderboard) -> list[str]:
    """What the rows say, in plain sentences: best, chosen by validation, a constant answer, the strategies."""
    if not board.rows or not board.data:
        return ["No run has succeeded yet, so there is nothing to rank."]
    best, chosen = board.rows[0], board.chosen
    sentences = [f"Best of {len(board.rows)} rows on the test images: {_told(best)}."]
    if chosen:
        picked = "the same row" if chosen is best else _told(chosen)
        sentences.append(f"Picked by the validation images alone, as one has to in practice: {picked}.")
    sentences.append(_told_constant(board.data))
    if board.effects:
        told = (
            f"{effect.strategy} raised it for {effect.n_higher} and lowered it for {effect.n_lower} "
            f"of {effect.n_models} (median {effect.median_change:+.3f})"
            for effect in board.effects
        )
        sentences.append(f"Macro-F1 against the same model under {BASE_STRATEGY}: {'; '.join(told)}.")
    return sentences


def warning(board: Leaderboard) -> str | None:
    """Says which models could have started from trained weights and did not, or None."""
    weak = dict.fromkeys(f"{row.label} ({row.weights})" for row in board.rows if row.unpretrained)
    if not weak:
        return None
    return f"WARNING: trained without pretrained weights: {', '.join(weak)}. Their rows say nothing about fine-tuning."


def _told(row: Row) -> str:
    return f"{row.name} with macro-F1 {row.macro_f1:.3f} and {100 * row.scores['accuracy'].mean:.1f} % accuracy"


def _told_constant(data: Data) -> str:
    """A constant answer recalls one class wholly: its precision is its share p, its F1 is 2p / (1 + p)."""
    most = max(data.support)
    share = most / sum(data.support)
    f1 = 2 * share / (1 + share) / len(data.support)
    name = data.class_names[data.support.index(most)]
    scores = f"macro-F1 {f1:.3f} and {100 * share:.1f} % accuracy"
    return f'For comparison, the answer "{name}" to every test image: {scores}.'


def _opening(board: Leaderboard) -> Iterable[str]:
    if board.data:
        classes = ", ".join(board.data.class_names)
        yield (
            f"Models that name the facial expression in an image, trained and tested alike by fer_bench on the dataset "
            f"{_escape(board.data.name)}. Its {len(board.data.class_names)} classes: {_escape(classes)}."
        )
    if text := warning(board):
        yield f"> **{_escape(text)}**"
    yield "\n".join(f"- {_escape(sentence)}" for sentence in summary(board))
    if board.rows and board.data:
        yield _how_to_read(board.data)


def _how_to_read(data: Data) -> str:
    n_test, half_width = f"{data.n_test:,} test images", 100 * 1.96 * math.sqrt(0.25 / data.n_test)
    return (
        f"**How to read this page.** Each row is one model, trained under one strategy against class imbalance "
        f"(`{BASE_STRATEGY}` changes nothing), on the same {data.n_train:,} training images. Rows are ranked by "
        f"macro-F1 on the {n_test}. A class's F1 is high only when most of its images are found and most answers "
        f"naming it are right; macro-F1 is the plain average over the classes, so a rare class counts as much as a "
        f"common one. The {data.n_validation:,} validation images served every choice made while training; the test "
        f"images were scored once. With {n_test} an accuracy is uncertain by up to ±{half_width:.1f} points (95 % "
        f"interval), and macro-F1 usually by more, as the smallest class has only {min(data.support):,} of them: "
        f"do not believe smaller differences."
    )


def _tables(board: Leaderboard) -> Iterable[str]:
    if board.rows:
        yield from ("## Ranking", _ranking(board.rows))
        yield from ("## Macro-F1 by model and strategy", _grid(board))
        yield "## Recall per class"
        yield "The share of a class's test images that were recognised; their number in brackets."
        yield _recall(board)
    if board.failures:
        yield "## Failed runs"
        yield "The log of each is `runs/<run>/log.txt` beside this page."
        turns = [f"{f.seed}, fold {f.fold}" if f.fold else f.seed for f in board.failures]
        failures = zip(board.failures, turns, strict=True)
        cells = [[f.label, f.strategy, turn, f.status, _short(f.reason), f.run_id] for f, turn in failures]
        yield _table(["model", "strategy", "seed", "status", "reason", "run"], cells)
    if board.not_applicable:
        yield "## Combinations that do not apply"
        cells = [[", ".join(group.strategies), ", ".join(group.labels), group.reason] for group in board.not_applicable]
        yield _table(["strategy", "models", "why: the model ..."], cells)
    if board.notes:
        cells = [[note, ", ".join(runs)] for note, runs in board.notes.items()]
        yield from ("## Notes on runs", _table(["note", "runs"], cells))


def _figures(board: Leaderboard, folder: Path | None) -> Iterable[str]:
    """Links to what was drawn of the first run of each row."""
    if folder is None:
        return
    lines = []
    for row in board.rows:
        paths = {name: f"runs/{row.run_id}/{name}.png" for name in ("curves", "confusion")}
        links = [f"[{name}]({path})" for name, path in paths.items() if (folder / path).exists()]
        lines += [f"- {_escape(row.name)}: {', '.join(links)}"] if links else []
    if lines:
        yield from ("## Figures", "Training curves, and which class was taken for which.", "\n".join(lines))


def _ranking(rows: Sequence[Row]) -> str:
    columns = {
        "rank": [str(row.rank) for row in rows],
        "model": [row.label for row in rows],
        "strategy": [row.strategy for row in rows],
        "accuracy %": [_percent(row.scores["accuracy"]) for row in rows],
        "macro P": [_fraction(row.scores["macro_precision"]) for row in rows],
        "macro R": [_fraction(row.scores["macro_recall"]) for row in rows],
        "macro-F1": [_fraction(row.scores["macro_f1"]) for row in rows],
        "balanced acc.": [_fraction(row.scores["balanced_accuracy"]) for row in rows],
        "fit s": [_seconds(row.fit_seconds) for row in rows],
        "ms/image": [_milliseconds(row.ms_per_image) for row in rows],
        "parameters": [f"{row.n_parameters:,}" if row.n_parameters is not None else MISSING for row in rows],
    }
    if any(row.weights for row in rows):
        columns["weights"] = [row.weights or MISSING for row in rows]
    if any(len(row.f1_by_run) > 1 or row.missing for row in rows):
        columns["runs"] = [_runs(row) for row in rows]
    left = ("model", "strategy", "weights", "runs")
    return _table(list(columns), zip(*columns.values(), strict=True), right=[name not in left for name in columns])


def _grid(board: Leaderboard) -> str:
    def cell(content: Row | str) -> str:
        if isinstance(content, str):
            return content
        return f"{content.macro_f1:.3f}" + (f" ({_runs(content)})" if content.missing else "")

    lines = [[label, *map(cell, cells)] for label, cells in zip(board.grid.labels, board.grid.cells, strict=True)]
    return _table(["model", *board.grid.strategies], lines, right=[False] + [True] * len(board.grid.strategies))


def _recall(board: Leaderboard) -> str:
    data = board.data
    classes = [f"{name} ({n:,})" for name, n in zip(data.class_names, data.support, strict=True)] if data else []
    lines = [[row.rank, row.label, row.strategy, *(f"{recall:.3f}" for recall in row.recall)] for row in board.rows]
    return _table(["rank", "model", "strategy", *classes], lines, right=[True, False, False] + [True] * len(classes))


def _background(board: Leaderboard) -> Iterable[str]:
    if board.data:
        yield from ("## Data and split", "\n".join(f"- {_escape(line)}" for line in _data_lines(board, board.data)))
    if board.environment:
        facts = [f"- {_escape(name)}: {_escape(', '.join(values))}" for name, values in board.environment.items()]
        if any(len(board.environment.get(name, ())) > 1 for name in ("processor", "cores per run")):
            facts.append("- the runs did not have the same processor and cores: do not compare their seconds")
        yield "## Environment\n\n" + "\n".join(facts)
    if board.command:
        yield "## Command\n\nThis page was made by\n\n    " + _one_line(board.command)
    if board.rows:
        yield "## Columns\n\n" + "\n".join(f"- {line}" for line in LEGEND)


def _data_lines(board: Leaderboard, data: Data) -> Iterable[str]:
    yield f"{data.n_train:,} training, {data.n_validation:,} validation and {data.n_test:,} test images"
    yield f"split: {data.split_source} (fingerprint {data.split_fingerprint}; data fingerprint {data.fingerprint})"
    yield from (f"note: {note}" for note in data.notes)
    if board.n_elsewhere:
        yield f"left out: {board.n_elsewhere:,} runs on other data or another split, which cannot be compared"


LEGEND = (
    f"rank: by macro-F1; rows that agree to {RANK_DECIMALS} decimals share a rank",
    "model: in brackets its training budget, where it has one",
    "strategy: what was done about class imbalance while training",
    "accuracy %: share of the test images that were recognised, in percent; other scores are fractions from 0 to 1",
    "macro P, macro R, macro-F1: precision (how many answers naming a class are right), recall (how many of its images "
    "are found) and their harmonic mean F1, each averaged over all classes alike",
    "balanced acc.: recall averaged over the classes that have test images; the same as macro R where all have some",
    "fit s: seconds to train, without computing the features that several models share",
    "ms/image: milliseconds from an image to its answer, computing its features included",
    "parameters: numbers a network holds, trained and frozen; weights: what it started from",
    "runs: how many runs, with different random seeds or on different folds, stand behind a row; scores are their mean "
    "± standard deviation; a row that lacks folds is ranked below the complete ones",
    f"`{MISSING}`: not run or not known; {NOT_APPLICABLE}: does not apply; other words in the grid: why not",
)


def _percent(statistic: Statistic) -> str:
    return f"{100 * statistic.mean:.1f}" + (f" ± {100 * statistic.sd:.1f}" if statistic.sd is not None else "")


def _fraction(statistic: Statistic) -> str:
    return f"{statistic.mean:.3f}" + (f" ± {statistic.sd:.3f}" if statistic.sd is not None else "")


def _seconds(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.1f}"


def _milliseconds(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.3f}"


def _runs(row: Row) -> str:
    """Such as "3 seeds", "5 folds", "4 of 5 folds (lacks seed 0, fold 2/5)"."""
    done, seeds, folds = len(row.f1_by_run), {seed for seed, _ in row.f1_by_run}, {fold for _, fold in row.f1_by_run}
    what = "folds" if folds != {""} else "seeds"
    if what == "folds" and len(seeds) > 1:
        what = f"folds of {len(seeds)} seeds"
    if row.missing:
        return f"{done} of {done + len(row.missing)} {what} (lacks {'; '.join(row.missing)})"
    return f"{done} {what if done > 1 else what[:-1]}"


def _table(headers: Sequence[str], lines: Iterable[Iterable[Any]], right: Sequence[bool] | None = None) -> str:
    align = ["right" if is_right else "left" for is_right in right or [False] * len(headers)]
    cells = [[_escape(str(cell)) for cell in line] for line in lines]
    return tabulate(cells, [_escape(name) for name in headers], "pipe", disable_numparse=True, colalign=align)


def _one_line(text: str) -> str:
    """`text` on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _short(text: str) -> str:
    return text if len(text) <= REASON_LENGTH else f"{text[:REASON_LENGTH]} ..."


def _escape(text: str) -> str:
    """`text` so that Markdown shows it as it is, in a table cell too."""
    escaped = re.sub(r"[\\`*\[\]|~$#]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", _one_line(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _csv_line(record: Record, rank: int | None) -> dict[str, Any]:
    test = record.test if record.status == "success" else None
    spec, seconds, validation = record.spec, record.seconds, record.validation
    return {
        "rank": rank, "model": spec.model, "strategy": spec.strategy, "seed": spec.seed, "fold": spec.fold,
        "budget": spec.budget,
        "status": record.status, **{name: getattr(test, name) if test else None for name in METRICS},
        "validation_macro_f1": validation.macro_f1 if validation else None,
        "fit_seconds": seconds.fit if seconds else None, "ms_per_image": record.ms_per_image,
        "n_parameters": record.n_parameters, "peak_memory_mb": record.peak_memory_mb, "weights": record.weights,
        "weights_asked": spec.weights, "tuned": spec.tuned, "parameters": _assignments(spec.parameters),
        "family": record.family, "features": record.features,
        "reason": record.reason, "run_id": record.run_id,
    }  # fmt: skip


def _assignments(parameters: Iterable[tuple[str, Any]]) -> str:
    return " ".join(f"{name}={value}" for name, value in parameters)


def _csv_cell(value: Any) -> Any:
    """Text on one line, and never one that a spreadsheet would run as a formula; numbers to 6 decimals."""
    if isinstance(value, str):
        text = _one_line(value)
        return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
    return round(value, 6) if isinstance(value, float) else value
