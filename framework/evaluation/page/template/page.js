"use strict";
// Builds the page from the data that data.js hands over, and listens to keys.

const COLOURS = ["#2f6fd0", "#d9730d", "#0f9d76", "#a64ac9", "#c7412f", "#7a8b00", "#00a0b8", "#b0517a", "#6b5fd3"];
const PLAY = "M7 4v16l13-8z", PAUSE = "M6 4h4v16H6zM14 4h4v16h-4z";
const at = (id) => document.getElementById(id);
let data, clip = 0, opening = 0;
const player = new Player(() => refresh());

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function ostinatoData(given) {
  data = given;
  document.title = `${data.name}: comparison`;
  at("name").textContent = data.name;
  at("summary").textContent = data.summary;
  document.querySelectorAll(".baseline-name").forEach((place) => (place.textContent = data.baseline));
  let run = 0;
  for (const column of data.columns) column.colour = column.reference ? "var(--reference)" : COLOURS[run++ % COLOURS.length];
  data.clips.forEach((c, index) => at("clip").append(make("option", { value: index }, `${index + 1}. ${c.name}`)));
  buildNumbers();
  buildMetrics();
  buildForests();
  buildChanges();
  buildCurves();
  buildCosts();
  buildNotes();
  listen();
  openClip(0);
}

// ---- clips

async function openClip(index, thenPlay = player.playing) {
  clip = (index + data.clips.length) % data.clips.length;
  const mine = ++opening, entry = data.clips[clip];
  player.open(new Map(), entry.seconds);
  at("clip").value = clip;
  buildTracks(entry);
  try {
    const { buffers, duration } = await decode(await clipSounds(entry), data.sample_rate);
    if (mine !== opening) return;
    const column = player.wanted;
    player.open(buffers, duration);
    if (column && buffers.has(column)) player.pick(column);
    if (thenPlay) await player.play();
  } catch (error) {
    at("status").textContent = at("now-clip").textContent = error.message;
  }
}

function pick(index) {
  const column = data.columns[index];
  if (!column) return;
  player.wanted = column.name;
  player.pick(column.name);
  at("status").textContent = `${column.title}, clip ${data.clips[clip].name}`;
}

function buildTracks(entry) {
  const rows = entry.tracks.map((track, index) => {
    const number = data.columns.findIndex((column) => column.name === track.column);
    const column = data.columns[number];
    const view = make("div", { class: "view", title: "Click to play from here" }, waveform(track), mel(track), make("i", { class: "head-line" }));
    view.onpointerdown = (event) => {
      const box = view.getBoundingClientRect();
      pick(number);
      player.seek(((event.clientX - box.left) / box.width) * player.duration);
    };
    const button = make("button", { type: "button", class: "pick", "aria-pressed": "false", "data-column": track.column,
      onclick: () => pick(number) }, badge(number), make("span", { class: "track-name" }, ...breakable(column.title)));
    const side = make("div", { class: "side" }, button, facts(column), make("a", { href: track.wav, download: "",
      "aria-label": `Save ${column.title} as a wav file` }, "wav"));
    const row = make("div", { class: "track", "data-column": track.column }, side, frequencies(), view);
    row.style.setProperty("--colour", column.colour);
    if (index === entry.tracks.length - 1) row.append(timeAxis(entry.seconds));
    return row;
  });
  at("tracks").replaceChildren(...rows);
}

function badge(number) {
  return make("kbd", { class: "badge", "aria-hidden": "true" }, number < data.keys ? number + 1 : "·");
}

function waveform(track) {
  const shape = svg("svg", { viewBox: "0 0 500 100", preserveAspectRatio: "none", class: "wave", role: "img",
    "aria-label": `Waveform, ${track.column}` });
  shape.append(svg("path", { d: track.waveform || "M0,50L500,50" }));
  return shape;
}

function mel(track) {
  return make("img", { src: track.picture, alt: `Log-mel spectrogram, ${track.column}`, class: "mel", draggable: "false" });
}

