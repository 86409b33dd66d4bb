// What every part of the report stands on: its data, elements, numbers as text, and what is chosen for the whole page.
// Text from data enters the page through text nodes and attributes only, never as markup.

const report = JSON.parse(document.getElementById("report-data").textContent);
const classNames = report.data.class_names;
const rows = report.rows;
const hasClean = report.clean !== null;
const twins = new Set(rows.flatMap((row) => Object.keys(row).filter((name) => name.startsWith("clean_"))));
const columnOf = Object.fromEntries(report.columns.map((column) => [column.name, column]));
const page = { subset: "test", redraws: [] };
const MISSING = "–";
const Z_95 = 1.96;
const ERROR_UNIT = 1e-5;

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// An HTML element; attributes that are functions listen to the event of that name.
function html(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

// An SVG element.
function svg(tag, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function known(value) {
  return value !== null && value !== undefined && value !== "" && !Number.isNaN(value);
}

function grouped(value, digits = 0) {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function duration(seconds) {
  if (seconds < 0.095) return `${Number(seconds.toPrecision(1))}\u00a0s`;
  if (seconds < 99.5) return `${seconds.toFixed(seconds < 9.95 ? 1 : 0)}\u00a0s`;
  return seconds < 99.5 * 60 ? `${(seconds / 60).toFixed(0)}\u00a0min` : `${(seconds / 3600).toFixed(1)}\u00a0h`;
}

// A value as a person reads it, by the kind of its column.
function show(value, kind) {
  if (!known(value)) return MISSING;
  if (typeof value === "string") return value;
  switch (kind) {
    case "fraction": return value.toFixed(3);
    case "percent": return (100 * value).toFixed(1);
    case "number": return grouped(value, Math.abs(value) < 100 ? 3 : 0);
    case "count": return grouped(value);
    case "seconds": return duration(value);
    case "flag": return value ? "yes" : "no";
    default: return Array.isArray(value) ? value.join(", ") : String(value);
  }
}

function signed(value, kind = "fraction") {
  if (!known(value)) return MISSING;
  const text = show(Math.abs(value), kind);
  return Number(text) === 0 ? text : `${value < 0 ? "−" : "+"}${text}`;
}

// The name under which a figure stands for the images that the page is about: `clean_<name>` on test-clean.
function onSubset(name) {
  return page.subset === "clean" && twins.has(`clean_${name}`) ? `clean_${name}` : name;
}

function valueOf(row, name) {
  return row[onSubset(name)];
}

// Calls `redraw` now and whenever other images are chosen.
function followSubset(redraw) {
  page.redraws.push(redraw);
  redraw();
}

function chooseSubset(subset) {
  page.subset = subset;
  page.redraws.forEach((redraw) => redraw());
}

// A step of ten of the heat map's colours for a share of the way from `low` to `high`.
function heat(value, low, high) {
  if (!known(value)) return "";
  return `h${Math.max(0, Math.min(9, Math.floor((10 * (value - low)) / (high - low || 1))))}`;
}

// A step of seven for a change: the more, the stronger; `widest` and beyond is strongest.
function heatOfChange(value, widest) {
  if (!known(value)) return "";
  const step = Math.min(3, Math.round((3 * Math.abs(value)) / (widest || 1)));
  return `${value < 0 ? "down" : "up"}${step}`;
}

function extent(values) {
  const all = values.filter((value) => known(value));
  return all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
}

function select(label, choices, chosen, change) {
  const box = html("select", { change: (event) => change(event.target.value) },
    choices.map(([value, text]) => html("option", { value, selected: value === chosen }, text)));
  return html("label", { class: "choice" }, html("span", null, label), box);
}

// Buttons of which one is pressed.
function segments(label, choices, chosen, change) {
  const buttons = choices.map(([value, text]) =>
    html("button", { type: "button", "aria-pressed": String(value === chosen), click: () => press(value) }, text));
  function press(value) {
    choices.forEach(([one], number) => buttons[number].setAttribute("aria-pressed", String(one === value)));
    change(value);
  }
  return html("div", { class: "segments", role: "group", "aria-label": label }, buttons);
}

function table(caption, head, lines, attributes) {
  const cell = (tag) => (content) =>
    content instanceof Element && ["TD", "TH"].includes(content.tagName) ? content : html(tag, null, content);
  return html("div", { class: "scroll" }, html("table", attributes,
    caption ? html("caption", null, caption) : null,
    html("thead", null, html("tr", null, head.map(cell("th")))),
    html("tbody", null, lines.map((line) => html("tr", null, line.map(cell("td")))))));
}

function number(text, attributes) {
  return html("td", { ...attributes, class: `number ${attributes?.class ?? ""}` }, text);
}

function heading(text) {
  return html("th", { scope: "row" }, text);
}

function numberHeading(text, attributes) {
  return html("th", { scope: "col", class: "number", ...attributes }, text);
}

function rowButton(at, ...text) {
  return html("button", { type: "button", class: "plain left", click: () => openRow(at) }, text);
}

// A table of one row a model, or of all rows: `draw` is told the places of those that are chosen.
function rowChooser(draw) {
  return segments("Rows", [["best", "one row a model"], ["all", "all rows"]], "best",
    (value) => draw(value === "best" ? report.best_of_model : [...rows.keys()]));
}

function download(name, text) {
  const address = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv;charset=utf-8" }));
  html("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

function csv(lines) {
  const quoted = (value) => {
    const text = known(value) ? String(value) : "";
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return lines.map((line) => line.map(quoted).join(",") + "\r\n").join("");
}

// The classes that stand for a string of digits to the base 36.
function decoded(text) {
  return Uint8Array.from(text, (digit) => parseInt(digit, 36));
}

const labels = decoded(report.labels);
const isClean = Uint8Array.from(report.clean ?? "", Number);
const images = [...labels.keys()];

// Places of the test images of `subset`.
function imagesOf(subset) {
  return subset === "test" ? images : images.filter((image) => isClean[image]);
}

// Images of class i answered with class j, on `subset`: an array of arrays.
function confusionOf(run, subset) {
  const counts = classNames.map(() => classNames.map(() => 0));
  const answers = decoded(run.predicted);
  imagesOf(subset).forEach((image) => { counts[labels[image]][answers[image]] += 1; });
  return counts;
}
