// The full ranking: sorted, searched, filtered, its columns chosen, downloaded; two of its rows picked to compare.

const ranking = {
  sort: "rank", descending: false, search: "", model: "", strategy: "", bestOnly: false,
  families: new Set(rows.map((row) => row.family)),
  columns: new Set(report.columns.filter((column) => column.shown).map((column) => column.name)),
  picked: [],
};

// Columns that stand for themselves: the twin of one on test-clean shows in its place there.
function rankingColumns() {
  const hidden = (column) => page.subset === "clean" && column.name.startsWith("clean_") && column.name.slice(6) in columnOf;
  return report.columns.filter((column) => ranking.columns.has(column.name) && !hidden(column));
}

function titleOf(column) {
  return column.title + (page.subset === "clean" && onSubset(column.name) !== column.name ? ", clean" : "");
}

function rankedRows() {
  const words = ranking.search.toLowerCase().split(/\s+/).filter(Boolean);
  const kept = rows.map((row, at) => at).filter((at) => {
    const row = rows[at];
    const text = `${row.row} ${row.family} ${row.parameters ?? ""}`.toLowerCase();
    return ranking.families.has(row.family) && words.every((word) => text.includes(word)) &&
      (!ranking.model || row.model === ranking.model) && (!ranking.strategy || row.strategy === ranking.strategy) &&
      (!ranking.bestOnly || valueOf(row, "in_best_set"));
  });
  const key = (at) => valueOf(rows[at], ranking.sort);
  const sign = ranking.descending ? -1 : 1;
  return kept.sort((one, other) => {
    const [first, second] = [key(one), key(other)];
    if (!known(first) || !known(second)) return known(second) - known(first) || one - other;
    const order = typeof first === "string" ? first.localeCompare(second) : first - second;
    return sign * order || one - other;
  });
}

function buildRanking(place) {
  const status = html("p", { class: "status", role: "status" });
  const shown = html("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Ranking" });
  const redraw = () => {
    const order = rankedRows();
    const columns = rankingColumns();
    status.textContent = `${order.length} of ${rows.length} rows`;
    shown.replaceChildren(rankingTable(order, columns, redraw));
    showPicked();
  };
  place.replaceChildren(rankingTools(redraw), status, shown);
  followSubset(redraw);
}

function rankingTools(redraw) {
  const search = html("input", { type: "search", placeholder: "Search rows", "aria-label": "Search rows",
    input: (event) => { ranking.search = event.target.value; redraw(); } });
  const names = (name) => [["", "all"], ...[...new Set(rows.map((row) => row[name]))].sort().map((one) => [one, one])];
  const families = [...ranking.families].map((family) => html("button", { type: "button", class: "chip", "aria-pressed": "true",
    click: (event) => {
      const on = !ranking.families.delete(family);
      if (on) ranking.families.add(family);
      event.currentTarget.setAttribute("aria-pressed", String(on));
      redraw();
    } }, familyMark(family), family));
  return html("div", { class: "tools" }, search,
    html("div", { class: "chips", role: "group", "aria-label": "Families" }, families),
    select("model", names("model"), "", (value) => { ranking.model = value; redraw(); }),
    select("strategy", names("strategy"), "", (value) => { ranking.strategy = value; redraw(); }),
    html("label", { class: "choice" }, html("input", { type: "checkbox",
      change: (event) => { ranking.bestOnly = event.target.checked; redraw(); } }), html("span", null, "only what may be best")),
    columnChooser(redraw),
    html("button", { type: "button", click: downloadRanking }, "Download CSV"));
}

function columnChooser(redraw) {
  const boxes = report.columns.map((column) => html("label", { title: column.sentence },
    html("input", { type: "checkbox", checked: ranking.columns.has(column.name), change: (event) => {
      if (event.target.checked) ranking.columns.add(column.name);
      else ranking.columns.delete(column.name);
      redraw();
    } }), column.title));
  return html("details", { class: "columns", keydown: (event) => {
    if (event.key === "Escape") { event.currentTarget.open = false; event.currentTarget.firstChild.focus(); }
  } }, html("summary", null, "Columns"), html("div", null, boxes));
}

function rankingTable(order, columns, redraw) {
  const ranges = Object.fromEntries(columns.filter((column) => column.has_interval).map((column) => [column.name, whiskerRange(column)]));
  const head = columns.map((column) => {
    const on = ranking.sort === column.name;
    return html("th", { scope: "col", class: isText(column) ? "" : "number", title: column.sentence, "data-name": column.name,
      "aria-sort": on ? (ranking.descending ? "descending" : "ascending") : "none" },
      html("button", { type: "button", "data-column": column.name, click: () => sortBy(column, redraw) }, titleOf(column)));
  });
  const body = html("tbody", { keydown: moveInRows }, order.map((at, line) => rankingLine(at, columns, ranges, line === 0)));
  return html("table", { class: "ranking" },
    html("thead", null, html("tr", null, html("th", { scope: "col", class: "pick", title: "Pick two rows to compare" }, "⇄"), head)), body);
}