function frequencies() {
  const axis = make("div", { class: "frequencies", "aria-hidden": "true" });
  for (const [hertz, place] of data.frequencies) {
    if (hertz !== 500 && hertz !== 2000 && hertz !== 8000) continue;
    const tick = make("span", {}, hertz >= 1000 ? `${hertz / 1000} kHz` : `${hertz} Hz`);
    tick.style.bottom = `${100 * place}%`;
    axis.append(tick);
  }
  return axis;
}

function timeAxis(seconds) {
  const axis = make("div", { class: "seconds", "aria-hidden": "true" });
  for (const tick of ticks(0, seconds, 8)) {
    const mark = make("span", {}, `${tick} s`);
    mark.style.left = `${(100 * tick) / seconds}%`;
    axis.append(mark);
  }
  return axis;
}

function facts(column) {
  const list = make("span", { class: "facts" });
  for (const [metric, described] of Object.entries(data.metrics).filter(([, d]) => !d.of_sets).slice(0, 2)) {
    const value = data.scores[metric][column.name]?.values[clip];
    if (value !== undefined && value !== null) list.append(make("span", {}, `${described.title} ${value.toFixed(3)}`));
  }
  return list;
}

function buildNumbers() {
  data.columns.forEach((column, number) => {
    const button = make("button", { type: "button", "aria-pressed": "false", "aria-label": column.title, title: column.title,
      "data-column": column.name, onclick: () => pick(number) }, String(number + 1));
    button.style.setProperty("--colour", column.colour);
    at("numbers").append(button);
  });
}

// ---- the player's state on the page

function refresh() {
  const { playing, column, duration, loop } = player;
  at("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  at("play").querySelector("path").setAttribute("d", playing ? PAUSE : PLAY);
  at("seek").max = duration || 1;
  at("loop").setAttribute("aria-pressed", loop);
  const known = data?.columns.find((c) => c.name === column);
  at("now-run").textContent = known?.title ?? "";
  at("now-run").style.setProperty("--colour", known?.colour ?? "inherit");
  at("now-clip").textContent = data ? data.clips[clip].name : "";
  document.querySelectorAll("[data-column]").forEach((part) => {
    const on = part.dataset.column === column;
    part.classList.toggle("on", on);
    if (part.hasAttribute("aria-pressed")) part.setAttribute("aria-pressed", on);
  });
  place();
  if (playing) requestAnimationFrame(follow);
}

function follow() {
  place();
  if (player.playing) requestAnimationFrame(follow);
}

function place() {
  const { position, duration } = player;
  const seek = at("seek");
  seek.value = position;
  seek.setAttribute("aria-valuetext", `${position.toFixed(1)} of ${duration.toFixed(1)} seconds`);
  at("time").textContent = `${position.toFixed(1)} / ${duration.toFixed(1)} s`;
  at("tracks").style.setProperty("--position", `${duration ? (100 * position) / duration : 0}%`);
}

// ---- tables

function buildMetrics() {
  const names = Object.keys(data.metrics);
  const head = make("tr", {}, header("run", ""), ...names.map((name) => header(data.titles[name], name)));
  const table = at("metric-table");
  table.append(make("caption", { class: "hidden" }, "Mean of each metric with its interval, and the difference to the baseline"));
  table.append(make("thead", {}, head), make("tbody"));
  sortBy("", null);
}

function header(text, metric) {
  const button = make("button", { type: "button", "data-metric": metric }, text, make("span", { "aria-hidden": "true" }));
  const cell = make("th", { scope: "col", "data-metric": metric }, button);
  button.onclick = () => {
    const best = !metric || data.metrics[metric].better === "lower" ? "ascending" : "descending";
    const other = best === "ascending" ? "descending" : "ascending";
    sortBy(metric, metric ? (cell.getAttribute("aria-sort") === best ? other : best) : null);
  };
  return cell;
}

function sortBy(metric, order) {
  const sign = order === "descending" ? -1 : 1;
  const value = (column) => data.scores[metric]?.[column.name]?.mean ?? null;
  const rows = [...data.columns];
  if (order) {
    rows.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      return x === null || y === null ? (x === null) - (y === null) : sign * (x - y);
    });
  }
  document.querySelectorAll("#metric-table th[scope=col]").forEach((cell) => {
    const on = order && cell.dataset.metric === metric;
    if (on) cell.setAttribute("aria-sort", order);
    else cell.removeAttribute("aria-sort");
    cell.querySelector("span").textContent = on ? (order === "ascending" ? " ↑" : " ↓") : "";
  });
  at("metric-table").tBodies[0].replaceChildren(...rows.map(metricRow));
}

