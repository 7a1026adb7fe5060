"use strict";
// The ways to rate: each builds its controls for a trial and says what its keys do.
//
// A scale is told the stimuli in the order in which they are heard (never which is what), the ratings so far, and gets
// `hear(stimulus)` to play one and `rate(stimulus, value)` to rate one.

const LETTERS = "ABCDEFGHIJKL";
const DEGRADATIONS = ["Very annoying", "Annoying", "Slightly annoying", "Audible but not annoying", "Inaudible"];
const CATEGORIES = ["Bad", "Poor", "Fair", "Good", "Excellent"];

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function hearButton(stimulus, letter, label, hear, ...more) {
  return make("button", { type: "button", class: "hear", "data-stimulus": stimulus, "aria-pressed": "false",
    "aria-label": label, title: `Listen (${letter})`, onclick: () => hear(stimulus) }, ...more);
}

function choices(name, kind, options, rated, rate) {
  const field = make("fieldset", { class: `choices ${kind}` }, make("legend", {}, name));
  options.forEach(({ value, title, told }, place) => {
    const input = make("input", { type: "radio", name: "choice", value, onchange: () => rate(value) });
    input.checked = value === rated;
    const label = make("label", {}, input, make("b", {}, title), make("span", {}, told));
    label.style.setProperty("--place", place);
    field.append(label);
  });
  return field;
}

function choose(scale, number) {
  const input = scale.querySelectorAll(".choices input")[number];
  if (!input || input.matches(":disabled")) return false;
  input.focus();
  input.click();
  return true;
}

