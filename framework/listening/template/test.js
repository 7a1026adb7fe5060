"use strict";
// Leads a listener through the trials of plan.js. Answers are kept in the browser, and sent if there is a server.

const ADVICE = ["Use headphones, in a quiet place. Set a comfortable level at the first piece and leave it.",
  "You can stop at any time: this page goes on where you were."];
const PLAY = "M7 4v16l13-8z", PAUSE = "M6 4h4v16H6zM14 4h4v16h-4z";
const at = (id) => document.getElementById(id);
const online = location.protocol !== "file:";
let test, scale, state, current = null, opening = 0;

class TestPlayer extends Player {
  ended(source) {
    super.ended(source);
    if (current) hearWholly();
  }
}
const player = new TestPlayer(() => refresh());

function ostinatoTest(given) {
  test = given;
  scale = SCALES[test.kind];
  state = stored();
  at("task").textContent = scale.task;
  at("advice").append(...[...scale.advice, ...ADVICE].map((text) => make("li", {}, text)));
  at("question").textContent = scale.question;
  for (const id of ["keys", "welcome-keys"]) {
    at(id).append(...scale.keys.map(([keys, told]) =>
      make("span", {}, ...keys.split(" ").flatMap((one) => [make("kbd", {}, one), " "]), told)));
  }
  listen();
  if (!state.listener) return show("welcome");
  sendAll();
  proceed();
}

// ---- what is kept

const memory = { key: () => `ostinato-listening-${test.test}` };

function stored() {
  try {
    return { answers: {}, draft: {}, ...JSON.parse(localStorage.getItem(memory.key()) ?? "{}") };
  } catch {
    return { answers: {}, draft: {} };
  }
}

function keep() {
  try {
    localStorage.setItem(memory.key(), JSON.stringify(state));
  } catch {
    tell("This browser keeps nothing: do not close or reload the page before the end.");
  }
}

function forget() {
  state = { answers: {}, draft: {} };
  keep();
}

// ---- the server

async function post(address, body) {
  const response = await fetch(address, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.error), { status: response.status });
  return answer;
}

// A server that is busy, or is started again, is asked again; what it refuses stays refused.
const PAUSES = [500, 1000, 2000, 4000];
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function patiently(call) {
  for (const milliseconds of online ? PAUSES : []) {
    try {
      return await call();
    } catch (error) {
      if (error.status && error.status < 500) throw error;
      await pause(milliseconds);
    }
  }
  return call();
}

const isUnsent = ([, answer]) => !answer.sent;
let sending = null;

// Send what is not sent yet, one answer after the other; whoever calls meanwhile waits for what is under way and more.
function sendAll() {
  if (!online) return Promise.resolve();
  return (sending = (sending ?? Promise.resolve()).then(sendUnsent));
}

// Pauses between attempts double, up to half a minute.
let failures = 0, later = null;

function sendLater() {
  clearTimeout(later);
  later = setTimeout(() => sendAll().then(() => at("finish").hidden || finish()), Math.min(1000 * 2 ** failures++, 30000));
}

async function sendUnsent() {
  for (const [trial, answer] of Object.entries(state.answers).filter(isUnsent)) {
    try {
      await post("answers", { listener: state.listener, trial, ratings: answer.ratings });
      answer.sent = true;
      failures = 0;
      tell("");
    } catch (error) {
      if (error.status === 404) return restart();
      tell(`Not sent (${error.message}): kept here, and tried again.`);
      if (!error.status || error.status >= 500) sendLater();
      return;
    }
  }
  keep();
}

function restart() {
  forget();
  current = null;
  show("welcome");
  tell("This test was made anew since you began: please begin again.");
}

async function begin() {
  at("begin").disabled = true;
  try {
    Object.assign(state, online ? await patiently(() => post("listeners", {})) : ownListener());
    keep();
    tell("");
    proceed();
  } catch (error) {
    tell(`The test cannot begin: ${error.message}.`);
  } finally {
    at("begin").disabled = false;
  }
}

function ownListener() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const form = crypto.getRandomValues(new Uint32Array(1))[0] % test.forms.length;
  return { listener: Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(""), form };
}

// ---- trials

const order = () => test.forms[state.form];
const trialAt = (index) => test.trials[order()[index][0]];

function proceed() {
  const index = order().findIndex(([number]) => !state.answers[test.trials[number].id]);
  return index < 0 ? finish() : open(index);
}

async function open(index, thenPlay = false) {
  const trial = trialAt(index), mine = ++opening;
  const stimuli = order()[index][1].map((number) => trial.stimuli[number]);
  const ratings = { ...state.answers[trial.id]?.ratings, ...state.draft[trial.id] };
  current = { index, trial, stimuli, reference: trial.reference, low: trial.low, ratings,
    heard: new Set(ratings[stimuli[0]] === undefined ? Object.keys(ratings) : [...Object.keys(ratings), trial.reference]),
    scale: at("scale"), hear, rate };
  at("scale").replaceChildren(scale.build(current));
  at("count").textContent = `${index + 1} of ${order().length}`;
  at("progress").value = index / order().length;
  show("trial");
  player.open(new Map(), 0);
  try {
    const { buffers, duration } = await decode(await patiently(() => clipSounds({ name: trial.id, script: trial.script })), test.sample_rate);
    waiting.delete(trial.id);
    if (mine !== opening) return;
    player.loop = scale.loops;
    player.open(buffers, duration);
    player.pick(trial.reference || stimuli[0]);
    if (thenPlay && scale.wholly) await player.play();
    if (index + 1 < order().length) clipSounds({ name: trialAt(index + 1).id, script: trialAt(index + 1).script }).catch(() => {});
  } catch (error) {
    tell(error.message);
  }
}