function metricRow(column) {
  const cells = Object.keys(data.metrics).map((metric) => {
    const shown = data.shown[metric][column.name];
    if (!shown) return make("td", {}, "–");
    const cell = make("td", {}, make("span", { class: "mean" }, ...brackets(shown.mean)));
    if (shown.deviation) cell.append(make("small", {}, shown.deviation));
    if (shown.difference && column.reference !== "truth") {
      const mark = make("abbr", { title: shown.p }, data.scores[metric][column.name].difference.significant ? " *" : "");
      cell.append(make("span", { class: "difference", title: shown.p }, ...brackets(shown.difference), mark));
      if (shown.method) cell.append(make("small", {}, shown.method));
    }
    const { className, strength } = effect(metric, column);
    if (className) {
      cell.classList.add(className);
      cell.style.setProperty("--strength", `${Math.round(strength * 100)}%`);
    }
    return cell;
  });
  return make("tr", { class: column.reference ? "reference" : "" }, nameCell(column), ...cells);
}

// Names are long and without spaces: let them break where a reader would break them.
function breakable(text) {
  return text.split(/(?<=[_=.])/).flatMap((part) => [part, make("wbr")]);
}

function brackets(text) {
  const [, mean, rest] = text.match(/^(\S+)(.*)$/);
  return [make("b", {}, mean), make("small", {}, rest)];
}

function nameCell(column) {
  const dot = make("i", { class: "dot" });
  dot.style.setProperty("--colour", column.colour);
  return make("th", { scope: "row" }, dot, ...breakable(column.title));
}

// Whether a run is like the held-out clips rather than the baseline is.
function isNearer(metric, column) {
  const scores = data.scores[metric], truth = data.columns.find((other) => other.reference === "truth");
  const away = (name) => Math.abs(scores[name].mean - scores[truth.name].mean);
  return away(column.name) < away(data.baseline);
}

// How far a run is from the baseline, beside the farthest one, and whether that is better.
function effect(metric, column) {
  const difference = data.scores[metric][column.name]?.difference;
  if (!difference?.mean || column.reference === "truth") return { className: "", strength: 0, faint: true };
  const all = data.columns.filter((other) => other.reference !== "truth")
    .map((other) => Math.abs(data.scores[metric][other.name]?.difference?.mean ?? 0));
  const better = data.metrics[metric].better === "nearer" ? isNearer(metric, column)
    : difference.mean < 0 === (data.metrics[metric].better === "lower");
  const tested = difference.p_corrected !== null;
  const faint = tested ? !difference.significant : true;
  const strength = (0.12 + (0.3 * Math.abs(difference.mean)) / Math.max(...all)) * (faint ? 0.35 : 1);
  return { className: better ? "better" : "worse", strength, faint };
}

function buildForests() {
  for (const metric of Object.keys(data.metrics)) {
    const rows = data.columns.filter((column) => column.reference !== "truth" && data.scores[metric][column.name]?.difference)
      .map((column) => ({ name: column.name, difference: data.scores[metric][column.name].difference,
        text: `${data.shown[metric][column.name].difference} ${data.shown[metric][column.name].p}`, ...effect(metric, column) }))
      .filter((row) => row.difference.mean !== null);
    if (!rows.length) continue;
    at("forests").append(make("figure", {}, make("figcaption", {}, data.titles[metric]),
      forest(data.titles[metric], data.metrics[metric].better, rows)));
  }
  if (!at("forests").children.length) at("forests").append(make("p", { class: "empty" }, "One run alone has none."));
}

