// Sections under the ranking: the grid, quality against time, strategies, recall of classes, galleries.

const SCORES = report.columns.filter((column) => !isText(column) && column.name !== "rank" && column.higher_is_better !== null);
const STRATEGY_MEASURES = [["macro_f1", "macro-F1"], ["accuracy", "accuracy"], ["minority_recall", "recall of rare classes"]];
const VERDICTS = { helps: "helps", hurts: "hurts", "trade-off": "trade-off", "no-evidence": "no evidence", "same-answers": "same answers" };

// Columns to choose a score from; on test-clean those with a twin show it.
function scoreChoice(chosen, change) {
  const named = SCORES.filter((column) => !(column.name.startsWith("clean_") && column.name.slice(6) in columnOf));
  return select("score", named.map((column) => [column.name, column.title]), chosen, change);
}

function buildGrid(place) {
  let name = "macro_f1";
  const shown = html("div");
  const redraw = () => shown.replaceChildren(...gridTable(columnOf[name]));
  place.replaceChildren(html("div", { class: "tools" }, scoreChoice(name, (value) => { name = value; redraw(); })), shown);
  followSubset(redraw);
}

function gridTable(column) {
  const { models, strategies, status } = report.grid;
  const at = new Map(rows.map((row, number) => [JSON.stringify([row.model, row.strategy]), number]));
  const cells = models.map((model) => strategies.map((strategy) => at.get(JSON.stringify([model, strategy]))));
  const values = cells.flat().filter((one) => one !== undefined).map((one) => valueOf(rows[one], column.name));
  const [low, high] = spreadOf(values, column);
  const lines = models.map((model, i) => [heading(model), ...strategies.map((_, j) => {
    const row = cells[i][j];
    if (row === undefined) return number(status[i][j] === "not run" ? "·" : status[i][j], { class: "muted", title: status[i][j] });
    const value = valueOf(rows[row], column.name);
    return html("td", { class: `number ${heat(column.higher_is_better ? value : -value, low, high)} ${valueOf(rows[row], "in_best_set") ? "best" : ""}` },
      html("button", { type: "button", class: "plain", title: rows[row].row, click: () => openRow(row) }, show(value, column.kind)));
  })]);
  const isMissing = status.some((line) => line.includes("not run"));
  return [table(null, [html("td"), ...strategies.map((one) => html("th", { scope: "col", class: "slanted" }, one))], lines, { class: "grid" }),
    html("p", { class: "muted" }, `Bold: may be the best by macro-F1, the test images cannot tell.${isMissing ? " ·: not run." : ""}`)];
}

// Between which values the colours run: from the lowest tenth to the best, so that outliers leave colours to the rest.
function spreadOf(values, column) {
  const ordered = values.filter(known).map((value) => (column.higher_is_better ? value : -value)).sort((one, other) => one - other);
  return [ordered[Math.floor(ordered.length / 10)] ?? 0, ordered.at(-1) ?? 1];
}

function buildTime(place) {
  let name = "macro_f1";
  const shown = html("div", { class: "drawing" });
  const tip = html("div", { class: "tip", hidden: true });
  const hover = (point, event) => {
    tip.hidden = !point;
    if (!point) return;
    const column = columnOf[name];
    tip.replaceChildren(html("strong", null, point.row.row), html("span", null, `${column.title} ${show(point.value, column.kind)}`),
      html("span", null, `${duration(point.seconds)}${point.row.on_gpu ? " on a GPU" : ""}`));
    const box = shown.getBoundingClientRect();
    tip.style.left = `${Math.min(event.clientX - box.left + 12, box.width - 220)}px`;
    tip.style.top = `${event.clientY - box.top + 14}px`;
  };
  const redraw = () => {
    const points = rows.map((row, at) => ({ row, at, seconds: row.seconds, value: valueOf(row, name) }))
      .filter((point) => point.seconds > 0 && known(point.value));
    shown.replaceChildren(...(points.length ? [scatter(points, columnOf[name], Math.max(320, shown.clientWidth || 900), hover,
      (point) => openRow(point.at)), tip] : [html("p", { class: "muted" }, "No row was timed.")]));
  };
  const families = [...new Set(rows.map((row) => row.family))];
  place.replaceChildren(html("div", { class: "tools" }, scoreChoice(name, (value) => { name = value; redraw(); }),
    html("ul", { class: "legend" }, families.map((family) => html("li", null, familyMark(family), family)),
      html("li", null, svg("svg", { viewBox: "0 0 16 10", width: 16, height: 10, "aria-hidden": "true" },
        svg("path", { class: "frontier", d: "M0,8H8V2H16" })), "best for its time, without a GPU"),
      rows.some((row) => row.on_gpu) ? html("li", null, "hollow: trained on a GPU") : null)), shown);
  followSubset(redraw);
  let width = shown.clientWidth;
  new ResizeObserver(() => {
    if (shown.clientWidth !== width) { width = shown.clientWidth; redraw(); }
  }).observe(shown);
}

function buildStrategies(place) {
  const models = [...new Set((report.effects.test ?? []).map((line) => line.model))];
  if (!models.length) return;
  let model = "";
  const shown = html("div");
  const redraw = () => {
    const effects = report.effects[page.subset] ?? [];
    const lines = model ? effects.filter((line) => line.model === model) : [...(report.pooled[page.subset] ?? [])];
    lines.sort((one, other) => (other.macro_f1 ?? -9) - (one.macro_f1 ?? -9));
    shown.replaceChildren(forest(lines, !model), changesByClass(lines, model ? [] : effects.filter((line) => speaks(line.model))));
  };
  place.replaceChildren(html("div", { class: "tools" },
    select("model", [["", "mean of the models that beat a constant answer"], ...models.map((one) => [one, one])], "",
      (value) => { model = value; redraw(); })), shown);
  followSubset(redraw);
}

