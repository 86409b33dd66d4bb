// Who is it bad for: each row on each slice of the test images, and the classical row picked against the network.

const SLICE_MEASURES = [["accuracy", "accuracy %", "percent"], ["macro_f1", "macro-F1", "fraction"], ["difference", "difference, points", "percent"]];

function buildSlices(place) {
  let [name, chosen, sort, descending] = ["accuracy", report.best_of_model, null, false];
  const shown = html("div");
  const redraw = () => {
    const key = (at) => report.slices[name][at][sort][0];
    const order = sort === null ? chosen : [...chosen].sort((one, other) => (descending ? key(other) - key(one) : key(one) - key(other)) || one - other);
    shown.replaceChildren(slicesTable(order, name, sort, descending, (column) => {
      descending = sort === column ? !descending : true;
      sort = column;
      redraw();
      shown.querySelector(`[data-slice="${column}"]`).focus();
    }));
  };
  place.replaceChildren(html("div", { class: "tools" },
    select("score", SLICE_MEASURES.map(([one, title]) => [one, title]), name, (value) => { name = value; redraw(); }),
    rowChooser((places) => { chosen = places; redraw(); })),
  shown, ...familiesTable());
  redraw();
}

function slicesTable(order, name, sort, descending, sortBy) {
  const { about, worst, worse } = report.slices;
  const [, , kind] = SLICE_MEASURES.find(([one]) => one === name);
  const told = (value) => (name === "difference" ? signed(value, kind) : show(value, kind));
  const [low, high] = extent(order.flatMap((at) => report.slices[name][at].map(([value]) => value)));
  const head = about.map((one, column) => html("th", { scope: "col", class: "number",
    "aria-sort": sort === column ? (descending ? "descending" : "ascending") : "none", title: `${grouped(one.n_images)} test images` },
  html("button", { type: "button", "data-slice": column, click: () => sortBy(column) }, one.value), html("small", null, ` ${grouped(one.n_images)}`)));
  const lines = order.map((at) => [
    heading(rowButton(at, rows[at].row)),
    ...about.map((one, column) => {
      const [value, from, to] = report.slices[name][at][column];
      const isMarked = one.is_small || (name === "macro_f1" && one.has_few_of_a_class);
      const color = name === "difference" ? heatOfChange(value, Math.max(Math.abs(low), Math.abs(high), 0.01) / 2) : heat(value, low, high);
      return number([html("span", { class: worst[at] === column ? "worst" : null }, told(value)), isMarked ? "*" : null,
        worse[at][column] ? " ▼" : null, html("small", null, `${told(from)} to ${told(to)}`)], { class: color });
    })]);
  const found = table(null, [html("td"), ...head], lines, { class: "grid sliced" });
  found.querySelector("thead").prepend(html("tr", null, html("td"), attributes(about)));
  return found;
}

// The attribute above its values.
function attributes(about) {
  return about.map((one, at) => at === 0 || about[at - 1].slice !== one.slice
    ? html("th", { scope: "colgroup", class: "attribute", colspan: about.filter((other) => other.slice === one.slice).length }, one.slice) : null).filter(known);
}

function familiesTable() {
  const { families } = report.slices;
  if (!families.length) return [];
  const points = (line, name) => [html("span", { class: line[`${name}_low`] > 0 ? "rise" : line[`${name}_high`] < 0 ? "fall" : null }, signed(line[name], "percent")),
    html("small", null, ` ${signed(line[`${name}_low`], "percent")} to ${signed(line[`${name}_high`], "percent")}`)];
  const head = ["slice", "images", "classical %", "deep %", "deep − classical", "deep copes better by"];
  return [html("h3", null, `Classical (${report.picks.classical.row}) against deep (${report.picks.deep.row})`),
    table("Points of accuracy. Copes better by: how much less deep loses on the slice, against the other images, than classical does, whoever is ahead",
      head.map((title, at) => html("th", { scope: "col", class: at ? "number" : null }, title)),
      families.map((line) => [heading(`${line.slice}: ${line.value}${line.is_small ? " *" : ""}`), number(grouped(line.n_images)),
        number(show(line.classical, "percent")), number(show(line.deep, "percent")), number(points(line, "change")), number(points(line, "copes"))]),
      { class: "differences" })];
}