function buildChanges() {
  const runs = data.columns.filter((column) => !column.reference);
  const names = Object.keys(data.baselineValues);
  if (!names.length) {
    const why = runs.length > 1 ? "The runs have the same hyperparameters." : "One run alone differs from none.";
    at("change-table").replaceWith(make("p", { class: "empty" }, why));
    return;
  }
  const rows = names.map((name) => make("tr", {}, make("th", { scope: "row" }, make("code", {}, ...breakable(name))), ...runs.map((run) => {
    const changed = run.changes && run.changes[name];
    const text = run.changes === null ? "?" : changed ? changed[1] : data.baselineValues[name];
    return make("td", changed ? { class: "changed" } : {}, make("code", {}, text));
  })));
  const head = make("tr", {}, make("td"), ...runs.map((run) => make("th", { scope: "col" }, ...breakable(run.title))));
  at("change-table").append(make("thead", {}, head), make("tbody", {}, ...rows));
}

function buildCosts() {
  const runs = data.columns.filter((column) => !column.reference);
  const head = make("tr", {}, make("td"), ...Object.values(data.costs).map((text) => make("th", { scope: "col" }, text)));
  const rows = runs.map((run) => make("tr", {}, nameCell(run), ...Object.keys(data.costs).map((name) => make("td", {}, run.cost[name]))));
  at("cost-table").append(make("thead", {}, head), make("tbody", {}, ...rows));
}

function buildCurves() {
  const names = Object.keys(data.curves);
  if (!names.length) {
    at("curve-choice").remove();
    at("log-choice").remove();
    at("curve-chart").append(make("p", { class: "empty" }, "Nothing was logged over steps: these runs were not trained."));
    return;
  }
  for (const name of names) at("curve").append(make("option", {}, name));
  at("curve").onchange = at("log").onchange = drawCurves;
  addEventListener("resize", drawCurves);
  drawCurves();
}

function drawCurves() {
  const name = at("curve").value, curves = data.curves[name];
  const runs = data.columns.filter((column) => curves[column.name]);
  const lines = runs.flatMap(({ name: run, title, colour }) => curves[run].map((points) => ({ name: title, colour, points })));
  const legend = make("p", { class: "legend" }, ...runs.map((run) => {
    const dot = make("i", { class: "dot" });
    dot.style.setProperty("--colour", run.colour);
    const last = curves[run.name].map((points) => short(points.at(-1)[1])).join(", ");
    return make("span", {}, dot, `${run.title} ${last}`);
  }));
  at("curve-chart").replaceChildren(curveChart(name, lines, at("log").checked, at("curve-chart").clientWidth), legend);
}

function buildNotes() {
  at("method").textContent = data.method;
  at("remarks").append(...data.remarks.map((remark) => make("li", {}, remark)));
  for (const [name, { title, source }] of Object.entries(data.metrics)) {
    at("sources").append(make("dt", {}, title), make("dd", {}, make("code", {}, name), ` ${source}`));
  }
}

// ---- keys and buttons

function listen() {
  at("previous").onclick = () => openClip(clip - 1);
  at("next").onclick = () => openClip(clip + 1);
  at("clip").onchange = () => openClip(Number(at("clip").value));
  at("play").onclick = () => player.toggle();
  at("loop").onclick = () => player.setLoop(!player.loop);
  at("seek").oninput = () => player.seek(Number(at("seek").value));
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !key(event)) return;
    event.preventDefault();
  });
}

// Say whether a key was ours: not where the focused element has a use of its own for it.
function key({ key: pressed, shiftKey, target }) {
  const own = (selector) => target.closest?.(selector);
  if (/^[1-9]$/.test(pressed)) return pick(Number(pressed) - 1), true;
  if (pressed === " ") {
    const idle = own(".pick.on, #numbers .on, #play") || !own("button, select, a, input[type=checkbox]");
    return idle ? (player.toggle(), true) : false;
  }
  if (pressed.toLowerCase() === "l" && !own("select")) return player.setLoop(!player.loop), true;
  if ((pressed === "ArrowLeft" || pressed === "ArrowRight") && !own("select, input, .scroll")) {
    const way = pressed === "ArrowLeft" ? -1 : 1;
    if (shiftKey) player.seek(player.position + 0.5 * way);
    else openClip(clip + way);
    return true;
  }
  return false;
}
