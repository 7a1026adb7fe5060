"use strict";
// Charts as inline SVG: differences with their intervals, and learning curves.

const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(1) : String(+value.toPrecision(3));
}

function ticks(low, high, count) {
  const rough = (high - low) / count;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(+(k * step).toPrecision(12));
  return found;
}

// Differences of one metric to the baseline: a row a column, a dot with its interval; better is always to the right.
function forest(title, better, rows) {
  const width = 400, left = 166, right = 16, line = 26, top = 8;
  const height = top + rows.length * line + 38;
  const ends = rows.flatMap(({ difference: d }) => [d.mean, d.low ?? d.mean, d.high ?? d.mean, 0]);
  const low = Math.min(...ends), high = Math.max(...ends), margin = (high - low) * 0.06 || 1;
  const flip = better === "lower";
  const x = (value) => {
    const part = (value - low + margin) / (high - low + 2 * margin);
    return left + (flip ? 1 - part : part) * (width - left - right);
  };
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}: ${
    rows.map((row) => `${row.name} ${row.text}`).join("; ")}` });
  const bottom = top + rows.length * line;
  for (const tick of ticks(low - margin, high + margin, 4)) {
    chart.append(svg("line", { x1: x(tick), x2: x(tick), y1: top, y2: bottom, class: tick === 0 ? "zero" : "grid" }));
    chart.append(svg("text", { x: x(tick), y: bottom + 14, class: "tick middle" }, short(tick)));
  }
  chart.append(svg("text", { x: width - right, y: bottom + 31, class: "tick end" }, "better →"));
  rows.forEach(({ name, difference: d, className, faint, text }, index) => {
    const y = top + (index + 0.5) * line;
    const label = name.length > 20 ? `${name.slice(0, 6)}…${name.slice(-13)}` : name;
    chart.append(svg("text", { x: left - 8, y: y + 4, class: "label end" }, label));
    const mark = svg("g", { class: `${className}${faint ? " faint" : ""}` }, svg("title", {}, `${name}: ${text}`));
    if (d.low !== null) mark.append(svg("line", { x1: x(d.low), x2: x(d.high), y1: y, y2: y, class: "interval" }));
    mark.append(svg("circle", { cx: x(d.mean), cy: y, r: 5 }));
    chart.append(mark);
  });
  return chart;
}

// Curves of one value over steps, `lines` of { name, colour, points }; seeds of a run share a colour.
function curveChart(title, lines, logarithmic, room) {
  const width = Math.max(room, 280), height = width > 600 ? 320 : 230, left = 52, right = 26, top = 10, bottom = 40;
  const usable = lines.map((line) => ({ ...line, points: line.points.filter(([, v]) => !logarithmic || v > 0) }));
  const all = usable.flatMap((line) => line.points);
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title} over steps` });
  if (!all.length) return chart;
  const scale = logarithmic ? Math.log10 : (value) => value;
  const bounds = (values) => values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  const [x0, x1] = bounds(all.map(([step]) => step));
  let [y0, y1] = bounds(all.map(([, value]) => scale(value)));
  const margin = (y1 - y0) * 0.05 || 0.5;
  [y0, y1] = [y0 - margin, y1 + margin];
  const x = (step) => left + ((step - x0) / (x1 - x0 || 1)) * (width - left - right);
  const y = (value) => height - bottom - ((scale(value) - y0) / (y1 - y0)) * (height - top - bottom);
  const values = ticks(y0, y1, 5).map((tick) => (logarithmic ? 10 ** tick : tick));
  for (const tick of values) {
    chart.append(svg("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: "grid" }));
    chart.append(svg("text", { x: left - 8, y: y(tick) + 4, class: "tick end" }, short(tick)));
  }
  for (const tick of ticks(x0, x1, width > 600 ? 6 : 3)) {
    chart.append(svg("text", { x: x(tick), y: height - bottom + 18, class: "tick middle" }, tick.toLocaleString("en")));
  }
  chart.append(svg("text", { x: width - right, y: height - 4, class: "tick end" }, "steps"));
  for (const { name, colour, points } of usable) {
    const path = points.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join("L");
    if (points.length) chart.append(svg("path", { d: `M${path}`, stroke: colour, class: "curve" }, svg("title", {}, name)));
  }
  return chart;
}