// The scale of a column's whiskers: the better half of all rows; whiskers beyond it are not drawn.
function whiskerRange(column) {
  const name = onSubset(column.name);
  const lows = rows.map((row) => row[`${name}_low`]).filter(known).sort((one, other) => one - other);
  return [lows[Math.floor(lows.length / 2)] ?? 0, extent(rows.map((row) => row[`${name}_high`]))[1]];
}

function isText(column) {
  return column.kind === "text" || column.kind === "flag";
}

function sortBy(column, redraw) {
  const same = ranking.sort === column.name;
  ranking.descending = same ? !ranking.descending : column.higher_is_better === true;
  ranking.sort = column.name;
  redraw();
  document.querySelector(`.ranking [data-column="${CSS.escape(column.name)}"]`).focus();
}

function rankingLine(at, columns, ranges, isFirst) {
  const row = rows[at];
  const pick = html("td", { class: "pick" }, html("input", { type: "checkbox", tabindex: -1, checked: ranking.picked.includes(at),
    "aria-label": `Compare ${row.row}`, click: (event) => event.stopPropagation(), change: () => pickRow(at) }));
  return html("tr", { tabindex: isFirst ? 0 : -1, "data-row": at, class: valueOf(row, "in_best_set") ? "best" : "",
    "aria-label": `${row.row}: open`, click: () => openRow(at) }, pick, columns.map((column) => rankingCell(row, column, ranges[column.name])));
}

function rankingCell(row, column, range) {
  const name = onSubset(column.name);
  const [value, low, high, spread] = ["", "_low", "_high", "_sd"].map((end) => row[name + end]);
  const text = show(value, column.kind);
  if (column.name === "model") return html("th", { scope: "row", class: "model" }, familyMark(row.family), html("span", null, text, html("small", null, row.strategy)));
  if (isText(column)) return html("td", { class: column.name, "data-name": column.name }, text);
  const notes = [];
  if (known(low) && known(high)) notes.push(`${show(low, column.kind)} to ${show(high, column.kind)} (95 %)`);
  if (known(spread)) notes.push(`± ${show(spread, column.kind)} over ${row.n_seeds} seeds`);
  const extra = column.name === "rank" && known(low) ? html("span", { class: "muted" }, ` (${low}–${high})`)
    : range && known(low) ? whisker(value, low, high, ...range) : null;
  return number([text, extra], { title: notes.join("; ") || null });
}

// Arrow keys go from row to row, Enter opens one, Space picks it.
function moveInRows(event) {
  const line = event.target.closest("tr");
  const go = { ArrowDown: line.nextElementSibling, ArrowUp: line.previousElementSibling,
    Home: line.parentElement.firstElementChild, End: line.parentElement.lastElementChild }[event.key];
  if (go) {
    line.tabIndex = -1;
    go.tabIndex = 0;
    go.focus();
  } else if (event.key === "Enter") openRow(Number(line.dataset.row));
  else if (event.key === " " && event.target === line) pickRow(Number(line.dataset.row));
  else return;
  event.preventDefault();
}

function pickRow(at) {
  ranking.picked = ranking.picked.includes(at) ? ranking.picked.filter((one) => one !== at) : [...ranking.picked, at].slice(-2);
  showPicked();
}

// The boxes of the rows, and a bar at the foot of the window once one is picked.
function showPicked() {
  document.querySelectorAll(".ranking tbody tr").forEach((line) => {
    line.querySelector("input").checked = ranking.picked.includes(Number(line.dataset.row));
  });
  const bar = document.getElementById("picked");
  const [first, second] = ranking.picked;
  bar.hidden = first === undefined;
  if (bar.hidden) return;
  bar.replaceChildren(html("span", null, ranking.picked.map((at) => rows[at].row).join("  ·  ")),
    html("button", { type: "button", disabled: second === undefined, click: () => openComparison(first, second) },
      second === undefined ? "Pick one more to compare" : "Compare"),
    html("button", { type: "button", "aria-label": "Pick none", click: () => { ranking.picked = []; showPicked(); } }, "✕"));
}

function downloadRanking() {
  const names = rankingColumns().flatMap((column) =>
    ["", "_low", "_high", "_sd"].map((end) => onSubset(column.name) + end)
      .filter((name, order) => order === 0 || rows.some((row) => known(row[name]))));
  download(`${report.data.name}-ranking.csv`, csv([names, ...rankedRows().map((at) => names.map((name) => rows[at][name]))]));
}