function hear(stimulus) {
  if (scale.inTurn) {
    player.pause();
    player.seek(0);
  }
  player.pick(stimulus);
  if (!player.playing) player.play();
}

function hearWholly() {
  const { reference, stimuli: [stimulus] } = current;
  current.heard.add(player.column);
  if (scale.inTurn) {
    const thenSecond = player.column === reference;
    player.pick(thenSecond ? stimulus : reference);
    if (thenSecond) player.play();
  }
  refresh();
}

// Sounds that have to be heard before a rating.
function unheard() {
  const { reference, stimuli, heard } = current;
  return [...(scale.inTurn ? [reference] : []), ...stimuli].filter((sound) => !heard.has(sound));
}

function rate(stimulus, value) {
  current.ratings[stimulus] = value;
  state.draft = { [current.trial.id]: current.ratings };
  keep();
  refresh();
}

function missing() {
  const { stimuli, ratings } = current;
  const letters = (found) => found.map((stimulus) => LETTERS[stimuli.indexOf(stimulus)]).join(", ");
  const sounds = unheard();
  const unrated = stimuli.filter((stimulus) => ratings[stimulus] === undefined);
  if (sounds.length && scale.inTurn) return "Listen to both to the end first";
  if (sounds.length) return stimuli.length > 1 ? `Not heard yet: ${letters(sounds)}` : scale.wholly ? "Listen to the end first" : "Not heard yet";
  if (unrated.length) return stimuli.length > 1 && test.kind !== "ab" ? `Not rated yet: ${letters(unrated)}` : "Not rated yet";
  return "";
}

function next() {
  if (missing()) return;
  const { trial, index, ratings } = current;
  state.answers[trial.id] = { ratings, sent: false };
  state.draft = {};
  keep();
  const sent = sendAll();
  if (index + 1 < order().length) open(index + 1, true);
  else sent.then(() => current && finish());
}

function finish() {
  player.pause();
  current = null;
  const unsent = Object.entries(state.answers).filter(isUnsent).length;
  const file = { test: test.test, listener: state.listener, form: state.form,
    answers: Object.entries(state.answers).map(([trial, { ratings }]) => ({ trial, ratings })) };
  at("stored").textContent = !online
    ? "That was all. Please save your answers as a file, and send it to whoever asked you to listen."
    : unsent ? `That was all, but ${unsent} answers could not be sent: send them again, or save them as a file.`
      : "That was all. Your answers are stored.";
  at("save").hidden = online && !unsent;
  at("again").hidden = !online || !unsent;
  if (at("save").href) URL.revokeObjectURL(at("save").href);
  at("save").href = URL.createObjectURL(new Blob([JSON.stringify(file)], { type: "application/json" }));
  at("save").download = `answers_${test.kind}_${state.listener.slice(0, 8)}.json`;
  show("finish");
  at("thanks").focus();
}

// ---- the page

function show(part) {
  for (const id of ["welcome", "trial", "finish"]) at(id).hidden = id !== part;
  at("transport").hidden = part !== "trial";
}

function tell(text) {
  at("status").textContent = text;
}

function refresh() {
  if (!current) return;
  const { playing, column, duration } = player;
  if (playing && !scale.wholly) current.heard.add(column);
  at("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  at("play").querySelector("path").setAttribute("d", playing ? PAUSE : PLAY);
  at("seek").max = duration || 1;
  document.querySelectorAll("[data-stimulus]").forEach((part) => {
    part.classList.toggle("on", part.dataset.stimulus === column);
    if (part.hasAttribute("aria-pressed")) part.setAttribute("aria-pressed", part.dataset.stimulus === column);
  });
  document.querySelectorAll(".choices").forEach((field) => (field.disabled = unheard().length > 0));
  at("now").textContent = missing() || (current.index + 1 < order().length ? "Ready for the next" : "Ready to finish");
  at("next").disabled = Boolean(missing());
  at("next").textContent = current.index + 1 < order().length ? "Next" : "Finish";
  at("back").disabled = current.index === 0;
  follow();
}

function follow() {
  const { position, duration } = player;
  at("seek").value = position;
  at("seek").setAttribute("aria-valuetext", `${position.toFixed(1)} of ${duration.toFixed(1)} seconds`);
  at("time").textContent = `${position.toFixed(1)} / ${duration.toFixed(1)} s`;
  cancelAnimationFrame(follow.frame);
  if (player.playing) follow.frame = requestAnimationFrame(follow);
}

function listen() {
  at("begin").onclick = begin;
  at("play").onclick = () => player.toggle();
  at("seek").oninput = () => player.seek(Number(at("seek").value));
  at("next").onclick = next;
  at("back").onclick = () => open(current.index - 1);
  at("revise").onclick = () => open(order().length - 1);
  at("again").onclick = () => sendAll().then(() => state.listener && finish());
  at("other").onclick = () => {
    const unsaved = Object.values(state.answers).some((answer) => !answer.sent);
    if (unsaved && !confirm("Answers that are in this browser alone will be lost. Are they saved as a file?")) return;
    forget();
    show("welcome");
    at("begin").focus();
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !current || !key(event)) return;
    event.preventDefault();
  });
}

// Say whether a key was ours: not where the focused element has a use of its own for it.
function key({ key: pressed, target }) {
  const button = target.closest?.("button, a");
  if (pressed === " ") return button && button.id !== "play" && !button.matches(".hear.on") ? false : (player.toggle(), true);
  if (pressed === "Enter") return button ? false : (next(), true);
  return pressed.length === 1 && scale.key(pressed.toUpperCase(), current);
}