// Changes against `none` with their intervals, an entry a strategy, all on one scale a measure.
function forest(lines, isPooled) {
  const measures = STRATEGY_MEASURES.filter(([name]) => lines.some((line) => known(line[name])));
  const ranges = measures.map(([name]) => extent(lines.flatMap((line) => [0, line[name], line[`${name}_low`], line[`${name}_high`]])));
  const change = (line, [name], at) => {
    const [value, low, high] = ["", "_low", "_high"].map((end) => line[name + end]);
    const clear = low > 0 ? "rise" : high < 0 ? "fall" : "";
    return number([html("span", { class: clear }, signed(value)), whisker(value, low, high, ...ranges[at], { zero: true })],
      { title: known(low) ? `${signed(low)} to ${signed(high)} (95 %)` : null, class: "change" });
  };
  const counts = isPooled ? [["n_models", "models"], ["n_helps", "helps"], ["n_hurts", "hurts"], ["n_trade_off", "trade-off"],
    ["n_no_evidence", "no evidence"], ["n_same", "same answers"]] : [["n_runs", "runs"]];
  const head = ["strategy", ...[...measures, ...counts].map(([, title]) => numberHeading(title)), ...(isPooled ? [] : ["verdict"])];
  return table(`Change against none${isPooled ? ": mean over the models that beat a constant answer" : ""}`, head, lines.map((line) => [heading(line.strategy),
    ...measures.map((measure, at) => change(line, measure, at)), ...counts.map(([name]) => number(show(line[name], "count"))),
    ...(isPooled ? [] : [VERDICTS[line.verdict] ?? line.verdict])]), { class: "forest" });
}

// Who pays: the change in each class's recall and, of `single` models, in how many it rose or fell beyond chance.
function changesByClass(lines, single) {
  const widest = Math.max(0.01, ...lines.flatMap((line) => classNames.map((name) => Math.abs(line[name] ?? 0))));
  const cell = (line, name) => {
    const [value, low, high] = ["", "_low", "_high"].map((end) => line[name + end]);
    const own = single.filter((one) => one.strategy === line.strategy);
    const rises = own.filter((one) => one[`${name}_low`] > 0).length;
    const falls = own.filter((one) => one[`${name}_high`] < 0).length;
    return number([html("span", { class: low > 0 || high < 0 ? "clear" : null }, signed(value)),
      html("small", null, `${rises ? ` ▲${rises}` : ""}${falls ? ` ▼${falls}` : ""}`)],
    { class: heatOfChange(value, widest / 2), title: known(low) ? `${signed(low)} to ${signed(high)} (95 %)` : null });
  };
  const counts = single.length ? "; ▲ and ▼ count the models in which it rose or fell beyond chance" : "";
  return table(`Who pays: change in the recall of each class, bold where beyond chance${counts}`,
    ["strategy", ...classNames.map((name) => numberHeading(name))],
    lines.map((line) => [heading(line.strategy), ...classNames.map((name) => cell(line, name))]), { class: "grid" });
}

function speaks(model) {
  return rows.some((row) => row.model === model && row.strategy === "none" && row.speaks);
}

function buildClasses(place) {
  let chosen = report.best_of_model;
  const shown = html("div");
  const redraw = () => {
    const support = page.subset === "clean" ? report.data.clean_support : report.data.support;
    const lines = chosen.filter((at) => report.recall[page.subset][at]).map((at) => [
      heading(rowButton(at, rows[at].row)),
      ...report.recall[page.subset][at].map((value) => number(show(value, "fraction"), { class: heat(value, 0, 1) }))]);
    const head = classNames.map((name, at) => numberHeading([name, html("small", null, ` ${grouped(support[at])}`)]));
    shown.replaceChildren(table(null, [html("td"), ...head], lines, { class: "grid" }));
  };
  place.replaceChildren(html("div", { class: "tools" }, rowChooser((places) => { chosen = places; redraw(); })), shown);
  followSubset(redraw);
}

// Faces out of the sprite: [tile, ...] entries, each with its caption.
function faces(entries, caption) {
  const { picture, width, height, tiles_a_line: perLine } = report.galleries;
  const sheet = new Image();
  const tiles = entries.map((entry) => {
    const canvas = html("canvas", { width, height, role: "img", "aria-label": report.galleries.faces[entry[0]][0] });
    return { canvas, entry };
  });
  sheet.addEventListener("load", () => tiles.forEach(({ canvas, entry: [tile] }) => canvas.getContext("2d").drawImage(sheet,
    (tile % perLine) * width, Math.floor(tile / perLine) * height, width, height, 0, 0, width, height)));
  sheet.src = picture;
  return html("ul", { class: "faces" }, tiles.map(({ canvas, entry }) =>
    html("li", { title: report.galleries.faces[entry[0]][0] }, canvas, caption(entry, classNames[report.galleries.faces[entry[0]][1]]))));
}

function buildGallery(place) {
  place.replaceChildren(faces(report.galleries.hardest, ([, missed, probability], label) =>
    [html("b", null, label), html("span", null, `missed by ${(100 * missed).toFixed(0)} %`), html("span", null, `at ${(100 * probability).toFixed(0)} %`)]));
}
