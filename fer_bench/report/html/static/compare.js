// Two rows compared: the paired difference between them, McNemar's table and the classes for one run of each.

function openComparison(first, second) {
  const chosen = { rows: [first, second], runs: [0, 0] };
  const body = html("div");
  const redraw = () => body.replaceChildren(...comparisonParts(chosen));
  const side = (which, letter) => {
    const seeds = html("div");
    const offer = () => {
      chosen.runs[which] = 0;
      seeds.replaceChildren(rows[chosen.rows[which]].runs.length > 1
        ? segments(`Seed of ${letter}`, seedChoices(rows[chosen.rows[which]]), "0", (order) => { chosen.runs[which] = Number(order); redraw(); }) : "");
    };
    offer();
    return html("div", { class: "side" }, select(letter, rowChoices(-1), String(chosen.rows[which]),
      (at) => { chosen.rows[which] = Number(at); offer(); redraw(); }), seeds);
  };
  openDialog("Compare", html("div", { class: "sides" }, side(0, "A"), side(1, "B")), body);
  redraw();
}

function comparisonParts(chosen) {
  const [first, second] = chosen.rows;
  const runs = chosen.rows.map((at, which) => runsOf(rows[at])[chosen.runs[which]]);
  const answers = runs.map((run) => (run?.predicted ? decoded(run.predicted) : null));
  const paired = answers.every(Boolean) ? [mcnemarPart(answers), classesPart(answers)]
    : [part("Image by image", html("p", { class: "muted" }, carriedNote()))];
  return [differencePart(first, second), ...paired];
}

// The standard error of the difference between two rows, out of the upper triangle that the report brings.
function errorOf(subset, measure, first, second) {
  const errors = report.errors[subset];
  if (!errors) return null;
  const n = errors.rows.length;
  const [low, high] = [errors.rows.indexOf(first), errors.rows.indexOf(second)].sort((one, other) => one - other);
  if (low < 0) return null;
  return low === high ? 0 : errors[measure][low * n - (low * (low + 1)) / 2 + high - low - 1] * ERROR_UNIT;
}

function differencesOf(first, second) {
  const measures = [["macro_f1", "macro-F1"], ["accuracy", "accuracy"]];
  const subsets = hasClean ? [["test", "test", ""], ["clean", "test-clean", "clean_"]] : [["test", "test", ""]];
  return subsets.flatMap(([subset, where, prefix]) => measures.map(([measure, title]) => {
    const [a, b] = [first, second].map((at) => rows[at][prefix + measure]);
    const error = errorOf(subset, measure, first, second);
    const value = known(a) && known(b) ? b - a : null;
    const around = value === null || error === null ? null : Z_95 * error;
    return { title: `${title}, ${where}`, a, b, value, low: around === null ? null : Math.max(-1, value - around),
      high: around === null ? null : Math.min(1, value + around) };
  }));
}

function differencePart(first, second) {
  const lines = differencesOf(first, second);
  const range = extent(lines.flatMap((line) => [0, line.value, line.low, line.high]));
  const verdict = (line) => !known(line.low) ? MISSING : line.low > 0 ? "B is better" : line.high < 0 ? "A is better" : "not told apart";
  return part("B minus A, over all their seeds", table(null,
    [html("td"), ...["A", "B", "B − A", "95 %"].map((title) => numberHeading(title)), html("td"), html("td")],
    lines.map((line) => [heading(line.title), number(show(line.a, "fraction")), number(show(line.b, "fraction")),
      number(signed(line.value)), number(known(line.low) ? `${signed(line.low)} to ${signed(line.high)}` : MISSING),
      whisker(line.value, line.low, line.high, ...range, { zero: true }) ?? "", verdict(line)]), { class: "differences" }));
}

function mcnemarPart(answers) {
  const images = imagesOf(page.subset);
  const right = answers.map((own) => images.map((image) => own[image] === labels[image]));
  const count = (a, b) => images.filter((_, at) => right[0][at] === a && right[1][at] === b).length;
  const change = (count(false, true) - count(true, false)) / images.length;
  const cell = (a, b) => number(`${grouped(count(a, b))} (${((100 * count(a, b)) / images.length).toFixed(1)} %)`);
  return part(`Image by image${page.subset === "clean" ? ", test-clean" : ""}`, table("McNemar's table: images of the test set", [html("td"), numberHeading("B right"), numberHeading("B wrong")],
  [[heading("A right"), cell(true, true), cell(true, false)], [heading("A wrong"), cell(false, true), cell(false, false)]], { class: "mcnemar" }),
  html("p", null, `These two runs: B − A = ${signed(change)} accuracy; they agree on ` +
    `${((100 * images.filter((image) => answers[0][image] === answers[1][image]).length) / images.length).toFixed(1)} % of the images.`));
}

function classesPart(answers) {
  const lines = classNames.map((name, label) => {
    const images = imagesOf(page.subset).filter((image) => labels[image] === label);
    const recalls = answers.map((own) => images.filter((image) => own[image] === label).length / images.length);
    return { name, n: images.length, recalls };
  });
  return part("Recall of each class, these two runs", table(null, ["class", ...["images", "A", "B", "B − A"].map((title) => numberHeading(title))],
  lines.map((line) => [heading(line.name), number(grouped(line.n)), ...line.recalls.map((recall) => number(show(recall, "fraction"))),
    number(signed(line.recalls[1] - line.recalls[0]))])));
}
