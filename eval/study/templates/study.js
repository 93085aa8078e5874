// A blinded study: shows pairs of pictures under opaque ids, keeps the answers and exports them.
"use strict";
const study = JSON.parse(document.getElementById("study").textContent);
const element = (id) => document.getElementById(id);
const SAME = "same", CHOICES = ["A", "B", "No difference"];
let rater = "", plan = null, at = 0, asked = 0, since = 0;
let answers = {};  // by id of the comparison: {left, choices, seconds}

// Random numbers from a text: its FNV-1a hash starts Marsaglia's xorshift generator of 32 bits.
function randomFrom(text) {
  let state = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) state = Math.imul(state ^ byte, 0x01000193) >>> 0;
  state = state || 1;
  const next = () => {
    state ^= state << 13; state ^= state >>> 17; state ^= state << 5; state >>>= 0;
    return state / 2 ** 32;
  };
  for (let round = 0; round < 16; round++) next();  // similar texts start alike
  return next;
}

// A rater's own order of the comparisons, and whether their sides are exchanged.
function planFor(code) {
  const random = randomFrom(study.study + "/" + code), order = study.comparisons.map((_, number) => number);
  const flipped = random() < 0.5;
  for (let last = order.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return { order, flipped };
}

function shown() {
  const comparison = study.comparisons[plan.order[at]];
  const [left, right] = plan.flipped ? [...comparison.images].reverse() : comparison.images;
  return { comparison, left, right };
}

const choicesOf = (id) => (answers[id] ? answers[id].choices : study.questions.map(() => null));
const isComplete = (id) => choicesOf(id).every((choice) => choice !== null);
const countComplete = () => study.comparisons.filter((each) => isComplete(each.id)).length;

const storageKey = () => `study-${study.study}-${rater}`;
function keep() {
  try { localStorage.setItem(storageKey(), JSON.stringify({ answers, at })); }
  catch { element("not-kept").hidden = false; }
}
function recall() {
  try { return JSON.parse(localStorage.getItem(storageKey())) || { answers: {}, at: 0 }; }
  catch { return { answers: {}, at: 0 }; }
}

function show(name) {
  for (const id of ["start", "task", "end"]) element(id).hidden = id !== name;
}

function begin(code) {
  rater = code;
  plan = planFor(code);
  ({ answers, at } = recall());
  if (countComplete() === study.comparisons.length) finish(); else present();
}

function present() {
  const { comparison, left, right } = shown();
  asked = Math.max(0, choicesOf(comparison.id).indexOf(null));
  since = Date.now();
  element("place").textContent = `${at + 1} of ${study.comparisons.length}`;
  for (const [side, image] of [["left", left], ["right", right]]) {
    element(side).src = study.pictures[image];
    element(side).className = "";
  }
  element("text").replaceChildren(...comparison.text.map((line) => made("p", line)));
  show("task");
  showQuestions();
  keep();
}

function made(tag, text) {
  const node = document.createElement(tag);
  node.textContent = text;
  return node;
}

function showQuestions() {
  const { comparison, left, right } = shown(), chosen = choicesOf(comparison.id);
  const rows = study.questions.map((question, number) => {
    const row = made("div", "");
    row.className = number === asked ? "question asked" : "question";
    const buttons = [left, right, SAME].map((choice, place) => {
      const button = made("button", `${place + 1} ${CHOICES[place]}`);
      button.className = chosen[number] === choice ? "chosen" : "";
      button.onclick = () => answer(number, choice);
      return button;
    });
    row.append(made("span", question), ...buttons);
    return row;
  });
  element("questions").replaceChildren(...rows);
}

function answer(number, choice) {
  const { comparison, left } = shown(), wasComplete = isComplete(comparison.id);
  const earlier = answers[comparison.id] || { seconds: 0 }, choices = [...choicesOf(comparison.id)];
  choices[number] = choice;
  const seconds = Math.round(10 * (earlier.seconds + (Date.now() - since) / 1000)) / 10;
  answers[comparison.id] = { left, choices, seconds };
  since = Date.now();
  keep();
  const open = choices.indexOf(null);
  if (open < 0 && !wasComplete) { forward(); return; }
  asked = open < 0 ? Math.min(number + 1, choices.length - 1) : open;
  showQuestions();
}

function forward() {
  if (!isComplete(shown().comparison.id)) return;
  if (at + 1 < study.comparisons.length) { at += 1; present(); } else finish();
}

function back() {
  if (at > 0) { at -= 1; present(); }
}

function exported() {
  const given = Object.entries(answers).map(([comparison, { left, choices, seconds }]) => ({ comparison, left, choices, seconds }));
  return JSON.stringify({ format: 1, study: study.study, rater, answers: given }, null, 1) + "\n";
}

function finish() {
  const done = countComplete(), all = study.comparisons.length;
  element("done").textContent = done === all
    ? `Thank you: all ${all} pairs are answered. Send the file with your answers to whom you have this page from.`
    : `${done} of ${all} pairs are answered. You may go back and go on.`;
  element("answers").value = exported();
  show("end");
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([exported()], { type: "application/json" }));
  link.download = `answers-${study.study.slice(0, 8)}-${rater}.json`;
  link.click();
}

element("enter").onsubmit = (event) => { event.preventDefault(); begin(element("rater").value.trim()); };
element("back").onclick = back;
element("on").onclick = forward;
element("finish").onclick = finish;
element("resume").onclick = present;
element("download").onclick = download;
element("answers").onclick = () => element("answers").select();
for (const side of ["left", "right"]) {
  element(side).onclick = () => { element(side).className = element(side).className ? "" : "full"; };
}
// Strips stand one above the other, pictures that are less wide beside one another.
element("left").onload = () => {
  const { naturalWidth, naturalHeight } = element("left");
  element("pictures").className = naturalWidth < 2.6 * naturalHeight ? "beside" : "";
};
document.onkeydown = (event) => {
  if (element("task").hidden || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const { left, right } = shown(), choice = { 1: left, 2: right, 3: SAME }[event.key];
  if (choice) answer(asked, choice);
  else if (event.key === "ArrowLeft") back();
  else if (event.key === "ArrowRight") forward();
  else return;
  event.preventDefault();
};
