// Answers a study's page in place of a rater: node browser.js PAGE KEY RATER
// A stand-in for the parts of a browser that the page's script uses, without a single package.
"use strict";
const fs = require("fs"), vm = require("vm");
const [page, keyFile, rater] = process.argv.slice(2);
const html = fs.readFileSync(page, "utf8"), key = JSON.parse(fs.readFileSync(keyFile, "utf8"));
const scripts = [...html.matchAll(/<script([^>]*)>([^]*?)<\/script>/g)].map(([, head, text]) => ({ head, text }));
const kept = new Map();

function opened() {
  const made = () => ({
    hidden: false, className: "", textContent: "", value: "", children: [],
    append(...nodes) { this.children.push(...nodes); },
    replaceChildren(...nodes) { this.children = nodes; },
  });
  const elements = new Map([...html.matchAll(/ id="([\w-]+)"/g)].map(([, id]) => [id, made()]));
  elements.get("study").textContent = scripts.find(({ head }) => head.includes("application/json")).text;
  const document = { getElementById: (id) => elements.get(id), createElement: made };
  const localStorage = { getItem: (name) => kept.get(name) ?? null, setItem: (name, text) => kept.set(name, text) };
  vm.runInNewContext(scripts.find(({ head }) => !head).text, { document, localStorage, TextEncoder, URL, Blob });
  const press = (name) => document.onkeydown({ key: name, preventDefault() {} });
  elements.get("rater").value = rater;
  elements.get("enter").onsubmit({ preventDefault() {} });
  return { elements, press };
}

// Prefers the method that the key names first, and answers catch trials rightly.
function keyFor(left, right) {
  const [one, other] = [key.images[left], key.images[right]], [a, b] = [one, other].map((image) => key.methods.indexOf(image.method));
  if (a !== b) return a < b ? "1" : "2";
  return one.content === other.content ? "3" : one.content === "made" ? "1" : "2";
}

const content = JSON.parse(scripts.find(({ head }) => head).text);
const imageOf = (source) => Object.keys(content.pictures).find((image) => content.pictures[image] === source);
let { elements, press } = opened();

function answerAll() {
  const [left, right] = ["left", "right"].map((side) => imageOf(elements.get(side).src));
  for (const _ of key.questions) press(keyFor(left, right));
}

const count = key.comparisons.length;
for (let number = 1; number <= count; number++) {
  const place = elements.get("place").textContent;
  if (place !== `${number} of ${count}`) throw new Error(place);
  press("ArrowRight");  // does nothing before all questions are answered
  answerAll();
  if (number === 2) {  // an answer is changed, and changed back
    for (const name of ["ArrowLeft", "3", "ArrowRight", "ArrowLeft"]) press(name);
    answerAll();
    press("ArrowRight");
  }
  if (number === 3) ({ elements, press } = opened());  // the page is loaded again
}
if (elements.get("end").hidden) throw new Error("not at the end");
process.stdout.write(elements.get("answers").value);