const SCALES = {
  mushra: {
    question: "How close is each to the reference?",
    task: "You will hear several versions of a piece of music. Rate each of them against the reference, from 0 to 100. "
      + "One of the versions is the reference itself: it is to have 100.",
    advice: ["Switch between versions as often as you like, while they play: the place is kept."],
    keys: [["R", "reference"], ["A B", "and so on: versions"], ["← →", "rate"], ["space", "play, pause"], ["enter", "next"]],
    loops: true,

    build({ stimuli, reference, ratings, hear, rate }) {
      const rows = make("div", { class: "rows" });
      rows.append(make("div", { class: "row reference" }, hearButton(reference, "R", "Reference", hear, "Reference")));
      rows.append(make("div", { class: "bands", "aria-hidden": "true" }, ...CATEGORIES.map((name) => make("span", {}, name))));
      stimuli.forEach((stimulus, number) => rows.append(this.row(stimulus, LETTERS[number], ratings[stimulus], hear, rate)));
      return rows;
    },

    row(stimulus, letter, rated, hear, rate) {
      const slider = make("input", { type: "range", min: 0, max: 100, step: 1, "aria-label": `Version ${letter}`, "data-slider": stimulus });
      const shown = make("output");
      const row = make("div", { class: "row", "data-stimulus": stimulus }, hearButton(stimulus, letter, `Version ${letter}`, hear, letter),
        make("div", { class: "slide" }, slider), shown);
      const show = (value) => {
        row.classList.toggle("unrated", value === undefined);
        shown.textContent = value ?? "–";
        const category = CATEGORIES[Math.min(Math.floor(value / 20), 4)];
        slider.setAttribute("aria-valuetext", value === undefined ? "not rated" : `${value}, ${category}`);
      };
      slider.value = rated ?? 50;
      show(rated);
      slider.onpointerdown = () => hear(stimulus);
      slider.oninput = slider.onclick = () => {
        show(Number(slider.value));
        rate(stimulus, Number(slider.value));
      };
      return row;
    },

    key(pressed, { stimuli, reference, hear, scale }) {
      if (pressed === "R") return hear(reference), true;
      const stimulus = stimuli[LETTERS.indexOf(pressed)];
      if (!stimulus) return false;
      scale.querySelector(`[data-slider="${stimulus}"]`).focus();
      hear(stimulus);
      return true;
    },
  },

  dcr: {
    question: "How annoying is the difference from the first to the second?",
    task: "You will hear pieces of music in pairs: first the reference, then the same piece again, which may be degraded. "
      + "Say how annoying the degradation of the second is.",
    advice: ["Both are played one after the other. Listen to both to the end before you rate; then you may listen again."],
    keys: [["space", "play, pause"], ["R", "reference"], ["A", "second"], ["1 2 3 4 5", "rate"], ["enter", "next"]],
    loops: false,
    wholly: true,
    inTurn: true,

    build({ stimuli: [stimulus], reference, ratings, hear, rate }) {
      const pair = make("div", { class: "pair" },
        hearButton(reference, "R", "Listen to the reference", hear, "R", make("small", {}, "reference")),
        hearButton(stimulus, "A", "Listen to the second", hear, "A", make("small", {}, "second")));
      const options = DEGRADATIONS.map((told, place) => ({ value: place + 1, title: place + 1, told }));
      return make("div", {}, pair, choices("Degradation", "dcr", options, ratings[stimulus], (value) => rate(stimulus, value)));
    },

    key(pressed, { stimuli: [stimulus], reference, hear, scale }) {
      const heard = { R: reference, A: stimulus }[pressed];
      return heard ? (hear(heard), true) : choose(scale, Number(pressed) - 1);
    },
  },

  mos: {
    question: "How good does this sound?",
    task: "You will hear short pieces of music, one at a time. Say how good each of them sounds, from 1 to 5.",
    advice: ["Listen to the end before you rate; then you may listen again."],
    keys: [["space", "play, pause"], ["1 2 3 4 5", "rate"], ["enter", "next"]],
    loops: false,
    wholly: true,

    build({ stimuli: [stimulus], ratings, rate }) {
      const options = CATEGORIES.map((told, place) => ({ value: place + 1, title: place + 1, told }));
      return choices("Rating", "mos", options, ratings[stimulus], (value) => rate(stimulus, value));
    },

    key(pressed, { scale }) {
      return choose(scale, Number(pressed) - 1);
    },
  },

  ab: {
    question: "Which of the two do you prefer?",
    task: "You will hear pairs of the same piece of music. Say which of the two you prefer, or that you have no preference.",
    advice: ["Switch between the two as often as you like, while they play: the place is kept."],
    keys: [["A B", "listen"], ["1", "A is better"], ["2", "no preference"], ["3", "B is better"], ["space", "play, pause"], ["enter", "next"]],
    loops: true,

    build({ stimuli: [a, b], ratings, hear, rate }) {
      const pair = make("div", { class: "pair" }, ...[a, b].map((stimulus, number) =>
        hearButton(stimulus, LETTERS[number], `Listen to ${LETTERS[number]}`, hear, LETTERS[number], make("small", {}, "listen"))));
      const rated = ratings[a] === undefined ? undefined : ratings[a] ? "a" : ratings[b] ? "b" : "none";
      const options = [{ value: "a", title: "A", told: "is better" }, { value: "none", title: "=", told: "no preference" },
        { value: "b", title: "B", told: "is better" }];
      const chosen = (value) => {
        rate(a, Number(value === "a"));
        rate(b, Number(value === "b"));
      };
      return make("div", {}, pair, choices("Preference", "ab", options, rated, chosen));
    },

    key(pressed, { stimuli, hear, scale }) {
      const stimulus = stimuli[LETTERS.indexOf(pressed)];
      if (stimulus) return hear(stimulus), true;
      return choose(scale, Number(pressed) - 1);
    },
  },
};

// One version at a time, rated as in MUSHRA, between an open reference and, where there is one, an open example of low quality.
SCALES.mushra_1s = {
  ...SCALES.mushra,
  question: "How close is this to the reference?",
  task: "You will hear versions of pieces of music, one at a time. Rate each of them against the reference, from 0 to 100. "
    + "The reference itself would have 100. The low-quality example would have a rating near 0.",
  keys: [["R", "reference"], ["L", "low-quality example"], ["A", "version"], ["← →", "rate"], ["space", "play, pause"], ["enter", "next"]],

  build(trial) {
    const rows = SCALES.mushra.build.call(this, trial);
    if (trial.low) {
      const row = make("div", { class: "row reference" }, hearButton(trial.low, "L", "Low-quality example", trial.hear, "Low-quality example"));
      rows.firstChild.after(row);
    }
    return rows;
  },

  key(pressed, trial) {
    if (pressed === "L" && trial.low) return trial.hear(trial.low), true;
    return SCALES.mushra.key.call(this, pressed, trial);
  },
};
