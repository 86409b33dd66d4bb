// A row opened: one of its runs with its scores, mistakes, curves, settings and log.

const dialog = html("dialog", { "aria-labelledby": "dialog-title", click: (event) => { if (event.target === dialog) dialog.close(); } });

function openDialog(title, ...content) {
  dialog.replaceChildren(html("header", null, html("h2", { id: "dialog-title", tabindex: -1, autofocus: true }, title),
    html("button", { type: "button", class: "close", "aria-label": "Close", click: () => dialog.close() }, "✕")), ...content);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function runsOf(row) {
  return row.runs.map((at) => report.runs[at]);
}

function seedChoices(row) {
  return runsOf(row).map((run, order) => [String(order), `seed ${run.settings.seed ?? order}`]);
}

function rowChoices(but) {
  return rows.map((row, at) => [String(at), row.row]).filter(([at]) => at !== String(but));
}

function openRow(at) {
  const row = rows[at];
  const body = html("div");
  const draw = (order) => body.replaceChildren(...runParts(row, runsOf(row)[order]));
  const others = [["", "compare with …"], ...rowChoices(at)];
  openDialog([familyMark(row.family), row.row],
    html("div", { class: "tools" }, row.runs.length > 1 ? segments("Seed", seedChoices(row), "0", (order) => draw(Number(order))) : null,
      select("", others, "", (other) => { if (other) openComparison(at, Number(other)); })), body);
  if (row.runs.length) draw(0);
  else body.replaceChildren(rowScores(row, null));
}

function runParts(row, run) {
  return [
    html("p", { class: "muted" }, html("code", null, run.id)),
    html("div", { class: "columns-2" }, rowScores(row, run), confusionPart(run)),
    html("div", { class: "columns-2" }, curvesPart(run), reliabilityPart(run)),
    mistakesPart(run),
    html("div", { class: "columns-2" }, settingsPart(row, run), versionsPart(run)),
    run.log ? part("The end of its log", html("pre", null, run.log)) : null,
  ].filter(Boolean);
}

function part(title, ...content) {
  return html("section", { class: "part" }, html("h3", null, title), content);
}

// The run's scores on every subset, and beside them the row's means with intervals.
function rowScores(row, run) {
  const subsets = [["test", "test"], ["clean", "clean"], ["validation", "validation"]].filter(([name]) => run?.scores[name]);
  const several = row.runs.length > 1 || !run;
  const lines = report.columns.filter((column) => report.scores.includes(column.name) && column.name !== "validation_macro_f1").map((column) => {
    const name = column.name;
    const at = report.scores.indexOf(name);
    const key = onSubset(name);
    const [low, high, spread] = ["_low", "_high", "_sd"].map((end) => row[key + end]);
    return [html("th", { scope: "row", title: column.sentence }, column.title),
      ...subsets.map(([subset]) => number(show(run.scores[subset][at], column.kind))),
      several ? number([show(row[key], column.kind), known(spread) ? ` ± ${show(spread, column.kind)}` : ""]) : null,
      number(known(low) ? `${show(low, column.kind)} to ${show(high, column.kind)}` : "")].filter(Boolean);
  });
  const chosenBy = run?.scores.test?.[report.scores.indexOf("validation_macro_f1")];
  if (known(chosenBy) && subsets.at(-1)[0] === "validation" && report.data.n_choosers < report.data.n_validation) {
    const at = lines.findIndex(([head]) => head.textContent === columnOf.macro_f1.title);
    lines.splice(at + 1, 0, [html("th", { scope: "row", title: columnOf.validation_macro_f1.sentence }, "macro-F1, without copies"),
      ...subsets.map(([subset]) => number(subset === "validation" ? show(chosenBy, "fraction") : "")), ...(several ? [number("")] : []), number("")]);
  }
  const of = page.subset === "clean" ? "row, clean" : "row";
  return part("Scores", table(null, [html("td"), ...subsets.map(([, title]) => numberHeading(title)),
    several ? numberHeading(of, { title: "mean over its seeds ± their standard deviation" }) : null,
    numberHeading(page.subset === "clean" ? "95\u00a0%, clean" : "95\u00a0%")].filter(Boolean), lines));
}

// Counts or shares of each class's images, drawn from the labels and the run's answers.
function confusionPart(run) {
  if (!run.predicted) return part("Confusion matrix", html("p", { class: "muted" }, carriedNote()));
  let asShares = true;
  let subset = page.subset;
  const shown = html("div");
  const redraw = () => shown.replaceChildren(confusionTable(confusionOf(run, subset), asShares));
  redraw();
  return part("Confusion matrix", html("div", { class: "tools" },
    segments("Show", [["shares", "shares"], ["counts", "counts"]], "shares", (value) => { asShares = value === "shares"; redraw(); }),
    hasClean ? segments("Images", [["test", "test"], ["clean", "test-clean"]], subset, (value) => { subset = value; redraw(); }) : null), shown);
}

function confusionTable(counts, asShares) {
  const head = [html("th", { scope: "col", class: "muted corner" }, "label\u00a0↓ answer\u00a0→"),
    ...classNames.map((name) => html("th", { scope: "col", class: "upright" }, html("span", null, name))), numberHeading("precision")];
  const lines = counts.map((line, label) => {
    const total = line.reduce((sum, count) => sum + count, 0);
    const answers = counts.reduce((sum, other) => sum + other[label], 0);
    return [heading(classNames[label]), ...line.map((count, answer) => number(
      asShares ? (total ? show(count / total, "percent") : MISSING) : grouped(count),
      { class: `${heat(total ? count / total : null, 0, 1)} ${answer === label ? "hit" : ""}`,
        title: `${classNames[label]} answered ${classNames[answer]}: ${count} of ${total}` })),
      number(answers ? show(counts[label][label] / answers, "fraction") : MISSING)];
  });
  return table(asShares ? "% of the images of each label" : "images", head, lines, { class: "grid confusion" });
}

function carriedNote() {
  return report.carried === "first"
    ? "Only the first run of each row brings its answers, to keep this file small."
    : "Answers are not in this file, to keep it small.";
}

function curvesPart(run) {
  const names = Object.keys(run.history);
  const along = ["epoch", "step"].find((name) => names.includes(name));
  if (!along) return null;
  const values = (name) => run.history[name].map((value) => (known(value) && Number.isFinite(Number(value)) ? Number(value) : null));
  const groups = [["loss", (name) => name.includes("loss")], ["accuracy and macro-F1", (name) => /accuracy|f1/.test(name)]];
  const charts = groups.map(([title, holds]) => [title, names.filter(holds)]).filter(([, own]) => own.length).map(([title, own]) =>
    lineChart(values(along), own.map((name) => ({ text: name.replace(/^val_/, "validation ").replaceAll("_", " "), values: values(name) })), along, title));
  return part("Learning curves", charts);
}

function reliabilityPart(run) {
  return run.reliability ? part("Is it as right as it is sure?", reliabilityChart(run.reliability)) : null;
}

function mistakesPart(run) {
  const own = report.galleries?.mistakes[run.id];
  return own?.length ? part("Its most confident mistakes", faces(own, ([, answer, confidence], label) =>
    [html("b", null, label), html("span", null, `→ ${classNames[answer]}`), html("span", null, `${(100 * confidence).toFixed(0)} % sure`)])) : null;
}

const WORDS = { n_folds: "folds", fit_seconds: "time to fit", feature_seconds: "time for its features", ms_per_image: "ms per image",
  peak_memory_mb: "most memory, MB", n_parameters: "parameters", n_rows: "training images", n_jobs: "processor cores",
  stochastic: "differs by seed", cpu_seconds: "processor time", steps: "training steps", initial_weights: "started from",
  weights_note: "its first weights", weights_asked: "weights asked for", fitted: "fitted to validation", adjusted_from: "adjusted from",
  settings: "settings in full", parameters: "unlike its recipe", members: "averages", command: "made by", device: "trained on" };

function settingsPart(row, run) {
  const text = (name, value) => (/seconds$/.test(name) && typeof value === "number" ? duration(value)
    : value === null ? "none"
    : typeof value === "boolean" ? show(value, "flag")
    : typeof value === "number" ? show(value, Number.isInteger(value) ? "count" : "number")
      : Array.isArray(value) ? value.map((one) => text("", one)).join("; ")
        : typeof value === "object" ? Object.entries(value).map(([key, one]) => `${key} ${text(key, one)}`).join(", ") : String(value));
  const ofRow = ["seconds", "n_parameters", "ms_per_image"].filter((name) => known(row[name]) && !(name in run.settings))
    .map((name) => [columnOf[name]?.title ?? name, show(row[name], columnOf[name]?.kind)]);
  const own = Object.entries(run.settings).filter(([name, value]) => name !== "n_folds" || value > 0)
    .map(([name, value]) => [WORDS[name] ?? name.replaceAll("_", " "), text(name, value)]);
  return part("How it was made", facts([...ofRow, ...own]));
}

function versionsPart(run) {
  return run.versions === null ? null : part("Versions", facts(Object.entries(report.versions[run.versions])));
}

function facts(entries) {
  return html("dl", { class: "facts" }, entries.map(([name, value]) => [html("dt", null, name), html("dd", null, value)]));
}
