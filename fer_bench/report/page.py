"""The page: what a person reads first, on its own, having never seen the project."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from fer_bench.analysis.effects import BASE_STRATEGY
from fer_bench.analysis.references import KNOWN_WEIGHTS
from fer_bench.records import without_folders
from fer_bench.report.columns import COLUMNS, MISSING, Column, show
from fer_bench.report.figures import quality_against_time
from fer_bench.report.text import (
    IN_SHORT,
    WARNINGS,
    environment,
    escape,
    first_of,
    grid_text,
    listed,
    one_line,
    points,
    sentence,
    signed,
    table,
    title,
)

if TYPE_CHECKING:
    import pandas as pd

    from fer_bench.analysis.leaderboard import Leaderboard

MODEL_COLUMNS = (
    "accuracy", "macro_precision", "macro_recall", "macro_f1", "clean_macro_f1", "rank", "seconds", "n_parameters",
    "n_seeds",
)  # fmt: skip
VERDICTS = {
    "n_helps": "helps",
    "n_hurts": "hurts",
    "n_trade_off": "trade-off",
    "n_no_evidence": "no evidence",
    "n_same": "same answers",
}
SHOWN, MOST_CHARACTERS = 10, 160
"""Lines of a list that may be long, before it says how many more there are."""
BY_NAME = {column.name: column for column in COLUMNS}


def page(board: Leaderboard) -> str:
    """`leaderboard.md`: short, every name from the data escaped. The same leaderboard gives the same text."""
    warnings, in_short = first_of(board.findings, WARNINGS), first_of(board.findings, IN_SHORT)
    others = [one for one in board.findings if not any(one is shown for shown in (*warnings, *in_short))]
    files = {name: file_name(board.suffix, name) for name in ("html", "csv", "png")}
    return environment(is_markdown=True).get_template("page.md.j2").render(
        board=board, data=board.data, title=title(board), fitted=_fitted(board),
        has_not_run=bool((board.grid_status == "not run").any(axis=None)),
        audit=board.audit, files=files, base=BASE_STRATEGY, missing=MISSING,
        by_class=list(zip(board.data.class_names, board.data.support, strict=True)), warnings=warnings,
        in_short=in_short, further=others,
        has_picture=bool((board.rows["seconds"] > 0).any()), models=_models(board), earlier=_earlier(board),
        from_files=_from_files(board), grid=_grid(board), strategies=_strategies(board), recall=_recall(board),
        glossary=_glossary(board), unranked=_unranked(board),
        failures=_failures(board), not_applicable=_not_applicable(board), references=_references(board),
        legend=_shown(board), command=Markup(without_folders(one_line(board.command))),
    )  # fmt: skip


def picture(board: Leaderboard) -> bytes | None:
    """The picture beside the page, PNG; None where no row was timed."""
    if not (board.rows["seconds"] > 0).any():
        return None
    return quality_against_time(board.rows, board.data.constant_scores[1])


def file_name(suffix: str, name: str) -> str:
    """What the file of a format is called: pages of five folds do not replace those of the one split."""
    stem = {"html": "report", "slices": "slices"}.get(name, "leaderboard")
    ending = {"latex": "tex", "slices": "csv"}.get(name, name)
    return f"{stem}{suffix}.{ending}"


def _shown(board: Leaderboard) -> list[Column]:
    """The columns of the table of models; without copies, all test images are clean."""
    rows, test_has_copies = board.rows, board.data.test_has_copies
    known = [name for name in MODEL_COLUMNS if name in rows and rows[name].notna().any()]
    return [BY_NAME[name] for name in known if test_has_copies or not name.startswith("clean_")]


def _models(board: Leaderboard) -> Markup | None:
    """One row per model, at the strategy picked on validation; bold: what to use."""
    rows = board.best_of_model
    shown = _shown(board)
    picks = {pick.row for pick in board.picks.values()}

    def cells(row: str, line: pd.Series) -> Iterable[Any]:
        yield _bold(line["model"], row in picks)
        yield line["strategy"]
        yield from (_model_cell(column, line) for column in shown)

    headers = ["model", "strategy", *(column.title for column in shown)]
    return table(headers, [cells(str(row), line) for row, line in rows.iterrows()], left=2) if len(rows) else None


def _model_cell(column: Column, line: pd.Series) -> str:
    """Short, as there are many columns: parameters in millions."""
    match column.name:
        case "macro_f1" | "rank":
            return column.cell(line)
        case "n_parameters" if line["n_parameters"] >= 1e5:
            return f"{line['n_parameters'] / 1e6:.1f} M"
        case "seconds" if line["on_gpu"]:
            return f"{column.text(line['seconds'])}, GPU"
        case _:
            return column.text(line[column.name])


def _earlier(board: Leaderboard) -> list[str]:
    """Models in the table of models that were trained by an earlier version of their recipe, and do not say so."""
    from fer_bench.models import MODELS

    newest = {card.name: card.recipe for card in MODELS}
    newest_here = board.rows.groupby("model_name")["recipe"].max()
    return [
        row.model
        for row in board.best_of_model.itertuples()
        if newest_here[row.model_name] == row.recipe < newest.get(row.model_name, 0)
    ]


def _from_files(board: Leaderboard) -> list[str]:
    """Which models started from weights of a file, and in brackets what it holds where that is known, or its name."""
    rows = board.rows[board.rows["initial_weights"] == "file"]
    held = rows["weights_asked"].map(KNOWN_WEIGHTS).fillna(rows["weights_note"].str.removeprefix("file "))
    return [f"{model} ({what})" for model, what in dict.fromkeys(zip(rows["model_name"], held, strict=True))]


def _grid(board: Leaderboard) -> Markup | None:
    """Macro-F1 of each model that ran under several strategies under each of them; bold: may be best."""
    several, best = _under_several(board), board.may_be_best

    def cells(model: Any) -> Iterable[Any]:
        yield model
        yield from (_bold(grid_text(board, model, one), (model, one) in best) for one in board.grid)

    return table(["model", *map(str, board.grid)], map(cells, several)) if several else None


def _under_several(board: Leaderboard) -> list[str]:
    """The models that ran under several strategies."""
    return board.grid.index[board.grid.notna().sum(axis=1) > 1].tolist()


def _strategies(board: Leaderboard) -> Markup | None:
    """What each strategy changes on average over the models, who gains and pays, how many models it helps and hurts."""
    pooled = board.pooled["test"]
    if pooled.empty:
        return None
    clean = board.pooled.get("clean") if board.data.test_has_copies else None
    on_clean = {} if clean is None else dict(zip(clean["strategy"], clean["macro_f1"], strict=True))
    classes = list(board.data.class_names)

    def cells(line: pd.Series) -> Iterable[Any]:
        yield line["strategy"]
        yield f"{signed(line['macro_f1'])} ({signed(line['macro_f1_low'])} to {signed(line['macro_f1_high'])})"
        if on_clean:
            yield signed(on_clean[line["strategy"]])
        yield f"{points(line['accuracy'])} ({points(line['accuracy_low'])} to {points(line['accuracy_high'])})"
        recall = line[classes].astype(float)
        yield from (f"{name} {points(recall[name])}" for name in map(str, (recall.idxmax(), recall.idxmin())))
        yield f"{line['n_models']:.0f}"
        yield from (f"{line[name]:.0f}" for name in VERDICTS)

    headers = ["strategy", "macro-F1", *["clean macro-F1"] * bool(on_clean), "accuracy, points"]
    headers += ["gains most", "pays most", "models", *VERDICTS.values()]
    return table(headers, [cells(line) for _, line in pooled.iterrows()])


def _recall(board: Leaderboard) -> Markup | None:
    """Recall per class of the classical model and the network picked on validation."""
    picked = [board.picks[family].row for family in ("classical", "deep") if family in board.picks]
    subsets = {"test": board.data.support} | ({"clean": board.data.clean_support} if board.data.test_has_copies else {})
    recall = board.recall.T.to_dict("list")
    lines: list[Sequence[Any]] = []
    for subset, support in subsets.items():
        lines += [
            [_bold(row, True), subset, *(show(value, "percent") for value in recall[row, subset])] for row in picked
        ]
        lines.append(["", f"{subset} images", *(f"{n:,}" for n in support)])
    return table(["", "", *board.data.class_names], lines, left=2) if picked else None


def _unranked(board: Leaderboard) -> Markup | None:
    lines = [
        [row, show(line["macro_f1"], "fraction"), " ".join(map(sentence, line["reasons"]))]
        for row, line in board.unranked[:SHOWN].iterrows()
    ]
    return table(["not ranked", "macro-F1", "why"], lines + _more(board.unranked, 3)) if lines else None


def _failures(board: Leaderboard) -> Markup | None:
    lines = [
        [f"{one.model} / {one.strategy}", one.seed, one.status, _short(str(one.reason))]
        for one in board.failures[:SHOWN].itertuples()
    ]
    return table(["run", "seed", "status", "reason"], lines + _more(board.failures, 4), left=4) if lines else None


def _more(lines: pd.DataFrame, n_columns: int) -> list[list[Any]]:
    """A last line of `n_columns` that says how many are not shown, where there are any."""
    more = len(lines) - SHOWN
    return [[f"and {more} more", *[""] * (n_columns - 1)]] if more > 0 else []


def _references(board: Leaderboard) -> Markup | None:
    lines = [[one.who, one.accuracy, one.caveat, one.source] for one in board.references]
    return table(["who", "accuracy %", "note", "source"], lines, left=4) if lines else None


def _glossary(board: Leaderboard) -> dict[str, list[tuple[str, str]]]:
    """What the package's own models, features and strategies on the page are; plugins speak for themselves."""
    from fer_bench.models import FEATURES, MODELS, STRATEGIES, is_own

    own = [card for card in MODELS if card.name in set(board.rows["model_name"]) and is_own(card.build)]
    found = {
        "Models": [(card.name, card.summary) for card in own],
        "Features": [(one.name, one.summary) for one in FEATURES if one.name in {card.features for card in own}],
        "Strategies": [(one.name, one.summary) for one in STRATEGIES if one.name in board.grid and is_own(one.plan)],
    }
    return {kind: lines for kind, lines in found.items() if lines}


def _fitted(board: Leaderboard) -> list[str]:
    """What rows that are fitted to the validation images are called: their strategy, or "ensemble"."""
    fitted = board.rows[board.rows["fitted"].eq(True)]
    return fitted["strategy"].mask(fitted["family"] == "ensemble", "ensemble").unique().tolist()


def _not_applicable(board: Leaderboard) -> list[str]:
    """Which strategies do not apply to some models that ran under others, and why."""
    shown = set(_under_several(board))
    lines = [one for one in board.not_applicable.itertuples() if shown.intersection(one.models)]
    return [f"{listed(one.strategies, 3)} (the model {one.reason})" for one in lines]


def _bold(text: Any, is_bold: bool) -> Markup:
    return Markup(f"**{escape(text)}**") if is_bold else escape(text)


def _short(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} ..."
