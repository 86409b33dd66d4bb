// Drawings: whiskers, lines, reliability, and quality against time.

function whisker(value, low, high, from, to, { zero = false } = {}) {
  const width = 76;
  const x = (one) => (4 + ((width - 8) * (one - from)) / (to - from || 1)).toFixed(1);
  if (!known(value)) return null;
  if (value < from || value > to) return svg("svg", { class: "whisker", width, height: 14, "aria-hidden": "true" });
  return svg("svg", { class: "whisker", viewBox: `0 0 ${width} 14`, width, height: 14, "aria-hidden": "true" },
    zero && from <= 0 && to >= 0 ? svg("line", { class: "zero", x1: x(0), x2: x(0), y1: 0, y2: 14 }) : null,
    known(low) && known(high) ? svg("line", { class: "range", x1: x(Math.max(low, from)), x2: x(Math.min(high, to)), y1: 7, y2: 7 }) : null,
    svg("circle", { class: "estimate", cx: x(value), cy: 7, r: 3 }));
}

function niceTicks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((one) => one * power >= rough) * power;
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) ticks.push(Number(tick.toFixed(10)));
  return ticks;
}

// The frame of a chart with its axes. x, y: {low, high, ticks, text, label, log}.
function frame(width, height, x, y, label) {
  const box = { left: 46, right: width - 12, top: 10, bottom: height - 38 };
  const along = (axis, value) => axis.log
    ? (Math.log(value) - Math.log(axis.low)) / (Math.log(axis.high) - Math.log(axis.low) || 1)
    : (value - axis.low) / (axis.high - axis.low || 1);
  const toX = (value) => box.left + (box.right - box.left) * along(x, value);
  const toY = (value) => box.bottom - (box.bottom - box.top) * along(y, value);
  const drawing = svg("svg", { class: "chart", width, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    y.ticks.map((tick) => [
      svg("line", { class: "rule", x1: box.left, x2: box.right, y1: toY(tick), y2: toY(tick) }),
      svg("text", { x: box.left - 6, y: toY(tick) + 4, "text-anchor": "end" }, y.text(tick))]),
    x.ticks.map((tick) => [
      svg("line", { class: "rule", x1: toX(tick), x2: toX(tick), y1: box.top, y2: box.bottom }),
      svg("text", { x: toX(tick), y: box.bottom + 15, "text-anchor": "middle" }, x.text(tick))]),
    svg("text", { class: "axis", x: (box.left + box.right) / 2, y: height - 5, "text-anchor": "middle" }, x.label),
    svg("text", { class: "axis", transform: `translate(11 ${(box.top + box.bottom) / 2}) rotate(-90)`,
      "text-anchor": "middle" }, y.label));
  return { drawing, toX, toY, box };
}

function linear(values, label, count, from, to) {
  let [low, high] = extent(values);
  low = from ?? low;
  high = to ?? high;
  const ticks = niceTicks(low, high, count);
  const digits = Math.max(0, ...ticks.map((tick) => (String(tick).split(".")[1] ?? "").length));
  return { low, high, ticks, label, text: (tick) => (digits ? tick.toFixed(digits) : grouped(tick)) };
}

function legend(entries) {
  return html("ul", { class: "legend" }, entries.map(([name, text]) =>
    html("li", null, svg("svg", { viewBox: "0 0 16 10", width: 16, height: 10, "aria-hidden": "true" },
      svg("line", { class: `series ${name}`, x1: 0, x2: 16, y1: 5, y2: 5 })), text)));
}

// Lines over a common x. series: [{name, text, values}], null values are left out.
function lineChart(xValues, series, xLabel, yLabel) {
  const chart = frame(460, 230, linear(xValues, xLabel, 6), linear(series.flatMap((one) => one.values), yLabel, 5),
    `${yLabel}: ${series.map((one) => one.text).join(", ")}`);
  series.forEach((one, order) => {
    const points = one.values.map((value, at) => [xValues[at], value]).filter(([x, value]) => known(x) && known(value));
    chart.drawing.append(svg("polyline", { class: `series series${order}`,
      points: points.map(([x, value]) => `${chart.toX(x).toFixed(1)},${chart.toY(value).toFixed(1)}`).join(" ") }));
  });
  return html("figure", null, chart.drawing, legend(series.map((one, order) => [`series${order}`, one.text])));
}

// How often a run is right against how sure it is, before and after its scores are rescaled: bins of (count, sure, right).
function reliabilityChart(reliability) {
  const axis = (label) => ({ low: 0, high: 1, ticks: [0, 0.2, 0.4, 0.6, 0.8, 1], label, text: (tick) => tick.toFixed(1) });
  const chart = frame(330, 290, axis("how sure it is"), axis("how often it is right"), "Reliability diagram");
  chart.drawing.append(svg("line", { class: "diagonal", x1: chart.toX(0), y1: chart.toY(0), x2: chart.toX(1), y2: chart.toY(1) }));
  const most = Math.max(...reliability.flat().map(([count]) => count ?? 0));
  reliability.forEach((bins, order) => {
    const filled = bins.filter(([count]) => count > 0);
    chart.drawing.append(svg("polyline", { class: `series series${order}`,
      points: filled.map(([, sure, right]) => `${chart.toX(sure).toFixed(1)},${chart.toY(right).toFixed(1)}`).join(" ") }));
    filled.forEach(([count, sure, right]) => chart.drawing.append(svg("circle", { class: `dot series${order}`,
      cx: chart.toX(sure), cy: chart.toY(right), r: 2 + 4 * Math.sqrt(count / most) },
      svg("title", null, `${grouped(count)} images: ${sure.toFixed(2)} sure, ${right.toFixed(2)} right`))));
  });
  const names = ["as trained", "rescaled on validation images"].slice(0, reliability.length);
  return html("figure", null, chart.drawing, legend(names.map((text, order) => [`series${order}`, text])));
}

const MARKS = {
  baseline: (x, y, r) => `M${x - r},${y}H${x + r}M${x},${y - r}V${y + r}`,
  classical: (x, y, r) => `M${x - r},${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
  deep: (x, y, r) => `M${x - r},${y}a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0z`,
  ensemble: (x, y, r) => `M${x},${y - 1.3 * r}L${x + 1.3 * r},${y}L${x},${y + 1.3 * r}L${x - 1.3 * r},${y}z`,
  external: (x, y, r) => `M${x},${y - 1.2 * r}L${x + 1.2 * r},${y + r}H${x - 1.2 * r}z`,
};

function mark(family, x, y, r = 4.5) {
  const path = (MARKS[family] ?? MARKS.external)(Number(x.toFixed(1)), Number(y.toFixed(1)), r);
  return svg("path", { class: `mark family-${family in MARKS ? family : "external"}`, d: path });
}

function familyMark(family) {
  return svg("svg", { class: "key", viewBox: "0 0 14 14", width: 14, height: 14, role: "img", "aria-label": family },
    svg("title", null, family), mark(family, 7, 7));
}

const TIMES = [0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 36000, 360000, 3600000];
const TIME_NAMES = ["1 ms", "10 ms", "0.1 s", "1 s", "10 s", "1 min", "10 min", "1 h", "10 h", "100 h", "1,000 h"];

function timeAxis(seconds) {
  const [least, most] = extent(seconds);
  const low = least / 1.6, high = most * 1.6;
  const ticks = TIMES.filter((time) => time >= low && time <= high);
  return { low, high, ticks, log: true, label: "time to train once, features included",
    text: (time) => TIME_NAMES[TIMES.indexOf(time)] };
}

// The points that no other beats in both: better than all that took less time.
function frontierOf(points, higherIsBetter) {
  const sign = higherIsBetter ? 1 : -1;
  const ordered = [...points].sort((one, other) => one.seconds - other.seconds || sign * (other.value - one.value));
  const found = [];
  for (const point of ordered) {
    if (!found.length || sign * point.value > sign * found.at(-1).value) found.push(point);
  }
  return found;
}

// Quality against time: a mark per row, hollow where it had a GPU; the frontier of the others as steps. hover(point or null, event), open(point).
function scatter(points, column, width, hover, open) {
  const height = Math.max(280, Math.min(460, width * 0.5));
  const better = column.higher_is_better !== false;
  const values = points.map((point) => point.value);
  const [low, high] = extent(values);
  const room = (high - low || 0.1) * 0.05;
  const y = { ...linear(values, column.title, 6, low - room, high + room), text: (tick) => show(tick, column.kind === "fraction" ? "" : column.kind) };
  const chart = frame(width, height, timeAxis(points.map((point) => point.seconds)), y, `${column.title} against training time`);
  const frontier = frontierOf(points.every((point) => point.row.on_gpu) ? points : points.filter((point) => !point.row.on_gpu), better);
  const steps = frontier.map((point, at) =>
    `${at ? `H${chart.toX(point.seconds).toFixed(1)}V` : `M${chart.toX(point.seconds).toFixed(1)},`}${chart.toY(point.value).toFixed(1)}`);
  chart.drawing.append(svg("path", { class: "frontier", d: `${steps.join("")}H${chart.box.right}` }));
  for (const point of points) {
    const shape = mark(point.row.family, chart.toX(point.seconds), chart.toY(point.value));
    if (point.row.on_gpu) shape.classList.add("on-gpu");
    fill(shape, { "data-row": point.at, mouseenter: (event) => hover(point, event), mouseleave: () => hover(null),
      click: () => open(point) }, []);
    chart.drawing.append(shape);
  }
  labelFrontier(chart, frontier, width);
  return chart.drawing;
}

// Names of the frontier's rows, from the quickest on: the best one's and those that leave room, as in the picture beside the page.
function labelFrontier(chart, frontier, width) {
  if (width < 560) return;
  const best = frontier.at(-1);
  let last = Infinity;
  for (const point of frontier) {
    const [y, top] = [point, best].map((one) => chart.toY(one.value));
    if (point !== best && Math.min(Math.abs(last - y), Math.abs(y - top)) < 13) continue;
    last = y;
    const x = Math.max(chart.toX(point.seconds) - 5, chart.box.left + 5.6 * point.row.row.length);
    chart.drawing.append(svg("text", { class: "name", x, y: y - 4, "text-anchor": "end" }, point.row.row));
  }
}
